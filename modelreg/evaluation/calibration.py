"""calibration.json: fitted on the validation part, applied to logits, judged on a part it never saw.

The temperature and the thresholds are fitted on different windows of the validation part: those of different subjects
where there are several, else of different recordings. Windows of one recording are too alike to count as different.
`apply` needs numpy and the record alone: it is what a device does. Letters: N windows, K classes.
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
    """What the predictions of the validation part came from."""

    classes: tuple[str, ...]
    checkpoint_sha256: str  # of the weights
    validation_digest: str  # of the part, as data.json has it


class Division(NamedTuple):
    """The windows of the validation part, divided."""

    by: Literal["subject", "recording"]
    temperature: NDArray[np.bool_]  # (N,) whether the temperature is fitted on it
    conformal: NDArray[np.bool_]  # (N,) whether the thresholds are: all others


class Answers(NamedTuple):
    """What windows are, and what else they may be."""

    probabilities: Floats  # (N, K)
    sets: dict[SetName, NDArray[np.bool_]]  # (N, K) by method; none where no thresholds were fitted


def divide(validation: Predictions) -> Division | Reason:
    """Divide windows by subject, or by recording where there is one subject; or say why they cannot be.

    Subjects (recordings), the largest first, join the half that leaves the classes of both halves more alike; where
    both do, the conformal one. So a class that has one recording has it where the thresholds are fitted.
    """
    by: Literal["subject", "recording"] = "subject" if len(set(validation.subject.tolist())) > 1 else "recording"
    names, member = np.unique(getattr(validation, by), return_inverse=True)
    if len(names) < 2:
        return Reason(reason="the validation part has one recording; temperature and thresholds need two")
    counts = np.zeros((len(names), validation.logits.shape[1]), dtype=np.int64)
    np.add.at(counts, (member, validation.y), 1)
    chosen = _halve(counts)[member]
    if chosen.all():
        what = "each class has windows of one recording; temperature and thresholds need two: validate on two subjects"
        return Reason(reason=what)
    return Division(by, ~chosen, chosen)


def _halve(counts: Ints) -> NDArray[np.bool_]:
    """Say of each unit with its windows of each class (U, K) whether it joins the conformal half."""
    chosen = np.zeros(len(counts), dtype=bool)
    lead = np.zeros(counts.shape[1], dtype=np.int64)  # of the conformal half, by class
    for unit in np.argsort(-counts.sum(axis=1), kind="stable"):
        chosen[unit] = np.abs(lead + counts[unit]).sum() <= np.abs(lead - counts[unit]).sum()
        lead += counts[unit] if chosen[unit] else -counts[unit]
    return chosen


def fit_calibration(validation: Predictions, origin: Origin, *, level: float, alpha: float = ALPHA) -> ConfidenceRecord:
    """Fit on the predictions of the validation part, N >= 1; `level` is that of the band of coverage.

    Where the windows cannot be divided the temperature is fitted on all of them, and the record says why there are
    no thresholds.
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
    """Return calibrated probabilities of logits (N, K), and the sets of every method."""
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
    """Measure what the record is worth on predictions it was not fitted on, N >= 1."""
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
