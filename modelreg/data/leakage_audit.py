"""Audit splits for leakage, from the windows themselves.

`splits` and `preparation` refuse the leaks that they can find. The audit checks their result: subjects and sessions,
positions in time, contents. A near copy is a window whose correlation with a window of another split is at least NEAR,
over all channels, each in its own standard deviations and without its mean. Neighbours are searched among random
projections (Johnson and Lindenstrauss 1984) and then compared in full; the limits below bound time and memory. Windows
are compared as they were cut. Copies at any other offset are searched between whole recordings (`exact_copies`).
"""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import combinations
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelreg.data import exact_copies, near_copies, normalization
from modelreg.data.cache import Reading
from modelreg.data.copied_samples import CopiedSamples, NearCopies, by_pair, find_exact, find_near, rows_of
from modelreg.data.memory_map import passing, sha256_arrays
from modelreg.data.recording import Recording, Windows, natural
from modelreg.records.audit import AuditRecord, CopySearch, Finding, FindingKind, NearSearch, Severity
from modelreg.records.data import Normalization
from modelreg.records.model import InputSpec

NEAR = 0.99
NOTHING_KEPT = Reading(Path())
CAP = 20_000  # windows of a split that are searched for near copies, evenly spaced
DIMENSIONS = 64  # of the projections; the error of a squared distance has a standard deviation of 18 %
DISTANCES = 2**19  # computed in one step
EXAMPLES = 3
TOO_GOOD = 0.995  # accuracy on more than MANY classes
MANY = 5
CANNOT_FIND = (
    "exact copies of fewer than 49 samples, or in channels that hardly change",
    "near copies shorter than 2.5 s, or without movement: less than 8 % of the sensor's standard deviation",
    "near copies of recordings below 8 Hz, of magnetometers alone, or of one device as another",
    "near copies that are reversed, or recorded at a rate that is not stated",
    "near copies that are stretched by more than 2 %, or scaled by less than 0.8 or more than 1.25",
    "near copies of turned or mirrored sensors that have an offset or different gains, too",
)
SPLIT_GAP = 0.05  # largest plausible gain in accuracy of a random split over a split by subject

Floats: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int64]
Pair: TypeAlias = tuple[str, str]  # two splits, the earlier one first; or two folds of a cross-fitted run


class Evidence(NamedTuple):
    """The result of a preparation, to be audited."""

    recordings: Mapping[str, Sequence[Recording]]  # after splitting and filling; of a cross-fitted run by fold
    windows: Mapping[str, Windows]  # cut from them
    normalization: Normalization
    split: Literal["subject", "time", "given"]
    window: int  # samples
    originals: Sequence[Recording]  # before alignment: of all splits, as they were read
    together: tuple[Sequence[Recording], Windows] | None = None  # of all folds; None: one of the splits is train


class Copy(NamedTuple):
    """A window that is also in an earlier split."""

    part: str
    row: int
    earlier: str
    earlier_row: int


def examine(evidence: Evidence, reading: Reading = NOTHING_KEPT, near: float = NEAR) -> AuditRecord:
    """Return everything that two splits have in common; `reading` keeps what the search for near copies found."""
    searched = {part: _searched(windows) for part, windows in evidence.windows.items()}
    alike = find_near(evidence.originals, evidence.recordings, evidence.normalization.channels, reading)
    found = [
        *_shared_subjects(evidence),
        *_overlaps(evidence),
        *_copies(evidence, _similar_windows(evidence, searched, near), alike.copies),
        *_normalization_findings(evidence),
    ]
    return AuditRecord(
        near=near,
        windows={part: len(windows.y) for part, windows in evidence.windows.items()},
        compared={part: len(rows) for part, rows in searched.items()},
        findings=tuple(found),
        copies=_search(evidence, alike),
    )


