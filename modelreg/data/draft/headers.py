"""Read the names of columns: `Linear Acceleration x (m/s^2)` is the x axis of an acceleration without gravity."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from modelreg.data import sensors
from modelreg.data.draft import words
from modelreg.data.draft.words import Quantity, QuantityWords
from modelreg.records.model import Gravity

Axis = Literal["x", "y", "z"]
AXES: tuple[Axis, ...] = ("x", "y", "z")
_QUANTITIES: Mapping[sensors.Quantity, Quantity] = {
    "acceleration": "acc",
    "angular velocity": "gyro",
    "magnetic field": "mag",
}
_Key = tuple[Quantity | None, Gravity | None, str | None, str]  # of a sensor
_UNIT = re.compile(r"[(\[]([^()\[\]]*)[)\]]\s*$")


class Meaning(NamedTuple):
    """What the name of a column says."""

    axis: Axis
    quantity: Quantity | None  # None: the name is only that of an axis
    gravity: Gravity | None
    unit: str | None
    rest: str  # further words, as those of a device


class Triple(NamedTuple):
    """The three axes of one sensor: columns of a table, from 0."""

    quantity: Quantity | None
    gravity: Gravity | None
    unit: str | None
    rest: str
    places: tuple[int, int, int]


def unit_in(name: str) -> str | None:
    """Return the unit in brackets at the end of a name, in its usual spelling."""
    found = _UNIT.search(name)
    if found is None:
        return None
    read = sensors.read_unit(found[1], name)
    return sensors.usual_spelling(read) if read else words.time_unit_of(found[1])


def meaning(name: str) -> Meaning | None:
    """Return what the name of a column says; None if it is not that of an axis of a sensor."""
    unit = unit_in(name)
    parts = words.split(_UNIT.sub("", name))
    for axis, others in _readings(parts):
        kept = [word for word in others if word not in words.vocabulary().noise]
        known = words.measured(kept, letters=True)
        if known:
            entry, rest = known
            return Meaning(axis, _quantity(entry, unit), entry.gravity, unit or entry.unit, " ".join(rest))
        if not kept or kept[-1] == "g" or axis in parts:
            return Meaning(axis, _by_unit(unit), None, unit, " ".join(kept))
    return None


class Partial(NamedTuple):
    """The axes of one sensor of which others are missing: columns of a table, from 0, in the order of the axes."""

    quantity: Quantity | None  # None: the names are only those of axes
    gravity: Gravity | None
    unit: str | None
    rest: str
    places: dict[Axis, int]


def triples(names: Sequence[str]) -> list[Triple]:
    """Return the sensors of three axes in a header, in the order of their columns."""
    whole = [
        Triple(*key, places=(axes["x"], axes["y"], axes["z"]))
        for key, axes in _by_sensor(names).items()
        if len(axes) == len(AXES)
    ]
    has_acceleration = any(triple.quantity == "acc" for triple in whole)
    settled = [_named_g(triple, has_acceleration=has_acceleration) for triple in whole]
    return sorted(settled, key=lambda triple: min(triple.places))


def partials(names: Sequence[str]) -> list[Partial]:
    """Return the sensors of one or two axes in a header, those of two axes first."""
    found = [
        Partial(*key, places={axis: axes[axis] for axis in AXES if axis in axes})
        for key, axes in _by_sensor(names).items()
        if len(axes) < len(AXES)
    ]
    return sorted(found, key=lambda partial: (-len(partial.places), min(partial.places.values())))


def _by_sensor(names: Sequence[str]) -> dict[_Key, dict[Axis, int]]:
    """Return the first column of each axis of what is measured, with gravity, unit and further words."""
    found: dict[_Key, dict[Axis, int]] = {}
    for place, name in enumerate(names):
        if said := meaning(name):
            key = (said.quantity, said.gravity, said.unit, said.rest)
            found.setdefault(key, {}).setdefault(said.axis, place)
    return found


def _readings(parts: Sequence[str]) -> Iterator[tuple[Axis, list[str]]]:
    """Yield the ways to read words as an axis and other words: `acc x`, `x acc`, `accx`, `xacc`."""
    alone = [place for place, word in enumerate(parts) if word in AXES]
    for axis in AXES:
        if len(alone) == 1 and parts[alone[0]] == axis:
            yield axis, [*parts[: alone[0]], *parts[alone[0] + 1 :]]
    for place, word in enumerate(parts):
        for axis in AXES:
            if not alone and len(word) > 1 and word.endswith(axis):
                yield axis, [*parts[:place], word[:-1], *parts[place + 1 :]]
            if not alone and len(word) > 2 and word.startswith(axis):
                yield axis, [*parts[:place], word[1:], *parts[place + 1 :]]


def _quantity(entry: QuantityWords, unit: str | None) -> Quantity:
    """Return what is measured; a unit of rotation is stronger than the words."""
    return _by_unit(unit) or entry.quantity if entry.quantity == "acc" else entry.quantity


def _by_unit(unit: str | None) -> Quantity | None:
    read = sensors.read_unit(unit or "")
    return _QUANTITIES[read.quantity] if read else None


def _named_g(triple: Triple, *, has_acceleration: bool) -> Triple:
    """Return what `gx, gy, gz` are: a gyroscope next to an acceleration, else an acceleration in g."""
    *rest, last = triple.rest.split() or [""]
    if last != "g" or triple.quantity:
        return triple
    if has_acceleration:
        return triple._replace(quantity="gyro", rest=" ".join(rest))
    return triple._replace(quantity="acc", rest=" ".join(rest), unit="g")
