"""Sources of recordings, and the mapping of their names: `data.sources` of a training configuration."""

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, model_validator

from modelreg.records.base import Name, Record, setting
from modelreg.records.csv_device import (
    BLANKS,
    MISSING,
    ClockRule,
    Column,
    CsvChannel,
    CsvDevice,
    CsvForm,
    CsvPart,
    MissingTexts,
    Pattern,
    Scale,
    Separator,
    StatedGravity,
    TextForm,
    groups_of,
    refuse_twice,
)
from modelreg.records.csv_names import CsvAnnotations, CsvLookup

Path = Annotated[str, Field(min_length=1)]


class ChannelMap(Record):
    """The mapping of a channel of a source."""

    channel: Annotated[Name, setting("Name of the channel in the source.", "acc_x")]
    name: Annotated[Name | None, setting("Name of the channel here. Null: the same.", "ax")] = None
    unit: Annotated[Name | None, setting("Unit of the channel after scaling. Null: the unit of the source.", "g")] = (
        None
    )
    scale: Annotated[Scale, setting("Factor from the source's values to these.", 0.1019716)] = 1.0


class DeviceMap(Record):
    """The mapping of a device of a source."""

    device: Annotated[Name, setting("Name of the device in the source.", "RA")]
    name: Annotated[Name, setting("Name of the device here.", "watch")]


class LabelledSource(Record):
    """Settings of every source."""

    labels: Annotated[
        dict[Name, Name | None] | None,
        setting(
            "The class of each label of the source; null drops a label. Left out: every label stays.",
            {"lying on back": "lying"},
        ),
    ] = None
    drop: Annotated[
        tuple[Pattern, ...],
        setting("Regular expressions. A recording whose whole name matches one is left out.", ["p3-a1.*"]),
    ] = ()
    prefix: Annotated[
        str,
        setting(
            "Text before each subject and recording, so that equal ids of two sources stay apart.",
            "dsads-",
            max_length=40,
        ),
    ] = ""

    def drops(self, recording: str) -> bool:
        """Return whether a recording of this name is left out."""
        return any(re.fullmatch(pattern, recording) for pattern in self.drop)


class MappedSource(LabelledSource):
    """A source with named channels and devices. A list selects and orders them; null keeps all."""

    channels: Annotated[
        Annotated[tuple[ChannelMap, ...], Field(min_length=1)] | None,
        setting("The channels to keep, in this order. Null: all.", [{"channel": "acc_x", "name": "ax"}]),
    ] = None
    devices: Annotated[
        Annotated[tuple[DeviceMap, ...], Field(min_length=1)] | None,
        setting("The devices to keep, in this order. Null: all.", [{"device": "RA", "name": "watch"}]),
    ] = None


class SampleSource(MappedSource):
    """The recordings included in modelreg."""

    kind: Annotated[Literal["sample"], setting("The kind of source.", "sample")] = "sample"


class NpySource(MappedSource):
    """Precut windows: .npy files and a metadata JSON that describes them."""

    kind: Annotated[Literal["npy"], setting("The kind of source.", "npy")]
    path: Annotated[Path, setting("The metadata JSON that declares the .npy files.", "data/windows.json")]


DsadsUnit = Literal["T", "RA", "LA", "RL", "LL"]  # torso, right arm, left arm, right leg, left leg


class DsadsSource(MappedSource):
    """Daily and Sports Activities in its native layout; the units become devices."""

    kind: Annotated[Literal["dsads"], setting("The kind of source.", "dsads")]
    path: Annotated[Path, setting("The folder of the data set, or its archive (.tar.xz).", "data/dsads")]
    units: Annotated[
        tuple[DsadsUnit, ...],
        setting(
            "The sensor units, which become devices: torso, right arm, left arm, right leg, left leg.",
            ["RA", "RL"],
            min_length=1,
            max_length=5,
        ),
    ] = ("RA", "RL")

    @model_validator(mode="after")
    def _each_once(self) -> "DsadsSource":
        if len(set(self.units)) < len(self.units):
            raise ValueError("units: each unit may occur only once")
        return self


class HaptSource(MappedSource):
    """HAPT in its native layout: continuous recordings of a phone at the waist, with postural transitions."""

    kind: Annotated[Literal["hapt"], setting("The kind of source.", "hapt")]
    path: Annotated[Path, setting("The folder of the data set, or its archive (.tar.xz).", "data/hapt")]


