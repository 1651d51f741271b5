"""Fill missing values: NaN and Inf.

The values that a strategy fills in (`mean`, `median`) are fitted on train, so that nothing leaks from validation or
test.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from modelreg.config import QualitySettings
from modelreg.data import running_statistics
from modelreg.data.motion import runs
from modelreg.data.recording import Recording, passing
from modelreg.errors import InputError, Problem
from modelreg.records.model import Channel

Fill = NDArray[np.float32]  # (D, C), replaces missing values


def fit(recordings: Sequence[Recording], settings: QualitySettings) -> Fill | None:
    """Return the values that `mean` or `median` fill in, from the finite labelled samples of train; otherwise None.

    The value of a channel without any finite sample is NaN: it stays missing.
    """
    if settings.missing not in ("mean", "median"):
        return None
    known = sum(np.isfinite(block).sum(axis=0) for block in running_statistics.blocks(recordings))  # (D, C)
    middle = _mean(recordings, known) if settings.missing == "mean" else _median(recordings, known)
    return np.where(known, middle, np.nan).astype(np.float32)


def _mean(recordings: Sequence[Recording], known: NDArray[np.int64]) -> NDArray[np.float64]:
    finite = (
        np.where(np.isfinite(block), block, 0).astype(np.float64) for block in running_statistics.blocks(recordings)
    )
    return running_statistics.add_up(finite) / np.maximum(known, 1)


def _median(recordings: Sequence[Recording], known: NDArray[np.int64]) -> NDArray[np.float64]:
    middle = np.zeros(known.shape)
    for device, channel in np.argwhere(known):
        column = running_statistics.column(recordings, device, channel)
        middle[device, channel] = np.median(column[np.isfinite(column)].astype(np.float64))
    return middle


def correct(
    recordings: Sequence[Recording], channels: Sequence[Channel], settings: QualitySettings, fill: Fill | None = None
) -> tuple[Recording, ...]:
    """Return the recordings with missing values filled; those that stay missing are NaN, and their windows dropped.

    interpolate: linearly inside the recording, with the nearest value at its ends; a channel without any finite
    value stays missing. zero: 0. mean, median: the values of `fit`. A stretch longer than `max_fill_s` stays missing.
    drop: nothing is filled. raise: InputError lists every channel with missing values.
    """
    if settings.missing == "raise" and (problems := list(find_missing(recordings, channels))):
        raise InputError("the recordings have missing values", problems)
    return tuple(_corrected(recording, settings, fill) for recording in passing(recordings))


def find_missing(recordings: Sequence[Recording], channels: Sequence[Channel]) -> Iterator[Problem]:
    """Yield every channel of every recording that has missing values."""
    for recording in recordings:
        for device, signal in recording.signals.items():
            counts = np.count_nonzero(~np.isfinite(signal.values), axis=0)
            for channel, count in zip(channels, counts, strict=True):
                if count:
                    where = f"{recording.name}: {device} {channel.name}"
                    yield Problem(where, "quality.missing-values", f"{count} missing values")


def _corrected(recording: Recording, settings: QualitySettings, fill: Fill | None) -> Recording:
    signals = {}
    for number, (device, signal) in enumerate(recording.signals.items()):
        longest = np.inf if settings.max_fill_s is None else settings.max_fill_s * signal.rate_hz
        means = None if fill is None else fill[number]
        treated = _treated(signal.values, settings.missing, means, longest)
        signals[device] = signal if treated is signal.values else replace(signal, values=treated)
    unchanged = all(signals[device] is signal for device, signal in recording.signals.items())
    return recording if unchanged else replace(recording, signals=signals)


def _treated(
    values: NDArray[np.float32], strategy: str, means: NDArray[np.float32] | None, longest: float
) -> NDArray[np.float32]:
    """Return (samples, C) with NaN for values that stay missing; the same array if no value is missing."""
    gaps = ~np.isfinite(values)
    if not gaps.any():
        return values
    treated = np.where(gaps, np.float32(np.nan), values)
    for c in range(values.shape[1]):
        filled = _filled(treated[:, c], gaps[:, c], strategy, 0 if means is None else means[c])
        treated[:, c] = np.where(gaps[:, c] & (_run_of(gaps[:, c]) <= longest), filled, treated[:, c])
    return treated


def _filled(
    column: NDArray[np.float32], gap: NDArray[np.bool_], strategy: str, middle: np.float32 | int
) -> NDArray[np.float32]:
    """Return one channel with every missing value filled; `middle` is 0 for `zero`."""
    if strategy in ("drop", "raise"):
        return column
    if strategy != "interpolate":
        return np.where(gap, np.float32(middle), column)
    if gap.all():
        return column
    rows = np.arange(len(column))
    return np.where(gap, np.interp(rows, rows[~gap], column[~gap]), column).astype(np.float32)


def _run_of(flags: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return for each true value the length of its run; 0 for each false one."""
    lengths = np.zeros(len(flags), dtype=np.intp)
    found = runs(flags)[:, 1]
    lengths[flags] = np.repeat(found, found)
    return lengths
