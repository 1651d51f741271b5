"""Compare two models on the same windows, with a paired bootstrap over subjects. Needs numpy only.

Letters: N windows that both predicted, K classes, S subjects, R replicates.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from modelreg.evaluation import bootstrap, metrics
from modelreg.evaluation.metrics import Ints, Predictions
from modelreg.records.base import paired_leaves
from modelreg.records.comparison import COMPARED, Change, Difference, McNemar, PairedComparison
from modelreg.records.metrics import EvaluationSettings, NoInterval, Reason


class Side(NamedTuple):
    """One of the two models: its predictions, and the classes of the columns of its logits."""

    predictions: Predictions
    classes: tuple[str, ...]


def compare(one: Side, other: Side, settings: EvaluationSettings) -> PairedComparison | Reason:
    """Compare two models on the windows that both predicted; return a Reason if they are not comparable."""
    if one.classes != other.classes:
        return Reason(reason="the models have different classes")
    rows = _shared_windows(one.predictions, other.predictions)
    if isinstance(rows, Reason):
        return rows
    first, second = one.predictions.rows(rows[0]), other.predictions.rows(rows[1])
    if (first.y != second.y).any() or (first.subject != second.subject).any():
        return Reason(reason="windows with the same recording and start have different labels or subjects")
    return PairedComparison(
        windows=len(first.y),
        subjects=len(set(first.subject.tolist())),
        left_out_one=len(one.predictions.y) - len(first.y),
        left_out_other=len(other.predictions.y) - len(second.y),
        metrics=_differences(first, second, settings),
        mcnemar=_mcnemar(first, second),
    )


def changes(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return every value that differs between two documents, with its dotted path."""
    return tuple(Change(path=path, one=a, other=b) for path, a, b in paired_leaves(one, other) if a != b)


def mcnemar_p(only_one: int, only_other: int) -> float:
    """Return the two-sided p of McNemar's exact test: twice the tail of Binomial(b + c, 1/2), at most 1."""
    count = only_one + only_other
    whole = math.lgamma(count + 1) - count * math.log(2)
    rarer = range(min(only_one, only_other) + 1)
    return min(1.0, 2 * math.fsum(math.exp(whole - math.lgamma(i + 1) - math.lgamma(count - i + 1)) for i in rarer))


def _shared_windows(one: Predictions, other: Predictions) -> tuple[Ints, Ints] | Reason:
    """Return the row in each of both predictions for each common window, in the order of the first."""
    first, second = (_places(predictions) for predictions in (one, other))
    if len(first) < len(one.y) or len(second) < len(other.y):
        return Reason(reason="predictions contain two windows with the same recording and start")
    shared = [place for place in first if place in second]
    if not shared:
        return Reason(reason="the models have no test windows in common")
    return np.array([first[place] for place in shared]), np.array([second[place] for place in shared])


def _places(predictions: Predictions) -> dict[tuple[str, int], int]:
    pairs = zip(predictions.recording.tolist(), predictions.start.tolist(), strict=True)
    return {place: row for row, place in enumerate(pairs)}


def _differences(one: Predictions, other: Predictions, settings: EvaluationSettings) -> dict[Any, Difference]:
    pair = [metrics.confusions(predictions)[1] for predictions in (one, other)]  # (S, K, K) each
    subjects = len(pair[0])
    times = bootstrap.draws(subjects, settings)
    first, second = (metrics.score(by_subject.sum(axis=0)) for by_subject in pair)
    found = {name: (float(getattr(first, name)), float(getattr(second, name))) for name in COMPARED}
    if isinstance(times, NoInterval):
        return {name: Difference(one=a, other=b, difference=b - a, interval=times) for name, (a, b) in found.items()}
    before, after = (metrics.score(np.tensordot(times, by_subject, axes=1)) for by_subject in pair)
    drawn = {name: getattr(after, name) - getattr(before, name) for name in COMPARED}  # (R,) each
    intervals = {name: bootstrap.interval(values, subjects, settings) for name, values in drawn.items()}
    return {
        name: Difference(one=a, other=b, difference=b - a, interval=intervals[name]) for name, (a, b) in found.items()
    }


def _mcnemar(one: Predictions, other: Predictions) -> McNemar:
    first, second = (predictions.logits.argmax(axis=1) == predictions.y for predictions in (one, other))
    only_one, only_other = int((first & ~second).sum()), int((second & ~first).sum())
    return McNemar(only_one=only_one, only_other=only_other, p_value=mcnemar_p(only_one, only_other))
