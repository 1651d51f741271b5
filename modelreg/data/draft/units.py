"""Give the channels of all devices the same units: a model takes the channels that all of them have."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import radians
from typing import Any, NamedTuple

from modelreg.data.draft.norms import G
from modelreg.data.draft.parts import Part

_COMMON = {"m/s2": ("m/s2", 1.0), "g": ("m/s2", G), "mg": ("m/s2", G / 1000)}
_COMMON |= {"rad/s": ("rad/s", 1.0), "deg/s": ("rad/s", radians(1))}


class Factor(NamedTuple):
    """The unit that a unit becomes, and the factor."""

    unit: str
    scale: float


Factors = Mapping[str, Factor]


def common(parts: Sequence[Part]) -> Factors:
    """Return what becomes of each unit; nothing if sensors of one kind have one unit in all parts."""
    found: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        for sensor in part.sensors:
            found[sensor.quantity].add(sensor.unit or "")
    mixed = {unit for units in found.values() if len(units) > 1 for unit in units if unit in _COMMON}
    return {unit: Factor(*_COMMON[unit]) for unit in sorted(mixed)}


def converted(channel: Mapping[str, Any], factors: Factors) -> dict[str, Any]:
    """Return the settings of a channel in its common unit."""
    factor = factors.get(channel["unit"])
    if factor is None:
        return {**channel}
    scale = {} if factor.scale == 1 else {"scale": factor.scale}
    return {**channel, "unit": factor.unit, **scale}
