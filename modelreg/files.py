"""Bytes on disk: hashing, strict JSON, canonical JSON, atomic writes, staged folders, bounded reads.

A file is written atomically: its bytes go to a temporary sibling, are synced to disk (fsync), and get the name in one
rename. Then the folder's entry is synced. A folder is written the same way and is locked while it is filled: one
writer at a time. A killed process leaves a hidden sibling `.<name>.tmp` or `.<name>.staged`, which the next write
replaces.

Only regular files are read, and every read has a size limit.
"""

import hashlib
import io
import json
import math
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelreg import descriptors
from modelreg.errors import InputError, Problem

DOCUMENT_LIMIT = 16 * 2**20  # bytes of a JSON, YAML or Markdown document
BLOCK = 2**20  # bytes processed at a time
LEFTOVERS = (".tmp", ".staged", ".fresh", ".old", ".pull")  # suffixes of what a killed write or download leaves

CANNOT_READ = "cannot read the file"

Json: TypeAlias = Any  # the result of json.loads; the records give it types

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def open_regular(path: Path, where: str | None = None) -> io.BufferedReader:
    """Open a regular file for reading. Raises InputError for anything else, including a pipe without a writer."""
    where = where or str(path)
    try:
        descriptor = descriptors.open_to_read(path)
    except OSError as error:
        raise _unreadable(where, error) from error
    except ValueError as error:  # a NUL or an unpaired surrogate in the path
        problem = Problem(where, "files.name-invalid", "invalid file name: it contains a NUL or an unpaired surrogate")
        raise InputError(CANNOT_READ, [problem]) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(CANNOT_READ, [Problem(where, "files.not-regular", "not a regular file")])
    return os.fdopen(descriptor, "rb")


def _unreadable(where: str, error: OSError) -> InputError:
    return InputError(CANNOT_READ, [Problem(where, "files.unreadable", error.strerror or str(error))])


def sha256(path: Path, where: str | None = None) -> str:
    """Return the hex SHA-256 digest of a regular file. Raises InputError, at `where` or the path, for anything else."""
    with open_regular(path, where) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_bytes(data: bytes) -> str:
    """Return the hex SHA-256 digest of `data`."""
    return hashlib.sha256(data).hexdigest()


def short_digest(digest: str) -> str:
    """Return the first characters of a hex digest, for messages."""
    return f"{digest[:12]}…"


def sums_text(digests: Mapping[str, str]) -> str:
    """Render digests by path in the format of `sha256sum -c`, sorted by path."""
    return "".join(f"{digests[path]}  {path}\n" for path in sorted(digests))


def _ignore(array: NDArray[Any]) -> None:
    """Do nothing."""


