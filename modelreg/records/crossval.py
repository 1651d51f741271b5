"""Cross-validation by subject: one training per fold, and the metrics of the out-of-fold predictions."""

from typing import Annotated, Literal

from pydantic import Field

from modelreg.records.base import Count, Name, Record, Sha256, Share
from modelreg.records.calibration_parts import CalibrationMetrics
from modelreg.records.metrics import EvaluationSettings, Metrics, ProtocolName

SpreadName = Literal["accuracy", "balanced_accuracy", "macro_f1", "ece", "ece_after"]
SPREAD: tuple[SpreadName, ...] = ("accuracy", "balanced_accuracy", "macro_f1", "ece", "ece_after")


class FoldRecord(Record):
    """One fold: its test subjects and their metrics."""

    name: Name  # of the folder
    tested: tuple[Name, ...]
    validated: tuple[Name, ...]
    windows: Count
    accuracy: Share
    balanced_accuracy: Share
    macro_f1: Share
    ece: Share  # equal-mass bins
    ece_after: Share  # after temperature scaling with the temperature of the fold
    temperature: float
    coverage: Share | None  # of the LAC prediction sets; null: the validation split has one recording
    checkpoint_sha256: Sha256
    predictions_sha256: Sha256


class Spread(Record):
    """A metric over the folds; each fold has the same weight."""

    mean: float
    deviation: Annotated[float, Field(ge=0)]  # standard deviation of the sample
    lowest: float
    highest: float


class CrossValidation(Record):
    """crossval.json of a run: its configuration, trained once per fold."""

    schema_version: Literal[1] = 1
    protocol: ProtocolName
    quoted: Literal["holdout"] = "holdout"  # the metrics in the model card: those of the released weights
    model: Name
    classes: tuple[Name, ...]
    settings: EvaluationSettings
    folds: Annotated[tuple[FoldRecord, ...], Field(min_length=2)]
    pooled: Metrics  # over all out-of-fold predictions; without codes, which differ between folds
    calibrated: CalibrationMetrics  # of the same predictions, after temperature scaling per fold
    spread: dict[SpreadName, Spread]
