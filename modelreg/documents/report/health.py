"""Whether codes, clusters and durations lie within the bounds of `evaluation.health`."""

from collections.abc import Iterator
from typing import NamedTuple

from modelreg.documents.report.formatting import number
from modelreg.records.metrics import Bounds, EvalMetrics


class Ailment(NamedTuple):
    """A number outside of its bounds, in words, and what to change, in Markdown."""

    finding: str
    advice: str


class _Part(NamedTuple):
    words: str
    value: float | None  # None: the model has no such part
    raising: str  # what raises the value
    lowering: str


def ailments(metrics: EvalMetrics) -> list[Ailment]:
    """Return every number of a part that the model has and that lies outside of its bounds."""
    bounds = metrics.settings.health
    parts = dict(_parts(metrics))
    return [
        _ailment(name, part, part.value, limits)
        for name, part in parts.items()
        if part.value is not None and not (limits := getattr(bounds, name)).hold(part.value)
    ]


def _parts(metrics: EvalMetrics) -> Iterator[tuple[str, _Part]]:
    """Yield the numbers that have bounds, by the names of these."""
    codes, clusters, temporal = metrics.codes, metrics.clusters, metrics.temporal
    spread = "Try a larger `model.vq.restart_below`, or `model.batchnorm_before_fsq: true` where the codes are scalar"
    fewer = "Try fewer codes: `model.vq.codes` or `model.levels`"
    yield "perplexity", _Part("perplexity of the codes", codes.perplexity if codes else None, spread, fewer)
    yield "used_share", _Part("used share of the codes", codes.used_share if codes else None, spread, fewer)
    yield (
        "active_clusters",
        _Part(
            "number of active clusters",
            float(clusters.active) if clusters else None,
            "Try a larger `model.hdp.gamma`",
            "Try a smaller `model.hdp.gamma`",
        ),
    )
    yield (
        "mean_duration",
        _Part(
            "mean duration in windows",
            temporal.mean_duration if temporal else None,
            "Try a smaller `data.hop`, which makes more windows of the same time",
            "Try a larger `data.hop`, which makes fewer windows of the same time",
        ),
    )


def _ailment(name: str, part: _Part, value: float, limits: Bounds) -> Ailment:
    low = limits.min is not None and value < limits.min
    side = f"below {limits.min:g}" if low else f"above {limits.max:g}"
    change = part.raising if low else part.lowering
    return Ailment(
        f"The {part.words} is {number(value)}, {side}", f"{change}; or set other bounds in `evaluation.health.{name}`."
    )
