"""What recordings say about their sensors: each planted fault is named and located, and clean signals are not flagged.

The signals are drawn: a body that rests in several orientations and moves in between, measured by sensors with noise,
bias, rounding and mounting errors as they are in phones and watches.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from modelreg.data import device_swap, quality
from modelreg.data.recording import Dataset, Recording, Signal
from modelreg.data.sensors import G, sensors_of, unit_of
from modelreg.records.data import Finding, Limits, QualityReport, SourceRecord
from modelreg.records.model import Channel

RATE = 50.0
SOURCE = SourceRecord(kind="csv", name="drawn", digest="0" * 64, license="", citation="")
UNITS = {"acc": "m/s2", "gyro": "rad/s", "mag": "uT"}
SEEDS = range(20)


def channels(**units: str) -> tuple[Channel, ...]:
    """Three axes of each sensor."""
    return tuple(
        Channel(name=f"{sensor}_{axis}", unit=unit) for sensor, unit in (UNITS | units).items() for axis in "xyz"
    )


def turned(random: np.random.Generator) -> NDArray[np.float64]:
    """Return a random orientation (3, 3)."""
    q, r = np.linalg.qr(random.normal(size=(3, 3)))
    return q * np.sign(np.diag(r))


def drawn(seed: int, device: int = 0, *, poses: int = 3, rounding: float = 0.0) -> NDArray[np.float32]:
    """Draw (samples, 9) in m/s², rad/s and µT: `poses` times 6 s of rest and 6 s of motion."""
    random = np.random.default_rng((seed, device))
    gain, offset = 1 + random.uniform(-0.02, 0.02), random.uniform(-0.04, 0.04, 3) * G
    bias, time, pieces = random.uniform(-0.02, 0.02, 3), np.arange(300) / RATE, []
    for _ in range(poses):
        rotation, strength = turned(random), random.uniform(0.5, 2.0) * (1 + device)
        waves = [
            np.sin(2 * np.pi * random.uniform(1, 3, 3) * time[:, None] + random.uniform(0, 6, 3)) for _ in range(2)
        ]
        for moves in (0.0, strength):
            acceleration = rotation @ [0, 0, G] + 2.5 * moves * waves[0]
            pieces.append(
                np.concatenate([acceleration, moves * waves[1], np.tile(rotation @ [20, 0, -40], (300, 1))], axis=1)
            )
    values = np.concatenate(pieces)
    values[:, :3] = gain * values[:, :3] + offset
    values[:, 3:6] += bias
    values += random.normal(size=values.shape) * [0.03] * 1 if False else 0
    values += random.normal(size=values.shape) * np.repeat([0.03, 0.005, 0.4], 3)
    if rounding:
        values[:, :3] = np.round(values[:, :3] / rounding) * rounding
    return values.astype(np.float32)
