"""Conformal prediction sets: scores of classes, thresholds, and coverage.

A set contains the classes whose score 1 - p is at most the threshold (LAC, Sadinle 2019). No other score gives smaller
sets on average, and an empty set tells that no class is probable enough. Two thresholds, from scores of true classes:

- pooled: the ceil((n + 1)(1 - alpha))-th smallest of the scores of n windows. It holds for a new window that is
  exchangeable with these windows. If the scores are those of out-of-fold predictions, each by a model that never saw
  the subject, this is cross-conformal prediction (Vovk 2015; CV+ of Barber 2021).
- for a new subject: hierarchical conformal prediction (Lee, Barber, Willett 2023, arXiv:2306.06342). Subjects are
  exchangeable, not windows: each of the n_s scores of subject s has the weight 1 / ((S + 1) n_s), the weight
  1 / (S + 1) is at infinity, and the threshold is the (1 - alpha) quantile. It holds for a random window of a new
  subject. S subjects can promise at most the level S / (S + 1).

Needs numpy only, because devices compute sets too. Letters: N windows, K classes, S subjects.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from modelreg.evaluation import bootstrap, tolerance
from modelreg.evaluation.metrics import Floats, Ints, Predictions
from modelreg.records.calibration import AbstainRule, SetMetrics
from modelreg.records.calibration_parts import CoverageRow
from modelreg.records.metrics import EvaluationSettings, Interval, NoInterval


def true_scores(scored: Floats, y: Ints) -> Floats:
    """Return the scores (N,) of the true classes."""
    own: Floats = scored[np.arange(len(y)), y]
    return own


def threshold(own: Floats, alpha: float) -> float | None:
    """Return the ceil((n + 1)(1 - alpha))-th smallest of n scores; None if this rank exceeds n."""
    rank = len(own) + 1 - missed(len(own), alpha)
    return float(np.sort(own)[rank - 1]) if rank <= len(own) else None


def hierarchical_threshold(own: Floats, member: Ints, alpha: float) -> float | None:
    """Return the threshold of scores (N,) whose subjects are `member` (N,); None if it is infinite.

    The windows of each subject have the same total weight, however many there are.
    """
    windows = np.bincount(member)
    windows = windows[windows > 0]
    if not len(own) or highest_level(len(windows)) < 1 - alpha - tolerance.RANK:
        return None
    weights = 1 / ((len(windows) + 1) * np.bincount(member)[member])
    order = np.lexsort((weights, own))
    reached = np.cumsum(weights[order])
    rank = int(np.searchsorted(reached, 1 - alpha - tolerance.RANK))
    return float(own[order][min(rank, len(own) - 1)])


def highest_level(units: int) -> float:
    """Return the highest level that so many exchangeable units can promise."""
    return units / (units + 1)


def units_needed(alpha: float) -> int:
    """Return how many exchangeable units promise the level 1 - alpha: the smallest n with n / (n + 1) >= 1 - alpha."""
    return math.ceil((1 - alpha) / alpha - tolerance.RANK)


def sets_of(scored: Floats, limit: float | None) -> NDArray[np.bool_]:
    """Return the sets (N, K) of scores (N, K); without a limit they contain every class."""
    return np.ones(scored.shape, dtype=bool) if limit is None else scored <= limit


def missed(windows: int, alpha: float) -> int:
    """Return floor((n + 1) alpha), where 10 * 0.1 and similar products count as integers."""
    return math.floor((windows + 1) * alpha + tolerance.RANK)


def abstains(size: int, rule: AbstainRule) -> bool:
    """Return whether a model abstains from a window whose prediction set has so many classes.

    `empty`: no class is probable enough. `not_single`: the set is empty, or has several classes.
    """
    return (rule == "not_single" and size != 1) or (rule == "empty" and size == 0)


# Coverage


def measure(
    sets: NDArray[np.bool_], predictions: Predictions, classes: Sequence[str], settings: EvaluationSettings
) -> SetMetrics:
    """Return coverage and size of the sets (N, K) of N >= 1 windows."""
    subjects, member = np.unique(predictions.subject, return_inverse=True)
    held, sizes = sets[np.arange(len(sets)), predictions.y], sets.sum(axis=1)
    by_subject = np.bincount(member, held) / np.bincount(member)
    single = sizes == 1
    return SetMetrics(
        coverage=float(held.mean()),
        subject_mean=float(by_subject.mean()),
        interval=_interval(by_subject, settings),
        mean_size=float(sizes.mean()),
        empty=float((sizes == 0).mean()),
        singletons=float(single.mean()),
        singleton_accuracy=float(held[single].mean()) if single.any() else None,
        per_class=rows(classes, predictions.y, held, sizes),
        per_subject=rows(subjects.tolist(), member, held, sizes),
    )


def rows(names: Sequence[str], member: Ints, held: NDArray[np.bool_], sizes: Ints) -> dict[str, CoverageRow]:
    """Return the coverage and the mean size of the sets of each name; `member` (N,) are indices of names."""
    windows, hits, size = (np.bincount(member, weights, len(names)) for weights in (None, held, sizes))
    return {
        name: CoverageRow(windows=int(n), coverage=hit / n if n else None, mean_size=total / n if n else None)
        for name, n, hit, total in zip(names, windows.tolist(), hits.tolist(), size.tolist(), strict=True)
    }


def _interval(by_subject: Floats, settings: EvaluationSettings) -> Interval | NoInterval:
    times = bootstrap.draws(len(by_subject), settings)
    if isinstance(times, NoInterval):
        return times
    return bootstrap.interval(times @ by_subject / len(by_subject), len(by_subject), settings)
