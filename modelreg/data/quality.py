"""Measure the quality of recordings, compare it with thresholds, and fill missing values. Inf is missing, as NaN is.

The measurements of a recording depend on that recording alone. The values that a strategy fills in (`mean`, `median`)
are fitted on train, so that nothing leaks from validation or test.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from modelreg.config import QualitySettings
from modelreg.data import alignment, running_statistics
from modelreg.data.memory_map import release
from modelreg.data.recording import UNLABELLED, Dataset, Recording, passing
from modelreg.errors import InputError, Problem
from modelreg.records.data import (
    ChannelQuality,
    ClockQuality,
    Limits,
    QualityReport,
    Recommendation,
    RecordingQuality,
)
from modelreg.records.model import Channel

MEAN_UP_TO, INTERPOLATE_UP_TO = 0.10, 0.20  # missing rates; beyond, a recording is better dropped
SATURATED = 3  # consecutive samples at the lowest or highest value; fewer can be chance

Fill = NDArray[np.float32]  # (D, C), replaces missing values


def check_quality(dataset: Dataset, limits: Limits) -> QualityReport:
    """Measure every recording. Raises InputError if a limit names an unknown channel."""
    refuse_unknown_limits(dataset, limits)
    return QualityReport(
        sources=dataset.sources,
        recordings=tuple(measure(recording, dataset.channels, limits) for recording in passing(_whole(dataset))),
    )


def _whole(dataset: Dataset) -> Iterator[Recording]:
    """Yield the recordings to measure: of a source `npy`, all windows of a subject as one."""
    if any(source.kind != "npy" for source in dataset.sources):
        yield from dataset.recordings
        return
    groups: dict[tuple[str, str], list[Recording]] = defaultdict(list)
    for recording in dataset.recordings:
        groups[recording.subject, recording.session].append(recording)
    for (subject, session), found in groups.items():
        signals = {
            device: replace(signal, values=_joined([piece.signals[device].values for piece in found]))
            for device, signal in found[0].signals.items()
        }
        labels = np.concatenate([piece.labels for piece in found])
        name = f"{session}: {subject}"[:100].rstrip()  # no longer than a name may be
        yield replace(found[0], name=name, signals=signals, labels=labels)
        release(array for piece in found for array in piece.arrays())


def _joined(pieces: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the samples of all pieces in C order."""
    return np.concatenate(pieces, out=np.empty((sum(map(len, pieces)), pieces[0].shape[1]), np.float32))


def refuse_unknown_limits(dataset: Dataset, limits: Limits) -> None:
    """Raise InputError if a limit names an unknown channel."""
    known = {channel.name for channel in dataset.channels}
    if unknown := sorted(limits.channels.keys() - known):
        message = f"unknown channel (the recordings have {', '.join(sorted(known))})"
        problems = [Problem(f"quality.limits.channels.{name}", "quality.channel-unknown", message) for name in unknown]
        raise InputError("cannot check the quality of the recordings", problems)


def refuse_broken(report: QualityReport) -> None:
    """Raise InputError with every threshold that a recording exceeds."""
    broken = [Problem(r.recording, "quality.threshold", problem) for r in report.recordings for problem in r.problems]
    if broken:
        raise InputError("the recordings exceed thresholds", broken)


# Measure and compare with thresholds


def measure(recording: Recording, channels: Sequence[Channel], limits: Limits) -> RecordingQuality:
    """Return the quality of a recording, with a message for each threshold that it exceeds."""
    stamps = tuple(alignment.measure(recording.signals, limits))
    measured = tuple(
        quality
        for device, signal in recording.signals.items()
        for quality in _measure_signal(device, signal.values, channels)
    )
    missing = max((quality.nan_rate + quality.inf_rate for quality in measured), default=0.0)
    return RecordingQuality(
        recording=recording.name,
        subject=recording.subject,
        samples=len(recording.labels),
        labelled=int(np.count_nonzero(recording.labels != UNLABELLED)),
        score=score(measured, stamps, limits),
        missing_rate=min(missing, 1.0),
        recommendation=recommend(missing),
        clocks=stamps,
        channels=measured,
        problems=(
            *(f"{clock.device} clock: {what}" for clock in stamps for what in alignment.judge(clock, limits)),
            *(
                f"{quality.device} {quality.channel}: {what}"
                for quality in measured
                for what in _judge(quality, limits)
            ),
        ),
    )


