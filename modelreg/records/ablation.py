"""ablation.json: the metrics of a model system without single components, over seeds."""

from typing import Annotated, Literal

from pydantic import Field

from modelreg.records.base import Count, ModelName, Name, Record, Share
from modelreg.records.metrics import Interval, NoInterval


class AblationOutcome(Record):
    """The result of one training, or the mean of several; null if the variant does not have the component."""

    accuracy: Share
    macro_f1: Share
    smoothed_accuracy: Share | None  # with the hidden semi-Markov model, online
    perplexity: float | None  # of the codes
    used_share: Share | None
    active_clusters: float | None
    mean_duration: float | None  # windows
    seconds: Annotated[float, Field(ge=0)]  # start of the run to end of training, with reading and pauses


class Trial(Record):
    """One training of a variant."""

    seed: Count
    folder: Name  # next to ablation.json
    evaluations: Annotated[int, Field(ge=1)]  # test-set evaluations
    outcome: AblationOutcome


class Variant(Record):
    """A model system with some components switched off, over all seeds."""

    name: Name
    off: tuple[Name, ...]
    parameters: Count
    mean: AblationOutcome  # over the seeds
    intervals: dict[Literal["accuracy", "macro_f1"], Interval | NoInterval]  # of the windows of all seeds, pooled
    trials: Annotated[tuple[Trial, ...], Field(min_length=1)]


class AblationRecord(Record):
    """ablation.json."""

    schema_version: Literal[1] = 1
    model: ModelName
    seeds: Annotated[tuple[Count, ...], Field(min_length=1)]
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]
