"""Read text files of rows and columns, described column by column.

Every file below a folder whose path matches a device's pattern holds one device of a recording; the groups of the
pattern name the recording. Problems of paths and names are found before any file is opened, then those of all contents.
Parsed arrays are kept under the digest of the file's bytes and of every setting that the parsing depends on.
"""

import gzip
import os
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.data import alignment
from modelreg.data.cache import Parsed, Reading, combine
from modelreg.data.message_lists import quoted
from modelreg.data.recording import UNLABELLED, UNREADABLE, Dataset, Recording, Signal, natural
from modelreg.data.sources.csv_table import COUNTS, Layout, parse
from modelreg.data.sources.csv_times import PER_SECOND
from modelreg.errors import InputError, Notice, Problem
from modelreg.records.base import is_name
from modelreg.records.data import RowCounts, SourceRecord
from modelreg.records.model import Channel
from modelreg.records.source import CsvPart, CsvSource

PARSER = "csv-2"  # part of the cache's keys; a new number when the parsing changes
FAR = 3  # a rate this many times off the declared one is not jitter, but another unit


class _Key(NamedTuple):
    """The names in a path: they identify the recording that a file belongs to."""

    subject: str
    session: str
    label: str | None  # None: the pattern has no group `label`

    @property
    def name(self) -> str:
        return "-".join(part for part in self if part)


_Plan = dict[_Key, dict[str, str]]  # recording -> device -> path below the folder
_Found = dict[tuple[_Key, str], dict[str, Parsed]]  # recording, device -> arrays by name


def read(source: CsvSource, reading: Reading) -> Dataset:
    """Read the folder. Raises InputError with file and line of every problem."""
    plan = _plan(source, reading)
    found = _read_all(plan, source, reading)
    classes = tuple(source.labels or sorted({name for key in plan for name in _names(key, found, source)}))
    first = source.devices[0]
    digests = {
        f"{key.name}/{device}/{name}": parsed.digest
        for (key, device), arrays in found.items()
        for name, parsed in arrays.items()
        if name not in {"lines", "counts"}
    }
    record = SourceRecord(
        kind="csv",
        name=source.name,
        digest=combine(digests),
        license=source.license,
        citation=source.citation,
        rows=_count_rows(found),
    )
    for note in record.rows.notes() if record.rows else ():
        reading.remark(Notice(source.path, note))
    return Dataset(
        sources=(record,),
        channels=tuple(Channel(name=channel.name, unit=channel.unit) for channel in first.all_channels),
        devices=tuple(device.name for device in source.devices),
        classes=classes,
        rate_hz=first.rate_hz,
        recordings=_recordings(sorted(plan, key=lambda key: natural(key.name)), found, source, classes, reading),
    )


def _recordings(
    keys: Sequence[_Key], found: _Found, source: CsvSource, classes: Sequence[str], reading: Reading
) -> tuple[Recording, ...]:
    """Return the recordings, the parts of each device joined. Raises InputError if parts cannot be joined."""
    made: list[Recording] = []
    problems: list[Problem] = []
    for key in keys:
        try:
            made.append(_recording(key, found, source, _labels(key, found, source, classes), reading))
        except InputError as error:
            problems += error.problems
    _raise(problems)
    return tuple(made)


def _recording(key: _Key, found: _Found, source: CsvSource, labels: NDArray[np.int32], reading: Reading) -> Recording:
    signals = {}
    for number, device in enumerate(source.devices):
        parts = {
            name: _signal(found[key, name], part, device.rate_hz)
            for name, part in zip(source.parts_of(device), device.pieces, strict=True)
        }
        first = labels if not number else np.zeros(len(next(iter(parts.values())).values), np.int32)
        whole, nearest = alignment.join(Recording(key.name, key.subject, key.session, parts, first), device.rate_hz)
        labels = labels[nearest] if not number and len(parts) > 1 else labels
        signals[device.name] = whole if len(parts) == 1 else replace(whole, values=reading.store(whole.values))
    return Recording(key.name, key.subject, key.session, signals, reading.store(labels))


