"""Calibration of schema version 1, as modelreg 0.2 wrote it: released documents are read and verified by these records.

Temperature and thresholds were fitted on different halves of the validation split, and always applied.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from modelreg.records.base import Count, Name, Record, Sha256, Share
from modelreg.records.calibration_parts import CalibrationMetrics, CoverageRow, FittedWindows, NonNegative
from modelreg.records.intervals import Interval, NoInterval, Reason

SetName = Literal["lac", "aps", "raps"]
SETS: tuple[SetName, ...] = ("lac", "aps", "raps")


class TemperatureRecord(Record):
    """p = softmax(logits / value), fitted by the log loss (Guo 2017)."""

    value: Annotated[float, Field(gt=0)]
    at_bound: bool  # the log loss would decrease further beyond the bounds of the search
    log_loss_before: NonNegative  # on the windows of fitted_on
    log_loss_after: NonNegative
    fitted_on: FittedWindows


class CoverageBand(Record):
    """The range of a coverage with probability `level`, if all windows are exchangeable."""

    low: Share
    high: Share
    level: Share


class ThresholdsRecord(Record):
    """Split-conformal thresholds: a class is in the set if its score is at most the threshold.

    null: too few windows for this alpha, so every set contains every class. The module
    modelreg/evaluation/calibration_v1.py defines the scores.
    """

    lac: float | None
    aps: float | None
    raps: float | None
    raps_penalty: NonNegative  # per rank above raps_free; both are chosen on the windows of the temperature
    raps_free: Count
    coverage: CoverageBand  # of these thresholds on new windows: a Beta distribution
    fitted_on: FittedWindows


class ConfidenceRecordV1(Record):
    """calibration.json, schema version 1: temperature and thresholds, fitted on the validation split."""

    schema_version: Literal[1] = 1
    classes: Annotated[tuple[Name, ...], Field(min_length=2)]
    alpha: Annotated[float, Field(gt=0, lt=1)]  # largest allowed share of sets without the true class
    checkpoint_sha256: Sha256  # of the weights that computed the logits
    validation_digest: Sha256  # of the validation split, as in data.json
    divided_by: (
        Literal["subject", "recording"] | None
    )  # how windows were divided for temperature and thresholds; null: not divided
    temperature: TemperatureRecord
    conformal: ThresholdsRecord | Reason

    @model_validator(mode="after")
    def _apart(self) -> "ConfidenceRecordV1":
        if isinstance(self.conformal, Reason):
            return self
        shared = set(self.temperature.fitted_on.recordings) & set(self.conformal.fitted_on.recordings)
        if shared or self.divided_by is None:
            raise ValueError(
                f"temperature and thresholds were fitted on the same recordings: {', '.join(sorted(shared))}"
            )
        return self


class SetMetricsV1(Record):
    """Coverage and size of the prediction sets of one method."""

    coverage: Share
    mean_size: NonNegative
    empty: Share  # share of sets without a class
    singletons: Share
    interval: Interval | NoInterval  # of the coverage, over subjects
    expected: CoverageBand  # of the coverage of this number of windows, if exchangeable with those of fitted_on
    per_class: dict[Name, CoverageRow]
    per_subject: dict[Name, CoverageRow]


class ConfidenceMetricsV1(Record):
    """The effect of calibration.json on a split that it was not fitted on."""

    alpha: Annotated[float, Field(gt=0, lt=1)]
    before: CalibrationMetrics  # without temperature scaling
    after: CalibrationMetrics  # with temperature scaling
    sets: dict[SetName, SetMetricsV1] | Reason