class SpswSource(MappedSource):
    """SP-SW-HAR in its native layout: a phone and a watch, each on its own clock."""

    kind: Annotated[Literal["spsw"], setting("The kind of source.", "spsw")]
    path: Annotated[Path, setting("The folder of the data set, or its archive (.tar.xz).", "data/spsw")]


class CsvSource(LabelledSource, CsvForm):
    """Text files with rows and columns, described column by column."""

    kind: Annotated[Literal["csv"], setting("The kind of source.", "csv")]
    path: Annotated[Path, setting("The folder of the files, or an archive of them.", "data/phone")]
    name: Annotated[Name, setting("Name of the data set, for records and cards.", "my-study")]
    license: Annotated[str, setting("Licence of the data.", "CC-BY-4.0")]
    citation: Annotated[str, setting("How to cite the data.", "Doe 2026")]
    devices: Annotated[
        tuple[CsvDevice, ...],
        setting(
            "The devices, each with the files that hold it. A model takes the channels that all of them have.",
            [
                {
                    "name": "watch",
                    "files": "(?P<subject>\\w+)\\.csv",
                    "rate_hz": 50,
                    "channels": [{"name": "ax", "column": "x", "unit": "g"}],
                }
            ],
            min_length=1,
        ),
    ]
    subject: Annotated[
        Column | None, setting("The column of the subject in every file. Null: the group of the patterns.", "user")
    ] = None
    one_subject: Annotated[
        Name | None,
        setting("The subject of all recordings, if there is only one.", "anna", exclude_if=lambda value: value is None),
    ] = None
    session: Annotated[
        Column | None, setting("The column of the session in every file. Null: the group of the patterns.", "trial")
    ] = None
    label: Annotated[
        Column | None,
        setting(
            "The column of the label in the first device's files. Null: the group `label` of the patterns.", "activity"
        ),
    ] = None
    lookup: Annotated[
        CsvLookup | None,
        setting(
            "A file with the subject, session or label of each recording, by the group `id` of the patterns.",
            {"file": "participants.csv", "key": "file_id", "subject": "participant"},
        ),
    ] = None
    annotations: Annotated[
        CsvAnnotations | None,
        setting(
            "Files with the times at which each label begins and ends.",
            {"files": "labels\\.csv", "file": "file", "begin": "start", "end": "end", "label": "label", "unit": "s"},
        ),
    ] = None
    clock: Annotated[
        ClockRule,
        setting(
            "Rows whose time falls. strict: an error; sort: the rows are sorted by time; drop: rows that are not later "
            "than all before are left out; restart: a new recording begins.",
            "sort",
        ),
    ] = "strict"
    gap_s: Annotated[
        Annotated[float, Field(gt=0)] | None,
        setting("A longer gap of the time begins a new recording. Null: none does.", 5, "s"),
    ] = None
    on_bad_row: Annotated[
        Literal["error", "skip"],
        setting("What happens to a row with another number of columns, or without a number where one must be.", "skip"),
    ] = "error"
    max_bad_rows: Annotated[
        float, setting("The largest share of a file's rows that may be skipped.", 0.01, ge=0, le=1)
    ] = 0.01
    missing: MissingTexts = MISSING

    @model_validator(mode="after")
    def _consistent(self) -> "CsvSource":
        refuse_twice([device.name for device in self.devices])
        if not self.channels:
            raise ValueError("devices: no channel is the same, by name, unit and gravity, in every device")
        for part in self.by_name.values():
            if any(column in part.named() for column in (self.subject, self.session) if column is not None):
                raise ValueError("subject: the column is also a channel or the time")
        if self.label is not None and self.label in self.by_name[self.first].named():
            raise ValueError("label: the column is also a channel or the time")
        if self.gap_s and any(not part.time for part in self.by_name.values()):
            raise ValueError("gap_s: requires a time in every device")
        return self

    @model_validator(mode="after")
    def _names_recordings(self) -> "CsvSource":
        """Refuse a name that has two sources, or that only one device has."""
        groups = [groups_of(part.files) for part in self.by_name.values()]
        if any(found != groups[0] for found in groups):
            raise ValueError("devices: the patterns of all devices must have the same groups")
        lookup = self.lookup.given if self.lookup else ()
        if bool(lookup) != ("id" in groups[0]):
            raise ValueError("lookup: requires a group (?P<id>...) in the patterns, and a group `id` requires lookup")
        columns = [name for name in ("subject", "session", "label") if getattr(self, name) is not None]
        given = [*groups[0], *lookup, *columns, *(["label"] if self.annotations else [])]
        given += ["subject"] if self.one_subject else []
        for name in ("subject", "session", "label"):
            if given.count(name) > 1:
                others = ", another file, and one_subject" if name == "subject" else ", and another file"
                raise ValueError(f"{name}: set only one of a column, a group (?P<{name}>...){others}")
        if "subject" not in given:
            raise ValueError(
                "subject: set a column, a group (?P<subject>...) in the patterns, lookup, or one_subject: splits are "
                "by subject"
            )
        if "label" not in given:
            raise ValueError("label: set a column, a group (?P<label>...) in the patterns, lookup, or annotations")
        return self

    @model_validator(mode="after")
    def _has_a_form(self) -> "CsvSource":
        own = [column for column in (self.subject, self.session, self.label) if column is not None]
        for part in self.by_name.values():
            if not (part.form or self).header and any(not isinstance(name, int) for name in (*part.named(), *own)):
                raise ValueError("columns must be numbers from 1 if header is false")
        return self

    @property
    def channels(self) -> tuple[CsvChannel, ...]:
        """Return the channels of the first device that every device has, by name, unit and gravity."""
        first, *others = ({_identity(c): c for c in device.all_channels} for device in self.devices)
        return tuple(channel for key, channel in first.items() if all(key in other for other in others))

    @property
    def left_out(self) -> dict[str, tuple[str, ...]]:
        """Return the channels of each device that another one does not have, by device."""
        kept = {_identity(channel) for channel in self.channels}
        found = {
            device.name: tuple(c.name for c in device.all_channels if _identity(c) not in kept)
            for device in self.devices
        }
        return {name: channels for name, channels in found.items() if channels}

    @property
    def by_name(self) -> dict[str, CsvPart]:
        """Return the parts of all devices by name, in their order: the device, and its part if it has several.

        A part has only the channels that are read, in the order of `channels`; a part without any is left out.
        """
        return {name: part for device in self.devices for name, part in self.parts_of(device).items()}

    @property
    def first(self) -> str:
        """Return the name of the first part, whose files have the column of the label."""
        return next(iter(self.by_name))

    def parts_of(self, device: CsvDevice) -> dict[str, CsvPart]:
        """Return the parts of a device by name, with the channels that are read."""
        kept = {_identity(channel) for channel in self.channels}
        named = {
            (device.name if not device.parts else f"{device.name} part {number}"): _select(part, kept)
            for number, part in enumerate(device.pieces, 1)
        }
        return {name: part for name, part in named.items() if part.channels}


