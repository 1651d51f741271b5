"""Estimate the accuracy of a model in 8 bits with ONNX Runtime's static quantization, without Hailo's compiler.

The encoder is quantized on the calibration set (docs/hailo.md): activations uint8, asymmetric, one scale for each
tensor; weights int8, symmetric, per channel (optimistic) and per tensor (pessimistic), because it is not public which
of the two the compiler uses; biases int32; the input rounded by HailoRT's formula. The head stays in float32, as on the
device.

The quantized graph is computed in float32 (artifacts/ort_session.py), so that every processor gives the same figures.
Only the order of float32 additions may differ, which can move a value half-way between two steps to the other step.
INT8_SNR_DB and INT8_SHARE (evaluation/tolerance.py) bound the effect.
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.artifacts import ort_session, quantization_noise
from modelreg.artifacts.quantization_noise import Rounding
from modelreg.data import normalization as scaling
from modelreg.data.recording import Windows
from modelreg.errors import Problem
from modelreg.evaluation import metrics
from modelreg.records.data import Normalization
from modelreg.records.export import CODE, LOGITS, PROJECTION, WINDOWS, GraphName
from modelreg.records.int8 import ChannelRange, Int8Estimate, Int8Scheme, LayerNoise
from modelreg.records.metrics import EvaluationSettings
from modelreg.records.model import FsqSpec, ModelSpec

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

Floats = NDArray[np.float32]
PACKAGES = ("numpy", "onnx", "onnxruntime")
WORST = 5  # layers that the record lists
USUAL = (0.1, 99.9)  # percentiles of the test values: the range that the calibration set should cover
DEQUANTIZED = "_DequantizeLinear_Output"


class Subject(NamedTuple):
    """A model to estimate, with its windows."""

    spec: ModelSpec
    scale: Normalization
    graphs: Mapping[GraphName, bytes]
    calibration: Floats  # (N, C, D, T), raw
    test: Windows  # raw: the test split; of a cross-fitted run, the windows of all subjects
    on_chip: bool  # whether the chip normalizes, and therefore rounds raw values
    checkpoint_sha256: str
    normalization_sha256: str
    part: Literal["test", "train"] = "test"  # the split of `test`


class _Answers(NamedTuple):
    """The outputs for the test windows."""

    projection: Floats  # (N, d)
    code: Floats  # (N, w); w = 0 for a model without a quantizer
    logits: Floats  # (N, K)


def estimate(subject: Subject) -> Int8Estimate:
    """Return the estimate; the same subject and packages give the same record."""
    windows = subject.test.x
    encoder, normalized = subject.graphs["encoder"], scaling.apply(windows, subject.scale)
    native = _answers(subject, encoder, normalized)
    accuracy, macro_f1 = _scores(subject, native)
    schemes = {}
    for per_channel in (True, False):
        quantized = quantize(encoder, scaling.apply(subject.calibration, subject.scale), per_channel=per_channel)
        fed = _fed(subject, quantized, windows)
        found = _answers(subject, quantized.SerializeToString(), fed)
        noisy = layer_noise(encoder, quantized, normalized, fed)
        kept = None if subject.spec.levels is None else float((native.code == found.code).all(axis=1).mean())
        accuracy_8, macro_f1_8 = _scores(subject, found)
        schemes[per_channel] = Int8Scheme(
            accuracy=accuracy_8,
            macro_f1=macro_f1_8,
            accuracy_drop=accuracy - accuracy_8,
            macro_f1_drop=macro_f1 - macro_f1_8,
            code_agreement=kept,
            snr_db=_noise(subject.spec, native, found),
            worst_layers=tuple(sorted(noisy, key=lambda layer: (layer.snr_db, layer.layer))[:WORST]),
        )
    return Int8Estimate(
        model=subject.spec.settings.name,
        checkpoint_sha256=subject.checkpoint_sha256,
        normalization_sha256=subject.normalization_sha256,
        calibration_windows=len(subject.calibration),
        part=subject.part,
        windows=len(windows),
        accuracy=accuracy,
        macro_f1=macro_f1,
        accuracy_drop=schemes[False].accuracy_drop,
        snr_db=schemes[False].snr_db[PROJECTION],
        per_channel=schemes[True],
        per_tensor=schemes[False],
        input=tuple(_ranges(subject)),
        arithmetic="float32",
        packages={name: installed(name) for name in PACKAGES},
    )


def find_clipped(made: Int8Estimate) -> Iterator[Problem]:
    """Yield each channel whose usual range exceeds that of the calibration set: the chip would clip it."""
    for channel in made.input:
        if not channel.covered:
            usual = f"99.8 % of the values are between {channel.usual_low:.3g} and {channel.usual_high:.3g}"
            seen = f"the calibration set covers {channel.low:.3g} to {channel.high:.3g}"
            message = f"{usual}, but {seen}; {channel.clipped:.2%} of the values are outside"
            yield Problem(f"channel {channel.channel}", "export.range-not-calibrated", message)


# Quantization


def quantize(encoder: bytes, windows: Floats, *, per_channel: bool) -> "ModelProto":
    """Return the encoder in 8 bits, with the ranges of normalized windows (N, C, D, T)."""
    import onnx
    from onnxruntime import quantization as tool

    class Reader(tool.CalibrationDataReader):  # type: ignore[misc] # the base class has no types
        """Reads one window at a time."""

        def __init__(self) -> None:
            self._left = iter(windows)

        def get_next(self) -> dict[str, Floats] | None:
            window = next(self._left, None)
            return None if window is None else {WINDOWS: window[None]}

    with tempfile.TemporaryDirectory(prefix="modelreg-") as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        tool.quantize_static(
            onnx.load_from_string(encoder),
            path,
            Reader(),
            quant_format=tool.QuantFormat.QDQ,
            activation_type=tool.QuantType.QUInt8,
            weight_type=tool.QuantType.QInt8,
            per_channel=per_channel,
            calibrate_method=tool.CalibrationMethod.MinMax,
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )
        return onnx.load(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the advice to simplify the graph first: it is simplified already."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)


def input_rounding(quantized: "ModelProto") -> Rounding:
    """Return how a quantized encoder rounds its input."""
    from onnx import numpy_helper

    constants = {weight.name: weight for weight in quantized.graph.initializer}
    scale, zero = (numpy_helper.to_array(constants[f"{WINDOWS}_{name}"]) for name in ("scale", "zero_point"))
    return Rounding(float(scale), int(zero))


def _fed(subject: Subject, quantized: "ModelProto", windows: Floats) -> Floats:
    """Return the encoder's input for raw windows: normalized, and rounded before (chip) or after (host) that."""
    if not subject.on_chip:
        return input_rounding(quantized).through(scaling.apply(windows, subject.scale))
    seen = subject.calibration
    return scaling.apply(
        quantization_noise.rounding(float(seen.min()), float(seen.max())).through(windows), subject.scale
    )


