"""The 8-bit estimate: HailoRT's rounding, ranges that calibration saw, and noise where it belongs."""

import functools

import example_systems
import numpy as np
import pytest
from example_bundle import example
from hypothesis import given
from hypothesis import strategies as st

from modelreg import noise
from modelreg.export import hailo, int8
from modelreg.noise import Rounding
from modelreg.records.export import GRAPHS
from modelreg.records.int8 import Int8Estimate

FLOATS = st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=30)


def subject(*, calibration: np.ndarray | None = None, on_chip: bool = False) -> int8.Subject:
    """The released example on a part of its windows."""
    known = example()
    some = slice(None, None, 8)
    held_out = known.test.__class__(
        **{**vars(known.test), **{n: getattr(known.test, n)[some] for n in ("x", "y", "subject", "recording", "start")}}
    )
    seen = known.train.x[hailo.balanced(known.train.y, 128)] if calibration is None else calibration
    graphs = {name.removesuffix(".onnx"): data for name, data in known.graphs.items()}
    return int8.Subject(known.spec, known.scale, graphs, seen, held_out, on_chip, "c" * 64, "d" * 64)


@functools.cache
def estimated(*, on_chip: bool = False) -> Int8Estimate:
    """Its estimate."""
    return int8.estimate(subject(on_chip=on_chip))


# Rounding


@given(values=FLOATS, low=st.floats(-100, 0), high=st.floats(0.001, 100))
def test_the_host_rounds_as_hailort_does(values, low, high) -> None:
    """q = round half to even(clip(x, lowest, highest) / scale + zero); x = (q - zero) scale, number by number."""
    scale = noise.rounding(low, high)
    lowest, highest = (np.float32((q - scale.zero) * scale.scale) for q in (0, 255))
    step, zero = np.float32(scale.scale), np.float32(scale.zero)
    expected = [
        (np.rint(np.float32(min(max(np.float32(v), lowest), highest)) / step + zero) - zero) * step for v in values
    ]

    np.testing.assert_array_equal(scale.through(np.array(values, np.float32)), np.array(expected, np.float32))


@given(values=FLOATS, low=st.floats(-100, 0), high=st.floats(0.001, 100))
def test_rounding_twice_is_rounding_once(values, low, high) -> None:
    """What a quantized graph does to its input once more changes nothing."""
    scale = noise.rounding(low, high)
    once = scale.through(np.array(values, np.float32))

    np.testing.assert_allclose(scale.through(once), once, rtol=1e-6)


def test_a_half_goes_to_the_even_integer() -> None:
    """As C++'s rounding mode of HailoRT, not as roundf."""
    np.testing.assert_array_equal(Rounding(1.0, 0).through(np.array([0.5, 1.5, 2.5], np.float32)), [0, 2, 2])


def test_a_range_of_zero_one_clips_negative_values() -> None:
    """The predecessor's HEF: calibrated on random numbers, it turns half of each sample into 0."""
    assert noise.rounding(0, 0.99999).through(np.array([-1.5], np.float32))[0] == 0


@pytest.mark.parametrize(
    ("noisy", "expected"),
    [([1, 1], 300.0), ([2, 2], 0.0), ([1.1, 0.9], 20.0), ([np.nan, 1], np.nan)],
    ids=["equal", "as loud", "a tenth", "nan"],
)
def test_snr_is_ten_times_the_logarithm_of_power_over_error(noisy, expected) -> None:
    """Bounded, for a record holds no infinity."""
    found = noise.snr_db(np.ones(2, np.float32), np.array(noisy, np.float32))

    assert found == pytest.approx(expected, abs=1e-5, nan_ok=True)


def test_without_a_signal_there_is_only_noise() -> None:
    """The bound from below."""
    assert noise.snr_db(np.zeros(2, np.float32), np.ones(2, np.float32)) == -300.0


# Estimates


def test_the_estimate_is_the_same_again() -> None:
    """To the byte, from the same windows."""
    assert int8.estimate(subject()).to_bytes() == estimated().to_bytes()


def test_float32_scores_are_those_of_the_graphs() -> None:
    """Drops are against them."""
    made = estimated()

    assert made.per_tensor.accuracy_drop == made.accuracy - made.per_tensor.accuracy == made.accuracy_drop


def test_eight_bits_leave_noise_and_most_codes() -> None:
    """Neither none nor all of it: the projection keeps 20 to 50 dB."""
    made = estimated()
    found = [(scheme.snr_db["projection"], scheme.code_agreement) for scheme in (made.per_channel, made.per_tensor)]

    assert all(20 < snr_db < 50 and 0.7 < agreement < 1 for snr_db, agreement in found)


@pytest.mark.parametrize(("system", "kept"), [("tcn_vae", False), ("conv2d_vq", True)])
def test_every_system_is_estimated(system, kept) -> None:
    """Codes are compared where there are any; the number of a code is no signal that could have noise."""
    found = example_systems.bundle(system)
    graphs = {name: found[f"{name}.onnx"] for name in GRAPHS}
    known, windows = example_systems.spec(system), example_systems.windows()
    asked = int8.Subject(known, example_systems.SCALE, graphs, windows.x, windows, False, "c" * 64, "d" * 64)
    scheme = int8.estimate(asked).per_tensor

    assert (scheme.code_agreement is not None, set(scheme.snr_db)) == (kept, {"projection", "logits"})


def test_the_worst_layers_come_first() -> None:
    """Named as in the graph, the input among them where it is one."""
    layers = estimated().per_tensor.worst_layers

    assert [layer.snr_db for layer in layers] == sorted(layer.snr_db for layer in layers)
    assert {layer.layer for layer in layers} <= {
        "windows",
        *(f"{kind}{n}" for kind in ("relu", "maxpool") for n in (1, 2, 3)),
    }


def test_on_the_chip_raw_values_are_rounded() -> None:
    """Ranges are of raw values; one scale for all channels leaves more noise."""
    chip, host = estimated(on_chip=True), estimated()

    assert (chip.input[3].low < host.input[3].low, chip.snr_db < host.snr_db) == (True, True)


def test_calibration_that_saw_too_little_is_told() -> None:
    """As random numbers in [0, 1): which channel clips, and how much of it."""
    seen = np.random.default_rng(0).random((64, 6, 1, 100)).astype(np.float32)
    made = int8.estimate(subject(calibration=seen))
    problems = list(int8.find_clipped(made))

    assert [problem.where for problem in problems] == [f"channel {c}" for c in ("ax", "ay", "az", "wx", "wy", "wz")]
    assert made.snr_db < 15 < estimated().snr_db


def test_calibration_that_saw_enough_is_not_mentioned() -> None:
    """The training windows cover what the held-out part usually has."""
    assert list(int8.find_clipped(estimated())) == []
