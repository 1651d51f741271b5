"""Measure the clocks of devices, and resample all devices of a recording to one clock and rate.

Every device with time stamps has its own clock. `align` resamples all devices of a recording to one grid of equal steps
over the time in which all of them recorded. Faster signals pass a low-pass filter first (scipy.signal.resample_poly, a
Kaiser-windowed FIR filter of zero phase), so that frequencies above half the new rate do not alias.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.recording import UNLABELLED, PartClock, Recording, Signal
from modelreg.errors import InputError, Problem
from modelreg.records.data import ClockQuality, Limits

SAME = 1e-3  # steps: a time stamp this near to a moment of the grid is on it
REACH = 10  # samples to each side that the filter of resample_poly uses, at the lower of the two rates
EARLY = 0.05  # a clock this share faster than a multiple of the rate counts as that multiple
DRIFT = 0.1  # steps: the largest error of the last sample that an approximate ratio of rates may cause
FINEST = 10  # steps per sample at most, if time stamps come in bursts
SPARSE = 10_000  # a clock that spans this many times the duration of its samples has a wrong time stamp
LOST_S, LOST_SHARE = 1.0, 0.05  # seconds, or share of the time, that parts of one device may not share

UNALIGNED = "cannot align the devices"

Times = NDArray[np.float64]  # (samples,) seconds


@dataclass(frozen=True)
class Grid:
    """The moments of the common clock of a recording's devices."""

    moments: Times  # (n,)
    rate_hz: float

    @property
    def near(self) -> float:
        """Seconds within which a sample is on a moment."""
        return SAME / self.rate_hz

    def between(self, time: Times) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the samples before and after each moment; the same one twice if it is on the moment."""
        after = np.minimum(np.searchsorted(time, self.moments - self.near), len(time) - 1)
        on = np.abs(time[after] - self.moments) <= self.near
        return np.where(on, after, np.maximum(after - 1, 0)), after


def measure(signals: Mapping[str, Signal], limits: Limits) -> Iterator[ClockQuality]:
    """Yield the quality of each device's clock, for devices with time stamps; of several parts, that of each."""
    clocks = [
        (device, number, clock)
        for device, signal in signals.items()
        for number, clock in _clocks(signal)
        if len(clock.time)
    ]
    earliest = min((clock.time[0] for _, _, clock in clocks), default=0.0)
    for device, number, (time, rate_hz) in clocks:
        intervals = np.diff(time)
        passing = intervals[intervals > 0]
        usual = float(np.median(passing)) if len(passing) else 0.0
        gaps = intervals > longest_interval(rate_hz, limits)
        yield ClockQuality(
            device=device,
            part=number,
            rate_hz=float(1 / intervals[~gaps].mean()) if usual and not gaps.all() else 0.0,
            nominal_hz=rate_hz,
            offset_s=float(time[0] - earliest),
            jitter=float(np.std(intervals[~gaps]) / usual) if usual and not gaps.all() else 0.0,
            gaps=int(np.count_nonzero(gaps)),
            longest_gap_s=float(intervals.max(initial=0.0)),
            missing_rate=min(float(intervals[gaps].sum() / intervals.sum()), 1.0) if usual else 0.0,
        )


def _clocks(signal: Signal) -> Iterator[tuple[int | None, PartClock]]:
    """Yield the clock of a signal, or of each of its parts with its number; nothing without time stamps."""
    if signal.parts:
        yield from enumerate(signal.parts, 1)
    elif signal.time is not None:
        yield None, PartClock(signal.time, signal.rate_hz)


def longest_interval(rate_hz: float, limits: Limits) -> float:
    """Return the longest interval in seconds that is not a gap; the usual interval of a slow device never is."""
    return max(limits.max_gap_s, 1.5 / rate_hz)


class Exceeded(NamedTuple):
    """A threshold that the clocks of a device exceed."""

    cause: str  # without numbers of this clock
    message: str
    size: float
    next: str


def judge(clock: ClockQuality, limits: Limits) -> Iterator[Exceeded]:
    """Yield every threshold that a clock exceeds, with the number of its part if the device has several."""
    for found in _exceeded(clock, limits):
        if clock.part is None:
            yield found
        else:
            part = f"part {clock.part}"
            yield found._replace(cause=f"{part}: {found.cause}", message=f"{part}: {found.message}")


