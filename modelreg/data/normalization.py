"""Normalize windows: z = (x - mean) / std, with the statistics of train, or with those of a legacy checkpoint."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from modelreg.data.recording import Recording
from modelreg.data.running_statistics import add_up, blocks
from modelreg.errors import InputError, Problem
from modelreg.files import Json
from modelreg.records.data import Limits, Normalization
from modelreg.records.model import InputSpec

Rows = tuple[tuple[float, ...], ...]  # one for all devices, or one for each; a number for each channel


def fit(
    recordings: Sequence[Recording],
    spec: InputSpec,
    *,
    per: Literal["channel", "device_channel"],
    limits: Limits,
    data_digest: str,
) -> Normalization:
    """Fit in float64 on the labelled samples without a missing value in any channel of any device.

    The devices of a recording share one clock. `per="channel"` pools all devices into one row. Raises InputError if no
    sample remains, and for every constant channel.
    """
    ends = [(len(rows), rows.min(axis=0), rows.max(axis=0)) for rows in _complete_rows(recordings, per)]
    count = sum(number for number, _, _ in ends)
    if not count:
        problem = Problem("train", "normalization.no-samples", "no labelled sample without missing values")
        raise InputError("cannot fit the normalization", [problem])
    _refuse_constant(np.min([low for _, low, _ in ends], axis=0), np.max([high for _, _, high in ends], axis=0), spec)
    mean = add_up(_complete_rows(recordings, per)) / count
    squares = add_up((rows - mean) ** 2 for rows in _complete_rows(recordings, per))
    return Normalization(
        per=per,
        samples=count,
        data_digest=data_digest,
        channels=spec.channels,
        devices=spec.devices,
        rate_hz=spec.rate_hz,
        timesteps=spec.timesteps,
        fold=spec.fold,
        mean=_as_rows(mean),
        std=_as_rows(np.sqrt(squares / count)),
        limits=limits,
    )


def stated(document: Json, spec: InputSpec, *, limits: Limits, digest: str, where: str) -> Normalization:
    """Return the normalization that a document states: a normalization.json, or any document with `mean` and `std`.

    They are at its top or under `normalization`, also as `zscore_mean` and `zscore_std`: one row for all devices or a
    row for each. `digest` is the digest of the file. Raises InputError, also if the document is of another input.
    """
    document = document if isinstance(document, dict) else {}
    inner = document.get("normalization")
    found = inner if isinstance(inner, dict) else document
    means, stds = (_stated_rows(found.get(name, found.get(f"zscore_{name}"))) for name in ("mean", "std"))
    if problems := [*_find_misstated(means, stds, spec, where), *_find_other_input(document, spec, where)]:
        raise InputError("cannot use the stated normalization", problems)
    return Normalization(
        per="channel" if len(means) == 1 else "device_channel",
        fitted_on="elsewhere",
        samples=0,
        data_digest=digest,
        channels=spec.channels,
        devices=spec.devices,
        rate_hz=spec.rate_hz,
        timesteps=spec.timesteps,
        fold=spec.fold,
        mean=means,
        std=stds,
        limits=limits,
    )


def _stated_rows(value: Json) -> Rows:
    """Return a list of numbers, or a list of such lists, as rows; no rows for any other value."""
    rows = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
    if not all(isinstance(row, list) and all(_is_number(number) for number in row) for row in rows):
        return ()
    return tuple(tuple(float(number) for number in row) for row in rows)


def _find_misstated(means: Rows, stds: Rows, spec: InputSpec, where: str) -> Iterator[Problem]:
    for name, rows in (("mean", means), ("std", stds)):
        if len(rows) not in {1, len(spec.devices)} or {*map(len, rows)} != {len(spec.channels)}:
            names = ", ".join(channel.name for channel in spec.channels)
            message = f"must be {len(spec.channels)} numbers, for {names}; or such a row for each device"
            yield Problem(f"{where}: {name}", "normalization.shape", message)
    if len(means) != len(stds):
        message = f"mean and std must have equal numbers of rows, found {len(means)} and {len(stds)}"
        yield Problem(where, "normalization.shape", message)
    if any(number <= 0 for row in stds for number in row):
        yield Problem(f"{where}: std", "normalization.not-positive", "must be above 0")


def _find_other_input(document: dict[str, Json], spec: InputSpec, where: str) -> Iterator[Problem]:
    """Yield every statement about the input that differs from these recordings."""
    ours = spec.to_document()
    for name in ("channels", "devices", "rate_hz", "timesteps", "fold"):
        if name in document and document[name] != ours[name]:
            message = f"must be {ours[name]}, as in the recordings, found {document[name]}"
            yield Problem(f"{where}: {name}", "normalization.input-mismatch", message)


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def apply(x: NDArray[np.float32], normalization: Normalization) -> NDArray[np.float32]:
    """Normalize windows, float32 (N, C, D, T), in float32 as the device does."""
    mean = np.array(normalization.mean, dtype=np.float32).T[:, :, None]  # (C, 1 or D, 1)
    std = np.array(normalization.std, dtype=np.float32).T[:, :, None]
    normalized: NDArray[np.float32] = (x - mean) / std
    return normalized


def _complete_rows(
    recordings: Sequence[Recording], per: Literal["channel", "device_channel"]
) -> Iterator[NDArray[np.float64]]:
    """Yield the complete samples, (n, D, C), n > 0; with `per="channel"` those of all devices, (n D, 1, C)."""
    for samples in blocks(recordings):
        rows = samples[np.isfinite(samples).all(axis=(1, 2))].astype(np.float64)
        if len(rows):
            yield rows.reshape(-1, 1, rows.shape[2]) if per == "channel" else rows


def _refuse_constant(low: NDArray[np.float64], high: NDArray[np.float64], spec: InputSpec) -> None:
    """Raise InputError with every column of (R, C) that is constant."""
    constant = low == high
    devices = spec.devices if len(constant) == len(spec.devices) else (f"all of {', '.join(spec.devices)}",)
    problems = [
        Problem(f"{devices[row]} {spec.channels[c].name}", "normalization.constant-channel", "constant in train")
        for row, c in np.argwhere(constant)
    ]
    if problems:
        raise InputError("cannot fit the normalization", problems)


def _as_rows(values: NDArray[np.float64]) -> Rows:
    return tuple(tuple(row) for row in values.tolist())
