"""How recordings are read: from where, what is kept of them, and who is told how far it has got.

Text is parsed once. What was parsed of one file is kept in a folder of the cache named by the digest of the file's
bytes and of all that steers the parsing, as plain .npy files with their digests; the next reading maps them into
memory, so that a recording is read when it is touched. A kept array that is not what it was is parsed again.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.artifacts import npz
from modelreg.data.memory_map import Aside, Shelf, gather, is_mapped, let_go, sha256_arrays
from modelreg.errors import InputError, Problem

INDEX = "index.json"  # array name -> its digest
MAPPED_FROM = 2**20  # bytes; a mapped file is an open one, of which a process may have few: smaller ones are read
_SHORT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # no sign of damage


class Parsed(NamedTuple):
    """One array that was parsed, and its digest."""

    values: NDArray[Any]
    digest: str


Tell = Callable[[int, int, str], None]  # done, of how many, what is read next
Parse = Callable[[], Iterable[tuple[str, NDArray[Any]]]]  # names are plain file names; one array at a time


def _remark_nothing(problem: Problem) -> None:
    """Take no notice."""


def _tell_nobody(done: int, of: int, what: str) -> None:
    """Take no notice."""


@dataclass(frozen=True)
class Reading:
    """How recordings are read."""

    base: Path  # where relative paths start
    cache: Path | None = None  # None: nothing is kept
    tell: Tell = _tell_nobody
    remark: Callable[[Problem], None] = _remark_nothing  # of what is no fault, but worth knowing

    def recall(self, key: str, parse: Parse) -> dict[str, Parsed]:
        """Return what `parse` yields, or what it yielded under the same key before. Raises what `parse` raises."""
        if self.cache is None:
            return {name: _put_aside(array, self.aside) for name, array in sorted(parse(), key=lambda pair: pair[0])}
        kept = self.cache / key
        with _explained(self.cache):
            found = _load(kept, self.aside)
        if found is None:
            _keep(kept, parse)
            found = _load(kept, self.aside)
        if found is None:
            raise InputError(
                "cannot read", [Problem(str(kept), "todo.cache", "changed while it was written; run it again")]
            )
        return found

    def aside(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an array from a mapped file beside the cache, out of memory until it is touched.

        One that is mapped is let go of; without a cache it is returned as it is. Raises InputError.
        """
        shelf = self._shelf
        if shelf is None or is_mapped(array):
            let_go([array])
            return array
        with _explained(shelf.folder):
            return shelf.put(array)

    def gather(self, shape: tuple[int, ...], blocks: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return one array of blocks (n, …) that follow each other, from a mapped file beside the cache.

        Without a cache it is in memory. Raises InputError.
        """
        shelf = self._shelf
        if shelf is None:
            return gather(shape, blocks)
        with _explained(shelf.folder):
            return shelf.gather(shape, blocks)

    @cached_property
    def _shelf(self) -> Shelf | None:
        return Shelf(self.cache) if self.cache else None


def combine(digests: Mapping[str, str]) -> str:
    """Return one digest over the named digests of parts, in name order."""
    return files.sha256_bytes("".join(f"{name}\0{digests[name]}\n" for name in sorted(digests)).encode())


def map_npy(path: Path, limit: int) -> NDArray[Any]:
    """Map an .npy file of plain values into memory, its header read first; one that is small is read.

    Raises InputError, ValueError, OSError.
    """
    with files.open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise ValueError(f"larger than {limit} bytes")
        shape, order, dtype = npz.read_header(file, size)
        if not np.prod(shape):
            return np.empty(shape, dtype, order)  # nothing can be mapped
        if size < MAPPED_FROM:
            return np.ndarray(shape, dtype, file.read(), order=order)
        return np.memmap(file, dtype, mode="r", offset=file.tell(), shape=shape, order=order)


def _put_aside(array: NDArray[Any], aside: Aside) -> Parsed:
    digest = sha256_arrays({"": array})
    return Parsed(aside(array), digest)


def _load(kept: Path, aside: Aside) -> dict[str, Parsed] | None:
    """Return the kept arrays, each put aside, if all are there and what they were; what is damaged is removed."""
    if not kept.is_dir():
        return None
    index = _undamaged(lambda: files.parse_json(files.read_bytes(kept / INDEX), INDEX))
    found: dict[str, Parsed] = {}
    for path in sorted(kept.glob("*.npy"), key=lambda path: path.stem):
        array = _undamaged(partial(map_npy, path, 2**40))
        if array is None:
            break
        found[path.stem] = _put_aside(array, aside)
    if index == {name: parsed.digest for name, parsed in found.items()}:
        return found
    shutil.rmtree(kept)
    return None


def _undamaged(read: Callable[[], Any]) -> Any:
    """Return what is read, or None where it is damaged. Raises OSError where something is short, which is no damage."""
    try:
        return read()
    except (InputError, ValueError, OSError) as error:
        cause = error.__cause__ or error
        if isinstance(cause, OSError) and cause.errno in _SHORT_OF:
            raise cause from None
        return None


def _keep(kept: Path, parse: Parse) -> None:
    """Parse into a folder that takes its name when all is written; who comes second leaves the first's."""
    cache = kept.parent
    with _explained(cache):
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=".", dir=cache))
    try:
        index = {}
        for name, array in parse():
            with _explained(cache):
                np.save(staged / f"{name}.npy", array, allow_pickle=False)
            index[name] = files.sha256_arrays({"": array})
        with _explained(cache):
            files.write_atomic(staged / INDEX, files.to_json(index))
            _name(staged, kept)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _name(staged: Path, kept: Path) -> None:
    """Give the staged folder its name, unless another process was first."""
    try:
        staged.rename(kept)
    except OSError:
        if not kept.is_dir():
            raise


@contextmanager
def _explained(cache: Path) -> Iterator[None]:
    """Say what to do where the cache cannot be used."""
    try:
        yield
    except OSError as error:
        what = f"{error.strerror or error}; MODELREG_CACHE names another folder for the cache, or says `off`"
        raise InputError("cannot keep what was read", [Problem(str(cache), "todo.cache", what)]) from error
