"""What three columns measure, by their size while the device hardly moves: 9.81 m/s², 1 g, or nothing.

`motion` and `physics` measure rest in segments of one second, of channels whose sensors and units are configured. A
draft decides these first, and has neither a rate nor a time: its segments are rows, and the quietest of them are rest.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.sensors import ACCELERATION_UNITS, one_g
from modelreg.records.model import Gravity

NEAR = 0.12  # share of 1 g: less than the tolerance of physics.py, because it also finds sensors without names
NOTHING = 0.25  # share of the motion that is left of gravity after it was removed
SEGMENT = 25  # rows
FASTEST = 35.0  # rad/s: 2,000 degrees per second, the range of most gyroscopes
TURNING = 0.1  # rad/s: 99 of 100 values are below it while a device rests, whatever its noise

Floats = NDArray[np.float64]


class Rest(NamedTuple):
    """The size of three columns in their quietest segments."""

    norm: float  # of the mean of a segment
    motion: float  # deviation of the three axes together, which a quarter of all segments exceed


class Verdict(NamedTuple):
    """What an acceleration is."""

    unit: str | None  # None: the values do not say
    gravity: Gravity | None
    why: str


def rest(arrays: Iterable[Floats]) -> Rest | None:
    """Return the size of three columns (n, 3), each array one file; None if all values are missing."""
    means: list[Floats] = []
    deviations: list[Floats] = []
    for values in arrays:
        finite = values[np.isfinite(values).all(axis=1)]
        length = min(SEGMENT, len(finite))
        if length:
            cut = finite[: len(finite) // length * length].reshape(-1, length, 3)
            means.append(cut.mean(axis=1))
            deviations.append(np.sqrt(cut.var(axis=1).sum(axis=1)))
    if not means:
        return None
    deviation = np.concatenate(deviations)
    quiet = deviation <= np.quantile(deviation, 0.25)
    norms = np.linalg.norm(np.concatenate(means)[quiet], axis=1)
    return Rest(float(np.median(norms)), float(np.quantile(deviation, 0.75)))


def judge(found: Rest | None, stated: str | None = None) -> Verdict:
    """Return unit and gravity of an acceleration; `stated` is the unit that its header states."""
    if found is None:
        return Verdict(stated, None, "no values in the files that were read")
    for unit in filter(None, (stated, *ACCELERATION_UNITS)):
        one = one_g(unit)
        if one and abs(found.norm - one) <= NEAR * one:
            return Verdict(unit, "included", _included(found, unit, stated))
    if found.norm <= NOTHING * (one_g(stated or "") or found.motion):
        return Verdict(stated, "removed", f"the norm at rest is {found.norm:.2g}, so gravity was removed")
    return Verdict(stated, None, f"the norm at rest is {found.norm:.4g}, neither 1 g nor 0")


def _included(found: Rest, unit: str, stated: str | None) -> str:
    text = f"the norm at rest is {found.norm:.4g} {unit}: with gravity"
    return text if stated in (None, unit) else f"{text}, although the header says {stated}"


def rotation_unit(arrays: Sequence[Floats], *, moves: bool) -> tuple[str | None, str]:
    """Return the unit of a gyroscope, and the reason; `moves`: its device moves in these arrays (n, axes)."""
    values = np.abs(np.concatenate([np.empty(0), *(array.ravel() for array in arrays)]))
    values = values[np.isfinite(values)]
    if not len(values):
        return None, "no values in the files that were read"
    high = float(np.quantile(values, 0.99))
    if high > FASTEST:
        return "deg/s", f"99 of 100 values are below {high:.3g}: more than a gyroscope measures in rad/s"
    if moves and high > TURNING:
        return (
            "rad/s",
            f"99 of 100 values are below {high:.3g}: in degrees per second, a moving device would hardly turn",
        )
    return None, f"99 of 100 values are below {high:.3g}: rad/s or degrees per second"
