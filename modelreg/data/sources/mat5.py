"""Read MATLAB files of version 5 (that of MATLAB 5 to 7) with numpy, as the document of their format describes them.

scipy.io.loadmat ends the process by a segmentation fault on some damaged files (scipy 1.17; its issue 6072 was one of
them), so it is only the oracle of the tests. Here every size that a file states is compared with the bytes that are
there before anything is allocated. Errors of damaged files are ValueError, zlib.error and struct.error.
"""

import math
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.data.recording import UNREADABLE
from modelreg.data.sources.table_columns import Unread
from modelreg.errors import InputError

# An array as MATLAB shows it, of numbers or of objects that are str; a struct by its fields; or what is not read.
Value: TypeAlias = NDArray[Any] | dict[str, "Value"] | Unread
Variables: TypeAlias = Iterator[tuple[str, Callable[[], Value]]]  # names, and what reads each; one at a time

CELLS = 2**22  # of a cell array
FIELDS = 10_000  # of a struct

_HEADER = 128  # bytes
_DEPTH = 16  # of structs in structs and cells in cells
_MATRIX, _COMPRESSED = 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_ENCODINGS = {1: "utf-8", 2: "utf-8", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}  # of characters, by type
_NUMBERS = range(6, 16)  # classes of MATLAB: double, single and the integers
_FLOATS = (6, 7)
_OPAQUE = 17
_IS_COMPLEX, _IS_LOGICAL = 0x800, 0x200
_CUT = "cut off, or damaged"

_Element = tuple[int, memoryview]  # type and contents
_Elements = Iterator[_Element]


class _Header(NamedTuple):
    kind: int  # the class of MATLAB
    flags: int
    shape: tuple[int, ...]
    name: str
    rest: _Elements


class _Order(NamedTuple):
    """How numbers are stored."""

    sign: str  # < or >

    def numbers(self, element: _Element) -> NDArray[Any]:
        """Return the numbers of an element (n,)."""
        kind, contents = element
        if kind not in _TYPES:
            raise ValueError(f"elements of type {kind}, expected numbers")
        return np.frombuffer(contents, np.dtype(f"{self.sign}{_TYPES[kind]}"))

    def one(self, element: _Element) -> int:
        """Return the first number of an element."""
        found = self.numbers(element)
        if not found.size:
            raise ValueError(_CUT)
        return int(found[0])

    def text(self, element: _Element) -> str:
        """Return the characters of an element."""
        kind, contents = element
        if kind not in _ENCODINGS:
            raise ValueError(f"elements of type {kind}, expected characters")
        order = {"<": "-le", ">": "-be"}[self.sign] if _ENCODINGS[kind] != "utf-8" else ""
        return bytes(contents).decode(_ENCODINGS[kind] + order, "replace")

    def elements(self, data: memoryview) -> _Elements:
        """Yield the elements that follow each other."""
        at = 0
        while at < len(data):
            if len(data) - at < 8:
                raise ValueError(_CUT)
            kind, size = struct.unpack(f"{self.sign}II", data[at : at + 8])
            begin = at + 8
            if small := kind >> 16:  # at most four bytes, in place of the size
                kind, size, begin = kind & 0xFFFF, small, at + 4
            if size > len(data) - begin or (small and size > 4):
                raise ValueError(_CUT)
            yield kind, data[begin : begin + size]
            at = at + 8 if small else begin + size + (0 if kind == _COMPRESSED else -size % 8)


def read(data: bytes, limit: int, where: str) -> Variables:
    """Yield the variables of a file that unpacks to at most `limit` bytes. Raises InputError if there are more."""
    order = {b"IM": _Order("<"), b"MI": _Order(">")}.get(data[_HEADER - 2 : _HEADER])
    if order is None:
        raise ValueError("neither in little-endian nor in big-endian order")
    for element in order.elements(memoryview(data)[_HEADER:]):
        kind, contents = element
        if kind == _COMPRESSED:
            inflated = memoryview(_inflated(contents, limit, where))
            limit -= len(inflated)
            kind, contents = _next(order.elements(inflated))
        if kind != _MATRIX:
            raise ValueError(f"a variable of type {kind}, expected {_MATRIX}")
        name, load = _matrix(contents, order, 0)
        if name:  # the others are what MATLAB keeps of its objects
            yield name, load


