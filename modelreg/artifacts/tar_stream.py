"""Read untrusted tar archives as a stream of limited length.

tarfile reads the names and attributes of a member into memory, however long the archive says they are. The limit on the
unpacked bytes includes them, and those of the members that are skipped.
"""

import io
import tarfile
from collections.abc import Iterator
from typing import IO, Any, Protocol


class Readable(Protocol):
    """What can be read, such as an unpacked stream."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, none at the end."""


class _Limited(io.RawIOBase):
    """A file that can be read up to a limit."""

    def __init__(self, file: Readable, limit: int) -> None:
        super().__init__()
        self._file, self._left, self._limit = file, limit, limit

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes. Raises TarError beyond the limit."""
        piece = self._file.read(size)
        self._left -= len(piece)
        if self._left < 0:
            raise tarfile.TarError(f"unpacks to more than {self._limit:,} bytes")
        return piece


def members(unpacked: Readable, limit: int) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Yield the members of an archive of at most `limit` bytes; regular files open, until the next one is taken.

    A sparse file is not regular: it can be larger than its archive. Raises TarError, OSError, EOFError, ValueError and
    the errors of `unpacked` for a damaged archive.
    """
    with tarfile.open(fileobj=_Limited(unpacked, limit), mode="r|") as archive:
        for member in each_member(archive):
            if not 0 <= member.size <= limit:
                raise tarfile.TarError(f"{member.name!r} has {member.size:,} bytes, expected 0 to {limit:,}")
            yield member, archive.extractfile(member) if member.isreg() and not member.issparse() else None


def each_member(archive: Any) -> Iterator[tarfile.TarInfo]:
    """Yield the members of an open TarFile, of which only the last one is kept. Raises the errors of tarfile."""
    while (member := archive.next()) is not None:
        archive.members = []  # tarfile keeps them all
        yield member
