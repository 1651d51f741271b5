"""A recording in memory: columns of a pandas or polars frame, or of a mapping of arrays, as samples with a clock.

A frame offers its columns by name (`frame["ax"]`) and lists their names (`frame.columns`, or by iteration as a mapping
does). Neither pandas nor polars is imported.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import InputError, Problem
from modelreg.records.model import InputSpec

NANOSECONDS = 1e9  # in a second
SHOWN = 20  # names of columns that an error lists

Seconds = NDArray[np.float64]
Moments = NDArray[np.float64] | NDArray[np.datetime64]


class TimedSamples(NamedTuple):
    """The samples of one device."""

    time: Seconds  # (n,) since the recording's first sample; never falling
    values: NDArray[np.float32]  # (n, C), in the order of the model's channels; NaN and Inf are missing values


class TimedRecording(NamedTuple):
    """The samples of every device, on one clock."""

    devices: Mapping[str, TimedSamples]  # in the order of the model
    first: np.float64 | np.datetime64  # when the first sample of any device was taken

    def moments(self, seconds: Seconds) -> Moments:
        """Return seconds since the first sample on the recording's own clock: seconds, or datetimes (UTC)."""
        if isinstance(self.first, np.datetime64):
            return self.first + np.rint(seconds * NANOSECONDS).astype("timedelta64[ns]")
        return self.first + seconds


class _Clock(NamedTuple):
    """A time column."""

    kind: str  # "seconds", "datetimes" or "datetimes with a time zone"
    values: NDArray[Any]  # (n,) float64 or datetime64[ns]


def read_recording(recording: Any, spec: InputSpec, time: str = "time") -> TimedRecording:
    """Return the samples of a model's devices; `time` names the column of the clock.

    `recording` is a frame, or a mapping of device names to frames. Raises InputError where a device or a column is
    missing, a column does not hold numbers, or a clock is missing values or runs backwards.
    """
    frames = _frames_of(recording, spec.devices)
    names = [channel.name for channel in spec.channels]
    if problems := [
        problem for device, frame in frames.items() for problem in _find_missing(frame, names, time, device)
    ]:
        raise InputError("the recording lacks columns", problems)
    clocks = {device: _clock(frame[time], f"{device}: {time}") for device, frame in frames.items()}
    values = {device: _values(frame, names, device) for device, frame in frames.items()}
    if problems := [p for device in frames for p in _find_bad_clock(clocks[device], len(values[device]), device)]:
        raise InputError("not a recording", problems)
    if len(kinds := {clock.kind for clock in clocks.values()}) > 1:
        raise InputError(
            "not a recording", [Problem(time, f"is {' and '.join(sorted(kinds))}: devices need one clock")]
        )
    first = min(clock.values[0] for clock in clocks.values())
    return TimedRecording(
        {device: TimedSamples(_since(first, clocks[device].values), values[device]) for device in frames}, first
    )


def _frames_of(recording: Any, devices: Sequence[str]) -> dict[str, Any]:
    """Return the frame of each device. Raises InputError where one is missing, or an unknown one is there."""
    is_mapping = isinstance(recording, Mapping)
    if len(devices) == 1 and not (is_mapping and set(recording) == set(devices)):
        return {devices[0]: recording}
    if not is_mapping or set(recording) != set(devices):
        found = (
            f"has {', '.join(map(str, list(recording)[:SHOWN]))}" if is_mapping else f"is a {type(recording).__name__}"
        )
        what = f"{found}, expected a mapping of the devices {', '.join(devices)} to their frames"
        raise InputError("not a recording of this model", [Problem("recording", what)])
    return {device: recording[device] for device in devices}


def _find_missing(frame: Any, channels: Sequence[str], time: str, device: str) -> Iterator[Problem]:
    names = [str(name) for name in getattr(frame, "columns", frame)]
    for name in (time, *channels):
        if name not in names:
            near = get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(names[:SHOWN])}"
            yield Problem(device, f"column {name!r} is missing; {hint}")


