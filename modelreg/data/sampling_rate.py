"""The sampling rate of a clock with jitter, lost samples and gaps.

The intervals of a regular clock are multiples of its step: a lost sample makes one of two steps. The step follows from
how many steps they have altogether, so that neither lost samples nor jitter change it. Jitter beyond a quarter of a
step hides the multiples: such a clock is irregular. Its rate is the mean one, the count of intervals by their duration.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NEAR = 0.4  # of a step: an interval further from a multiple may as well be the next one
DOUBTFUL = (
    0.03  # of the intervals of a regular clock, at most, are that far off; without any multiples, a fifth would be
)
USUAL = 0.52  # of the intervals of a regular clock, at least, are one step; below, it may as well be two steps
LONG = 5  # usual intervals make a gap
GAPS = 0.05  # of the intervals, at most, are gaps; more of them are packets, which belong to the clock
ROUNDS = 3  # the estimate is exact after one where there is no jitter


class Rate(NamedTuple):
    """What a clock's intervals say; those of repeated times and gaps are left out."""

    hz: float  # 0 where the clock stands still
    regular: bool
    intervals: int
    seconds: float  # of all intervals together
    shortest_s: float
    longest_s: float
    spread: float  # standard deviation of the intervals, in mean intervals
    gaps: int  # that were left out


STILL = Rate(0.0, regular=True, intervals=0, seconds=0.0, shortest_s=0.0, longest_s=0.0, spread=0.0, gaps=0)


def measure(time: NDArray[np.float64]) -> Rate:
    """Return the rate of a clock (n,) in seconds, which never falls."""
    intervals = np.diff(time)
    intervals = intervals[intervals > 0]
    if not len(intervals):
        return STILL
    usual = float(np.median(intervals))
    usual = float(intervals[np.abs(intervals - usual) <= usual / 2].mean())
    long = intervals > LONG * usual
    packets = bool(long.mean() > GAPS)
    kept = intervals if packets else intervals[~long]
    step = _step(kept, usual)
    regular = not packets and _is_regular(kept / step)
    mean = float(kept.mean())
    return Rate(
        hz=1 / step if regular else 1 / mean,
        regular=regular,
        intervals=len(kept),
        seconds=float(kept.sum()),
        shortest_s=float(kept.min()),
        longest_s=float(kept.max()),
        spread=float(kept.std() / mean),
        gaps=0 if packets else int(np.count_nonzero(long)),
    )


def _step(intervals: NDArray[np.float64], step: float) -> float:
    """Improve an estimate of the step. Rounding up and down is symmetric, so jitter cancels out."""
    for _ in range(ROUNDS):
        step = float(intervals.sum() / max(np.rint(intervals / step).sum(), 1))
    return step


def _is_regular(steps: NDArray[np.float64]) -> bool:
    whole = np.rint(steps)
    doubtful = float(np.mean(np.abs(steps - whole) > NEAR))
    return doubtful <= DOUBTFUL and float(np.mean(whole == 1)) >= USUAL
