"""How far confidences can be believed: calibration errors, the temperature, conformal sets and their coverage."""

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
    """A calibration error with what perfect calibration would give on the same windows, and its interval."""

    error: NonNegative
    bins: Count  # that hold windows; of all classes together where each class is binned
    null_mean: NonNegative  # of the error of a perfectly calibrated model with these probabilities
    null_high: NonNegative  # its 95 % quantile: an error below it shows nothing
    interval: Interval | NoInterval  # over subjects; lies high, because resampling adds to an absolute value


class Reliability(CalibrationError):
    """An error of the top class's confidence, and the reliability diagram it is read from."""

    table: tuple[ReliabilityBin, ...]  # bins that hold windows


class BrierParts(Record):
    """brier = reliability.error - resolution + uncertainty + within_bins; each is a sum over classes.

    Murphy 1973 for forecasts that are equal within a bin; what bins of unequal forecasts leave over is
    within_bins (Stephenson, Coelho, Jolliffe 2008): their variance less twice their covariance with the outcomes.
    """

    reliability: CalibrationError
    resolution: NonNegative
    resolution_interval: Interval | NoInterval
    uncertainty: NonNegative
    within_bins: float


class CalibrationMetrics(Record):
    """How well probabilities are calibrated, at one temperature."""

    temperature: Annotated[float, Field(gt=0)]
    log_loss: NonNegative
    brier: Annotated[float, Field(ge=0, le=2)]
    equal_width: Reliability  # ECE of the top class, bins (low, high] of equal width (Naeini 2015)
    equal_mass: Reliability  # ECE of the top class, bins of equal numbers of windows
    class_wise: CalibrationError  # mean over classes of the ECE of each, equal width (Kull 2019, eq. 3)
    adaptive: CalibrationError  # the same with bins of equal mass (Nixon 2019, ACE)
    parts: BrierParts


class FittedWindows(Record):
    """The windows that something was fitted on, all of the validation part."""

    subjects: Annotated[tuple[Name, ...], Field(min_length=1)]
    recordings: Annotated[tuple[Name, ...], Field(min_length=1)]
    windows: Annotated[int, Field(ge=1)]
    class_windows: dict[Name, Count]
    predictions_sha256: Sha256  # over logits, labels, subjects, recordings and starts


class TemperatureRecord(Record):
    """p = softmax(logits / value), fitted by the log loss (Guo 2017)."""

    value: Annotated[float, Field(gt=0)]
    at_bound: bool  # the log loss would fall further beyond the bounds of the search
    log_loss_before: NonNegative  # on the windows it was fitted on
    log_loss_after: NonNegative
    fitted_on: FittedWindows


class CoverageBand(Record):
    """Where a coverage lies with a probability of `level`, if all windows were exchangeable."""

    low: Share
    high: Share
    level: Share


class ThresholdsRecord(Record):
    """Split-conformal thresholds: a class is in the set where its score is at most the threshold.

    null: too few windows for this alpha, every set holds every class. modelreg/evaluation/conformal.py has the scores.
    """

    lac: float | None
    aps: float | None
    raps: float | None
    raps_penalty: NonNegative  # for each rank beyond raps_free; both chosen on the temperature's windows
    raps_free: Count
    coverage: CoverageBand  # of these thresholds on new windows: a Beta distribution
    fitted_on: FittedWindows


class ConfidenceRecord(Record):
    """calibration.json: what turns logits into probabilities and sets. Fitted on the validation part alone."""

    schema_version: Literal[1] = 1
    classes: Annotated[tuple[Name, ...], Field(min_length=2)]
    alpha: Annotated[float, Field(gt=0, lt=1)]  # sets shall miss the true class this often at most
    checkpoint_sha256: Sha256  # of the weights that gave the logits
    validation_digest: Sha256  # of the validation part, as data.json has it
    divided_by: Literal["subject", "recording"] | None  # into temperature and conformal windows; null: not divided
    temperature: TemperatureRecord
    conformal: ThresholdsRecord | Reason

    @model_validator(mode="after")
    def _apart(self) -> "ConfidenceRecord":
        if isinstance(self.conformal, Reason):
            return self
        shared = set(self.temperature.fitted_on.recordings) & set(self.conformal.fitted_on.recordings)
        if shared or self.divided_by is None:
            raise ValueError(f"temperature and thresholds share recordings: {', '.join(sorted(shared))}")
        return self


class CoverageRow(Record):
    """Sets of one class or one subject."""

    windows: Count
    coverage: Share | None  # null: no window
    mean_size: NonNegative | None


class SetMetrics(Record):
    """How often the sets of one method hold the true class, and how large they are."""

    coverage: Share
    mean_size: NonNegative
    empty: Share  # sets without any class
    singletons: Share
    interval: Interval | NoInterval  # of the coverage, over subjects
    expected: CoverageBand  # of the coverage of so many windows, if they were exchangeable with those fitted on
    per_class: dict[Name, CoverageRow]
    per_subject: dict[Name, CoverageRow]


class ConfidenceMetrics(Record):
    """What calibration.json is worth on a part it was not fitted on."""

    alpha: Annotated[float, Field(gt=0, lt=1)]
    before: CalibrationMetrics  # of the plain softmax
    after: CalibrationMetrics  # at the fitted temperature
    sets: dict[SetName, SetMetrics] | Reason
