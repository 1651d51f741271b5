"""Read a recording in memory: columns of a pandas or polars frame, or of a mapping of arrays, as samples with a clock.

A frame returns its columns by name (`frame["ax"]`) and lists their names (`frame.columns`, or by iteration as a mapping
does). Neither pandas nor polars is imported.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from modelreg.data import columns, time_columns
from modelreg.data.columns import Unreadable
from modelreg.errors import InputError, Problem
from modelreg.records.model import InputSpec

NANOSECONDS = 1e9  # in a second
SHOWN = 20  # names of columns that an error lists
UNREADABLE = "cannot read the recording"
A_FRAME = "a pandas or polars data frame, or a mapping of column names to arrays"

Seconds = NDArray[np.float64]
Moments = NDArray[np.float64] | NDArray[np.datetime64]


class Frame(Protocol):
    """The common interface of pandas and polars data frames."""

    @property
    def columns(self) -> Iterable[Any]:
        """The names of the columns."""
        ...

    def __getitem__(self, name: str, /) -> Any:
        """Return a column."""
        ...


Recording = Frame | Mapping[str, Any]


class TimedSamples(NamedTuple):
    """The samples of one device."""

    time: Seconds  # (n,) since the first sample of the recording; never falling
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


def read_recording(recording: Recording, spec: InputSpec, time: str = "time") -> TimedRecording:
    """Return the samples of a model's devices; `time` is the name of the time column.

    `recording` is a frame, or a mapping of device names to frames. Raises InputError if it is neither, if a device or a
    column is missing, if a column does not hold numbers, or if a time is missing or less than the one before.
    """
    names = [channel.name for channel in spec.channels]
    frames = _frames_of(recording, spec.devices, (time, *names))
    if problems := [
        problem for device, frame in frames.items() for problem in _find_missing(frame, names, time, device)
    ]:
        raise InputError(UNREADABLE, problems)
    clocks = {device: time_columns.read(frame[time], f"{device}: {time}") for device, frame in frames.items()}
    values = {device: _values(frame, names, device) for device, frame in frames.items()}
    if problems := [
        p for device in frames for p in time_columns.find_problems(clocks[device], len(values[device]), device)
    ]:
        raise InputError(UNREADABLE, problems)
    if len(kinds := {clock.kind for clock in clocks.values()}) > 1:
        message = f"must be of one kind, found {' and '.join(sorted(kinds))}"
        raise InputError(UNREADABLE, [Problem(time, "recordings.time-kinds", message)])
    first = min(clock.values[0] for clock in clocks.values())
    return TimedRecording(
        {device: TimedSamples(_since(first, clocks[device].values), values[device]) for device in frames}, first
    )


# Devices


def _frames_of(recording: Any, devices: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """Return the frame of each device. Raises InputError if a device is missing or unknown."""
    by_device = isinstance(recording, Mapping) and (
        set(recording) == set(devices)
        or (any(_is_frame(each) for each in recording.values()) and not set(names) & set(recording))
    )
    if not by_device and (len(devices) == 1 or not _is_frame(recording)):
        frames = {devices[0]: recording}
        where = {devices[0]: "recording"}
    else:
        if problem := _find_other_devices(recording if by_device else {}, devices):
            raise InputError(UNREADABLE, [problem])
        frames = {device: recording[device] for device in devices}
        where = {device: device for device in devices}
    if problems := [_not_a_frame(where[device], frame) for device, frame in frames.items() if not _is_frame(frame)]:
        raise InputError(UNREADABLE, problems)
    return frames


def _find_other_devices(recording: Mapping[Any, Any], devices: Sequence[str]) -> Problem | None:
    """Return one problem with every unknown and missing device, or None."""
    unknown = [str(name) for name in recording if name not in devices]
    missing = [device for device in devices if device not in recording]
    if not unknown and not missing:
        return None
    has = f"the model has the {_counted('device', devices)}"
    if not recording:
        message = f"{has}: expected a mapping of device names to frames, found one frame"
        return Problem("recording", "recordings.device-mismatch", message)
    found = [f"{name}: {_listed(those)}" for name, those in (("unknown", unknown), ("missing", missing)) if those]
    return Problem("recording", "recordings.device-mismatch", "; ".join([has, *found]))


def _is_frame(value: Any) -> bool:
    """Return whether a value has columns by name. Only its type is inspected."""
    kind = type(value)
    if isinstance(value, Mapping):
        return True
    if isinstance(value, np.ndarray | type) or hasattr(kind, "collect") or hasattr(kind, "column_names"):
        return False  # an array of records; a class; a polars LazyFrame; an Arrow table, whose `columns` are arrays
    return hasattr(kind, "__getitem__") and hasattr(value, "columns")


def _not_a_frame(where: str, value: Any) -> Problem:
    """Return the problem of a value that is not a frame: its type, without its data, and how to convert it."""
    kind = type(value)
    step = ""
    if hasattr(kind, "collect"):
        step = "call collect() first"
    elif hasattr(kind, "column_names"):
        step = "call to_pandas() first"
    elif isinstance(value, str) or hasattr(kind, "__fspath__"):
        step = "read the file first, for example with pandas.read_csv"
    elif isinstance(value, list) or (isinstance(value, np.ndarray) and value.dtype.names):
        step = "convert the records with pandas.DataFrame(...)"
    return Problem(where, "recordings.not-a-frame", f"is {columns.type_of(value)}, expected {A_FRAME}", step)


# Columns


def _find_missing(frame: Any, channels: Sequence[str], time: str, device: str) -> Iterator[Problem]:
    """Yield the columns that are missing, with the names that were probably meant."""
    there = list(getattr(frame, "columns", frame))
    names = [name for name in there if isinstance(name, str)]
    missing = [name for name in (time, *channels) if name not in names]
    if missing and not there:
        yield Problem(device, "recordings.column-missing", "the frame has no columns")
        return
    if time in missing and (step := _out_of_index(frame, time)):
        missing.remove(time)
        yield Problem(device, "recordings.column-missing", f"{_absent([time])}; the index holds the time", step)
    free = [name for name in names if name not in (time, *channels)]
    folded = {name.strip().casefold(): name for name in free}
    if cased := {name: folded[name.casefold()] for name in missing if name.casefold() in folded}:
        step = f"did you mean {_listed([repr(name) for name in cased.values()])}?"
        yield Problem(device, "recordings.column-missing", _absent(list(cased)), step)
    rest = [name for name in missing if name not in cased]
    near = {name: found[0] for name in rest if (found := get_close_matches(name, free, n=1))}
    for name, other in near.items():
        step = f"did you mean {other!r}?" + (f" Pass time={other!r}" if name == time else "")
        yield Problem(device, "recordings.column-missing", _absent([name]), step)
    if others := [name for name in rest if name not in near]:
        message = f"{_absent(others)} (found {_listed([columns.shown(n).strip(chr(39)) for n in there])})"
        yield Problem(device, "recordings.column-missing", message)


def _out_of_index(frame: Any, time: str) -> str | None:
    """Return the call that makes a column of a pandas index that holds the time, or None."""
    index = None if isinstance(frame, Mapping) else getattr(frame, "index", None)
    names = list(getattr(index, "names", ()))
    if time in names:
        return "call reset_index() first"
    if type(index).__name__ in ("DatetimeIndex", "TimedeltaIndex"):
        return f"call rename_axis({time!r}).reset_index() first"
    return None


def _values(frame: Any, channels: Sequence[str], device: str) -> NDArray[np.float32]:
    """Return the channels of a frame, (n, C). Raises InputError if they are not numbers or differ in length."""
    read = {name: columns.numbers(frame[name]) for name in channels}
    problems = [
        Problem(f"{device}: {name}", "recordings.not-numbers", found.what)
        for name, found in read.items()
        if isinstance(found, Unreadable)
    ]
    good = {name: found for name, found in read.items() if not isinstance(found, Unreadable)}
    if not problems and len({len(column) for column in good.values()}) > 1:
        lengths = ", ".join(f"{name} {len(column)}" for name, column in good.items())
        problems = [Problem(device, "recordings.length-mismatch", f"columns differ in length: {lengths}")]
    if problems:
        raise InputError(UNREADABLE, problems)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes Inf, a missing value
        return np.stack([column.astype(np.float32) for column in good.values()], axis=1)


def _absent(names: Sequence[str]) -> str:
    return f"{_counted('column', [repr(name) for name in names])} {'is' if len(names) == 1 else 'are'} missing"


def _counted(noun: str, names: Sequence[str]) -> str:
    return f"{noun}{'' if len(names) == 1 else 's'} {', '.join(names)}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _since(first: np.float64 | np.datetime64, values: NDArray[Any]) -> Seconds:
    since: Seconds = (values - first).astype(np.float64)
    return since / NANOSECONDS if isinstance(first, np.datetime64) else since
