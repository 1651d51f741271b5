"""The 8-bit estimate: HailoRT's rounding, the ranges of the calibration set, and the noise of each layer."""

import functools
from typing import NamedTuple

import example_systems
import integer_encoder
import numpy as np
import onnx
import onnxruntime
import pytest
from example_bundle import example
from hypothesis import given
from hypothesis import strategies as st
from places import places
from sklearn.metrics import accuracy_score, f1_score

from modelreg.artifacts import ort_session, quantization_noise
from modelreg.artifacts.quantization_noise import Rounding
from modelreg.data import normalization as scaling
from modelreg.evaluation import tolerance
from modelreg.export import hailo, int8
from modelreg.records.base import parse
from modelreg.records.export import GRAPHS
from modelreg.records.int8 import Int8Estimate

FLOATS = st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=30)


def subject(*, calibration: np.ndarray | None = None, on_chip: bool = False) -> int8.Subject:
    """The released example with one in eight of its test windows."""
    known = example()
    some = slice(None, None, 8)
    test = known.test.__class__(
        **{**vars(known.test), **{n: getattr(known.test, n)[some] for n in ("x", "y", "subject", "recording", "start")}}
    )
    seen = known.train.x[hailo.balanced(known.train.y, 128)] if calibration is None else calibration
    graphs = {name.removesuffix(".onnx"): data for name, data in known.graphs.items()}
    return int8.Subject(known.spec, known.scale, graphs, seen, test, on_chip, "c" * 64, "d" * 64)


@functools.cache
def estimated(*, on_chip: bool = False) -> Int8Estimate:
    """The estimate of the released example."""
    return int8.estimate(subject(on_chip=on_chip))


# Rounding


@given(values=FLOATS, low=st.floats(-100, 0), high=st.floats(0.001, 100))
def test_the_host_rounds_as_hailort_does(values, low, high) -> None:
    """q = round half to even(clip(x, lowest, highest) / scale + zero); x = (q - zero) scale, number by number."""
    scale = quantization_noise.rounding(low, high)
    lowest, highest = (np.float32((q - scale.zero) * scale.scale) for q in (0, 255))
    step, zero = np.float32(scale.scale), np.float32(scale.zero)
    expected = [
        (np.rint(np.float32(min(max(np.float32(v), lowest), highest)) / step + zero) - zero) * step for v in values
    ]

    np.testing.assert_array_equal(scale.through(np.array(values, np.float32)), np.array(expected, np.float32))


@given(values=FLOATS, low=st.floats(-100, 0), high=st.floats(0.001, 100))
def test_rounding_twice_is_rounding_once(values, low, high) -> None:
    """A quantized graph rounds its input again, without effect."""
    scale = quantization_noise.rounding(low, high)
    once = scale.through(np.array(values, np.float32))

    np.testing.assert_allclose(scale.through(once), once, rtol=1e-6)


def test_a_half_goes_to_the_even_integer() -> None:
    """As HailoRT rounds, unlike roundf."""
    np.testing.assert_array_equal(Rounding(1.0, 0).through(np.array([0.5, 1.5, 2.5], np.float32)), [0, 2, 2])


def test_a_range_from_0_to_1_clips_negative_values() -> None:
    """As after calibration with random numbers in [0, 1)."""
    assert quantization_noise.rounding(0, 0.99999).through(np.array([-1.5], np.float32))[0] == 0


@pytest.mark.parametrize(
    ("noisy", "expected"),
    [([1, 1], 300.0), ([2, 2], 0.0), ([1.1, 0.9], 20.0), ([np.nan, 1], np.nan)],
    ids=["equal", "as loud", "a tenth", "nan"],
)
def test_snr_is_ten_times_the_logarithm_of_power_over_error(noisy, expected) -> None:
    """Bounded, because a record cannot contain infinity."""
    found = quantization_noise.snr_db(np.ones(2, np.float32), np.array(noisy, np.float32))

    assert found == pytest.approx(expected, abs=1e-5, nan_ok=True)


def test_without_a_signal_the_snr_is_the_lower_bound() -> None:
    """-300 dB."""
    assert quantization_noise.snr_db(np.zeros(2, np.float32), np.ones(2, np.float32)) == -300.0


# Estimates


def test_the_estimate_is_reproducible() -> None:
    """Byte for byte, from the same windows."""
    assert int8.estimate(subject()).to_bytes() == estimated().to_bytes()


def test_float32_scores_are_those_of_the_graphs() -> None:
    """Those of the whole graph in ONNX Runtime, computed by scikit-learn."""
    asked, made = subject(), estimated()
    whole = onnxruntime.InferenceSession(asked.graphs["model"])
    windows = scaling.apply(asked.test.x, asked.scale)
    predicted = [int(whole.run(["logits"], {"windows": window[None]})[0].argmax()) for window in windows]
    macro_f1 = f1_score(asked.test.y, predicted, average="macro", labels=range(len(asked.spec.classes)))

    assert made.accuracy == pytest.approx(accuracy_score(asked.test.y, predicted))
    assert made.macro_f1 == pytest.approx(macro_f1)


