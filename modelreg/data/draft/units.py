"""Give the channels of all devices the same units: a model takes the channels that all of them have."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from modelreg.data.draft.parts import Part
from modelreg.data.sensors import BASE, read_unit


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
    mixed = sorted({unit for units in found.values() if len(units) > 1 for unit in units})
    return {unit: Factor(BASE[read.quantity], read.factor) for unit in mixed if (read := read_unit(unit))}


def converted(channel: Mapping[str, Any], factors: Factors) -> dict[str, Any]:
    """Return the settings of a channel in its common unit."""
    factor = factors.get(channel["unit"])
    if factor is None:
        return {**channel}
    scale = {} if factor.scale == 1 else {"scale": factor.scale}
    return {**channel, "unit": factor.unit, **scale}
