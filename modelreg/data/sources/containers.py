"""One tree of files over a folder and the archives in it.

A member of an archive has the path of the archive, then its own: `set/anna.zip/Accelerometer.csv`. Only names that end
in one of ARCHIVES are archives: `.gt3x` and `.xlsx` are zip files in truth, and stay files.

A .zip or .tar of the folder is read in place, by offset. A compressed tar, and an archive in an archive, is unpacked
whole into an unnamed temporary file, because it can only be read from its beginning. That happens when it is listed, so
only those archives are listed that a pattern asks for (`asked_by`). A few archives stay open; others are opened, and
unpacked, again on use.
"""

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from modelreg import files
from modelreg.data.recording import UNREADABLE
from modelreg.data.sources import members
from modelreg.data.sources.members import Archive, Entry
from modelreg.data.sources.unpacking import explained, reader, spooled, unpacked
from modelreg.errors import InputError, Problem

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
COMPRESSED = (".gz", ".bz2", ".xz")  # a single file
DEPTH = 3  # archives in archives: those deeper stay files
OPEN = 8  # archives at a time
NESTED = 4  # groups in groups of a pattern that are closed at a `/`

Asked = Callable[[str], bool]  # path of an archive -> whether its members are in the tree


class _Member(NamedTuple):
    archive: str  # its path; empty for the place itself
    entry: Entry


@dataclass
class _Open:
    """An open archive."""

    archive: Archive
    stack: ExitStack  # closes it
    users: int = 0  # streams of its members


def is_archive(path: str) -> bool:
    """Return whether the name of a file is that of an archive."""
    return path.lower().endswith(ARCHIVES)


def asked_by(patterns: Iterable[str]) -> Asked:
    r"""Return a function that tells whether one of these patterns of paths asks for the members of an archive.

    It does if its text before some `/` matches the path of the archive, as `(?P<subject>\w+)\.zip/.*` does. Groups that
    begin before the `/` and end after it end at the `/`, so that `(?:.*/)?data\.csv` asks for every archive. A pattern
    without a `/` asks for none.
    """
    texts = {pattern[:at].removesuffix("\\") for pattern in patterns for at, c in enumerate(pattern) if c == "/"}
    heads = [head for text in sorted(texts) if (head := _compiled(text))]
    return lambda path: any(head.fullmatch(path) for head in heads)


def _compiled(text: str) -> re.Pattern[str] | None:
    """Return the beginning of a pattern, its open groups closed, or None if the pattern was cut inside a set."""
    for depth in range(NESTED + 1):
        with suppress(re.error):
            return re.compile(text + ")" * depth)
    return None


def _every(_: str) -> bool:
    return True


@contextmanager
def open_tree(place: Path, shown: str, asked: Asked = _every, scratch: Path | None = None) -> Iterator["Tree"]:
    """Yield the files of a folder, or of an archive, and of the archives in it.

    `shown` is the name of the place in messages. Archives that must be unpacked are unpacked in the folder `scratch`,
    by default that of the system's temporary files.
    """
    tree = Tree(place, shown, asked, scratch)
    try:
        tree.scan()
        yield tree
    finally:
        tree.close()