def test_drops_are_differences_from_the_float32_scores() -> None:
    """For both schemes; the estimate repeats the drop per tensor."""
    made = estimated()
    schemes = (made.per_channel, made.per_tensor)
    losses = [(made.accuracy - scheme.accuracy, made.macro_f1 - scheme.macro_f1) for scheme in schemes]

    assert [(scheme.accuracy_drop, scheme.macro_f1_drop) for scheme in schemes] == losses
    assert any(loss != 0 for loss in losses[1])
    assert made.accuracy_drop == losses[1][0]


def test_eight_bits_add_noise_and_keep_most_codes() -> None:
    """The projection has an SNR of 20 to 50 dB."""
    made = estimated()
    found = [(scheme.snr_db["projection"], scheme.code_agreement) for scheme in (made.per_channel, made.per_tensor)]

    assert all(20 < snr_db < 50 and 0.7 < agreement < 1 for snr_db, agreement in found)


# The same on every processor


class Case(NamedTuple):
    """A quantized encoder and its input windows."""

    quantized: onnx.ModelProto
    windows: np.ndarray  # (N, C, D, T), rounded

    def projections(self) -> np.ndarray:
        """The projections of the estimate, (N, d)."""
        session = ort_session.session(self.quantized.SerializeToString(), in_float=True)
        return np.concatenate([session.run(["projection"], {"windows": w[None]})[0] for w in self.windows])

    def exact(self) -> np.ndarray:
        """The projections of integer arithmetic."""
        return integer_encoder.answer(self.quantized, self.windows)["projection"].real

    @property
    def step(self) -> float:
        """One step of the projection."""
        scales = [weight for weight in self.quantized.graph.initializer if weight.name == "projection_scale"]
        return float(onnx.numpy_helper.to_array(scales[0]))


@functools.cache
def case(system: str, *, per_channel: bool) -> Case:
    """An encoder in 8 bits, and normalized windows that are not in its calibration set."""
    if system == "conv2d_fsq":
        encoder, scale = example().graphs["encoder.onnx"], example().scale
        seen, fresh = subject().calibration, subject().test.x
    else:
        encoder, scale = example_systems.bundle(system)["encoder.onnx"], example_systems.SCALE
        seen, fresh = example_systems.windows().x[::2], example_systems.windows().x[1::2]
    quantized = int8.quantize(encoder, scaling.apply(seen, scale), per_channel=per_channel)
    return Case(quantized, int8.input_rounding(quantized).through(scaling.apply(fresh, scale)))


EACH = pytest.mark.parametrize("per_channel", [True, False], ids=["per channel", "per tensor"])


def loud_layer() -> onnx.ModelProto:
    """One layer in 8 bits with inputs and weights so large that two products do not fit into 16 bits."""
    constants = {
        "scale": np.float32(1 / 64),
        "zero": np.uint8(0),
        "weights": np.full((1, 2, 1, 3), 127, np.int8),
        "weight_scale": np.float32(1 / 128),
        "weight_zero": np.int8(0),
        "sums": np.array([-300], np.int32),
        "sum_scale": np.float32(1 / 64 / 128),
        "sum_zero": np.int32(0),
        "out_scale": np.float32(1 / 8),
    }
    nodes = [
        ("QuantizeLinear", ["windows", "scale", "zero"], "q"),
        ("DequantizeLinear", ["q", "scale", "zero"], "x"),
        ("DequantizeLinear", ["weights", "weight_scale", "weight_zero"], "w"),
        ("DequantizeLinear", ["sums", "sum_scale", "sum_zero"], "b"),
        ("Conv", ["x", "w", "b"], "y"),
        ("QuantizeLinear", ["y", "out_scale", "zero"], "yq"),
        ("DequantizeLinear", ["yq", "out_scale", "zero"], "projection"),
    ]
    about = {"kernel_shape": [1, 3], "pads": [0, 0, 0, 0], "strides": [1, 1], "dilations": [1, 1], "group": 1}
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(op, names, [out], **(about if op == "Conv" else {})) for op, names, out in nodes],
        "layer",
        [helper.make_tensor_value_info("windows", kind, [1, 2, 1, 16])],
        [helper.make_tensor_value_info("projection", kind, None)],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_layer_with_large_values_equals_integer_arithmetic() -> None:
    """Kernels that add two products of 255 and 127 in 16 bits give 32,767 instead of 64,770."""
    windows = np.random.default_rng(0).uniform(3, 4, size=(8, 2, 1, 16)).astype(np.float32)
    windows[0] = 255 / 64
    loud = Case(loud_layer(), windows)

    np.testing.assert_array_equal(loud.projections(), loud.exact())
    assert loud.exact().max() > 3 * 32_767 / 64 / 128  # three such pairs of products