def _plan(source: CsvSource, reading: Reading) -> _Plan:
    """Return the files to read. Raises InputError if they do not make complete recordings."""
    folder = reading.base / source.path
    problems: list[Problem] = []
    paths = sorted(_walk(folder, source.path, problems))
    files_of = {
        name: [(_key(match), path) for path in paths if (match := re.fullmatch(device.files, path))]
        for name, device in source.by_name.items()
    }
    for name, found in files_of.items():
        if not found and not problems:
            there = f"found {quoted(paths[:3])}" if paths else "found no file"
            message = f"no path matches the pattern of device {name!r}, {source.by_name[name].files!r} ({there})"
            problems.append(Problem(source.path, "csv.files-missing", message))
    plan: _Plan = defaultdict(dict)
    for name, found in files_of.items():
        for key, path in found:
            if not source.drops(key.name):
                first = plan[key].setdefault(name, path)
                problems += _find_path_problems(path, key, first, source.path)
                problems += _find_links(folder, path, source.path)
    if not plan and not problems:
        problems.append(Problem(source.path, "sources.all-dropped", "`drop` matches every recording"))
    matching = {path for found in files_of.values() for _, path in found}
    if strays := [path for path in paths if path not in matching]:
        message = f"{len(strays)} of {len(paths)} files match no pattern and are not read: {', '.join(strays[:3])}"
        reading.remark(Notice(source.path, message))
    matched = [name for name, found in files_of.items() if found]
    _raise([*problems, *_find_gaps(plan, matched, source.path)])
    return plan


def _walk(folder: Path, shown: str, problems: list[Problem]) -> Iterator[str]:
    """Yield the path of every file below a folder; note the folders that cannot be listed."""

    def note(error: OSError) -> None:
        where = Path(shown, Path(error.filename).relative_to(folder))
        problems.append(Problem(str(where), "files.unreadable", error.strerror or str(error)))

    for parent, folders, names in os.walk(folder, onerror=note):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name).relative_to(folder).as_posix() for name in names if not name.startswith("."))


def _key(match: re.Match[str]) -> _Key:
    groups = match.groupdict("")
    return _Key(groups["subject"], groups.get("session") or "1", groups.get("label"))


def _find_path_problems(path: str, key: _Key, first: str, shown: str) -> Iterator[Problem]:
    """Yield the problems of a file's name; `first` is the device's first file of that recording."""
    where = str(Path(shown, path))
    if path != first:
        yield Problem(where, "csv.recording-twice", f"recording {key.name!r} already has {first} for this device")
    names = {"subject": key.subject, "recording": key.name} | ({"label": key.label} if key.label else {})
    for what, name in names.items():
        if not is_name(name):
            yield Problem(where, "csv.name-invalid", f"{what} {name[:40]!r} is not a valid name")


def _find_links(folder: Path, path: str, shown: str) -> Iterator[Problem]:
    if not (folder / path).resolve().is_relative_to(folder.resolve()):
        yield Problem(str(Path(shown, path)), "csv.link", "symbolic link that leads out of the folder")


def _find_gaps(plan: _Plan, devices: Sequence[str], shown: str) -> Iterator[Problem]:
    """Yield each recording without a file of some device, and recordings of the same name."""
    names: dict[str, _Key] = {}
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


def _read_all(plan: _Plan, source: CsvSource, reading: Reading) -> _Found:
    """Return the arrays of all files, read one at a time. Raises InputError with the problems of all of them."""
    folder = reading.base / source.path
    uses: dict[str, list[tuple[_Key, str]]] = defaultdict(list)
    for key, paths in plan.items():
        for device, path in paths.items():
            uses[path].append((key, device))
    layouts = {name: Layout.of(source, name) for name in source.by_name}
    rates = {
        name: part.rate_hz or device.rate_hz
        for device in source.devices
        for name, part in zip(source.parts_of(device), device.pieces, strict=True)
    }
    found: _Found = {}
    problems: list[Problem] = []
    for done, path in enumerate(sorted(uses)):
        reading.tell(done, len(uses), path)
        where = str(Path(source.path, path))
        try:
            digest = files.sha256(folder / path, where)
            for key, device in uses[path]:
                found[key, device] = _recall(folder / path, digest, where, layouts[device], reading)
        except InputError as error:
            problems += error.problems
    reading.tell(len(uses), len(uses), folder.name)
    problems += _find_unknown_labels(plan, found, source)
    for (key, name), arrays in found.items():
        place = str(Path(source.path, plan[key][name]))
        problems += _find_rate_problems(arrays, source.by_name[name], rates[name], place)
    _raise(problems)
    return found


