"""Fit calibration.json on predictions for unseen subjects, apply it to logits, and judge it on subjects left out.

Two kinds of predictions are fitted on, and judged:

- of a hold-out run: fitted on the validation split, judged on the test split;
- out-of-fold predictions of every subject, each by a model that never saw it: fitted on all, and judged by leaving each
  subject out: temperature and thresholds of a subject are then fitted on all others.

Temperature scaling is applied only where it helps subjects that it was not fitted on. Whether it is applied is decided
on all fitted subjects. `apply` needs numpy and the record only: devices use it. Letters: N windows, K classes.
"""

from typing import Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from modelreg.evaluation import calibration_v1, conformal, risk_coverage, temperature_scaling, tolerance
from modelreg.evaluation.calibration_parts import Origin, digest, fitted_on, probabilities
from modelreg.evaluation.metrics import Floats, Ints, Predictions
from modelreg.evaluation.temperature_scaling import Temperature
from modelreg.records.calibration import (
    SETS,
    AnyConfidenceRecord,
    ConfidenceMetrics,
    ConfidenceRecord,
    NoThreshold,
    Outcome,
    SetKind,
    SetThresholds,
    SubjectGain,
    TemperatureDecision,
    TemperatureFit,
    Threshold,
)
from modelreg.records.calibration_v1 import ConfidenceMetricsV1, ConfidenceRecordV1, ThresholdsRecord
from modelreg.records.metrics import EvaluationSettings

__all__ = ["Answers", "Origin", "apply", "fit_calibration", "limit_of", "measure_calibration", "probabilities"]

ALPHA = 0.1
# The gain must exceed its standard error this many times: the one-sided t test of a gain above 0, at 6 % for 5
# subjects, 4 % for 10 and 2 % for many. A temperature without an effect has a gain below 0, so fewer are accepted: 6 of
# 400 simulated models of 5 subjects, 1 of 400 of 10. A factor of 1 would accept one in six of a gain of 0.
FACTOR = 2.0
SUBJECTS = 5  # fewer give a standard error that is itself unknown by more than a third; intervals need as many

_REASONS: dict[Outcome, str] = {  # calibration.json stores them and `verify` compares them: they must not change
    "applied": "the log loss of subjects left out of the fit improves by more than 2 standard errors",
    "declined": "the log loss of subjects left out of the fit does not improve by more than 2 standard errors",
    "at_bound": "a fit ended at a bound of its search, 0.05 to 20.1",
}


class Answers(NamedTuple):
    """Probabilities at the temperature that is applied, and prediction sets of windows."""

    probabilities: Floats  # (N, K)
    sets: NDArray[np.bool_] | None  # (N, K); None: no threshold of this kind


# Fit


def fit_calibration(predictions: Predictions, origin: Origin, *, alpha: float = ALPHA) -> ConfidenceRecord:
    """Fit temperature and thresholds on predictions for subjects that the model did not see, N >= 1.

    The order of the windows does not matter.
    """
    predictions = _in_order(predictions)
    subjects, member = np.unique(predictions.subject, return_inverse=True)
    temperature = _fit_temperature(predictions, subjects.tolist(), member)
    scored = 1 - probabilities(predictions.logits, temperature.value)
    return ConfidenceRecord(
        classes=origin.classes,
        alpha=alpha,
        checkpoint_sha256=origin.checkpoint_sha256,
        validation_digest=origin.validation_digest,
        fitted_on=fitted_on(predictions, origin.classes),
        temperature=temperature,
        sets=_thresholds(conformal.true_scores(scored, predictions.y), member, alpha),
    )


def _in_order(predictions: Predictions) -> Predictions:
    """Sort windows by recording and start; windows of the same place by their values."""
    values = (predictions.y, *predictions.logits.T)
    return predictions.rows(np.lexsort((*values, predictions.start, predictions.recording, predictions.subject)))


