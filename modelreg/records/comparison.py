"""The comparison of two models: paired metrics, and the differences of their documents."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from modelreg.records.base import Count, Record, Share
from modelreg.records.latency import LatencyRecord
from modelreg.records.metrics import EvalMetrics, Interval, NoInterval, Reason

ComparedName = Literal["accuracy", "balanced_accuracy", "macro_f1"]
COMPARED: tuple[ComparedName, ...] = ("accuracy", "balanced_accuracy", "macro_f1")


class Difference(Record):
    """A metric of both models on the windows that both predicted."""

    one: Share
    other: Share
    difference: Annotated[float, Field(ge=-1, le=1)]  # other - one
    interval: Interval | NoInterval  # of the difference: the same subjects are drawn for both


class McNemar(Record):
    """McNemar's exact test on the windows that exactly one of the models predicts correctly.

    The test assumes independent windows. Windows of one recording are not independent, so the p-value is too small;
    prefer the interval over subjects.
    """

    only_one: Count
    only_other: Count
    p_value: Share  # two-sided


class PairedComparison(Record):
    """Two models on the windows that both predicted, matched by recording and start."""

    windows: Annotated[int, Field(ge=1)]
    subjects: Annotated[int, Field(ge=1)]
    left_out_one: Count  # windows that only this model predicted
    left_out_other: Count
    metrics: dict[ComparedName, Difference]
    mcnemar: McNemar


class Change(Record):
    """A value that differs between two documents; null if a document does not have it."""

    path: str
    one: JsonValue
    other: JsonValue


class Contender(Record):
    """One of the two models: a version, or an evaluated run."""

    reference: str  # model@v0.2.0, or the name of the run's folder
    metrics: EvalMetrics
    checkpoint_bytes: Count
    latency: LatencyRecord | None  # null: not measured


class Comparison(Record):
    """The output of `modelreg compare`: all differences, as second minus first."""

    schema_version: Literal[1] = 1
    one: Contender
    other: Contender
    paired: PairedComparison | Reason
    config: tuple[Change, ...]
    data: tuple[Change, ...]
