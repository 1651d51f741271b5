"""Find recordings in which two devices were exchanged, such as the sensors of an arm and a leg.

Where a device is worn shows in how gravity lies on its axes and in how strongly each axis moves. In a recording with
exchanged devices, each device looks as the other one does in all other recordings of the same class. Only strong
evidence is reported: most sets have no two devices that differ so much.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from modelreg.data.flags import Flag
from modelreg.data.physics import Examined
from modelreg.data.sensors import G, Sensor

LEAST = 5  # recordings of a class
MOST_SHARE = 1 / 3  # of the recordings of a class: of more, nobody can tell which are exchanged
RATIO = 4.0  # an exchange must explain a recording so many times better than no exchange
OTHERS = 1.5  # and no exchange must explain every other recording so many times better
FLOORS = (0.1, 0.2)  # smallest deviation between recordings: of a mean in g, of the logarithm of a deviation
FARTHEST = 25.0  # squared deviations that one feature adds at most

Floats = NDArray[np.float64]


def judge(recordings: Sequence[Examined], sensors: Sequence[Sensor]) -> Iterator[Flag]:
    """Yield each recording in which two devices look exchanged."""
    usable = [sensor for sensor in sensors if sensor.quantity != "magnetic field"]
    devices = tuple(recordings[0].motions) if recordings else ()
    if not usable or len(devices) < 2:
        return
    groups: dict[str, list[Examined]] = defaultdict(list)
    for recording in recordings:
        groups[recording.label].append(recording)
    for same in groups.values():
        if len(same) >= LEAST:
            looks = {device: np.array([_features(r, device, usable) for r in same]) for device in devices}
            for one, other in combinations(devices, 2):
                for place in exchanged(looks[one], looks[other], _floors(usable)):
                    yield _flag(same[place], one, other)


def exchanged(one: Floats, other: Floats, floors: Floats) -> list[int]:
    """Return the rows in which two devices look exchanged; features (R, F) of both, smallest deviations (F,)."""
    known = np.isfinite(one).all(axis=1) & np.isfinite(other).all(axis=1)
    rows = np.flatnonzero(known)
    if len(rows) < LEAST:
        return []
    a, b = one[rows], other[rows]
    middle_a, middle_b = np.median(a, axis=0), np.median(b, axis=0)
    spread = 1.4826 * np.median(np.abs(np.concatenate([a - middle_a, b - middle_b])), axis=0)
    spread = np.maximum(spread, floors)

    def far(values: Floats, middle: Floats) -> Floats:
        return np.asarray(np.minimum(np.square((values - middle) / spread), FARTHEST).mean(axis=1))

    straight = far(a, middle_a) + far(b, middle_b)
    crossed = far(a, middle_b) + far(b, middle_a)
    found = RATIO * crossed <= straight
    if not 0 < found.sum() <= MOST_SHARE * len(rows) or (OTHERS * straight > crossed)[~found].any():
        return []
    return [int(row) for row in rows[found]]


def _features(recording: Examined, device: str, sensors: Sequence[Sensor]) -> list[float]:
    """Return for each axis its mean in g, of an accelerometer, and the logarithm of its deviation."""
    measured = {quality.channel: quality for quality in recording.channels if quality.device == device}
    found = []
    for sensor in sensors:
        for name in sensor.channels:
            mean, std = measured[name].mean, measured[name].std
            if sensor.quantity == "acceleration":
                found.append(np.nan if mean is None else sensor.factor / G * mean)
            found.append(np.log(std) if std else np.nan)
    return found


def _floors(sensors: Sequence[Sensor]) -> Floats:
    """Return the smallest deviation of each feature between recordings."""
    return np.array(
        [f for sensor in sensors for f in 3 * (FLOORS if sensor.quantity == "acceleration" else FLOORS[1:])]
    )


def _flag(recording: Examined, one: str, other: str) -> Flag:
    cause = f"{one} and {other} look exchanged"
    return Flag(
        recording=recording.name,
        rule="quality.devices-exchanged",
        device=one,
        channels=(),
        cause=cause,
        message="look exchanged: each rests and moves as the other one does in the other recordings",
        next="compare with the notes of the recording; exchange its files, or leave it out with `drop`",
        other=other,
    )
