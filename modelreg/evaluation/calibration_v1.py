"""Calibration of schema version 1: fit, apply and measure it as modelreg 0.2 did, so that `verify` can repeat it.

Temperature and thresholds are fitted on different windows of the validation split: of different subjects if there are
several, else of different recordings. Three scores had thresholds. Likely classes have small scores:

- lac: 1 - p (Sadinle 2019). The smallest sets on average; a set may be empty.
- aps: the total probability of all more likely classes (Romano 2020). The paper subtracts a random share of p from the
  probability mass up to and including the class; here all of p is subtracted, for fitted and new windows. Therefore the
  sets are deterministic, the guarantee remains valid, and the most likely class has score 0: no set is empty.
- raps: aps plus a penalty for each rank above `free` (Angelopoulos 2021): fewer very large sets.

Nothing here is used for new documents. Needs numpy only. Letters: N windows, K classes.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.evaluation import bootstrap, conformal, temperature_scaling, tolerance
from modelreg.evaluation.calibration_parts import Origin, fitted_on, probabilities
from modelreg.evaluation.metrics import Floats, Ints, Predictions
from modelreg.records.calibration_v1 import (
    SETS,
    ConfidenceMetricsV1,
    ConfidenceRecordV1,
    CoverageBand,
    SetMetricsV1,
    SetName,
    TemperatureRecord,
    ThresholdsRecord,
)
from modelreg.records.metrics import EvaluationSettings, Interval, NoInterval, Reason

PENALTIES = (0.001, 0.01, 0.1, 0.2, 0.5)  # those of Angelopoulos 2021
HALVINGS = 60  # give a probability with an error of 1e-18


class Ranks(NamedTuple):
    """The penalty of raps per rank above `free`."""

    penalty: float
    free: int


NO_PENALTY = Ranks(0.0, 0)


def scores(p: Floats, method: SetName, ranks: Ranks = NO_PENALTY) -> Floats:
    """Return the score of every class (N, K) from probabilities (N, K); ties rank the first class higher."""
    if method == "lac":
        return 1 - p
    order = np.argsort(-p, axis=1, kind="stable")
    likelier = np.zeros_like(p)
    np.cumsum(np.take_along_axis(p, order, axis=1)[:, :-1], axis=1, out=likelier[:, 1:])
    if method == "raps":
        likelier += ranks.penalty * np.maximum(np.arange(1, p.shape[1] + 1) - ranks.free, 0)
    scored = np.empty_like(p)
    np.put_along_axis(scored, order, likelier, axis=1)
    return scored


class Division(NamedTuple):
    """The windows of the validation split, divided into two halves."""

    by: Literal["subject", "recording"]
    temperature: NDArray[np.bool_]  # (N,) windows for temperature scaling
    conformal: NDArray[np.bool_]  # (N,) windows for the conformal thresholds: all others


class Answers(NamedTuple):
    """Calibrated probabilities and prediction sets of windows."""

    probabilities: Floats  # (N, K)
    sets: dict[SetName, NDArray[np.bool_]]  # (N, K) by method; empty if no thresholds were fitted


# Fit


def divide(validation: Predictions) -> Division | Reason:
    """Divide windows by subject, or by recording if there is one subject; return a Reason if that is impossible.

    Subjects (recordings) are assigned from large to small, each to the half that makes the class counts of both halves
    more equal; ties go to the conformal half. Therefore a class with a single recording is in the conformal half.
    """
    by: Literal["subject", "recording"] = "subject" if len(set(validation.subject.tolist())) > 1 else "recording"
    names, member = np.unique(getattr(validation, by), return_inverse=True)
    if len(names) < 2:
        # calibration.json stores these reasons and `verify` compares them: they must not change
        return Reason(reason="the validation part has one recording; temperature and thresholds need two")
    counts = np.zeros((len(names), validation.logits.shape[1]), dtype=np.int64)
    np.add.at(counts, (member, validation.y), 1)
    chosen = _halve(counts)[member]
    if chosen.all():
        what = "each class has windows of one recording; temperature and thresholds need two: validate on two subjects"
        return Reason(reason=what)
    return Division(by, ~chosen, chosen)


def _halve(counts: Ints) -> NDArray[np.bool_]:
    """Return for each unit (U,) whether it is in the conformal half, from its windows per class (U, K)."""
    chosen = np.zeros(len(counts), dtype=bool)
    lead = np.zeros(counts.shape[1], dtype=np.int64)  # surplus of the conformal half, by class
    for unit in np.argsort(-counts.sum(axis=1), kind="stable"):
        chosen[unit] = np.abs(lead + counts[unit]).sum() <= np.abs(lead - counts[unit]).sum()
        lead += counts[unit] if chosen[unit] else -counts[unit]
    return chosen


def fit_calibration(validation: Predictions, origin: Origin, *, level: float, alpha: float = 0.1) -> ConfidenceRecordV1:
    """Fit temperature and thresholds on predictions for the validation split, N >= 1.

    `level` is that of the expected range of the coverage. If windows cannot be divided, all of them are used for the
    temperature, and the record has a reason instead of thresholds.
    """
    division = divide(validation)
    if isinstance(division, Reason):
        temperature = _temperature(validation, origin.classes)
        return _record(origin, alpha, None, temperature, division)
    tuning, fitted = (validation.rows(chosen) for chosen in (division.temperature, division.conformal))
    temperature = _temperature(tuning, origin.classes)
    tuning_p, fitted_p = (probabilities(each.logits, temperature.value) for each in (tuning, fitted))
    ranks = choose_ranks(tuning_p, tuning.y, alpha)
    own = {method: conformal.true_scores(scores(fitted_p, method, ranks), fitted.y) for method in SETS}
    limits = {method: conformal.threshold(true, alpha) for method, true in own.items()}
    thresholds = ThresholdsRecord(
        **{method: None if limit is None else limit + tolerance.SCORE for method, limit in limits.items()},
        raps_penalty=ranks.penalty,
        raps_free=ranks.free,
        coverage=coverage_band(len(fitted.y), alpha, level),
        fitted_on=fitted_on(fitted, origin.classes),
    )
    return _record(origin, alpha, division.by, temperature, thresholds)


def _record(
    origin: Origin,
    alpha: float,
    by: Literal["subject", "recording"] | None,
    temperature: TemperatureRecord,
    thresholds: ThresholdsRecord | Reason,
) -> ConfidenceRecordV1:
    return ConfidenceRecordV1(
        classes=origin.classes,
        alpha=alpha,
        checkpoint_sha256=origin.checkpoint_sha256,
        validation_digest=origin.validation_digest,
        divided_by=by,
        temperature=temperature,
        conformal=thresholds,
    )


def _temperature(windows: Predictions, classes: Sequence[str]) -> TemperatureRecord:
    found = temperature_scaling.fit_temperature(windows.logits, windows.y)
    return TemperatureRecord(
        value=found.value,
        at_bound=found.at_bound,
        log_loss_before=found.before,
        log_loss_after=found.after,
        fitted_on=fitted_on(windows, classes),
    )


def choose_ranks(p: Floats, y: Ints, alpha: float) -> Ranks:
    """Return the raps penalty with the smallest mean set size, on windows that no threshold is fitted on.

    `free` is the (1 - alpha) quantile of the rank of the true class. Ties go to the smaller penalty.
    """
    order = np.argsort(-p, axis=1, kind="stable")
    rank = 1 + np.argmax(order == y[:, None], axis=1)
    free = conformal.threshold(rank.astype(np.float64), alpha)
    if free is None:
        return NO_PENALTY
    choices = [Ranks(penalty, int(free)) for penalty in PENALTIES]
    return min(choices, key=lambda ranks: _mean_size(scores(p, "raps", ranks), y, alpha))


def _mean_size(scored: Floats, y: Ints, alpha: float) -> float:
    return float(
        conformal.sets_of(scored, conformal.threshold(conformal.true_scores(scored, y), alpha)).sum(axis=1).mean()
    )


def coverage_band(fitted: int, alpha: float, level: float, tested: int | None = None) -> CoverageBand:
    """Return the range of the coverage of thresholds fitted on `fitted` exchangeable windows.

    Over all future windows the coverage has the distribution Beta(n + 1 - l, l), l = floor((n + 1) alpha) (Vovk 2012);
    over `tested` windows, the corresponding beta-binomial distribution. Equal scores, common with a quantizer, increase
    the coverage.
    """
    b = conformal.missed(fitted, alpha)
    if not b:  # every set contains every class
        return CoverageBand(low=1.0, high=1.0, level=level)
    tails = ((1 - level) / 2, (1 + level) / 2)
    a = fitted + 1 - b
    low, high = _beta_quantiles(a, b, tails) if tested is None else _beta_binomial_quantiles(a, b, tested, tails)
    return CoverageBand(low=low, high=high, level=level)


def _beta_quantiles(a: int, b: int, tails: Sequence[float]) -> list[float]:
    """Invert P(Beta(a, b) <= x) = P(Binomial(a + b - 1, x) >= a) by bisection."""
    n = a + b - 1
    k = np.arange(n)
    choose = np.concatenate([[0.0], np.cumsum(np.log((n - k) / (k + 1)))])[a:]  # log C(n, i), i >= a
    hits = np.arange(a, n + 1)

    def quantile(tail: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(HALVINGS):
            x = (low + high) / 2
            reached = np.exp(choose + hits * math.log(x) + (n - hits) * math.log1p(-x)).sum()
            low, high = (x, high) if reached < tail else (low, x)
        return (low + high) / 2

    return [quantile(tail) for tail in tails]


def _beta_binomial_quantiles(a: int, b: int, tested: int, tails: Sequence[float]) -> list[float]:
    k = np.arange(tested)
    steps = np.log((tested - k) / (k + 1) * (k + a) / (tested - k - 1 + b))  # of the log probability of k hits
    log_p = np.concatenate([[0.0], np.cumsum(steps)])
    reached = np.cumsum(np.exp(log_p - log_p.max()))
    return [float(np.searchsorted(reached / reached[-1], tail)) / tested for tail in tails]


# Apply and measure


def apply(logits: NDArray[np.float32], record: ConfidenceRecordV1) -> Answers:
    """Return calibrated probabilities of logits (N, K), and the prediction sets of every method."""
    p = probabilities(logits, record.temperature.value)
    fitted = record.conformal
    if isinstance(fitted, Reason):
        return Answers(p, {})
    ranks = Ranks(fitted.raps_penalty, fitted.raps_free)
    limits: dict[SetName, float | None] = {"lac": fitted.lac, "aps": fitted.aps, "raps": fitted.raps}
    return Answers(p, {name: conformal.sets_of(scores(p, name, ranks), limit) for name, limit in limits.items()})


def measure_calibration(
    predictions: Predictions, record: ConfidenceRecordV1, settings: EvaluationSettings
) -> ConfidenceMetricsV1:
    """Return the calibration and coverage of predictions that the record was not fitted on, N >= 1."""
    return ConfidenceMetricsV1(
        alpha=record.alpha,
        before=temperature_scaling.measure_calibration_error(predictions, settings),
        after=temperature_scaling.measure_calibration_error(predictions, settings, record.temperature.value),
        sets=_measure_sets(predictions, record, settings),
    )


def _measure_sets(
    predictions: Predictions, record: ConfidenceRecordV1, settings: EvaluationSettings
) -> dict[SetName, SetMetricsV1] | Reason:
    fitted = record.conformal
    if isinstance(fitted, Reason):
        return fitted
    windows, tested = fitted.fitted_on.windows, len(predictions.y)
    expected = coverage_band(windows, record.alpha, settings.level, tested)
    return {
        name: _measure_method(sets, predictions, record.classes, expected, settings)
        for name, sets in apply(predictions.logits, record).sets.items()
    }


def _measure_method(
    sets: NDArray[np.bool_],
    predictions: Predictions,
    classes: Sequence[str],
    expected: CoverageBand,
    settings: EvaluationSettings,
) -> SetMetricsV1:
    """Return coverage and size of the sets (N, K) of N >= 1 windows; `expected` is the range for N windows."""
    subjects, member = np.unique(predictions.subject, return_inverse=True)
    held, sizes = sets[np.arange(len(sets)), predictions.y], sets.sum(axis=1)
    return SetMetricsV1(
        coverage=float(held.mean()),
        mean_size=float(sizes.mean()),
        empty=float((sizes == 0).mean()),
        singletons=float((sizes == 1).mean()),
        interval=_interval(held, member, settings),
        expected=expected,
        per_class=conformal.rows(classes, predictions.y, held, sizes),
        per_subject=conformal.rows(subjects.tolist(), member, held, sizes),
    )


def _interval(held: NDArray[np.bool_], member: Ints, settings: EvaluationSettings) -> Interval | NoInterval:
    windows, hits = np.bincount(member), np.bincount(member, held)
    times = bootstrap.draws(len(windows), settings)
    if isinstance(times, NoInterval):
        return times
    return bootstrap.interval((times @ hits) / (times @ windows), len(windows), settings)