def _identity(channel: "CsvChannel | WindowChannel") -> tuple[str, str, str | None]:
    """Return what the channels of two devices must share to be the same."""
    return channel.name, channel.unit, channel.gravity


def _select(part: CsvPart, kept: Iterable[tuple[str, str, str | None]]) -> CsvPart:
    """Return a part with some of its channels."""
    return part.model_copy(update={"channels": tuple(c for c in part.channels if _identity(c) in kept)})


class WindowChannel(Record):
    """One channel of windows in text files: a row of a file is one window."""

    name: Annotated[Name, setting("Name of the channel.", "total_acc_x")]
    unit: Annotated[Name, setting("Unit after scaling.", "g")]
    files: Annotated[
        Pattern,
        setting(
            "Regular expression for the path below the source's folder. The group `part` names a set of files with "
            "equal numbers of rows, such as train.",
            "(?P<part>train|test)/total_acc_x\\.txt",
        ),
    ]
    scale: Annotated[Scale, setting("Factor from the file's number to the value; -1 flips an axis.", -1)] = 1.0
    gravity: StatedGravity = None


class WindowDevice(Record):
    """One device of windows in text files: a file for each channel."""

    name: Annotated[Name, setting("Name of the device.", "waist")]
    channels: Annotated[
        tuple[WindowChannel, ...],
        setting("The channels and their files.", [{"name": "ax", "unit": "g", "files": "ax_\\w+\\.txt"}], min_length=1),
    ]


