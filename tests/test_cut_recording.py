"""cut_recording: the windows that training cuts, from frames; and what is left out is said."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import places
from test_runtime_streaming import CHANNELS, LIMITS, RATE_HZ, offline, signal, spec

from modelreg.data import frames, sampling_rate, unfit_windows
from modelreg.data.recording import Signal
from modelreg.errors import InputError
from modelreg.records.data import Limits, Normalization
from modelreg.runtime.normalization import Scale
from modelreg.workflows import cut_recording

NEAR = 0.01  # in values: a sample within 0.1 % of a step counts as on it
NAMES = tuple(channel.name for channel in CHANNELS)


def cut(signals: dict[str, Signal], hop: int, timesteps: int = 8) -> cut_recording.Cuts:
    """Cut signals with time stamps, given as columns."""
    own = spec(tuple(signals), timesteps)
    columns = {
        device: {"time": found.time, **dict(zip(NAMES, found.values.T, strict=True))}
        for device, found in signals.items()
    }
    return cut_recording.cut(frames.read_recording(columns, own), own, hop, LIMITS)


def clock(generator: np.random.Generator, samples: int, gaps: int = 0) -> np.ndarray:
    """Time stamps with jitter, and gaps of seconds."""
    steps = generator.uniform(0.98, 1.02, samples) / RATE_HZ
    steps[generator.integers(1, samples, gaps)] += generator.uniform(0.6, 30)
    return np.cumsum(steps)


@given(seed=st.integers(0, 2**32), hop=st.integers(1, 12), gaps=st.integers(0, 2), missing=st.integers(0, 3))
def test_one_device_gives_the_windows_of_training(seed, hop, gaps, missing) -> None:
    """Jitter, gaps and missing values."""
    generator = np.random.default_rng(seed)
    signals = {"watch": Signal(signal(generator, 90, missing), RATE_HZ, clock(generator, 90, gaps))}
    found, expected = cut(signals, hop), offline(signals, hop)

    np.testing.assert_array_equal(np.rint(found.start * RATE_HZ), list(expected))
    np.testing.assert_allclose(
        found.x, np.array(list(expected.values())).reshape(found.x.shape), atol=0.01
    )  # a sample within 0.1 % of a step counts as on it


@given(seed=st.integers(0, 2**32), hop=st.integers(1, 12), lead=st.floats(0, 20))
def test_two_devices_give_the_windows_of_training(seed, hop, lead) -> None:
    """One begins long before the other; windows begin where both do."""
    generator = np.random.default_rng(seed)
    early, late = int(lead * RATE_HZ) + 90, 90
    signals = {
        "watch": Signal(signal(generator, early), RATE_HZ, clock(generator, early)),
        "phone": Signal(signal(generator, late), RATE_HZ, lead + clock(generator, late)),
    }
    found, expected = cut(signals, hop), offline(signals, hop)
    origin = max(found_.time[0] for found_ in signals.values()) - min(found_.time[0] for found_ in signals.values())

    np.testing.assert_array_equal(np.rint((found.start - origin) * RATE_HZ), list(expected))
    np.testing.assert_allclose(
        found.x, np.array(list(expected.values())).reshape(found.x.shape), atol=0.01
    )  # a sample within 0.1 % of a step counts as on it


@pytest.mark.parametrize("rate", [5.0, 9.75, 10.25, 20.0])
def test_another_rate_is_refused(rate) -> None:
    """With the rate that was found and the one that is expected."""
    time = np.arange(200) / rate
    with pytest.raises(InputError) as caught:
        cut({"watch": Signal(np.zeros((200, 2), np.float32), rate, time)}, 4)

    [problem] = caught.value.problems
    assert (problem.where, problem.rule) == ("watch", "recordings.rate-mismatch")
    assert f" {rate:g} Hz" in problem.message


@pytest.mark.parametrize("rate", [9.85, 10.0, 10.15])
def test_a_rate_within_the_tolerance_is_resampled(rate) -> None:
    """The windows lie on the model's grid."""
    found = cut({"watch": Signal(np.zeros((200, 2), np.float32), rate, np.arange(200) / rate)}, 4)

    np.testing.assert_allclose(np.diff(found.start), 0.4)


