"""Daily and Sports Activities (UCI 256): eight people, nineteen activities, five body-worn units, 25 Hz.

Native layout: `aAA/pN/sSS.txt`, in a folder or in `.tar.xz` archives beside each other. Each file is five seconds,
125 rows of 45 comma-separated numbers, nine for each of the units torso, right arm, left arm, right leg, left leg.
The 60 files of a person and activity are consecutive pieces of one recording and are joined again.

An archive is unpacked and parsed once and kept in the cache, by its digest; of folders, each recording.
"""

import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.data.cache import Parsed, Reading, combine
from modelreg.data.recording import Dataset, Recording, Signal
from modelreg.data.sources import archive
from modelreg.errors import InputError, Problem
from modelreg.records.data import SourceRecord
from modelreg.records.model import Channel
from modelreg.records.source import DsadsUnit

RATE_HZ = 25.0
ROWS, COLUMNS = 125, 45
SEGMENT_LIMIT = 2**20  # bytes of one text file
UNITS: tuple[DsadsUnit, ...] = ("T", "RA", "LA", "RL", "LL")  # in the order of the columns
CHANNELS = tuple(
    Channel(name=f"{sensor}_{axis}", unit=unit)
    for sensor, unit in (("acc", "m/s2"), ("gyro", "rad/s"), ("mag", "1"))
    for axis in "xyz"
)
CLASSES = (
    "sitting",
    "standing",
    "lying on back",
    "lying on right side",
    "ascending stairs",
    "descending stairs",
    "standing in elevator",
    "moving in elevator",
    "walking in parking lot",
    "treadmill flat",
    "treadmill inclined",
    "running on treadmill",
    "stepper",
    "cross trainer",
    "exercise bike horizontal",
    "exercise bike vertical",
    "rowing",
    "jumping",
    "basketball",
)
CITATION = (
    "Altun K, Barshan B, Tunçel O. Comparative study on classifying human activities with miniature inertial and "
    "magnetic sensors. Pattern Recognition 43(10):3605-3620, 2010. doi:10.1016/j.patcog.2010.04.019"
)

_MEMBER = re.compile(r"(?:.*/)?a(?P<activity>[0-9]{2})/p(?P<subject>[0-9])/s(?P<segment>[0-9]{2})\.txt")
_NUMBER = re.compile(rb"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")

Key = tuple[int, int]  # subject, activity
Pieces = Mapping[Key, Mapping[int, "Segment"]]  # the segments of each recording, by number
PARSER = "dsads-2"  # part of the cache's keys: another number where the parsing changes


class Segment(NamedTuple):
    """Five seconds of a recording."""

    where: str
    text: bytes


def read(path: Path, units: Sequence[DsadsUnit], reading: Reading) -> Dataset:
    """Read a folder or an archive. Raises InputError with file, line and rule of every problem."""
    found: dict[str, Parsed] = {}
    problems: list[Problem] = []
    for name, parsed in _recall_all(path, reading, problems):
        if name in found:
            problems.append(Problem(str(path), "todo.dsads", f"recording {name} is there twice"))
        found[name] = parsed
    if problems or not found:
        nothing = Problem(str(path), "todo.dsads", "holds neither aAA/pN/sSS.txt nor a .tar.xz of them")
        raise InputError("cannot read the recordings", problems or [nothing])
    digest = combine({name: parsed.digest for name, parsed in found.items()})
    source = SourceRecord(kind="dsads", name="dsads", digest=digest, license="CC-BY-4.0", citation=CITATION)
    return Dataset(
        sources=(source,),
        channels=CHANNELS,
        devices=tuple(units),
        classes=CLASSES,
        rate_hz=RATE_HZ,
        recordings=tuple(_recording(name, found[name].values, units) for name in sorted(found)),
    )


def _recall_all(path: Path, reading: Reading, problems: list[Problem]) -> Iterator[tuple[str, Parsed]]:
    """Yield every recording below a folder, or in its archives, or in one archive; note what is wrong with others."""
    archives = [path] if path.is_file() else sorted(path.glob("*.tar.xz"))
    folders = _files_of_recordings(path)
    total = len(archives) + len(folders)
    for done, packed in enumerate(archives):
        reading.tell(done, total, packed.name)
        yield from _recall(partial(_unpack, packed), files.sha256(packed), reading, problems)
    for done, (key, paths) in enumerate(sorted(folders.items()), len(archives)):
        reading.tell(done, total, _name(key))
        segments = {number: Segment(str(p), files.read_bytes(p, SEGMENT_LIMIT)) for number, p in paths.items()}
        digest = combine({str(number): files.sha256_bytes(s.text) for number, s in segments.items()})
        yield from _recall(partial(dict, {key: segments}), f"{_name(key)}-{digest}", reading, problems)
    reading.tell(total, total, path.name)


