"""Windows in their order: which of them follow each other, and what smoothing over time is worth.

A model of durations works on streams of consecutive windows. A window that was left out (it had no label) does not end
a stream, as time goes on without it; a longer hole does.
"""

import numpy as np
from numpy.typing import NDArray

MAX_GAP = 4  # windows left out in a row that a stream may bridge


def stream_lengths(recording: NDArray[np.int32], start: NDArray[np.int64], hop: int) -> tuple[int, ...]:
    """Return how many windows each stream has.

    `recording` (N,) and `start` (N,), in samples, are those of windows sorted by recording and then by time.
    """
    if not len(start):
        return ()
    breaks = (np.diff(recording) != 0) | (np.diff(start) > (MAX_GAP + 1) * hop)
    ends = np.append(np.flatnonzero(breaks) + 1, len(start))
    return tuple(np.diff(ends, prepend=0).tolist())
