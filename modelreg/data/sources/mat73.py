"""Read MATLAB files of version 7.3, which are HDF5, with h5py.

MATLAB stores the axes of an array in the opposite order, a text as the numbers of its characters, and a cell as a
reference to another array. What lies in other files is not read: links, and arrays whose values are stored there.
"""

from functools import partial
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.data.recording import UNREADABLE
from modelreg.data.sources.mat5 import CELLS, FIELDS, Value, Variables, one_text
from modelreg.data.sources.table_columns import Unread
from modelreg.errors import InputError

if TYPE_CHECKING:
    import h5py

_DEPTH = 16  # of structs in structs
_NUMBERS = ("double", "single", "logical", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))


def read(stream: IO[bytes], limit: int, where: str) -> Variables:
    """Yield the variables of a file; those that are read have at most `limit` bytes. Raises InputError for more.

    Errors of damaged files are those of h5py.
    """
    import h5py

    with h5py.File(stream, "r") as file:
        reader = _Reader(file, limit, where)
        for name in _names(file):
            yield name, partial(reader.value, file, name, 0)


def _names(group: "h5py.Group") -> list[str]:
    if len(group) > FIELDS:
        raise ValueError(f"more than {FIELDS:,} variables or fields")
    return [name for name in group if not name.startswith("#")]  # the others are what cells and objects refer to


class _Reader:
    def __init__(self, file: "h5py.File", limit: int, where: str) -> None:
        self._file, self._limit, self._where = file, limit, where
        self._left = limit

    def value(self, group: "h5py.Group", name: str, depth: int) -> Value:
        """Return a member of a group."""
        import h5py

        if not isinstance(group.get(name, getlink=True), h5py.HardLink) or depth > _DEPTH:
            return Unread("a link")
        found = group[name]
        kind = _class(found)
        if isinstance(found, h5py.Group):
            if kind not in {"struct", ""}:
                return Unread(f"an object of class {kind}")
            return {field: self.value(found, field, depth + 1) for field in _names(found)}
        if not isinstance(found, h5py.Dataset):
            return Unread("a type")
        return self._cells(found) if kind == "cell" else self._array(found, kind)

    def _array(self, dataset: "h5py.Dataset", kind: str) -> Value:
        """Return an array of a class, with its axes in the order of MATLAB if MATLAB wrote it."""
        if _is_empty(dataset):
            return np.empty((0, 0))
        if kind not in {*_NUMBERS, "char", ""}:
            return Unread(f"an object of class {kind}")
        found = self._contents(dataset) if dataset.dtype.kind in "fiub" else _other(dataset)
        if isinstance(found, Unread):
            return found
        if kind == "char":
            rows = np.atleast_2d(found.T) if found.size else np.empty((1, 0))
            return np.array([[_text(row)] for row in rows], dtype=object)
        return (found.astype(bool) if kind == "logical" else found).T if kind else found

    def _contents(self, dataset: "h5py.Dataset") -> NDArray[Any] | Unread:
        """Return the values as they are stored. Raises InputError if there are too many."""
        if dataset.is_virtual or dataset.external:
            return Unread("values in another file")
        self._left -= dataset.size * dataset.dtype.itemsize
        if self._left < 0:
            raise InputError(UNREADABLE, [files.too_large(self._where, self._limit)])
        return np.asarray(dataset[()])

    def _cells(self, dataset: "h5py.Dataset") -> Value:
        """Return a cell array of texts; an empty cell is an empty text."""
        import h5py

        if _is_empty(dataset):
            return np.empty((0, 0))
        if h5py.check_ref_dtype(dataset.dtype) is not h5py.Reference or dataset.size > CELLS:
            return Unread("cells of other values than texts")
        references = self._contents(dataset)
        if isinstance(references, Unread):
            return references
        texts: list[str] = []
        for reference in references.T.ravel():
            cell = self._file[reference]
            kind = _class(cell)
            readable = isinstance(cell, h5py.Dataset) and kind in {"char", "double"}
            text = one_text(self._array(cell, kind)) if readable else None
            if text is None:
                return Unread("cells of other values than texts")
            texts.append(text)
        return np.array(texts, dtype=object).reshape(references.T.shape)


def _is_empty(dataset: "h5py.Dataset") -> bool:
    """Return whether an array has no values: MATLAB stores its shape in their place."""
    return dataset.shape is None or "MATLAB_empty" in dataset.attrs


def _class(found: "h5py.Group | h5py.Dataset") -> str:
    """Return the class of MATLAB, or nothing if another program wrote it."""
    kind = found.attrs.get("MATLAB_class")
    return kind.decode("utf-8", "replace") if isinstance(kind, bytes) else ""


def _other(dataset: "h5py.Dataset") -> Unread:
    return Unread("complex numbers" if dataset.dtype.names == ("real", "imag") else "values of another type")


def _text(codes: NDArray[Any]) -> str:
    return codes.astype("<u2").tobytes().decode("utf-16-le", "replace")