SLACK = 0.05  # samples by which `overlap` may be rounded, as 0.3333 is
SUBJECT_FILES, LABEL_FILES = "subject_files", "label_files"
PART = "part"  # the group of a pattern that names a set of files


class WindowsSource(LabelledSource, TextForm):
    """Text files in which a row is one window of one channel. Windows that overlap are joined to recordings."""

    kind: Annotated[Literal["windows"], setting("The kind of source.", "windows")]
    path: Annotated[Path, setting("The folder of the files, or an archive of them.", "data/uci_har")]
    name: Annotated[Name, setting("Name of the data set, for records and cards.", "uci-har")]
    license: Annotated[str, setting("Licence of the data.", "CC-BY-4.0")]
    citation: Annotated[str, setting("How to cite the data.", "Doe 2026")]
    rate_hz: Annotated[float, setting("Sampling rate.", 50, "Hz", gt=0)]
    window: Annotated[int, setting("Samples of a window: numbers in a row.", 128, "samples", ge=2, le=100_000)]
    overlap: Annotated[
        float, setting("Share of its samples that a window has in common with the next one.", 0.5, ge=0, lt=1)
    ]
    devices: Annotated[
        tuple[WindowDevice, ...],
        setting(
            "The devices, each with its channels.",
            [{"name": "waist", "channels": [{"name": "ax", "unit": "g", "files": "ax_\\w+\\.txt"}]}],
            min_length=1,
        ),
    ]
    subject_files: Annotated[
        Pattern,
        setting(
            "Regular expression for the files with the subject of each window, one in a row.",
            "(?P<part>train|test)/subject\\.txt",
        ),
    ]
    label_files: Annotated[
        Pattern,
        setting(
            "Regular expression for the files with the label of each window, one in a row.",
            "(?P<part>train|test)/y\\.txt",
        ),
    ]
    separator: Annotated[
        Separator,
        setting("The character between two numbers; `blanks`: any run of blanks and tabs.", ","),
    ] = BLANKS
    missing: MissingTexts = MISSING

    @model_validator(mode="after")
    def _whole(self) -> "WindowsSource":
        shared = self.window * self.overlap
        if abs(shared - self.shared) > SLACK or self.shared >= self.window:
            raise ValueError(f"overlap: gives {shared:g} of {self.window} samples, expected a whole number below all")
        first, *others = self.devices
        for device in others:
            if [_identity(channel) for channel in device.channels] != [
                _identity(channel) for channel in first.channels
            ]:
                raise ValueError("devices: every device must have the same channels, in order, unit and gravity")
        for names in ([device.name for device in self.devices], [channel.name for channel in first.channels]):
            refuse_twice(names)
        return self

    @model_validator(mode="after")
    def _names_parts(self) -> "WindowsSource":
        groups = {name: set(re.compile(pattern).groupindex) for name, pattern in self.patterns.items()}
        for name, found in groups.items():
            if found - {PART}:
                raise ValueError(f"{name}: unknown group {', '.join(sorted(found - {PART}))}, expected {PART}")
            if found != groups[SUBJECT_FILES]:
                raise ValueError(f"{name}: either every pattern has the group `{PART}`, or none")
        return self

    @property
    def shared(self) -> int:
        """Return how many samples two consecutive windows have in common."""
        return round(self.window * self.overlap)

    @property
    def hop(self) -> int:
        """Return the samples between the starts of two consecutive windows."""
        return self.window - self.shared

    @property
    def channels(self) -> dict[str, WindowChannel]:
        """Return the channels of all devices, by `device/channel`."""
        return {f"{device.name}/{channel.name}": channel for device in self.devices for channel in device.channels}

    @property
    def patterns(self) -> dict[str, str]:
        """Return every pattern by its setting, or by `device/channel`."""
        return {
            SUBJECT_FILES: self.subject_files,
            LABEL_FILES: self.label_files,
            **{name: channel.files for name, channel in self.channels.items()},
        }


TextSource = DsadsSource | HaptSource | SpswSource | CsvSource | WindowsSource  # sources of text files
Source = Annotated[SampleSource | NpySource | TextSource, Field(discriminator="kind")]
