"""Arrays that lie in mapped files: read when they are touched, and let go of when they are not needed for now.

A process that reads more than it can hold needs no more memory than what it looks at: pages of a mapped file are given
back to the system at any time, and read again.
"""

import math
import mmap
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelreg import files

SEGMENT = 256 * 2**20  # bytes of one file: nothing is taken of the disk before it is written
ALIGNED = 64  # bytes
AT_ONCE = 2**22  # bytes that are looked at before they are let go of

Aside: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]  # gives an array back from where it takes no memory
Gather: TypeAlias = Callable[[tuple[int, ...], Iterable[NDArray[np.float32]]], NDArray[np.float32]]  # shape, blocks


def is_mapped(array: NDArray[Any]) -> bool:
    """Say whether an array lies in a mapped file."""
    return _map_of(array) is not None


def let_go(arrays: Iterable[NDArray[Any]]) -> None:
    """Give back the memory that mapped files take; what is read of them next is read from the file."""
    maps = {id(found): found for array in arrays if (found := _map_of(array)) is not None}
    for found in maps.values():
        found.madvise(mmap.MADV_DONTNEED)


def _map_of(array: NDArray[Any]) -> mmap.mmap | None:
    """Return the mapped file that an array is a view of."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    base = base.obj if isinstance(base, memoryview) else base
    return base if isinstance(base, mmap.mmap) else None


def passing(array: NDArray[Any], of: NDArray[Any] | None = None) -> Iterator[NDArray[Any]]:
    """Yield some rows of an array at a time; it, or what it numbers rows `of`, is let go of after each."""
    held = array if of is None else of
    rows = max(1, AT_ONCE * len(held) // max(held.nbytes, 1))
    for at in range(0, len(array), rows):
        yield array[at : at + rows]
        let_go([held])


def sha256_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return what `files.sha256_arrays` does; mapped arrays are let go of while they are read."""
    return files.sha256_arrays(arrays, passed=lambda array: let_go([array]))


def gather(shape: tuple[int, ...], blocks: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return one array of blocks (n, …) that follow each other."""
    found, end = np.empty(shape, np.float32), 0
    for block in blocks:
        found[end : end + len(block)] = block
        end += len(block)
    return found


class Shelf:
    """Arrays put aside into nameless files of a folder, which go with the last array that lies in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._segment: _Segment | None = None
        self._writing = Lock()

    def put(self, array: NDArray[Any]) -> NDArray[Any]:
        """Write an array and return it mapped, not to be changed. Raises OSError."""
        if not array.nbytes:
            return array
        axes = np.argsort(array.strides, kind="stable")[::-1]  # the order of the axes stays: sums depend on it
        turned = array.transpose(axes)
        return self._put(turned.shape, array.dtype, [turned]).transpose(np.argsort(axes))

    def gather(self, shape: tuple[int, ...], blocks: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Do what `gather` does, in a mapped file; nothing may be put aside meanwhile. Raises OSError."""
        return self._put(shape, np.dtype(np.float32), blocks) if math.prod(shape) else gather(shape, blocks)

    def _put(self, shape: tuple[int, ...], dtype: np.dtype[Any], blocks: Iterable[NDArray[Any]]) -> NDArray[Any]:
        """Write blocks that follow each other in C order, and return them as one array."""
        size = math.prod(shape) * dtype.itemsize
        with self._writing:
            if self._segment is None or self._segment.left < size:
                self._segment = _Segment(self.folder, max(SEGMENT, size))
            return np.ndarray(shape, dtype, self._segment.map, offset=self._segment.put(blocks))


class _Segment:
    def __init__(self, folder: Path, size: int) -> None:
        self._folder, self._size, self._end = folder, size, 0

    @property
    def left(self) -> int:
        return self._size - self._end

    @cached_property
    def _file(self) -> IO[bytes]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 it lives as long as the segment
        weakref.finalize(self, file.close)
        file.truncate(self._size)
        return file

    @cached_property
    def map(self) -> mmap.mmap:
        return mmap.mmap(self._file.fileno(), self._size, access=mmap.ACCESS_READ)

    def put(self, blocks: Iterable[NDArray[Any]]) -> int:
        """Write through the file, not through the map: a full disk is an error then, and no signal that kills.

        Return where the first block begins.
        """
        place = self._end
        self._file.seek(place)
        for block in blocks:
            self._file.write(np.asarray(block, order="C").reshape(-1).view(np.uint8).data)
        self._file.flush()
        self._end = -(-self._file.tell() // ALIGNED) * ALIGNED
        return place
