"""Unpack untrusted bytes within limits. Damage is an InputError at its place, raised while the bytes are read."""

import bz2
import errno
import gzip
import io
import lzma
import shutil
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from modelreg import files
from modelreg.artifacts.tar_stream import Readable
from modelreg.data.recording import UNREADABLE
from modelreg.errors import InputError, Problem

RATIO = 200  # unpacked to packed bytes, of an archive or file that unpacks to more than HARMLESS
HARMLESS = 2**30  # bytes
KEPT_FREE = 2**30  # bytes of the disk that unpacked archives leave free

_OPENERS: dict[str, Any] = {".gz": gzip.open, ".tgz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,  # raised by zipfile for a compression that it does not know
    OverflowError,
    MemoryError,
)


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Raise the errors of damaged archives as InputError."""
    try:
        yield
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:  # not a place before the beginning
            problem = Problem(where, "files.unreadable", error.strerror or str(error))
        else:
            problem = Problem(where, "recordings.archive-damaged", str(error) or type(error).__name__)
        raise InputError(UNREADABLE, [problem]) from error


def find_expansion(unpacked: int, packed: int, where: str) -> Iterator[Problem]:
    """Yield a problem if bytes expand beyond what recordings do."""
    if unpacked > HARMLESS and unpacked > RATIO * packed:
        message = f"{packed:,} bytes unpack to {unpacked:,} or more, expected at most {RATIO} times as many"
        yield Problem(where, "recordings.archive-expands", message)


class _Counted:
    """Bytes, and how many of them were read."""

    def __init__(self, inner: Readable) -> None:
        self._inner, self.count = inner, 0

    def read(self, size: int = -1) -> bytes:
        data = self._inner.read(size)
        self.count += len(data)
        return data


class _Checked(io.RawIOBase):
    """Bytes whose damage is an InputError."""

    def __init__(self, inner: Readable, where: str, size: int | None, packed: _Counted | None) -> None:
        super().__init__()
        self._inner, self._where, self._size, self._packed = inner, where, size, packed
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with explained(self._where):
            data = self._inner.read(min(len(buffer), files.BLOCK))
            if not data and self._size not in {None, self._count}:
                raise EOFError(f"ends after {self._count:,} of {self._size:,} bytes")
            if not data and self._packed and not self._packed.count:
                raise EOFError("the file is empty")  # for gzip an empty file is whole
        self._count += len(data)
        if self._packed and (problems := list(find_expansion(self._count, self._packed.count, self._where))):
            raise InputError(UNREADABLE, problems)
        buffer[: len(data)] = data
        return len(data)


def reader(inner: Readable, where: str, size: int | None = None, packed: _Counted | None = None) -> IO[bytes]:
    """Return a stream of the same bytes that raises InputError for damage, or if there are not `size` bytes."""
    return io.BufferedReader(_Checked(inner, where, size, packed), files.BLOCK)


@contextmanager
def unpacked(stored: Readable, path: str, where: str) -> Iterator[IO[bytes]]:
    """Yield the contents of a compressed file, by its suffix. Raises InputError, also while they are read."""
    counted = _Counted(stored)
    with _OPENERS[Path(path).suffix.lower()](counted) as contents:
        yield reader(contents, where, packed=counted)


def spooled(stream: Readable, where: str, scratch: Path | None) -> IO[bytes]:
    """Return an unnamed temporary file of all bytes of a stream. Raises InputError if the disk is too small."""
    try:
        with ExitStack() as opened:
            file = opened.enter_context(tempfile.TemporaryFile(dir=scratch))
            _copy(stream, file, shutil.disk_usage(scratch or tempfile.gettempdir()).free - KEPT_FREE)
            file.seek(0)
            opened.pop_all()
    except OSError as error:
        problem = Problem(where, "recordings.archive-space", f"unpacking needs disk space: {error.strerror or error}")
        raise InputError(UNREADABLE, [problem]) from error
    return file


def _copy(stream: Readable, file: IO[bytes], limit: int) -> None:
    """Write all bytes of a stream. Raises OSError if there are more than `limit`."""
    left = limit
    while block := stream.read(files.BLOCK):
        left -= len(block)
        if left < 0:
            raise OSError(f"less than {KEPT_FREE:,} bytes would be left")
        file.write(block)
