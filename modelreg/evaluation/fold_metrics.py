"""The metrics of the folds of a cross-fitted run, from its pooled predictions. Needs numpy only, for `verify`.

Every fold has another quantizer and another mixture: codes are counted by fold, and never over all folds.
"""

from collections.abc import Collection
from typing import Any

import numpy as np

from modelreg.evaluation import metrics
from modelreg.evaluation.metrics import Predictions
from modelreg.records.metrics import EvaluationSettings, Metrics


def rows_of(pooled: Predictions, subjects: Collection[str]) -> Predictions:
    """Return the predictions for some subjects, as the fold that tests them has them: names are no longer than needed.

    Equal predictions therefore give equal bytes in the files of the fold and of the run.
    """
    own = pooled.rows(np.isin(pooled.subject, sorted(subjects)))
    return own._replace(**{name: np.array(getattr(own, name).tolist(), "U") for name in ("subject", "recording")})


def pool(folds: Collection[Predictions]) -> Predictions:
    """Return the predictions of all folds, one fold after the other."""
    parts = list(folds)
    return Predictions(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in parts[0].arrays()})


def compute_pooled(pooled: Predictions, classes: tuple[str, ...], settings: EvaluationSettings) -> Metrics:
    """Return the metrics of all predictions, without codes and clusters."""
    alone = pooled._replace(code=None, cluster=None)
    return metrics.compute(alone, classes=classes, levels=None, settings=settings)


def compute_fold(own: Predictions, levels: tuple[int, ...] | None) -> dict[str, Any]:
    """Return the fields of a FoldMetrics that follow from the predictions of the fold, N >= 1."""
    scores = metrics.score(metrics.confusions(own)[1].sum(axis=0))
    return {
        "windows": len(own.y),
        "accuracy": float(scores.accuracy),
        "balanced_accuracy": float(scores.balanced_accuracy),
        "macro_f1": float(scores.macro_f1),
        "codes": metrics.code_usage(own.code, levels),
        "clusters": metrics.cluster_usage(own.cluster),
    }
