"""Compute statistics over the samples of many recordings without holding all of them in memory."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from modelreg.data.recording import UNLABELLED, Recording, passing

BLOCK = 4096  # samples


def blocks(recordings: Iterable[Recording]) -> Iterator[NDArray[np.float32]]:
    """Yield the labelled samples (n, D, C) of recordings in order, BLOCK at a time; devices share one clock."""
    for recording in passing(recordings):
        for at in range(0, len(recording.labels), BLOCK):
            here = slice(at, at + BLOCK)
            samples = np.stack([signal.values[here] for signal in recording.signals.values()], axis=1)
            yield np.ascontiguousarray(samples[recording.labels[here] != UNLABELLED])


def column(recordings: Iterable[Recording], device: int, channel: int) -> NDArray[np.float32]:
    """Return the labelled samples (S,) of one channel of one device."""
    return np.concatenate(
        [
            [*recording.signals.values()][device].values[recording.labels != UNLABELLED, channel]
            for recording in passing(recordings)
        ]
    )


def add_up(rows: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the sum (R, C) over all rows of blocks (n, R, C), equal to the last bit to the sum of one joined array.

    numpy adds rows one after another, so that a sum can be continued with the next block. It adds rows of a single
    number pairwise: such blocks are joined first.
    """
    found = iter(rows)
    total: NDArray[np.float64] = next(found)
    if math.prod(total.shape[1:]) == 1:
        return np.asarray(np.concatenate([total, *found]).sum(axis=0))
    total = total.sum(axis=0)
    for block in found:
        total = np.concatenate([total[None], block]).sum(axis=0)
    return total
