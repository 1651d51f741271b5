"""Clocks: measured, compared with limits, aligned; resampled signals pass a filter."""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from places import places

from modelreg.data import alignment
from modelreg.data.recording import Recording, Signal
from modelreg.errors import InputError
from modelreg.records.data import Limits

LIMITS = Limits()


def sine(time: np.ndarray, hz: float = 1.0) -> np.ndarray:
    """One channel, (samples, 1)."""
    return np.sin(2 * np.pi * hz * time).astype(np.float32)[:, None]


def recording(signals: dict[str, Signal], labels: np.ndarray | None = None) -> Recording:
    """A recording whose samples all have label 0."""
    first = next(iter(signals.values()))
    return Recording("r", "s", "1", signals, np.zeros(len(first.values), np.int32) if labels is None else labels)


def stamped(rate: float, seconds: float, *, start: float = 0.0, jitter: float = 0.0, hz: float = 1.0) -> Signal:
    """A sine with time stamps, whose intervals have jitter."""
    steps = np.arange(int(seconds * rate)) / rate
    time = start + steps + np.random.default_rng(1).uniform(-jitter / 2, jitter / 2, len(steps)) / rate
    return Signal(sine(time, hz), rate, time)


def uniform(rate: float, seconds: float, hz: float = 1.0) -> Signal:
    """A sine without time stamps."""
    return Signal(sine(np.arange(int(seconds * rate)) / rate, hz), rate)


def aligned(signals: dict[str, Signal], rate: float, **changes) -> Recording:
    """Put devices on one clock."""
    return alignment.align(recording(signals), rate, LIMITS.model_copy(update=changes))


def middle(signal: Signal) -> np.ndarray:
    """The values without a second at either end, where the filter has fewer samples."""
    edge = int(signal.rate_hz)
    return signal.values[edge:-edge, 0]


def amplitude(signal: Signal) -> float:
    """Return the amplitude of a sine, by its power."""
    return float(np.sqrt(2 * np.mean(middle(signal).astype(np.float64) ** 2)))


def test_two_irregular_clocks_agree_in_phase() -> None:
    """Devices of different rates that start apart show the same sine at the same sample."""
    both = {"phone": stamped(97, 20, start=5.0, jitter=0.5), "watch": stamped(103, 20, start=5.83, jitter=0.5)}
    found = aligned(both, 50).signals

    assert np.abs(middle(found["phone"]) - middle(found["watch"])).max() < 0.02


def test_an_irregular_clock_is_resampled_to_the_sine() -> None:
    """The oracle is the function that was sampled."""
    found = aligned({"watch": stamped(100, 20, start=3.0, jitter=0.6)}, 50).signals["watch"]
    time = stamped(100, 20, start=3.0, jitter=0.6).time[0] + np.arange(len(found.values)) / 50

    assert np.abs(middle(found) - sine(time)[50:-50, 0]).max() < 0.02


@pytest.mark.parametrize("make", [uniform, stamped])
def test_frequencies_above_half_the_new_rate_are_filtered_out(make) -> None:
    """40 Hz would alias to 10 Hz at a rate of 50 Hz: they are attenuated by more than 30 dB."""
    assert amplitude(aligned({"d": make(100, 20, hz=40)}, 50).signals["d"]) < 10 ** (-30 / 20)


@pytest.mark.parametrize("make", [uniform, stamped])
def test_lower_frequencies_pass(make) -> None:
    """3 Hz within 1 %."""
    assert amplitude(aligned({"d": make(100, 20, hz=3)}, 50).signals["d"]) == pytest.approx(1, rel=0.01)


