"""Find where windows continue each other by the samples that they share, and join them.

A window continues the one before if it starts a whole number of hops later, and all samples that the two have in common
are equal in every channel. Two missing values are equal. Samples that are constant in every channel agree as well, but
do not prove the overlap.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.memory_map import release
from modelreg.data.recording import UNLABELLED

BLOCK = 4096  # pairs of windows that are compared in one step
TESTED = 1000  # pairs in which an undeclared overlap is searched, evenly spread
LEAST = 8  # a search ignores overlaps of less than an eighth of the window, or of fewer samples than this
OFTEN = 0.1  # the smallest share of the tested pairs that makes an overlap

Rows = Sequence[NDArray[np.float32]]  # of each channel its windows, (N, W)
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]


class Order(NamedTuple):
    """The windows of a part, subject after subject, each subject's in the order of the file."""

    rows: Ints  # (N,)
    step: Ints  # (N,) samples since the start of the window before; 0: not its continuation
    proven: int  # continuations one hop later, with samples that are not constant
    unequal: int  # pairs of one subject's consecutive windows that do not agree one hop later

    def runs(self) -> Iterator[slice]:
        """Yield each longest range of windows that continue each other."""
        begins = np.flatnonzero(self.step == 0).tolist()
        for begin, end in zip(begins, [*begins[1:], len(self.rows)], strict=True):
            yield slice(begin, end)


def find_order(channels: Rows, subjects: NDArray[Any], hop: int) -> Order:
    """Return the order of windows whose starts are a multiple of `hop` apart; `subjects` (N,) has that of each."""
    rows = np.argsort(subjects, kind="stable")
    step = np.zeros(len(rows), np.intp)
    at = _pairs(rows, subjects)
    proven = unequal = 0
    for shift in range(hop, channels[0].shape[1], hop):
        equal, moving = _compare(channels, rows[at - 1], rows[at], shift)
        step[at[equal]] = shift
        if shift == hop:
            proven, unequal = int(np.count_nonzero(equal & moving)), int(np.count_nonzero(~equal))
        at = at[~equal]
    return Order(rows, step, proven, unequal)


def find_shift(channels: Rows, subjects: NDArray[Any]) -> int | None:
    """Return the samples between the starts of consecutive windows that share samples, or None if they do not.

    The windows share at least an eighth of their samples, in a tenth of the pairs of one subject's windows.
    """
    rows = np.argsort(subjects, kind="stable")
    at = _pairs(rows, subjects)
    at = at[np.linspace(0, len(at) - 1, min(TESTED, len(at))).astype(np.intp)]
    first, second = rows[at - 1], rows[at]
    window = channels[0].shape[1]
    possible = np.logical_and.reduce([channel[first] == channel[second, :1] for channel in channels])  # (n, W)
    counts = np.zeros(window, np.intp)
    for shift in range(1, window - max(LEAST, window // 8) + 1):
        some = np.flatnonzero(possible[:, shift])
        equal, moving = _compare(channels, first[some], second[some], shift)
        counts[shift] = np.count_nonzero(equal & moving)
    best = int(counts.argmax())
    return best if counts[best] > OFTEN * len(at) else None


def _pairs(rows: Ints, subjects: NDArray[Any]) -> Ints:
    """Return the positions in `rows` of windows that come after another one of their subject."""
    return np.flatnonzero(subjects[rows[1:]] == subjects[rows[:-1]]) + 1


def _compare(channels: Rows, first: Ints, second: Ints, shift: int) -> tuple[Bools, Bools]:
    """Return which pairs of windows agree if the second starts `shift` samples later, and whose samples there move."""
    equal, moving = np.ones(len(first), np.bool_), np.zeros(len(first), np.bool_)
    for at in range(0, len(first), BLOCK):
        block = slice(at, at + BLOCK)
        for channel in channels:
            ours = channel[first[block], shift:]
            theirs = channel[second[block], : channel.shape[1] - shift]
            equal[block] &= ((ours == theirs) | (np.isnan(ours) & np.isnan(theirs))).all(axis=1)
            moving[block] |= np.fmax.reduce(ours, axis=1) > np.fmin.reduce(ours, axis=1)
        release(channels)
    return equal, moving


def join(windows: NDArray[np.float32], step: Ints) -> NDArray[np.float32]:
    """Return the samples of windows (n, W) that continue each other, each sample once."""
    width = windows.shape[1]
    new = np.concatenate([[width], step[1:]])
    samples: NDArray[np.float32] = windows[np.arange(width) >= width - new[:, None]]
    return samples


def join_labels(labels: NDArray[np.int32], step: Ints, window: int) -> tuple[NDArray[np.int32], int]:
    """Return the label of each sample, and how many samples have windows of different labels: those are unlabelled."""
    starts = np.concatenate([[0], np.cumsum(step[1:])])
    lowest = np.full(int(starts[-1]) + window, np.iinfo(np.int32).max, np.int32)
    highest = np.full(len(lowest), UNLABELLED, np.int32)
    for start, label in zip(starts.tolist(), labels.tolist(), strict=True):
        covered = slice(start, start + window)
        np.minimum(lowest[covered], label, out=lowest[covered])
        np.maximum(highest[covered], label, out=highest[covered])
    differ = lowest != highest
    return np.where(differ, UNLABELLED, highest).astype(np.int32), int(np.count_nonzero(differ))