def suspicions(
    accuracy: float, classes: int, split: Literal["subject", "time", "given"], random_accuracy: float | None = None
) -> Iterator[Finding]:
    """Yield implausibly good results; `random_accuracy` is that of the same training on a random split."""
    if accuracy > TOO_GOOD and classes > MANY:
        what = f"accuracy of {accuracy:.4f} with {classes} classes is implausible: check for leakage"
        yield Finding(kind="too_good", severity="suspicious", parts=("test",), count=0, what=what)
    if random_accuracy is not None and split == "subject" and random_accuracy - accuracy > SPLIT_GAP:
        gap = 100 * (random_accuracy - accuracy)
        what = f"accuracy is {gap:.1f} percentage points higher on a random split: windows identify their subject"
        yield Finding(kind="random_split", severity="suspicious", parts=("test",), count=0, what=what)


def copies(windows: Mapping[str, Windows]) -> Iterator[Copy]:
    """Yield each window that is bit for bit in an earlier split: the same recording under two names.

    Windows in which every channel is constant are ignored: a device at rest may repeat itself.
    """
    parts = list(windows)
    rows = [np.flatnonzero(_moving(found.x)) for found in windows.values()]
    digests = np.concatenate([_digests(found.x, some) for found, some in zip(windows.values(), rows, strict=True)])
    whose = np.repeat(np.arange(len(parts)), [len(some) for some in rows])
    places = np.concatenate(rows)
    _, first, same = np.unique(digests, return_index=True, return_inverse=True)
    earlier = first[same]
    for at in np.flatnonzero(whose[earlier] != whose).tolist():
        yield Copy(parts[whose[at]], int(places[at]), parts[whose[earlier[at]]], int(places[earlier[at]]))


def place(windows: Windows, row: int) -> str:
    """Return the recording and the first sample of a window."""
    return f"{windows.recording_of(row)} from sample {windows.start[row]}"


def _digests(x: Floats, rows: Ints) -> NDArray[np.bytes_]:
    """Return 16 bytes for each of these windows, and a full stop, because numpy strips zeros at the end of bytes."""
    digests = (
        blake2b(x[row].tobytes(), digest_size=16).digest() + b"."
        for block in passing(rows, of=x)
        for row in block.tolist()
    )
    return np.fromiter(digests, dtype="S17", count=len(rows))


def _moving(x: Floats) -> NDArray[np.bool_]:
    blocks = [np.ptp(block, axis=-1).any(axis=(1, 2)) for block in passing(x)]
    return np.concatenate([np.empty(0, np.bool_), *blocks])


# Subjects, sessions, time


def _shared_subjects(evidence: Evidence) -> Iterator[Finding]:
    severity: Severity = "by_design" if evidence.split == "time" else "leak"
    for one, other in combinations(evidence.recordings, 2):
        first, second = evidence.recordings[one], evidence.recordings[other]
        subjects = {r.subject for r in first} & {r.subject for r in second}
        sessions = {_session(r) for r in first} & {_session(r) for r in second}
        if subjects:
            yield _finding("subject", (one, other), "subjects are in both splits", _sorted(subjects), severity)
        if sessions:
            yield _finding("session", (one, other), "sessions are in both splits", _sorted(sessions), severity)


def _session(recording: Recording) -> str:
    return f"{recording.subject}, session {recording.session}"


def _sorted(names: set[str]) -> list[str]:
    return sorted(names, key=natural)


def _finding(
    kind: FindingKind, parts: tuple[str, ...], what: str, examples: Sequence[str], severity: Severity = "leak"
) -> Finding:
    """Return a finding that counts all examples and keeps the first few."""
    few = tuple(examples[:EXAMPLES])
    return Finding(kind=kind, severity=severity, parts=parts, count=len(examples), what=what, examples=few)


def _overlaps(evidence: Evidence) -> Iterator[Finding]:
    """Yield windows that share samples with a window of another split, by recording and start."""
    for one, other in combinations(evidence.windows, 2):
        first, second = evidence.windows[one], evidence.windows[other]
        rows = [
            row
            for name in first.recordings
            if name in second.recordings
            for row in _overlapping(first, second, name, evidence.window)
        ]
        if rows:
            examples = [place(second, row) for row in rows]
            yield _finding("time", (one, other), "windows share samples with the other split", examples)