def _inflated(data: memoryview, limit: int, where: str) -> bytes:
    inflating = zlib.decompressobj()
    found = inflating.decompress(data, limit + 1)
    if len(found) > limit:
        raise InputError(UNREADABLE, [files.too_large(where, limit)])
    if not inflating.eof:
        raise ValueError(_CUT)
    return found


def _next(elements: _Elements) -> _Element:
    found = next(elements, None)
    if found is None:
        raise ValueError(_CUT)
    return found


def _matrix(data: memoryview, order: _Order, depth: int) -> tuple[str, Callable[[], Value]]:
    """Return the name of an array, and what reads it."""
    if not data:
        return "", lambda: np.empty((0, 0))
    rest = order.elements(data)
    flags = order.one(_next(rest))
    if flags & 0xFF == _OPAQUE:
        name, _, kind = (order.text(_next(rest)) for _ in range(3))
        return name, lambda: Unread(f"an object of class {kind}")
    shape = tuple(order.numbers(_next(rest)).tolist())
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError(f"invalid shape {shape}")
    header = _Header(flags & 0xFF, flags, shape, order.text(_next(rest)), rest)
    return header.name, lambda: _value(header, order, depth)


def _value(header: _Header, order: _Order, depth: int) -> Value:
    if depth > _DEPTH:
        raise ValueError(f"more than {_DEPTH} structs or cells in each other")
    match header.kind:
        case kind if kind in _NUMBERS:
            return _numbers(header, order)
        case 4:
            return _texts(header, order)
        case 1:
            return _cells(header, order, depth)
        case 2:
            return _fields(header, order, depth)
        case 3:
            return Unread(f"an object of class {order.text(_next(header.rest))}")
        case kind:
            return Unread({5: "a sparse matrix", 16: "a function"}.get(kind, f"values of class {kind}"))


def _numbers(header: _Header, order: _Order) -> Value:
    if header.flags & _IS_COMPLEX:
        return Unread("complex numbers")
    found = order.numbers(_next(header.rest))
    if found.size != math.prod(header.shape):
        raise ValueError(_CUT)
    if header.flags & _IS_LOGICAL:
        found = found.astype(bool)
    elif header.kind in _FLOATS:
        found = found.astype(np.float64)  # stored in the smallest type that holds the values
    return found.reshape(header.shape, order="F")


def _texts(header: _Header, order: _Order) -> Value:
    """Return the rows of a char array (rows, 1)."""
    text = order.text(next(header.rest, (16, memoryview(b""))))
    rows = header.shape[0]
    if rows < 2 or not text:
        return np.array([[text]], dtype=object)
    if len(text) != math.prod(header.shape):
        raise ValueError(_CUT)
    signs = np.array(list(text), dtype="U1").reshape(header.shape, order="F").reshape(rows, -1)
    return np.array([["".join(row).rstrip()] for row in signs.tolist()], dtype=object)


def _cells(header: _Header, order: _Order, depth: int) -> Value:
    """Return a cell array of texts; an empty cell is an empty text."""
    count = math.prod(header.shape)
    if count > CELLS:
        return Unread(f"more than {CELLS:,} cells")
    found = [one_text(_matrix(contents, order, depth + 1)[1]()) for _, contents in islice(header.rest, count)]
    if len(found) < count:
        raise ValueError(_CUT)
    if None in found:
        return Unread("cells of other values than texts")
    return np.array(found, dtype=object).reshape(header.shape, order="F")


def one_text(value: Value) -> str | None:
    """Return the text that a cell holds, or None if it holds something else."""
    if not isinstance(value, np.ndarray) or value.size > 1 or (value.size and value.dtype != object):
        return None
    return str(value.item()) if value.size else ""


def _fields(header: _Header, order: _Order, depth: int) -> Value:
    width, names = order.one(_next(header.rest)), bytes(_next(header.rest)[1])
    if names and not 0 < width <= len(names) <= width * FIELDS:
        raise ValueError(_CUT)
    if header.shape != (1, 1):
        return Unread(f"a struct array of {' × '.join(map(str, header.shape))} elements")
    cut = [names[at : at + width].split(b"\0")[0].decode("utf-8", "replace") for at in range(0, len(names), width or 1)]
    found = [_matrix(contents, order, depth + 1)[1]() for _, contents in header.rest]
    return dict(zip(cut, found, strict=True))
