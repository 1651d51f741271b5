"""ablation.json: what each component of a system is worth, over seeds."""

from typing import Annotated, Literal

from pydantic import Field

from modelreg.records.base import Count, ModelName, Name, Record, Share
from modelreg.records.metrics import Interval, NoInterval


class Outcome(Record):
    """What one training came to, or the mean of several; null where the variant has no such part."""

    accuracy: Share
    macro_f1: Share
    smoothed_accuracy: Share | None  # with the model of durations, each window seen with those before it
    perplexity: float | None  # of the codes
    used_share: Share | None
    active_clusters: float | None
    mean_duration: float | None  # windows
    seconds: Annotated[
        float, Field(ge=0)
    ]  # from the start of the run to the end of its training, reading and pauses included


class Trial(Record):
    """One training of a variant."""

    seed: Count
    folder: Name  # beside ablation.json
    evaluations: Annotated[int, Field(ge=1)]  # looks at its held-out part
    outcome: Outcome


class Variant(Record):
    """A system with some of its components switched off, over all seeds."""

    name: Name
    off: tuple[Name, ...]
    parameters: Count
    mean: Outcome  # over the seeds
    intervals: dict[Literal["accuracy", "macro_f1"], Interval | NoInterval]  # of the windows of all seeds, pooled
    trials: Annotated[tuple[Trial, ...], Field(min_length=1)]


class AblationRecord(Record):
    """ablation.json."""

    schema_version: Literal[1] = 1
    model: ModelName
    seeds: Annotated[tuple[Count, ...], Field(min_length=1)]
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]
