"""Records of the data: quality, splits and normalization."""

from collections.abc import Iterator
from statistics import fmean
from typing import Annotated, Literal

from pydantic import Field, model_validator

from modelreg.records.base import LEFT_OUT, Count, Name, Record, RelativePath, Sha256, Share, setting
from modelreg.records.model import Channel

PartName = Literal["train", "validation", "test"]
PARTS: tuple[PartName, ...] = ("train", "validation", "test")


class ChannelQuality(Record):
    """One channel of one device in one recording. Infinite values are missing; statistics are over finite values."""

    device: Name
    channel: Name
    nan: Count
    inf: Count
    nan_rate: Share
    inf_rate: Share
    constant: bool
    saturated_rate: Share = 0.0  # samples in runs of three or more at the end of the sensor's range
    frozen_rate: Annotated[Share | None, LEFT_OUT] = None  # samples that repeat one value while the device moves
    mean: float | None  # null: no finite values
    std: float | None
    min: float | None
    max: float | None


class ClockQuality(Record):
    """The time stamps of one device in one recording; intervals are those between consecutive samples."""

    device: Name
    part: Annotated[Annotated[int, Field(ge=1)] | None, LEFT_OUT] = (
        None  # number of the part, if the device has several files
    )
    rate_hz: float  # samples per second, outside of gaps
    nominal_hz: float  # as declared by the source
    offset_s: float  # first sample, relative to the earliest first sample of all devices
    jitter: Annotated[float, Field(ge=0)]  # standard deviation of the intervals without gaps, divided by the median
    gaps: Count  # intervals longer than the limit
    longest_gap_s: Annotated[float, Field(ge=0)]  # the longest interval, whether it is a gap or not
    missing_rate: Share  # share of time in gaps

    @property
    def name(self) -> str:
        """Return the device, and the number of the part if it has several files."""
        return self.device if self.part is None else f"{self.device} part {self.part}"


class SensorRest(Record):
    """What a sensor of three axes shows while its device rests, in one recording."""

    device: Name
    channels: tuple[Name, Name, Name]  # the x, y and z axis
    quantity: Literal["acceleration", "angular velocity"]
    unit: Name
    one: Annotated[float, Field(gt=0)]  # 1 g, or 1 degree per second, in this unit
    seconds: Annotated[float, Field(ge=0)]  # of rest that was found
    mean: tuple[float, float, float] | None  # median of the axes over all rest; null: no rest was found
    norm: Annotated[float, Field(ge=0)] | None  # median of the norm over all rest


Recommendation = Literal["none", "mean", "interpolate", "drop"]  # mean: in reports of earlier versions only


class RecordingQuality(Record):
    """The quality of one recording, and everything in it that is flagged."""

    recording: Name
    subject: Name
    samples: Count
    labelled: Count
    score: Annotated[float, Field(ge=0, le=100)]  # docs/data.md defines it
    missing_rate: Share  # NaN and infinite values of the worst channel
    recommendation: Recommendation  # handling of missing values, by their rate
    seconds: Annotated[Annotated[float, Field(ge=0)] | None, LEFT_OUT] = None  # duration, without gaps
    class_seconds: Annotated[dict[Name, Annotated[float, Field(ge=0)]] | None, LEFT_OUT] = None  # labelled, by class
    longest_missing_s: Annotated[Annotated[float, Field(ge=0)] | None, LEFT_OUT] = None  # null: nothing is missing
    rests: Annotated[tuple[SensorRest, ...] | None, LEFT_OUT] = None
    clocks: tuple[ClockQuality, ...]
    channels: tuple[ChannelQuality, ...]
    problems: tuple[str, ...]


class RowCounts(Record):
    """What was done to the rows of text files, over all files of a source."""

    rows: Count  # that were read
    bad: Count  # rows left out: another number of columns, or no number where one must be
    cut: Count  # files whose last line was cut off and left out
    moved: Count  # rows out of order, which were sorted by time
    late: Count  # rows left out because their time is not after all rows before
    packets: Count  # files whose rows shared time stamps in packets, which were spread evenly

    def notes(self) -> tuple[str, ...]:
        """Return a clause for each thing that was done."""
        said = {
            f"bad rows, left out: {self.bad:,} of {self.rows + self.bad:,}": self.bad,
            f"files whose last line was cut off, and left out: {self.cut:,}": self.cut,
            f"rows out of order, sorted by time: {self.moved:,}": self.moved,
            f"rows left out because their time is not after all rows before: {self.late:,}": self.late,
            f"files in which several rows share each time stamp, spread evenly: {self.packets:,}": self.packets,
        }
        return tuple(text for text, count in said.items() if count)


