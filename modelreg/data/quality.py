"""Data quality: measure, judge, correct. Inf counts as missing, as NaN does.

Every statistic is of one recording alone, so that nothing of one part can reach another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from modelreg.data.recording import UNLABELLED, Dataset, Recording, Signal
from modelreg.errors import InputError, Problem
from modelreg.records.data import ChannelQuality, Limits, QualityReport, RecordingQuality, SourceRecord
from modelreg.records.model import Channel


def check(dataset: Dataset, limits: Limits) -> QualityReport:
    """Measure every recording. Raises InputError if a limit names a channel that the data do not have."""
    refuse_unknown_limits(dataset, limits)
    return QualityReport(
        sources=(describe(dataset),),
        recordings=tuple(measure(recording, dataset.channels, limits) for recording in dataset.recordings),
    )


def refuse_unknown_limits(dataset: Dataset, limits: Limits) -> None:
    """Raise InputError if a limit names a channel that the data do not have."""
    known = {channel.name for channel in dataset.channels}
    if unknown := sorted(limits.channels.keys() - known):
        problems = [Problem(f"quality.limits.channels.{name}", "no such channel") for name in unknown]
        raise InputError(f"{dataset.name} has the channels {', '.join(sorted(known))}", problems)


def describe(dataset: Dataset) -> SourceRecord:
    """Return where a data set came from."""
    return SourceRecord(
        kind=dataset.kind,
        name=dataset.name,
        digest=dataset.digest,
        license=dataset.license,
        citation=dataset.citation,
    )


def measure(recording: Recording, channels: Sequence[Channel], limits: Limits) -> RecordingQuality:
    """Return what is in a recording, and in words what breaks a threshold."""
    measured = [
        quality
        for device, signal in recording.signals.items()
        for quality in _measure_signal(device, signal.values, channels)
    ]
    return RecordingQuality(
        recording=recording.name,
        subject=recording.subject,
        samples=len(recording.labels),
        labelled=int(np.count_nonzero(recording.labels != UNLABELLED)),
        channels=tuple(measured),
        problems=tuple(
            f"{quality.device} {quality.channel}: {what}" for quality in measured for what in _judge(quality, limits)
        ),
    )


def correct(
    recordings: Sequence[Recording],
    channels: Sequence[Channel],
    missing: Literal["interpolate", "drop", "raise"],
) -> tuple[Recording, ...]:
    """Return the recordings with missing values treated; those that stay are NaN, and cost their windows.

    interpolate: linearly inside the recording, its ends hold the nearest value; a channel without any finite
    value stays missing. drop: nothing is filled. raise: InputError lists every channel with missing values.
    """
    if missing == "raise" and (problems := list(find_missing(recordings, channels))):
        raise InputError("the data have missing values", problems)
    treat = _interpolate if missing == "interpolate" else _mark
    return tuple(
        replace(
            recording,
            signals={
                device: Signal(treat(signal.values), signal.rate_hz) for device, signal in recording.signals.items()
            },
        )
        for recording in recordings
    )


def find_missing(recordings: Sequence[Recording], channels: Sequence[Channel]) -> Iterator[Problem]:
    """Yield every channel of every recording that has missing values."""
    for recording in recordings:
        for device, signal in recording.signals.items():
            counts = np.count_nonzero(~np.isfinite(signal.values), axis=0)
            for channel, count in zip(channels, counts, strict=True):
                if count:
                    yield Problem(f"{recording.name}: {device} {channel.name}", f"{count} missing values")


def _measure_signal(device: str, values: NDArray[np.float32], channels: Sequence[Channel]) -> Iterator[ChannelQuality]:
    """Measure each column of (samples, C)."""
    finite = np.isfinite(values)
    count = np.count_nonzero(finite, axis=0)
    x = np.where(finite, values, 0).astype(np.float64)
    mean = x.sum(axis=0) / np.maximum(count, 1)
    std = np.sqrt((np.where(finite, x - mean, 0) ** 2).sum(axis=0) / np.maximum(count, 1))
    low = np.min(values, axis=0, where=finite, initial=np.inf)
    high = np.max(values, axis=0, where=finite, initial=-np.inf)
    nan = np.count_nonzero(np.isnan(values), axis=0)
    inf = np.count_nonzero(np.isinf(values), axis=0)
    samples = max(len(values), 1)
    for c, channel in enumerate(channels):
        yield ChannelQuality(
            device=device,
            channel=channel.name,
            nan=int(nan[c]),
            inf=int(inf[c]),
            nan_rate=int(nan[c]) / samples,
            inf_rate=int(inf[c]) / samples,
            constant=bool(low[c] == high[c]),
            mean=float(mean[c]) if count[c] else None,
            std=float(std[c]) if count[c] else None,
            min=float(low[c]) if count[c] else None,
            max=float(high[c]) if count[c] else None,
        )


def _judge(quality: ChannelQuality, limits: Limits) -> Iterator[str]:
    """Yield every threshold that a channel breaks."""
    if quality.nan_rate > limits.max_nan_rate:
        yield f"{quality.nan_rate:.1%} NaN, above {limits.max_nan_rate:.1%}"
    if quality.inf_rate > limits.max_inf_rate:
        yield f"{quality.inf_rate:.1%} Inf, above {limits.max_inf_rate:.1%}"
    if quality.std is None or quality.min is None or quality.max is None:
        yield "no finite value"
        return
    yield from _judge_spread(quality.std, constant=quality.constant, limits=limits)
    low, high = limits.channels.get(quality.channel, (-np.inf, np.inf))
    if quality.min < low or quality.max > high:
        yield f"values from {quality.min:g} to {quality.max:g}, outside {low:g} to {high:g}"


def _judge_spread(std: float, *, constant: bool, limits: Limits) -> Iterator[str]:
    if constant:
        yield "constant"
    elif std < limits.std_min:
        yield f"standard deviation {std:.3g}, below {limits.std_min:g}"
    elif std > limits.std_max:
        yield f"standard deviation {std:.3g}, above {limits.std_max:g}"


def _mark(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the values with NaN for everything that is missing."""
    return np.where(np.isfinite(values), values, np.float32(np.nan))


def _interpolate(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fill the gaps of each column of (samples, C) from its finite values, where it has any."""
    filled = _mark(values)
    rows = np.arange(len(values))
    for column in filled.T:
        gap = np.isnan(column)
        if gap.any() and not gap.all():
            column[gap] = np.interp(rows[gap], rows[~gap], column[~gap])
    return filled
