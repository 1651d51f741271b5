"""eval_metrics.json: metrics computed from recorded predictions for subjects that the predicting model never saw."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from modelreg.records.base import LEFT_OUT, Count, Name, Record, Sha256, Share, setting
from modelreg.records.calibration import ConfidenceMetrics
from modelreg.records.calibration_parts import ReliabilityBin
from modelreg.records.calibration_v1 import ConfidenceMetricsV1
from modelreg.records.data import PartRecord, PartRecords
from modelreg.records.int8 import Int8Summary
from modelreg.records.intervals import Interval, NoInterval, Reason

__all__ = [
    "Baselines",
    "Calibration",
    "ClassMetrics",
    "ClusterUsage",
    "CodeUsage",
    "EvalMetrics",
    "EvaluationSettings",
    "FoldMetrics",
    "Interval",
    "Metrics",
    "NoInterval",
    "Protocol",
    "ProtocolName",
    "Reason",
    "ReliabilityBin",
    "SegmentScores",
    "SubjectMetrics",
    "TemporalMetrics",
]

ProtocolName = Literal["loso", "kfold-subject"]  # those that train a model for each fold of subjects
DEFAULT_FOLDS = 5  # of kfold-subject, if no other number is given


class Bounds(Record):
    """The bounds of a number; null: no bound on that side."""

    min: Annotated[float | None, setting("Lower bound. Null: none.", 2)] = None
    max: Annotated[float | None, setting("Upper bound. Null: none.", 15)] = None

    @model_validator(mode="after")
    def _are_ordered(self) -> "Bounds":
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is above max")
        return self

    def hold(self, value: float) -> bool:
        """Return whether a number is within the bounds."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


class HealthBounds(Record):
    """Bounds whose violation `evaluate` reports, for the parts that a model has. The defaults are conventions."""

    perplexity: Annotated[Bounds, setting("Perplexity of the codes.", {"min": 2})] = Bounds(min=2.0)
    used_share: Annotated[Bounds, setting("Share of the codes that are used.", {"min": 0.1})] = Bounds()
    active_clusters: Annotated[Bounds, setting("Clusters with at least 1 % of the windows.", {"min": 5, "max": 15})] = (
        Bounds(min=5.0, max=15.0)
    )
    mean_duration: Annotated[Bounds, setting("Mean duration of the states.", {"min": 10, "max": 30}, "windows")] = (
        Bounds(min=10.0, max=30.0)
    )


class EvaluationSettings(Record):
    """The evaluation protocol, settings of intervals and of the expected calibration error, and bounds for warnings."""

    protocol: Annotated[
        Literal["holdout", ProtocolName],
        setting(
            "`holdout`: one model, tested on the test split. `kfold-subject` and `loso` (leave one subject out): one "
            "model for each fold of subjects, and a final model trained on all subjects. The metrics are those of the "
            "predictions for each subject by the model of the fold that never saw the subject.",
            "kfold-subject",
            exclude_if=lambda value: value == "holdout",
        ),
    ] = "holdout"
    folds: Annotated[
        Annotated[int, Field(ge=2, le=1000)] | None,
        setting(
            f"Number of folds of `kfold-subject`. Null: {DEFAULT_FOLDS}.",
            10,
            "folds",
            exclude_if=lambda value: value is None,
        ),
    ] = None
    ece_bins: Annotated[int, setting("Bins of the calibration error.", 15, ge=2, le=100)] = 15
    replicates: Annotated[
        int, setting("Bootstrap replicates of intervals and null bands.", 1000, ge=100, le=100_000)
    ] = 1000
    level: Annotated[float, setting("Confidence level of the intervals.", 0.95, gt=0, lt=1)] = 0.95
    seed: Annotated[int, setting("Seed of the bootstrap.", 0, ge=0)] = 0
    health: Annotated[
        HealthBounds, setting("Bounds whose breach `evaluate` warns about.", {"perplexity": {"min": 2}})
    ] = HealthBounds()

    @property
    def crossfitted(self) -> ProtocolName | None:
        """Return the protocol if it trains a model for each fold, else None."""
        return None if self.protocol == "holdout" else self.protocol

    @model_validator(mode="after")
    def _has_folds(self) -> "EvaluationSettings":
        if self.folds is not None and self.protocol != "kfold-subject":
            raise ValueError("folds: needs protocol: kfold-subject")
        return self


class ClassMetrics(Record):
    """Metrics of one class; precision and F1 are 0 if the class was never predicted."""

    precision: Share
    recall: Share
    f1: Share
    support: Count


class Calibration(Record):
    """Expected calibration error with equal-mass bins, and the error expected from a perfectly calibrated model."""

    ece: Share
    bins: Count
    null_mean: Share  # mean error of a perfectly calibrated model with these confidences
    null_high: Share  # 95 % quantile of that error: a smaller error is not evidence of miscalibration
    table: tuple[ReliabilityBin, ...]


class SubjectMetrics(Record):
    """Metrics of one test subject."""

    windows: Count
    accuracy: Share
    macro_f1: Share


class Baselines(Record):
    """Baselines without input: the majority class of the split, and a uniform random guess."""

    majority_accuracy: Share
    uniform_accuracy: Share


class CodeUsage(Record):
    """Usage of the quantizer on the test split."""

    total: Count
    used: Count
    used_share: Share
    perplexity: Annotated[float, Field(ge=0)]
    levels_used: tuple[Count, ...]  # per dimension