NOT_STATED = "not stated"  # licence or citation in a draft of `data init`


class SourceRecord(Record):
    """A source of recordings."""

    kind: Name
    name: Name
    digest: Sha256  # over the arrays read
    license: str
    citation: str
    rows: Annotated[RowCounts | None, LEFT_OUT] = None  # of text files; null: every row was read as it is


class ClassQuality(Record):
    """The labelled samples of one class, over all recordings. A stretch is a run of samples with this label."""

    name: Name
    seconds: Annotated[float, Field(ge=0)]
    subjects: Count
    recordings: Count
    stretches: Count
    shortest_s: Annotated[float, Field(ge=0)] | None  # null: no sample has this label
    median_s: Annotated[float, Field(ge=0)] | None
    longest_s: Annotated[float, Field(ge=0)] | None


class QualityFinding(Record):
    """One cause that the check found, over all recordings that have it."""

    rule: Name
    level: Literal["problem", "advice", "information"]  # only a problem lowers the score and fails `--strict`
    where: str  # device and channels, or the split
    device: str = ""
    channels: tuple[Name, ...] = ()
    cause: str  # without numbers of a single recording
    message: str  # of the recording with the most extreme numbers, which is the first one
    next: str = ""
    recordings: tuple[Name, ...] = ()  # empty: it concerns no single recording


class Excerpt(Record):
    """A few seconds of one class, for a picture; not part of a document."""

    name: Name  # of the class
    recording: Name
    device: Name
    channels: tuple[Name, ...]
    unit: Name
    start_s: float  # after the first sample of the recording
    seconds: Annotated[float, Field(ge=0)]
    values: tuple[tuple[float | None, ...], ...]  # by channel, evenly spaced; null: missing


SHARED_COST = 0.9  # what a problem of no single recording, as of labels, leaves of the score of all


class QualityReport(Record):
    """The result of `modelreg data check`."""

    schema_version: Literal[1] = 1
    sources: tuple[SourceRecord, ...]
    devices: Annotated[tuple[Name, ...] | None, LEFT_OUT] = None
    sensors: Annotated[tuple[Channel, ...] | None, LEFT_OUT] = None  # the channels, with their units
    rate_hz: Annotated[float | None, LEFT_OUT] = None  # of the windows
    classes: Annotated[tuple[ClassQuality, ...] | None, LEFT_OUT] = None
    findings: Annotated[tuple[QualityFinding, ...] | None, LEFT_OUT] = None
    recordings: tuple[RecordingQuality, ...]

    @property
    def score(self) -> float:
        """Return the mean score of the recordings, times SHARED_COST for each problem that belongs to no single one.

        Raises StatisticsError if there are no recordings.
        """
        shared = sum(each.level == "problem" and not each.recordings for each in self.findings or ())
        return fmean(recording.score for recording in self.recordings) * SHARED_COST**shared

    def by_channel(self) -> dict[tuple[str, str], list[ChannelQuality]]:
        """Return the quality by device and channel, over all recordings with that channel."""
        found: dict[tuple[str, str], list[ChannelQuality]] = {}
        for channel in (channel for recording in self.recordings for channel in recording.channels):
            found.setdefault((channel.device, channel.channel), []).append(channel)
        return found

    def by_clock(self) -> dict[str, list[ClockQuality]]:
        """Return the quality of each device's clock, or of each of its parts, over all recordings with a clock."""
        found: dict[str, list[ClockQuality]] = {}
        for clock in (clock for recording in self.recordings for clock in recording.clocks):
            found.setdefault(clock.name, []).append(clock)
        return found


class Limits(Record):
    """The thresholds of the quality check; the runtime on a device uses them too."""

    max_nan_rate: Annotated[Share, setting("Largest share of NaN in a channel.", 0.05)] = 0.05
    max_inf_rate: Annotated[Share, setting("Largest share of infinite values in a channel.", 0.01)] = 0.01
    std_min: Annotated[
        float, setting("Smallest standard deviation of a channel. 0.01: by its unit.", 0.02, "channel unit", ge=0)
    ] = 0.01
    std_max: Annotated[
        float, setting("Largest standard deviation of a channel. 50: by its unit.", 30, "channel unit", gt=0)
    ] = 50.0
    max_saturated_rate: Annotated[
        Share, setting("Largest share of samples in runs of three or more at the lowest or highest value.", 0.01)
    ] = 0.01
    max_gap_s: Annotated[float, setting("Largest time between two samples of a clock.", 0.5, "s", gt=0)] = 0.5
    max_offset_s: Annotated[float, setting("Largest time between the starts of two devices.", 2, "s", gt=0)] = 2.0
    max_jitter: Annotated[
        float, setting("Largest standard deviation of the intervals of a clock.", 0.5, "median intervals", gt=0)
    ] = 0.5
    channels: Annotated[
        dict[Name, tuple[float, float]],
        setting(
            "Lowest and highest possible value of a channel. Left out: by its unit.", {"ax": [-16, 16]}, "channel unit"
        ),
    ] = {}

    @model_validator(mode="after")
    def _ordered(self) -> "Limits":
        if self.std_min >= self.std_max:
            raise ValueError("std_min must be less than std_max")
        for name, (low, high) in self.channels.items():
            if low >= high:
                raise ValueError(f"channels.{name}: the lower limit must be less than the upper limit")
        return self


