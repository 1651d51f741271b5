"""Sources of recordings, and the mapping of their names: `data.sources` of a training configuration."""

import re
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from modelreg.records.base import Name, Record, setting


def _nonzero(scale: float) -> float:
    if scale == 0:
        raise ValueError("scale must not be 0")
    return scale


def _separates(text: str) -> str:
    if text == BLANKS:
        return text
    if len(text) != 1 or not text.isascii() or text.isalnum() or text in '"+-._\r\n\0':
        raise ValueError(
            "separator must be `blanks`, or one ASCII character that is not part of a number, quote or line break"
        )
    return text


def _compiled(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"invalid regular expression: {error}") from error
    return text


BLANKS = "blanks"  # the separator that is any run of blanks and tabs
Path = Annotated[str, Field(min_length=1)]
Scale = Annotated[float, AfterValidator(_nonzero)]
Pattern = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_compiled)]


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


Column = Name | Annotated[int, Field(ge=1)]  # a name of the header, or a number from 1 without a header
Ticks = Literal["s", "ms", "us", "ns"]
TimeUnit = Literal[Ticks, "iso8601", "strptime", "time-of-day", "excel"]
ClockRule = Literal["strict", "sort", "drop"]


def _is_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("unknown time zone, expected a name such as Europe/Berlin") from error
    return name


class CsvAddedTime(Record):
    """A column whose time is added to that of another one."""

    column: Annotated[Column, setting("Name or number of the column.", "Milliseconds")]
    unit: Annotated[Ticks, setting("Unit of the time.", "ms")]


class CsvTime(Record):
    """The column with the sampling time of each row."""

    column: Annotated[Column, setting("Name or number of the column.", "t")]
    unit: Annotated[
        TimeUnit,
        setting(
            "Unit of the time. iso8601: dates; strptime: dates in `format`; time-of-day: HH:MM:SS with a fraction; "
            "excel: days since 1900.",
            "ms",
        ),
    ]
    format: Annotated[
        str | None, setting("The form of dates, for the unit strptime.", "%d.%m.%Y %H:%M:%S.%f", max_length=100)
    ] = None
    zone: Annotated[
        Annotated[str, AfterValidator(_is_zone)] | None,
        setting("Time zone of dates that name none. Null: UTC.", "Europe/Berlin"),
    ] = None
    plus: Annotated[
        CsvAddedTime | None,
        setting("A second column that is added to the first.", {"column": "Milliseconds", "unit": "ms"}),
    ] = None

    @model_validator(mode="after")
    def _has_its_format(self) -> "CsvTime":
        if (self.unit == "strptime") != (self.format is not None):
            raise ValueError("format: set it for the unit strptime, and only there")
        if self.zone and self.unit not in {"iso8601", "strptime"}:
            raise ValueError("zone: only dates are in a time zone (unit iso8601 or strptime)")
        return self

    def named(self) -> tuple[Column, ...]:
        """Return the configured columns."""
        return (self.column, self.plus.column) if self.plus else (self.column,)


class CsvChannel(Record):
    """One column of a file, as a channel."""

    name: Annotated[Name, setting("Name of the channel.", "ax")]
    column: Annotated[Column, setting("Name or number of the column.", "x")]
    unit: Annotated[Name, setting("Unit after scaling.", "g")]
    scale: Annotated[Scale, setting("Factor from the file's number to the value; -1 flips an axis.", -1)] = 1.0


class CsvColumns(Record):
    """The columns of a file."""

    time: Annotated[
        CsvTime | None,
        setting("The column of the time. Null: row n was sampled at n / rate_hz.", {"column": "t", "unit": "ms"}),
    ] = None
    channels: Annotated[
        tuple[CsvChannel, ...],
        setting("The channels and their columns.", [{"name": "ax", "column": "x", "unit": "g"}], min_length=1),
    ]

    def named(self) -> tuple[Column, ...]:
        """Return every configured column."""
        time = self.time.named() if self.time else ()
        return (*time, *(channel.column for channel in self.channels))


class CsvPart(CsvColumns):
    """The files of one sensor of a device, and their columns."""

    files: Annotated[
        Pattern,
        setting(
            "Regular expression for the path below the source's folder. Groups: `subject`, `session`, `label`.",
            "(?P<subject>\\w+)/Gyroscope\\.csv",
        ),
    ]
    rate_hz: Annotated[
        Annotated[float, Field(gt=0)] | None,
        setting("Nominal rate of the sensor. Null: that of the device.", 100, "Hz"),
    ] = None

    @model_validator(mode="after")
    def _names_the_subject(self) -> "CsvPart":
        _check_files(self.files, self)
        return self


