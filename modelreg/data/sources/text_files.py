"""Read a native data set of text files, from a folder or from `.tar.xz` archives in one folder.

Parsed arrays are kept in the cache, by the digest of the file or archive.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from modelreg import files
from modelreg.data.cache import Parsed, Reading
from modelreg.data.recording import UNREADABLE
from modelreg.data.sources import archive
from modelreg.errors import InputError, Problem

TWICE = "the data set has this file twice"


class Native(NamedTuple):
    """The files of a data set, and how one is parsed."""

    files: str  # the file names, for messages
    parser: str  # part of the cache's keys; a new name when the parsing changes
    member: re.Pattern[str]  # the path of a file in an archive; the group `name` is the file name without its suffix
    suffix: str
    folders: tuple[str, ...]  # the folders of the files, below the data set's folder
    limit: int  # bytes of one file
    parse: Callable[[str, bytes, str], Iterable[tuple[str, NDArray[Any]]]]  # name, text, place -> arrays by name


def read_all(path: Path, native: Native, reading: Reading, problems: list[Problem]) -> dict[str, Parsed]:
    """Return every array of a folder and its archives, or of one archive; append what is wrong to `problems`.

    The arrays of one file have its name, and after a full stop their own.
    """
    archives = [path] if path.is_file() else sorted(path.glob("*.tar.xz"))
    places = [*archives, *_texts(path, native)]
    found: dict[str, Parsed] = {}
    for done, place in enumerate(places):
        reading.tell(done, len(places), place.name)
        try:
            arrays = _recall(place, native, reading, packed=place in archives)
        except InputError as error:
            problems.extend(error.problems)
            continue
        twice = {name.partition(".")[0] for name in arrays.keys() & found.keys()}
        problems += [
            Problem(f"{path}: {name}{native.suffix}", "recordings.file-twice", TWICE) for name in sorted(twice)
        ]
        found |= arrays
    reading.tell(len(places), len(places), path.name)
    if not found and not problems:
        problems.append(
            Problem(str(path), "recordings.none-found", f"found neither {native.files} nor a .tar.xz of them")
        )
    return found


def _texts(path: Path, native: Native) -> list[Path]:
    there = {file for folder in native.folders for file in path.glob(f"{folder}*{native.suffix}")}
    return sorted(file for file in there if native.member.fullmatch(file.name))


def _recall(path: Path, native: Native, reading: Reading, *, packed: bool) -> dict[str, Parsed]:
    """Return the arrays of an archive or of one text file, parsed now or earlier. Raises InputError."""
    if packed:
        return reading.recall(f"{native.parser}-{files.sha256(path)}", partial(_unpack, path, native))
    data = files.read_bytes(path, native.limit)
    key = f"{native.parser}-{path.stem}-{files.sha256_bytes(data)}"
    return reading.recall(key, lambda: native.parse(path.stem, data, str(path)))


def _unpack(path: Path, native: Native) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the arrays of every text file in an archive. Raises InputError at the end, with all problems."""
    seen: set[str] = set()
    problems: list[Problem] = []
    for match, data in archive.members(path, native.member, native.limit):
        name, where = match["name"], f"{path.name}: {match[0]}"
        try:
            if name not in seen:
                yield from native.parse(name, data, where)
            else:
                problems.append(Problem(where, "recordings.file-twice", TWICE))
        except InputError as error:
            problems.extend(error.problems)
        seen.add(name)
    if problems:
        raise InputError(UNREADABLE, problems)
