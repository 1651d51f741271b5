"""eval_metrics.json: every number is computed from the recorded predictions of the held-out part."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from modelreg.records.base import LEFT_OUT, Count, Name, Record, Sha256, Share
from modelreg.records.calibration import ConfidenceMetrics, ReliabilityBin
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
    "Interval",
    "Metrics",
    "NoInterval",
    "Protocol",
    "Reason",
    "ReliabilityBin",
    "SegmentScores",
    "SubjectMetrics",
    "TemporalMetrics",
]


class Bounds(Record):
    """What a number should lie between; null: no bound on that side."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _hold_something(self) -> "Bounds":
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is above max")
        return self

    def hold(self, value: float) -> bool:
        """Say whether a number lies between them."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


class HealthBounds(Record):
    """What `evaluate` warns about where a model has such a part. Habits of the field, not truths: set your own."""

    perplexity: Bounds = Bounds(min=2.0)  # of the codes; below it they tell less than one bit
    used_share: Bounds = Bounds()  # of the codes; how many can be used depends on how many there are
    active_clusters: Bounds = Bounds(min=5.0, max=15.0)
    mean_duration: Bounds = Bounds(min=10.0, max=30.0)  # windows


class EvaluationSettings(Record):
    """How the intervals and the null band of the calibration error are drawn, and what is warned about."""

    ece_bins: Annotated[int, Field(ge=2, le=100)] = 15
    replicates: Annotated[int, Field(ge=100, le=100_000)] = 1000
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seed: Annotated[int, Field(ge=0)] = 0
    health: HealthBounds = HealthBounds()


class ClassMetrics(Record):
    """One class against the rest; precision and F1 are 0 where nothing was predicted."""

    precision: Share
    recall: Share
    f1: Share
    support: Count


class Calibration(Record):
    """Expected calibration error over equal-mass bins, with what perfect calibration would give at this n."""

    ece: Share
    bins: Count
    null_mean: Share  # of the error of a perfectly calibrated model with these confidences
    null_high: Share  # its 95 % quantile: an error below it shows nothing
    table: tuple[ReliabilityBin, ...]


class SubjectMetrics(Record):
    """One held-out subject alone."""

    windows: Count
    accuracy: Share
    macro_f1: Share


class Baselines(Record):
    """What a model without input reaches: always the commonest class of this part; a uniform guess."""

    majority_accuracy: Share
    uniform_accuracy: Share


class CodeUsage(Record):
    """How much of the quantizer the held-out part used."""

    total: Count
    used: Count
    used_share: Share
    perplexity: Annotated[float, Field(ge=0)]
    levels_used: tuple[Count, ...]  # per dimension


class ClusterUsage(Record):
    """How much of the mixture the held-out part used."""

    active: Count  # clusters with at least 1 % of the windows
    perplexity: Annotated[float, Field(ge=0)]


class SegmentScores(Record):
    """How well streams of consecutive windows are cut into segments (docs/models.md)."""

    accuracy: Share  # of windows
    edit: Annotated[float, Field(ge=0, le=100)]  # mean over streams; 100 is best
    over_segmentation: Annotated[float, Field(ge=0)]  # segments predicted for each true one
    f1_at_50: Share  # of segments that overlap by half


class TemporalMetrics(Record):
    """What the model of durations makes of the same windows, each seen with those before it alone (online)."""

    streams: Count  # pieces of consecutive windows
    mean_duration: float  # windows, over the states
    alone: SegmentScores  # each window by itself
    smoothed: SegmentScores


class Protocol(Record):
    """How the numbers were made: on which part, who was in it, and that nobody in it was seen before."""

    kind: Literal["holdout"] = "holdout"
    part: Literal["test"] = "test"  # the only part that no choice was made on
    split: Literal["subject", "time", "given"]
    parts: PartRecords
    evaluations: Annotated[int, Field(ge=1)]  # how often this run's test part was evaluated, this time included

    @property
    def tested(self) -> PartRecord:
        """The part that the numbers are of."""
        return self.parts[self.part]

    @property
    def known_subjects(self) -> tuple[str, ...]:
        """The tested subjects that another part holds too."""
        seen = {name for other, part in self.parts.items() if other != self.part for name in part.subjects}
        return tuple(sorted(seen.intersection(self.tested.subjects)))


class Metrics(Record):
    """What follows from the predictions alone; verify computes it again from predictions.npz."""

    windows: Count
    accuracy: Share
    balanced_accuracy: Share  # mean recall over the classes present
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
        """Return the interval of a metric, or why it has none; None where none is drawn for it."""
        return {str(key): found for key, found in self.intervals.items()}.get(name)


class EvalMetrics(Metrics):
    """eval_metrics.json: the metrics, the protocol, and the digest of the predictions they come from."""

    schema_version: Literal[1] = 1
    model: Name
    classes: tuple[Name, ...]
    parameters: Count
    settings: EvaluationSettings  # with these, the same predictions give the same record
    protocol: Protocol
    temporal: TemporalMetrics | None = None  # of systems with durations; from the predictions and hsmm.json
    confidence: ConfidenceMetrics | None = None  # of calibration.json; null: evaluated before there was any
    int8: Annotated[Int8Summary | None, LEFT_OUT] = None  # of int8.json, once the model was exported for a device
    checkpoint_sha256: Sha256  # of the weights that predicted
    predictions_sha256: Sha256

    @model_validator(mode="after")
    def _covers_every_class(self) -> "EvalMetrics":
        if sorted(self.per_class) != sorted(self.classes) or len(self.confusion) != len(self.classes):
            raise ValueError("per_class and confusion must have every class, once")
        return self
