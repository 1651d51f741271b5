"""Cut windows of equal length from recordings.

A window has one label: the most frequent one of its samples (ties go to the lowest class, and to a class before no
label), or under `pure` the label of all its samples. A window without such a label or with a missing value is dropped
and counted.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from modelreg.data.memory_map import Gather, gather
from modelreg.data.recording import UNLABELLED, Dropped, Recording, Windows, find_clock_problems, passing
from modelreg.errors import InputError, Problem
from modelreg.records.data import PartName

BLOCK = 256  # windows that are copied in one step


def spread(x: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return at most `count` windows (N, C, D, T), evenly spread over all."""
    return x[np.linspace(0, len(x) - 1, min(count, len(x))).astype(np.intp)]


class _Cut(NamedTuple):
    """The windows of one recording."""

    y: NDArray[np.int64]  # (n,)
    start: NDArray[np.int64]  # (n,)
    why: Dropped


def cut(
    recordings: Sequence[Recording],
    *,
    classes: Sequence[str],
    window: int,
    hop: int,
    labels: Literal["majority", "pure"],
    gather: Gather = gather,
) -> Windows:
    """Cut a window of `window` samples every `hop` samples from at least one recording.

    `gather` makes one array of all windows, in memory or in a mapped file. Raises InputError if devices differ in
    clock, or recordings in rate.
    """
    _refuse_mixed(recordings)
    cuts = [
        _cut_one(recording, classes=len(classes), window=window, hop=hop, pure=labels == "pure")
        for recording in passing(recordings)
    ]
    counts = [len(piece.y) for piece in cuts]
    blocks = (
        block
        for recording, piece in zip(passing(recordings), cuts, strict=True)
        for block in _blocks(recording, piece.start - recording.start, window)
    )
    subjects = tuple(dict.fromkeys(recording.subject for recording in recordings))
    owners = [subjects.index(recording.subject) for recording in recordings]
    return Windows(
        x=gather((sum(counts), *_shape(recordings[0]), window), blocks),
        y=np.concatenate([piece.y for piece in cuts]),
        subject=np.repeat(np.array(owners, dtype=np.int32), counts),
        recording=np.repeat(np.arange(len(recordings), dtype=np.int32), counts),
        start=np.concatenate([piece.start for piece in cuts]),
        subjects=subjects,
        recordings=tuple(recording.name for recording in recordings),
        domains=tuple(recording.domain for recording in recordings),
        why=Dropped(*(sum(counts) for counts in zip(*(piece.why for piece in cuts), strict=True))),
    )