def _overlapping(first: Windows, second: Windows, name: str, window: int) -> list[int]:
    """Return the rows of `second` in one recording that start less than a window from a window of `first`."""
    theirs = np.sort(first.start[first.recording == first.recordings.index(name)])
    rows = np.flatnonzero(second.recording == second.recordings.index(name))
    if not len(theirs):
        return []
    starts = second.start[rows]
    after = np.searchsorted(theirs, starts)
    gaps = [np.abs(theirs[at.clip(0, len(theirs) - 1)] - starts) for at in (after - 1, after)]
    near: list[int] = rows[np.minimum(*gaps) < window].tolist()
    return near


# Contents


class _Contents(NamedTuple):
    """Windows and samples of one kind that are also in an earlier split."""

    kind: FindingKind
    what: str
    windows: Mapping[Pair, Mapping[int, str]]  # rows of the later split, each with its place and origin
    samples: Mapping[Pair, Sequence[CopiedSamples]]


def _copies(
    evidence: Evidence, near: Mapping[Pair, Mapping[int, str]], alike: Sequence[CopiedSamples]
) -> list[Finding]:
    """Return a finding for each two splits and kind, with the windows of the later one; an exact copy is not near."""
    equal = find_exact(evidence.originals, evidence.recordings, evidence.normalization.rate_hz)
    exact = "windows have samples that are bit for bit in the other split"
    nearly = "windows have samples that are nearly the same in the other split"
    contents = (
        _Contents("exact_copy", exact, _equal_windows(evidence.windows), by_pair(equal)),
        _Contents("near_copy", nearly, near, by_pair(alike)),
    )
    found = []
    counted: dict[Pair, set[int]] = {}
    for kind, what, windows, samples in contents:
        for pair in combinations(evidence.windows, 2):
            known = counted.setdefault(pair, set())
            copied = samples.get(pair, ())
            others = {row: text for row, text in windows.get(pair, {}).items() if row not in known}
            rows = {*others, *rows_of(evidence.windows[pair[1]], copied, evidence.window).tolist()} - known
            if rows:
                examples = (*map(_shown, copied), *others.values())
                few = tuple(examples[:EXAMPLES])
                found.append(Finding(kind=kind, severity="leak", parts=pair, count=len(rows), what=what, examples=few))
            known |= rows
    return found


def _shown(copied: CopiedSamples) -> str:
    near = f", residual {max(copied.residual, 0):.4f}" if copied.residual else ""
    return f"{copied.recording}, {copied.where} {'~' if near else '='} {copied.origin}{near}"


def _equal_windows(windows: Mapping[str, Windows]) -> dict[Pair, dict[int, str]]:
    found: dict[Pair, dict[int, str]] = {}
    for copy in copies(windows):
        origin = place(windows[copy.earlier], copy.earlier_row)
        text = f"{place(windows[copy.part], copy.row)} = {origin}"
        found.setdefault((copy.earlier, copy.part), {})[copy.row] = text
    return found


def _search(evidence: Evidence, alike: NearCopies) -> CopySearch:
    signals = [
        (part, signal)
        for part, recordings in evidence.recordings.items()
        for recording in recordings
        for signal in recording.signals.values()
    ]
    hours = dict.fromkeys(evidence.recordings, 0.0)
    for part, signal in signals:
        hours[part] += len(signal.values) / signal.rate_hz / 3600
    return CopySearch(
        hours=hours,
        exact_bits=exact_copies.needed_bits(sum(signal.values.size for _, signal in signals)),
        near=_near_search(evidence, alike),
        cannot_find=CANNOT_FIND,
    )


def _near_search(evidence: Evidence, alike: NearCopies) -> NearSearch | None:
    channels = evidence.normalization.channels
    columns = near_copies.columns_of(channels)
    if not alike.devices:
        return None
    return NearSearch(
        devices=alike.devices,
        channels=tuple(channels[column].name for column in columns),
        residual=near_copies.LIMIT,
        residual_same_subject=near_copies.SAME_SUBJECT,
        residual_turned=near_copies.TURNED_LIMIT,
        every_s=alike.every_s,
    )