def sha256_arrays(arrays: Mapping[str, NDArray[Any]], passed: Callable[[NDArray[Any]], None] = _ignore) -> str:
    """Return a hex SHA-256 over names, dtypes, shapes and little-endian contents, in name order.

    `passed` is called with an array after each block of it.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        content = array.reshape(-1).view(np.uint8)
        for at in range(0, len(content), BLOCK):
            digest.update(content[at : at + BLOCK].data)
            passed(array)
    return digest.hexdigest()


def read_bytes(path: Path, limit: int = DOCUMENT_LIMIT, where: str | None = None) -> bytes:
    """Read a regular file of at most `limit` bytes. Raises InputError, at `where` or the path, for anything else."""
    where = where or str(path)
    with open_regular(path, where) as file:
        try:
            size = min(limit, os.fstat(file.fileno()).st_size)
            data = file.read(size + 1)  # allocates this much at once: not the limit, which a small machine may not have
            if len(data) > size:  # it grew
                data += file.read(limit + 1 - len(data))
        except OSError as error:
            raise _unreadable(where, error) from error
    if len(data) > limit:
        raise InputError(CANNOT_READ, [too_large(where, limit)])
    return data


def too_large(where: str, limit: int) -> Problem:
    """Return the problem of a file or document of more than `limit` bytes."""
    return Problem(where, "files.too-large", f"larger than {limit:,} bytes")


def read_text(path: Path, limit: int = DOCUMENT_LIMIT) -> str:
    """Read a UTF-8 file of at most `limit` bytes. Raises InputError for anything else."""
    try:
        return read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(CANNOT_READ, [not_utf8(str(path), error)]) from error


def not_utf8(where: str, error: UnicodeDecodeError) -> Problem:
    """Return the problem of a text that is not UTF-8."""
    return Problem(where, "files.not-utf8", f"invalid UTF-8 at byte {error.start}")


def parse_json(data: bytes, where: str) -> Json:
    """Parse strict UTF-8 JSON. Raises InputError.

    Python's parser also accepts NaN, 1e400, duplicate keys and unpaired surrogates. They are errors here.
    """
    try:
        text = data.decode("utf-8")
        document: Json = json.loads(
            text,
            parse_float=partial(_finite, where),
            parse_constant=partial(_refuse_number, where),
            object_pairs_hook=partial(_unique, where),
        )
        if _SURROGATE.search(text):
            to_line(document)  # Python keeps an unpaired surrogate escape, but cannot write it
    except UnicodeDecodeError as error:
        raise _not_json(not_utf8(where, error)) from error
    except UnicodeEncodeError as error:
        what = f"unpaired surrogate {error.object[error.start]!r}"
        raise _not_json(Problem(where, "json.unpaired-surrogate", what)) from error
    except json.JSONDecodeError as error:
        what = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise _not_json(Problem(where, "json.invalid", what)) from error
    except (RecursionError, ValueError) as error:  # ValueError: an integer of more than 4300 digits
        what = "nested too deeply, or a number with thousands of digits"
        raise _not_json(Problem(where, "json.too-large", what)) from error
    return document


def _finite(where: str, text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse_number(where, text)


def _refuse_number(where: str, text: str) -> NoReturn:
    raise _not_json(Problem(where, "json.number-out-of-range", f"not a finite 64-bit number: {text}"))


def _unique(where: str, pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _not_json(Problem(where, "json.duplicate-key", f"duplicate key {twice!r}"))
    return document


def _not_json(problem: Problem) -> InputError:
    return InputError("cannot read the JSON document", [problem])


def to_json(document: object) -> bytes:
    """Render a document as canonical JSON: sorted keys, two spaces, UTF-8, a newline at the end."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def to_line(document: object) -> bytes:
    """Render a document as one line of a .jsonl file."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def refuse_unwritable(*places: Path) -> None:
    """Raise InputError where a file or folder could not be written, before a long computation. Writes nothing."""
    closed = {folder for folder in map(_written_in, places) if not os.access(folder, os.W_OK | os.X_OK)}
    what = "this folder is read-only"
    if problems := [Problem(str(folder), "files.not-writable", what) for folder in sorted(closed)]:
        raise InputError("nothing was computed: the result could not be written", problems)


def _written_in(place: Path) -> Path:
    """Return the existing folder that a write to `place` changes: itself, or the nearest one above it."""
    return next(folder for folder in (place.absolute(), *place.absolute().parents) if folder.is_dir())


def lies_in(path: str, places: Iterable[str]) -> bool:
    """Return whether a POSIX path is one of these places or lies below one."""
    parts = path.split("/")
    return not {"/".join(parts[:end]) for end in range(1, len(parts) + 1)}.isdisjoint(places)


def is_leftover(path: str) -> bool:
    """Return whether a path is, or lies in, a leftover of a killed write. The next write replaces it."""
    return any(part.startswith(".") and part.endswith(LEFTOVERS) for part in path.split("/"))


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically. One writer at a time: the temporary name is always the same."""
    with _replacing(path) as file:
        file.write(data)


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file with this mode atomically. Raises FileExistsError if it exists: nothing is replaced."""
    name_new(stage_new(path, data, mode), path)


def stage_new(path: Path, data: bytes, mode: int) -> Path:
    """Write a new file with this mode under its temporary name, and return that name. `name_new` gives it its own."""
    staged = temporary(path)
    with _named(path):
        staged.unlink(missing_ok=True)
        descriptor = descriptors.open_new(staged, mode)
        with os.fdopen(descriptor, "wb") as file, _unlinked_on_failure(staged):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    return staged


def name_new(staged: Path, path: Path) -> None:
    """Give a staged file its name. Raises FileExistsError if that is taken; the staged file is gone either way."""
    try:
        with _named(path):
            os.link(staged, path)
    finally:
        staged.unlink()
    descriptors.sync_folder(path.parent)


def temporary(path: Path) -> Path:
    """Return the name that a file has until it is whole."""
    return path.with_name(f".{path.name}.tmp")


def copy_atomic(source: Path, target: Path) -> None:
    """Copy a file to `target` atomically, without holding it in memory. Raises InputError."""
    with open_regular(source) as reader, _replacing(target) as writer:
        shutil.copyfileobj(reader, writer, BLOCK)


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Yield an open file that is renamed to `path` when the block succeeds."""
    staged = temporary(path)
    with _named(path), _unlinked_on_failure(staged):
        with staged.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    descriptors.sync_folder(path.parent)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Raise an OSError of a file's temporary name, or of no name, as one of the file itself."""
    try:
        yield
    except OSError as error:
        if error.filename not in (None, str(temporary(path))) or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def _unlinked_on_failure(staged: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        staged.unlink(missing_ok=True)
        raise


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Yield an empty sibling folder that is renamed to `target` when the block succeeds.

    Raises FileExistsError if `target` exists, InputError while another process writes it. Leftovers of a killed
    process are removed.
    """
    staged = target.with_name(f".{target.name}.staged")
    staged.mkdir(parents=True, exist_ok=True)
    with sole_writer(staged, target), _removed_on_failure(staged):
        if target.exists():
            raise FileExistsError(target)
        _empty(staged)
        yield staged
        descriptors.sync_folder(staged)
        staged.rename(target)
    descriptors.sync_folder(target.parent)


def write_folder(target: Path, documents: Mapping[str, bytes]) -> None:
    """Write a flat folder of files atomically. An existing folder is replaced, or kept if its files are the same."""
    write_all({target: documents}, {})


def write_all(folders: Mapping[Path, Mapping[str, bytes]], single: Mapping[Path, bytes]) -> None:
    """Write flat folders and single files. All are on disk before the first gets its name: a full disk leaves nothing.

    Each one is replaced atomically; one that has these bytes is kept. One writer at a time.
    """
    with ExitStack() as undo:
        for target in folders:
            undo.callback(shutil.rmtree, _fresh(target), ignore_errors=True)
        staged = [target for target, documents in folders.items() if _stage_folder(target, documents)]
        for path, data in single.items():
            undo.callback(temporary(path).unlink, missing_ok=True)
            stage_new(path, data, 0o666)
        undo.pop_all()
    for target in staged:
        _swap(target)
    for path in single:
        temporary(path).replace(path)
        descriptors.sync_folder(path.parent)


def _stage_folder(target: Path, documents: Mapping[str, bytes]) -> bool:
    """Write a folder under its temporary name; return False if the target has these files already."""
    recover_folder(target)
    for left in (_fresh(target), _set_aside(target)):
        shutil.rmtree(left, ignore_errors=True)
    if target.is_dir() and {path.name: path.read_bytes() for path in target.iterdir() if path.is_file()} == documents:
        return False
    with staged_folder(_fresh(target)) as staged:
        for name, data in documents.items():
            write_atomic(staged / name, data)
    return True


def _swap(target: Path) -> None:
    """Give a staged folder its name, in place of an older one."""
    old = _set_aside(target)
    try:
        if target.exists():
            target.rename(old)
        _fresh(target).rename(target)
    except BaseException:
        recover_folder(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
    descriptors.sync_folder(target.parent)


def recover_folder(target: Path) -> None:
    """Restore a folder that a killed `write_folder` had renamed before its replacement was in place."""
    if _set_aside(target).is_dir() and not target.exists():
        _set_aside(target).rename(target)


def _fresh(target: Path) -> Path:
    return target.with_name(f".{target.name}.fresh")


def _set_aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


@contextmanager
def sole_writer(folder: Path, target: Path, *, wait: bool = False) -> Iterator[None]:
    """Lock a folder. Raises InputError, naming `target`, while another process holds the lock, or waits for it."""
    locked = Problem(str(target), "files.locked", "another process is writing it")
    with exclusive(folder, "nothing was written", locked, wait=wait):
        yield


@contextmanager
def exclusive(folder: Path, summary: str, locked: Problem, *, wait: bool = False) -> Iterator[None]:
    """Lock a folder. Raises InputError with `locked` while another process holds the lock, or waits for it."""
    try:
        lock = descriptors.lock(folder, wait=wait)
    except (BlockingIOError, FileNotFoundError) as error:
        raise InputError(summary, [locked]) from error
    try:
        yield
    finally:
        os.close(lock)


def is_locked(folder: Path) -> bool:
    """Return whether another process holds the lock of a folder."""
    try:
        os.close(descriptors.lock(folder, wait=False))
    except BlockingIOError:
        return True
    return False


@contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
