"""The mapping of text files: how a file becomes rows, and which columns are the time and the channels of a device."""

import re
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from modelreg.records.base import Name, Record, setting
from modelreg.records.model import Gravity

BLANKS = "blanks"  # the separator that is any run of blanks and tabs
GROUPS = ("subject", "session", "label", "id")  # of a pattern of files

Ticks = Literal["s", "ms", "us", "ns"]
TimeUnit = Literal[Ticks, "iso8601", "strptime", "time-of-day", "excel"]
ClockRule = Literal["strict", "sort", "drop", "restart"]
FILES = "Regular expression for the path below the source's folder. Groups: `subject`, `session`, `label`, `id`."
TIME = "The column of the time. Null: row n was sampled at n / rate_hz."
START = "The date of the first row, if the lines before the header have it. The first pattern that fits is used."


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


def _is_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("unknown time zone, expected a name such as Europe/Berlin") from error
    return name


Separator = Annotated[str, Field(min_length=1, max_length=6), AfterValidator(_separates)]
Scale = Annotated[float, AfterValidator(_nonzero)]
Pattern = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_compiled)]
Zone = Annotated[str, AfterValidator(_is_zone)]
StatedGravity = Annotated[
    Gravity | None,
    setting(
        "Of an acceleration: whether gravity is part of it. `modelreg data check` compares it with the values.",
        "included",
    ),
]
MissingTexts = Annotated[tuple[str, ...], setting("Texts that mean a missing value.", ["", "-999"])]
MISSING = ("", "NaN", "nan", "NA", "N/A", "null", "NULL")


class ColumnPattern(Record):
    """The column whose name has a pattern."""

    pattern: Annotated[Pattern, setting("Regular expression that occurs in one name of the header.", "^acc.* x")]


Column = Name | Annotated[int, Field(ge=1)] | ColumnPattern  # a name of the header, a number from 1, or a pattern


class TextForm(Record):
    """How text files have numbers, and what is between them."""

    encoding: Annotated[
        Literal["utf-8", "utf-16", "latin-1"],
        setting("Encoding of the text. A byte order mark tells it in any case.", "latin-1"),
    ] = "utf-8"
    separator: Annotated[
        Separator,
        setting("The character between two columns; `blanks`: any run of blanks and tabs.", ";"),
    ] = ","
    decimal: Annotated[Literal[".", ","], setting("The decimal mark of numbers.", ",")] = "."

    @model_validator(mode="after")
    def _marks_differ(self) -> "TextForm":
        if self.separator == self.decimal:
            raise ValueError("separator and decimal must differ")
        return self


class CsvForm(TextForm):
    """How the lines of text files become rows and cells."""

    row_end: Annotated[
        str | None, setting("Text at the end of each row that is not part of its last cell.", ";", min_length=1)
    ] = None
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
    table: Annotated[
        Name | None,
        setting("The sheet of .xlsx files, or the variable of .mat files. Null: the only one.", "sensor_readings"),
    ] = None


class CsvAddedTime(Record):
    """A column whose time is added to that of another one."""

    column: Annotated[Column, setting("Name or number of the column.", "Milliseconds")]
    unit: Annotated[Ticks, setting("Unit of the time.", "ms")]


class Moment(Record):
    """What a number or text says about time."""

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
    zone: Annotated[Zone | None, setting("Time zone of dates that name none. Null: UTC.", "Europe/Berlin")] = None

    @model_validator(mode="after")
    def _has_its_format(self) -> "Moment":
        if (self.unit == "strptime") != (self.format is not None):
            raise ValueError("format: set it for the unit strptime, and only there")
        if self.zone and self.unit not in {"iso8601", "strptime"}:
            raise ValueError("zone: only dates are in a time zone (unit iso8601 or strptime)")
        return self


class CsvTime(Moment):
    """The column with the sampling time of each row."""

    column: Annotated[Column, setting("Name or number of the column.", "t")]
    plus: Annotated[
        CsvAddedTime | None,
        setting("A second column that is added to the first.", {"column": "Milliseconds", "unit": "ms"}),
    ] = None

    def named(self) -> tuple[Column, ...]:
        """Return the configured columns."""
        return (self.column, self.plus.column) if self.plus else (self.column,)


class CsvStart(Record):
    """The date of the first row, in the lines before the header."""

    pattern: Annotated[
        Pattern,
        setting(
            "Regular expression for these lines as one text. Its groups, joined by blanks, are the date; a group "
            "`rate` is the rate, which must be `rate_hz`.",
            "Start Time (\\S+)\\s+Start Date (\\S+)",
        ),
    ]
    format: Annotated[str, setting("The form of the date.", "%H:%M:%S %m/%d/%Y", max_length=100)]
    zone: Annotated[Zone | None, setting("Time zone of the date. Null: UTC.", "Europe/Berlin")] = None

    @model_validator(mode="after")
    def _has_groups(self) -> "CsvStart":
        found = re.compile(self.pattern)
        if found.groups == len(found.groupindex.keys() & {"rate"}):
            raise ValueError("pattern: requires a group around each piece of the date")
        return self


