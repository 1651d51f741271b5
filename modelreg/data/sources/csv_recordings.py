"""Make recordings of the rows of text files: label them, cut them at gaps, and join the parts of each device."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data import alignment
from modelreg.data.cache import Reading
from modelreg.data.recording import UNLABELLED, UNREADABLE, Recording, Signal
from modelreg.data.sources import annotation_matching, csv_annotations
from modelreg.data.sources.annotation_matching import Target
from modelreg.data.sources.csv_annotations import Interval
from modelreg.data.sources.csv_plan import Key
from modelreg.errors import InputError
from modelreg.records.csv_names import CsvAnnotations
from modelreg.records.data import QualityFinding
from modelreg.records.source import CsvSource


class Labels(NamedTuple):
    """The labels of the rows of a recording's first part."""

    codes: NDArray[np.int32]  # (rows,) indices into names, or UNLABELLED
    names: tuple[str, ...]

    @property
    def present(self) -> tuple[str, ...]:
        """The names that a row has."""
        return tuple(self.names[code] for code in np.unique(self.codes).tolist() if code != UNLABELLED)

    def of(self, classes: Sequence[str]) -> NDArray[np.int32]:
        """Return the class of each row."""
        known = (classes.index(name) if name in classes else UNLABELLED for name in self.names)
        return np.array([*known, UNLABELLED], dtype=np.int32)[self.codes]


class Piece(NamedTuple):
    """The rows of one part of a recording."""

    path: str  # of the file, below the source's folder
    signal: Signal
    labels: Labels | None  # of a column


def of_path(key: Key, piece: Piece, source: CsvSource) -> Labels:
    """Return the label of a path, for all rows."""
    given = key.label and key.label not in source.missing
    codes = np.full(len(piece.signal.values), 0 if given else UNLABELLED, dtype=np.int32)
    return Labels(codes, (key.label or "",))


class Annotated(NamedTuple):
    """The labels of recordings by intervals."""

    labels: dict[Key, Labels]
    used: tuple[Interval, ...]  # those that are for a recording
    notes: tuple[str, ...]  # on what does not fit
    findings: tuple[QualityFinding, ...]  # what of that is wrong


def annotate(
    pieces: Mapping[Key, Mapping[str, Piece]],
    first: str,
    intervals: Sequence[Interval],
    settings: CsvAnnotations,
    dropped: Sequence[Target] = (),
) -> Annotated:
    """Return the labels of the part `first` of recordings by intervals; `dropped` are recordings that are not read.

    Raises InputError if no interval is for a recording, or if the file of one is that of several recordings.
    """
    kept = [Target(key.name, key.subject, key.session, _paths(parts, first)) for key, parts in pieces.items()]
    matched = annotation_matching.match(intervals, [*kept, *dropped], settings)
    mine: list[list[Interval]] = [[] for _ in kept]
    for interval in intervals:
        for number in matched[interval]:
            if number < len(kept):
                mine[number].append(interval)
    used = tuple(interval for interval in intervals if any(number < len(kept) for number in matched[interval]))
    if not used:
        raise InputError(UNREADABLE, [annotation_matching.unmatched(intervals[0], kept, settings)])
    found: dict[Key, Labels] = {}
    overlapping: dict[str, int] = {}
    for (key, parts), own in zip(pieces.items(), mine, strict=True):
        clock = _clock(parts[first].signal, settings)
        made = csv_annotations.label_rows(clock, own, later=settings.overlap == "later")
        found[key] = Labels(made.codes, made.names)
        overlapping[key.name] = made.overlapping
    unused = [interval for interval in intervals if not matched[interval]]
    rows = sum(len(labels.codes) for labels in found.values())
    findings = [*_find_unused(unused, len(intervals), settings), *_find_overlaps(overlapping, rows, settings)]
    notes = _notes(found, sum(overlapping.values()), settings)
    return Annotated(found, used, tuple(notes), tuple(findings))


def _paths(parts: Mapping[str, Piece], first: str) -> tuple[str, ...]:
    """Return the paths of all parts of a recording, that of one part first."""
    return tuple(dict.fromkeys([parts[first].path, *(piece.path for piece in parts.values())]))


def _find_unused(unused: Sequence[Interval], count: int, settings: CsvAnnotations) -> Iterator[QualityFinding]:
    """Yield what is wrong if annotations are for no recording."""
    if unused:
        place = f"the first is {unused[0].where}, where {annotation_matching.described(unused[0], settings)}"
        message = f"{len(unused):,} of {count:,} annotations are for no recording: {place}"
        yield _finding("csv.annotation-unused", "annotations without a recording", message)


def _find_overlaps(overlapping: Mapping[str, int], rows: int, settings: CsvAnnotations) -> Iterator[QualityFinding]:
    """Yield what is wrong if rows lose their labels; `overlapping` has the rows of each recording, of all `rows`."""
    count = sum(overlapping.values())
    if count and settings.overlap == "unlabelled":
        most = max(overlapping, key=lambda name: overlapping[name])
        share = f"{count:,} of {rows:,} rows ({count / rows:.1%})"
        message = f"{share} are in annotations of different labels, and have no label; most in {most!r}"
        yield _finding("csv.annotations-overlap", "rows in annotations of different labels", message)


