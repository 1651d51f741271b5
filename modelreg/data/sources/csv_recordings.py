"""Make recordings of the rows of text files: label them, cut them at gaps, and join the parts of each device."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data import alignment
from modelreg.data.cache import Reading
from modelreg.data.message_lists import and_others, quoted
from modelreg.data.recording import UNLABELLED, UNREADABLE, Recording, Signal
from modelreg.data.sources import csv_annotations
from modelreg.data.sources.csv_annotations import Interval
from modelreg.data.sources.csv_plan import Key
from modelreg.errors import InputError, Problem
from modelreg.records.csv_names import CsvAnnotations
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


def annotate(first: Mapping[Key, Piece], intervals: Sequence[Interval], settings: CsvAnnotations) -> Annotated:
    """Return the labels of recordings by intervals. Raises InputError if no interval is for a recording."""
    found: dict[Key, Labels] = {}
    used: dict[Interval, None] = {}
    overlapping = 0
    for key, piece in first.items():
        mine = [each for each in intervals if each.fits(key.subject, key.session, piece.path)]
        used |= dict.fromkeys(mine)
        made = csv_annotations.label_rows(_clock(piece.signal, settings), mine, later=settings.overlap == "later")
        found[key] = Labels(made.codes, made.names)
        overlapping += made.overlapping
    if not used:
        names = quoted([key.name for key in first])
        problem = Problem(
            intervals[0].where, "csv.annotations-unmatched", f"no annotation is for a recording ({names})"
        )
        raise InputError(UNREADABLE, [problem])
    unused = [interval.where for interval in intervals if interval not in used]
    return Annotated(found, tuple(used), tuple(_notes(found, overlapping, unused, settings)))


def _notes(
    found: Mapping[Key, Labels], overlapping: int, unused: Sequence[str], settings: CsvAnnotations
) -> Iterator[str]:
    """Yield a sentence for each thing that does not fit."""
    rows = sum(len(labels.codes) for labels in found.values())
    unlabelled = sum(int(np.count_nonzero(labels.codes == UNLABELLED)) for labels in found.values())
    later = settings.overlap == "later"
    if overlapping:
        outcome = "have that of the later one" if later else "have no label"
        yield f"{overlapping:,} rows are in annotations of different labels, and {outcome}"
    if outside := unlabelled - (0 if later else overlapping):
        yield f"{outside / rows:.1%} of the rows are outside of every annotation, and have no label"
    if unused:
        yield f"annotation without a recording: {unused[0]}{and_others(len(unused))}"


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
