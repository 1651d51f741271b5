"""Compute percentile intervals with a cluster bootstrap: subjects are drawn with all their windows. Only numpy.

Windows of one subject are correlated: resampling single windows would give intervals that are too narrow. Draws come
from `Generator.random` only, because numpy keeps this stream stable. All intervals of a split use the same draws.
Letters: S subjects, R replicates.
"""

import math

import numpy as np
from numpy.typing import NDArray

from modelreg.records.metrics import EvaluationSettings, Interval, NoInterval

MIN_SUBJECTS = 5  # with fewer subjects, resamples hardly vary


def draws(subjects: int, settings: EvaluationSettings) -> NDArray[np.int64] | NoInterval:
    """Return the number of draws of each subject in each replicate (R, S), or why there are too few subjects."""
    if subjects < MIN_SUBJECTS:
        # metrics store this sentence and `verify` compares it: it must not change
        available = "1 held-out subject" if subjects == 1 else f"{subjects} held-out subjects"
        return NoInterval(reason=f"{available}; an interval over subjects needs {MIN_SUBJECTS}")
    shape = (settings.replicates, subjects)
    drawn = (np.random.default_rng([settings.seed, 1]).random(shape) * shape[1]).astype(np.int64)
    cell = drawn + shape[1] * np.arange(shape[0])[:, None]
    return np.bincount(cell.ravel(), minlength=math.prod(shape)).reshape(shape)


def interval(values: NDArray[np.float64], subjects: int, settings: EvaluationSettings) -> Interval:
    """Return the percentile interval of a statistic's replicates (R,)."""
    tail = (1 - settings.level) / 2
    low, high = np.quantile(values, [tail, 1 - tail]).tolist()
    return Interval(low=low, high=high, level=settings.level, subjects=subjects, replicates=settings.replicates)
