"""Text files of rows and columns, described column by column.

Every file below a folder whose path matches a device's pattern is one device's part of a recording; the pattern's
groups name the recording. Problems of the files (which there are, what they are called) are found before any is
opened, then those of what is in them, all in one go. What was parsed of a file is kept under the digest of its bytes
and of all that steers the parsing.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.data.cache import Parsed, Reading, combine
from modelreg.data.recording import UNLABELLED, Dataset, Recording, Signal, natural
from modelreg.data.sources.csv_table import PER_SECOND, Layout, no_name, parse
from modelreg.errors import InputError, Problem
from modelreg.records.data import SourceRecord
from modelreg.records.model import Channel
from modelreg.records.source import CsvDevice, CsvSource

PARSER = "csv-1"  # part of the cache's keys: another number where the parsing changes
FILE_LIMIT = 2**30  # bytes of one file
SHOWN = 50  # problems that are written out; the others are counted
FAR = 3  # times faster or slower than declared: no jitter, another unit


class _Key(NamedTuple):
    """What a path says of the recording that a file belongs to."""

    subject: str
    session: str
    label: str | None  # None: the pattern has no such group

    @property
    def name(self) -> str:
        return "-".join(part for part in self if part)


_Plan = dict[_Key, dict[str, str]]  # recording -> device -> path below the folder
_Found = dict[tuple[_Key, str], dict[str, Parsed]]  # recording, device -> what was parsed


def read(source: CsvSource, reading: Reading) -> Dataset:
    """Read the folder. Raises InputError with file, line and rule of every problem."""
    plan = _plan(source, reading.base / source.path, reading)
    found = _read_all(plan, source, reading)
    classes = tuple(source.labels or sorted({name for key in plan for name in _names(key, found, source)}))
    first = source.devices[0]
    digests = {
        f"{key.name}/{device}/{name}": parsed.digest
        for (key, device), arrays in found.items()
        for name, parsed in arrays.items()
        if name != "lines"
    }
    record = SourceRecord(
        kind="csv", name=source.name, digest=combine(digests), license=source.license, citation=source.citation
    )
    return Dataset(
        sources=(record,),
        channels=tuple(Channel(name=channel.name, unit=channel.unit) for channel in first.channels),
        devices=tuple(source.by_name),
        classes=classes,
        rate_hz=first.rate_hz,
        recordings=tuple(
            Recording(
                name=key.name,
                subject=key.subject,
                session=key.session,
                signals={name: _signal(found[key, name], device) for name, device in source.by_name.items()},
                labels=reading.aside(_labels(key, found, source, classes)),
            )
            for key in sorted(plan, key=lambda key: natural(key.name))
        ),
    )


def _plan(source: CsvSource, folder: Path, reading: Reading) -> _Plan:
    """Return every file that is to be read. Raises InputError where they do not make whole recordings."""
    problems: list[Problem] = []
    paths = sorted(_walk(folder, problems))
    files_of = {
        name: [(_key(match), path) for path in paths if (match := re.fullmatch(device.files, path))]
        for name, device in source.by_name.items()
    }
    there = f"there are {', '.join(paths[:3])}" if paths else "there is no file at all"
    for name, found in files_of.items():
        if not found and not problems:
            pattern = source.by_name[name].files
            problems.append(Problem(str(folder), "todo.csv", f"no path fits {pattern}, the files of {name}: {there}"))
    plan: _Plan = defaultdict(dict)
    for name, found in files_of.items():
        for key, path in found:
            if not _is_dropped(key, source):
                problems += _find_path_problems(folder / path, key, plan[key].setdefault(name, path), folder)
    if not plan and not problems:
        problems.append(Problem(str(folder), "todo.csv", "no recording is left: `drop` names all of them"))
    if strays := [path for path in paths if not any(path == p for found in files_of.values() for _, p in found)]:
        what = f"{len(strays)} of {len(paths)} files fit no pattern and were left alone: {', '.join(strays[:3])}"
        reading.remark(Problem(str(folder), "todo.csv", what))
    matched = [name for name, found in files_of.items() if found]
    _raise("cannot read the recordings", [*problems, *_find_gaps(plan, matched, folder)], folder)
    return plan


def _walk(folder: Path, problems: list[Problem]) -> Iterator[str]:
    """Yield the path of every file below a folder; note the folders that cannot be listed."""

    def note(error: OSError) -> None:
        problems.append(Problem(str(error.filename), "todo.csv", error.strerror or str(error)))

    for parent, folders, names in os.walk(folder, onerror=note):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name).relative_to(folder).as_posix() for name in names if not name.startswith("."))


def _key(match: re.Match[str]) -> _Key:
    groups = match.groupdict("")
    return _Key(groups["subject"], groups.get("session") or "1", groups.get("label"))


def _is_dropped(key: _Key, source: CsvSource) -> bool:
    return any(re.fullmatch(pattern, key.name) for pattern in source.drop)


def _find_path_problems(path: Path, key: _Key, first: str, folder: Path) -> Iterator[Problem]:
    """Yield what is wrong with a file's place and name; `first` is the device's first file of that recording."""
    if path != folder / first:
        yield Problem(str(path), "todo.csv", f"is of recording {key.name} and of the same device as {first}")
    if not path.resolve().is_relative_to(folder.resolve()):
        yield Problem(str(path), "todo.csv", "a symbolic link that leads out of the folder")
    names = {"subject": key.subject, "recording": key.name} | ({"label": key.label} if key.label else {})
    for what, name in names.items():
        if why := no_name(name):
            yield Problem(str(path), "todo.csv", f"the {what} {why}")


def _find_gaps(plan: _Plan, devices: Sequence[str], folder: Path) -> Iterator[Problem]:
    """Yield each recording without a file of some device, and those of one name."""
    names: dict[str, _Key] = {}
    for key, found in plan.items():
        for device in devices:
            if device not in found:
                pattern = re.escape(key.name).replace(r"\-", "-")
                what = f"recording {key.name} has no file of {device}: leave it out with drop: ['{pattern}']"
                yield Problem(str(folder), "todo.csv", what)
        if (other := names.setdefault(key.name, key)) is not key:
            first, second = (next(iter(plan[each].values())) for each in (other, key))
            yield Problem(
                str(folder), "todo.csv", f"two recordings would be called {key.name}: of {first} and of {second}"
            )


def _read_all(plan: _Plan, source: CsvSource, reading: Reading) -> _Found:
    """Return what is in the files, one read at a time. Raises InputError with all that is wrong in them."""
    folder = reading.base / source.path
    uses: dict[str, list[tuple[_Key, str]]] = defaultdict(list)
    for key, paths in plan.items():
        for device, path in paths.items():
            uses[path].append((key, device))
    layouts = {device: Layout.of(source, device) for device in source.by_name}
    found: _Found = {}
    problems: list[Problem] = []
    for done, path in enumerate(sorted(uses)):
        reading.tell(done, len(uses), path)
        try:
            data = files.read_bytes(folder / path, FILE_LIMIT)
            digest = files.sha256_bytes(data)
            for key, device in uses[path]:
                found[key, device] = _recall(data, digest, str(folder / path), layouts[device], reading)
        except InputError as error:
            problems += error.problems
    reading.tell(len(uses), len(uses), folder.name)
    problems += _find_unknown_labels(plan, found, source, folder)
    for (key, name), arrays in found.items():
        where = f"{folder / plan[key][name]}: line {1 + source.header} on"
        problems += _find_rate_problems(arrays, source.by_name[name], where)
    _raise("cannot read the recordings", problems, folder)
    return found


def _recall(data: bytes, digest: str, where: str, layout: Layout, reading: Reading) -> dict[str, Parsed]:
    """Return the arrays of one file for one device, parsed now or earlier."""
    steering = files.to_line({"file": digest, **layout.to_document()})
    return reading.recall(f"{PARSER}-{files.sha256_bytes(steering)}", partial(parse, data, where, layout))


def _raise(summary: str, problems: Sequence[Problem], folder: Path) -> None:
    """Raise InputError with the first problems, each once, and how many more there are."""
    found = list(dict.fromkeys(problems))
    if len(found) > SHOWN:
        found[SHOWN:] = [Problem(str(folder), "todo.csv", f"and {len(found) - SHOWN} more problems")]
    if found:
        raise InputError(summary, found)


def _find_rate_problems(arrays: Mapping[str, Parsed], device: CsvDevice, where: str) -> Iterator[Problem]:
    """Yield time stamps that are far from the nominal rate, with the unit in which they would not be."""
    if device.time is None:
        return
    intervals = np.diff(arrays["time"].values)
    rate = 1 / float(np.median(intervals[intervals > 0]))
    if _is_near(rate, device.rate_hz):
        return
    declared = PER_SECOND.get(device.time.unit)
    fitting = [u for u, n in PER_SECOND.items() if declared and _is_near(rate * n / declared, device.rate_hz)]
    hint = f": is the unit {fitting[0]}?" if fitting else ""
    yield Problem(where, "todo.csv", f"time stamps give {rate:.3g} Hz where rate_hz says {device.rate_hz:g}{hint}")


def _is_near(rate: float, nominal: float) -> bool:
    return nominal / FAR <= rate <= nominal * FAR


def _find_unknown_labels(plan: _Plan, found: _Found, source: CsvSource, folder: Path) -> Iterator[Problem]:
    """Yield the first place of each label of which the map says nothing."""
    first = source.devices[0].name
    known = set(source.labels or ())
    for key in plan if source.labels else ():
        for name, where in _names(key, found, source).items():
            if name not in known:
                known.add(name)
                what = f"unknown label {name!r}; labels names {', '.join(source.labels or ())}"
                yield Problem(
                    f"{folder / plan[key][first]}{where}", "todo.csv", f"{what}: give it a class, or null to drop it"
                )


def _names(key: _Key, found: _Found, source: CsvSource) -> dict[str, str]:
    """Return the labels of a recording, and on which line of its file each stands first."""
    if source.label is None:
        return {key.label: ""} if key.label and key.label not in source.missing else {}
    arrays = found.get((key, source.devices[0].name))
    if arrays is None:
        return {}
    labels, lines = (arrays[name].values.tolist() for name in ("labels", "lines"))
    return {label: f": line {line}" for label, line in zip(labels, lines, strict=True)}


def _labels(key: _Key, found: _Found, source: CsvSource, classes: Sequence[str]) -> NDArray[np.int32]:
    """Return the class of every row of the first device."""
    arrays = found[key, source.devices[0].name]
    table = np.array([*(classes.index(name) for name in _names(key, found, source)), UNLABELLED], dtype=np.int32)
    if source.label is None:
        return np.full(len(arrays["values"].values), table[0])
    codes: NDArray[np.int32] = arrays["codes"].values
    return table[codes]


def _signal(arrays: Mapping[str, Parsed], device: CsvDevice) -> Signal:
    time = arrays["time"].values if device.time else None
    return Signal(arrays["values"].values, device.rate_hz, time)
