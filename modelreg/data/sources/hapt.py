"""Read HAPT (UCI 341), the recordings of UCI-HAR: 30 subjects with a phone at the waist, 50 Hz, postural transitions.

Native layout: `RawData/` with `{acc,gyro}_expNN_userNN.txt`, three numbers a line separated by a blank, and
`labels.txt`, five a line: experiment, user, label, first and last sample, counted from 1. In a folder, or in a
`.tar.xz` archive. Each experiment is one continuous recording; samples that no line of labels.txt covers are
unlabelled.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.cache import Reading, combine
from modelreg.data.memory_map import release
from modelreg.data.message_lists import and_others
from modelreg.data.recording import UNLABELLED, UNREADABLE, Dataset, Recording, Signal
from modelreg.data.sources import csv_table, text_files
from modelreg.data.sources.csv_layout import Layout
from modelreg.data.sources.text_rows import Form
from modelreg.errors import InputError, Problem
from modelreg.records.csv_device import CsvChannel, CsvColumns
from modelreg.records.data import SourceRecord
from modelreg.records.model import Channel

RATE_HZ = 50.0
DEVICE = "waist"
SENSORS = {"acc": "g", "gyro": "rad/s"}
CHANNELS = tuple(Channel(name=f"{sensor}_{axis}", unit=unit) for sensor, unit in SENSORS.items() for axis in "xyz")
CLASSES = (  # in the order of activity_labels.txt
    "WALKING",
    "WALKING_UPSTAIRS",
    "WALKING_DOWNSTAIRS",
    "SITTING",
    "STANDING",
    "LAYING",
    "STAND_TO_SIT",
    "SIT_TO_STAND",
    "SIT_TO_LIE",
    "LIE_TO_SIT",
    "STAND_TO_LIE",
    "LIE_TO_STAND",
)
CITATION = (
    "Reyes-Ortiz JL, Oneto L, Samà A, Parra X, Anguita D. Transition-aware human activity recognition using "
    "smartphones. Neurocomputing 171:754-767, 2016. doi:10.1016/j.neucom.2015.07.085"
)
LABELS = "labels"
NATIVE = text_files.Native(
    files="{acc,gyro}_expNN_userNN.txt",
    parser="hapt-1",
    member=re.compile(r"(?:(?!\.\./)[^/]+/)*(?P<name>labels|(?:acc|gyro)_exp[0-9]{2}_user[0-9]{2})\.txt"),
    suffix=".txt",
    folders=("", "RawData/"),
    limit=2**26,
    parse=lambda name, data, where: [(name, parse(name, data, where))],
)

_LAYOUT = Layout(
    CsvColumns(channels=tuple(CsvChannel(name=axis, column=column, unit="1") for column, axis in enumerate("xyz", 1))),
    label=None,
    form=Form(separator=" ", header=False),
    missing=(),
)


class _Span(NamedTuple):
    """One line of labels.txt: the label from one sample to another, both included, counted from 1."""

    line: int
    experiment: int
    user: int
    label: int
    start: int
    end: int

    @property
    def recording(self) -> str:
        """The end of the names of its recording's files."""
        return f"exp{self.experiment:02d}_user{self.user:02d}"


_Spans = Mapping[str, Sequence[_Span]]  # by recording, in the order of their first samples


def read(path: Path, reading: Reading) -> Dataset:
    """Read a folder or an archive. Raises InputError with file and line of every problem."""
    problems: list[Problem] = []
    found = text_files.read_all(path, NATIVE, reading, problems)
    arrays = {name: parsed.values for name, parsed in found.items()}
    spans = _by_recording(arrays.get(LABELS, np.empty((0, 5), np.int64)))
    problems = problems or [*_find_gaps(arrays)] or [*_find_misfits(spans, _lengths(arrays))]
    if problems:
        raise InputError(UNREADABLE, problems)
    digest = combine({name: parsed.digest for name, parsed in found.items()})
    return Dataset(
        sources=(SourceRecord(kind="hapt", name="hapt", digest=digest, license="CC-BY-4.0", citation=CITATION),),
        channels=CHANNELS,
        devices=(DEVICE,),
        classes=CLASSES,
        rate_hz=RATE_HZ,
        recordings=tuple(_recording(name, arrays, spans[name], reading) for name in sorted(spans)),
    )


def parse(name: str, data: bytes, where: str) -> NDArray[Any]:
    """Return the lines of a signal, float32 (samples, 3), or of labels.txt, int64 (spans, 5).

    Raises InputError with file and line.
    """
    if name == LABELS:
        return _parse_labels(data, where)
    values = dict(csv_table.parse(io.BytesIO(data), where, _LAYOUT))["values"]
    columns = len(data.lstrip().partition(b"\n")[0].split())
    if columns > 3:  # csv_table refuses fewer, and lines of another width
        raise InputError(UNREADABLE, [Problem(f"{where}:1", "csv.row-width", f"{columns} columns, expected 3")])
    return values


