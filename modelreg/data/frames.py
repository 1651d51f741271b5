"""A recording in memory: columns of a pandas or polars frame, or of a mapping of arrays, as samples with a clock.

A frame offers its columns by name (`frame["ax"]`) and lists their names (`frame.columns`, or by iteration as a mapping
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
A_FRAME = "a pandas or polars data frame, or a mapping of column names to arrays"

Seconds = NDArray[np.float64]
Moments = NDArray[np.float64] | NDArray[np.datetime64]


class Frame(Protocol):
    """What pandas and polars data frames have in common."""

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


def read_recording(recording: Recording, spec: InputSpec, time: str = "time") -> TimedRecording:
    """Return the samples of a model's devices; `time` names the column of the clock.

    `recording` is a frame, or a mapping of device names to frames. Raises InputError where it is neither, a device or a
    column is missing, a column does not hold numbers, or a clock is missing values or goes back.
    """
    names = [channel.name for channel in spec.channels]
    frames = _frames_of(recording, spec.devices, (time, *names))
    if problems := [
        problem for device, frame in frames.items() for problem in _find_missing(frame, names, time, device)
    ]:
        raise InputError("the recording lacks columns", problems)
    clocks = {device: time_columns.read(frame[time], f"{device}: {time}") for device, frame in frames.items()}
    values = {device: _values(frame, names, device) for device, frame in frames.items()}
    if problems := [
        p for device in frames for p in time_columns.find_problems(clocks[device], len(values[device]), device)
    ]:
        raise InputError("not a recording", problems)
    if len(kinds := {clock.kind for clock in clocks.values()}) > 1:
        what = f"is {' and '.join(sorted(kinds))}: devices need one clock"
        raise InputError("not a recording", [Problem(time, "todo.frames", what)])
    first = min(clock.values[0] for clock in clocks.values())
    return TimedRecording(
        {device: TimedSamples(_since(first, clocks[device].values), values[device]) for device in frames}, first
    )


# Devices


def _frames_of(recording: Any, devices: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """Return the frame of each device. Raises InputError where one is missing, or an unknown one is there."""
    by_device = isinstance(recording, Mapping) and (
        set(recording) == set(devices)
        or (any(_is_frame(each) for each in recording.values()) and not set(names) & set(recording))
    )
    if not by_device and (len(devices) == 1 or not _is_frame(recording)):
        frames = {devices[0]: recording}
        where = {devices[0]: "recording"}
    else:
        if problem := _find_other_devices(recording if by_device else {}, devices):
            raise InputError("not a recording of this model", [problem])
        frames = {device: recording[device] for device in devices}
        where = {device: device for device in devices}
    if problems := [
        Problem(where[device], "todo.frames", _refusal(frame))
        for device, frame in frames.items()
        if not _is_frame(frame)
    ]:
        raise InputError("not a recording", problems)
    return frames


def _find_other_devices(recording: Mapping[Any, Any], devices: Sequence[str]) -> Problem | None:
    """Return one problem that names every device that is unknown or missing."""
    unknown = [str(name) for name in recording if name not in devices]
    missing = [device for device in devices if device not in recording]
    if not unknown and not missing:
        return None
    has = f"the model has the {_counted('device', devices)}"
    if not recording:
        return Problem(
            "recording", "todo.frames", f"{has}: expected a mapping of device names to frames, got one frame"
        )
    found = [f"{name}: {_listed(those)}" for name, those in (("unknown", unknown), ("missing", missing)) if those]
    return Problem("recording", "todo.frames", "; ".join([has, *found]))


def _is_frame(value: Any) -> bool:
    """Return whether columns can be asked of a value by name. It is looked at, never computed with."""
    kind = type(value)
    if isinstance(value, Mapping):
        return True
    if isinstance(value, np.ndarray | type) or hasattr(kind, "collect") or hasattr(kind, "column_names"):
        return False  # an array of records; a class; a polars LazyFrame; an Arrow table, whose `columns` are no names
    return hasattr(kind, "__getitem__") and hasattr(value, "columns")


def _refusal(value: Any) -> str:
    """Say what a value that is not a frame is, without its data, and how it becomes one."""
    kind = type(value)
    remedy = ""
    if hasattr(kind, "collect"):
        remedy = "; call collect() first"
    elif hasattr(kind, "column_names"):
        remedy = "; call to_pandas() first"
    elif isinstance(value, str) or hasattr(kind, "__fspath__"):
        remedy = "; read the file first, for example with pandas.read_csv"
    elif isinstance(value, list) or (isinstance(value, np.ndarray) and value.dtype.names):
        remedy = "; pandas.DataFrame(...) makes a frame of records"
    return f"is {columns.type_of(value)}, expected {A_FRAME}{remedy}"


# Columns


def _find_missing(frame: Any, channels: Sequence[str], time: str, device: str) -> Iterator[Problem]:
    """Yield the columns that are missing, with what may have been meant; a list of all columns only once."""
    there = list(getattr(frame, "columns", frame))
    names = [name for name in there if isinstance(name, str)]
    missing = [name for name in (time, *channels) if name not in names]
    if missing and not there:
        yield Problem(device, "todo.frames", "it has no columns")
        return
    if time in missing and (hint := _in_index(frame, time)):
        missing.remove(time)
        yield Problem(device, "todo.frames", hint)
    free = [name for name in names if name not in (time, *channels)]
    folded = {name.strip().casefold(): name for name in free}
    if cased := {name: folded[name.casefold()] for name in missing if name.casefold() in folded}:
        yield Problem(
            device, "todo.frames", f"{_absent(list(cased))}; did you mean {_listed([repr(n) for n in cased.values()])}?"
        )
    rest = [name for name in missing if name not in cased]
    near = {name: found[0] for name in rest if (found := get_close_matches(name, free, n=1))}
    for name, other in near.items():
        remedy = f" If so, pass time={other!r}" if name == time else ""
        yield Problem(device, "todo.frames", f"{_absent([name])}; did you mean {other!r}?{remedy}")
    if others := [name for name in rest if name not in near]:
        yield Problem(
            device,
            "todo.frames",
            f"{_absent(others)}; it has {_listed([columns.shown(n).strip(chr(39)) for n in there])}",
        )


def _in_index(frame: Any, time: str) -> str | None:
    """Say how to get the time out of a pandas index, where it seems to be there."""
    index = None if isinstance(frame, Mapping) else getattr(frame, "index", None)
    names = list(getattr(index, "names", ()))
    if time in names:
        return f"{time!r} is the index, not a column; call reset_index() first"
    if type(index).__name__ in ("DatetimeIndex", "TimedeltaIndex"):
        call = f"rename_axis({time!r}).reset_index()"
        return f"column {time!r} is missing, but the index holds times; call {call} first"
    return None


def _values(frame: Any, channels: Sequence[str], device: str) -> NDArray[np.float32]:
    """Return the channels of a frame, (n, C). Raises InputError where they are not numbers, or differ in length."""
    read = {name: columns.numbers(frame[name]) for name in channels}
    problems = [
        Problem(f"{device}: {name}", "todo.frames", found.what)
        for name, found in read.items()
        if isinstance(found, Unreadable)
    ]
    good = {name: found for name, found in read.items() if not isinstance(found, Unreadable)}
    if not problems and len({len(column) for column in good.values()}) > 1:
        lengths = ", ".join(f"{name} {len(column)}" for name, column in good.items())
        problems = [Problem(device, "todo.frames", f"columns differ in length: {lengths}")]
    if problems:
        raise InputError("not a recording", problems)
    with np.errstate(over="ignore"):  # what is beyond float32 becomes Inf, a missing value
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