# Figures


def _answers(subject: Subject, encoder: bytes, windows: Floats) -> _Answers:
    first, second = (
        ort_session.session(encoder, in_float=True),
        ort_session.session(subject.graphs["head"], in_float=True),
    )
    projections = [first.run([PROJECTION], {WINDOWS: window[None]})[0] for window in windows]
    names = [LOGITS] if subject.spec.levels is None else [CODE, LOGITS]
    heads = [second.run(names, {PROJECTION: projection}) for projection in projections]
    *codes, logits = (np.concatenate(parts) for parts in zip(*heads, strict=True))
    return _Answers(np.concatenate(projections), codes[0] if codes else logits[:, :0], logits)


def _scores(subject: Subject, answers: _Answers) -> tuple[float, float]:
    """Return accuracy and macro-F1, as `evaluate` computes them."""
    test = subject.test
    predictions = metrics.Predictions(
        logits=answers.logits,
        y=test.y,
        subject=np.array(test.subjects)[test.subject],
        recording=np.array(test.recordings)[test.recording],
        start=test.start,
    )
    settings = EvaluationSettings(replicates=100)  # for intervals, which are not used here
    found = metrics.compute(predictions, classes=subject.spec.classes, levels=None, settings=settings)
    return found.accuracy, found.macro_f1


def _noise(spec: ModelSpec, native: _Answers, found: _Answers) -> dict[str, float]:
    """Return the SNR of each output; the index of a code in a codebook is not a quantity and has none."""
    names = [name for name in _Answers._fields if name != CODE or isinstance(spec.quantizer, FsqSpec)]
    return {name: quantization_noise.snr_db(getattr(native, name), getattr(found, name)) for name in names}


def layer_noise(encoder: bytes, quantized: "ModelProto", windows: Floats, fed: Floats) -> list[LayerNoise]:
    """Return the noise of each layer's output, with all earlier layers in 8 bits; `fed` are the rounded windows."""
    import onnx

    native = onnx.load_from_string(encoder)
    layers = [name for node in native.graph.node for name in node.output if name != PROJECTION]
    rounded = {name for node in quantized.graph.node for name in node.output}
    kept = [name for name in layers if name + DEQUANTIZED in rounded]
    plain, eight = _with_outputs(native, kept), _with_outputs(quantized, [name + DEQUANTIZED for name in kept])
    power, error = np.zeros(len(kept)), np.zeros(len(kept))
    for window, other in zip(windows, fed, strict=True):
        then = plain.run(kept, {WINDOWS: window[None]})
        now = eight.run([name + DEQUANTIZED for name in kept], {WINDOWS: other[None]})
        power += [float(np.square(a, dtype=np.float64).sum()) for a in then]
        error += [float(np.square(a - b, dtype=np.float64).sum()) for a, b in zip(then, now, strict=True)]
    found = {name: quantization_noise.decibels(*both) for name, *both in zip(kept, power, error, strict=True)}
    return [
        LayerNoise(layer=name, snr_db=db)
        for name, db in {WINDOWS: quantization_noise.snr_db(windows, fed), **found}.items()
    ]


def _with_outputs(model: "ModelProto", names: Sequence[str]) -> "InferenceSession":
    """Return a session that also outputs inner tensors."""
    from onnx import ModelProto, TensorProto, helper

    opened = ModelProto()
    opened.CopyFrom(model)
    opened.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    return ort_session.session(opened.SerializeToString(), in_float=True)


def _ranges(subject: Subject) -> Iterator[ChannelRange]:
    """Yield the range of each channel of the device's input, in the calibration set and in the test split."""
    seen, test = (
        windows if subject.on_chip else scaling.apply(windows, subject.scale)
        for windows in (subject.calibration, subject.test.x)
    )
    for number, channel in enumerate(subject.spec.input.channels):
        low, high = float(seen[:, number].min()), float(seen[:, number].max())
        values = test[:, number]
        usual_low, usual_high = (float(value) for value in np.percentile(values, USUAL))
        yield ChannelRange(
            channel=channel.name,
            low=low,
            high=high,
            usual_low=usual_low,
            usual_high=usual_high,
            clipped=float(((values < low) | (values > high)).mean()),
            covered=low <= usual_low and usual_high <= high,
        )