def judge_parts(parts: Sequence[PartClock]) -> Iterator[Exceeded]:
    """Yield the time that is lost because the parts of one device do not begin and end together."""
    if not (stamped := [part.time for part in parts if len(part.time)]):
        return
    starts, ends = [float(time[0]) for time in stamped], [float(time[-1]) for time in stamped]
    late, early = max(starts) - min(starts), max(ends) - min(ends)
    lost, whole = late + early, max(ends) - min(starts)
    if lost > LOST_S or lost > LOST_SHARE * whole:
        yield Exceeded(
            "its parts do not begin and end together",
            f"{lost:.3g} s of {whole:.3g} s are lost: its parts start up to {late:.3g} s and end up to {early:.3g} s "
            "apart",
            lost,
            "start and stop all sensors together; only the time that all parts of a device share is used",
        )


def _exceeded(clock: ClockQuality, limits: Limits) -> Iterator[Exceeded]:
    if clock.gaps:
        gaps = "one gap" if clock.gaps == 1 else f"{clock.gaps} gaps"
        cause = f"longer than {longest_interval(clock.nominal_hz, limits):g} s"
        message = f"{gaps} {cause}, the longest {clock.longest_gap_s:.3g} s"
        yield Exceeded(
            f"gaps {cause}", message, clock.longest_gap_s, "windows with a gap are dropped; record without pauses"
        )
    if clock.jitter > limits.max_jitter:
        limit = f"{limits.max_jitter:g}"
        message = f"jitter of {clock.jitter:.3g} median intervals, above {limit}"
        step = "the signals are resampled to equal steps; raise `quality.limits.max_jitter` to accept it"
        yield Exceeded(f"jitter above {limit} median intervals", message, clock.jitter, step)
    if clock.offset_s > limits.max_offset_s:
        limit = f"{limits.max_offset_s:g} s"
        first = "device" if clock.part is None else "part"
        message = f"starts {clock.offset_s:.3g} s after the first {first}, above {limit}"
        step = "check whether the clocks of the devices agree; only the time that they share is used"
        yield Exceeded(f"starts more than {limit} after the first {first}", message, clock.offset_s, step)


def find_problems(recordings: Iterable[Recording]) -> Iterator[Problem]:
    """Yield each recording whose devices cannot be aligned."""
    for recording in recordings:
        signals = recording.signals
        stamped = [device for device, signal in signals.items() if signal.time is not None]
        samples = {device: len(signal.values) for device, signal in signals.items()}
        first = next(iter(samples))
        if empty := [device for device, count in samples.items() if not count]:
            yield Problem(recording.name, "recordings.no-samples", f"no samples of {', '.join(empty)}")
        elif len(recording.labels) != samples[first]:
            message = f"{len(recording.labels)} labels, expected {samples[first]}, the samples of {first}"
            yield Problem(recording.name, "recordings.labels-length", message)
        elif stamped and len(stamped) < len(signals):
            others = [device for device in signals if device not in stamped]
            message = f"{', '.join(stamped)} has time stamps, {', '.join(others)} has none"
            yield Problem(recording.name, "recordings.time-stamps-missing", message)
        elif stamped:
            yield from _find_apart(recording)
        else:
            yield from _find_unequal(recording)


def _find_apart(recording: Recording) -> Iterator[Problem]:
    start, end = shared_times(recording.signals)
    if start > end:
        spans = ", ".join(f"{d} {t[0]:.3f} to {t[-1]:.3f} s" for d, t in _times(recording.signals).items())
        yield Problem(recording.name, "recordings.devices-apart", spans)
    for device, signal in recording.signals.items():
        seconds = len(signal.values) / signal.rate_hz
        span = 0.0 if signal.time is None else float(signal.time[-1] - signal.time[0])
        if span > SPARSE * max(seconds, 1.0):
            message = f"the time stamps of {device} span {span:.3g} s, its samples only {seconds:.3g} s"
            yield Problem(recording.name, "recordings.stray-time", message)


def _find_unequal(recording: Recording) -> Iterator[Problem]:
    """Yield a problem if devices without time stamps differ in duration, or at one rate in the number of samples."""
    signals = recording.signals
    seconds = {device: len(signal.values) / signal.rate_hz for device, signal in signals.items()}
    slowest = min(signal.rate_hz for signal in signals.values())
    one_rate = all(signal.rate_hz == slowest for signal in signals.values())
    if max(seconds.values()) - min(seconds.values()) > (0 if one_rate else 1 / slowest):
        lengths = ", ".join(f"{device} {length:.3f} s" for device, length in seconds.items())
        yield Problem(recording.name, "recordings.unequal-duration", lengths)


