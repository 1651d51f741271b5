"""Read untrusted .npz files, and write .npz files reproducibly: the same arrays give the same bytes."""

import io
import math
import os
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import InputError, Problem
from modelreg.files import open_regular

LIMIT = 512 * 2**20  # bytes of a file of predictions or samples, packed or unpacked

_DAMAGED_HEADER = (ValueError, TypeError, OverflowError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError)
_DAMAGED_ARCHIVE = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    OverflowError,
    NotImplementedError,  # raised by zipfile for a compression that it does not know
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)


class NpyHeader(NamedTuple):
    """The header of an .npy file."""

    shape: tuple[int, ...]
    order: Literal["C", "F"]
    dtype: np.dtype[Any]


def read_header(stream: IO[bytes], size: int) -> NpyHeader:
    """Read the header of an .npy of `size` bytes. Raises ValueError if the array does not have this size.

    numpy parses the header as a line of Python, so that a damaged header raises many kinds of exceptions.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy warns about headers written by Python 2
            version = np.lib.format.read_magic(stream)
            if version != (1, 0):
                raise ValueError(f"unsupported format version {version}, expected (1, 0)")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    except _DAMAGED_HEADER as error:
        raise ValueError(f"damaged header: {error}") from error
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"unsupported dtype {dtype}")
    if min(shape, default=0) < 0 or math.prod(length or 1 for length in shape) >= 2**48:
        raise ValueError(f"invalid shape {shape}")
    if stream.tell() + math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"size mismatch: {size:,} bytes do not fit {dtype} of shape {shape}")
    return NpyHeader(shape, "F" if fortran else "C", dtype)


def read_npz(path: Path, limit: int = LIMIT) -> dict[str, NDArray[Any]]:
    """Read every array of an .npz of at most `limit` bytes, packed and unpacked. Raises InputError.

    The size of an entry is compared with the limit and with its header before memory is allocated. Pickled objects are
    refused.
    """
    with open_regular(path, path.name) as file:
        return _read_archive(file, os.fstat(file.fileno()).st_size, path.name, limit)


def parse_npz(data: bytes, where: str, limit: int = LIMIT) -> dict[str, NDArray[Any]]:
    """Read every array of the bytes of an .npz, as `read_npz` does. Raises InputError."""
    return _read_archive(io.BytesIO(data), len(data), where, limit)


def _read_archive(file: IO[bytes], size: int, where: str, limit: int) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = _entries(archive, size, limit)
            return {entry.filename.removesuffix(".npy"): _read_entry(archive, entry) for entry in entries}
    except _DAMAGED_ARCHIVE as error:
        problem = Problem(where, "npz.invalid", f"not an .npz of plain arrays: {error}")
        raise InputError("cannot read the arrays", [problem]) from error


def _entries(archive: zipfile.ZipFile, size: int, limit: int) -> list[zipfile.ZipInfo]:
    """Return the entries of an archive of `size` bytes if each is safe to open. Raises ValueError."""
    entries = archive.infolist()
    if max(size, sum(entry.file_size for entry in entries)) > limit:
        raise ValueError(f"unpacks to more than {limit:,} bytes")
    if len({entry.filename for entry in entries}) < len(entries):
        raise ValueError("two entries have the same name")
    for entry in entries:
        if not entry.filename.endswith(".npy"):
            raise ValueError(f"{entry.filename!r} is not an .npy")
        if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{entry.filename!r} is encrypted or not compressed with deflate")
        if entry.compress_size > size:  # the reader would allocate this much
            raise ValueError(f"{entry.filename!r} claims more bytes than the file has")
    return entries


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(entry) as stream:
        shape, order, dtype = read_header(stream, entry.file_size)
        content = stream.read(entry.file_size - stream.tell())  # all bytes: zipfile checks the CRC at the end
    return np.ndarray(shape, dtype, bytearray(content), order=order)


def npz_bytes(arrays: Mapping[str, NDArray[Any]], *, compressed: bool = False) -> bytes:
    """Render arrays as .npz. The same arrays give the same bytes, because numpy dates every entry 1980."""
    buffer = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(buffer, allow_pickle=False, **dict(sorted(arrays.items())))
    return buffer.getvalue()
