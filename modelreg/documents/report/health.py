"""Check whether codes, clusters and durations are within the bounds of `evaluation.health`."""

from collections.abc import Iterator
from typing import NamedTuple

from modelreg.documents.report.formatting import number
from modelreg.records.metrics import Bounds, EvalMetrics


class Ailment(NamedTuple):
    """A number outside its bounds, and a recommendation; both in Markdown."""

    finding: str
    advice: str


class _Part(NamedTuple):
    words: str
    value: float | None  # None: the model has no such part
    raising: str  # the recommendation to increase the value
    lowering: str


def ailments(metrics: EvalMetrics) -> list[Ailment]:
    """Return every number that is outside its bounds, for the parts that the model has."""
    bounds = metrics.settings.health
    parts = dict(_parts(metrics))
    return [
        _ailment(name, part, part.value, limits)
        for name, part in parts.items()
        if part.value is not None and not (limits := getattr(bounds, name)).hold(part.value)
    ]


def _parts(metrics: EvalMetrics) -> Iterator[tuple[str, _Part]]:
    """Yield the numbers that have bounds, by the keys of `evaluation.health`."""
    codes, clusters, temporal = metrics.codes, metrics.clusters, metrics.temporal
    spread = "Increase `model.vq.restart_below`, or set `model.batchnorm_before_fsq: true` for scalar codes"
    fewer = "Reduce the number of codes with `model.vq.codes` or `model.levels`"
    yield "perplexity", _Part("perplexity of the codes", codes.perplexity if codes else None, spread, fewer)
    yield "used_share", _Part("share of codes used", codes.used_share if codes else None, spread, fewer)
    yield (
        "active_clusters",
        _Part(
            "number of active clusters",
            float(clusters.active) if clusters else None,
            "Increase `model.hdp.gamma`",
            "Decrease `model.hdp.gamma`",
        ),
    )
    yield (
        "mean_duration",
        _Part(
            "mean duration (windows)",
            temporal.mean_duration if temporal else None,
            "Decrease `data.hop` to get more windows per second",
            "Increase `data.hop` to get fewer windows per second",
        ),
    )


def _ailment(name: str, part: _Part, value: float, limits: Bounds) -> Ailment:
    low = limits.min is not None and value < limits.min
    side = f"below the minimum {limits.min:g}" if low else f"above the maximum {limits.max:g}"
    change = part.raising if low else part.lowering
    return Ailment(f"The {part.words} is {number(value)}, {side}", f"{change}, or change `evaluation.health.{name}`.")