def _fit_temperature(predictions: Predictions, subjects: list[str], member: Ints) -> TemperatureFit:
    """Fit the temperature on all subjects, and decide by its effect on each subject left out of the fit."""
    whole = temperature_scaling.fit_temperature(predictions.logits, predictions.y)
    gains = _subject_gains(predictions, subjects, member) if len(subjects) > 1 else {}
    each = np.array([row.log_loss_before - row.log_loss_after for row in gains.values()])
    gain, error = (float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each)))) if gains else (None, None)
    outcome, reason = _decide(whole, gains, gain, error, len(subjects))
    return TemperatureFit(
        value=whole.value if outcome == "applied" else 1.0,
        outcome=outcome,
        reason=reason,
        fitted=whole.value,
        at_bound=whole.at_bound,
        gain=gain,
        error=error,
        factor=FACTOR,
        subjects=len(subjects),
        subjects_needed=SUBJECTS,
        per_subject=gains,
    )


def _subject_gains(predictions: Predictions, subjects: list[str], member: Ints) -> dict[str, SubjectGain]:
    gains = {}
    for number, name in enumerate(subjects):
        mine, others = predictions.rows(member == number), predictions.rows(member != number)
        found = temperature_scaling.fit_temperature(others.logits, others.y)
        before, after = (temperature_scaling.log_loss(mine.logits, mine.y, t) for t in (1.0, found.value))
        gains[name] = SubjectGain(
            windows=len(mine.y),
            temperature=found.value,
            at_bound=found.at_bound,
            log_loss_before=before,
            log_loss_after=after,
        )
    return gains


def _decide(
    whole: Temperature, gains: dict[str, SubjectGain], gain: float | None, error: float | None, subjects: int
) -> tuple[Outcome, str]:
    """Return whether temperature scaling is applied, and why."""
    outcome: Outcome
    if whole.at_bound or any(row.at_bound for row in gains.values()):
        outcome = "at_bound"
    elif gain is None or error is None:
        return "too_few_subjects", "it was fitted on one subject, so its effect on another subject cannot be judged"
    elif subjects < SUBJECTS:
        why = (
            f"it was fitted on {subjects} subjects, and its effect on another subject is judged on at least {SUBJECTS}"
        )
        return "too_few_subjects", why
    else:
        outcome = "applied" if gain > FACTOR * error else "declined"
    return outcome, _REASONS[outcome]


def _thresholds(own: Floats, member: Ints, alpha: float, but: str = "") -> SetThresholds:
    """Return both thresholds of the scores (N,) of true classes; `member` (N,) are their subjects."""
    return SetThresholds(
        pooled=_threshold(conformal.threshold(own, alpha), "windows", len(own), alpha, but),
        new_subject=_threshold(
            conformal.hierarchical_threshold(own, member, alpha), "subjects", len(np.unique(member)), alpha, but
        ),
    )


def _threshold(
    limit: float | None, units: Literal["windows", "subjects"], count: int, alpha: float, but: str
) -> Threshold | NoThreshold:
    if limit is not None:
        return Threshold(limit=limit + tolerance.SCORE)
    needed = conformal.units_needed(alpha)
    return NoThreshold(
        reason=f"a level of {100 * (1 - alpha):.4g} % needs at least {needed} {units}; available: {count}{but}",
        units=units,
        count=count,
        needed=needed,
        highest_level=conformal.highest_level(count),
    )


# Apply


def apply(logits: NDArray[np.float32], record: AnyConfidenceRecord, kind: SetKind = "pooled") -> Answers:
    """Return the probabilities of logits (N, K), and their prediction sets of one kind."""
    p = probabilities(logits, record.temperature.value)
    limit = limit_of(record, kind)
    return Answers(p, None if isinstance(limit, str) else conformal.sets_of(1 - p, limit))


def limit_of(record: AnyConfidenceRecord, kind: SetKind = "pooled") -> float | str:
    """Return the threshold of 1 - p of prediction sets, or why there is none.

    A document of schema version 1 has a pooled threshold of its score `lac`, which is infinite for too few windows.
    """
    if isinstance(record, ConfidenceRecord):
        found = record.sets.pooled if kind == "pooled" else record.sets.new_subject
        return found.limit if isinstance(found, Threshold) else found.reason
    if kind == "new_subject":
        return "calibration.json is of schema version 1, which has no thresholds for a new subject"
    if not isinstance(record.conformal, ThresholdsRecord):
        return record.conformal.reason
    return np.inf if record.conformal.lac is None else record.conformal.lac


