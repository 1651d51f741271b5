"""The risk-coverage curve: the error if a model answers only its most confident windows (El-Yaniv, Wiener 2010).

Windows of equal confidence, common with a quantizer, share their errors, so that their order does not matter.
Needs numpy only. Letters: N windows, G groups of equal confidence.
"""

import numpy as np
from numpy.typing import NDArray

from modelreg.evaluation.metrics import Floats
from modelreg.records.calibration import RiskCoverage, RiskPoint

POINTS = 20  # of the curve that is kept


def measure(confidence: Floats, correct: NDArray[np.bool_]) -> RiskCoverage:
    """Return the curve of confidences (N,) and whether the predicted class is right (N,), N >= 1."""
    rounded = confidence.round(12)  # equal but for the last bits: equal
    levels, group = np.unique(-rounded, return_inverse=True)
    wrong = np.bincount(group, ~correct) / np.bincount(group)
    order = np.sort(group)  # the most confident first
    count = np.arange(1, len(order) + 1)
    risk = np.cumsum(wrong[order]) / count
    ends = np.unique(np.ceil(len(order) * np.arange(1, POINTS + 1) / POINTS).astype(np.int64))
    points = tuple(
        RiskPoint(
            answered=end / len(order), confidence=float(-levels[order[end - 1]]), error=float(risk[end - 1].clip(0, 1))
        )
        for end in ends.tolist()
    )
    return RiskCoverage(area=float(risk.mean().clip(0, 1)), points=points)
