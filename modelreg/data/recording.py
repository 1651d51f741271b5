"""Recordings, data sets and windows: what every source yields, and what is cut from it."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.memory_map import release
from modelreg.errors import Problem
from modelreg.records.data import PartName, QualityFinding, SourceRecord
from modelreg.records.model import Channel

UNLABELLED = -1
UNREADABLE = "cannot read the recordings"
PASSING = 2**20  # bytes of recordings after which the memory of mapped ones is released


class PartClock(NamedTuple):
    """The time stamps of one of several parts of a device, as they were read."""

    time: NDArray[np.float64]  # (samples,) seconds, on the clock of the device
    rate_hz: float  # nominal


@dataclass(frozen=True, slots=True)
class Signal:
    """The samples of one device, on its own clock."""

    values: NDArray[np.float32]  # (samples, channels); NaN and Inf are missing values
    rate_hz: float  # nominal
    time: NDArray[np.float64] | None = None  # (samples,) seconds, never falling; None: sample n is at n / rate_hz
    parts: tuple[PartClock, ...] = ()  # if several were joined on a grid, which is `time`


@dataclass(frozen=True, slots=True)
class Recording:
    """One subject, one session; per device a signal; labels over time."""

    name: str
    subject: str
    session: str
    signals: dict[str, Signal]  # by device, in the order of the dataset
    labels: NDArray[np.int32]  # (samples,) on the first device's clock: index of the class, or UNLABELLED
    start: int = 0  # samples of the original recording before this piece
    part: PartName | None = None  # the split that the source itself assigns
    domain: str = ""  # the name of the source, after several are joined

    def arrays(self) -> Iterator[NDArray[Any]]:
        """Yield every array that may be in a mapped file."""
        yield self.labels
        for signal in self.signals.values():
            yield signal.values
            if signal.time is not None:
                yield signal.time
            yield from (part.time for part in signal.parts)


def passing(recordings: Iterable[Recording]) -> Iterator[Recording]:
    """Yield recordings, and release the memory of mapped ones after use."""
    passed: list[NDArray[Any]] = []
    for recording in recordings:
        yield recording
        passed += recording.arrays()
        if sum(array.nbytes for array in passed) >= PASSING:
            release(passed)
            passed = []
    release(passed)


def natural(name: str) -> tuple[tuple[str | int, ...], str]:
    """Return a sort key by which s9 comes before s10."""
    pieces = re.split("([0-9]+)", name)  # text and digits alternate
    return tuple(int(piece) if i % 2 else piece for i, piece in enumerate(pieces)), name


def find_clock_problems(recordings: Iterable[Recording]) -> Iterator[Problem]:
    """Yield each recording whose devices and labels are not on one clock, sample for sample."""
    for recording in recordings:
        clocks = {(len(signal.values), signal.rate_hz) for signal in recording.signals.values()}
        lengths = {len(recording.labels), *(length for length, _ in clocks)}
        if len(clocks) > 1 or len(lengths) > 1:
            yield Problem(recording.name, "recordings.clocks-differ", "devices differ in rate or number of samples")


@dataclass(frozen=True)
class Dataset:
    """The recordings of one or several sources, with their common channels, devices and classes."""

    sources: tuple[SourceRecord, ...]  # each with a digest of the arrays that were read
    channels: tuple[Channel, ...]
    devices: tuple[str, ...]
    classes: tuple[str, ...]
    rate_hz: float
    recordings: tuple[Recording, ...]
    findings: tuple[QualityFinding, ...] = ()  # what a reader found wrong with the labels


class Dropped(NamedTuple):
    """The windows that were dropped, each counted once, by the first reason that it has."""

    unlabelled: int = 0  # with a sample without a label under `pure`, with more of these than of any class otherwise
    mixed: int = 0  # of several labels, under `pure`
    missing: int = 0  # with a missing value

    @property
    def total(self) -> int:
        """Return the number of all dropped windows."""
        return sum(self)

    def __str__(self) -> str:
        """Return the reasons with their numbers: `120 unlabelled, 14 with missing values`."""
        named = {"unlabelled": self.unlabelled, "of several labels": self.mixed, "with missing values": self.missing}
        return ", ".join(f"{count:,} {reason}" for reason, count in named.items() if count)


NONE_DROPPED = Dropped()


@dataclass(frozen=True)
class Windows:
    """The windows of one split, in recording order."""

    x: NDArray[np.float32]  # (N, C, D, T)
    y: NDArray[np.int64]  # (N,) index of the class
    subject: NDArray[np.int32]  # (N,) index into subjects
    recording: NDArray[np.int32]  # (N,) index into recordings
    start: NDArray[np.int64]  # (N,) first sample in the original recording
    subjects: tuple[str, ...]
    recordings: tuple[str, ...]
    domains: tuple[str, ...] = ()  # of each recording: the name of its source
    why: Dropped = NONE_DROPPED

    @property
    def dropped(self) -> int:
        """Return the number of windows that were dropped."""
        return self.why.total

    def recording_of(self, row: int) -> str:
        """Return the name of the recording of a window."""
        return self.recordings[int(self.recording[row])]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that the digest of this split covers."""
        return {
            "x": self.x,
            "y": self.y,
            "subject": np.array([self.subjects[i] for i in self.subject], dtype="U"),
            "recording": np.array([self.recordings[i] for i in self.recording], dtype="U"),
            "start": self.start,
        }
