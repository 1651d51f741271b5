"""Choose a few seconds of each class, for a look at the signals."""

from collections.abc import Iterator, Sequence

import numpy as np

from modelreg.data.recording import Dataset, Recording, Signal, passing
from modelreg.data.sensors import sensors_of
from modelreg.records.data import Excerpt
from modelreg.records.model import Channel

SECONDS = 5.0
POINTS = 160  # of an excerpt; a faster signal is thinned out
PANELS = 6  # groups of channels that are shown, over all devices


def choose(dataset: Dataset) -> tuple[Excerpt, ...]:
    """Return the middle of the longest stretch of each class, for the first PANELS groups of channels.

    A stretch is on the first device's clock; the other devices are shown at the same moments.
    """
    longest: dict[int, tuple[int, int, int]] = {}  # by class: samples, recording, start
    for number, recording in enumerate(passing(dataset.recordings)):
        for label, start, samples in _stretches(recording):
            if label >= 0 and samples > longest.get(label, (0, 0, 0))[0]:
                longest[label] = samples, number, start
    panels = [(device, columns) for device in dataset.devices for columns in _groups(dataset.channels)][:PANELS]
    return tuple(
        _excerpt(dataset, dataset.recordings[number], (label, start, samples), panel)
        for label, (samples, number, start) in sorted(longest.items())
        for panel in panels
    )


def _stretches(recording: Recording) -> Iterator[tuple[int, int, int]]:
    """Yield label, start and samples of each run of samples with one label."""
    starts = np.flatnonzero(np.diff(recording.labels, prepend=np.int32(-2)))
    lengths = np.diff(starts, append=len(recording.labels))
    yield from zip(recording.labels[starts].tolist(), starts.tolist(), lengths.tolist(), strict=True)


def _groups(channels: Sequence[Channel]) -> list[tuple[int, ...]]:
    """Return the columns of each sensor of three axes, and each other column by itself, in order."""
    sensors = [sensor.columns for sensor in sensors_of(channels)]
    grouped = {column for columns in sensors for column in columns}
    alone = [(column,) for column in range(len(channels)) if column not in grouped]
    return sorted([*sensors, *alone], key=min)


def _excerpt(
    dataset: Dataset, recording: Recording, stretch: tuple[int, int, int], panel: tuple[str, tuple[int, ...]]
) -> Excerpt:
    (label, first, samples), (device, columns) = stretch, panel
    labelled, signal = next(iter(recording.signals.values())), recording.signals[device]
    begin, end = _moment(labelled, first), _moment(labelled, first + samples - 1)
    begin += max(end - begin - SECONDS, 0) / 2
    end = min(end, begin + SECONDS)
    start, stop = _sample(signal, begin), _sample(signal, end) + 1
    step = -(-max(stop - start, 1) // POINTS)
    values = signal.values[start:stop:step, list(columns)].astype(np.float64)
    origin = 0.0 if labelled.time is None else float(labelled.time[0])
    return Excerpt(
        name=dataset.classes[label],
        recording=recording.name,
        device=device,
        channels=tuple(dataset.channels[column].name for column in columns),
        unit=dataset.channels[columns[0]].unit,
        start_s=begin - origin,
        seconds=end - begin,
        values=tuple(tuple(x if np.isfinite(x) else None for x in column) for column in values.T.tolist()),
    )


def _moment(signal: Signal, sample: int) -> float:
    """Return the time of a sample in seconds."""
    return sample / signal.rate_hz if signal.time is None else float(signal.time[sample])


def _sample(signal: Signal, moment: float) -> int:
    """Return the first sample at or after a moment, or the last sample."""
    if signal.time is None:
        return min(max(round(moment * signal.rate_hz), 0), len(signal.values) - 1)
    return min(int(np.searchsorted(signal.time, moment)), len(signal.values) - 1)
