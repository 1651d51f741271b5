"""Sources of recordings, and the mapping of their names: `data.sources` of a training configuration."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from modelreg.records.base import Name, Record


def _nonzero(scale: float) -> float:
    if scale == 0:
        raise ValueError("scale must not be 0")
    return scale


def _separates(text: str) -> str:
    if not text.isascii() or text.isalnum() or text in '"+-._\r\n\0':
        raise ValueError("separator must be one ASCII character that is not part of a number, quote or line break")
    return text


def _compiled(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"invalid regular expression: {error}") from error
    return text


Path = Annotated[str, Field(min_length=1)]
Scale = Annotated[float, AfterValidator(_nonzero)]
Pattern = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_compiled)]


class ChannelMap(Record):
    """The mapping of a channel of a source."""

    channel: Name  # name in the source
    name: Name | None = None  # new name; null: unchanged
    unit: Name | None = None  # null: unchanged
    scale: Scale = 1.0  # factor from values of the source to new values


class DeviceMap(Record):
    """The mapping of a device of a source."""

    device: Name  # name in the source
    name: Name  # new name


class LabelledSource(Record):
    """Settings of every source."""

    labels: dict[Name, Name | None] | None = None  # label in the source -> class, null drops; left out: unchanged
    drop: tuple[Pattern, ...] = ()  # recordings whose full name matches are dropped
    prefix: Annotated[str, Field(max_length=40)] = ""  # before each subject: distinguishes equal ids of two sources


class MappedSource(LabelledSource):
    """A source with named channels and devices. A list selects and orders them; null keeps all."""

    channels: Annotated[tuple[ChannelMap, ...], Field(min_length=1)] | None = None
    devices: Annotated[tuple[DeviceMap, ...], Field(min_length=1)] | None = None


class SampleSource(MappedSource):
    """The recordings included in modelreg."""

    kind: Literal["sample"] = "sample"


class NpySource(MappedSource):
    """Precut windows: .npy files and a metadata JSON that describes them."""

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
            raise ValueError("units: each unit may occur only once")
        return self


class HaptSource(MappedSource):
    """HAPT in its native layout: continuous recordings of a phone at the waist, with postural transitions."""

    kind: Literal["hapt"]
    path: Path  # the folder, or one .tar.xz


class SpswSource(MappedSource):
    """SP-SW-HAR in its native layout: a phone and a watch, each on its own clock."""

    kind: Literal["spsw"]
    path: Path  # the folder, or one .tar.xz


Column = Name | Annotated[int, Field(ge=1)]  # a name of the header, or a number from 1 without a header
TimeUnit = Literal["s", "ms", "us", "ns", "iso8601"]


class CsvTime(Record):
    """The column with the sampling time of each row."""

    column: Column
    unit: TimeUnit


class CsvChannel(Record):
    """One column of a file, as a channel."""

    name: Name
    column: Column
    unit: Name  # after scaling
    scale: Scale = 1.0  # factor of the file's values; -1 inverts an axis


class CsvColumns(Record):
    """The columns of a file."""

    time: CsvTime | None = None  # null: row n was sampled at n / rate_hz
    channels: Annotated[tuple[CsvChannel, ...], Field(min_length=1)]

    def named(self) -> tuple[Column, ...]:
        """Return every configured column."""
        time = (self.time.column,) if self.time else ()
        return (*time, *(channel.column for channel in self.channels))


class CsvDevice(CsvColumns):
    """The files and columns of one device."""

    name: Name
    files: Pattern  # matches the full path below the source's folder; named groups: subject, session, label
    rate_hz: Annotated[float, Field(gt=0)]  # nominal

    @model_validator(mode="after")
    def _names_the_subject(self) -> "CsvDevice":
        groups = set(re.compile(self.files).groupindex)
        if "subject" not in groups:
            raise ValueError("files: requires a group (?P<subject>...), because splits are by subject")
        if unknown := sorted(groups - {"subject", "session", "label"}):
            raise ValueError(f"files: unknown group {', '.join(unknown)}, expected subject, session or label")
        if self.time and self.time.column in self.named()[1:]:
            raise ValueError("time: the column is also a channel")
        return self


class CsvSource(LabelledSource):
    """Text files with rows and columns, described column by column."""

    kind: Literal["csv"]
    path: Path  # the folder
    name: Name
    license: str
    citation: str
    devices: Annotated[tuple[CsvDevice, ...], Field(min_length=1)]
    label: Column | None = None  # a column in the files of the first device; null: the group `label` of the patterns
    separator: Annotated[str, Field(min_length=1, max_length=1), AfterValidator(_separates)] = ","
    header: bool = True
    missing: tuple[str, ...] = (
        "",
        "NaN",
        "nan",
        "NA",
        "N/A",
        "null",
        "NULL",
    )  # texts of missing values; numbers are compared by value

    @model_validator(mode="after")
    def _consistent(self) -> "CsvSource":
        first, *others = self.devices
        for device in others:
            if [(c.name, c.unit) for c in device.channels] != [(c.name, c.unit) for c in first.channels]:
                raise ValueError("devices: every device must have the same channels, in the same order and units")
            if _groups(device) != _groups(first):
                raise ValueError("devices: the patterns of all devices must have the same groups")
        for names in ([device.name for device in self.devices], [channel.name for channel in first.channels]):
            _refuse_twice(names)
        if (self.label is None) != ("label" in _groups(first)):
            raise ValueError("label: set either a column or a group (?P<label>...) in the patterns")
        if self.label in first.named():
            raise ValueError("label: the column is also a channel or the time")
        columns = [column for device in self.devices for column in device.named()]
        columns += [] if self.label is None else [self.label]
        if any(isinstance(column, str) != self.header for column in columns):
            raise ValueError("columns must be names if header is true, and numbers from 1 if header is false")
        return self

    @property
    def by_name(self) -> dict[str, CsvDevice]:
        """Return the devices by name, in their order."""
        return {device.name: device for device in self.devices}


def _refuse_twice(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise ValueError(f"a name occurs twice in {', '.join(names)}")


def _groups(device: CsvDevice) -> set[str]:
    return set(re.compile(device.files).groupindex)


TextSource = DsadsSource | HaptSource | SpswSource | CsvSource  # sources of text files
Source = Annotated[SampleSource | NpySource | TextSource, Field(discriminator="kind")]