def _parse_labels(data: bytes, where: str) -> NDArray[np.int64]:
    rows = [line.split() for line in data.rstrip().split(b"\n")]
    wrong = [
        line
        for line, cells in enumerate(rows, 1)
        if len(cells) != 5 or not all(cell.isdigit() and len(cell) <= 9 for cell in cells)
    ]
    if wrong:
        message = f"must be experiment, user, label, first and last sample{and_others(len(wrong), 'line')}"
        raise InputError(UNREADABLE, [Problem(f"{where}:{wrong[0]}", "recordings.labels-line", message)])
    return np.array(rows, dtype=np.int64)


def _by_recording(labels: NDArray[np.int64]) -> _Spans:
    found: dict[str, list[_Span]] = {}
    spans = [_Span(line, *row) for line, row in enumerate(labels.tolist(), 1)]
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        found.setdefault(span.recording, []).append(span)
    return found


def _lengths(arrays: Mapping[str, NDArray[Any]]) -> dict[str, int]:
    """Return the samples of every recording."""
    return {name.removeprefix("acc_"): len(values) for name, values in arrays.items() if name.startswith("acc_")}


def _find_gaps(arrays: Mapping[str, NDArray[Any]]) -> Iterator[Problem]:
    """Yield each file that is missing, and each pair of files of different length."""
    if LABELS not in arrays:
        yield Problem("labels.txt", "recordings.file-missing", "missing: it holds the labels of all recordings")
    for recording in sorted({name.partition("_")[2] for name in arrays if name != LABELS}):
        pair = [f"{sensor}_{recording}" for sensor in SENSORS]
        for name in pair:
            if name not in arrays:
                message = "missing: a recording needs a file of each sensor"
                yield Problem(f"{name}.txt", "recordings.file-missing", message)
        lengths = [len(arrays[name]) for name in pair if name in arrays]
        if len(set(lengths)) > 1:
            message = f"{lengths[0]} samples of acc and {lengths[1]} of gyro, expected equal numbers"
            yield Problem(recording, "recordings.length-mismatch", message)


def _find_misfits(spans: _Spans, lengths: Mapping[str, int]) -> Iterator[Problem]:
    """Yield one problem for each fault of labels.txt: recordings without labels, and lines that do not fit."""
    for recording in sorted(lengths.keys() - spans.keys()):
        yield Problem(f"labels.txt: {recording}", "recordings.labels-missing", "no line has labels of this recording")
    found: dict[str, list[Problem]] = {}
    for recording, lines in sorted(spans.items()):
        reaches = accumulate(lines, _further)
        for before, span in zip((None, *reaches), lines, strict=False):
            if problem := _misfit(span, before, lengths.get(recording)):
                found.setdefault(problem.rule, []).append(problem)
    for first, *others in found.values():
        yield first._replace(message=f"{first.message}{and_others(1 + len(others), 'line')}")


def _further(one: _Span, other: _Span) -> _Span:
    return max(one, other, key=lambda span: span.end)


def _misfit(span: _Span, before: _Span | None, length: int | None) -> Problem | None:
    """Return what is wrong with a span, if anything.

    `before` ends last of all spans that start earlier; `length` is that of the recording, or None without one.
    """
    where = f"labels.txt:{span.line}"
    samples = f"samples {span.start} to {span.end} of {span.recording}"
    if length is None:
        return Problem(where, "recordings.file-missing", f"no files of recording {span.recording}")
    if not 1 <= span.label <= len(CLASSES):
        return Problem(where, "recordings.label-unknown", f"unknown label {span.label}, expected 1 to {len(CLASSES)}")
    if not 1 <= span.start <= span.end <= length:
        return Problem(where, "recordings.label-range", f"{samples}, which has samples 1 to {length}")
    if before and span.start <= before.end:
        return Problem(where, "recordings.label-overlap", f"{samples} already have a label, from line {before.line}")
    return None


def _recording(name: str, arrays: Mapping[str, NDArray[Any]], spans: Sequence[_Span], reading: Reading) -> Recording:
    experiment, _, user = name.partition("_")
    sensors = [arrays[f"{sensor}_{name}"] for sensor in SENSORS]
    values = np.concatenate(sensors, axis=1)  # (samples, 6)
    release(sensors)
    labels = np.full(len(values), UNLABELLED, dtype=np.int32)
    for span in spans:
        labels[span.start - 1 : span.end] = span.label - 1
    return Recording(
        name=f"{user}-{experiment}",
        subject=user,
        session=experiment,
        signals={DEVICE: Signal(reading.store(values), RATE_HZ)},
        labels=reading.store(labels),
    )
