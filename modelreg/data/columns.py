"""Read columns of a recording in memory as numbers, or describe why they are not numbers."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SHOWN = 40  # characters of a value that an error shows
MISSING = ("NAType", "NaTType")  # the types of pandas.NA and pandas.NaT; pandas is not imported


class Unreadable(NamedTuple):
    """Why a value cannot be read."""

    what: str


def as_array(column: Any) -> NDArray[Any] | Unreadable:
    """Return the values of a column, of any shape; a masked value is missing."""
    if isinstance(column, np.ma.MaskedArray):
        return _unmasked(column)
    try:
        return np.asarray(column)
    except (TypeError, ValueError, RuntimeError) as error:  # rows of unequal length; a tensor on another device
        return Unreadable(f"cannot be read as an array: {error}")


def one_dimensional(column: Any, expected: str) -> NDArray[Any] | Unreadable:
    """Return the values of a column, (n,); `expected` names the expected values in a message."""
    values = as_array(column)
    if isinstance(values, Unreadable):
        return values
    if not values.ndim:
        return Unreadable(f"is {type_of(column)}, expected an array of {expected}")
    if values.ndim > 1:
        return Unreadable(f"has shape {values.shape}, expected {expected} of shape (n,)")
    return values


def numbers(column: Any) -> NDArray[Any] | Unreadable:
    """Return the numbers of a column, (n,), integers or floats. None and pandas.NA are NaN."""
    values = one_dimensional(column, "numbers")
    if isinstance(values, Unreadable) or is_real(values.dtype):
        return values
    if not holds_objects(values):
        return Unreadable(f"holds {contents(values)}, expected numbers")
    return find_offending(values, is_number, "numbers") or floats(values)


def is_real(dtype: np.dtype[Any]) -> bool:
    """Return whether values are integers or floats."""
    return np.issubdtype(dtype, np.integer) or np.issubdtype(dtype, np.floating)


def holds_objects(values: NDArray[Any]) -> bool:
    """Return whether values are Python objects or text, which must be checked one by one."""
    return values.dtype.kind in "OUST"


def contents(values: NDArray[Any]) -> str:
    """Return the name of the kind of an array's values."""
    words = {"O": "Python objects", "U": "text", "T": "text", "S": "bytes", "b": "booleans", "c": "complex numbers"}
    return words.get(values.dtype.kind, f"values of type {values.dtype}")


def is_missing(value: object) -> bool:
    """Return whether an object means a missing value."""
    return value is None or type(value).__name__ in MISSING


def is_number(value: object) -> bool:
    """Return whether an object is a real number; a boolean is not."""
    return isinstance(value, int | float | np.integer | np.floating | Decimal) and not isinstance(value, bool)


def find_offending(values: NDArray[Any], fits: Callable[[object], bool], expected: str) -> Unreadable | None:
    """Return a description of the first value that is neither missing nor fits."""
    for row, value in enumerate(values):
        if not (is_missing(value) or fits(value)):
            return Unreadable(f"row {row} holds {shown(value)}, expected {expected}")
    return None


def floats(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return objects that are numbers or missing as floats."""
    return np.array([np.nan if is_missing(value) else _float(value) for value in values], dtype=np.float64)


def shown(value: object) -> str:
    """Return a value on one short line: its representation, control characters escaped."""
    cut = value[:SHOWN] if isinstance(value, str | bytes) else value
    text = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in repr(cut))
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def type_of(value: object) -> str:
    """Return `None`, or `of type list`."""
    return "None" if value is None else f"of type {type(value).__name__}"


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond every float
        return np.inf


def _unmasked(column: "np.ma.MaskedArray[Any, Any]") -> NDArray[Any]:
    values = np.array(column.data, dtype=np.float64 if is_real(column.dtype) else None)
    if values.dtype.kind in "fMmO":  # other types are refused by the caller
        values[np.ma.getmaskarray(column)] = None  # NaN, NaT or None
    return values