@given(
    rate=st.sampled_from([20.0, 25.0, 50.0, 62.5, 100.0, 104.0]),
    other=st.sampled_from([25.0, 50.0, 99.0]),
    target=st.sampled_from([20.0, 25.0, 50.0, 100.0]),
    start=st.floats(0, 0.9),
    jitter=st.sampled_from([0.0, 0.3, 0.9]),
)
def test_every_device_has_the_same_length(rate, other, target, start, jitter) -> None:
    """Labels, too; every value is finite."""
    found = aligned({"a": stamped(rate, 4, jitter=jitter), "b": stamped(other, 4, start=start)}, target)
    lengths = {len(found.labels), *(len(signal.values) for signal in found.signals.values())}

    assert (len(lengths), all(np.isfinite(signal.values).all() for signal in found.signals.values())) == (1, True)


@given(st.sampled_from([(100.0, 50.0), (25.0, 50.0), (62.5, 50.0), (50.0, 20.0), (30.0, 50.0)]))
def test_the_length_follows_the_rate(rates: tuple[float, float]) -> None:
    """From the first to the last sample, at the new rate."""
    old, new = rates
    signal = uniform(old, 10)
    found = aligned({"d": signal}, new).signals["d"]

    assert len(found.values) == int((len(signal.values) - 1) / old * new + 1e-3) + 1


def test_a_recording_on_one_clock_of_the_rate_is_unchanged() -> None:
    """It is the same object."""
    made = recording({"a": uniform(50, 3), "b": uniform(50, 3)})

    assert alignment.align(made, 50, LIMITS) is made


def test_stamps_on_the_grid_keep_every_bit() -> None:
    """Nothing is interpolated."""
    signal = stamped(50, 5, start=1.0)

    np.testing.assert_array_equal(aligned({"d": signal}, 50).signals["d"].values, signal.values)


def test_equal_stamps_are_averaged() -> None:
    """Two samples at one moment become their mean."""
    time = np.array([0.0, 0.1, 0.1, 0.2, 0.3])
    values = np.array([[0], [1], [3], [0], [0]], np.float32)

    assert aligned({"d": Signal(values, 10.0, time)}, 10).signals["d"].values[:, 0].tolist() == [0, 2, 0, 0]


def gapped(seconds: float) -> Signal:
    """A clock with a gap after 2 s."""
    time = np.arange(200) / 50
    return Signal(sine(time), 50.0, np.where(time >= 2, time + seconds, time))


def test_a_gap_is_missing_inside_and_only_there() -> None:
    """Between 1.98 s, the last sample before it, and 5 s, the first one after."""
    found = aligned({"d": gapped(3.0)}, 50).signals["d"].values[:, 0]

    assert np.flatnonzero(np.isnan(found)).tolist() == list(range(100, 250))


def test_a_short_gap_is_interpolated() -> None:
    """0.3 s are below the limit."""
    assert np.isfinite(aligned({"d": gapped(0.3)}, 50).signals["d"].values).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_moments_next_to_a_missing_sample_are_missing(bad) -> None:
    """And no others; the filter gets an interpolated value."""
    signal = stamped(50, 4)
    signal.values[100] = bad  # at 2 s; the grid is 10 ms later
    found = aligned({"d": signal, "e": stamped(50, 4, start=0.01)}, 50).signals["d"].values[:, 0]

    assert np.flatnonzero(np.isnan(found)).tolist() == [99, 100]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_missing_sample_on_the_grid_is_the_only_missing_one(bad) -> None:
    """Its neighbours are not interpolated."""
    signal = stamped(50, 4)
    signal.values[100] = bad

    assert np.flatnonzero(~np.isfinite(aligned({"d": signal}, 50).signals["d"].values)).tolist() == [100]


def test_a_channel_without_any_value_stays_missing() -> None:
    """No value is invented."""
    signal = Signal(np.full((100, 1), np.nan, np.float32), 100.0)

    assert np.isnan(aligned({"d": signal}, 50).signals["d"].values).all()


def test_labels_are_those_of_the_nearest_sample() -> None:
    """A change between two moments is at the nearer one."""
    labels = np.repeat([0, 1], 50).astype(np.int32)
    found = alignment.align(recording({"d": uniform(100, 1)}, labels), 50, LIMITS)

    assert found.labels.tolist() == [0] * 25 + [1] * 25


