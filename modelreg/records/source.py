"""Where recordings come from, and what their names become: the part `data.sources` of a training's configuration."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from modelreg.records.base import Name, Record


def _nonzero(scale: float) -> float:
    if scale == 0:
        raise ValueError("a scale of 0 leaves nothing")
    return scale


def _separates(text: str) -> str:
    if not text.isascii() or text.isalnum() or text in '"+-._\r\n\0':
        raise ValueError("separator: one ASCII character that no number, quote or line break holds")
    return text


def _compiled(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return text


Path = Annotated[str, Field(min_length=1)]
Scale = Annotated[float, AfterValidator(_nonzero)]
Pattern = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_compiled)]


class ChannelMap(Record):
    """What a channel of a source becomes."""

    channel: Name  # theirs
    name: Name | None = None  # ours; null: as it is
    unit: Name | None = None  # null: as it is
    scale: Scale = 1.0  # theirs times this is ours


class DeviceMap(Record):
    """What a device of a source becomes."""

    device: Name  # theirs
    name: Name  # ours


class LabelledSource(Record):
    """What every source can be told."""

    labels: dict[Name, Name | None] | None = None  # their label -> our class, null drops; left out: as they are
    drop: tuple[Pattern, ...] = ()  # recordings whose whole name matches are left out
    prefix: Annotated[str, Field(max_length=40)] = ""  # before each subject: tells equal ids of two sources apart


class MappedSource(LabelledSource):
    """A source that names its own channels and devices. A list keeps what it names, in its order; null keeps all."""

    channels: Annotated[tuple[ChannelMap, ...], Field(min_length=1)] | None = None
    devices: Annotated[tuple[DeviceMap, ...], Field(min_length=1)] | None = None


class SampleSource(MappedSource):
    """The recordings that come with modelreg."""

    kind: Literal["sample"] = "sample"


class NpySource(MappedSource):
    """Windows cut elsewhere: .npy files beside a metadata JSON that declares them."""

    kind: Literal["npy"]
    path: Path  # the metadata JSON


DsadsUnit = Literal["T", "RA", "LA", "RL", "LL"]  # torso, right arm, left arm, right leg, left leg


class DsadsSource(MappedSource):
    """Daily and Sports Activities in its native layout; the units become devices."""

    kind: Literal["dsads"]
    path: Path  # the folder, or one .tar.xz
    units: Annotated[tuple[DsadsUnit, ...], Field(min_length=1, max_length=5)] = ("RA", "RL")

    @model_validator(mode="after")
    def _each_once(self) -> "DsadsSource":
        if len(set(self.units)) < len(self.units):
            raise ValueError("units: each may stand there once")
        return self


class HaptSource(MappedSource):
    """HAPT in its native layout: continuous recordings of a phone at the waist, with postural transitions."""

    kind: Literal["hapt"]
    path: Path  # the folder, or one .tar.xz


class SpswSource(MappedSource):
    """SP-SW-HAR in its native layout: a phone and a watch, each on its own clock."""

    kind: Literal["spsw"]
    path: Path  # the folder, or one .tar.xz


Column = Name | Annotated[int, Field(ge=1)]  # by the header, or by number from 1 where there is none
TimeUnit = Literal["s", "ms", "us", "ns", "iso8601"]


class CsvTime(Record):
    """The column that says when each row was sampled."""

    column: Column
    unit: TimeUnit


class CsvChannel(Record):
    """One column of a file, as a channel."""

    name: Name
    column: Column
    unit: Name  # after scaling
    scale: Scale = 1.0  # the file's number times this; -1 turns an axis round


class CsvColumns(Record):
    """Which columns of a file hold what."""

    time: CsvTime | None = None  # null: row n was sampled at n / rate_hz
    channels: Annotated[tuple[CsvChannel, ...], Field(min_length=1)]

    def named(self) -> tuple[Column, ...]:
        """Return every column that is named."""
        time = (self.time.column,) if self.time else ()
        return (*time, *(channel.column for channel in self.channels))


class CsvDevice(CsvColumns):
    """Where one device's signal stands."""

    name: Name
    files: Pattern  # matched against the whole path below the source's folder; named groups: subject, session, label
    rate_hz: Annotated[float, Field(gt=0)]  # nominal

    @model_validator(mode="after")
    def _names_the_subject(self) -> "CsvDevice":
        groups = set(re.compile(self.files).groupindex)
        if "subject" not in groups:
            raise ValueError("files: needs a group (?P<subject>...): numbers are reported on unseen subjects only")
        if unknown := sorted(groups - {"subject", "session", "label"}):
            raise ValueError(f"files: no such group: {', '.join(unknown)}; there are subject, session and label")
        if self.time and self.time.column in self.named()[1:]:
            raise ValueError("time: this column is a channel, too")
        return self


class CsvSource(LabelledSource):
    """Text files of rows and columns, described column by column."""

    kind: Literal["csv"]
    path: Path  # the folder
    name: Name
    license: str
    citation: str
    devices: Annotated[tuple[CsvDevice, ...], Field(min_length=1)]
    label: Column | None = None  # a column of the first device's files; null: the group `label` of the patterns
    separator: Annotated[str, Field(min_length=1, max_length=1), AfterValidator(_separates)] = ","
    header: bool = True
    missing: tuple[str, ...] = ("", "NaN", "nan", "NA", "N/A", "null", "NULL")  # texts for no value; numbers by value

    @model_validator(mode="after")
    def _consistent(self) -> "CsvSource":
        first, *others = self.devices
        for device in others:
            if [(c.name, c.unit) for c in device.channels] != [(c.name, c.unit) for c in first.channels]:
                raise ValueError("devices: every device needs the same channels, in the same order and units")
            if _groups(device) != _groups(first):
                raise ValueError("devices: the patterns of all devices need the same groups")
        for names in ([device.name for device in self.devices], [channel.name for channel in first.channels]):
            _refuse_twice(names)
        if (self.label is None) != ("label" in _groups(first)):
            raise ValueError("label: name a column, or a group (?P<label>...) in the patterns; one of both")
        if self.label in first.named():
            raise ValueError("label: this column is a channel or the time, too")
        columns = [column for device in self.devices for column in device.named()]
        columns += [] if self.label is None else [self.label]
        if any(isinstance(column, str) != self.header for column in columns):
            raise ValueError("columns go by their names where there is a header, by numbers from 1 where there is none")
        return self

    @property
    def by_name(self) -> dict[str, CsvDevice]:
        """The devices by their names, in their order."""
        return {device.name: device for device in self.devices}


def _refuse_twice(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise ValueError(f"a name occurs twice in {', '.join(names)}")


def _groups(device: CsvDevice) -> set[str]:
    return set(re.compile(device.files).groupindex)


TextSource = DsadsSource | HaptSource | SpswSource | CsvSource  # of text files
Source = Annotated[SampleSource | NpySource | TextSource, Field(discriminator="kind")]