def fold(windows: Windows, rows: Literal[1, 2]) -> Windows:
    """Halve the time axis of a single device into two rows, the earlier half first: (N, C, 2, T / 2); or not, with 1.

    Raises InputError if there are several devices.
    """
    count, channels, devices, timesteps = windows.x.shape
    refuse_fold(devices, rows)
    return replace(windows, x=windows.x.reshape(count, channels, devices * rows, timesteps // rows))


def refuse_fold(devices: int, rows: Literal[1, 2]) -> None:
    """Raise InputError if the windows of so many devices cannot be folded."""
    if rows > 1 and devices > 1:
        problem = Problem("data.fold", "windows.fold-devices", f"needs a single device, found {devices}")
        raise InputError("cannot fold the windows", [problem])


def deal(parts: Mapping[PartName, Windows], seed: int) -> dict[PartName, Windows]:
    """Return splits of the same sizes with windows drawn at random from all: a split that leaks on purpose.

    Before, no subject or recording is in two splits; afterwards, every one may be in all of them.
    """
    pool = _pooled(list(parts.values()))
    order = np.random.default_rng(seed).permutation(len(pool.y))
    ends = np.cumsum([len(part.y) for part in parts.values()])
    rows = [np.sort(drawn) for drawn in np.split(order, ends[:-1])]
    return {name: _picked(pool, drawn) for name, drawn in zip(parts, rows, strict=True)}


def _pooled(parts: Sequence[Windows]) -> Windows:
    subjects = np.cumsum([0, *(len(part.subjects) for part in parts)], dtype=np.int32)
    pieces = np.cumsum([0, *(len(part.recordings) for part in parts)], dtype=np.int32)
    return Windows(
        x=np.concatenate([part.x for part in parts]),
        y=np.concatenate([part.y for part in parts]),
        subject=np.concatenate([part.subject + first for part, first in zip(parts, subjects[:-1], strict=True)]),
        recording=np.concatenate([part.recording + first for part, first in zip(parts, pieces[:-1], strict=True)]),
        start=np.concatenate([part.start for part in parts]),
        subjects=tuple(name for part in parts for name in part.subjects),
        recordings=tuple(name for part in parts for name in part.recordings),
        domains=tuple(name for part in parts for name in part.domains),
    )


def of_subjects(windows: Windows, subjects: Collection[str], gather: Gather = gather) -> Windows:
    """Return the windows of some subjects, in their order; `gather` makes one array of them."""
    chosen = [number for number, name in enumerate(windows.subjects) if name in subjects]
    rows = np.flatnonzero(np.isin(windows.subject, chosen))
    blocks = (windows.x[rows[at : at + BLOCK]] for at in range(0, len(rows), BLOCK))
    return replace(
        windows,
        x=gather((len(rows), *windows.x.shape[1:]), blocks),
        y=windows.y[rows],
        subject=windows.subject[rows],
        recording=windows.recording[rows],
        start=windows.start[rows],
    )


def _picked(pool: Windows, rows: NDArray[np.int64]) -> Windows:
    return replace(
        pool,
        x=pool.x[rows],
        y=pool.y[rows],
        subject=pool.subject[rows],
        recording=pool.recording[rows],
        start=pool.start[rows],
    )


def _refuse_mixed(recordings: Sequence[Recording]) -> None:
    problems = list(find_clock_problems(recordings))
    rates = sorted({signal.rate_hz for recording in recordings for signal in recording.signals.values()})
    if len(rates) > 1:
        message = f"recordings have {', '.join(f'{rate:g}' for rate in rates)} Hz"
        problems.append(Problem("rate_hz", "sources.rates-differ", message))
    if problems:
        raise InputError("cannot cut windows", problems)


def _cut_one(recording: Recording, *, classes: int, window: int, hop: int, pure: bool) -> _Cut:
    start = np.arange(0, len(recording.labels) - window + 1, hop, dtype=np.int64)
    label = _label(recording.labels, start, classes=classes, window=window, pure=pure)
    missing = np.zeros(len(recording.labels) + 1, dtype=np.int64)  # samples before each one that have a missing value
    for signal in recording.signals.values():
        missing[1:] += ~np.isfinite(signal.values).all(axis=1)
    np.cumsum(missing, out=missing)
    labelled = ~(label.unlabelled | label.mixed)
    complete = missing[start + window] == missing[start]
    keep = labelled & complete
    reasons = (label.unlabelled, label.mixed, labelled & ~complete)
    return _Cut(label.y[keep], recording.start + start[keep], Dropped(*(int(np.count_nonzero(one)) for one in reasons)))


def _shape(recording: Recording) -> tuple[int, int]:
    """Return the channels and devices of a recording."""
    first, *others = recording.signals.values()
    return first.values.shape[1], 1 + len(others)


def _blocks(recording: Recording, start: NDArray[np.int64], window: int) -> Iterator[NDArray[np.float32]]:
    """Yield the windows that start at these samples of a recording, (n, C, D, T), BLOCK at a time."""
    views = [
        sliding_window_view(signal.values, window, axis=0)  # (S - T + 1, C, T)
        for signal in recording.signals.values()
        if len(start)
    ]
    for at in range(0, len(start), BLOCK):
        yield np.stack([view[start[at : at + BLOCK]] for view in views], axis=2)


class _Labels(NamedTuple):
    """The labels of windows, and which windows have none that counts."""

    y: NDArray[np.int64]  # (n,)
    unlabelled: NDArray[np.bool_]  # (n,)
    mixed: NDArray[np.bool_]  # (n,)


def _label(labels: NDArray[np.int32], start: NDArray[np.int64], *, classes: int, window: int, pure: bool) -> _Labels:
    """Return the label of each window, and which windows have none; no label counts as an additional last class."""
    known = np.where(labels == UNLABELLED, classes, labels)
    bears = known[:, None] == np.arange(classes + 1)  # (S, K + 1)
    before = np.zeros((len(known) + 1, classes + 1), dtype=np.int32)
    np.cumsum(bears, axis=0, out=before[1:])
    counts = before[start + window] - before[start]  # (n, K + 1)
    best = counts.argmax(axis=1)
    most = counts.max(axis=1)
    if not pure:
        return _Labels(best, best == classes, np.zeros(len(best), np.bool_))
    unlabelled = counts[:, classes] > 0
    return _Labels(best, unlabelled, ~unlabelled & (most < window))