def _finding(rule: str, cause: str, message: str) -> QualityFinding:
    return QualityFinding(rule=rule, level="problem", where="annotations", cause=cause, message=message)


def _notes(found: Mapping[Key, Labels], overlapping: int, settings: CsvAnnotations) -> Iterator[str]:
    """Yield a sentence for each thing that does not fit and is not wrong."""
    rows = sum(len(labels.codes) for labels in found.values())
    unlabelled = sum(int(np.count_nonzero(labels.codes == UNLABELLED)) for labels in found.values())
    later = settings.overlap == "later"
    if overlapping and later:
        have = "row is" if overlapping == 1 else "rows are"
        yield f"{overlapping:,} {have} in annotations of different labels, with that of the later one"
    if outside := unlabelled - (0 if later else overlapping):
        yield f"{outside / rows:.1%} of the rows are outside of every annotation, and have no label"


def _clock(signal: Signal, settings: CsvAnnotations) -> NDArray[np.float64]:
    """Return the time of rows on the clock of the annotations."""
    if signal.time is None:
        return np.arange(len(signal.values)) / signal.rate_hz
    return signal.time - signal.time[0] if settings.clock == "start" else signal.time


class _Device(NamedTuple):
    name: str
    rate_hz: float
    parts: tuple[str, ...]
    columns: list[int]  # of the channels, in the values of the joined parts


class Shape(NamedTuple):
    """What the recordings of a source consist of."""

    devices: tuple[_Device, ...]
    gap_s: float | None  # a longer one divides a recording

    @classmethod
    def of(cls, source: CsvSource) -> "Shape":
        """Return the devices of a source, each with its parts and where its channels are in them."""
        order = [channel.name for channel in source.channels]
        devices = []
        for device in source.devices:
            parts = source.parts_of(device)
            names = [channel.name for part in parts.values() for channel in part.channels]
            devices.append(_Device(device.name, device.rate_hz, tuple(parts), [names.index(name) for name in order]))
        return cls(tuple(devices), source.gap_s)


def build(
    key: Key, parts: Mapping[str, Piece], labels: NDArray[np.int32], shape: Shape, reading: Reading
) -> Iterator[Recording]:
    """Yield the recordings of a key: several if gaps divide it. Raises InputError if parts cannot be joined."""
    signals = {name: piece.signal for name, piece in parts.items()}
    for number, (cut, classes) in enumerate(_at_gaps(signals, labels, shape.gap_s), 1):
        session = key.session if number == 1 else f"{key.session}.{number}"
        named = key._replace(session=session)
        yield _joined(named, cut, classes, shape, reading)


def _at_gaps(
    signals: Mapping[str, Signal], labels: NDArray[np.int32], gap_s: float | None
) -> Iterator[tuple[dict[str, Signal], NDArray[np.int32]]]:
    """Yield the parts of a recording between the gaps of its first part; a piece without samples of all is left out."""
    first, *_ = signals.values()
    if gap_s is None or first.time is None:
        yield dict(signals), labels
        return
    gaps = np.flatnonzero(np.diff(first.time) > gap_s)
    moments = (first.time[gaps] + first.time[gaps + 1]) / 2
    bounds = [-np.inf, *moments.tolist(), np.inf]
    pieces = [{name: _between(signal, *ends) for name, signal in signals.items()} for ends in pairwise(bounds)]
    for rows in [rows for rows in pieces if all(found.stop > found.start for found in rows.values())]:
        cut = {
            name: replace(signal, values=signal.values[rows[name]], time=_time(signal)[rows[name]])
            for name, signal in signals.items()
        }
        yield cut, labels[next(iter(rows.values()))]


def _between(signal: Signal, begin: float, end: float) -> slice:
    """Return the rows of a signal between two moments."""
    return slice(*np.searchsorted(_time(signal), (begin, end)))


def _time(signal: Signal) -> NDArray[np.float64]:
    return np.empty(0) if signal.time is None else signal.time


def _joined(
    key: Key, signals: Mapping[str, Signal], labels: NDArray[np.int32], shape: Shape, reading: Reading
) -> Recording:
    """Return a recording, the parts of each device joined on one clock and in the order of the channels."""
    devices: dict[str, Signal] = {}
    for number, device in enumerate(shape.devices):
        own = {name: signals[name] for name in device.parts}
        first = labels if not number else np.zeros(len(next(iter(own.values())).values), np.int32)
        whole, nearest = alignment.join(Recording(key.name, key.subject, key.session, own, first), device.rate_hz)
        labels = labels[nearest] if not number and len(own) > 1 else labels
        in_order = device.columns == list(range(whole.values.shape[1]))
        values = whole.values if in_order else whole.values[:, device.columns]
        kept = values if in_order and len(own) == 1 else reading.store(values)
        devices[device.name] = whole if kept is whole.values else replace(whole, values=kept)
    return Recording(key.name, key.subject, key.session, devices, reading.store(labels))
