"""The clocks of devices: measured, brought onto one, resampled to one rate.

A device whose source has time stamps has a clock of its own. `align` puts all devices of a recording on one grid of
equal steps over the time that they share. Faster signals pass a low-pass filter first (scipy.signal.resample_poly, a
Kaiser-windowed FIR filter of zero phase), so that nothing above half the new rate is folded down into it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

import numpy as np
from numpy.typing import NDArray

from modelreg.data.recording import UNLABELLED, Recording, Signal
from modelreg.errors import InputError, Problem
from modelreg.records.data import ClockQuality, Limits

SAME = 1e-3  # of a step: time stamps that lie nearer to a moment of the grid are on it
REACH = 10  # samples to either side that the filter of resample_poly takes in, at the lower of the two rates
EARLY = 0.05  # a clock this much faster than a multiple of the rate is taken for that multiple
DRIFT = 0.1  # of a step: as far may a ratio of small numbers take the last sample from where its rate says it lies
FINEST = 10  # times as many steps as samples, at most, where time stamps come in bursts
SPARSE = 10_000  # times as long as its samples last: no clock runs that far, one of its time stamps is wrong

Times = NDArray[np.float64]  # (samples,) seconds


@dataclass(frozen=True)
class Grid:
    """The moments at which all devices of a recording are wanted, and between which samples of a device they lie."""

    moments: Times  # (n,)
    rate_hz: float

    @property
    def near(self) -> float:
        """Seconds within which a sample lies on a moment."""
        return SAME / self.rate_hz

    def between(self, time: Times) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the sample before and the one after each moment; the same one twice where a sample lies on it."""
        after = np.minimum(np.searchsorted(time, self.moments - self.near), len(time) - 1)
        on = np.abs(time[after] - self.moments) <= self.near
        return np.where(on, after, np.maximum(after - 1, 0)), after


def measure(signals: Mapping[str, Signal], limits: Limits) -> Iterator[ClockQuality]:
    """Yield what the time stamps of each device say, where it has any."""
    stamps = {device: signal.time for device, signal in signals.items() if signal.time is not None and len(signal.time)}
    earliest = min((time[0] for time in stamps.values()), default=0.0)
    for device, time in stamps.items():
        intervals = np.diff(time)
        passing = intervals[intervals > 0]
        usual = float(np.median(passing)) if len(passing) else 0.0
        gaps = intervals > longest_interval(signals[device].rate_hz, limits)
        yield ClockQuality(
            device=device,
            rate_hz=float(1 / intervals[~gaps].mean()) if usual and not gaps.all() else 0.0,
            nominal_hz=signals[device].rate_hz,
            offset_s=float(time[0] - earliest),
            jitter=float(np.std(intervals[~gaps]) / usual) if usual and not gaps.all() else 0.0,
            gaps=int(np.count_nonzero(gaps)),
            longest_gap_s=float(intervals.max(initial=0.0)),
            missing_rate=min(float(intervals[gaps].sum() / intervals.sum()), 1.0) if usual else 0.0,
        )


def longest_interval(rate_hz: float, limits: Limits) -> float:
    """Return the seconds beyond which an interval is a gap; a slow device's own intervals are none."""
    return max(limits.max_gap_s, 1.5 / rate_hz)


def judge(clock: ClockQuality, limits: Limits) -> Iterator[str]:
    """Yield every threshold that a clock breaks."""
    if clock.gaps:
        gaps = "one gap" if clock.gaps == 1 else f"{clock.gaps} gaps"
        limit = longest_interval(clock.nominal_hz, limits)
        yield f"{gaps} of more than {limit:g} s, the longest {clock.longest_gap_s:.3g} s"
    if clock.jitter > limits.max_jitter:
        yield f"intervals deviate by {clock.jitter:.3g} of the usual one, above {limits.max_jitter:g}"
    if clock.offset_s > limits.max_offset_s:
        yield f"starts {clock.offset_s:.3g} s after the first device, above {limits.max_offset_s:g} s"


