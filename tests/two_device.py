"""A tiny made-up data set: two devices, nine channels, three classes that are easy to distinguish.

For tests only. It is drawn from sines and noise, train and test from the same few lines: no number made from
it describes a model, and none is reported.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelreg.data.recording import Recording, Signal
from modelreg.records.data import PARTS, PartName
from modelreg.records.model import Channel

DEVICES = ("phone", "collar")
CHANNELS = tuple(
    Channel(name=f"{sensor}_{axis}", unit=unit)
    for sensor, unit in (("acc", "m/s2"), ("gyro", "rad/s"), ("mag", "uT"))
    for axis in "xyz"
)
CLASSES = ("rest", "walk", "run")
SUBJECTS = ("s1", "s2", "s3", "s4", "s5", "s10")  # s10 is the highest
TIMESTEPS = 100
RATE_HZ = 50.0
WINDOWS = 6  # of each subject and class, where windows are written
GIVEN: dict[PartName, tuple[str, ...]] = {
    "train": ("s1", "s2", "s3"),
    "validation": ("s4",),
    "test": ("s5", "s10"),
}

FREQUENCY_HZ = (0.0, 1.5, 4.0)  # of each class
GRAVITY = np.array([[0, 0, 9.8], [0, 9.8, 0], [9.8, 0, 0]])  # of each class


def two_device_signal(subject: int, label: int, device: int, samples: int) -> NDArray[np.float32]:
    """Draw what one device records of one class, (samples, 9)."""
    generator = np.random.default_rng((subject, label, device, samples))
    time = np.arange(samples) / RATE_HZ
    phase = generator.uniform(0, 2 * np.pi, size=9)
    wave = np.sin(2 * np.pi * FREQUENCY_HZ[label] * time[:, None] + phase) * (FREQUENCY_HZ[label] > 0)
    level = np.concatenate([GRAVITY[label], np.zeros(3), 20 + 10 * generator.standard_normal(3)])
    noise = 0.3 * generator.standard_normal((samples, 9))
    return (level + wave * (1 + 0.2 * subject + device) + noise).astype(np.float32)


def two_device_recordings(samples: int = 500) -> tuple[Recording, ...]:
    """Return one continuous recording of each subject and class."""
    return tuple(
        Recording(
            name=f"{subject}-{name}",
            subject=subject,
            session="made up",
            signals={
                device: Signal(two_device_signal(number, label, d, samples), RATE_HZ)
                for d, device in enumerate(DEVICES)
            },
            labels=np.full(samples, label, dtype=np.int32),
        )
        for number, subject in enumerate(SUBJECTS)
        for label, name in enumerate(CLASSES)
    )


def two_device_arrays(subjects: tuple[str, ...] = SUBJECTS) -> dict[str, NDArray[Any]]:
    """Return windows as a source writes them: x (N, 9, 2, 100) float32, y (N,) int64, subject (N,) text."""
    chosen = [r for r in two_device_recordings(WINDOWS * TIMESTEPS) if r.subject in subjects]
    stacked = np.stack(
        [np.stack([r.signals[device].values for device in DEVICES], axis=2) for r in chosen]
    )  # (R, samples, 9, 2)
    x = stacked.reshape(len(chosen) * WINDOWS, TIMESTEPS, 9, 2).transpose(0, 2, 3, 1)
    return {
        "x": np.ascontiguousarray(x),
        "y": np.repeat([r.labels[0] for r in chosen], WINDOWS).astype(np.int64),
        "subject": np.repeat([r.subject for r in chosen], WINDOWS),
    }


def two_device_metadata() -> dict[str, Any]:
    """Return the metadata document of the windows, with one part `all`."""
    return {
        "schema_version": 1,
        "name": "two-device",
        "license": "none: made up for tests",
        "citation": "none",
        "layout": "NCDT",
        "channels": [channel.to_document() for channel in CHANNELS],
        "devices": list(DEVICES),
        "classes": list(CLASSES),
        "rate_hz": RATE_HZ,
        "timesteps": TIMESTEPS,
        "parts": {"all": {key: f"all_{key}.npy" for key in ("x", "y", "subject")}},
    }


def write_two_device(folder: Path, *, given: bool = False) -> Path:
    """Write the windows as .npy files and return the path of their metadata; `given`: in three parts."""
    metadata = two_device_metadata()
    parts = GIVEN if given else {"all": SUBJECTS}
    metadata["parts"] = {part: {key: f"{part}_{key}.npy" for key in ("x", "y", "subject")} for part in sorted(parts)}
    for part, subjects in parts.items():
        for key, array in two_device_arrays(subjects).items():
            np.save(folder / f"{part}_{key}.npy", array)
    return write_metadata(folder, metadata)


def write_metadata(folder: Path, metadata: dict[str, Any]) -> Path:
    """Write a metadata document, valid or not, and return its path."""
    path = folder / "dataset.json"
    path.write_text(json.dumps(metadata))
    return path


assert set(GIVEN) == set(PARTS)
