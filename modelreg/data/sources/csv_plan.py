"""Decide from paths alone which files hold which recordings."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from modelreg.data.message_lists import and_others, quoted
from modelreg.data.recording import UNREADABLE
from modelreg.data.sources.csv_texts import Row
from modelreg.data.sources.source_notes import unmatched
from modelreg.errors import InputError, Notice, Problem
from modelreg.records.base import is_name
from modelreg.records.source import CsvSource

_EXCLUDED = re.compile(r"\(\?!\(\?:(?:[^()\\]|\\.)*\)\$\)")  # at the beginning of a pattern: files that it names
FIRST = "1"  # the session of files that name none


class Key(NamedTuple):
    """The names of a recording."""

    subject: str  # empty: a column tells it
    session: str
    label: str | None  # None: the path does not tell it

    @property
    def name(self) -> str:
        """The name of the recording."""
        return "-".join(part for part in self if part)


class Use(NamedTuple):
    """A file that holds a device or a part of it; its columns may name the recordings."""

    part: str
    path: str
    key: Key


class Plan(NamedTuple):
    """The files to read, and those that no pattern matches."""

    uses: tuple[Use, ...]
    notices: tuple[Notice, ...]
    dropped: tuple[Use, ...]  # files of recordings that `drop` leaves out


def make(source: CsvSource, paths: Sequence[str], lookup: Mapping[str, Row]) -> Plan:
    """Return the files to read. `lookup` has the row of each id. Raises InputError if they make no whole recordings."""
    problems: list[Problem] = []
    matches = {
        name: [(match, path) for path in paths if (match := re.fullmatch(part.files, path))]
        for name, part in source.by_name.items()
    }
    for name, found in matches.items():
        if not found:
            problems.append(_none_found(name, paths, source))
    every = [
        Use(name, path, key)
        for name, found in matches.items()
        for match, path in found
        if (key := _key(match, path, source, lookup, problems))
    ]
    uses = [use for use in every if not _is_dropped(use.key, source)]
    dropped = tuple(use for use in every if _is_dropped(use.key, source))
    if not is_by_columns(source):
        problems += find_copies(uses, source)
    problems += [problem for use in uses for problem in _find_invalid_names(use, source)]
    if not uses and not problems:
        problems.append(Problem(source.path, "sources.all-dropped", "`drop` matches every recording"))
    if not is_by_columns(source):
        by_key: dict[Key, dict[str, str]] = defaultdict(dict)
        for use in uses:
            by_key[use.key].setdefault(use.part, use.path)
        problems += find_gaps(by_key, [name for name, found in matches.items() if found], source.path)
    if problems:
        raise InputError(UNREADABLE, dict.fromkeys(problems))
    return Plan(tuple(uses), tuple(_strays(source, paths, matches)), dropped)


def is_by_columns(source: CsvSource) -> bool:
    """Return whether the rows of a file decide which recordings it holds."""
    return source.subject is not None or source.session is not None or source.clock == "restart"


def _none_found(name: str, paths: Sequence[str], source: CsvSource) -> Problem:
    there = f"found {quoted(paths[:3])}" if paths else "found no file"
    message = f"no path matches the pattern of device {name!r}, {source.by_name[name].files!r} ({there})"
    return Problem(source.path, "csv.files-missing", message)


def _key(
    match: re.Match[str], path: str, source: CsvSource, lookup: Mapping[str, Row], problems: list[Problem]
) -> Key | None:
    """Return the names of a file's recording, or None and a problem if its id has no row."""
    names = {name: text or "" for name, text in match.groupdict().items()}
    if source.lookup:
        row = lookup.get(names["id"])
        if row is None:
            message = f"no row of {source.lookup.file} has the id {names['id'][:40]!r}"
            problems.append(Problem(str(Path(source.path, path)), "csv.lookup-missing", message))
            return None
        names |= {name: row.texts[name] for name in source.lookup.given}
    session = "" if source.session is not None else FIRST
    return Key(names.get("subject") or source.one_subject or "", names.get("session") or session, names.get("label"))


def _is_dropped(key: Key, source: CsvSource) -> bool:
    return not is_by_columns(source) and source.drops(key.name)


def find_copies(uses: Iterable[Use], source: CsvSource) -> Iterator[Problem]:
    """Yield each file that holds the same part of the same recording as another one."""
    first: dict[tuple[Key, str], str] = {}
    for part, path, key in uses:
        if (other := first.setdefault((key, part), path)) != path:
            message = f"recording {key.name!r} already has {other} for this device"
            yield Problem(str(Path(source.path, path)), "csv.recording-twice", message)


def _find_invalid_names(use: Use, source: CsvSource) -> Iterator[Problem]:
    """Yield the names of a file that cannot be names of a recording."""
    key = use.key
    names = {"label": key.label} if key.label else {}
    names |= {} if source.subject is not None else {"subject": key.subject}
    names |= {} if is_by_columns(source) else {"recording": key.name}
    for what, name in names.items():
        if not is_name(name):
            message = f"{what} {name[:40]!r} is not a valid name"
            yield Problem(str(Path(source.path, use.path)), "csv.name-invalid", message)


def find_gaps(plan: Mapping[Key, Mapping[str, str]], devices: Sequence[str], shown: str) -> Iterator[Problem]:
    """Yield each recording without a file of some device, and recordings of the same name."""
    names: dict[str, Key] = {}
    for key, found in plan.items():
        for device in devices:
            if device not in found:
                pattern = re.escape(key.name).replace(r"\-", "-")
                step = f"add the file, or leave the recording out: drop: ['{pattern}']"
                yield Problem(f"{shown}: {key.name}", "csv.device-missing", f"no file of device {device!r}", step)
        if (other := names.setdefault(key.name, key)) is not key:
            first, second = (next(iter(plan[each].values())) for each in (other, key))
            message = f"{first} and {second} both make the recording {key.name!r}"
            yield Problem(shown, "csv.recording-twice", message)


def _strays(
    source: CsvSource, paths: Sequence[str], matches: Mapping[str, Sequence[tuple[object, str]]]
) -> Iterator[Notice]:
    """Yield a notice if files match no pattern, and are not excluded by their names at the beginning of one."""
    read = {path for found in matches.values() for _, path in found}
    for part in source.by_name.values():
        read |= {path for path in paths if re.fullmatch(_without_exclusions(part.files), path)}
    if source.annotations:
        read |= {path for path in paths if re.fullmatch(source.annotations.files, path)}
    read |= {source.lookup.file} if source.lookup else set()
    return unmatched(paths, read, source.path)


def _without_exclusions(pattern: str) -> str:
    """Return a pattern without the names of files at its beginning that it excludes."""
    excluded = _EXCLUDED.match(pattern)
    return pattern[excluded.end() :] if excluded else pattern


def by_id(rows: Iterable[Row], where: str) -> dict[str, Row]:
    """Return the rows of a lookup file by their ids. Raises InputError if an id has two rows."""
    found: dict[str, Row] = {}
    twice: list[Row] = [row for row in rows if found.setdefault(row.texts["key"], row) is not row]
    if twice:
        message = f"id {twice[0].texts['key'][:40]!r} has two rows{and_others(len(twice))}"
        raise InputError(UNREADABLE, [Problem(f"{where}:{twice[0].line}", "csv.lookup-twice", message)])
    return found


def matching(pattern: str, paths: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the groups of each path that a pattern matches; a group without text is left out."""
    found = {path: re.fullmatch(pattern, path) for path in paths}
    return {path: {k: v for k, v in match.groupdict().items() if v} for path, match in found.items() if match}