def find_problems(recordings: Iterable[Recording]) -> Iterator[Problem]:
    """Yield each recording whose devices cannot be put on one clock."""
    for recording in recordings:
        signals = recording.signals
        stamped = [device for device, signal in signals.items() if signal.time is not None]
        if not all(len(signal.values) for signal in signals.values()):
            yield Problem(recording.name, "todo.alignment", "a device has no sample")
        elif len(recording.labels) != len(next(iter(signals.values())).values):
            yield Problem(
                recording.name, "todo.alignment", "its labels differ from its first device in the number of samples"
            )
        elif stamped and len(stamped) < len(signals):
            yield Problem(
                recording.name,
                "todo.alignment",
                f"only {', '.join(stamped)} has time stamps: its devices cannot be aligned",
            )
        elif stamped:
            yield from _find_apart(recording)
        else:
            yield from _find_unequal(recording)


def _find_apart(recording: Recording) -> Iterator[Problem]:
    start, end = _shared(recording.signals)
    if start > end:
        spans = ", ".join(f"{d} {t[0]:.3f} to {t[-1]:.3f} s" for d, t in _times(recording.signals).items())
        yield Problem(recording.name, "todo.alignment", f"its devices share no time: {spans}")
    for device, signal in recording.signals.items():
        seconds = len(signal.values) / signal.rate_hz
        span = 0.0 if signal.time is None else float(signal.time[-1] - signal.time[0])
        if span > SPARSE * max(seconds, 1.0):
            what = f"the time stamps of {device} span {span:.3g} s, its samples last {seconds:.3g} s: is one stray?"
            yield Problem(recording.name, "todo.alignment", what)


def _find_unequal(recording: Recording) -> Iterator[Problem]:
    """Without time stamps, devices of one rate must have equally many samples; others must last equally long."""
    signals = recording.signals
    seconds = {device: len(signal.values) / signal.rate_hz for device, signal in signals.items()}
    slowest = min(signal.rate_hz for signal in signals.values())
    one_rate = all(signal.rate_hz == slowest for signal in signals.values())
    if max(seconds.values()) - min(seconds.values()) > (0 if one_rate else 1 / slowest):
        lengths = ", ".join(f"{device} {length:.3f} s" for device, length in seconds.items())
        yield Problem(
            recording.name, "todo.alignment", f"its devices have no time stamps and last unequally long: {lengths}"
        )


def align(recording: Recording, rate_hz: float, limits: Limits) -> Recording:
    """Return the recording on one clock of `rate_hz`, without time stamps; as it is, where it is so already.

    Inside a gap of the clock (`limits.max_gap_s`), and beside a missing value, samples are missing (NaN).
    Labels are those of the nearest sample in time. Raises InputError where the devices cannot be aligned.
    """
    if problems := list(find_problems([recording])):
        raise InputError("devices cannot be put on one clock", problems)
    if not is_resampled(recording, rate_hz):
        return recording
    signals = recording.signals
    times = _times(signals)
    start, end = _shared(signals)
    grid = Grid(start + np.arange(int((end - start) * rate_hz + SAME) + 1) / rate_hz, rate_hz)
    return replace(
        recording,
        signals={
            device: _on(grid, signal, times[device], longest_interval(signal.rate_hz, limits))
            for device, signal in signals.items()
        },
        labels=recording.labels[_nearest(next(iter(times.values())), grid)],
    )


def is_resampled(recording: Recording, rate_hz: float) -> bool:
    """Return whether a device has a clock of its own, or another rate."""
    return any(signal.time is not None or signal.rate_hz != rate_hz for signal in recording.signals.values())


def reach(recording: Recording, rate_hz: float, limits: Limits) -> int:
    """Return how many samples of the new rate resampling takes in to either side; 0 where nothing is resampled."""
    if not is_resampled(recording, rate_hz):
        return 0
    signals = recording.signals.values()
    slower = max(1.0, *(rate_hz / signal.rate_hz for signal in signals))
    stamped = (longest_interval(signal.rate_hz, limits) for signal in signals if signal.time is not None)
    return ceil(REACH * slower + max(stamped, default=0.0) * rate_hz)


def _times(signals: Mapping[str, Signal]) -> dict[str, Times]:
    return {
        device: np.arange(len(signal.values)) / signal.rate_hz if signal.time is None else signal.time
        for device, signal in signals.items()
    }


