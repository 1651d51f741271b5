"""The columns of a binary table, in the few types that recordings need."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

NS = np.dtype("datetime64[ns]")


class Columns(NamedTuple):
    """Columns of equal length.

    Attributes:
        names: of the columns, stripped; several may be equal.
        values: of each column, (n,): float64, int64, datetime64[ns], or objects that are str. A missing value is NaN,
            NaT or "". Booleans are "true" and "false"; durations are float64 seconds; a time of day is a str.
        zoned: the positions of the columns of dates that are in UTC. The other dates name no zone.
        left_out: what other columns hold, by their names.
    """

    names: tuple[str, ...]
    values: tuple[NDArray[Any], ...]
    zoned: frozenset[int] = frozenset()
    left_out: Mapping[str, str] = {}


class Unread(NamedTuple):
    """What is not read as numbers, dates or texts."""

    what: str


class Found(NamedTuple):
    """A column as a reader finds it."""

    name: str
    values: "NDArray[Any] | Unread"  # (n,), of any type; objects are str
    zoned: bool = False  # dates are in UTC


def columns(found: Iterable[Found]) -> Columns:
    """Return the columns of a table."""
    left_out: dict[str, str] = {}
    kept: list[Found] = []
    for column in found:
        values = column.values if isinstance(column.values, Unread) else _vector(column.values)
        if isinstance(values, Unread):
            left_out[column.name.strip()] = values.what
        else:
            kept.append(column._replace(values=values))
    return Columns(
        names=tuple(column.name.strip() for column in kept),
        values=tuple(np.asarray(column.values) for column in kept),
        zoned=frozenset(number for number, column in enumerate(kept) if column.zoned),
        left_out=left_out,
    )


def _vector(array: NDArray[Any]) -> NDArray[Any] | Unread:
    """Return values (n,) in one of the types of `Columns`."""
    if array.dtype.kind not in _CONVERSIONS:
        return Unread("complex numbers" if array.dtype.kind == "c" else f"values of type {array.dtype}")
    return _CONVERSIONS[array.dtype.kind](array)


def _integers(array: NDArray[Any]) -> NDArray[Any]:
    fits = not array.size or int(array.max()) <= np.iinfo(np.int64).max
    return array.astype(np.int64 if fits else np.float64)


def _dates(array: NDArray[Any]) -> NDArray[Any] | Unread:
    years = array[~np.isnat(array)].astype("datetime64[Y]").astype(np.int64) + 1970
    if ((years < 1678) | (years > 2261)).any():
        return Unread("dates before 1678 or after 2261")
    return array.astype(NS)


def _durations(array: NDArray[Any]) -> NDArray[Any] | Unread:
    if np.datetime_data(array.dtype)[0] in {"Y", "M", "generic"}:
        return Unread("durations of unknown length")
    return np.asarray(array / np.timedelta64(1, "s"))  # NaT becomes NaN


_CONVERSIONS: dict[str, Callable[[NDArray[Any]], NDArray[Any] | Unread]] = {  # by the kind of the dtype
    "f": lambda array: array.astype(np.float64),
    "i": _integers,
    "u": _integers,
    "b": lambda array: np.where(array, "true", "false").astype(object),
    "M": _dates,
    "m": _durations,
    "U": lambda array: array.astype(object),
    "S": lambda array: np.array([text.decode("utf-8", "replace") for text in array.tolist()], dtype=object),
    "O": lambda array: array,
}


def of_objects(values: Sequence[Any]) -> NDArray[Any]:
    """Return cells of a spreadsheet (n,) as one array: as texts unless all are numbers, or dates, or durations."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {int, float}:
        whole = kinds == {int} and None not in values and all(abs(value) < 2**63 for value in values)
        return np.array(values, dtype=np.int64 if whole else np.float64)  # None becomes NaN
    if kinds <= {datetime, date}:
        return np.array(values, dtype="datetime64[us]")
    if kinds == {timedelta}:
        return np.array(values, dtype="timedelta64[us]")
    return np.array([_text(value) for value in values], dtype=object)


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case timedelta():
            return str(value.total_seconds())
        case _:
            return str(value)  # also of dates and times: ISO 8601