def _check_files(pattern: str, columns: CsvColumns) -> None:
    groups = set(re.compile(pattern).groupindex)
    if "subject" not in groups:
        raise ValueError("files: requires a group (?P<subject>...), because splits are by subject")
    if unknown := sorted(groups - {"subject", "session", "label"}):
        raise ValueError(f"files: unknown group {', '.join(unknown)}, expected subject, session or label")
    if columns.time and {*columns.time.named()} & {channel.column for channel in columns.channels}:
        raise ValueError("time: the column is also a channel")


class CsvDevice(Record):
    """One device: its files and their columns, or its sensors, if it writes a file for each."""

    name: Annotated[Name, setting("Name of the device.", "watch")]
    rate_hz: Annotated[float, setting("Nominal rate.", 50, "Hz", gt=0)]
    files: Annotated[
        Pattern | None,
        setting(
            "Regular expression for the path below the source's folder. Groups: `subject`, `session`, `label`.",
            "(?P<subject>\\w+)\\.csv",
        ),
    ] = None
    time: Annotated[
        CsvTime | None,
        setting("The column of the time. Null: row n was sampled at n / rate_hz.", {"column": "t", "unit": "ms"}),
    ] = None
    channels: Annotated[
        tuple[CsvChannel, ...],
        setting("The channels and their columns.", [{"name": "ax", "column": "x", "unit": "g"}]),
    ] = ()
    parts: Annotated[
        tuple[CsvPart, ...],
        setting(
            "Instead of `files`, `time` and `channels`: the sensors of a device that writes a file for each. They are "
            "joined on one clock.",
            [
                {
                    "files": "(?P<subject>\\w+)/Accelerometer\\.csv",
                    "time": {"column": "time", "unit": "ns"},
                    "channels": [{"name": "ax", "column": "x", "unit": "m/s2"}],
                }
            ],
        ),
    ] = ()

    @model_validator(mode="after")
    def _is_whole(self) -> "CsvDevice":
        if self.parts and (self.files or self.time or self.channels):
            raise ValueError("parts: set either parts, or files, time and channels")
        if not self.parts and not (self.files and self.channels):
            raise ValueError("files: set files and channels, or parts")
        if self.files:
            _check_files(self.files, CsvColumns(time=self.time, channels=self.channels))
        return self

    @property
    def pieces(self) -> tuple[CsvPart, ...]:
        """Return the parts, or the device itself as its only part."""
        if self.parts or self.files is None:
            return self.parts
        return (CsvPart(files=self.files, time=self.time, channels=self.channels),)

    @property
    def all_channels(self) -> tuple[CsvChannel, ...]:
        """Return the channels of every part."""
        return tuple(channel for part in self.pieces for channel in part.channels)


