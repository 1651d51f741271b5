"""Fit calibration.json on the validation split, apply it to logits, and measure its effect on another split.

The temperature and the thresholds are fitted on different windows of the validation split: of different subjects if
there are several, else of different recordings. Windows of one recording are too similar to be divided.
`apply` needs numpy and the record only: devices use it. Letters: N windows, K classes.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.evaluation import conformal, temperature_scaling, tolerance
from modelreg.evaluation.metrics import Floats, Ints, Predictions
from modelreg.records.calibration import (
    SETS,
    ConfidenceMetrics,
    ConfidenceRecord,
    FittedWindows,
    SetMetrics,
    SetName,
    TemperatureRecord,
    ThresholdsRecord,
)
from modelreg.records.metrics import EvaluationSettings, Reason

ALPHA = 0.1


class Origin(NamedTuple):
    """The origin of the predictions for the validation split."""

    classes: tuple[str, ...]
    checkpoint_sha256: str  # of the weights
    validation_digest: str  # of the split, as in data.json


class Division(NamedTuple):
    """The windows of the validation split, divided into two halves."""

    by: Literal["subject", "recording"]
    temperature: NDArray[np.bool_]  # (N,) windows for temperature scaling
    conformal: NDArray[np.bool_]  # (N,) windows for the conformal thresholds: all others


class Answers(NamedTuple):
    """Calibrated probabilities and prediction sets of windows."""

    probabilities: Floats  # (N, K)
    sets: dict[SetName, NDArray[np.bool_]]  # (N, K) by method; empty if no thresholds were fitted


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


def fit_calibration(validation: Predictions, origin: Origin, *, level: float, alpha: float = ALPHA) -> ConfidenceRecord:
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
    ranks = conformal.choose_ranks(tuning_p, tuning.y, alpha)
    own = {method: conformal.true_scores(conformal.scores(fitted_p, method, ranks), fitted.y) for method in SETS}
    limits = {method: conformal.threshold(scores, alpha) for method, scores in own.items()}
    thresholds = ThresholdsRecord(
        **{method: None if limit is None else limit + tolerance.SCORE for method, limit in limits.items()},
        raps_penalty=ranks.penalty,
        raps_free=ranks.free,
        coverage=conformal.coverage_band(len(fitted.y), alpha, level),
        fitted_on=_fitted_on(fitted, origin.classes),
    )
    return _record(origin, alpha, division.by, temperature, thresholds)


def _record(
    origin: Origin,
    alpha: float,
    by: Literal["subject", "recording"] | None,
    temperature: TemperatureRecord,
    thresholds: ThresholdsRecord | Reason,
) -> ConfidenceRecord:
    return ConfidenceRecord(
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
        fitted_on=_fitted_on(windows, classes),
    )


def _fitted_on(windows: Predictions, classes: Sequence[str]) -> FittedWindows:
    counts = np.bincount(windows.y, minlength=len(classes)).tolist()
    return FittedWindows(
        subjects=tuple(np.unique(windows.subject).tolist()),
        recordings=tuple(np.unique(windows.recording).tolist()),
        windows=len(windows.y),
        class_windows=dict(zip(classes, counts, strict=True)),
        predictions_sha256=files.sha256_arrays(windows._replace(code=None).arrays()),
    )


def probabilities(logits: NDArray[np.float32], temperature: float) -> Floats:
    """Return softmax(logits / temperature), (N, K)."""
    return np.exp(temperature_scaling.log_probabilities(logits, temperature))


def apply(logits: NDArray[np.float32], record: ConfidenceRecord) -> Answers:
    """Return calibrated probabilities of logits (N, K), and the prediction sets of every method."""
    p = probabilities(logits, record.temperature.value)
    fitted = record.conformal
    if isinstance(fitted, Reason):
        return Answers(p, {})
    ranks = conformal.Ranks(fitted.raps_penalty, fitted.raps_free)
    limits: dict[SetName, float | None] = {"lac": fitted.lac, "aps": fitted.aps, "raps": fitted.raps}
    return Answers(
        p, {name: conformal.sets_of(conformal.scores(p, name, ranks), limit) for name, limit in limits.items()}
    )


def measure_calibration(
    predictions: Predictions, record: ConfidenceRecord, settings: EvaluationSettings
) -> ConfidenceMetrics:
    """Return the calibration and coverage of predictions that the record was not fitted on, N >= 1."""
    return ConfidenceMetrics(
        alpha=record.alpha,
        before=temperature_scaling.measure_calibration_error(predictions, settings),
        after=temperature_scaling.measure_calibration_error(predictions, settings, record.temperature.value),
        sets=_measure_sets(predictions, record, settings),
    )


def _measure_sets(
    predictions: Predictions, record: ConfidenceRecord, settings: EvaluationSettings
) -> dict[SetName, SetMetrics] | Reason:
    fitted = record.conformal
    if isinstance(fitted, Reason):
        return fitted
    windows, tested = fitted.fitted_on.windows, len(predictions.y)
    expected = conformal.coverage_band(windows, record.alpha, settings.level, tested)
    return {
        name: conformal.measure(sets, predictions, record.classes, expected, settings)
        for name, sets in apply(predictions.logits, record).sets.items()
    }
