"""Windows of a recording in memory, cut as the device cuts them, and what of the recording was left out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data import unfit_windows
from modelreg.data.alignment import longest_interval
from modelreg.data.frames import Seconds, TimedRecording, TimedSamples
from modelreg.errors import InputError, Notice, Problem
from modelreg.records.data import Limits
from modelreg.records.model import InputSpec
from modelreg.runtime.streaming import Cutter, Late, Missing, Window

RATE_TOLERANCE = 0.02  # of the model's rate
TURN_S = 1.0  # of each device in turn: a Cutter takes one that is a few seconds ahead of another
SHOWN = 3  # places that a message names


class Cuts(NamedTuple):
    """N windows that a model can take, in order of time."""

    x: NDArray[np.float32]  # (N, C, D, T), raw units
    start: Seconds  # (N,) of the first sample, since the recording's first one
    notices: tuple[Notice, ...]  # what was left out


def cut(recording: TimedRecording, spec: InputSpec, hop: int, limits: Limits) -> Cuts:
    """Cut a recording into windows, one every `hop` samples.

    Raises InputError where a device's rate is not the model's, or the devices were never recording together.
    """
    devices = recording.devices
    if problems := [*_find_wrong_rates(devices, spec.rate_hz), *_find_apart(devices)]:
        raise InputError("the recording does not fit the model", problems)
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
        notices.append(Notice(places("window", at, lost, " s"), "left out: in a gap, or a value is missing"))
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

    `count` is the number of all places, where `values` holds only the first ones.
    """
    count = len(values) if count is None else count
    shown = ", ".join(f"{value:.7g}{unit}" for value in values[:SHOWN])
    others = count - min(len(values), SHOWN)
    more = f" and {others} other{'s' if others > 1 else ''}" if others else ""
    return f"{name}{'s' if count > 1 else ''}{' at' if unit else ''} {shown}{more}"


def rate_of(time: Seconds) -> float:
    """Return the rate in Hz of a clock, lost samples and repeated times left out; 0 where it stands still."""
    intervals = np.diff(time)
    intervals = intervals[intervals > 0]
    if not len(intervals):
        return 0.0
    usual = np.median(intervals)
    return float(1 / intervals[np.abs(intervals - usual) <= usual / 2].mean())


def _find_wrong_rates(devices: Mapping[str, TimedSamples], rate_hz: float) -> Iterator[Problem]:
    for device, samples in devices.items():
        found = rate_of(samples.time)
        if abs(found - rate_hz) > RATE_TOLERANCE * rate_hz:
            expected = f"expected {rate_hz:g} Hz within {RATE_TOLERANCE:.0%}"
            yield Problem(device, f"is sampled at {found:.4g} Hz, {expected}; resample it first")


def _find_apart(devices: Mapping[str, TimedSamples]) -> Iterator[Problem]:
    begin = max(samples.time[0] for samples in devices.values())
    for device, samples in devices.items():
        if samples.time[-1] < begin:
            yield Problem(device, "ends before another device begins: are the clocks the same?")


def _in_turns(devices: Mapping[str, TimedSamples]) -> Iterator[tuple[str, TimedSamples]]:
    """Yield the samples of all devices in pieces of one turn, so that no device runs ahead of the others."""
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
        yield Notice(device, f"{samples} samples left out: they repeat the time of the sample before")
