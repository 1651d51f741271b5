"""Find where the sensors of one device rest, move, or repeat one value, in one recording.

A recording is read in segments of one second. A segment rests if its acceleration hardly varies. What an
accelerometer shows then is gravity, or nothing if its gravity was removed: physics.py judges it.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.recording import Signal
from modelreg.data.sensors import DEGREE, G, Sensor
from modelreg.records.data import SensorRest

SEGMENT_S = 1.0
REST = 0.05  # g, and share of the norm: the noise of sensors in phones is below 0.01 g, a step is above 0.1 g
MOVES = 0.1  # g: an axis with this deviation moves; walking has twice as much at the waist (HAPT, DSADS)
STRONG = 0.2  # g: a segment of walking or stronger motion
LEAST_PULL = 0.5  # g: next to a stretch of zeros, so much shows that gravity is included
STILL = 3.0  # degrees per second: a gyroscope with this deviation hardly turns
TURNS = 10.0  # degrees per second
REPEATED_S = 1.0  # shorter runs of one value occur in signals at rest that are coarsely rounded
POSES = 64  # segments of each kind that are kept of a recording
BLOCK = 2**16  # samples that are read in one step

Floats = NDArray[np.float64]
Kind = Literal["zero", "held", "frozen"]


class Segments(NamedTuple):
    """The segments of one sensor, in m/s², rad/s or µT."""

    mean: Floats  # (n, 3)
    deviation: Floats  # (n,) root of the mean variance of the axes; NaN next to a missing value


class Stretch(NamedTuple):
    """Samples in which channels repeat one value.

    zero: an accelerometer is 0 on all axes, although its gravity is included, or every channel is 0 between motions.
    held: every channel repeats its value between motions. frozen: one axis repeats its value while the others move.
    """

    kind: Kind
    channels: tuple[str, ...]
    start: int  # sample
    samples: int
    start_s: float  # after the first sample
    seconds: float


class Motion(NamedTuple):
    """What one device does in one recording."""

    rests: tuple[SensorRest, ...]
    poses: dict[tuple[str, ...], Floats]  # by the channels of an accelerometer: (p, 3) means of resting segments, m/s²
    stretches: tuple[Stretch, ...]
    turning: Floats  # (q,) rad/s: deviation of the gyroscope in segments of strong motion


def measure(device: str, signal: Signal, names: Sequence[str], sensors: Sequence[Sensor]) -> Motion:
    """Measure rest, motion and repeated values of one device; `names` are those of the columns of its signal."""
    segments = {sensor: _segments(signal, sensor) for sensor in sensors if sensor.quantity != "magnetic field"}
    moving = {sensor: found for sensor, found in segments.items() if sensor.quantity == "acceleration"}
    turning = {sensor: found for sensor, found in segments.items() if sensor.quantity == "angular velocity"}
    stretches = tuple(_stretches(signal, names, sensors))
    usable = _usable(signal, stretches)
    resting = np.logical_and.reduce([usable, *map(_rests, moving.values())])
    strong = usable & np.logical_or.reduce([~usable, *(s.deviation >= STRONG * G for s in moving.values())])
    still = {sensor: resting & (found.deviation <= STILL * DEGREE) for sensor, found in turning.items()}
    return Motion(
        rests=(
            *(_rest(device, sensor, found.mean[resting]) for sensor, found in moving.items()),
            *(_rest(device, sensor, found.mean[still[sensor]]) for sensor, found in turning.items()),
        ),
        poses={sensor.channels: _spread(found.mean[resting]) for sensor, found in moving.items()},
        stretches=stretches,
        turning=_spread(np.concatenate([np.empty(0), *(found.deviation[strong] for found in turning.values())])),
    )


def runs(flags: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the start and the length (n, 2) of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return np.stack([edges[::2], edges[1::2] - edges[::2]], axis=1)


def _length(signal: Signal) -> int:
    """Return the samples of a segment."""
    return max(2, round(SEGMENT_S * signal.rate_hz))


def _segments(signal: Signal, sensor: Sensor) -> Segments:
    length = _length(signal)
    count = len(signal.values) // length
    mean, deviation = np.empty((count, 3)), np.empty(count)
    step = max(1, BLOCK // length)
    for at in range(0, count, step):
        here = slice(at, min(at + step, count))
        block = signal.values[at * length : here.stop * length, list(sensor.columns)].astype(np.float64)
        block[~np.isfinite(block)] = np.nan
        block = sensor.factor * block.reshape(-1, length, 3)
        mean[here], deviation[here] = block.mean(axis=1), np.sqrt(block.var(axis=1).mean(axis=1))
    return Segments(mean, deviation)


def _usable(signal: Signal, stretches: Sequence[Stretch]) -> NDArray[np.bool_]:
    """Return which segments are measured, without a part in which values are repeated."""
    length = _length(signal)
    usable = np.ones(len(signal.values) // length, dtype=bool)
    for stretch in stretches:
        usable[stretch.start // length : (stretch.start + stretch.samples - 1) // length + 1] = False
    return usable


def _rests(found: Segments) -> NDArray[np.bool_]:
    """Return which segments of an accelerometer rest, whatever its unit."""
    return np.asarray(found.deviation <= REST * np.maximum(np.linalg.norm(found.mean, axis=1), G))


def _rest(device: str, sensor: Sensor, poses: Floats) -> SensorRest:
    quantity: Literal["acceleration", "angular velocity"] = (
        "acceleration" if sensor.quantity == "acceleration" else "angular velocity"
    )
    values = poses / sensor.factor
    x, y, z = np.median(values, axis=0).tolist() if len(poses) else (0.0, 0.0, 0.0)
    return SensorRest(
        device=device,
        channels=sensor.channels,
        quantity=quantity,
        unit=sensor.unit,
        one=(G if quantity == "acceleration" else DEGREE) / sensor.factor,
        seconds=len(poses) * SEGMENT_S,
        mean=(x, y, z) if len(poses) else None,
        norm=float(np.median(np.linalg.norm(values, axis=1))) if len(poses) else None,
    )


def _spread(rows: Floats) -> Floats:
    """Return at most POSES rows, evenly spread over all."""
    return rows[np.linspace(0, len(rows) - 1, min(POSES, len(rows))).astype(np.intp)]


# Repeated values


def _stretches(signal: Signal, names: Sequence[str], sensors: Sequence[Sensor]) -> Iterator[Stretch]:
    """Yield the stretches of at least REPEATED_S in which channels repeat a value that a sensor would not repeat."""
    least = max(2, round(REPEATED_S * signal.rate_hz))
    moving = [sensor for sensor in sensors if sensor.quantity == "acceleration"]
    for sensor in moving:
        yield from _zeros(signal, names, sensor, least)
    if moving:
        for start, samples in _repeating(signal.values, range(len(names)), least):
            if signal.values[start].any() and _move(_sides(signal, moving[0], start, samples)):
                yield _stretch("held", tuple(names), signal, start, samples)
    for sensor in sensors:
        if sensor.quantity != "magnetic field":
            yield from _frozen(signal, sensor, least)


def _zeros(signal: Signal, names: Sequence[str], sensor: Sensor, least: int) -> Iterator[Stretch]:
    """Yield the stretches in which an accelerometer is 0; without gravity, a coarse one at rest may be."""
    all_zero = np.logical_and.reduce([signal.values[:, column] == 0 for column in sensor.columns])
    for start, samples in _long_runs(all_zero, least):
        zero = (signal.values[start : start + samples] == 0).all(axis=0)
        sides = _sides(signal, sensor, start, samples)
        every = zero.all() and len(zero) > len(sensor.columns)
        if any(side.pull >= LEAST_PULL * G for side in sides) or (every and _move(sides)):
            yield _stretch("zero", tuple(names[c] for c in np.flatnonzero(zero).tolist()), signal, start, samples)


def _frozen(signal: Signal, sensor: Sensor, least: int) -> Iterator[Stretch]:
    values = signal.values
    moves = MOVES * G if sensor.quantity == "acceleration" else TURNS * DEGREE
    for place, column in enumerate(sensor.columns):
        others = [other for other in sensor.columns if other != column]
        for start, samples in _repeating(values, [column], least):
            moved = values[start : start + samples, others].astype(np.float64)
            moved[~np.isfinite(moved)] = np.nan
            if (sensor.factor * moved.std(axis=0) >= moves).all():
                yield _stretch("frozen", (sensor.channels[place],), signal, start, samples)


def _stretch(kind: Kind, channels: tuple[str, ...], signal: Signal, start: int, samples: int) -> Stretch:
    time, last = signal.time, start + samples - 1
    begin = start / signal.rate_hz if time is None else float(time[start] - time[0])
    seconds = samples / signal.rate_hz if time is None else float(time[last] - time[start])
    return Stretch(kind, channels, start, samples, begin, seconds)


def _repeating(values: NDArray[np.float32], columns: Sequence[int], least: int) -> Iterator[tuple[int, int]]:
    """Yield start and length of each run in which all columns repeat their finite value."""
    same = np.ones(max(len(values) - 1, 0), dtype=bool)
    for column in columns:
        same &= values[1:, column] == values[:-1, column]
        same &= np.isfinite(values[1:, column])
    for start, steps in _long_runs(same, least - 1):
        yield start, steps + 1


def _long_runs(flags: NDArray[np.bool_], least: int) -> Iterator[tuple[int, int]]:
    for start, length in runs(flags).tolist():
        if length >= least:
            yield start, length


class Side(NamedTuple):
    """The accelerometer in the second before or after a stretch, in m/s²."""

    pull: float  # norm of the mean: gravity, if it is included
    deviation: float  # root of the mean variance of the axes


def _sides(signal: Signal, sensor: Sensor, start: int, samples: int) -> list[Side]:
    """Return what the device does next to a stretch, where it recorded."""
    length, end = _length(signal), start + samples
    parts = [signal.values[max(start - length, 0) : start], signal.values[end : end + length]]
    found = (sensor.factor * part[:, list(sensor.columns)].astype(np.float64) for part in parts if len(part) >= 2)
    return [
        Side(float(np.linalg.norm(part.mean(axis=0))), float(np.sqrt(part.var(axis=0).mean())))
        for part in found
        if np.isfinite(part).all()
    ]


def _move(sides: Sequence[Side]) -> bool:
    """Return whether the device moves before and after a stretch, where that is known."""
    return bool(sides) and all(side.deviation >= MOVES * G for side in sides)
