"""How well a stream of states is cut into segments: arrays of states (T,) in, scores out. numpy alone.

A segment is a run of equal states. A stream is one contiguous recording: cut at windows without a label, as a run
across a hole is no run. Letters: T windows, N true segments, M predicted ones. All scores ask that both streams are
of one length, T ≥ 1.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import InputError, Problem

Ints: TypeAlias = NDArray[np.int64]
Pairs: TypeAlias = Sequence[tuple[Ints, Ints]]

OVERLAPS = (0.10, 0.25, 0.50)


class Runs(NamedTuple):
    """The segments of a stream, in order."""

    states: Ints  # (N,)
    starts: Ints  # (N,) first window
    lengths: Ints  # (N,) in windows


class Scores(NamedTuple):
    """Several streams together; 1 or 100 is best, but for the over-segmentation, where 1 is right."""

    frame_accuracy: float  # share of all windows
    edit: float  # 0 to 100, mean over the streams
    over_segmentation: float  # predicted segments / true segments, of all streams
    overlap_f1: dict[float, float]  # overlap to F1, 0 to 1, over the segments of all streams


class Hits(NamedTuple):
    """Predicted segments that are right, that are not, and true segments that were missed."""

    right: int
    wrong: int
    missed: int


def score(pairs: Pairs) -> Scores:
    """Score streams, each a pair true (T,), predicted (T,). Raises InputError where a pair does not match."""
    if problems := list(_find_problems(pairs)):
        raise InputError("cannot score the segmentation", problems)
    true, predicted = (np.concatenate(streams) for streams in zip(*pairs, strict=True))
    segments = [sum(len(runs(stream).starts) for stream in streams) for streams in zip(*pairs, strict=True)]
    return Scores(
        frame_accuracy=frame_accuracy(true, predicted),
        edit=float(np.mean([edit_score(*pair) for pair in pairs])),
        over_segmentation=segments[1] / segments[0],
        overlap_f1={overlap: _f1([hits(*pair, overlap) for pair in pairs]) for overlap in OVERLAPS},
    )


def _find_problems(pairs: Pairs) -> Iterator[Problem]:
    if not pairs:
        yield Problem("streams", "hsmm.no-windows", "0 streams, must be at least 1")
    for i, (true, predicted) in enumerate(pairs):
        if true.ndim != 1 or true.shape != predicted.shape:
            what = f"true states have shape {true.shape}, predicted states {predicted.shape}; both must be (T,)"
            yield Problem(f"stream {i}", "hsmm.streams-mismatch", what)
        elif not len(true):
            yield Problem(f"stream {i}", "hsmm.no-windows", "has 0 windows, must have at least 1")


def runs(states: Ints) -> Runs:
    """Return the segments of states (T,)."""
    starts = np.flatnonzero(np.diff(states, prepend=states[:1] - 1))
    return Runs(states[starts], starts, np.diff(starts, append=len(states)))


def frame_accuracy(true: Ints, predicted: Ints) -> float:
    """Return the share of windows whose state is right."""
    return float((true == predicted).mean())


def edit_score(true: Ints, predicted: Ints) -> float:
    """Return 100 · (1 − Levenshtein distance of the two sequences of segments / max(N, M)).

    Lea et al. 2017, arXiv:1611.05267.
    """
    a, b = runs(true).states, runs(predicted).states
    return 100 * (1 - distance(a, b) / max(len(a), len(b)))


def distance(a: Ints, b: Ints) -> int:
    """Return the Levenshtein distance of a (N,) and b (M,): fewest insertions, deletions and replacements."""
    row = steps = np.arange(len(b) + 1)
    for i, state in enumerate(a, 1):
        replaced = np.minimum(row[:-1] + (b != state), row[1:] + 1)
        row = np.minimum.accumulate(np.concatenate([[i], replaced]) - steps) + steps  # insertions, left to right
    return int(row[-1])


def hits(true: Ints, predicted: Ints, overlap: float) -> Hits:
    """Count the segments that are right.

    A predicted segment is right where the true segment of its state that it overlaps most, by intersection over
    union, reaches `overlap` and was not taken by an earlier one (Lea et al. 2017, who call the F1 at 0.10 F1@10).
    """
    ours, theirs = runs(predicted), runs(true)
    taken: set[int] = set()
    for state, start, length in zip(*ours, strict=True):
        shared = np.minimum(theirs.starts + theirs.lengths, start + length) - np.maximum(theirs.starts, start)
        shared = np.where(theirs.states == state, shared, 0)
        ratio = shared / (theirs.lengths + length - shared)
        if ratio.max() >= overlap:
            taken.add(int(ratio.argmax()))
    return Hits(len(taken), len(ours.starts) - len(taken), len(theirs.starts) - len(taken))


def _f1(counts: Sequence[Hits]) -> float:
    right, wrong, missed = map(sum, zip(*counts, strict=True))
    return 2 * right / (2 * right + wrong + missed)
