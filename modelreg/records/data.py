"""What is known of the data: its quality, its parts, its normalization."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from modelreg.records.base import Count, Name, Record, RelativePath, Sha256, Share
from modelreg.records.model import Channel

PartName = Literal["train", "validation", "test"]
PARTS: tuple[PartName, ...] = ("train", "validation", "test")


class ChannelQuality(Record):
    """One channel of one device in one recording. Inf is missing; the statistics are of finite values."""

    device: Name
    channel: Name
    nan: Count
    inf: Count
    nan_rate: Share
    inf_rate: Share
    constant: bool
    saturated_rate: Share = 0.0  # samples in a run of three or more at the lowest or highest value
    mean: float | None  # null: no finite value
    std: float | None
    min: float | None
    max: float | None


class ClockQuality(Record):
    """The time stamps of one device in one recording; intervals are those between one sample and the next."""

    device: Name
    rate_hz: float  # samples in a second, outside of gaps
    nominal_hz: float  # as the source declares it
    offset_s: float  # of its first sample after the earliest first sample of any device
    jitter: Annotated[float, Field(ge=0)]  # standard deviation of the intervals without gaps, in median intervals
    gaps: Count  # intervals longer than the limit
    longest_gap_s: Annotated[float, Field(ge=0)]  # the longest interval, gap or not
    missing_rate: Share  # of its time that lies in gaps


Recommendation = Literal["none", "mean", "interpolate", "drop"]


class RecordingQuality(Record):
    """The quality of one recording, and what in it breaks a threshold."""

    recording: Name
    subject: Name
    samples: Count
    labelled: Count
    score: Annotated[float, Field(ge=0, le=100)]  # docs/data.md says how it is computed
    missing_rate: Share  # NaN and Inf, of the worst channel
    recommendation: Recommendation  # what to do about missing values, by their rate
    clocks: tuple[ClockQuality, ...]
    channels: tuple[ChannelQuality, ...]
    problems: tuple[str, ...]


class SourceRecord(Record):
    """Where recordings came from."""

    kind: Name
    name: Name
    digest: Sha256  # over the arrays that were read
    license: str
    citation: str


class QualityReport(Record):
    """What `modelreg data check` found."""

    schema_version: Literal[1] = 1
    sources: tuple[SourceRecord, ...]
    recordings: tuple[RecordingQuality, ...]

    def by_channel(self) -> dict[tuple[str, str], list[ChannelQuality]]:
        """Return what was found of each device and channel, over all recordings that have it."""
        found: dict[tuple[str, str], list[ChannelQuality]] = {}
        for channel in (channel for recording in self.recordings for channel in recording.channels):
            found.setdefault((channel.device, channel.channel), []).append(channel)
        return found

    def by_clock(self) -> dict[str, list[ClockQuality]]:
        """Return what was found of each device's clock, over all recordings that have one."""
        found: dict[str, list[ClockQuality]] = {}
        for clock in (clock for recording in self.recordings for clock in recording.clocks):
            found.setdefault(clock.device, []).append(clock)
        return found


class Limits(Record):
    """The thresholds of the quality check; the device checks its input by them too."""

    max_nan_rate: Share = 0.05
    max_inf_rate: Share = 0.01
    std_min: Annotated[float, Field(ge=0)] = 0.01
    std_max: Annotated[float, Field(gt=0)] = 50.0
    max_saturated_rate: Share = 0.01
    max_gap_s: Annotated[float, Field(gt=0)] = 0.5  # between two samples of a clock
    max_offset_s: Annotated[float, Field(gt=0)] = 2.0  # between the starts of two devices
    max_jitter: Annotated[float, Field(gt=0)] = 0.5  # standard deviation of the intervals, in median intervals
    channels: dict[Name, tuple[float, float]] = {}  # channel name -> lowest and highest possible value

    @model_validator(mode="after")
    def _ordered(self) -> "Limits":
        if self.std_min >= self.std_max:
            raise ValueError("std_min must lie below std_max")
        for name, (low, high) in self.channels.items():
            if low >= high:
                raise ValueError(f"channels.{name}: the lower limit must lie below the upper one")
        return self


