"""Put parts together: devices with one accelerometer and one gyroscope each, whose signals can be joined."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from modelreg.data.draft.annotations import Span
from modelreg.data.draft.parts import Part
from modelreg.data.draft.sensors import Sensor
from modelreg.data.message_lists import counted

LONGEST = 60  # characters of a device's name
DEVICE = "device"  # the name of a device that nothing names
LONGEST = 500  # characters of a pattern
APART_S = 600.0  # seconds by which clocks of devices of one recording may begin apart


class Devices(NamedTuple):
    """The parts of each device, and what is not used."""

    parts: dict[str, tuple[Part, ...]]
    left_out: tuple[str, ...]

    @property
    def every(self) -> tuple[Part, ...]:
        """The parts of all devices."""
        return tuple(part for own in self.parts.values() for part in own)


def devices(found: Sequence[Part]) -> Devices:
    """Return the devices, each with the best accelerometer and the best gyroscope of its parts."""
    by_device: dict[str, list[Part]] = defaultdict(list)
    for part in found:
        by_device[part.device[:LONGEST].strip() or DEVICE].append(part)
    chosen = {name: tuple(_best(parts)) or tuple(parts) for name, parts in sorted(by_device.items())}
    used = {id(sensor) for parts in chosen.values() for part in parts for sensor in part.sensors}
    left = [text for part in found for text in part.left_out]
    left += [
        f"{sensor.quantity} of {counted(len(part.group.paths), 'file')} ({sensor.why})"
        for part in found
        for sensor in part.sensors
        if id(sensor) not in used
    ]
    return Devices(chosen, tuple(dict.fromkeys(left)))


def _best(parts: Sequence[Part]) -> Iterator[Part]:
    """Yield the parts of a device with the sensors that are used, those with an accelerometer first."""
    best: dict[str, tuple[tuple[bool, int], int, Sensor]] = {}
    for number, part in enumerate(parts):
        for sensor in part.sensors:
            rank = (sensor.gravity == "included", len(part.group.paths))
            if sensor.quantity not in best or rank > best[sensor.quantity][0]:
                best[sensor.quantity] = (rank, number, sensor)
    own: dict[int, list[Sensor]] = defaultdict(list)
    for _, (_, number, sensor) in sorted(best.items()):
        own[number].append(sensor)
    for number, sensors in own.items():
        yield parts[number]._replace(sensors=tuple(sensors))


def joinable(found: Devices) -> tuple[Devices, str]:
    """Return the first device and those that can be joined with it, and a sentence on the others.

    They begin together, and a channel is the same in all.
    """
    found = _with_equal_gravity(found)
    first, *others = found.parts
    kept, why = {first: found.parts[first]}, []
    start = _start(found.parts[first][0])
    for name in others:
        parts = found.parts[name]
        other = _start(parts[0])
        if start is not None and other is not None and abs(other - start) > APART_S:
            why.append(f"the clock of {name} has other times, so it cannot be joined")
        elif not _shared_channels([*kept.values(), parts]):
            why.append(f"{name} has no sensor that the others have")
        else:
            kept[name] = parts
    return found._replace(parts=kept), "\n".join(why)


def _with_equal_gravity(found: Devices) -> Devices:
    """Return devices whose accelerometers say the same about gravity: nothing, if some do not say anything."""
    said = {sensor.gravity for part in found.every for sensor in part.sensors if sensor.quantity == "acc"}
    if None not in said or len(said) == 1:
        return found
    parts = {
        name: tuple(
            part._replace(sensors=tuple(sensor._replace(gravity=None) for sensor in part.sensors)) for part in own
        )
        for name, own in found.parts.items()
    }
    return found._replace(parts=parts)


def _shared_channels(devices: Sequence[Sequence[Part]]) -> set[tuple[str, str | None, str]]:
    """Return the quantity, gravity and axis of the channels that all devices have."""
    found: list[set[tuple[str, str | None, str]]] = [
        {(sensor.quantity, sensor.gravity, axis) for part in parts for sensor in part.sensors for axis in sensor.axes}
        for parts in devices
    ]
    return set.intersection(*found)


def _start(part: Part) -> float | None:
    if part.clock is None or not len(part.clock.seconds[0]):
        return None
    return float(part.clock.seconds[0][0])


def spans(found: Devices) -> list[Span]:
    """Return the time of the first device's rows, as far as they were read."""
    part = found.every[0]
    if part.clock is None:
        return [Span(0.0, part.group.first.rows / (part.rate_hz or 1.0), bool(part.starts))]
    return [
        Span(float(np.nanmin(seconds)), float(np.nanmax(seconds)), part.clock.is_absolute)
        for seconds in part.clock.seconds
        if np.isfinite(seconds).any()
    ]
