"""Native sets of text files, in a folder or in `.tar.xz` archives beside each other: each file parsed once.

What was parsed of a file is kept in the cache by its digest, of an archive by its own.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from modelreg import files
from modelreg.data.cache import Parsed, Reading
from modelreg.data.sources import archive
from modelreg.errors import InputError, Problem


class Native(NamedTuple):
    """Which files a set has, and what is in one."""

    files: str  # as people write it, for messages
    parser: str  # part of the cache's keys: another name where the parsing changes
    member: re.Pattern[str]  # the whole path of a file in an archive; the group `name` is its own, without the suffix
    suffix: str
    folders: tuple[str, ...]  # where the files lie below the folder that is named
    limit: int  # bytes of one file
    parse: Callable[[str, bytes, str], Iterable[tuple[str, NDArray[Any]]]]  # name, text, place -> arrays by name


def read_all(path: Path, native: Native, reading: Reading, problems: list[Problem]) -> dict[str, Parsed]:
    """Return every array of a folder and its archives, or of one archive; note what is wrong.

    The arrays of one file are named after it; what follows a full stop tells them apart.
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
            Problem(str(path), "todo.text-files", f"{name}{native.suffix} is there twice") for name in sorted(twice)
        ]
        found |= arrays
    reading.tell(len(places), len(places), path.name)
    if not found and not problems:
        problems.append(Problem(str(path), "todo.text-files", f"holds neither {native.files} nor a .tar.xz of them"))
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
    """Yield what every text file in an archive holds. Raises InputError at the end, with all that is wrong in them."""
    seen: set[str] = set()
    problems: list[Problem] = []
    for match, data in archive.members(path, native.member, native.limit):
        name, where = match["name"], f"{path.name}: {match[0]}"
        try:
            if name not in seen:
                yield from native.parse(name, data, where)
            else:
                problems.append(Problem(where, "todo.text-files", "is in the archive twice"))
        except InputError as error:
            problems.extend(error.problems)
        seen.add(name)
    if problems:
        raise InputError("cannot read the recordings", problems)