def _count_rows(found: _Found) -> RowCounts | None:
    """Return what was done to the rows of all files; None if all were read as they are."""
    counts = np.array([arrays["counts"].values for arrays in found.values()]).reshape(-1, len(COUNTS))
    total = dict(zip(COUNTS, counts.sum(axis=0).tolist(), strict=True))
    packets = int(np.count_nonzero(counts[:, COUNTS.index("packet")]))
    made = RowCounts(**{name: total[name] for name in COUNTS if name != "packet"}, packets=packets)
    return made if any(count for name, count in made if name != "rows") else None


def _recall(path: Path, digest: str, where: str, layout: Layout, reading: Reading) -> dict[str, Parsed]:
    """Return the arrays of one file for one device, parsed now or earlier."""

    def parse_file() -> Iterator[tuple[str, NDArray[Any]]]:
        with files.open_regular(path, where) as stream:
            if path.suffix != ".gz":
                yield from parse(stream, where, layout)
                return
            try:
                with gzip.open(stream) as text:
                    yield from parse(cast("IO[bytes]", text), where, layout)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                problem = Problem(where, "recordings.archive-damaged", str(error))
                raise InputError(UNREADABLE, [problem]) from error

    steering = files.to_line({"file": digest, **layout.to_document()})
    return reading.recall(f"{PARSER}-{files.sha256_bytes(steering)}", parse_file)


def _raise(problems: Sequence[Problem]) -> None:
    """Raise InputError with the problems, each once, if there are any."""
    if problems:
        raise InputError(UNREADABLE, dict.fromkeys(problems))


def _find_rate_problems(arrays: Mapping[str, Parsed], device: CsvPart, rate_hz: float, where: str) -> Iterator[Problem]:
    """Yield a problem if the time stamps are far from the nominal rate, with the unit in which they are near it."""
    if device.time is None:
        return
    intervals = np.diff(arrays["time"].values)
    rate = 1 / float(np.median(intervals[intervals > 0]))
    if _is_near(rate, rate_hz):
        return
    declared = PER_SECOND.get(device.time.unit)
    fitting = [u for u, n in PER_SECOND.items() if declared and _is_near(rate * n / declared, rate_hz)]
    step = f"set `time.unit` to '{fitting[0]}'" if fitting else ""
    message = f"time stamps give {rate:.3g} Hz, but rate_hz is {rate_hz:g}"
    yield Problem(where, "csv.rate-mismatch", message, step)


def _is_near(rate: float, nominal: float) -> bool:
    return nominal / FAR <= rate <= nominal * FAR


def _find_unknown_labels(plan: _Plan, found: _Found, source: CsvSource) -> Iterator[Problem]:
    """Yield the first place of each label that `labels` does not map."""
    first = source.first
    known = set(source.labels or ())
    for key in plan if source.labels else ():
        for name, where in _names(key, found, source).items():
            if name not in known:
                known.add(name)
                message = f"label {name!r} is not in `labels` (which has {quoted(list(source.labels or ()))})"
                yield Problem(f"{Path(source.path, plan[key][first])}{where}", "sources.label-unmapped", message)


def _names(key: _Key, found: _Found, source: CsvSource) -> dict[str, str]:
    """Return the labels of a recording, and the first line of each in its file: `:12`, or nothing."""
    if source.label is None:
        return {key.label: ""} if key.label and key.label not in source.missing else {}
    arrays = found.get((key, source.first))
    if arrays is None:
        return {}
    labels, lines = (arrays[name].values.tolist() for name in ("labels", "lines"))
    return {label: f":{line}" for label, line in zip(labels, lines, strict=True)}


def _labels(key: _Key, found: _Found, source: CsvSource, classes: Sequence[str]) -> NDArray[np.int32]:
    """Return the class of every row of the first device."""
    arrays = found[key, source.first]
    table = np.array([*(classes.index(name) for name in _names(key, found, source)), UNLABELLED], dtype=np.int32)
    if source.label is None:
        return np.full(len(arrays["values"].values), table[0])
    codes: NDArray[np.int32] = arrays["codes"].values
    return table[codes]


def _signal(arrays: Mapping[str, Parsed], part: CsvPart, rate_hz: float) -> Signal:
    time = arrays["time"].values if part.time else None
    return Signal(arrays["values"].values, part.rate_hz or rate_hz, time)
