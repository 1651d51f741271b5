"""Daily and Sports Activities (UCI 256): eight people, nineteen activities, five body-worn units, 25 Hz.

Native layout: `aAA/pN/sSS.txt`, in a folder or in `.tar.xz` archives beside each other. Each file is five seconds,
125 rows of 45 comma-separated numbers, nine for each of the units torso, right arm, left arm, right leg, left leg.
The 60 files of a person and activity are consecutive pieces of one recording and are joined again.
"""

import lzma
import re
import tarfile
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.config import DsadsUnit
from modelreg.data.recording import Dataset, Recording, Signal
from modelreg.errors import InputError, Problem
from modelreg.records.model import Channel

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

Key = tuple[int, int]  # subject, activity


class Segment(NamedTuple):
    """Five seconds of a recording."""

    key: Key
    number: int
    where: str
    text: bytes


def read(path: Path, units: Sequence[DsadsUnit]) -> Dataset:
    """Read a folder or an archive. Raises InputError with file, line and rule of every problem."""
    pieces: dict[Key, dict[int, NDArray[np.float32]]] = defaultdict(dict)
    problems: list[Problem] = []
    for segment in _segments(path):
        try:
            pieces[segment.key][segment.number] = parse(segment.text, segment.where)
        except InputError as error:
            problems.extend(error.problems)
    problems += _gaps(pieces)
    if problems or not pieces:
        nothing = Problem(str(path), "holds neither aAA/pN/sSS.txt nor a .tar.xz of them")
        raise InputError("cannot read the recordings", problems or [nothing])
    recordings = tuple(_recording(key, pieces[key], units) for key in sorted(pieces))
    arrays = {f"{r.name}/{device}": signal.values for r in recordings for device, signal in r.signals.items()}
    return Dataset(
        kind="dsads",
        name="dsads",
        license="CC-BY-4.0",
        citation=CITATION,
        channels=CHANNELS,
        devices=tuple(units),
        classes=CLASSES,
        rate_hz=RATE_HZ,
        recordings=recordings,
        digest=files.sha256_arrays(arrays),
    )


def parse(text: bytes, where: str) -> NDArray[np.float32]:
    """Return the (125, 45) numbers of one file. Raises InputError with the line and the rule."""
    lines = text.split()
    if len(lines) == ROWS and all(line.count(b",") == COLUMNS - 1 for line in lines):
        numbers = _numbers(b",".join(lines))
        if len(numbers) == ROWS * COLUMNS:
            return numbers.reshape(ROWS, COLUMNS).astype(np.float32)
    raise InputError("not a segment", list(_line_problems(lines, where)))


def _numbers(text: bytes) -> NDArray[np.float64]:
    """Return comma-separated numbers, ten times as fast as float(); fewer than there are where one is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy's, for text that ends before its end
        try:
            return np.fromstring(text, sep=",")
        except ValueError:  # a later numpy's
            return np.empty(0)


def _line_problems(lines: Sequence[bytes], where: str) -> Iterator[Problem]:
    if len(lines) != ROWS:
        yield Problem(where, f"has {len(lines)} lines, must have {ROWS}")
    for number, line in enumerate(lines, 1):
        cells = line.split(b",")
        if len(cells) != COLUMNS:
            yield Problem(f"{where}: line {number}", f"has {len(cells)} columns, must have {COLUMNS}")
        for column, cell in enumerate(cells, 1):
            if len(_numbers(cell)) != 1:
                yield Problem(f"{where}: line {number}, column {column}", f"not a number: {cell[:40]!r}")


def _segments(path: Path) -> Iterator[Segment]:
    """Yield every segment below a folder, or in its archives, or in one archive."""
    archives = [path] if path.is_file() else sorted(path.glob("*.tar.xz"))
    for archive in archives:
        yield from _archived(archive)
    found = {file: _MEMBER.fullmatch(file.as_posix()) for file in sorted(path.glob("a*/p*/s*.txt"))}
    for file, match in found.items():
        if match:
            yield _segment(match, str(file), files.read_bytes(file, SEGMENT_LIMIT))


def _archived(path: Path) -> Iterator[Segment]:
    try:
        with tarfile.open(path, "r|xz") as archive:
            for member in archive:
                match = _MEMBER.fullmatch(member.name)
                reader = archive.extractfile(member) if match and member.isreg() else None
                if match and reader and member.size <= SEGMENT_LIMIT:
                    yield _segment(match, f"{path.name}: {member.name}", reader.read(SEGMENT_LIMIT))
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        raise InputError("cannot read", [Problem(str(path), f"not a whole .tar.xz archive: {error}")]) from error


def _segment(match: re.Match[str], where: str, text: bytes) -> Segment:
    return Segment((int(match["subject"]), int(match["activity"])), int(match["segment"]), where, text)


def _gaps(pieces: Mapping[Key, Mapping[int, object]]) -> Iterator[Problem]:
    """Yield what is no known activity, and what is missing between the pieces of a recording."""
    for (subject, activity), found in sorted(pieces.items()):
        where = f"a{activity:02d}/p{subject}"
        if not 1 <= activity <= len(CLASSES):
            yield Problem(where, f"no such activity: there are a01 to a{len(CLASSES)}")
        if missing := sorted(set(range(1, max(found) + 1)) - found.keys()):
            names = ", ".join(f"s{number:02d}.txt" for number in missing)
            yield Problem(where, f"lacks {names}: pieces of one recording cannot be joined over a gap")


def _recording(key: Key, pieces: Mapping[int, NDArray[np.float32]], units: Sequence[DsadsUnit]) -> Recording:
    subject, activity = key
    values = np.concatenate([pieces[number] for number in sorted(pieces)])
    width = len(CHANNELS)
    columns = {unit: slice(width * UNITS.index(unit), width * (UNITS.index(unit) + 1)) for unit in units}
    return Recording(
        name=f"p{subject}-a{activity:02d}",
        subject=f"p{subject}",
        session=f"a{activity:02d}",
        signals={unit: Signal(np.ascontiguousarray(values[:, part]), RATE_HZ) for unit, part in columns.items()},
        labels=np.full(len(values), activity - 1, dtype=np.int32),
    )
