"""Bytes on disk: hashing, strict JSON, canonical JSON, atomic writes, staged folders, bounded reads.

A file appears whole or not at all: its bytes go to a temporary sibling, reach the disk (fsync), and take
the name in one rename; then the folder's own entry is synced. A folder appears the same way. What a kill
leaves behind is a hidden sibling `.<name>.tmp` or `.<name>.staged`, which the next write replaces.
"""

import hashlib
import io
import json
import math
import os
import shutil
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import InputError, Problem

DOCUMENT_LIMIT = 16 * 2**20  # bytes; a document is text that people read
ARRAYS_LIMIT = 4 * 2**30  # bytes; predictions and samples, unpacked

Json: TypeAlias = Any  # what json.loads gives: typed by the record that takes it in


def sha256(path: Path) -> str:
    """Return the hex SHA-256 digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_bytes(data: bytes) -> str:
    """Return the hex SHA-256 digest of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return a hex SHA-256 over names, dtypes, shapes and little-endian contents, in name order."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.data)
    return digest.hexdigest()


def read_bytes(path: Path, limit: int = DOCUMENT_LIMIT) -> bytes:
    """Read a regular file of at most `limit` bytes. Raises InputError for anything else."""
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError("cannot read", [Problem(str(path), "not a regular file")])
            data = file.read(limit + 1)
    except OSError as error:
        raise InputError("cannot read", [Problem(str(path), error.strerror or str(error))]) from error
    if len(data) > limit:
        raise InputError("cannot read", [Problem(str(path), f"larger than {limit} bytes")])
    return data


def parse_json(data: bytes, where: str) -> Json:
    """Parse UTF-8 JSON, refusing what Python's parser lets pass: NaN, Infinity, 1e400, duplicate keys."""

    def refuse(what: str) -> NoReturn:
        raise InputError("not strict JSON", [Problem(where, what)])

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
        document: Json = json.loads(
            data.decode("utf-8"),
            parse_float=finite,
            parse_constant=lambda text: refuse(f"not a JSON number: {text}"),
            object_pairs_hook=unique,
        )
    except UnicodeDecodeError as error:
        refuse(f"not UTF-8 at byte {error.start}")
    except json.JSONDecodeError as error:
        refuse(f"line {error.lineno}, column {error.colno}: {error.msg}")
    except (RecursionError, ValueError):  # ValueError: an integer of more than 4300 digits
        refuse("nested too deeply, or a number of thousands of digits")
    return document


def to_json(document: object) -> bytes:
    """Render a document in the one form we write: sorted keys, two spaces, UTF-8, a newline at the end."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def to_line(document: object) -> bytes:
    """Render a document as one line of a .jsonl file."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` under `path`, whole or not at all."""
    staged = path.with_name(f".{path.name}.tmp")
    try:
        with staged.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def copy_atomic(source: Path, target: Path) -> None:
    """Copy a file's bytes to `target`, whole or not at all, without holding them in memory."""
    staged = target.with_name(f".{target.name}.tmp")
    try:
        with source.open("rb") as reader, staged.open("wb") as writer:
            shutil.copyfileobj(reader, writer, 2**20)
            writer.flush()
            os.fsync(writer.fileno())
        staged.replace(target)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target` that takes its name when the block ends well.

    Raises FileExistsError if `target` exists. What an earlier kill left under the staged name is removed.
    """
    if target.exists():
        raise FileExistsError(target)
    staged = target.with_name(f".{target.name}.staged")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        yield staged
        _sync_folder(staged)
        staged.rename(target)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    _sync_folder(target.parent)


def read_npz(path: Path, limit: int = ARRAYS_LIMIT) -> dict[str, NDArray[Any]]:
    """Read every array of an .npz of at most `limit` unpacked bytes; nothing in it is ever unpickled."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > limit:
            raise InputError("cannot read", [Problem(path.name, f"unpacks to more than {limit} bytes")])
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError("cannot read", [Problem(path.name, f"not an .npz of plain arrays: {error}")]) from error


def npz_bytes(arrays: Mapping[str, NDArray[Any]], *, compressed: bool = False) -> bytes:
    """Render arrays as .npz: the same arrays give the same bytes (numpy dates every entry 1980)."""
    buffer = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(buffer, allow_pickle=False, **dict(sorted(arrays.items())))
    return buffer.getvalue()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