# Judge


@overload
def measure_calibration(
    predictions: Predictions, record: ConfidenceRecord, settings: EvaluationSettings
) -> ConfidenceMetrics: ...


@overload
def measure_calibration(
    predictions: Predictions, record: ConfidenceRecordV1, settings: EvaluationSettings
) -> ConfidenceMetricsV1: ...


def measure_calibration(
    predictions: Predictions, record: AnyConfidenceRecord, settings: EvaluationSettings
) -> ConfidenceMetrics | ConfidenceMetricsV1:
    """Return calibration and coverage on subjects that the record was not fitted on, N >= 1.

    If the record was fitted on these same predictions, each subject is left out of the fit that judges it.
    """
    if isinstance(record, ConfidenceRecordV1):
        return calibration_v1.measure_calibration(predictions, record, settings)
    predictions = _in_order(predictions)
    same = digest(predictions) == record.fitted_on.predictions_sha256
    judged = _left_out(predictions, record) if same else _held_out(predictions, record)
    before = temperature_scaling.measure_calibration_error(predictions, settings)
    scaled = record.temperature.outcome == "applied"
    correct = predictions.logits.argmax(axis=1) == predictions.y
    return ConfidenceMetrics(
        alpha=record.alpha,
        judged_on="left_out_subjects" if same else "test_split",
        temperature=TemperatureDecision(
            **{name: getattr(record.temperature, name) for name in TemperatureDecision.model_fields}
        ),
        before=before,
        after=temperature_scaling.measure_calibration_error(
            predictions, settings, record.temperature.value, judged.temperature
        )
        if scaled
        else before,
        sets={
            kind: sets
            if isinstance(sets := judged.sets[kind], NoThreshold)
            else conformal.measure(sets, predictions, record.classes, settings)
            for kind in SETS
        },
        risk_coverage=risk_coverage.measure(judged.probabilities.max(axis=1), correct),
    )


class _Judged(NamedTuple):
    """What a calibration that was fitted on other subjects gives for windows."""

    temperature: Floats  # (N,)
    probabilities: Floats  # (N, K)
    sets: dict[SetKind, NDArray[np.bool_] | NoThreshold]  # (N, K)


def _held_out(predictions: Predictions, record: ConfidenceRecord) -> _Judged:
    p = probabilities(predictions.logits, record.temperature.value)
    temperature = np.full(len(p), record.temperature.value)
    return _Judged(temperature, p, {kind: _sets(1 - p, getattr(record.sets, kind)) for kind in SETS})


def _left_out(predictions: Predictions, record: ConfidenceRecord) -> _Judged:
    """Apply to each subject the temperature and the thresholds that are fitted on all others."""
    subjects, member = np.unique(predictions.subject, return_inverse=True)
    temperature = np.ones(len(member))
    p = probabilities(predictions.logits, 1.0)
    scaled = p
    sets: dict[SetKind, NDArray[np.bool_] | NoThreshold] = {kind: np.zeros(p.shape, dtype=bool) for kind in SETS}
    for number, name in enumerate(subjects.tolist()):
        mine = member == number
        if record.temperature.outcome == "applied":
            value = record.temperature.per_subject[name].temperature
            temperature[mine], scaled = value, probabilities(predictions.logits, value)
            p[mine] = scaled[mine]
        own = conformal.true_scores(1 - scaled, predictions.y)
        thresholds = _thresholds(own[~mine], member[~mine], record.alpha, " with one subject left out")
        for kind in SETS:
            found, whole = _sets(1 - scaled[mine], getattr(thresholds, kind)), sets[kind]
            if isinstance(found, NoThreshold) or isinstance(whole, NoThreshold):
                sets[kind] = found if isinstance(found, NoThreshold) else whole
            else:
                whole[mine] = found
    return _Judged(temperature, p, sets)


def _sets(scored: Floats, found: Threshold | NoThreshold) -> NDArray[np.bool_] | NoThreshold:
    return found if isinstance(found, NoThreshold) else conformal.sets_of(scored, found.limit)
