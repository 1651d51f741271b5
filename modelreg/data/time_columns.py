"""Read the time column of a recording in memory: seconds, durations or datetimes; and check its order."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data import columns
from modelreg.data.columns import Unreadable
from modelreg.errors import InputError, Problem

SECONDS, DATETIMES, ZONED = "seconds", "datetimes", "datetimes with a time zone"
EXPECTED = "seconds or datetimes"
SEVERAL = "if there are several recordings, predict each one alone"
LOCAL = "if times are local and daylight saving time ended, add a time zone or use UTC"
UNSORTED = "if rows are not in order, sort them by time"
YEARS = (1678, 2261)  # the whole years of datetime64[ns]


class Clock(NamedTuple):
    """A time column."""

    kind: str  # SECONDS, DATETIMES or ZONED
    values: NDArray[Any]  # (n,) float64 or datetime64[ns]; NaN, Inf and NaT are missing


def read(column: Any, where: str) -> Clock:
    """Return a time column. Raises InputError if it holds neither seconds nor durations nor datetimes."""
    found = _read(column)
    if isinstance(found, Unreadable):
        raise InputError("cannot read the recording", [Problem(where, "recordings.time-type", found.what)])
    return found


def find_problems(clock: Clock, samples: int, device: str) -> Iterator[Problem]:
    """Yield what is wrong with the clock of a device with so many samples."""
    values = clock.values
    missing = np.isnat(values) if np.issubdtype(values.dtype, np.datetime64) else ~np.isfinite(values)
    if len(values) != samples:
        message = f"time has length {len(values)}, the channels have length {samples}"
        yield Problem(device, "recordings.length-mismatch", message)
    elif samples < 2:
        yield Problem(device, "recordings.too-short", f"must have at least 2 samples, found {samples}")
    elif missing.any():
        count = np.count_nonzero(missing)
        lost = "1 time is missing, in" if count == 1 else f"{count} times are missing, the first in"
        yield Problem(device, "recordings.time-missing", f"{lost} row {missing.argmax()}")
    elif len(back := np.flatnonzero(values[1:] < values[:-1])):
        row = int(back[0]) + 1
        places = "in" if len(back) == 1 else f"in {len(back)} rows, first in"
        message = f"time goes back {places} row {row}, from {values[row - 1]} to {values[row]}"
        causes = [SEVERAL, UNSORTED] if clock.kind == ZONED else [SEVERAL, LOCAL, UNSORTED]
        yield Problem(device, "recordings.time-goes-back", message, "; ".join(causes))


def _read(column: Any) -> Clock | Unreadable:
    dtype = getattr(column, "dtype", None)
    if getattr(dtype, "tz", None) or getattr(dtype, "time_zone", None):  # pandas; polars
        return _far_off(np.asarray(column, dtype="datetime64[s]")) or Clock(
            ZONED, np.asarray(column, dtype="datetime64[ns]")
        )
    values = columns.one_dimensional(column, EXPECTED)
    return values if isinstance(values, Unreadable) else _of_values(values)


def _of_values(values: NDArray[Any]) -> Clock | Unreadable:
    if columns.holds_objects(values):
        return _of_objects(values)
    if np.issubdtype(values.dtype, np.datetime64):
        return _far_off(values) or Clock(DATETIMES, values.astype("datetime64[ns]"))
    if np.issubdtype(values.dtype, np.timedelta64):
        return Clock(SECONDS, values / np.timedelta64(1, "s"))
    if columns.is_real(values.dtype):
        return Clock(SECONDS, values.astype(np.float64))
    return Unreadable(f"holds {columns.contents(values)}, expected {EXPECTED}")


def _of_objects(values: NDArray[Any]) -> Clock | Unreadable:
    """Return objects as a clock; all must be of the kind of the first one that is not missing."""
    there = [value for value in values if not columns.is_missing(value)]
    first = there[0] if there else np.nan
    if isinstance(first, datetime):
        wrong = columns.find_offending(values, lambda value: isinstance(value, datetime), "datetimes as before")
        return wrong or _of_datetimes(values.tolist())
    if isinstance(first, timedelta):
        wrong = columns.find_offending(values, lambda value: isinstance(value, timedelta), "durations as before")
        return wrong or Clock(SECONDS, columns.floats(_seconds(values)))
    wrong = columns.find_offending(values, columns.is_number, EXPECTED)
    if wrong and isinstance(first, str):
        return Unreadable(f"{wrong.what}; text must be parsed first, for example with pandas.to_datetime")
    return wrong or Clock(SECONDS, columns.floats(values))


def _seconds(values: NDArray[Any]) -> NDArray[Any]:
    seconds = [None if columns.is_missing(value) else value.total_seconds() for value in values]
    return np.array(seconds, dtype=object)


def _of_datetimes(values: Sequence[Any]) -> Clock | Unreadable:
    zoned = {value.tzinfo is not None for value in values if not columns.is_missing(value)}
    if len(zoned) > 1:
        return Unreadable("only some of its datetimes have a time zone")
    plain = [None if columns.is_missing(value) else _plain(value) for value in values]
    found = np.array(plain, dtype="datetime64[us]")
    kind = ZONED if True in zoned else DATETIMES
    return _far_off(found) or Clock(kind, found.astype("datetime64[ns]"))


def _far_off(values: NDArray[np.datetime64]) -> Unreadable | None:
    """Return a description of datetimes that 64 bits of nanoseconds since 1970 cannot hold: they would wrap."""
    years = values.astype("datetime64[Y]").astype(np.int64) + 1970
    beyond = ~np.isnat(values) & ((years < YEARS[0]) | (years > YEARS[1]))
    if not beyond.any():
        return None
    row = int(beyond.argmax())
    return Unreadable(f"holds the year {years[row]} in row {row}, expected {YEARS[0]} to {YEARS[1]}")


def _plain(value: datetime) -> datetime:
    return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
