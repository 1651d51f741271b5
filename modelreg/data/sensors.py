"""Recognize what a channel measures by its unit, and the sensors of three axes by the names of their channels."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from modelreg.records.model import Channel, Gravity

Quantity: TypeAlias = Literal["acceleration", "angular velocity", "magnetic field"]

G = 9.80665  # m/s², the standard acceleration of gravity; on Earth it is between 9.78 and 9.83
DEGREE = 0.017453292519943295  # rad

# The unit that factors are to, of each quantity.
BASE: Mapping[Quantity, str] = {"acceleration": "m/s2", "angular velocity": "rad/s", "magnetic field": "uT"}

# Factors to m/s², rad/s and µT. Keys are written as `_PLAIN` writes units; case matters first, because mg is not mG.
# Of the spellings of one unit, the first is the usual one.
FACTORS: Mapping[Quantity, Mapping[str, float]] = {
    "acceleration": {
        "m/s2": 1.0,
        "m/s/s": 1.0,
        "ms-2": 1.0,
        "m.s-2": 1.0,
        "m/sec2": 1.0,
        "mps2": 1.0,
        "ms2": 1.0,
        "cm/s2": 0.01,
        "mm/s2": 0.001,
        "g": G,
        "gs": G,
        "gn": G,
        "g0": G,
        "gforce": G,
        "mg": G / 1000,
        "milli-g": G / 1000,
        "ug": G / 1_000_000,
    },
    "angular velocity": {
        "rad/s": 1.0,
        "rads-1": 1.0,
        "rad/sec": 1.0,
        "rads": 1.0,
        "rps": 1.0,
        "mrad/s": 0.001,
        "deg/s": DEGREE,
        "degs-1": DEGREE,
        "deg/sec": DEGREE,
        "degs": DEGREE,
        "degree/s": DEGREE,
        "degrees/s": DEGREE,
        "degrees/second": DEGREE,
        "dps": DEGREE,
        "°/s": DEGREE,
        "mdps": DEGREE / 1000,
    },
    "magnetic field": {
        "uT": 1.0,
        "ut": 1.0,
        "microtesla": 1.0,
        "nT": 0.001,
        "nt": 0.001,
        "mT": 1000.0,
        "T": 1_000_000.0,
        "tesla": 1_000_000.0,
        "gauss": 100.0,
        "Ga": 100.0,
        "mgauss": 0.1,
    },
}
ACCELERATION_UNITS = ("m/s2", "g", "mg")  # those that the norm of a resting accelerometer tells apart
_GAUSS = {"G": 100.0, "Gs": 100.0, "mG": 0.1}  # on a channel named as a magnetometer; on another one, G is gravity
_PLAIN = str.maketrans({"²": "2", "⁻": "-", "¹": "1", "µ": "u", "μ": "u", "^": "", "·": "", "*": "", " ": "", "º": "°"})
AXES = "xyz"


class Unit(NamedTuple):
    """What a channel measures, and the factor from its unit to m/s², rad/s or µT."""

    quantity: Quantity
    factor: float


class Sensor(NamedTuple):
    """Three channels of one sensor: the x, y and z axis."""

    columns: tuple[int, int, int]  # of the signal
    channels: tuple[str, str, str]
    quantity: Quantity
    unit: str
    factor: float  # to m/s², rad/s or µT
    gravity: Gravity | None  # as stated for its channels


def unit_of(channel: Channel) -> Unit | None:
    """Return what a channel measures; None for a unit that is not one of acceleration, rotation or magnetic field."""
    return read_unit(channel.unit, channel.name)


def read_unit(text: str, name: str = "") -> Unit | None:
    """Return what a unit measures; `name` is that of the channel or column: G is gauss for a magnetometer, else 1 g."""
    plain = text.translate(_PLAIN).strip("()[]")
    if "mag" in name.lower() and plain in _GAUSS:
        return Unit("magnetic field", _GAUSS[plain])
    for spelled in (plain, plain.lower()):
        for quantity, factors in FACTORS.items():
            if spelled in factors:
                return Unit(quantity, factors[spelled])
    return None


def usual_spelling(unit: Unit) -> str:
    """Return the first of the spellings of a unit."""
    return next(spelled for spelled, factor in FACTORS[unit.quantity].items() if factor == unit.factor)


def one_g(unit: str) -> float | None:
    """Return what 1 g is in a unit; None if it is not one of acceleration."""
    found = read_unit(unit)
    return G / found.factor if found and found.quantity == "acceleration" else None


def sensors_of(channels: Sequence[Channel]) -> tuple[Sensor, ...]:
    """Return the sensors of three axes: channels of one unit whose names differ in a letter x, y or z only."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for column, channel in enumerate(channels):
        for name, axis in _readings(channel.name):
            found.setdefault((name, channel.unit), {}).setdefault(axis, column)
    triples = (_sensor(channels, axes) for axes in found.values() if set(axes) == set(AXES))
    return tuple(sorted((sensor for sensor in triples if sensor), key=lambda sensor: min(sensor.columns)))


def _readings(name: str) -> Iterator[tuple[str, str]]:
    """Yield each way to read a name as that of an axis: the name without the letter, and the letter."""
    lower = name.lower()
    for place, letter in enumerate(lower):
        if letter in AXES:
            yield f"{lower[:place]}\0{lower[place + 1 :]}", letter


def _sensor(channels: Sequence[Channel], axes: Mapping[str, int]) -> Sensor | None:
    x, y, z = (axes[axis] for axis in AXES)
    three = channels[x], channels[y], channels[z]
    unit = unit_of(three[0])
    if unit is None:
        return None
    stated = {channel.gravity for channel in three}
    return Sensor(
        columns=(x, y, z),
        channels=(three[0].name, three[1].name, three[2].name),
        quantity=unit.quantity,
        unit=three[0].unit,
        factor=unit.factor,
        gravity=stated.pop() if len(stated) == 1 else None,
    )