def test_a_shifted_clock_is_found_judged_and_corrected() -> None:
    """By its offset, with a message, by alignment."""
    both = {"phone": stamped(50, 20), "watch": stamped(50, 20, start=3.25)}
    _, watch = alignment.measure(both, LIMITS)
    found = aligned(both, 50).signals
    lag = np.correlate(middle(found["phone"]), middle(found["watch"]), "full").argmax() - (
        len(middle(found["phone"])) - 1
    )

    assert (watch.offset_s, [found.message for found in alignment.judge(watch, LIMITS)], lag) == (
        3.25,
        ["starts 3.25 s after the first device, above 2 s"],
        0,
    )


def test_jitter_is_measured_in_intervals() -> None:
    """The standard deviation that numpy gives."""
    signal = stamped(50, 20, jitter=0.8)
    (clock,) = alignment.measure({"d": signal}, LIMITS)
    intervals = np.diff(signal.time)

    assert clock.jitter == pytest.approx(intervals.std() / np.median(intervals))


def test_jitter_is_judged() -> None:
    """Above its limit."""
    (clock,) = alignment.measure({"d": stamped(50, 20, jitter=0.8)}, LIMITS.model_copy(update={"max_jitter": 0.1}))

    assert "jitter" in next(alignment.judge(clock, LIMITS.model_copy(update={"max_jitter": 0.1}))).message


def test_gaps_are_counted_and_judged() -> None:
    """Their number, the longest, and their share of the time."""
    (clock,) = alignment.measure({"d": gapped(2.0)}, LIMITS)

    assert (clock.gaps, [found.message for found in alignment.judge(clock, LIMITS)], round(clock.missing_rate, 2)) == (
        1,
        ["one gap longer than 0.5 s, the longest 2.02 s"],
        0.34,
    )


def test_several_gaps_are_in_one_message() -> None:
    """With their number."""
    time = np.array([0, 1, 2, 2.02, 2.04])
    (clock,) = alignment.measure({"d": Signal(np.zeros((5, 1), np.float32), 50.0, time)}, LIMITS)

    assert next(alignment.judge(clock, LIMITS)).message.startswith("2 gaps")


@pytest.mark.parametrize("time", [np.zeros(1), np.zeros(3)])
def test_a_clock_that_never_moves_is_measured(time) -> None:
    """One sample, or all at one moment: no rate, no jitter."""
    (clock,) = alignment.measure({"d": Signal(np.zeros((len(time), 1), np.float32), 50.0, time)}, LIMITS)

    assert (clock.rate_hz, clock.jitter, clock.missing_rate) == (0.0, 0.0, 0.0)


def test_a_device_without_stamps_has_no_clock_to_judge() -> None:
    """Its samples are at equal steps."""
    assert list(alignment.measure({"d": uniform(50, 2)}, LIMITS)) == []


def test_a_clock_that_never_moves_is_aligned() -> None:
    """To one sample."""
    found = aligned({"d": Signal(np.ones((3, 1), np.float32), 50.0, np.full(3, 7.0))}, 20)

    assert found.signals["d"].values.tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("signals", "rule"),
    [
        ({"a": stamped(50, 2), "b": uniform(50, 2)}, "time-stamps-missing"),
        ({"a": stamped(50, 2), "b": stamped(50, 2, start=9)}, "devices-apart"),
        ({"a": uniform(50, 2), "b": uniform(50, 3)}, "unequal-duration"),
        ({"a": uniform(50, 2), "b": uniform(25, 3)}, "unequal-duration"),
        ({"a": Signal(np.empty((0, 1), np.float32), 50.0)}, "no-samples"),
    ],
)
def test_devices_that_cannot_be_aligned_are_refused(signals, rule) -> None:
    """With the recording."""
    with pytest.raises(InputError) as caught:
        aligned(signals, 20)

    assert places(caught.value.problems) == [("r", f"recordings.{rule}")]


