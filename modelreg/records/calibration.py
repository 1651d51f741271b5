"""Calibration, schema version 2: temperature scaling that is applied where it helps, and prediction sets.

Both are judged on subjects that they were not fitted on. Documents of modelreg 0.2 have the records of calibration_v1.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from modelreg import files
from modelreg.records.base import Count, Name, Record, Sha256, Share
from modelreg.records.calibration_parts import CalibrationMetrics, CoverageRow, FittedWindows, NonNegative
from modelreg.records.calibration_v1 import ConfidenceRecordV1
from modelreg.records.intervals import Interval, NoInterval

Positive = Annotated[float, Field(gt=0)]
Outcome = Literal["applied", "declined", "too_few_subjects", "at_bound"]
SetKind = Literal["pooled", "new_subject"]
SETS: tuple[SetKind, ...] = ("pooled", "new_subject")
AbstainRule = Literal["never", "empty", "not_single"]
ABSTAIN_RULES: tuple[AbstainRule, ...] = ("never", "empty", "not_single")


class TemperatureDecision(Record):
    """Whether temperature scaling is applied, and why: p = softmax(logits / value) (Guo 2017).

    It is applied if the mean over subjects of the gain exceeds `factor` times its standard error. The gain of a subject
    is the decrease of its log loss at the temperature that was fitted on all other subjects.
    """

    value: Positive  # that is applied; 1 unless the outcome is `applied`
    outcome: Outcome
    reason: str
    fitted: Positive  # on the windows of all subjects
    gain: float | None  # mean over subjects, in nats; null: one subject
    error: NonNegative | None  # standard error of the gain
    factor: NonNegative
    subjects: Count
    subjects_needed: Count

    @model_validator(mode="after")
    def _has_its_value(self) -> "TemperatureDecision":
        if self.value != (self.fitted if self.outcome == "applied" else 1.0):
            raise ValueError("value must be that of `fitted` if the outcome is `applied`, else 1")
        return self


class SubjectGain(Record):
    """The effect of a temperature on one subject, which it was not fitted on."""

    windows: Count
    temperature: Positive  # fitted on the windows of all other subjects
    at_bound: bool  # the log loss would decrease further beyond the bounds of the search
    log_loss_before: NonNegative  # mean over the windows of the subject, in nats
    log_loss_after: NonNegative  # with this temperature


class TemperatureFit(TemperatureDecision):
    """A decision, and the fits behind it."""

    at_bound: bool  # of `fitted`
    per_subject: dict[Name, SubjectGain]  # empty: one subject


class Threshold(Record):
    """A class is in the prediction set of a window if 1 - its probability is at most `limit`."""

    limit: float


class NoThreshold(Record):
    """Why no threshold promises the level 1 - alpha: there are too few windows, or too few subjects."""

    reason: str
    units: Literal["windows", "subjects"]
    count: Count
    needed: Count
    highest_level: Share  # that so many can promise: count / (count + 1)


class SetThresholds(Record):
    """Conformal thresholds (modelreg/evaluation/conformal.py)."""

    pooled: Threshold | NoThreshold  # holds on average over windows like the fitted ones
    new_subject: Threshold | NoThreshold  # holds for a window of a new subject: each subject is one unit


class ConfidenceRecord(Record):
    """calibration.json: temperature scaling and prediction sets, fitted on predictions for unseen subjects."""

    schema_version: Literal[2] = 2
    classes: Annotated[tuple[Name, ...], Field(min_length=2)]
    alpha: Annotated[float, Field(gt=0, lt=1)]  # largest allowed share of sets without the true class
    checkpoint_sha256: Sha256  # of the weights that the calibration belongs to
    validation_digest: Sha256  # of the validation split, as in data.json
    score: Literal["lac"] = "lac"  # of a class: 1 - its probability (Sadinle 2019)
    fitted_on: FittedWindows
    temperature: TemperatureFit
    sets: SetThresholds


AnyConfidenceRecord = ConfidenceRecord | ConfidenceRecordV1


def kind_of(data: bytes, where: str) -> type[AnyConfidenceRecord]:
    """Return the record that reads a calibration.json, by its schema version. Raises InputError."""
    if len(data) > ConfidenceRecord.SIZE_LIMIT:
        return ConfidenceRecord  # which refuses it
    document: Any = files.parse_json(data, where)
    first = isinstance(document, dict) and document.get("schema_version") == 1
    return ConfidenceRecordV1 if first else ConfidenceRecord


class SetMetrics(Record):
    """Coverage and size of prediction sets on subjects that they were not fitted on."""

    coverage: Share  # of all windows
    subject_mean: Share  # mean of the coverages of the subjects
    interval: Interval | NoInterval  # of subject_mean, over subjects
    mean_size: NonNegative
    empty: Share  # share of sets without a class
    singletons: Share  # share of sets with one class
    singleton_accuracy: Share | None  # of these; null: there are none
    per_class: dict[Name, CoverageRow]
    per_subject: dict[Name, CoverageRow]


class RiskPoint(Record):
    """The error if only the most confident windows are answered."""

    answered: Share  # of all windows
    confidence: Share  # the lowest of the answered windows
    error: Share  # share of the answered windows


class RiskCoverage(Record):
    """Error against the share of answered windows, most confident first (El-Yaniv, Wiener 2010)."""

    area: Share  # mean over k of the error of the k most confident windows
    points: Annotated[tuple[RiskPoint, ...], Field(min_length=1)]


class ConfidenceMetrics(Record):
    """The effect of calibration.json on subjects that it was not fitted on.

    Measured on the test split, or on the fitted predictions themselves with each subject left out of the fit.
    """

    alpha: Annotated[float, Field(gt=0, lt=1)]
    judged_on: Literal["test_split", "left_out_subjects"]
    temperature: TemperatureDecision
    before: CalibrationMetrics  # without temperature scaling
    after: CalibrationMetrics  # with what is applied; equal to `before` if it is not
    sets: dict[SetKind, SetMetrics | NoThreshold]
    risk_coverage: RiskCoverage