def _shared(signals: Mapping[str, Signal]) -> tuple[float, float]:
    """Return the first and the last moment at which every device was recording."""
    times = _times(signals).values()
    return max(float(time[0]) for time in times), min(float(time[-1]) for time in times)


def labels_by(recording: Recording, device: str) -> NDArray[np.int32]:
    """Return the labels, which are on the clock of the first device, on the clock of another one.

    Where the first device did not record there is none. Devices of which one alone has time stamps share no clock
    that could be known: their labels stay as they are.
    """
    first, other = next(iter(recording.signals.values())), recording.signals[device]
    times = _times(recording.signals)
    time, moments = next(iter(times.values())), times[device]
    if other is first or (other.time is None) != (first.time is None) or len(recording.labels) != len(time):
        return recording.labels
    if not len(time):
        return np.full(len(moments), UNLABELLED, dtype=np.int32)
    step = 1 / first.rate_hz
    outside = (moments < time[0] - step) | (moments > time[-1] + step)
    return np.where(outside, np.int32(UNLABELLED), recording.labels[_nearest(time, Grid(moments, other.rate_hz))])


def _nearest(time: Times, grid: Grid) -> NDArray[np.intp]:
    """Return the sample nearest to each moment; the earlier one where two are."""
    before, after = grid.between(time)
    return np.where(grid.moments - time[before] <= time[after] - grid.moments + grid.near, before, after)


def _on(grid: Grid, signal: Signal, time: Times, max_gap_s: float) -> Signal:
    """Return a device's signal at the moments of the grid."""
    size = len(grid.moments)
    before, after = grid.between(time)
    on_grid = np.array_equal(before, after) and np.array_equal(before, before[0] + np.arange(size))
    if on_grid and (np.diff(time) > 0).all():
        values = signal.values[before].astype(np.float64)  # every sample lies on the grid already
    else:
        values = _resample(signal, time, grid)[:size]
        missing = ~np.isfinite(signal.values)
        values[missing[before] | missing[after]] = np.nan
    if signal.time is not None:  # without time stamps no gap is known, however slow the device
        values[time[after] - time[before] > max_gap_s] = np.nan
    with np.errstate(over="ignore"):
        return Signal(values.astype(np.float32), grid.rate_hz)


def _resample(signal: Signal, time: Times, grid: Grid) -> NDArray[np.float64]:
    """Return (at least len(grid), C): linear between samples of an irregular clock, then filtered and thinned out."""
    ratio, even = _even(signal, time, grid)
    values = np.column_stack([_interpolate(time, column, even) for column in signal.values.T])
    if ratio == 1:
        return values
    from scipy.signal import resample_poly  # 0.4 s: loaded where something is resampled

    resampled: NDArray[np.float64] = resample_poly(values, ratio.numerator, ratio.denominator, axis=0, padtype="edge")
    return resampled


def _even(signal: Signal, time: Times, grid: Grid) -> tuple[Fraction, Times]:
    """Return moments of equal steps, and the rate of the grid in steps of theirs."""
    size = len(grid.moments)
    if signal.time is None:
        exact = grid.rate_hz / signal.rate_hz
        ratio = Fraction(exact).limit_denominator(1000)
        if abs(ratio / exact - 1) * size <= DRIFT and ceil(len(time) * ratio) >= size:
            return ratio, time
    usual = float(np.median(np.diff(np.unique(time)))) if time[-1] > time[0] else 1 / grid.rate_hz
    finest = max(1, FINEST * len(time) // size)
    steps = max(1, min(finest, ceil(1 / usual / grid.rate_hz - EARLY)))
    return Fraction(1, steps), grid.moments[0] + np.arange((size - 1) * steps + 1) / (grid.rate_hz * steps)


def _interpolate(time: Times, column: NDArray[np.float32], moments: Times) -> NDArray[np.float64]:
    """Return one channel at other moments, linearly between its finite samples; equal time stamps are averaged."""
    finite = np.isfinite(column)
    if not finite.any():
        return np.zeros(len(moments))
    stamps, where = np.unique(time[finite], return_inverse=True)
    means = np.bincount(where, weights=column[finite]) / np.bincount(where)
    return np.interp(moments, stamps, means)