def test_too_few_labels_are_refused() -> None:
    """Each sample of the first device has one."""
    with pytest.raises(InputError) as caught:
        alignment.align(recording({"d": uniform(50, 2)}, np.zeros(3, np.int32)), 20, LIMITS)

    assert places(caught.value.problems) == [("r", "recordings.labels-length")]


def test_unequal_rates_may_differ_by_a_sample_of_the_slower() -> None:
    """2 s at 50 Hz are 2 s at 25 Hz."""
    found = aligned({"a": uniform(50, 2), "b": uniform(25, 2)}, 25)

    assert {len(signal.values) for signal in found.signals.values()} == {50}


def test_equal_stamps_at_the_end_are_averaged() -> None:
    """Also if all other samples are on the grid."""
    time = np.array([0.0, 0.1, 0.2, 0.2])
    values = np.array([[0], [1], [2], [4]], np.float32)

    np.testing.assert_allclose(aligned({"d": Signal(values, 10.0, time)}, 10).signals["d"].values[:, 0], [0, 1, 3])


@pytest.mark.parametrize("old", [49.98, 50.02, 33.3333, 1000 / 19.99])
def test_a_rate_that_no_small_ratio_meets_does_not_drift(old: float) -> None:
    """After ten minutes the sine has the same phase."""
    found = middle(aligned({"d": uniform(old, 600)}, 50).signals["d"])
    time = 1 + np.arange(len(found)) / 50

    assert np.abs(found - sine(time)[:, 0]).max() < 0.02


@given(
    rates=st.lists(st.floats(0.5, 500), min_size=1, max_size=3),
    target=st.floats(0.5, 500),
    seconds=st.floats(0, 3),
)
@example(rates=[1000.0], target=0.4, seconds=9.0)
@example(rates=[49.999], target=50.0, seconds=600.0)
def test_any_rate_is_resampled_to_any_other(rates: list[float], target: float, seconds: float) -> None:
    """Devices of equal duration have equal numbers of samples and labels; no finite value is lost."""
    signals = {f"d{n}": Signal(np.ones((1 + round(seconds * r), 1), np.float32), r) for n, r in enumerate(rates)}
    assume(not list(alignment.find_problems([recording(signals)])))
    found = aligned(signals, target)
    lengths = {len(found.labels), *(len(signal.values) for signal in found.signals.values())}

    assert (len(lengths), all(np.isfinite(s.values).all() for s in found.signals.values())) == (1, True)


STEPS = st.sampled_from([0.0, 1e-6, 0.01, 0.02, 0.3, 0.7, 1.1])


@given(
    intervals=st.lists(STEPS, max_size=40),
    others=st.lists(STEPS, max_size=40),
    target=st.sampled_from([1.0, 7.3, 50.0]),
)
def test_any_clock_is_measured_and_aligned(intervals: list[float], others: list[float], target: float) -> None:
    """Bursts, equal stamps and gaps: missing are moments inside a gap, and no other."""
    stamps = {d: np.cumsum([0.0, *steps]) for d, steps in (("a", intervals), ("b", others))}
    signals = {d: Signal(np.ones((len(time), 1), np.float32), 50.0, time) for d, time in stamps.items()}
    found = aligned(signals, target)
    rates = [clock.missing_rate for clock in alignment.measure(signals, LIMITS)]
    gaps = {d: (np.diff(time) > LIMITS.max_gap_s).any() for d, time in stamps.items()}

    assert all(0 <= rate <= 1 for rate in rates)
    assert len({len(found.labels), *(len(s.values) for s in found.signals.values())}) == 1
    assert all(gaps[d] or (s.values == 1).all() for d, s in found.signals.items())


