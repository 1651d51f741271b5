"""z = (x - mean) / std, of the training part's statistics alone."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from modelreg.data.recording import UNLABELLED, Recording
from modelreg.errors import InputError, Problem
from modelreg.records.data import Limits, Normalization
from modelreg.records.model import InputSpec


def fit(
    recordings: Sequence[Recording],
    spec: InputSpec,
    *,
    per: Literal["channel", "device_channel"],
    limits: Limits,
    data_digest: str,
) -> Normalization:
    """Fit on the labelled samples, in float64, of which no channel of any device is missing.

    The devices of a recording share one clock. `per` channel pools the devices into one row. Raises
    InputError where no sample is left, and for every constant channel.
    """
    samples = np.concatenate([_complete_samples(recording) for recording in recordings])  # (S, D, C)
    if not len(samples):
        raise InputError("cannot normalize", [Problem("train", "no labelled sample without missing values")])
    rows = samples.reshape(-1, 1, samples.shape[2]) if per == "channel" else samples
    _refuse_constant(rows, spec)
    return Normalization(
        per=per,
        samples=len(rows),
        data_digest=data_digest,
        channels=spec.channels,
        devices=spec.devices,
        rate_hz=spec.rate_hz,
        timesteps=spec.timesteps,
        fold=spec.fold,
        mean=_as_rows(rows.mean(axis=0)),
        std=_as_rows(rows.std(axis=0)),
        limits=limits,
    )


def apply(x: NDArray[np.float32], normalization: Normalization) -> NDArray[np.float32]:
    """Normalize windows, float32 (N, C, D, T), in float32 as the device does."""
    mean = np.array(normalization.mean, dtype=np.float32).T[:, :, None]  # (C, 1 or D, 1)
    std = np.array(normalization.std, dtype=np.float32).T[:, :, None]
    normalized: NDArray[np.float32] = (x - mean) / std
    return normalized


def _complete_samples(recording: Recording) -> NDArray[np.float64]:
    """Return the samples that may reach a window, (S, D, C)."""
    samples = np.stack([signal.values for signal in recording.signals.values()], axis=1)
    complete = np.isfinite(samples).all(axis=(1, 2)) & (recording.labels != UNLABELLED)
    rows: NDArray[np.float64] = samples[complete].astype(np.float64)
    return rows


def _refuse_constant(rows: NDArray[np.float64], spec: InputSpec) -> None:
    """Raise InputError naming every constant column of (S, R, C)."""
    constant = rows.min(axis=0) == rows.max(axis=0)
    devices = spec.devices if len(constant) == len(spec.devices) else (f"all of {', '.join(spec.devices)}",)
    problems = [
        Problem(f"{devices[row]} {spec.channels[c].name}", "constant over the whole training part")
        for row, c in np.argwhere(constant)
    ]
    if problems:
        raise InputError("a constant channel carries nothing: leave it out of the data", problems)


def _as_rows(values: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in values.tolist())
