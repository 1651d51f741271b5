"""Expectation maximisation on streams without labels (Yu 2010), the reference for training by gradient."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from modelreg.hsmm import fitting, inference
from modelreg.hsmm.model import Hsmm, tables


class Fit(NamedTuple):
    """The final model, and the log likelihood of all streams before each step and at the end."""

    model: Hsmm
    log_likelihood: list[float]


def fit(model: Hsmm, streams: Sequence[np.ndarray], steps: int, *, censored: bool = True) -> Fit:
    """Fit initial probabilities, transitions and durations to streams of log b (T, S)."""
    reached = []
    for _ in range(steps):
        found = [inference.posterior(tables(model), log_b, censored=censored) for log_b in streams]
        reached.append(sum(one.log_likelihood for one in found))
        counts = inference.Counts(*map(sum, zip(*(one.counts for one in found), strict=True)))
        model = fitting.maximise(model, counts, pseudo_count=0)
    last = sum(inference.log_likelihood(tables(model), log_b, censored=censored) for log_b in streams)
    return Fit(model, [*reached, last])
