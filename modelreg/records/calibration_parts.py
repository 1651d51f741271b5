"""Parts of the records of calibration that every schema version has: calibration errors, fitted windows, coverage."""

from typing import Annotated

from pydantic import Field

from modelreg.records.base import Count, Name, Record, Sha256, Share
from modelreg.records.intervals import Interval, NoInterval

NonNegative = Annotated[float, Field(ge=0)]


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
    """The windows that parameters were fitted on."""

    subjects: Annotated[tuple[Name, ...], Field(min_length=1)]
    recordings: Annotated[tuple[Name, ...], Field(min_length=1)]
    windows: Annotated[int, Field(ge=1)]
    class_windows: dict[Name, Count]
    predictions_sha256: Sha256  # over logits, labels, subjects, recordings and starts; since version 2 in their order


class CoverageRow(Record):
    """The sets of one class or one subject."""

    windows: Count
    coverage: Share | None  # null: no windows
    mean_size: NonNegative | None
