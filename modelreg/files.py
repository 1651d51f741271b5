"""Bytes on disk: hashing, strict JSON, canonical JSON, atomic writes, staged folders, bounded reads.

A file appears whole or not at all: its bytes go to a temporary sibling, reach the disk (fsync), and take
the name in one rename; then the folder's own entry is synced. A folder appears the same way, and is locked while
it is filled: one writer at a time. What a kill leaves behind is a hidden sibling `.<name>.tmp` or
`.<name>.staged`, which the next write replaces.

What is read is a regular file, and no larger than a limit says, whatever it claims of itself.
"""

import errno
import fcntl
import hashlib
import io
import json
import math
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import InputError, Problem

DOCUMENT_LIMIT = 16 * 2**20  # bytes; a document is text that people read
BLOCK = 2**20  # bytes that are looked at at once

Json: TypeAlias = Any  # what json.loads gives: typed by the record that takes it in

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_NO_LOCKS = (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOTSUP)  # a file system that locks no folders, as NFS


def open_regular(path: Path, where: str | None = None) -> io.BufferedReader:
    """Open a regular file to be read. Raises InputError for anything else, also a pipe that nobody writes to."""
    where = where or str(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise InputError("cannot read", [Problem(where, "todo.files", error.strerror or str(error))]) from error
    except ValueError as error:  # a NUL in it, or half of a character
        raise InputError("cannot read", [Problem(where, "todo.files", "no file can have this name")]) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError("cannot read", [Problem(where, "todo.files", "not a regular file")])
    return os.fdopen(descriptor, "rb")


def sha256(path: Path) -> str:
    """Return the hex SHA-256 digest of a regular file. Raises InputError for anything else."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_bytes(data: bytes) -> str:
    """Return the hex SHA-256 digest of `data`."""
    return hashlib.sha256(data).hexdigest()


def sums_text(digests: Mapping[str, str]) -> str:
    """Render digests by path as `sha256sum -c` reads them, sorted by path."""
    return "".join(f"{digests[path]}  {path}\n" for path in sorted(digests))


def _take_no_notice(array: NDArray[Any]) -> None:
    """Do nothing."""


def sha256_arrays(arrays: Mapping[str, NDArray[Any]], passed: Callable[[NDArray[Any]], None] = _take_no_notice) -> str:
    """Return a hex SHA-256 over names, dtypes, shapes and little-endian contents, in name order.

    `passed` is told of an array whenever a block of it has been looked at.
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


def read_bytes(path: Path, limit: int = DOCUMENT_LIMIT) -> bytes:
    """Read a regular file of at most `limit` bytes. Raises InputError for anything else."""
    with open_regular(path) as file:
        try:
            data = file.read(limit + 1)
        except OSError as error:
            raise InputError("cannot read", [Problem(str(path), "todo.files", error.strerror or str(error))]) from error
    if len(data) > limit:
        raise InputError("cannot read", [Problem(str(path), "todo.files", f"larger than {limit} bytes")])
    return data


def read_text(path: Path, limit: int = DOCUMENT_LIMIT) -> str:
    """Read a UTF-8 file of at most `limit` bytes. Raises InputError for anything else."""
    try:
        return read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            "cannot read", [Problem(str(path), "todo.files", f"not UTF-8 at byte {error.start}")]
        ) from error


def parse_json(data: bytes, where: str) -> Json:
    """Parse UTF-8 JSON, refusing what Python's parser lets pass: NaN, 1e400, duplicate keys, half a character."""

    def refuse(what: str) -> NoReturn:
        raise InputError("not strict JSON", [Problem(where, "todo.files", what)])

    def finite(text: str) -> float:
        value = float(text)
        return value if math.isfinite(value) else refuse(f"number out of range: {text}")

    def unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        document = dict(pairs)
        if len(document) < len(pairs):
            names = [name for name, _ in pairs]
            refuse(f"duplicate key: {next(name for name in names if names.count(name) > 1)!r}")
        return document

    try:
        text = data.decode("utf-8")
        document: Json = json.loads(
            text,
            parse_float=finite,
            parse_constant=lambda text: refuse(f"not a JSON number: {text}"),
            object_pairs_hook=unique,
        )
        _check_characters(text, document, refuse)
    except UnicodeDecodeError as error:
        refuse(f"not UTF-8 at byte {error.start}")
    except json.JSONDecodeError as error:
        refuse(f"line {error.lineno}, column {error.colno}: {error.msg}")
    except (RecursionError, ValueError):  # ValueError: an integer of more than 4300 digits
        refuse("nested too deeply, or a number of thousands of digits")
    return document