class ClusterUsage(Record):
    """Usage of the mixture on the test split."""

    active: Count  # clusters with at least 1 % of the windows
    perplexity: Annotated[float, Field(ge=0)]


class SegmentScores(Record):
    """Scores of the segmentation of streams of consecutive windows (docs/models.md)."""

    accuracy: Share  # of windows
    edit: Annotated[float, Field(ge=0, le=100)]  # mean over streams; 100 is best
    over_segmentation: Annotated[float, Field(ge=0)]  # predicted segments per true segment
    f1_at_50: Share  # of segments, at 50 % overlap


class TemporalMetrics(Record):
    """Scores of single windows and of windows smoothed online by the hidden semi-Markov model."""

    streams: Count  # sequences of consecutive windows
    mean_duration: float  # windows, over the states
    alone: SegmentScores  # single windows
    smoothed: SegmentScores


class FoldMetrics(Record):
    """One fold of a cross-fitted run: its test subjects, and the metrics of its model on them."""

    name: Name
    tested: Annotated[tuple[Name, ...], Field(min_length=1)]
    validated: Annotated[tuple[Name, ...], Field(min_length=1)]
    windows: Annotated[int, Field(ge=1)]
    accuracy: Share
    balanced_accuracy: Share
    macro_f1: Share
    codes: CodeUsage | None  # of the fold's own quantizer; null: no quantizer
    clusters: ClusterUsage | None = None
    checkpoint_sha256: Sha256
    predictions_sha256: Sha256  # of the fold's own predictions.npz, whose rows are in that of the run


class Protocol(Record):
    """The evaluation protocol: the evaluated split, the subjects of all splits, and the number of evaluations.

    A cross-fitted run tests all subjects, each in one fold; its only split is `train`, that of the final model.
    """

    kind: Literal["holdout", ProtocolName] = "holdout"
    part: Literal["test"] = "test"  # the only split that was not used for a selection; or those of the folds
    split: Literal["subject", "time", "given"]
    parts: PartRecords
    evaluations: Annotated[int, Field(ge=1)]  # test-set evaluations of this run, including this one
    folds: Annotated[Annotated[tuple[FoldMetrics, ...], Field(min_length=2)] | None, LEFT_OUT] = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "Protocol":
        if (self.folds is None) != (self.kind == "holdout") or (self.folds is None) != (self.parts.test is not None):
            raise ValueError(f"kind {self.kind}: needs {'a test split' if self.kind == 'holdout' else 'folds'} only")
        return self

    @property
    def tested(self) -> PartRecord:
        """Return the evaluated split; of a cross-fitted run, the split of all subjects."""
        return self.parts[self.part] if self.folds is None else self.parts.train

    @property
    def known_subjects(self) -> tuple[str, ...]:
        """Return the test subjects that the predicting model knew: those in another split of the run or the fold."""
        if self.folds is not None:
            return tuple(sorted(name for fold in self.folds for name in {*fold.tested} & {*fold.validated}))
        seen = {name for other, part in self.parts.items() if other != self.part for name in part.subjects}
        return tuple(sorted(seen.intersection(self.tested.subjects)))


class Metrics(Record):
    """Metrics that follow from the predictions; `verify` recomputes them from predictions.npz."""

    windows: Count
    accuracy: Share
    balanced_accuracy: Share  # mean recall over the classes with windows
    macro_f1: Share
    weighted_f1: Share
    log_loss: Annotated[float, Field(ge=0)]
    brier: Annotated[float, Field(ge=0, le=2)]  # sum over classes, mean over windows
    calibration: Calibration
    baselines: Baselines
    per_class: dict[Name, ClassMetrics]
    per_subject: dict[Name, SubjectMetrics]
    confusion: tuple[tuple[Count, ...], ...]  # rows: true class, columns: predicted
    codes: CodeUsage | None
    clusters: ClusterUsage | None = None
    intervals: dict[Literal["accuracy", "balanced_accuracy", "macro_f1"], Interval | NoInterval]

    def interval(self, name: str) -> Interval | NoInterval | None:
        """Return the interval of a metric or the reason why it is missing; None for a metric without intervals."""
        return {str(key): found for key, found in self.intervals.items()}.get(name)


class EvalMetrics(Metrics):
    """eval_metrics.json: the metrics, the protocol, and the digest of the predictions."""

    schema_version: Literal[1] = 1
    model: Name
    classes: tuple[Name, ...]
    parameters: Count
    settings: EvaluationSettings  # with these, the same predictions give the same record
    protocol: Protocol
    temporal: TemporalMetrics | None = None  # of systems with durations; follows from the predictions and hsmm.json
    confidence: ConfidenceMetrics | ConfidenceMetricsV1 | None = (
        None  # of calibration.json, by its schema version; null: evaluated by a modelreg without calibration
    )
    int8: Annotated[Int8Summary | None, LEFT_OUT] = None  # of int8.json, after an export for a device
    checkpoint_sha256: Sha256  # of the weights that predicted; of a cross-fitted run, of the final model
    predictions_sha256: Sha256
    fitted_sha256: Annotated[Sha256 | None, LEFT_OUT] = None  # of fitted.npz of a cross-fitted run

    @model_validator(mode="after")
    def _covers_every_class(self) -> "EvalMetrics":
        if sorted(self.per_class) != sorted(self.classes) or len(self.confusion) != len(self.classes):
            raise ValueError("per_class and confusion must have every class, once")
        return self
