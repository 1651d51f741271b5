"""Cross-validation by subject: one training a fold, and what all of them say of windows they did not see."""

from typing import Annotated, Literal

from pydantic import Field

from modelreg.records.base import Count, Name, Record, Sha256, Share
from modelreg.records.calibration import CalibrationMetrics
from modelreg.records.metrics import EvaluationSettings, Metrics

ProtocolName = Literal["loso", "kfold-subject"]
SpreadName = Literal["accuracy", "balanced_accuracy", "macro_f1", "ece", "ece_after"]
SPREAD: tuple[SpreadName, ...] = ("accuracy", "balanced_accuracy", "macro_f1", "ece", "ece_after")


class FoldRecord(Record):
    """One fold: who was tested by a model that never saw them, and how well."""

    name: Name  # of its folder
    tested: tuple[Name, ...]
    validated: tuple[Name, ...]
    windows: Count
    accuracy: Share
    balanced_accuracy: Share
    macro_f1: Share
    ece: Share  # bins of equal mass
    ece_after: Share  # the same, at the fold's own temperature
    temperature: float
    coverage: Share | None  # of the sets of method lac; null: the validation part has no two recordings
    checkpoint_sha256: Sha256
    predictions_sha256: Sha256


class Spread(Record):
    """A metric over the folds, each counted once whatever its size."""

    mean: float
    deviation: Annotated[float, Field(ge=0)]  # standard deviation of the sample
    lowest: float
    highest: float


class CrossValidation(Record):
    """crossval.json of a run: its configuration, trained again for each fold."""

    schema_version: Literal[1] = 1
    protocol: ProtocolName
    quoted: Literal["holdout"] = "holdout"  # what the card quotes: its numbers are of the weights that are released
    model: Name
    classes: tuple[Name, ...]
    settings: EvaluationSettings
    folds: Annotated[tuple[FoldRecord, ...], Field(min_length=2)]
    pooled: Metrics  # of all out-of-fold predictions together; codes are of each fold alone, so there are none here
    calibrated: CalibrationMetrics  # of the same, each fold's logits divided by its own temperature
    spread: dict[SpreadName, Spread]