class Normalization(Record):
    """normalization.json: z = (x - mean) / std, fitted on the train split."""

    schema_version: Literal[1] = 1
    method: Literal["zscore"] = "zscore"
    per: Literal["channel", "device_channel"]
    fitted_on: Literal["train", "elsewhere"] = "train"  # elsewhere: imported with weights
    samples: Count  # per channel; 0 if fitted elsewhere
    data_digest: Sha256  # of the train split, or of the imported file
    layout: Literal["NCDT"] = "NCDT"
    channels: tuple[Channel, ...]
    devices: tuple[Name, ...]
    rate_hz: Annotated[float, Field(gt=0)]
    timesteps: Annotated[int, Field(ge=1)]
    fold: Literal[1, 2]
    mean: tuple[tuple[float, ...], ...]  # shape (1, C), or (D, C) with one row per device
    std: tuple[tuple[Annotated[float, Field(gt=0)], ...], ...]
    limits: Limits


class PartRecord(Record):
    """One split: its subjects, its size, and the digest of its windows."""

    subjects: Annotated[tuple[Name, ...], Field(min_length=1)]
    recordings: Annotated[int, Field(ge=1)]
    windows: Annotated[int, Field(ge=1)]
    dropped: Count  # windows with missing values or without a label
    class_windows: dict[Name, Count]
    digest: Sha256  # over windows (before normalization), labels, subjects, recordings and starts

    @model_validator(mode="after")
    def _adds_up(self) -> "PartRecord":
        if self.windows != sum(self.class_windows.values()):
            raise ValueError("windows must be the sum of class_windows")
        return self


class PartRecords(Record):
    """The three splits. A cross-fitted run has only `train`, with all subjects: its folds have the others."""

    train: PartRecord
    validation: Annotated[PartRecord | None, LEFT_OUT] = None
    test: Annotated[PartRecord | None, LEFT_OUT] = None

    @model_validator(mode="after")
    def _is_complete(self) -> "PartRecords":
        if (self.validation is None) != (self.test is None):
            raise ValueError("validation and test: give both, or neither")
        return self

    def __getitem__(self, name: PartName) -> PartRecord:
        """Return a split. Raises KeyError if there is none of this name."""
        part: PartRecord | None = getattr(self, name)
        if part is None:
            raise KeyError(name)
        return part

    def items(self) -> Iterator[tuple[PartName, PartRecord]]:
        """Yield each split that exists with its name: train, validation, test."""
        for name in PARTS:
            if getattr(self, name) is not None:
                yield name, self[name]


class FoldSplit(Record):
    """One fold of a cross-fitted run: the subjects of each split, and the windows of its test subjects."""

    name: Name  # of its folder
    train: Annotated[tuple[Name, ...], Field(min_length=1)]
    validation: Annotated[tuple[Name, ...], Field(min_length=1)]
    test: Annotated[tuple[Name, ...], Field(min_length=1)]
    windows: Annotated[int, Field(ge=1)]  # of the test subjects
    digest: Sha256  # over these windows, as the final model's data has them


class DataRecord(Record):
    """data.json: the data that the model was trained and tested on, and its splits or its folds."""

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
    split: Literal["subject", "time", "given", "random"]  # random: the reference of the leakage audit only
    gap: Count  # samples between the splits, if the split is by time
    parts: PartRecords
    folds: Annotated[Annotated[tuple[FoldSplit, ...], Field(min_length=2)] | None, LEFT_OUT] = (
        None  # of a cross-fitted run
    )


class NpyFiles(Record):
    """The arrays of one split, in the folder of the metadata."""

    x: RelativePath  # float32, float64 or integer, in the declared layout
    y: RelativePath  # integer (N,), index of the class
    subject: RelativePath  # integer or unicode (N,)


NpyPart = Literal["all", "train", "validation", "test"]


class NpyMetadata(Record):
    """The metadata JSON of precut windows: everything that .npy files do not state."""

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
