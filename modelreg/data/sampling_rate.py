"""Measure the sampling rate of a clock with jitter, lost samples and gaps.

The intervals of a regular clock are multiples of its step: a lost sample makes an interval of two steps. The step is
the total duration divided by the total number of steps, so that neither lost samples nor jitter change it. With jitter
of more than a quarter of a step, the multiples cannot be recognized: such a clock is irregular, and its rate is the
number of intervals divided by their duration.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NEAR = 0.4  # steps; an interval further from a multiple cannot be assigned to one
DOUBTFUL = 0.03  # largest share of intervals that far off in a regular clock; random intervals have a share of 0.2
USUAL = 0.52  # smallest share of intervals of one step in a regular clock; below, the step may be two steps
LONG = 5  # an interval of more usual intervals is a gap
GAPS = 0.05  # largest share of gaps; more of them are pauses between packets, which belong to the clock
ROUNDS = 3  # of improving the step; without jitter, the first is exact


class Rate(NamedTuple):
    """The statistics of a clock's intervals, without repeated times and gaps."""

    hz: float  # 0 if all times are equal
    regular: bool
    intervals: int
    seconds: float  # of all intervals together
    shortest_s: float
    longest_s: float
    spread: float  # standard deviation of the intervals, in mean intervals
    gaps: int  # that were left out


STILL = Rate(0.0, regular=True, intervals=0, seconds=0.0, shortest_s=0.0, longest_s=0.0, spread=0.0, gaps=0)


def measure(time: NDArray[np.float64]) -> Rate:
    """Return the rate of a clock (n,) in seconds, which must not fall."""
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
    """Return an improved estimate of the step. Rounding is symmetric, so that jitter cancels out."""
    for _ in range(ROUNDS):
        step = float(intervals.sum() / max(np.rint(intervals / step).sum(), 1))
    return step


def _is_regular(steps: NDArray[np.float64]) -> bool:
    whole = np.rint(steps)
    doubtful = float(np.mean(np.abs(steps - whole) > NEAR))
    return doubtful <= DOUBTFUL and float(np.mean(whole == 1)) >= USUAL