def _values(frame: Any, channels: Sequence[str], device: str) -> NDArray[np.float32]:
    """Return the channels of a frame, (n, C). Raises InputError where they are not numbers, or differ in length."""
    columns = {name: np.asarray(frame[name]) for name in channels}
    problems = [
        Problem(f"{device}: {name}", f"holds {column.dtype} of shape {column.shape}, expected numbers of shape (n,)")
        for name, column in columns.items()
        if column.ndim != 1 or not _is_real(column.dtype)
    ]
    if not problems and len({len(column) for column in columns.values()}) > 1:
        problems = [Problem(device, f"columns differ in length: {_lengths(columns)}")]
    if problems:
        raise InputError("not a recording", problems)
    with np.errstate(over="ignore"):  # what is beyond float32 becomes Inf, a missing value
        return np.stack([column.astype(np.float32) for column in columns.values()], axis=1)


def _is_real(dtype: np.dtype[Any]) -> bool:
    return np.issubdtype(dtype, np.integer) or np.issubdtype(dtype, np.floating)


def _lengths(columns: Mapping[str, NDArray[Any]]) -> str:
    return ", ".join(f"{name} {len(column)}" for name, column in columns.items())


def _clock(column: Any, where: str) -> _Clock:
    """Return a time column. Raises InputError where it holds neither seconds nor datetimes."""
    dtype = getattr(column, "dtype", None)
    if getattr(dtype, "tz", None) or getattr(dtype, "time_zone", None):  # pandas; polars
        return _Clock("datetimes with a time zone", np.asarray(column, dtype="datetime64[ns]"))
    values = np.asarray(column)
    if values.dtype == object and values.ndim == 1 and all(isinstance(each, datetime) for each in values):
        return _of_datetimes(values.tolist(), where)
    if values.ndim == 1 and np.issubdtype(values.dtype, np.datetime64):
        return _Clock("datetimes", values.astype("datetime64[ns]"))
    if values.ndim == 1 and _is_real(values.dtype):
        return _Clock("seconds", values.astype(np.float64))
    what = f"holds {values.dtype} of shape {values.shape}, expected seconds or datetimes of shape (n,)"
    raise InputError("not a recording", [Problem(where, what)])


def _of_datetimes(values: Sequence[datetime], where: str) -> _Clock:
    zoned = {each.tzinfo is not None for each in values}
    if len(zoned) > 1:
        raise InputError("not a recording", [Problem(where, "only some of its datetimes have a time zone")])
    if True not in zoned:
        return _Clock("datetimes", np.array(values, dtype="datetime64[us]").astype("datetime64[ns]"))
    plain = [each.astimezone(UTC).replace(tzinfo=None) for each in values]
    return _Clock("datetimes with a time zone", np.array(plain, dtype="datetime64[us]").astype("datetime64[ns]"))


def _find_bad_clock(clock: _Clock, samples: int, device: str) -> Iterator[Problem]:
    values = clock.values
    missing = np.isnat(values) if np.issubdtype(values.dtype, np.datetime64) else ~np.isfinite(values)
    if len(values) != samples:
        yield Problem(device, f"has {len(values)} times and {samples} samples")
    elif samples < 2:
        yield Problem(device, "has fewer than two samples")
    elif missing.any():
        yield Problem(device, f"{missing.sum()} times are missing, the first in row {missing.argmax()}")
    elif (back := values[1:] < values[:-1]).any():
        row = int(back.argmax()) + 1
        yield Problem(
            device, f"time runs backwards in row {row}, from {values[row - 1]} to {values[row]}; sort by time"
        )


def _since(first: np.float64 | np.datetime64, values: NDArray[Any]) -> Seconds:
    since: Seconds = (values - first).astype(np.float64)
    return since / NANOSECONDS if isinstance(first, np.datetime64) else since
