"""Read windows that were cut elsewhere into text files, and join them to recordings where they overlap.

Every sample is then there once, and its position in time is known to splits by time and to the leakage audit. Cut again
with the same window and hop, a recording gives the windows of the files.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.cache import Reading, combine
from modelreg.data.recording import UNREADABLE, Dataset, Recording, Signal, natural
from modelreg.data.sources import window_overlap
from modelreg.data.sources.window_files import Part, read_parts
from modelreg.data.sources.window_overlap import Order
from modelreg.errors import InputError, Notice, Problem
from modelreg.records.data import PARTS, SourceRecord
from modelreg.records.model import Channel
from modelreg.records.source import WindowsSource


def read(source: WindowsSource, reading: Reading) -> Dataset:
    """Read the folder or archive. Raises InputError with file and line of every problem."""
    parts = read_parts(source, reading)
    orders = {
        name: window_overlap.find_order(_channels(part), part.subjects, source.hop) for name, part in parts.items()
    }
    if problems := list(_find_overlap_problems(source, parts, orders)):
        raise InputError(UNREADABLE, problems)
    first = source.devices[0]
    labels = source.labels or {label for part in parts.values() for label in np.unique(part.labels).tolist()}
    classes = tuple(sorted(labels, key=natural))
    return Dataset(
        sources=(
            SourceRecord(
                kind=source.kind,
                name=source.name,
                digest=combine({name: part.digest for name, part in parts.items()}),
                license=source.license,
                citation=source.citation,
            ),
        ),
        channels=tuple(Channel(name=c.name, unit=c.unit, gravity=c.gravity) for c in first.channels),
        devices=tuple(device.name for device in source.devices),
        classes=classes,
        rate_hz=source.rate_hz,
        recordings=_recordings(source, parts, orders, classes, reading),
    )


def _channels(part: Part) -> list[NDArray[np.float32]]:
    return list(part.windows.values())


def _find_overlap_problems(
    source: WindowsSource, parts: Mapping[str, Part], orders: Mapping[str, Order]
) -> Iterator[Problem]:
    """Yield a problem if windows have samples in common that are not declared, or not those that are."""
    if any(order.proven for order in orders.values()):
        return
    shifts = {name: window_overlap.find_shift(_channels(part), part.subjects) for name, part in parts.items()}
    name, shift = next(((name, shift) for name, shift in shifts.items() if shift), ("", source.window))
    where = f"{source.path}: {name}" if name else source.path
    shared = source.window - shift
    found = f"consecutive windows of a subject have {shared} of {source.window} samples in common" if shared else ""
    step = f"set `overlap: {shared / source.window:.6g}`" if shared else ""
    if not source.shared and shared:
        yield Problem(where, "windows.overlap-undeclared", f"{found}, but `overlap` is 0", step)
    if source.shared and any(order.unequal or not order.step.any() for order in orders.values()):
        pairs = sum(order.unequal for order in orders.values())
        message = f"no two consecutive windows of a subject have {source.shared} samples in common ({pairs:,} pairs)"
        yield Problem(where, "windows.no-overlap", f"{message}, but {shared}" if shared else message, step)


class _Joined(NamedTuple):
    """The windows of one recording."""

    subject: str
    session: str
    part: str
    rows: NDArray[np.intp]
    step: NDArray[np.intp]


def _joined(parts: Mapping[str, Part], orders: Mapping[str, Order]) -> Iterator[_Joined]:
    """Yield the windows of each recording; the number of the session rises within a subject."""
    sessions: Counter[str] = Counter()
    for name, order in orders.items():
        for run in order.runs():
            subject = str(parts[name].subjects[order.rows[run.start]])
            sessions[subject] += 1
            yield _Joined(subject, str(sessions[subject]), name, order.rows[run], order.step[run])


def _recordings(
    source: WindowsSource,
    parts: Mapping[str, Part],
    orders: Mapping[str, Order],
    classes: Sequence[str],
    reading: Reading,
) -> tuple[Recording, ...]:
    codes = {name: _codes(part.labels, classes) for name, part in parts.items()}
    made: list[Recording] = []
    unlabelled = 0
    for joined in _joined(parts, orders):
        labels, differ = window_overlap.join_labels(codes[joined.part][joined.rows], joined.step, source.window)
        unlabelled += differ
        made.append(
            Recording(
                name=f"{joined.subject}-{joined.session}",
                subject=joined.subject,
                session=joined.session,
                signals=_signals(source, parts[joined.part], joined, reading),
                labels=reading.store(labels),
                part=next((split for split in PARTS if split == joined.part), None),
            )
        )
    for notice in _notices(source, orders, unlabelled):
        reading.remark(notice)
    return tuple(sorted(made, key=lambda recording: natural(recording.name)))


def _codes(labels: NDArray[np.str_], classes: Sequence[str]) -> NDArray[np.int32]:
    """Return the class of each window."""
    names, where = np.unique(labels, return_inverse=True)
    return np.array([classes.index(name) for name in names.tolist()], np.int32)[where]


def _signals(source: WindowsSource, part: Part, joined: _Joined, reading: Reading) -> dict[str, Signal]:
    signals = {}
    for device in source.devices:
        channels = [part.windows[f"{device.name}/{channel.name}"][joined.rows] for channel in device.channels]
        values = np.stack([window_overlap.join(windows, joined.step) for windows in channels], axis=1)
        signals[device.name] = Signal(reading.store(values), source.rate_hz)
    return signals


def _notices(source: WindowsSource, orders: Mapping[str, Order], unlabelled: int) -> Iterator[Notice]:
    for name, order in orders.items() if source.shared else ():
        continued = int(np.count_nonzero(order.step))
        count = len(order.rows) - continued
        recordings = f"{count:,} recording{'' if count == 1 else 's'}"
        message = f"{len(order.rows):,} windows are {recordings}, because {continued:,} continue the window before"
        yield Notice(f"{source.path}: {name}" if name else source.path, message)
    if unlabelled:
        message = f"{unlabelled:,} samples are unlabelled, because windows that have them in common differ in label"
        yield Notice(source.path, message)