def _check_characters(text: str, document: Json, refuse: Callable[[str], NoReturn]) -> None:
    """Refuse a surrogate escape without its other half: Python keeps it, and could never write it again."""
    try:
        if _SURROGATE.search(text):
            to_line(document)
    except UnicodeEncodeError as error:
        refuse(f"not Unicode text: {error.object[error.start]!r} stands alone")


def to_json(document: object) -> bytes:
    """Render a document in the one form we write: sorted keys, two spaces, UTF-8, a newline at the end."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def to_line(document: object) -> bytes:
    """Render a document as one line of a .jsonl file."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def is_leftover(path: str) -> bool:
    """Say whether a path is, or lies in, what a killed write left behind; the next write replaces it."""
    return any(part.startswith(".") and part.endswith((".tmp", ".staged")) for part in path.split("/"))


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` under `path`, whole or not at all. One writer at a time: the temporary name is always the same."""
    with _replacing(path) as file:
        file.write(data)


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file of this mode, whole or not at all. Raises FileExistsError where it exists: nothing is replaced."""
    staged = path.with_name(f".{path.name}.tmp")
    staged.unlink(missing_ok=True)
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(staged, path)
    finally:
        staged.unlink()
    _sync_folder(path.parent)


def copy_atomic(source: Path, target: Path) -> None:
    """Copy a file's bytes to `target`, whole or not at all, without holding them in memory. Raises InputError."""
    with open_regular(source) as reader, _replacing(target) as writer:
        shutil.copyfileobj(reader, writer, BLOCK)


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Yield an open file that takes the name `path` when the block ends well."""
    staged = path.with_name(f".{path.name}.tmp")
    try:
        with staged.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target` that takes its name when the block ends well.

    Raises FileExistsError if `target` exists, InputError while another process fills the same folder. What an
    earlier kill left under the staged name is removed.
    """
    staged = target.with_name(f".{target.name}.staged")
    staged.mkdir(parents=True, exist_ok=True)
    with sole_writer(staged, target), _removed_on_failure(staged):
        if target.exists():
            raise FileExistsError(target)
        _empty(staged)
        yield staged
        _sync_folder(staged)
        staged.rename(target)
    _sync_folder(target.parent)


def write_folder(target: Path, documents: Mapping[str, bytes]) -> None:
    """Write a flat folder of files whole, in place of one that stands there; left alone where it says the same."""
    recover_folder(target)
    fresh, old = target.with_name(f".{target.name}.fresh"), _set_aside(target)
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)
    if target.is_dir() and {path.name: path.read_bytes() for path in target.iterdir() if path.is_file()} == documents:
        return
    with staged_folder(fresh) as staged:
        for name, data in documents.items():
            write_atomic(staged / name, data)
    try:
        if target.exists():
            target.rename(old)
        fresh.rename(target)
    except BaseException:
        recover_folder(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
    _sync_folder(target.parent)


def recover_folder(target: Path) -> None:
    """Give a folder its name back that a kill in `write_folder` left set aside, its successor not yet in place."""
    if _set_aside(target).is_dir() and not target.exists():
        _set_aside(target).rename(target)


def _set_aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


@contextmanager
def sole_writer(folder: Path, target: Path) -> Iterator[None]:
    """Hold the one lock on a folder. Raises InputError, naming `target`, while another process holds it."""
    try:
        lock = _lock(folder)
    except (BlockingIOError, FileNotFoundError) as error:
        what = "another process is writing it; wait for its end, or stop it"
        raise InputError("cannot write", [Problem(str(target), "todo.files", what)]) from error
    try:
        yield
    finally:
        os.close(lock)


@contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _lock(folder: Path) -> int:
    """Return a descriptor that holds the one lock on a folder until it is closed, or the process ends.

    Raises BlockingIOError or FileNotFoundError if another process holds it, or has just given the folder its name.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _claim(descriptor, folder)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _claim(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    if not os.path.samestat(os.fstat(descriptor), folder.stat()):
        raise BlockingIOError(errno.EWOULDBLOCK, "renamed since it was opened")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
