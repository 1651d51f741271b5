"""List the files of an untrusted .zip or .tar, and open one of them at any time. Nothing is extracted.

Links, folders and devices are left out, and hidden files; a hard link is the file that it names. The list of the
members is bounded; so is each piece of an archive that is read at once, because zipfile and tarfile read as many bytes
as the archive states.
"""

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, NamedTuple

from modelreg.artifacts.tar_stream import Readable, each_member
from modelreg.data.recording import UNREADABLE
from modelreg.data.sources.unpacking import find_expansion
from modelreg.errors import InputError, Problem

MEMBERS = 200_000  # of all archives of a tree, and so of one
DIRECTORY = 16 * 2**20  # bytes of a zip's list of members, and of any other piece

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_NAMES = {9: "Deflate64", 93: "Zstandard", 98: "PPMd"}


class Entry(NamedTuple):
    """A file of an archive."""

    content: Any  # what the archive's `open` takes
    size: int
    fault: Problem | None = None  # why it cannot be read


class Archive(NamedTuple):
    """The files of an archive."""

    entries: dict[str, Entry]  # by POSIX path
    open: Callable[[Any], Readable]  # raises the errors of zipfile and tarfile, also while it is read


class _Found(NamedTuple):
    name: str
    content: Any
    size: int
    fault: tuple[str, str, str] | None = None  # rule, message, next step


class _Pieces(io.RawIOBase):
    """A file of which only short pieces are read."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self.size = file.seek(0, 2)
        file.seek(0)

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.size - self._file.tell())
        if min(left, size if size >= 0 else left) > DIRECTORY:
            raise ValueError(f"its list of members has more than {DIRECTORY:,} bytes")
        return self._file.read(size)

    def seek(self, place: int, whence: int = 0) -> int:
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True


class _Window:
    """A part of a file."""

    def __init__(self, file: _Pieces, start: int, size: int) -> None:
        self._file, self._at, self._end = file, start, start + size

    def read(self, size: int) -> bytes:
        self._file.seek(self._at)
        data = self._file.read(min(size, self._end - self._at))
        self._at += len(data)
        return data


def is_hidden(path: str) -> bool:
    """Return whether a path is one that systems add: it begins with a full stop, or is in `__MACOSX`."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def read_zip(file: IO[bytes], where: str) -> Archive:
    """List a zip. Raises InputError and the errors of zipfile."""
    pieces = _Pieces(file)
    archive = zipfile.ZipFile(pieces)
    infos = archive.infolist()
    stated = sum(info.file_size for info in infos)
    if problems := list(find_expansion(stated, pieces.size, where)):
        raise InputError(UNREADABLE, problems)
    return Archive(_entries(map(_of_zip, filter(_is_file, infos)), where), archive.open)


def _is_file(info: zipfile.ZipInfo) -> bool:
    mode = info.external_attr >> 16  # of Unix; 0 elsewhere
    return not info.filename.endswith(("/", "\\")) and stat.S_IFMT(mode) in {0, stat.S_IFREG}


def _of_zip(info: zipfile.ZipInfo) -> _Found:
    name = info.filename.replace("\\", "/") if info.create_system == 0 else info.filename  # some tools of Windows
    fault = None
    if info.flag_bits & 1:
        fault = ("recordings.archive-encrypted", "protected by a password", "")
    elif info.compress_type not in _METHODS:
        method = _NAMES.get(info.compress_type, f"method {info.compress_type}")
        fault = ("recordings.archive-method", f"compressed with {method}", "")
    return _Found(name, info, info.file_size, fault)


def read_tar(file: IO[bytes], where: str) -> Archive:
    """List a tar that is not compressed. Raises InputError and the errors of tarfile."""
    pieces = _Pieces(file)
    with tarfile.open(fileobj=pieces, mode="r:") as archive:
        entries = _entries(_of_tar(archive), where)
        pieces.seek(archive.offset)
    if pieces.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # tarfile ends at a damaged header as at the end
        raise tarfile.ReadError("cut off, or damaged between two members")
    return Archive(entries, lambda content: _Window(pieces, *content))


def _of_tar(archive: tarfile.TarFile) -> Iterator[_Found]:
    places: dict[str, tuple[int, int]] = {}
    for member in each_member(archive):
        if member.size < 0:
            raise tarfile.ReadError(f"{member.name!r} has {member.size:,} bytes")
        if member.isreg():
            places[member.name] = member.offset_data, member.size
        if member.isreg() or (member.islnk() and member.linkname in places):
            place = places[member.linkname if member.islnk() else member.name]
            sparse = ("recordings.archive-method", "stored as a sparse file", "pack it again without `--sparse`")
            yield _Found(member.name, place, place[1], sparse if member.issparse() else None)


def _entries(found: Iterable[_Found], where: str) -> dict[str, Entry]:
    """Return files by their paths. Raises InputError for too many, and for a path that leads out of the archive."""
    entries: dict[str, Entry] = {}
    for number, each in enumerate(found, 1):
        if number > MEMBERS:
            raise InputError(UNREADABLE, [too_many(where)])
        parts = [part for part in each.name.split("/") if part not in {"", "."}]
        if each.name.startswith("/") or ".." in parts:
            problem = Problem(where, "recordings.archive-name", f"{each.name!r} leads out of the archive")
            raise InputError(UNREADABLE, [problem])
        path = "/".join(parts)
        if not path or is_hidden(path):
            continue
        fault = each.fault
        if path in entries:
            fault = ("recordings.file-twice", "the archive has this file twice", "pack the files again")
        entries[path] = Entry(each.content, each.size, Problem(f"{where}/{path}", *fault) if fault else None)
    return entries


def too_many(where: str) -> Problem:
    """Return the problem of an archive with which there are more than MEMBERS files in archives."""
    return Problem(where, "recordings.archive-members", f"more than {MEMBERS:,} files in archives")
