"""Keep arrays in mapped files: read from disk on use, and released from memory after use.

A process can work with more recordings than fit into its memory: the system may drop the pages of a mapped file at any
time, and reads them again on use.
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

from modelreg import descriptors, files

SEGMENT = 256 * 2**20  # bytes of one file; sparse until written
ALIGNED = 64  # bytes
AT_ONCE = 2**22  # bytes that are used before they are released

Store: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]  # moves an array to where it takes no memory, and returns it
Gather: TypeAlias = Callable[[tuple[int, ...], Iterable[NDArray[np.float32]]], NDArray[np.float32]]  # shape, blocks


def is_mapped(array: NDArray[Any]) -> bool:
    """Return whether an array is in a mapped file."""
    return _map_of(array) is not None


def release(arrays: Iterable[NDArray[Any]]) -> None:
    """Release the memory of mapped arrays; the next use reads them from the file. Other arrays are unchanged."""
    maps = {id(found): found for array in arrays if (found := _map_of(array)) is not None}
    for found in maps.values():
        descriptors.release_pages(found)


def _map_of(array: NDArray[Any]) -> mmap.mmap | None:
    """Return the mapped file of which an array is a view, or None."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    base = base.obj if isinstance(base, memoryview) else base
    return base if isinstance(base, mmap.mmap) else None


def passing(array: NDArray[Any], of: NDArray[Any] | None = None) -> Iterator[NDArray[Any]]:
    """Yield some rows of an array at a time, and release it after each; with `of`, the array whose rows it numbers."""
    held = array if of is None else of
    rows = max(1, AT_ONCE * len(held) // max(held.nbytes, 1))
    for at in range(0, len(array), rows):
        yield array[at : at + rows]
        release([held])


def sha256_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the digest of `files.sha256_arrays`; mapped arrays are released while they are read."""
    return files.sha256_arrays(arrays, passed=lambda array: release([array]))


def gather(shape: tuple[int, ...], blocks: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return one array of consecutive blocks (n, …)."""
    found, end = np.empty(shape, np.float32), 0
    for block in blocks:
        found[end : end + len(block)] = block
        end += len(block)
    return found


class MappedStore:
    """Store arrays in unlinked temporary files of a folder, freed with the last array."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._segment: _Segment | None = None
        self._writing = Lock()

    def put(self, array: NDArray[Any]) -> NDArray[Any]:
        """Write an array and return it as a read-only mapped one. Raises OSError."""
        if not array.nbytes:
            return array
        axes = np.argsort(array.strides, kind="stable")[::-1]  # keep the order of the axes in memory: sums depend on it
        turned = array.transpose(axes)
        return self._put(turned.shape, array.dtype, [turned]).transpose(np.argsort(axes))

    def gather(self, shape: tuple[int, ...], blocks: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return what `gather` returns, in a mapped file. `blocks` must not store arrays meanwhile. Raises OSError."""
        return self._put(shape, np.dtype(np.float32), blocks) if math.prod(shape) else gather(shape, blocks)

    def _put(self, shape: tuple[int, ...], dtype: np.dtype[Any], blocks: Iterable[NDArray[Any]]) -> NDArray[Any]:
        """Write consecutive blocks in C order, and return them as one array."""
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
        file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 open as long as the segment
        weakref.finalize(self, file.close)
        file.truncate(self._size)
        return file

    @cached_property
    def map(self) -> mmap.mmap:
        return mmap.mmap(self._file.fileno(), self._size, access=mmap.ACCESS_READ)

    def put(self, blocks: Iterable[NDArray[Any]]) -> int:
        """Write blocks and return the position of the first one.

        Through the file, not the map: a full disk then raises OSError instead of killing the process by a signal.
        """
        place = self._end
        self._file.seek(place)
        for block in blocks:
            self._file.write(np.asarray(block, order="C").reshape(-1).view(np.uint8).data)
        self._file.flush()
        self._end = -(-self._file.tell() // ALIGNED) * ALIGNED
        return place
