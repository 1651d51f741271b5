"""Read Daily and Sports Activities (UCI 256): 8 subjects, 19 activities, 5 body-worn units, 25 Hz.

Native layout: `aAA/pN/sSS.txt`, in a folder or in `.tar.xz` archives in one folder. Each file is 5 s: 125 rows of 45
comma-separated numbers, nine for each of the units torso, right arm, left arm, right leg, left leg.
The 60 files of a subject and activity are consecutive segments of one recording, which are joined.

The parsed arrays of each archive are kept in the cache, by its digest; those of a folder by recording.
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
from modelreg.data.message_lists import and_others
from modelreg.data.recording import UNREADABLE, Dataset, Recording, Signal
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
PARSER = "dsads-2"  # part of the cache's keys; a new number when the parsing changes


class Segment(NamedTuple):
    """Five seconds of a recording."""

    where: str
    text: bytes


def read(path: Path, units: Sequence[DsadsUnit], reading: Reading) -> Dataset:
    """Read a folder or an archive. Raises InputError with file and line of every problem."""
    found: dict[str, Parsed] = {}
    problems: list[Problem] = []
    for name, parsed in _recall_all(path, reading, problems):
        if name in found:
            problems.append(
                Problem(f"{path}: {name}", "recordings.file-twice", "the data set has this recording twice")
            )
        found[name] = parsed
    if not found and not problems:
        message = "found neither aAA/pN/sSS.txt nor a .tar.xz of them"
        problems = [Problem(str(path), "recordings.none-found", message)]
    if problems:
        raise InputError(UNREADABLE, problems)
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
    """Yield every recording of a folder and its archives, or of one archive; append what is wrong to `problems`."""
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
    """Yield each recording's name and numbers, (samples, 45). Raises InputError with the problems of all of them."""
    problems = list(_gaps(pieces))
    for key in sorted(pieces):
        segments = [pieces[key][number] for number in sorted(pieces[key])]
        try:
            yield _name(key), parse(segments)
        except InputError as error:
            problems.extend(error.problems)
    if problems:
        raise InputError(UNREADABLE, problems)


def parse(segments: Sequence[Segment]) -> NDArray[np.float32]:
    """Return the numbers of consecutive segments, (125 * segments, 45). Raises InputError with file and line."""
    import pandas as pd

    problems = [problem for segment in segments for problem in _shape_problems(segment)]
    if not problems:
        text = b"".join(b"\n".join(segment.text.split()) + b"\n" for segment in segments)
        try:
            table = pd.read_csv(io.BytesIO(text), header=None, dtype=np.float64, na_filter=False)
            return table.to_numpy().astype(np.float32)
        except ValueError:
            problems = [problem for segment in segments for problem in _number_problems(segment)]
    raise InputError(UNREADABLE, problems)


def _shape_problems(segment: Segment) -> Iterator[Problem]:
    """Yield a problem if a segment has another number of rows, and one if rows have another number of columns."""
    lines = segment.text.split()
    if len(lines) != ROWS:
        yield Problem(segment.where, "recordings.row-count", f"{len(lines)} rows, expected {ROWS}")
    widths = [(number, line.count(b",") + 1) for number, line in enumerate(lines, 1)]
    if wrong := [(number, columns) for number, columns in widths if columns != COLUMNS]:
        number, columns = wrong[0]
        message = f"{columns} columns, expected {COLUMNS}{and_others(len(wrong))}"
        yield Problem(f"{segment.where}:{number}", "csv.row-width", message)


def _number_problems(segment: Segment) -> Iterator[Problem]:
    """Yield a problem if cells of a segment are not numbers."""
    cells = [
        (number, column, cell)
        for number, line in enumerate(segment.text.split(), 1)
        for column, cell in enumerate(line.split(b","), 1)
        if not _NUMBER.fullmatch(cell)
    ]
    if cells:
        number, column, cell = cells[0]
        rows = len({row for row, *_ in cells})
        message = f"not a number: {cell[:40].decode('ascii', 'replace')!r}, column {column}{and_others(rows)}"
        yield Problem(f"{segment.where}:{number}", "csv.not-a-number", message)


def _files_of_recordings(path: Path) -> dict[Key, dict[int, Path]]:
    """Return the text files below a folder, by recording and number."""
    found: dict[Key, dict[int, Path]] = defaultdict(dict)
    for file in path.glob("a*/p*/s*.txt"):
        if match := _MEMBER.fullmatch(file.as_posix()):
            found[_key(match)][int(match["segment"])] = file
    return found


def _unpack(path: Path) -> Pieces:
    """Return the text files in an archive, by recording and number. Raises InputError if it is damaged."""
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
    """Yield each unknown activity, and each recording with a missing segment."""
    for (subject, activity), found in sorted(pieces.items()):
        where = f"a{activity:02d}/p{subject}"
        if not 1 <= activity <= len(CLASSES):
            yield Problem(where, "recordings.label-unknown", f"unknown activity, expected a01 to a{len(CLASSES)}")
        if missing := sorted(set(range(1, max(found) + 1)) - found.keys()):
            names = ", ".join(f"s{number:02d}.txt" for number in missing)
            yield Problem(where, "recordings.file-missing", f"{names} missing: segments cannot be joined over a gap")


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