class Tree:
    """Files by their POSIX paths, from `open_tree`. Not for several threads at a time.

    Attributes:
        paths: of the files, sorted. An archive whose members are listed is not among them.
        problems: of the folders and archives that could not be listed. Their files are not in `paths`.
    """

    def __init__(self, place: Path, shown: str, asked: Asked, scratch: Path | None) -> None:
        self._place, self._shown, self._asked, self._scratch = place, shown, asked, scratch
        self._members: dict[str, _Member] = {}  # by path, also of archives in archives
        self._open: dict[str, _Open] = {}  # archives by path, the one used last at the end
        self.paths: tuple[str, ...] = ()
        self.problems: list[Problem] = []

    def where(self, path: str) -> str:
        """Return the name of a file in messages."""
        return str(Path(self._shown, path))

    @contextmanager
    def open(self, path: str) -> Iterator[IO[bytes]]:
        """Yield the contents of a file, unpacked if its name ends in one of COMPRESSED.

        Raises InputError, also while the contents are read: damage is found there.
        """
        with self._stored(path) as stored, _single(stored, path, self.where(path)) as contents:
            yield contents

    def sha256(self, path: str) -> str:
        """Return the hex SHA-256 digest of a file as a folder would hold it, not unpacked. Raises InputError."""
        with self._stored(path) as stored:
            return hashlib.file_digest(cast("Any", stored), "sha256").hexdigest()

    def scan(self) -> None:
        """Find the files, and what cannot be listed."""
        single = is_archive(self._place.name) and self._place.is_file()
        found = [""] if single else list(_walk(self._place, self._shown, self.problems))
        todo = [(path, 1) for path in sorted(found, reverse=True) if self._is_listed(path)]
        listed = set()
        while todo:
            path, depth = todo.pop()  # an archive in an archive follows the outer one, which is still open
            listed.add(path)
            inner = sorted(self._list_members(path), reverse=True)
            todo += [(each, depth + 1) for each in inner if depth < DEPTH and self._is_listed(each)]
        self.paths = tuple(sorted({*found, *self._members} - listed))

    def close(self) -> None:
        """Close the archives."""
        while self._open:
            self._open.popitem()[1].stack.close()

    def _is_listed(self, path: str) -> bool:
        return not path or (is_archive(path) and self._asked(path))

    def _list_members(self, path: str) -> list[str]:
        """Add the files of an archive to the tree, and return their paths."""
        try:
            with self._archive(path) as archive:
                entries = archive.entries
        except InputError as error:
            self.problems += error.problems
            return []
        if len(self._members) + len(entries) > members.MEMBERS:
            self.problems.append(members.too_many(self.where(path)))
            return []
        found = {f"{path}/{name}" if path else name: _Member(path, entry) for name, entry in entries.items()}
        self._members |= found
        return list(found)

    @contextmanager
    def _stored(self, path: str) -> Iterator[IO[bytes]]:
        """Yield the bytes of a file as a folder would hold them."""
        member, where = self._members.get(path), self.where(path)
        if member is None:
            with self._on_disk(path) as file:
                yield reader(file, where)
            return
        if member.entry.fault:
            raise InputError(UNREADABLE, [member.entry.fault])
        with self._archive(member.archive) as archive:
            with explained(where):
                content = archive.open(member.entry.content)
            yield reader(content, where, size=member.entry.size)

    def _on_disk(self, path: str) -> io.BufferedReader:
        if not (self._place / path).resolve().is_relative_to(self._place.resolve()):
            problem = Problem(self.where(path), "csv.link", "symbolic link that leads out of the folder")
            raise InputError(UNREADABLE, [problem])
        return files.open_regular(self._place / path, self.where(path))

    @contextmanager
    def _archive(self, path: str) -> Iterator[Archive]:
        """Yield an archive, which stays open after use."""
        found = self._open.pop(path, None) or self._opened(path)
        self._open[path] = found
        found.users += 1
        try:
            yield found.archive
        finally:
            found.users -= 1

    def _opened(self, path: str) -> _Open:
        """Open an archive. If OPEN are open, the one used longest ago is closed, unless a member of it is open."""
        name = (path or self._place.name).lower()
        idle = [each for each, found in self._open.items() if not found.users]
        if len(self._open) >= OPEN and idle:
            self._open.pop(idle[0]).stack.close()
        with ExitStack() as stack:
            file = stack.enter_context(self._seekable(path, name))
            with explained(self.where(path)):
                read = members.read_zip if name.endswith(".zip") else members.read_tar
                archive = read(file, self.where(path))
            return _Open(archive, stack.pop_all())

    @contextmanager
    def _seekable(self, path: str, name: str) -> Iterator[IO[bytes]]:
        """Yield an archive as a file in which every place can be read."""
        packed = not name.endswith((".zip", ".tar"))
        if path not in self._members and not packed:
            with self._on_disk(path) as file:
                yield file
            return
        where = self.where(path)
        with self._stored(path) as stored, unpacked(stored, name, where) if packed else nullcontext(stored) as contents:
            whole = spooled(contents, where, self._scratch)
        with whole:
            yield whole


def _single(stored: IO[bytes], path: str, where: str) -> AbstractContextManager[IO[bytes]]:
    """Return the contents of a file, which may be compressed."""
    return unpacked(stored, path, where) if path.lower().endswith(COMPRESSED) else nullcontext(stored)


def _walk(folder: Path, shown: str, problems: list[Problem]) -> Iterator[str]:
    """Yield the path of every file below a folder; note the folders that cannot be listed."""

    def note(error: OSError) -> None:
        where = Path(shown, Path(error.filename).relative_to(folder))
        problems.append(Problem(str(where), "files.unreadable", error.strerror or str(error)))

    for parent, folders, names in os.walk(folder, onerror=note):
        folders[:] = [name for name in folders if not members.is_hidden(name)]
        paths = (Path(parent, name).relative_to(folder).as_posix() for name in names)
        yield from (path for path in paths if not members.is_hidden(path))
