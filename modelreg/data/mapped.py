"""Arrays that lie in mapped files: read when they are touched, and let go of when they are not needed for now.

A process that reads more than it can hold needs no more memory than what it looks at: pages of a mapped file are given
back to the system at any time, and read again.
"""

import ctypes
import mmap
import sys
import tempfile
import weakref
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

SEGMENT = 256 * 2**20  # bytes of one file: nothing is taken of the disk before it is written
ALIGNED = 64  # bytes


def is_mapped(array: NDArray[Any]) -> bool:
    """Say whether an array lies in a mapped file."""
    return _map_of(array) is not None


def let_go(arrays: Iterable[NDArray[Any]]) -> None:
    """Give back the memory that mapped files take; what is read of them next is read from the file."""
    maps = {id(found): found for array in arrays if (found := _map_of(array)) is not None}
    for found in maps.values():
        found.madvise(mmap.MADV_DONTNEED)


def give_back() -> None:
    """Give freed memory back to the system: glibc keeps what lies below a block that is still in use."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def _map_of(array: NDArray[Any]) -> mmap.mmap | None:
    """Return the mapped file that an array is a view of."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    base = base.obj if isinstance(base, memoryview) else base
    return base if isinstance(base, mmap.mmap) else None


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
        with self._writing:
            if self._segment is None or self._segment.left < array.nbytes:
                self._segment = _Segment(self.folder, max(SEGMENT, array.nbytes))
            kept = self._segment.put(np.asarray(array.transpose(axes), order="C"))
        return kept.transpose(np.argsort(axes))


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
    def _map(self) -> mmap.mmap:
        return mmap.mmap(self._file.fileno(), self._size, access=mmap.ACCESS_READ)

    def put(self, array: NDArray[Any]) -> NDArray[Any]:
        """Write through the file, not through the map: a full disk is an error then, and no signal that kills."""
        self._file.seek(self._end)
        self._file.write(array.reshape(-1).view(np.uint8).data)
        self._file.flush()
        kept: NDArray[Any] = np.ndarray(array.shape, array.dtype, self._map, offset=self._end)
        self._end += -(-array.nbytes // ALIGNED) * ALIGNED
        return kept