def _recall(
    load: Callable[[], Pieces], digest: str, reading: Reading, problems: list[Problem]
) -> Iterator[tuple[str, Parsed]]:
    """Yield the recordings of one archive or folder, parsed now or earlier."""
    try:
        yield from reading.recall(f"{PARSER}-{digest}", lambda: _parse_all(load())).items()
    except InputError as error:
        problems.extend(error.problems)


def _parse_all(pieces: Pieces) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield each recording's name and numbers, (samples, 45). Raises InputError with what is wrong with all of them."""
    problems = list(_gaps(pieces))
    for key in sorted(pieces):
        segments = [pieces[key][number] for number in sorted(pieces[key])]
        try:
            yield _name(key), parse(segments)
        except InputError as error:
            problems.extend(error.problems)
    if problems:
        raise InputError("cannot read the recordings", problems)


def parse(segments: Sequence[Segment]) -> NDArray[np.float32]:
    """Return the numbers of consecutive segments, (125 * segments, 45). Raises InputError with line and rule."""
    import pandas as pd

    problems = [problem for segment in segments for problem in _shape_problems(segment)]
    if not problems:
        text = b"".join(b"\n".join(segment.text.split()) + b"\n" for segment in segments)
        try:
            table = pd.read_csv(io.BytesIO(text), header=None, dtype=np.float64, na_filter=False)
            return table.to_numpy().astype(np.float32)
        except ValueError:
            problems = [problem for segment in segments for problem in _number_problems(segment)]
    raise InputError("not a segment", problems)


def _shape_problems(segment: Segment) -> Iterator[Problem]:
    lines = segment.text.split()
    if len(lines) != ROWS:
        yield Problem(segment.where, "todo.dsads", f"has {len(lines)} lines, must have {ROWS}")
    for number, line in enumerate(lines, 1):
        if (columns := line.count(b",") + 1) != COLUMNS:
            yield Problem(
                f"{segment.where}: line {number}", "todo.dsads", f"has {columns} columns, must have {COLUMNS}"
            )


def _number_problems(segment: Segment) -> Iterator[Problem]:
    for number, line in enumerate(segment.text.split(), 1):
        for column, cell in enumerate(line.split(b","), 1):
            if not _NUMBER.fullmatch(cell):
                yield Problem(
                    f"{segment.where}: line {number}, column {column}", "todo.dsads", f"not a number: {cell[:40]!r}"
                )


def _files_of_recordings(path: Path) -> dict[Key, dict[int, Path]]:
    """Return the text files below a folder, by recording and number."""
    found: dict[Key, dict[int, Path]] = defaultdict(dict)
    for file in path.glob("a*/p*/s*.txt"):
        if match := _MEMBER.fullmatch(file.as_posix()):
            found[_key(match)][int(match["segment"])] = file
    return found


def _unpack(path: Path) -> Pieces:
    """Return the text files in an archive, by recording and number. Raises InputError where it is damaged."""
    found: dict[Key, dict[int, Segment]] = defaultdict(dict)
    for match, text in archive.members(path, _MEMBER, SEGMENT_LIMIT):
        found[_key(match)][int(match["segment"])] = Segment(f"{path.name}: {match[0]}", text)
    return found


def _key(match: re.Match[str]) -> Key:
    return int(match["subject"]), int(match["activity"])


def _name(key: Key) -> str:
    subject, activity = key
    return f"p{subject}-a{activity:02d}"


def _gaps(pieces: Pieces) -> Iterator[Problem]:
    """Yield what is no known activity, and what is missing between the pieces of a recording."""
    for (subject, activity), found in sorted(pieces.items()):
        where = f"a{activity:02d}/p{subject}"
        if not 1 <= activity <= len(CLASSES):
            yield Problem(where, "todo.dsads", f"no such activity: there are a01 to a{len(CLASSES)}")
        if missing := sorted(set(range(1, max(found) + 1)) - found.keys()):
            names = ", ".join(f"s{number:02d}.txt" for number in missing)
            yield Problem(where, "todo.dsads", f"lacks {names}: pieces of one recording cannot be joined over a gap")


def _recording(name: str, values: NDArray[np.float32], units: Sequence[DsadsUnit]) -> Recording:
    subject, _, activity = name.partition("-")
    width = len(CHANNELS)
    columns = {unit: slice(width * UNITS.index(unit), width * (UNITS.index(unit) + 1)) for unit in units}
    return Recording(
        name=name,
        subject=subject,
        session=activity,
        signals={unit: Signal(values[:, part], RATE_HZ) for unit, part in columns.items()},
        labels=np.full(len(values), int(activity[1:]) - 1, dtype=np.int32),
    )
