"""Intervals over subjects: whole people are drawn again, with all their windows. numpy alone.

Windows of one person are alike, so resampling windows would give intervals that are far too narrow (the cluster
bootstrap). Draws come from `Generator.random` only: numpy keeps that stream stable. Every interval of one part is
made of the same draws. Letters: S subjects, R replicates.
"""

import math

import numpy as np
from numpy.typing import NDArray

from modelreg.records.metrics import EvaluationSettings, Interval, NoInterval

MIN_SUBJECTS = 5  # fewer give no interval: resampling them hardly varies


def draws(subjects: int, settings: EvaluationSettings) -> NDArray[np.int64] | NoInterval:
    """Return how often each subject is drawn in each replicate (R, S), or why there are too few subjects."""
    if subjects < MIN_SUBJECTS:
        people = "1 held-out subject" if subjects == 1 else f"{subjects} held-out subjects"
        return NoInterval(reason=f"{people}; an interval over subjects needs {MIN_SUBJECTS}")
    shape = (settings.replicates, subjects)
    drawn = (np.random.default_rng([settings.seed, 1]).random(shape) * shape[1]).astype(np.int64)
    cell = drawn + shape[1] * np.arange(shape[0])[:, None]
    return np.bincount(cell.ravel(), minlength=math.prod(shape)).reshape(shape)


def interval(values: NDArray[np.float64], subjects: int, settings: EvaluationSettings) -> Interval:
    """Return the percentile interval of a statistic's replicates (R,)."""
    tail = (1 - settings.level) / 2
    low, high = np.quantile(values, [tail, 1 - tail]).tolist()
    return Interval(low=low, high=high, level=settings.level, subjects=subjects, replicates=settings.replicates)
