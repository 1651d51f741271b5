"""Calibration: calibration errors, temperature scaling, conformal prediction sets and their coverage."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from modelreg.records.base import Count, Name, Record, Sha256, Share
from modelreg.records.intervals import Interval, NoInterval, Reason

NonNegative = Annotated[float, Field(ge=0)]
SetName = Literal["lac", "aps", "raps"]
SETS: tuple[SetName, ...] = ("lac", "aps", "raps")


class ReliabilityBin(Record):
    """One bin of the reliability diagram."""

    count: Count
    confidence: Share
    accuracy: Share


class CalibrationError(Record):
    """A calibration error, the error expected from a perfectly calibrated model, and an interval."""

    error: NonNegative
    bins: Count  # that contain windows; summed over the classes if each class has its own bins
    null_mean: NonNegative  # mean error of a perfectly calibrated model with these probabilities
    null_high: NonNegative  # 95 % quantile of that error: a smaller error is not evidence of miscalibration
    interval: Interval | NoInterval  # over subjects; biased upwards, because resampling increases an absolute value


class Reliability(CalibrationError):
    """A calibration error of the top class, and its reliability diagram."""

    table: tuple[ReliabilityBin, ...]  # bins with windows


class BrierParts(Record):
    """brier = reliability.error - resolution + uncertainty + within_bins; each is a sum over classes.

    The decomposition of Murphy 1973 requires equal forecasts within a bin. within_bins is the remainder for unequal
    forecasts (Stephenson, Coelho, Jolliffe 2008): their variance minus twice their covariance with the outcomes.
    """

    reliability: CalibrationError
    resolution: NonNegative
    resolution_interval: Interval | NoInterval
    uncertainty: NonNegative
    within_bins: float


class CalibrationMetrics(Record):
    """The calibration of probabilities at one temperature."""

    temperature: Annotated[float, Field(gt=0)]
    log_loss: NonNegative
    brier: Annotated[float, Field(ge=0, le=2)]
    equal_width: Reliability  # ECE of the top class, bins (low, high] of equal width (Naeini 2015)
    equal_mass: Reliability  # ECE of the top class, bins of equal numbers of windows
    class_wise: CalibrationError  # mean over classes of the ECE of each class, equal width (Kull 2019, eq. 3)
    adaptive: CalibrationError  # the same with bins of equal mass (Nixon 2019, ACE)
    parts: BrierParts


class FittedWindows(Record):
    """The windows of the validation split that a parameter was fitted on."""

    subjects: Annotated[tuple[Name, ...], Field(min_length=1)]
    recordings: Annotated[tuple[Name, ...], Field(min_length=1)]
    windows: Annotated[int, Field(ge=1)]
    class_windows: dict[Name, Count]
    predictions_sha256: Sha256  # over logits, labels, subjects, recordings and starts


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
    modelreg/evaluation/conformal.py defines the scores.
    """

    lac: float | None
    aps: float | None
    raps: float | None
    raps_penalty: NonNegative  # per rank above raps_free; both are chosen on the windows of the temperature
    raps_free: Count
    coverage: CoverageBand  # of these thresholds on new windows: a Beta distribution
    fitted_on: FittedWindows


class ConfidenceRecord(Record):
    """calibration.json: temperature and thresholds, fitted on the validation split."""

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
    def _apart(self) -> "ConfidenceRecord":
        if isinstance(self.conformal, Reason):
            return self
        shared = set(self.temperature.fitted_on.recordings) & set(self.conformal.fitted_on.recordings)
        if shared or self.divided_by is None:
            raise ValueError(
                f"temperature and thresholds were fitted on the same recordings: {', '.join(sorted(shared))}"
            )
        return self


class CoverageRow(Record):
    """The sets of one class or one subject."""

    windows: Count
    coverage: Share | None  # null: no windows
    mean_size: NonNegative | None


class SetMetrics(Record):
    """Coverage and size of the prediction sets of one method."""

    coverage: Share
    mean_size: NonNegative
    empty: Share  # share of sets without a class
    singletons: Share
    interval: Interval | NoInterval  # of the coverage, over subjects
    expected: CoverageBand  # of the coverage of this number of windows, if exchangeable with those of fitted_on
    per_class: dict[Name, CoverageRow]
    per_subject: dict[Name, CoverageRow]


class ConfidenceMetrics(Record):
    """The effect of calibration.json on a split that it was not fitted on."""

    alpha: Annotated[float, Field(gt=0, lt=1)]
    before: CalibrationMetrics  # without temperature scaling
    after: CalibrationMetrics  # with temperature scaling
    sets: dict[SetName, SetMetrics] | Reason
