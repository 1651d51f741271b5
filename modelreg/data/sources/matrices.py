"""Find the table among the variables of a MATLAB file, or in an array, and name its columns.

Variables, or fields of a struct, of equally many rows are one table. A vector is a column by its name; a matrix is the
columns `1` to `C` if it is alone, else `acc.1` to `acc.C`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.message_lists import did_you_mean, quoted
from modelreg.data.recording import UNREADABLE
from modelreg.data.sources.mat5 import Value
from modelreg.data.sources.table_columns import Columns, Found, Unread, columns
from modelreg.errors import InputError, Problem

SHOWN = 12  # tables or variables in a message

_SAVE = "in MATLAB, save columns as vectors: s = table2struct(t, 'ToScalar', true); save('x.mat', '-struct', 's')"


class _Table(NamedTuple):
    level: int  # structs that it is in
    path: str  # the names of these structs, and its own if it is one variable of several
    arrays: Mapping[str, NDArray[Any]]  # of equally many rows
    struct: Mapping[str, Value]  # that has them

    @property
    def left_out(self) -> dict[str, str]:
        """What the other fields are."""
        return {name: _described(value) for name, value in self.struct.items() if name not in self.arrays}

    def __str__(self) -> str:
        shapes = ", ".join(f"{name} {_shape(array)}" for name, array in self.arrays.items())
        return f"{self.path!r} ({shapes})"


def choose(variables: Mapping[str, Value], table: str | None, where: str) -> Columns:
    """Return the columns of a variable or field, `imu` or `data.imu`; without a name, those of the only table.

    The variables of the file come before those in structs. Raises InputError.
    """
    if table is None:
        return _of_struct(variables, "", where)
    value: Any = variables
    for part in table.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise _unknown(variables, table, where)
        value = value[part]
    match value:
        case Unread():
            raise _error(where, "tables.unsupported", f"{table!r} is {value.what}", _SAVE)
        case np.ndarray():
            return _of_arrays({table: value}, where)
        case _:
            return _of_struct(value, table, where)


def _of_struct(struct: Mapping[str, Value], path: str, where: str) -> Columns:
    """Return the columns of the only table of a struct."""
    tables = list(_tables(struct, path, 0))
    first = [each for each in tables if each.level == min(other.level for other in tables)]
    if not first:
        found = ", ".join(f"{name} is {_described(value)}" for name, value in list(struct.items())[:SHOWN])
        raise _error(where, "tables.none", f"no variable has rows ({found or 'there are none'})", _SAVE)
    if len(first) > 1:
        raise _error(where, "tables.several", f"{len(first)} tables: {_listed(first)}")
    return _of_arrays(first[0].arrays, where)._replace(left_out=first[0].left_out)


def _tables(struct: Mapping[str, Value], path: str, level: int) -> Iterator[_Table]:
    """Yield the tables of a struct and of the structs in it."""
    before = f"{path}." if path else ""
    arrays = {name: value for name, value in struct.items() if isinstance(value, np.ndarray) and _rows(value) > 1}
    if len({_rows(array) for array in arrays.values()}) == 1:
        yield _Table(level, path, arrays, struct)
    else:
        yield from (_Table(level, f"{before}{name}", {name: array}, struct) for name, array in arrays.items())
    for name, value in struct.items():
        if isinstance(value, dict):
            yield from _tables(value, f"{before}{name}", level + 1)


def _of_arrays(arrays: Mapping[str, NDArray[Any]], where: str) -> Columns:
    """Return the columns of arrays of equally many rows. Raises InputError if one is not a table."""
    for name, array in arrays.items():
        if not _is_vector(array) and (array.ndim != 2 or not array.size or array.shape[0] < array.shape[1]):
            raise _error(where, "tables.shape", f"{name} is {_shape(array)}, expected more rows than columns")
    return columns(found for name, array in arrays.items() for found in _columns(name, array, alone=len(arrays) == 1))


def _columns(name: str, array: NDArray[Any], *, alone: bool) -> Iterator[Found]:
    if _is_vector(array):
        yield Found(name, array.reshape(-1))
    else:
        yield from (Found(f"{n}" if alone else f"{name}.{n}", values) for n, values in enumerate(array.T, 1))


def of_array(array: NDArray[Any], where: str) -> Columns:
    """Return the columns of one array: (n,) or (n, C), or the fields of records (n,). Raises InputError."""
    if array.dtype.names and array.ndim == 1:
        return columns(_of_field(name, array[name]) for name in array.dtype.names)
    return _of_arrays({"1": array}, where)


def _of_field(name: str, values: NDArray[Any]) -> Found:
    return Found(name, values if values.ndim == 1 else Unread(f"arrays of shape {values.shape[1:]}"))


def _is_vector(array: NDArray[Any]) -> bool:
    return array.ndim == 1 or (array.ndim == 2 and 1 in array.shape)


def _rows(array: NDArray[Any]) -> int:
    if _is_vector(array):
        return array.size
    return array.shape[0] if array.size and array.ndim else 0


def _shape(array: NDArray[Any]) -> str:
    return " × ".join(f"{length:,}" for length in array.shape) or "one value"


def _described(value: Value) -> str:
    match value:
        case Unread():
            return value.what
        case np.ndarray():
            return _shape(value)
        case _:
            return "a struct"


def _listed(tables: Sequence[_Table]) -> str:
    more = f" and {len(tables) - SHOWN} others" if len(tables) > SHOWN else ""
    return "; ".join(map(str, tables[:SHOWN])) + more


def _unknown(variables: Mapping[str, Value], table: str, where: str) -> InputError:
    paths = list(_paths(variables, ""))
    message = f"no variable {table!r}, found {quoted(paths) or 'none'}"
    return _error(where, "tables.unknown", message, did_you_mean(table, paths))


def _paths(struct: Mapping[str, Value], before: str) -> Iterator[str]:
    """Yield the names of the variables, and after a full stop those of their fields."""
    for name, value in struct.items():
        yield f"{before}{name}"
        if isinstance(value, dict):
            yield from _paths(value, f"{before}{name}.")


def _error(where: str, rule: str, message: str, step: str = "") -> InputError:
    return InputError(UNREADABLE, [Problem(where, rule, message, step)])