def align(recording: Recording, rate_hz: float, limits: Limits) -> Recording:
    """Return the recording on one clock of `rate_hz`, without time stamps; unchanged if it is on such a clock already.

    Inside a gap of the clock (`limits.max_gap_s`) and next to a missing value, samples are missing (NaN).
    Labels are those of the nearest sample in time. Raises InputError if the devices cannot be aligned.
    """
    if problems := list(find_problems([recording])):
        raise InputError(UNALIGNED, problems)
    if not is_resampled(recording, rate_hz):
        return recording
    signals = recording.signals
    times = _times(signals)
    start, end = shared_times(signals)
    grid = Grid(start + np.arange(int((end - start) * rate_hz + SAME) + 1) / rate_hz, rate_hz)
    return replace(
        recording,
        signals={
            device: _on(grid, signal, times[device], longest_interval(signal.rate_hz, limits))
            for device, signal in signals.items()
        },
        labels=recording.labels[_nearest(next(iter(times.values())), grid)],
    )


def join(recording: Recording, rate_hz: float) -> tuple[Signal, NDArray[np.intp]]:
    """Return the channels of all signals of a recording as one signal, and its samples of the first one.

    Several signals are resampled to one grid of `rate_hz`, as `align` does it with its default limits. The grid keeps
    the time of their clocks, which are the `parts` of the joined signal. Raises InputError if they cannot be aligned.
    """
    first = next(iter(recording.signals.values()))
    if len(recording.signals) == 1:
        return first, np.arange(len(first.values))
    limits = Limits()
    whole = align(replace(recording, labels=np.arange(len(first.values), dtype=np.int32)), rate_hz, limits)
    values = np.concatenate([signal.values for signal in whole.signals.values()], axis=1)
    start, _ = shared_times(recording.signals)
    stamped = first.time is not None
    time = start + np.arange(len(values)) / rate_hz if stamped else None
    parts = tuple(PartClock(s.time, s.rate_hz) for s in recording.signals.values() if s.time is not None)
    return Signal(values, rate_hz, time, parts), whole.labels.astype(np.intp)


def is_resampled(recording: Recording, rate_hz: float) -> bool:
    """Return whether a device has time stamps or another rate."""
    return any(signal.time is not None or signal.rate_hz != rate_hz for signal in recording.signals.values())


def reach(recording: Recording, rate_hz: float, limits: Limits) -> int:
    """Return how many samples of the new rate resampling uses to each side; 0 if nothing is resampled."""
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


def shared_times(signals: Mapping[str, Signal]) -> tuple[float, float]:
    """Return the first and last moment at which every device was recording."""
    times = _times(signals).values()
    return max(float(time[0]) for time in times), min(float(time[-1]) for time in times)


def labels_by(recording: Recording, device: str) -> NDArray[np.int32]:
    """Return the labels, which are on the clock of the first device, on the clock of another device.

    Samples outside of the first device's time are unlabelled. If only one of the two devices has time stamps, their
    clocks cannot be compared, and the labels are returned unchanged.
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
    """Return the sample nearest to each moment; the earlier one of two."""
    before, after = grid.between(time)
    return np.where(grid.moments - time[before] <= time[after] - grid.moments + grid.near, before, after)


def _on(grid: Grid, signal: Signal, time: Times, max_gap_s: float) -> Signal:
    """Return the signal of a device at the moments of the grid."""
    size = len(grid.moments)
    before, after = grid.between(time)
    on_grid = np.array_equal(before, after) and np.array_equal(before, before[0] + np.arange(size))
    if on_grid and (np.diff(time) > 0).all():
        values = signal.values[before].astype(np.float64)  # every sample is on the grid already
    else:
        values = _resample(signal, time, grid)[:size]
        missing = ~np.isfinite(signal.values)
        values[missing[before] | missing[after]] = np.nan
    if signal.time is not None:  # without time stamps no gap is known, however slow the device
        values[time[after] - time[before] > max_gap_s] = np.nan
    with np.errstate(over="ignore"):
        return Signal(values.astype(np.float32), grid.rate_hz)


def _resample(signal: Signal, time: Times, grid: Grid) -> NDArray[np.float64]:
    """Return (at least len(grid), C): interpolated linearly to equal steps, then filtered and decimated."""
    ratio, even = _even(signal, time, grid)
    values = np.column_stack([_interpolate(time, column, even) for column in signal.values.T])
    if ratio == 1:
        return values
    from scipy.signal import resample_poly  # 0.4 s: imported on use

    resampled: NDArray[np.float64] = resample_poly(values, ratio.numerator, ratio.denominator, axis=0, padtype="edge")
    return resampled


def _even(signal: Signal, time: Times, grid: Grid) -> tuple[Fraction, Times]:
    """Return moments of equal steps, and the rate of the grid divided by theirs."""
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
    """Return one channel at other moments, interpolated linearly between finite samples; equal times are averaged."""
    finite = np.isfinite(column)
    if not finite.any():
        return np.zeros(len(moments))
    stamps, where = np.unique(time[finite], return_inverse=True)
    means = np.bincount(where, weights=column[finite]) / np.bincount(where)
    return np.interp(moments, stamps, means)
