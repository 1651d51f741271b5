"""Bounds on metrics that a release must meet."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from modelreg.config import Gate


class Outcome(NamedTuple):
    """One gate, the value it found, and why it fails (None: it is met)."""

    path: str
    gate: Gate
    value: float | None
    failure: str | None


def check(metrics: Mapping[str, Any], gates: Mapping[str, Gate]) -> list[Outcome]:
    """Hold every gate against a metrics document. A metric that is missing fails."""
    return [_outcome(path, gate, value_at(metrics, path), _hint(metrics, path)) for path, gate in gates.items()]


def value_at(document: Mapping[str, Any], path: str) -> float | None:
    """Return the number at a dotted path, or None where there is none."""
    value: Any = document
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _hint(metrics: Mapping[str, Any], path: str) -> str:
    """Return where in the document a name stands that was given without its place."""
    places = [f"{part}.{path}" for part, inner in metrics.items() if isinstance(inner, Mapping) and path in inner]
    return f"; there is {', '.join(places)}" if places else ""


def bounds(gate: Gate) -> str:
    """Return the bounds in words."""
    parts = [
        f"at least {gate.min:g}" if gate.min is not None else "",
        f"at most {gate.max:g}" if gate.max is not None else "",
    ]
    return " and ".join(filter(None, parts))


def _outcome(path: str, gate: Gate, value: float | None, hint: str) -> Outcome:
    if value is None:
        return Outcome(path, gate, None, f"no such number in eval_metrics.json{hint}")
    met = (gate.min is None or value >= gate.min) and (gate.max is None or value <= gate.max)
    return Outcome(path, gate, value, None if met else f"{value:.4f}, but must be {bounds(gate)}")