def recommend(missing_rate: float) -> Recommendation:
    """Return what to do about missing values: a few hardly change a mean, many cannot be estimated."""
    if missing_rate == 0:
        return "none"
    if missing_rate <= MEAN_UP_TO:
        return "mean"
    return "interpolate" if missing_rate <= INTERPOLATE_UP_TO else "drop"


def score(channels: Sequence[ChannelQuality], stamps: Sequence[ClockQuality], limits: Limits) -> float:
    """Return 0 to 100: the mean share of usable samples over all channels.

    The share of a channel is: finite share * (1 - saturated share) * min(std / `limits.std_min`, 1), and 0 if the
    channel is constant. The mean is multiplied by the share of time outside of gaps, for the worst clock.
    """
    shares = [
        (1 - channel.nan_rate - channel.inf_rate) * (1 - channel.saturated_rate) * _liveliness(channel, limits)
        for channel in channels
    ]
    covered = 1 - max((clock.missing_rate for clock in stamps), default=0.0)
    return max(100 * float(np.mean(shares)) * covered, 0.0) if shares else 0.0


def _liveliness(channel: ChannelQuality, limits: Limits) -> float:
    if channel.std is None or channel.constant:
        return 0.0
    return min(channel.std / limits.std_min, 1.0) if limits.std_min else 1.0


def _measure_signal(device: str, values: NDArray[np.float32], channels: Sequence[Channel]) -> Iterator[ChannelQuality]:
    """Measure each column of (samples, C)."""
    finite = np.isfinite(values)
    count = np.count_nonzero(finite, axis=0)
    x = np.zeros_like(values, dtype=np.float64)  # the only copy, because recordings can be large
    np.copyto(x, values, where=finite)
    mean = x.sum(axis=0) / np.maximum(count, 1)
    np.subtract(x, mean, out=x, where=finite)
    std = np.sqrt(np.square(x, out=x).sum(axis=0) / np.maximum(count, 1))
    del x
    low = np.min(values, axis=0, where=finite, initial=np.inf)
    high = np.max(values, axis=0, where=finite, initial=-np.inf)
    nan = np.count_nonzero(np.isnan(values), axis=0)
    inf = np.count_nonzero(np.isinf(values), axis=0)
    saturated = _count_saturated(values, low, high)
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
            saturated_rate=int(saturated[c]) / samples,
            mean=float(mean[c]) if count[c] else None,
            std=float(std[c]) if count[c] else None,
            min=float(low[c]) if count[c] else None,
            max=float(high[c]) if count[c] else None,
        )


def _count_saturated(
    values: NDArray[np.float32], low: NDArray[np.float32], high: NDArray[np.float32]
) -> NDArray[np.intp]:
    """Return for each column the samples in runs of at least SATURATED at either end; 0 for a constant column."""
    counts = np.zeros(values.shape[1], dtype=np.intp)
    for end in (low, high):
        at_end = values == end
        for c in np.flatnonzero((at_end.sum(axis=0) >= SATURATED) & (low < high)):
            runs = _run_lengths(at_end[:, c])
            counts[c] += runs[runs >= SATURATED].sum()
    return counts


def _run_lengths(flags: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the length of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return edges[1::2] - edges[::2]


def _judge(quality: ChannelQuality, limits: Limits) -> Iterator[str]:
    """Yield a message for every threshold that a channel exceeds."""
    if quality.nan_rate > limits.max_nan_rate:
        yield f"{quality.nan_rate:.1%} NaN, above {limits.max_nan_rate:.1%}"
    if quality.inf_rate > limits.max_inf_rate:
        yield f"{quality.inf_rate:.1%} Inf, above {limits.max_inf_rate:.1%}"
    if quality.std is None or quality.min is None or quality.max is None:
        yield "no finite value"
        return
    yield from _judge_spread(quality.std, constant=quality.constant, limits=limits)
    if quality.saturated_rate > limits.max_saturated_rate:
        yield f"{quality.saturated_rate:.1%} saturated, above {limits.max_saturated_rate:.1%}"
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


# Fill missing values


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
    lengths[flags] = np.repeat(runs := _run_lengths(flags), runs)
    return lengths