def test_bursts_cost_no_memory() -> None:
    """Time stamps 1 µs apart do not make a grid of microseconds."""
    time = np.repeat(np.arange(500) * 0.1, 5) + np.tile(np.arange(5) * 1e-6, 500)
    grid = alignment.Grid(np.arange(2495) / 50, 50.0)
    _, even = alignment._even(Signal(np.ones((2500, 1), np.float32), 50.0, time), time, grid)

    assert len(even) <= alignment.FINEST * len(time)


@pytest.mark.parametrize(("old", "new"), [(100.0, 50.0), (70.0, 50.0), (25.0, 50.0), (20.0, 50.0)])
def test_the_filter_reaches_no_further_than_documented(old: float, new: float) -> None:
    """Another last sample changes, to the bit, nothing but the last REACH at the lower of the rates."""
    made, wild = uniform(old, 10), uniform(old, 10)
    wild.values[-1] = 1e4
    before, after = (aligned({"d": signal}, new).signals["d"].values for signal in (made, wild))
    reach = int(np.ceil(alignment.REACH * max(1, new / old))) + 1

    np.testing.assert_array_equal(before[:-reach], after[:-reach])


def test_a_slow_device_without_stamps_has_no_gaps() -> None:
    """Its samples are 1 s apart by its rate: nothing is missing."""
    assert np.isfinite(aligned({"d": uniform(1, 20)}, 10).signals["d"].values).all()


def test_a_stray_stamp_is_refused() -> None:
    """A clock that starts in 1970 and continues today would be a grid of years."""
    signal = stamped(50, 20, start=1.7e9)
    signal.time[0] = 0.0
    with pytest.raises(InputError) as caught:
        aligned({"d": signal}, 50)

    assert places(caught.value.problems) == [("r", "recordings.stray-time")]


def test_labels_are_moved_to_another_clock() -> None:
    """Each sample has the label of its time; samples outside are unlabelled."""
    labels = np.repeat([0, 1], 50).astype(np.int32)
    made = recording({"a": stamped(50, 2), "b": stamped(25, 4, start=0.5)}, labels)
    time = made.signals["b"].time
    expected = np.where(time > 2, -1, (time > 0.99).astype(int))

    np.testing.assert_array_equal(alignment.labels_by(made, "b"), expected)


@pytest.mark.parametrize("other", [uniform(50, 2), stamped(50, 2)])
def test_labels_of_an_unknown_clock_are_unchanged(other: Signal) -> None:
    """Those of the first device, and of devices that cannot be compared."""
    made = recording({"a": uniform(50, 2), "b": other}, np.arange(100, dtype=np.int32))

    assert alignment.labels_by(made, "a" if other.time is None else "b") is made.labels


def test_a_device_without_samples_has_no_labels() -> None:
    """The samples of the other device are unlabelled."""
    made = recording({"a": Signal(np.empty((0, 1), np.float32), 50.0), "b": uniform(50, 1)})

    assert set(alignment.labels_by(made, "b").tolist()) == {-1}


@pytest.mark.parametrize(
    ("signal", "new", "expected"),
    [
        (uniform(50, 2), 50, 0),  # nothing is resampled
        (uniform(100, 2), 50, 10),  # ten samples of the slower rate, which is the new one
        (uniform(25, 2), 100, 40),  # which is the old one
        (stamped(50, 2), 50, 35),  # and half a second over which a clock is interpolated
    ],
)
def test_the_reach_of_resampling_is_known(signal, new, expected) -> None:
    """In samples of the new rate, to each side."""
    assert alignment.reach(recording({"d": signal}), new, LIMITS) == expected


def test_a_slow_device_is_not_all_gaps() -> None:
    """Its usual interval is longer than the limit."""
    signal = Signal(np.arange(20, dtype=np.float32)[:, None], 1.0, np.arange(20.0))

    assert np.isfinite(aligned({"d": signal}, 2).signals["d"].values).all()
