"""Cut a recording in memory into windows, as the device does, and report what was left out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data import sampling_rate, unfit_windows
from modelreg.data.alignment import longest_interval
from modelreg.data.frames import NANOSECONDS, Seconds, TimedRecording, TimedSamples
from modelreg.data.sampling_rate import Rate
from modelreg.errors import InputError, Notice, Problem
from modelreg.records.data import Limits
from modelreg.records.model import InputSpec
from modelreg.runtime.streaming import Cutter, Late, Missing, Window

RATE_TOLERANCE = 0.02  # of the model's rate
SPREAD = 0.75  # of the mean interval; jitter of 0.6 steps to either side has about 0.55, random times have 1
UNITS = (("milliseconds", "ms", 1_000), ("microseconds", "us", 1_000_000), ("nanoseconds", "ns", 1_000_000_000))
TURN_S = 1.0  # of samples pushed per device at a time: a Cutter refuses a device that is far ahead of another
SHOWN = 3  # places named in a message


class Cuts(NamedTuple):
    """N windows that fit the model, in order of time."""

    x: NDArray[np.float32]  # (N, C, D, T), raw units
    start: Seconds  # (N,) of each first sample, since the recording's start
    notices: tuple[Notice, ...]  # what was left out


def cut(recording: TimedRecording, spec: InputSpec, hop: int, limits: Limits) -> Cuts:
    """Cut a recording into windows, one every `hop` samples.

    Raises InputError if a device's sampling rate is not the model's, or the devices never recorded at the same time.
    """
    devices = recording.devices
    if problems := [*_find_wrong_rates(recording, spec.rate_hz), *_find_apart(devices)]:
        raise InputError("cannot predict this recording", problems)
    cutter = Cutter(spec, hop, limits)
    events = [e for name, part in _in_turns(devices) for e in cutter.push(part.values, name, part.time)]
    windows = [event for event in events if isinstance(event, Window)]
    origin = max(samples.time[0] for samples in devices.values())
    start = origin + np.array([window.start for window in windows], dtype=np.float64) / spec.rate_hz
    x = np.stack([window.x for window in windows]) if windows else np.empty((0, *spec.shape), dtype=np.float32)
    notices = [*_gap_notices(devices, longest_interval(spec.rate_hz, limits)), *_late_notices(events)]
    missing = [event for event in events if isinstance(event, Missing)]
    if missing:
        lost = sum(event.windows for event in missing)
        at = origin + np.array([event.start for event in missing]) / spec.rate_hz
        notices.append(Notice(places("window", at, lost, " s"), "left out: in a gap, or with a missing value"))
    unfit = list(unfit_windows.find(x, spec, limits))
    notices += [Notice(places("window", start[found.windows], unit=" s"), f"left out: {found.what}") for found in unfit]
    fits = np.ones(len(x), dtype=bool)
    for found in unfit:
        fits[found.windows] = False
    if not len(x) and not missing:
        notices.append(Notice("recording", f"shorter than a window of {spec.timesteps / spec.rate_hz:g} s"))
    return Cuts(x[fits], start[fits], tuple(notices))


def places(name: str, values: Sequence[float] | NDArray[Any], count: int | None = None, unit: str = "") -> str:
    """Return `windows 3, 17, 20 and 5 others`, or with a unit `gap at 12.5 s`.

    `count` is the number of all places if `values` holds only the first ones.
    """
    count = len(values) if count is None else count
    shown = ", ".join(f"{value:.7g}{unit}" for value in values[:SHOWN])
    others = count - min(len(values), SHOWN)
    more = f" and {others} other{'s' if others > 1 else ''}" if others else ""
    return f"{name}{'s' if count > 1 else ''}{' at' if unit else ''} {shown}{more}"


def _find_wrong_rates(recording: TimedRecording, rate_hz: float) -> Iterator[Problem]:
    dated = isinstance(recording.first, np.datetime64)
    for device, samples in recording.devices.items():
        found = sampling_rate.measure(samples.time)
        if not _is_near(found.hz, rate_hz):
            yield _other_unit(device, found.hz, rate_hz, dated=dated) or _other_rate(device, found, rate_hz)
        elif not found.regular and found.spread > SPREAD:
            intervals = f"intervals from {found.shortest_s:.3g} s to {found.longest_s:.3g} s"
            what = f"is sampled irregularly: {intervals}, expected about {1 / rate_hz:.3g} s"
            yield Problem(device, "recordings.irregular-sampling", what)


def _is_near(found_hz: float, rate_hz: float) -> bool:
    return abs(found_hz - rate_hz) <= RATE_TOLERANCE * rate_hz


def _other_rate(device: str, found: Rate, rate_hz: float) -> Problem:
    """Return the problem of another rate; that of an irregular clock names the numbers it was computed from."""
    if not found.hz:
        return Problem(device, "recordings.times-equal", "all its times are equal")
    if found.regular:
        rate = f"is sampled at {found.hz:.4g} Hz"
    else:
        gaps = f", {found.gaps} gap{'s' if found.gaps > 1 else ''} left out" if found.gaps else ""
        mean = f"{found.intervals} intervals in {found.seconds:.6g} s{gaps}"
        rate = f"is sampled irregularly, at {found.hz:.4g} Hz on average ({mean})"
    what = f"{rate}, expected {rate_hz:g} Hz within {RATE_TOLERANCE:.0%}"
    return Problem(device, "recordings.rate-mismatch", what)


def _other_unit(device: str, found_hz: float, rate_hz: float, *, dated: bool) -> Problem | None:
    """Return the problem of a clock whose unit explains its rate; None if no unit does."""
    for unit, short, parts in UNITS:
        if not dated and _is_near(found_hz * parts, rate_hz):
            what, step = f"its times look like {unit}, expected seconds", f"divide the times by {parts}"
            return Problem(device, "recordings.time-unit", what, step)
        if dated and short != "ns" and _is_near(found_hz / (NANOSECONDS / parts), rate_hz):
            what = f"its datetimes look like {unit} that were read as nanoseconds"
            return Problem(device, "recordings.time-unit", what, f"use pandas.to_datetime(..., unit={short!r})")
    return None


def _find_apart(devices: Mapping[str, TimedSamples]) -> Iterator[Problem]:
    begin = max(samples.time[0] for samples in devices.values())
    for device, samples in devices.items():
        if samples.time[-1] < begin:
            yield Problem(device, "recordings.devices-apart", "ends before another device begins")


def _in_turns(devices: Mapping[str, TimedSamples]) -> Iterator[tuple[str, TimedSamples]]:
    """Yield the samples of all devices in pieces of `TURN_S`, so that no device runs ahead of the others."""
    turns = {device: np.floor(samples.time / TURN_S) for device, samples in devices.items()}
    for turn in np.unique(np.concatenate(list(turns.values()))):
        for device, samples in devices.items():
            first, end = np.searchsorted(turns[device], [turn, turn + 1])
            if first < end:
                yield device, TimedSamples(samples.time[first:end], samples.values[first:end])


def _gap_notices(devices: Mapping[str, TimedSamples], longest_s: float) -> Iterator[Notice]:
    for device, samples in devices.items():
        intervals = np.diff(samples.time)
        gaps = np.flatnonzero(intervals > longest_s)
        if len(gaps):
            what = f"no samples for more than {longest_s:g} s; the longest gap is {intervals[gaps].max():.3g} s"
            yield Notice(f"{device}: {places('gap', samples.time[gaps], unit=' s')}", what)


def _late_notices(events: Sequence[object]) -> Iterator[Notice]:
    late: dict[str, int] = {}
    for event in events:
        if isinstance(event, Late):
            late[event.device] = late.get(event.device, 0) + event.samples
    for device, samples in late.items():
        what = "1 sample left out: it repeats" if samples == 1 else f"{samples} samples left out: they repeat"
        yield Notice(device, f"{what} the time of the sample before")
