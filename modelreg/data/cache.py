"""Read recordings with a cache of parsed files.

Text is parsed once. The arrays of one file are kept in a folder of the cache, as .npy files with their digests. The
name of the folder is the digest of the file's bytes and of every setting that the parsing depends on. The next reading
maps the arrays into memory, so that samples are read from disk on use. An array that differs from its digest is parsed
again.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.artifacts import npz
from modelreg.data.memory_map import MappedStore, Store, gather, is_mapped, release, sha256_arrays
from modelreg.errors import InputError, Notice, Problem

INDEX = "index.json"  # array name -> its digest
MAPPED_FROM = 2**20  # bytes; smaller files are read, because every mapped file needs one of few descriptors
_SHORT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # a limit of the system, not damage


class Parsed(NamedTuple):
    """A parsed array and its digest."""

    values: NDArray[Any]
    digest: str


Tell = Callable[[int, int, str], None]  # number done, total, name of the next one
Parse = Callable[[], Iterable[tuple[str, NDArray[Any]]]]  # names are plain file names; one array at a time


def _drop_notice(notice: Notice) -> None:
    """Ignore a notice."""


def _drop_progress(done: int, of: int, what: str) -> None:
    """Ignore the progress."""


@dataclass(frozen=True)
class Reading:
    """Where recordings are read from, where they are kept, and who receives progress and notices."""

    base: Path  # the folder of relative paths
    cache: Path | None = None  # None: nothing is kept
    tell: Tell = _drop_progress
    remark: Callable[[Notice], None] = _drop_notice
    pseudonyms: Callable[[Collection[str]], Mapping[str, str]] | None = None  # of subject ids; None: not available

    def recall(self, key: str, parse: Parse) -> dict[str, Parsed]:
        """Return the arrays of `parse`, from the cache if they are kept under `key`. Raises what `parse` raises."""
        if self.cache is None:
            return {name: _stored(array, self.store) for name, array in sorted(parse(), key=lambda pair: pair[0])}
        kept = self.cache / key
        with _explained(self.cache):
            found = _load(kept, self.store)
        if found is None:
            _keep(kept, parse)
            found = _load(kept, self.store)
        if found is None:
            problem = Problem(str(kept), "cache.changed", "the arrays changed while they were written")
            raise InputError("cannot read the recordings", [problem])
        return found

    def store(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an array from a mapped file in the cache's folder, which takes no memory until it is used.

        The memory of an array that is mapped already is released. Without a cache, return the array itself. Raises
        InputError.
        """
        store = self._store
        if store is None or is_mapped(array):
            release([array])
            return array
        with _explained(store.folder):
            return store.put(array)

    def gather(self, shape: tuple[int, ...], blocks: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return one array of consecutive blocks (n, …), from a mapped file in the cache's folder.

        Without a cache the array is in memory. Raises InputError.
        """
        store = self._store
        if store is None:
            return gather(shape, blocks)
        with _explained(store.folder):
            return store.gather(shape, blocks)

    @property
    def scratch(self) -> Path | None:
        """The folder of temporary files: the cache, or None for that of the system."""
        return self.cache if self.cache and self.cache.is_dir() else None

    @cached_property
    def _store(self) -> MappedStore | None:
        return MappedStore(self.cache) if self.cache else None


def combine(digests: Mapping[str, str]) -> str:
    """Return one digest over named digests, in the order of their names."""
    return files.sha256_bytes("".join(f"{name}\0{digests[name]}\n" for name in sorted(digests)).encode())


def map_npy(path: Path, limit: int) -> NDArray[Any]:
    """Read the header of an .npy file of plain values, and map the file into memory; a small file is read.

    Raises InputError, ValueError, OSError.
    """
    with files.open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise ValueError(f"larger than {limit} bytes")
        shape, order, dtype = npz.read_header(file, size)
        if not np.prod(shape):
            return np.empty(shape, dtype, order)  # an empty file cannot be mapped
        if size < MAPPED_FROM:
            return np.ndarray(shape, dtype, file.read(), order=order)
        return np.memmap(file, dtype, mode="r", offset=file.tell(), shape=shape, order=order)


def _stored(array: NDArray[Any], store: Store) -> Parsed:
    digest = sha256_arrays({"": array})
    return Parsed(store(array), digest)


def _load(kept: Path, store: Store) -> dict[str, Parsed] | None:
    """Return the kept arrays, or None if there are none; a damaged folder is removed."""
    if not kept.is_dir():
        return None
    index = _undamaged(lambda: files.parse_json(files.read_bytes(kept / INDEX), INDEX))
    found: dict[str, Parsed] = {}
    for path in sorted(kept.glob("*.npy"), key=lambda path: path.stem):
        array = _undamaged(partial(map_npy, path, 2**40))
        if array is None:
            break
        found[path.stem] = _stored(array, store)
    if index == {name: parsed.digest for name, parsed in found.items()}:
        return found
    shutil.rmtree(kept)
    return None


def _undamaged(read: Callable[[], Any]) -> Any:
    """Return what is read, or None if it is damaged. Raises OSError at a limit of the system, which is not damage."""
    try:
        return read()
    except (InputError, ValueError, OSError) as error:
        cause = error.__cause__ or error
        if isinstance(cause, OSError) and cause.errno in _SHORT_OF:
            raise cause from None
        return None


def _keep(kept: Path, parse: Parse) -> None:
    """Parse into a folder that gets its name when all is written; the folder of a faster process is kept."""
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
    """Rename the staged folder, unless another process was faster."""
    try:
        staged.rename(kept)
    except OSError:
        if not kept.is_dir():
            raise


@contextmanager
def _explained(cache: Path) -> Iterator[None]:
    """Turn an OSError into an InputError of the cache."""
    try:
        yield
    except OSError as error:
        problem = Problem(str(cache), "cache.unusable", error.strerror or str(error))
        raise InputError("cannot use the cache", [problem]) from error
