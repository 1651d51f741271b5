"""Measure the quality of recordings, and flag what is wrong. Inf is missing, as NaN is.

The measurements of a recording depend on that recording alone. Flags may compare it with others: with those of the same
device, subject or class.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data import alignment, channel_quality, device_swap, motion, physics
from modelreg.data.flags import THRESHOLD, Flag, group, without_consequences
from modelreg.data.memory_map import release
from modelreg.data.message_lists import quoted
from modelreg.data.recording import UNLABELLED, Dataset, Recording, Signal, passing
from modelreg.data.sensors import Sensor, sensors_of
from modelreg.errors import InputError, Problem
from modelreg.records.data import (
    ChannelQuality,
    ClassQuality,
    ClockQuality,
    Limits,
    QualityFinding,
    QualityReport,
    Recommendation,
    RecordingQuality,
)
from modelreg.records.model import Channel

SHORT_GAP_S = 0.2  # half a period of 2.5 Hz, the pace of fast walking: a line across a longer gap misses the motion
LABELS = "labels"  # the place of what is wrong with the labels of all recordings
ONE_CLASS = 0.9  # share of labelled samples that makes a recording one of a single class


class Missing(NamedTuple):
    """Seconds in stretches with a missing value, over all devices of a recording."""

    short: float  # in stretches of at most SHORT_GAP_S
    long: float
    longest: float


class Measured(NamedTuple):
    """What was measured in one recording."""

    name: str
    subject: str
    samples: int
    labelled: int
    seconds: float
    stretches: dict[str, list[float]]  # by class: the seconds of each run of samples with its label
    missing: Missing
    clocks: tuple[ClockQuality, ...]
    channels: tuple[ChannelQuality, ...]
    motions: dict[str, motion.Motion]  # by device
    parted: dict[str, tuple[alignment.Exceeded, ...]]  # by device: the time that its parts do not share

    @property
    def label(self) -> str:
        """Return the class of nearly all labelled samples; empty if there is none."""
        seconds = {name: sum(found) for name, found in self.stretches.items()}
        first = max(seconds, key=lambda name: seconds[name], default="")
        return first if first and seconds[first] >= ONE_CLASS * sum(seconds.values()) else ""


def check_quality(dataset: Dataset, limits: Limits) -> QualityReport:
    """Measure every recording and judge all of them. Raises InputError if a limit names an unknown channel."""
    refuse_unknown_limits(dataset, limits)
    channels, sensors = dataset.channels, sensors_of(dataset.channels)
    measured = [_measure(found, channels, dataset.classes, limits) for found in passing(_whole(dataset))]
    flags = _flags(measured, channels, sensors, limits)
    flagged: dict[str, list[Flag]] = defaultdict(list)
    for flag in flags:
        flagged[flag.recording].append(flag)
    classes = tuple(_class_quality(name, measured) for name in dataset.classes)
    grouped = group(flags, [channel.name for channel in channels])
    of_labels = (*dataset.findings, *_find_empty(classes))
    return QualityReport(
        sources=dataset.sources,
        devices=dataset.devices,
        sensors=channels,
        rate_hz=dataset.rate_hz,
        classes=classes,
        findings=(*of_labels, *grouped),
        recordings=tuple(_quality(found, flagged[found.name], channels, limits) for found in measured),
    )


def _find_empty(classes: Sequence[ClassQuality]) -> Iterator[QualityFinding]:
    """Yield what is wrong if classes have no sample."""
    if empty := [found.name for found in classes if not found.seconds]:
        message = f"no sample of {quoted(empty)}"
        cause = "classes without a sample"
        yield QualityFinding(rule="quality.class-empty", level="problem", where=LABELS, cause=cause, message=message)


def measure(recording: Recording, channels: Sequence[Channel], limits: Limits) -> RecordingQuality:
    """Return the quality of one recording, judged by itself."""
    measured = _measure(recording, channels, (), limits)
    return _quality(measured, _flags([measured], channels, sensors_of(channels), limits), channels, limits)


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
    """Raise InputError with everything that is flagged: a problem for each cause and recording, or for all."""
    broken = [
        problem for finding in report.findings or () if finding.level == "problem" for problem in _problems(finding)
    ]
    if broken:
        raise InputError("the recordings exceed thresholds", broken)


# Measure


def _measure(recording: Recording, channels: Sequence[Channel], classes: Sequence[str], limits: Limits) -> Measured:
    clocks = tuple(alignment.measure(recording.signals, limits))
    sensors, names = sensors_of(channels), [channel.name for channel in channels]
    motions = {device: motion.measure(device, signal, names, sensors) for device, signal in recording.signals.items()}
    step = _sample_seconds(recording, clocks)
    return Measured(
        name=recording.name,
        subject=recording.subject,
        samples=len(recording.labels),
        labelled=int(np.count_nonzero(recording.labels != UNLABELLED)),
        seconds=step * len(recording.labels),
        stretches=_stretches(recording.labels, classes, step),
        missing=_missing(recording.signals),
        clocks=clocks,
        channels=tuple(
            quality
            for device, signal in recording.signals.items()
            for quality in channel_quality.measure(device, signal, channels, motions[device])
        ),
        motions=motions,
        parted={device: tuple(alignment.judge_parts(signal.parts)) for device, signal in recording.signals.items()},
    )


def _sample_seconds(recording: Recording, clocks: Sequence[ClockQuality]) -> float:
    """Return the seconds of a sample of the first device, which has the labels."""
    device, signal = next(iter(recording.signals.items()))
    measured = next((clock.rate_hz for clock in clocks if clock.device == device), 0.0)
    return 1 / (measured or signal.rate_hz)


def _stretches(labels: NDArray[np.int32], classes: Sequence[str], step: float) -> dict[str, list[float]]:
    starts = np.flatnonzero(np.diff(labels, prepend=UNLABELLED - 1))
    lengths = np.diff(starts, append=len(labels))
    found: dict[str, list[float]] = {}
    for label, length in zip(labels[starts].tolist(), lengths.tolist(), strict=True):
        if 0 <= label < len(classes):
            found.setdefault(classes[label], []).append(step * length)
    return found


def _missing(signals: Mapping[str, Signal]) -> Missing:
    complete = {device: np.asarray(np.isfinite(signal.values).all(axis=1)) for device, signal in signals.items()}
    found = np.concatenate([motion.runs(~complete[d])[:, 1] / s.rate_hz for d, s in signals.items()])
    short = found <= SHORT_GAP_S
    return Missing(float(found[short].sum()), float(found[~short].sum()), float(found.max(initial=0.0)))


def _class_quality(name: str, measured: Sequence[Measured]) -> ClassQuality:
    found = [each for each in measured if name in each.stretches]
    seconds = np.array([length for each in found for length in each.stretches[name]])
    return ClassQuality(
        name=name,
        seconds=float(seconds.sum()),
        subjects=len({each.subject for each in found}),
        recordings=len(found),
        stretches=len(seconds),
        shortest_s=float(seconds.min()) if found else None,
        median_s=float(np.median(seconds)) if found else None,
        longest_s=float(seconds.max()) if found else None,
    )


def _quality(
    measured: Measured, flags: Sequence[Flag], channels: Sequence[Channel], limits: Limits
) -> RecordingQuality:
    missing = max((quality.nan_rate + quality.inf_rate for quality in measured.channels), default=0.0)
    quietest = {channel.name: channel_quality.bounds(channel, limits).std_min for channel in channels}
    return RecordingQuality(
        recording=measured.name,
        subject=measured.subject,
        samples=measured.samples,
        labelled=measured.labelled,
        score=score(measured.channels, measured.clocks, flags, quietest),
        missing_rate=min(missing, 1.0),
        recommendation=recommend(measured.missing),
        seconds=measured.seconds,
        class_seconds={name: sum(found) for name, found in measured.stretches.items()},
        longest_missing_s=measured.missing.longest or None,
        rests=tuple(rest for found in measured.motions.values() for rest in found.rests),
        clocks=measured.clocks,
        channels=measured.channels,
        problems=tuple(map(str, flags)),
    )


# Judge


def _flags(
    measured: Sequence[Measured], channels: Sequence[Channel], sensors: Sequence[Sensor], limits: Limits
) -> list[Flag]:
    """Return everything that is wrong, and what is known of gravity."""
    examined = [physics.Examined(m.name, m.subject, m.label, m.channels, m.motions) for m in measured]
    found = [
        *(flag for each in measured for flag in _thresholds(each, channels, limits)),
        *physics.judge(examined, sensors),
        *device_swap.judge(examined, sensors),
    ]
    return list(without_consequences(found))


def _thresholds(measured: Measured, channels: Sequence[Channel], limits: Limits) -> Iterator[Flag]:
    """Yield every threshold that a recording exceeds."""
    for clock in measured.clocks:
        for found in alignment.judge(clock, limits):
            yield Flag(measured.name, THRESHOLD, clock.device, (), *found)
    for device, exceeded in measured.parted.items():
        yield from (Flag(measured.name, THRESHOLD, device, (), *found, level="advice") for found in exceeded)
    named = {channel.name: channel for channel in channels}
    filling = MISSING_STEP[recommend(measured.missing)]
    for quality in measured.channels:
        yield from channel_quality.judge(measured.name, quality, named[quality.channel], limits, filling)


MISSING_STEP: Mapping[Recommendation, str] = {
    "none": "",
    "interpolate": f"set `quality.missing: interpolate` and `quality.max_fill_s: {SHORT_GAP_S:g}`",
    "drop": "set `quality.missing: drop`, so that windows with missing values are left out; or record again",
}


def recommend(missing: Missing) -> Recommendation:
    """Return what to do about missing values: a short gap of a moving sensor can be interpolated, a long one cannot."""
    if not missing.longest:
        return "none"
    return "interpolate" if missing.short >= missing.long else "drop"


def score(
    channels: Sequence[ChannelQuality],
    clocks: Sequence[ClockQuality],
    flags: Sequence[Flag],
    quietest: Mapping[str, float],
) -> float:
    """Return 0 to 100: the mean share of usable samples over all channels.

    The share of a channel is: finite share * (1 - saturated share) * (1 - repeated share) * min(std / quietest, 1), and
    0 if the channel is constant; each flag that concerns the channel halves it, one of its clock takes a tenth.
    `quietest` has the smallest deviation by channel. The mean is multiplied by the share of time outside of gaps, for
    the worst clock.
    """
    problems = [flag for flag in flags if flag.level == "problem"]
    shares = [
        (1 - channel.nan_rate - channel.inf_rate)
        * (1 - channel.saturated_rate)
        * (1 - (channel.frozen_rate or 0.0))
        * _liveliness(channel, quietest[channel.channel])
        * prod(flag.cost for flag in problems if flag.concerns(channel.device, channel.channel))
        for channel in channels
    ]
    covered = 1 - max((clock.missing_rate for clock in clocks), default=0.0)
    return max(100 * float(np.mean(shares)) * covered, 0.0) if shares else 0.0


def _liveliness(channel: ChannelQuality, quietest: float) -> float:
    if channel.std is None or channel.constant:
        return 0.0
    return min(channel.std / quietest, 1.0) if quietest else 1.0


def _problems(finding: QualityFinding) -> Iterator[Problem]:
    """Yield a problem for each recording of a finding, or one for all of them."""
    if not finding.recordings:
        yield Problem(finding.where, finding.rule, finding.message, finding.next)
    for recording in finding.recordings:
        yield Problem(recording, finding.rule, f"{finding.where}: {finding.cause}", finding.next)