def _searched(windows: Windows) -> Ints:
    """Return the rows that are searched for near copies: those that are not constant, evenly spaced, CAP at most."""
    moving = np.flatnonzero(_moving(windows.x))
    if len(moving) <= CAP:
        return moving
    return moving[np.linspace(0, len(moving) - 1, CAP).round().astype(np.int64)]


def _similar_windows(evidence: Evidence, searched: Mapping[str, Ints], near: float) -> dict[Pair, dict[int, str]]:
    scale = evidence.normalization
    found: dict[Pair, dict[int, str]] = {}
    projected = {part: _projections(windows.x, searched[part], scale) for part, windows in evidence.windows.items()}
    for one, other in combinations(evidence.windows, 2):
        first, second = evidence.windows[one], evidence.windows[other]
        if not len(searched[one]):
            continue
        neighbours = searched[one][_nearest(projected[other], projected[one])]
        correlation = _correlations(second.x, searched[other], first.x, neighbours, scale)
        found[one, other] = {
            int(searched[other][row]): (
                f"{place(second, searched[other][row])} ~ {place(first, neighbours[row])}, r = {correlation[row]:.4f}"
            )
            for row in np.flatnonzero(correlation >= near).tolist()
        }
    return found


def _shapes(x: Floats, scale: Normalization) -> Floats:
    """Return windows (n, C, D, T) as unit vectors (n, F): in deviations of each channel, without its mean."""
    z = normalization.apply(x, scale)
    z = (z - z.mean(axis=-1, keepdims=True)).reshape(len(z), -1)
    length = np.linalg.norm(z, axis=1, keepdims=True)
    shapes: Floats = np.divide(z, length, out=np.zeros_like(z), where=length > 0)
    return shapes


def _projections(x: Floats, rows: Ints, scale: Normalization) -> Floats:
    """Return random projections (n, DIMENSIONS) of the unit vectors of some windows."""
    signs = np.random.default_rng(0).random((x[0].size, DIMENSIONS)) < 0.5
    plane = np.where(signs, 1, -1).astype(np.float32) / np.float32(DIMENSIONS**0.5)
    blocks = [_shapes(x[block], scale) @ plane for block in passing(rows, of=x)]
    return np.concatenate([np.empty((0, DIMENSIONS), np.float32), *blocks])


def _nearest(points: Floats, others: Floats) -> Ints:
    """Return the index of the nearest of `others` (m, d), m >= 1, for each of `points` (n, d)."""
    squares = (others**2).sum(axis=1) / 2
    rows = max(1, DISTANCES // len(others))
    blocks = [(squares - points[at : at + rows] @ others.T).argmin(axis=1) for at in range(0, len(points), rows)]
    return np.concatenate([np.empty(0, np.int64), *blocks])


def _correlations(x: Floats, rows: Ints, others: Floats, partners: Ints, scale: Normalization) -> NDArray[np.float32]:
    """Return the correlation of each window with its partner."""
    pairs = zip(passing(rows, of=x), passing(partners, of=others), strict=True)
    blocks = [(_shapes(x[one], scale) * _shapes(others[other], scale)).sum(axis=1) for one, other in pairs]
    return np.concatenate([np.empty(0, np.float32), *blocks])


# Normalization


def _normalization_findings(evidence: Evidence) -> Iterator[Finding]:
    """Fit the normalization again on train, and yield differences."""
    stated = evidence.normalization
    recordings, windows = evidence.together or (evidence.recordings["train"], evidence.windows["train"])
    digest = sha256_arrays(windows.arrays())
    if stated.data_digest != digest:
        what = "data_digest is not the digest of train"
        yield _finding("normalization", ("train",), what, [stated.data_digest])
    spec = InputSpec(
        channels=stated.channels,
        devices=stated.devices,
        timesteps=stated.timesteps,
        rate_hz=stated.rate_hz,
        fold=stated.fold,
    )
    again = normalization.fit(recordings, spec, per=stated.per, limits=stated.limits, data_digest=stated.data_digest)
    if again != stated:
        yield _finding("normalization", ("train",), "a fit on train gives other values", ["mean and std"])