class Normalization(Record):
    """normalization.json: z = (x - mean) / std, fitted on the training part alone."""

    schema_version: Literal[1] = 1
    method: Literal["zscore"] = "zscore"
    per: Literal["channel", "device_channel"]
    fitted_on: Literal["train", "elsewhere"] = "train"  # elsewhere: it came with imported weights
    samples: Count  # per channel; 0 where it was fitted elsewhere
    data_digest: Sha256  # of the training part, or of the file that stated it
    layout: Literal["NCDT"] = "NCDT"
    channels: tuple[Channel, ...]
    devices: tuple[Name, ...]
    rate_hz: Annotated[float, Field(gt=0)]
    timesteps: Annotated[int, Field(ge=1)]
    fold: Literal[1, 2]
    mean: tuple[tuple[float, ...], ...]  # one row for all devices, or one row per device; C columns
    std: tuple[tuple[Annotated[float, Field(gt=0)], ...], ...]
    limits: Limits


class PartRecord(Record):
    """One part of the split: who is in it, how much, and the digest of its windows."""

    subjects: Annotated[tuple[Name, ...], Field(min_length=1)]
    recordings: Annotated[int, Field(ge=1)]
    windows: Annotated[int, Field(ge=1)]
    dropped: Count  # windows left out: a missing value that stayed, or no label by the rule
    class_windows: dict[Name, Count]
    digest: Sha256  # over windows (before normalization), labels, subjects, recordings and starts

    @model_validator(mode="after")
    def _adds_up(self) -> "PartRecord":
        if self.windows != sum(self.class_windows.values()):
            raise ValueError("windows is not the sum of class_windows")
        return self


class PartRecords(Record):
    """All three parts; none may be left out."""

    train: PartRecord
    validation: PartRecord
    test: PartRecord

    def __getitem__(self, name: PartName) -> PartRecord:
        part: PartRecord = getattr(self, name)
        return part

    def items(self) -> Iterator[tuple[PartName, PartRecord]]:
        """Yield each part with its name, training first."""
        for name in PARTS:
            yield name, self[name]


class DataRecord(Record):
    """data.json: what the model was trained and tested on, and how it was divided."""

    schema_version: Literal[1] = 1
    sources: tuple[SourceRecord, ...]
    classes: tuple[Name, ...]
    channels: tuple[Channel, ...]
    devices: tuple[Name, ...]
    rate_hz: float
    window: Count  # samples
    hop: Count  # samples
    labels: Literal["majority", "pure"]
    fold: Literal[1, 2]
    split: Literal["subject", "time", "given", "random"]  # random: a leaky reference, of no model and no version
    gap: Count  # samples between parts, where the split is by time
    parts: PartRecords


class NpyFiles(Record):
    """The arrays of one part, in the folder of the metadata."""

    x: RelativePath  # float32, float64 or integer, in the declared layout
    y: RelativePath  # integer (N,), index of the class
    subject: RelativePath  # integer or unicode (N,)


NpyPart = Literal["all", "train", "validation", "test"]


class NpyMetadata(Record):
    """The metadata JSON of windows cut elsewhere: everything that .npy files do not say themselves."""

    schema_version: Literal[1] = 1
    name: Name
    license: str
    citation: str
    layout: Literal["NCDT", "NCT", "NTC"]  # N windows, C channels, D devices, T timesteps
    channels: Annotated[tuple[Channel, ...], Field(min_length=1)]
    devices: Annotated[tuple[Name, ...], Field(min_length=1)]
    classes: Annotated[tuple[Name, ...], Field(min_length=2)]
    rate_hz: Annotated[float, Field(gt=0)]
    timesteps: Annotated[int, Field(ge=1)]
    parts: dict[NpyPart, NpyFiles]

    @model_validator(mode="after")
    def _consistent(self) -> "NpyMetadata":
        if self.layout != "NCDT" and len(self.devices) > 1:
            raise ValueError(f"layout {self.layout} has no axis for {len(self.devices)} devices: use NCDT")
        if set(self.parts) not in ({"all"}, set(PARTS)):
            raise ValueError("parts: give `all` alone, or each of `train`, `validation` and `test`")
        for names in ([channel.name for channel in self.channels], self.devices, self.classes):
            if len(set(names)) < len(names):
                raise ValueError(f"a name occurs twice in {', '.join(names)}")
        return self
