"""Segmentation scores of streams of states (T,), with numpy only.

A segment is a run of equal states. A stream is one contiguous recording, so it must be split at windows without a
label. Letters: T windows, N true segments, M predicted segments. All scores require true and predicted states of the
same length T ≥ 1.
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
    """The scores of several streams. The ideal over-segmentation is 1; the other scores are best at their maximum."""

    frame_accuracy: float  # correct windows / all windows
    edit: float  # 0 to 100, mean over streams
    over_segmentation: float  # predicted segments / true segments, over all streams
    overlap_f1: dict[float, float]  # overlap -> F1, 0 to 1, over the segments of all streams


class Hits(NamedTuple):
    """The numbers of correct and wrong predicted segments, and of missed true segments."""

    right: int
    wrong: int
    missed: int


def score(pairs: Pairs) -> Scores:
    """Return the scores of pairs of true (T,) and predicted (T,) states. Raises InputError for unequal shapes."""
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
    """Return the share of windows with the correct state."""
    return float((true == predicted).mean())


def edit_score(true: Ints, predicted: Ints) -> float:
    """Return 100 · (1 − Levenshtein distance of the two segment sequences / max(N, M)).

    Lea et al. 2017, arXiv:1611.05267.
    """
    a, b = runs(true).states, runs(predicted).states
    return 100 * (1 - distance(a, b) / max(len(a), len(b)))


def distance(a: Ints, b: Ints) -> int:
    """Return the Levenshtein distance of a (N,) and b (M,): the least number of insertions, deletions, replacements."""
    row = steps = np.arange(len(b) + 1)
    for i, state in enumerate(a, 1):
        replaced = np.minimum(row[:-1] + (b != state), row[1:] + 1)
        row = np.minimum.accumulate(np.concatenate([[i], replaced]) - steps) + steps  # insertions, left to right
    return int(row[-1])


def hits(true: Ints, predicted: Ints, overlap: float) -> Hits:
    """Count correct, wrong and missed segments.

    A predicted segment is matched to the true segment of its state with the largest intersection over union. It is
    correct if that is at least `overlap` and no earlier segment was matched to the same one (Lea et al. 2017; the F1 at
    0.10 is F1@10).
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