@given(seed=st.integers(0, 2**32), lost=st.floats(0, 0.3), rate=st.floats(1, 200))
def test_lost_samples_do_not_change_the_rate(seed, lost, rate) -> None:
    """Nor do repeated times and gaps."""
    generator = np.random.default_rng(seed)
    time = np.arange(400) / rate
    kept = time[generator.random(400) >= lost]
    kept[len(kept) // 2 :] += 50 / rate

    assert sampling_rate.measure(np.sort(np.concatenate([kept, kept[:20]]))).hz == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize("time", [np.zeros(5), np.zeros(1), np.zeros(0)])
def test_a_clock_with_equal_times_has_no_rate(time) -> None:
    """It does not fit any model."""
    assert sampling_rate.measure(time).hz == 0.0


def values_at(time: np.ndarray) -> dict[str, Signal]:
    """A signal of zeros on a clock."""
    return {"watch": Signal(np.zeros((len(time), 2), np.float32), RATE_HZ, time)}


def jittered(generator: np.random.Generator, samples: int, rate: float, jitter: float) -> np.ndarray:
    """Sorted moments that lie up to `jitter` steps off a regular clock."""
    return np.sort(np.arange(samples) + generator.uniform(-jitter, jitter, samples)) / rate


@given(seed=st.integers(0, 2**32), jitter=st.floats(0, 0.6), samples=st.integers(150, 800))
def test_jitter_does_not_change_the_rate(seed, jitter, samples) -> None:
    """Half a step and a little more, at the right mean rate: every window is cut."""
    time = jittered(np.random.default_rng(seed), samples, RATE_HZ, jitter)
    found = cut(values_at(time), 8)

    assert sampling_rate.measure(time).hz == pytest.approx(RATE_HZ, rel=0.015)
    assert (samples - 3) // 8 <= len(found.x) <= (samples + 1) // 8


@given(seed=st.integers(0, 2**32), jitter=st.floats(0, 0.2), lost=st.floats(0, 0.3))
def test_lost_samples_of_a_clock_with_jitter_do_not_change_the_rate(seed, jitter, lost) -> None:
    """As long as the multiples of its step can be distinguished."""
    generator = np.random.default_rng(seed)
    time = jittered(generator, 400, RATE_HZ, jitter)
    time[200:] += 12.34

    assert sampling_rate.measure(time[generator.random(400) >= lost]).hz == pytest.approx(RATE_HZ, rel=0.01)


@given(seed=st.integers(0, 2**32), jitter=st.floats(0, 0.6), rate=st.sampled_from([5.0, 9.5, 10.5, 20.0]))
def test_jitter_does_not_hide_another_rate(seed, jitter, rate) -> None:
    """Half, twice, and 5 % to either side."""
    with pytest.raises(InputError) as caught:
        cut(values_at(jittered(np.random.default_rng(seed), 400, rate, jitter)), 8)

    assert places(caught.value.problems) == [("watch", "recordings.rate-mismatch")]


def test_alternating_intervals_have_their_mean_rate() -> None:
    """Half a step and one and a half: no clock of twice the rate that loses every other sample."""
    time = np.cumsum(np.tile([0.05, 0.15], 100)) - 0.05

    for samples in (199, 200):
        assert sampling_rate.measure(time[:samples]).hz == pytest.approx(RATE_HZ, rel=0.01)


@pytest.mark.parametrize("gap", [0.0, 50.0])
def test_the_rate_of_an_irregular_clock_can_be_computed_again(gap) -> None:
    """From the message: intervals by duration, gaps left out."""
    time = jittered(np.random.default_rng(0), 400, 8.0, 0.6)
    time[200:] += gap
    with pytest.raises(InputError) as caught:
        cut(values_at(time), 8)
    [problem] = caught.value.problems
    found = re.search(r"irregularly, at ([\d.]+) Hz on average \((\d+) intervals in ([\d.]+) s(.*?)\)", problem.message)

    assert found is not None
    assert float(found[1]) == pytest.approx(int(found[2]) / float(found[3]), rel=1e-3)
    assert (int(found[2]), found[4]) == ((398, ", 1 gap left out") if gap else (399, ""))
    assert gap or float(found[3]) == pytest.approx(time[-1] - time[0], rel=1e-5)


@pytest.mark.parametrize("within", [0.001, 0.0101])
def test_packets_are_not_a_rate(within) -> None:
    """Ten samples of a packet have about the same time, so their mean rate is meaningless."""
    time = np.concatenate([packet + np.arange(10) * within for packet in range(50)])
    with pytest.raises(InputError) as caught:
        cut(values_at(time), 8)

    assert places(caught.value.problems) == [("watch", "recordings.irregular-sampling")]


@pytest.mark.parametrize("first", [0.0, 1.7e9])
@pytest.mark.parametrize(("unit", "parts"), [("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9)])
def test_another_unit_of_time_is_named(unit, parts, first) -> None:
    """Since the start, or since 1970; the next step names the divisor."""
    time = np.rint((first + np.arange(200) / RATE_HZ) * parts).astype(np.int64)
    with pytest.raises(InputError) as caught:
        cut(values_at(time), 8)

    [problem] = caught.value.problems
    assert (problem.where, problem.rule) == ("watch", "recordings.time-unit")
    assert (unit in problem.message, problem.next.endswith(f" {parts}")) == (True, True)


@pytest.mark.parametrize(("unit", "short", "parts"), [("milliseconds", "ms", 1000), ("microseconds", "us", 10**6)])
def test_datetimes_that_were_read_in_another_unit_are_named(unit, short, parts) -> None:
    """As pandas.to_datetime reads integers without a unit."""
    time = (np.arange(200) * round(parts / RATE_HZ)).astype("datetime64[ns]")
    with pytest.raises(InputError) as caught:
        cut(values_at(time), 8)

    [problem] = caught.value.problems
    assert (problem.where, problem.rule) == ("watch", "recordings.time-unit")
    assert (unit in problem.message, f"unit='{short}'" in problem.next) == (True, True)


def test_equal_times_are_named() -> None:
    """Their rate would be zero."""
    with pytest.raises(InputError) as caught:
        cut(values_at(np.zeros(90)), 8)

    assert places(caught.value.problems) == [("watch", "recordings.times-equal")]


@pytest.mark.parametrize(
    ("repeated", "words"), [(1, "1 sample left out: it repeats the"), (2, "2 samples left out: they repeat the")]
)
def test_repeated_times_are_counted(repeated, words) -> None:
    """In the singular and the plural."""
    time = np.arange(90) / RATE_HZ
    found = cut(values_at(np.sort(np.concatenate([time, time[5 : 5 + repeated]]))), 8)

    assert [notice.message for notice in found.notices] == [f"{words} time of the sample before"]


def test_devices_that_share_no_time_are_refused() -> None:
    """Their clocks may differ."""
    values, time = np.zeros((90, 2), np.float32), np.arange(90) / RATE_HZ
    with pytest.raises(InputError) as caught:
        cut({"watch": Signal(values, RATE_HZ, time), "phone": Signal(values, RATE_HZ, time + 3600)}, 4)

    assert places(caught.value.problems) == [("watch", "recordings.devices-apart")]


def test_a_stray_time_costs_no_memory() -> None:
    """A sample of fifty years later is a gap."""
    time = np.arange(90) / RATE_HZ
    time[-1] += 50 * 365.25 * 86400
    values = np.zeros((90, 2), np.float32)
    found = cut({device: Signal(values, RATE_HZ, time) for device in ("watch", "phone")}, 8)

    assert len(found.x) == 11


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("window", [3]), "window 3"),
        (("window", [3, 4, 5, 6]), "windows 3, 4, 5 and 1 other"),
        (("window", [3.5], 4, " s"), "windows at 3.5 s and 3 others"),
        (("gap", np.array([12345.678]), None, " s"), "gap at 12345.68 s"),
    ],
)
def test_a_few_places_are_named(arguments, text) -> None:
    """And the number of others."""
    assert cut_recording.places(*arguments) == text


@given(seed=st.integers(0, 2**32), windows=st.integers(0, 12))
def test_unfit_windows_are_those_that_the_device_refuses(seed, windows) -> None:
    """Window by window, the runtime finds the same."""
    generator = np.random.default_rng(seed)
    own = spec()
    x = generator.normal(size=(windows, 2, 1, 8)).astype(np.float32)
    x[generator.random(x.shape) < 0.02] = np.nan
    limits = Limits(channels={"a": (-2.0, 2.5)})
    scale = Scale(normalization(limits))
    refused = [
        number
        for number, window in enumerate(x)
        if not np.isfinite(window).all() or list(scale.find_out_of_limits(window))
    ]
    found = {int(number) for unfit in unfit_windows.find(x, own, limits) for number in unfit.windows}

    assert sorted(found) == refused


def normalization(limits: Limits) -> Normalization:
    """One that changes nothing, with these limits."""
    return Normalization(
        per="channel",
        samples=1,
        data_digest="0" * 64,
        channels=CHANNELS,
        devices=("watch",),
        rate_hz=RATE_HZ,
        timesteps=8,
        fold=1,
        mean=((0.0, 0.0),),
        std=((1.0, 1.0),),
        limits=limits,
    )