@EACH
@pytest.mark.parametrize("system", ["conv2d_fsq", "tcn_vae", "conv2d_vq"])
def test_an_encoder_equals_integer_arithmetic(system, per_channel) -> None:
    """The order of float32 sums moves a value to the next step in at most one of 100 windows."""
    found = case(system, per_channel=per_channel)
    steps = np.rint(np.abs(found.projections() - found.exact()) / found.step)

    assert (steps.max() <= 1, steps.any(axis=1).mean() <= 0.01) == (True, True)


@EACH
def test_the_estimate_equals_integer_arithmetic(per_channel) -> None:
    """Accuracy, code agreement and SNR, within the tolerance of evaluation/tolerance.py."""
    asked, made = subject(), estimated()
    scheme = made.per_channel if per_channel else made.per_tensor
    heads = onnxruntime.InferenceSession(asked.graphs["head"])
    native = onnxruntime.InferenceSession(asked.graphs["encoder"])
    normal = scaling.apply(asked.test.x, asked.scale)
    plain = np.concatenate([native.run(["projection"], {"windows": window[None]})[0] for window in normal])
    exact = case("conv2d_fsq", per_channel=per_channel).exact().astype(np.float32)
    (code, _), (code_8, logits_8) = (
        map(np.concatenate, zip(*[heads.run(["code", "logits"], {"projection": p[None]}) for p in each], strict=True))
        for each in (plain, exact)
    )
    right = (logits_8.argmax(axis=1) == asked.test.y).mean()
    kept = (code == code_8).all(axis=1).mean()
    share = max(tolerance.INT8_SHARE, 1.01 / len(exact))

    assert (scheme.accuracy, scheme.code_agreement) == pytest.approx((right, kept), abs=share)
    assert scheme.snr_db["projection"] == pytest.approx(
        quantization_noise.snr_db(plain, exact), abs=tolerance.INT8_SNR_DB
    )


@EACH
def test_no_integer_kernel_runs(tmp_path, per_channel) -> None:
    """The session runs the nodes of the graph: the layers use the outputs of DequantizeLinear."""
    options = ort_session._options(1, in_float=True)
    options.optimized_model_filepath = str(tmp_path / "executed.onnx")
    quantized = case("conv2d_fsq", per_channel=per_channel).quantized
    onnxruntime.InferenceSession(quantized.SerializeToString(), options, providers=["CPUExecutionProvider"])
    executed = {node.op_type for node in onnx.load(tmp_path / "executed.onnx").graph.node}

    assert executed == {node.op_type for node in quantized.graph.node}


def test_the_estimate_records_its_arithmetic() -> None:
    """An older record without this field is written without it again."""
    made = estimated()
    old = made.model_copy(update={"arithmetic": None})

    assert (made.arithmetic, made.summary.arithmetic) == ("float32", "float32")
    assert b"arithmetic" not in old.to_bytes() + old.summary.to_bytes()
    assert parse(old.to_bytes(), Int8Estimate, "int8.json") == old


# Systems


@pytest.mark.parametrize(("system", "kept"), [("tcn_vae", False), ("conv2d_vq", True)])
def test_every_system_is_estimated(system, kept) -> None:
    """Codes are compared if the system has them; the index of a code is not a signal and has no SNR."""
    found = example_systems.bundle(system)
    graphs = {name: found[f"{name}.onnx"] for name in GRAPHS}
    known, windows = example_systems.spec(system), example_systems.windows()
    asked = int8.Subject(known, example_systems.SCALE, graphs, windows.x, windows, False, "c" * 64, "d" * 64)
    scheme = int8.estimate(asked).per_tensor

    assert (scheme.code_agreement is not None, set(scheme.snr_db)) == (kept, {"projection", "logits"})


def test_the_worst_layers_come_first() -> None:
    """With the names of the graph; the input can be one of them."""
    layers = estimated().per_tensor.worst_layers

    assert [layer.snr_db for layer in layers] == sorted(layer.snr_db for layer in layers)
    assert {layer.layer for layer in layers} <= {
        "windows",
        *(f"{kind}{n}" for kind in ("relu", "maxpool") for n in (1, 2, 3)),
    }


def test_a_chip_that_normalizes_rounds_raw_values() -> None:
    """One scale for all raw channels gives more noise."""
    chip, host = estimated(on_chip=True), estimated()

    assert (chip.input[3].low < host.input[3].low, chip.snr_db < host.snr_db) == (True, True)


def test_a_calibration_set_that_is_too_narrow_gives_warnings() -> None:
    """Random numbers in [0, 1) do not cover any channel."""
    seen = np.random.default_rng(0).random((64, 6, 1, 100)).astype(np.float32)
    made = int8.estimate(subject(calibration=seen))
    problems = list(int8.find_clipped(made))

    channels = ("ax", "ay", "az", "wx", "wy", "wz")
    assert places(problems) == [(f"channel {name}", "export.range-not-calibrated") for name in channels]
    assert made.snr_db < 15 < estimated().snr_db


def test_a_sufficient_calibration_set_gives_no_warning() -> None:
    """The training windows cover the usual range of the test windows."""
    assert list(int8.find_clipped(estimated())) == []