class CsvChannel(Record):
    """One column of a file, as a channel."""

    name: Annotated[Name, setting("Name of the channel.", "ax")]
    column: Annotated[Column, setting("Name or number of the column, or a pattern of its name.", "x")]
    plus: Annotated[
        Column | None, setting("A second column that is added: gravity and user acceleration.", "gravity.x")
    ] = None
    unit: Annotated[Name, setting("Unit after scaling.", "g")]
    scale: Annotated[Scale, setting("Factor from the file's number to the value; -1 flips an axis.", -1)] = 1.0
    gravity: StatedGravity = None

    def named(self) -> tuple[Column, ...]:
        """Return the configured columns."""
        return (self.column,) if self.plus is None else (self.column, self.plus)


class CsvRows(Record):
    """The rows of one sensor, in files that have the rows of several."""

    column: Annotated[Column, setting("Name or number of the column that tells the sensor.", "sensor")]
    text: Annotated[str, setting("The text in that column.", "accelerometer", max_length=100)]


# Settings of a part that a device without parts has itself
TimeColumn = Annotated[CsvTime | None, setting(TIME, {"column": "t", "unit": "ms"})]
Starts = Annotated[
    tuple[CsvStart, ...],
    setting(START, [{"pattern": "Start Time (\\S+)\\s+Start Date (\\S+)", "format": "%H:%M:%S %m/%d/%Y"}]),
]
SomeRows = Annotated[
    CsvRows | None, setting("The rows to read, if not all. Null: all.", {"column": "sensor", "text": "accelerometer"})
]
OwnForm = Annotated[CsvForm | None, setting("Form of these files. Null: that of the source.", {"separator": ";"})]


class CsvColumns(Record):
    """The columns of a file."""

    time: TimeColumn = None
    start: Starts = ()
    rows: SomeRows = None
    channels: Annotated[
        tuple[CsvChannel, ...],
        setting("The channels and their columns.", [{"name": "ax", "column": "x", "unit": "g"}], min_length=1),
    ]

    def named(self) -> tuple[Column, ...]:
        """Return every configured column."""
        time = self.time.named() if self.time else ()
        rows = (self.rows.column,) if self.rows else ()
        return (*time, *rows, *(column for channel in self.channels for column in channel.named()))


class CsvPart(CsvColumns):
    """The files of one sensor of a device, and their columns."""

    files: Annotated[Pattern, setting(FILES, "(?P<subject>\\w+)/Gyroscope\\.csv")]
    rate_hz: Annotated[
        Annotated[float, Field(gt=0)] | None,
        setting("Nominal rate of the sensor. Null: that of the device.", 100, "Hz"),
    ] = None
    form: OwnForm = None

    @model_validator(mode="after")
    def _is_clear(self) -> "CsvPart":
        check_groups(self.files)
        if self.time and {*self.time.named()} & {name for channel in self.channels for name in channel.named()}:
            raise ValueError("time: the column is also a channel")
        return self


def groups_of(pattern: str) -> frozenset[str]:
    """Return the names of a pattern's groups."""
    return frozenset(re.compile(pattern).groupindex)


def check_groups(pattern: str) -> None:
    """Raise ValueError if a pattern of files has a group of another name than those of GROUPS."""
    if unknown := sorted(groups_of(pattern) - {*GROUPS}):
        raise ValueError(f"files: unknown group {', '.join(unknown)}, expected {', '.join(GROUPS)}")


class CsvDevice(Record):
    """One device: its files and their columns, or its sensors, if it writes a file for each."""

    name: Annotated[Name, setting("Name of the device.", "watch")]
    rate_hz: Annotated[float, setting("Nominal rate.", 50, "Hz", gt=0)]
    files: Annotated[Pattern | None, setting(FILES, "(?P<subject>\\w+)\\.csv")] = None
    form: OwnForm = None
    time: TimeColumn = None
    start: Starts = ()
    rows: SomeRows = None
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
        own = (self.files, self.time, self.channels, self.rows, self.start, self.form)
        if self.parts and any(own):
            raise ValueError("parts: set either parts, or files, time and channels")
        if not self.parts and not (self.files and self.channels):
            raise ValueError("files: set files and channels, or parts")
        refuse_twice([channel.name for channel in self.all_channels])
        return self

    @property
    def pieces(self) -> tuple[CsvPart, ...]:
        """Return the parts, or the device itself as its only part."""
        if self.parts or self.files is None:
            return self.parts
        return (
            CsvPart(
                files=self.files,
                form=self.form,
                time=self.time,
                start=self.start,
                rows=self.rows,
                channels=self.channels,
            ),
        )

    @property
    def all_channels(self) -> tuple[CsvChannel, ...]:
        """Return the channels of every part."""
        return tuple(channel for part in self.pieces for channel in part.channels)


def refuse_twice(names: list[str]) -> None:
    """Raise ValueError if two names are equal."""
    if len(set(names)) < len(names):
        raise ValueError(f"a name occurs twice in {', '.join(names)}")