class CsvSource(LabelledSource):
    """Text files with rows and columns, described column by column."""

    kind: Annotated[Literal["csv"], setting("The kind of source.", "csv")]
    path: Annotated[Path, setting("The folder of the files.", "data/phone")]
    name: Annotated[Name, setting("Name of the data set, for records and cards.", "my-study")]
    license: Annotated[str, setting("Licence of the data.", "CC-BY-4.0")]
    citation: Annotated[str, setting("How to cite the data.", "Doe 2026")]
    devices: Annotated[
        tuple[CsvDevice, ...],
        setting(
            "The devices, each with the files that hold it.",
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
    label: Annotated[
        Column | None,
        setting(
            "The column of the label in the first device's files. Null: the group `label` of the patterns.", "activity"
        ),
    ] = None
    encoding: Annotated[
        Literal["utf-8", "utf-16", "latin-1"],
        setting("Encoding of the text. A byte order mark tells it in any case.", "latin-1"),
    ] = "utf-8"
    separator: Annotated[
        str,
        Field(min_length=1, max_length=6),
        AfterValidator(_separates),
        setting("The character between two columns; `blanks`: any run of blanks and tabs.", ";"),
    ] = ","
    decimal: Annotated[Literal[".", ","], setting("The decimal mark of numbers.", ",")] = "."
    comment: Annotated[
        str | None, setting("Lines that begin with this text are left out.", "#", min_length=1, max_length=10)
    ] = None
    skip: Annotated[
        int, setting("Lines at the beginning of each file that are left out.", 10, "lines", ge=0, le=1000)
    ] = 0
    skip_until: Annotated[
        Pattern | None,
        setting("Regular expression. Lines before the first one that has it are left out.", "^Accelerometer X"),
    ] = None
    header: Annotated[
        bool, setting("Whether the first row names the columns. If not, columns are numbers from 1.", False)
    ] = True
    clock: Annotated[
        ClockRule,
        setting(
            "Rows whose time falls. strict: an error; sort: the rows are sorted by time; drop: rows that are not later "
            "than all before are left out.",
            "sort",
        ),
    ] = "strict"
    on_bad_row: Annotated[
        Literal["error", "skip"],
        setting("What happens to a row with another number of columns, or without a number where one must be.", "skip"),
    ] = "error"
    max_bad_rows: Annotated[
        float, setting("The largest share of a file's rows that may be skipped.", 0.01, ge=0, le=1)
    ] = 0.01
    missing: Annotated[tuple[str, ...], setting("Texts that mean a missing value.", ["", "-999"])] = (
        "",
        "NaN",
        "nan",
        "NA",
        "N/A",
        "null",
        "NULL",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "CsvSource":
        first, *others = self.devices
        groups = [_groups(part) for device in self.devices for part in device.pieces]
        for device in others:
            if [(c.name, c.unit) for c in device.all_channels] != [(c.name, c.unit) for c in first.all_channels]:
                raise ValueError("devices: every device must have the same channels, in the same order and units")
        if any(found != groups[0] for found in groups):
            raise ValueError("devices: the patterns of all devices must have the same groups")
        for names in ([device.name for device in self.devices], [channel.name for channel in first.all_channels]):
            _refuse_twice(names)
        if (self.label is None) != ("label" in groups[0]):
            raise ValueError("label: set either a column or a group (?P<label>...) in the patterns")
        if self.label in first.pieces[0].named():
            raise ValueError("label: the column is also a channel or the time")
        return self

    @model_validator(mode="after")
    def _has_a_form(self) -> "CsvSource":
        columns = [column for part in self.by_name.values() for column in part.named()]
        columns += [] if self.label is None else [self.label]
        if not self.header and any(isinstance(column, str) for column in columns):
            raise ValueError("columns must be numbers from 1 if header is false")
        if self.separator == self.decimal:
            raise ValueError("separator and decimal must differ")
        return self

    @property
    def by_name(self) -> dict[str, CsvPart]:
        """Return the parts of all devices by name, in their order: the device, and its part if it has several."""
        return {name: part for device in self.devices for name, part in zip(_names(device), device.pieces, strict=True)}

    @property
    def first(self) -> str:
        """Return the name of the first part, whose files have the column of the label."""
        return next(iter(self.by_name))

    def parts_of(self, device: CsvDevice) -> tuple[str, ...]:
        """Return the names of a device's parts."""
        return _names(device)


def _names(device: CsvDevice) -> tuple[str, ...]:
    if not device.parts:
        return (device.name,)
    return tuple(f"{device.name} part {number}" for number in range(1, len(device.parts) + 1))


def _refuse_twice(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise ValueError(f"a name occurs twice in {', '.join(names)}")


def _groups(part: CsvPart) -> set[str]:
    return set(re.compile(part.files).groupindex)


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


class WindowsSource(LabelledSource):
    """Text files in which a row is one window of one channel. Windows that overlap are joined to recordings."""

    kind: Annotated[Literal["windows"], setting("The kind of source.", "windows")]
    path: Annotated[Path, setting("The folder of the files.", "data/uci_har")]
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
        str,
        Field(min_length=1, max_length=6),
        AfterValidator(_separates),
        setting("The character between two numbers; `blanks`: any run of blanks and tabs.", ","),
    ] = BLANKS

    @model_validator(mode="after")
    def _whole(self) -> "WindowsSource":
        shared = self.window * self.overlap
        if abs(shared - self.shared) > SLACK or self.shared >= self.window:
            raise ValueError(f"overlap: gives {shared:g} of {self.window} samples, expected a whole number below all")
        first, *others = self.devices
        for device in others:
            if [(c.name, c.unit) for c in device.channels] != [(c.name, c.unit) for c in first.channels]:
                raise ValueError("devices: every device must have the same channels, in the same order and units")
        for names in ([device.name for device in self.devices], [channel.name for channel in first.channels]):
            _refuse_twice(names)
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
