"""Every setting that the parsing of a text file depends on, and where its columns are in one file."""

from collections.abc import Sequence
from functools import cache
from itertools import accumulate, pairwise
from typing import Any, Literal, NamedTuple

from modelreg.data.recording import UNREADABLE
from modelreg.data.sources import csv_header, csv_times
from modelreg.data.sources.text_rows import Form
from modelreg.errors import InputError
from modelreg.records.base import Record
from modelreg.records.csv_device import ClockRule, Column, CsvColumns, CsvPart
from modelreg.records.source import CsvSource

Role = Literal["subject", "session", "label", "rows"]  # of a column that is read as text


class Layout(NamedTuple):
    """Every setting that the parsing of one device's files depends on."""

    columns: CsvColumns
    label: Column | None
    form: Form
    missing: tuple[str, ...]
    decimal: str = "."
    skip_bad_rows: bool = False
    max_bad_rows: float = 0.0  # the largest share of a file's rows that may be bad
    clock: ClockRule = "strict"
    subject: Column | None = None
    session: Column | None = None
    table: str | None = None  # the sheet or variable of a binary table
    widths: tuple[int, ...] = ()  # channels of each device that is in the file, if they are several

    @classmethod
    def of(cls, source: CsvSource, part: str) -> "Layout":
        """Return the layout of the files of a device or of its part; labels are those of the first one."""
        columns = source.by_name[part]
        form = columns.form or source
        return cls(
            columns=columns,
            label=source.label if part == source.first else None,
            form=Form.of(form),
            missing=source.missing,
            decimal=form.decimal,
            skip_bad_rows=source.on_bad_row == "skip",
            max_bad_rows=source.max_bad_rows,
            clock=source.clock,
            subject=source.subject,
            session=source.session,
            table=form.table,
        )

    @classmethod
    def merged(cls, layouts: Sequence["Layout"]) -> "Layout":
        """Return one layout of several that differ in channels, and in whether they have a label."""
        if len(layouts) == 1:
            return layouts[0]
        channels = tuple(channel for layout in layouts for channel in layout.columns.channels)
        first = layouts[0]
        return first._replace(
            columns=first.columns.model_copy(update={"channels": channels}),
            label=next((layout.label for layout in layouts if layout.label is not None), None),
            widths=tuple(len(layout.columns.channels) for layout in layouts),
        )

    @property
    def apart(self) -> "Layout":
        """This layout without channels and label: layouts in which it is equal can be merged."""
        columns = self.columns
        bare = CsvColumns.model_construct(time=columns.time, start=columns.start, rows=columns.rows, channels=())
        return self._replace(label=None, columns=bare)

    @property
    def arrays(self) -> dict[str, slice]:
        """The channels of each array of values: one, or one for each device that is in the file."""
        if not self.widths:
            return {"values": slice(None)}
        ends = accumulate(self.widths, initial=0)
        return {f"values.{number}": slice(*both) for number, both in enumerate(pairwise(ends))}

    @property
    def has_dates(self) -> bool:
        """Whether time stamps are texts."""
        return self.columns.time is not None and self.columns.time.unit in csv_times.TEXTS

    @property
    def texts(self) -> dict[Role, Column]:
        """The columns that are read as texts."""
        rows = self.columns.rows.column if self.columns.rows else None
        found: dict[Role, Column | None] = {"subject": self.subject, "session": self.session, "label": self.label}
        return {role: column for role, column in (found | {"rows": rows}).items() if column is not None}

    def is_missing(self, text: str) -> bool:
        """Return whether a stripped text means a missing value; numbers are compared as numbers."""
        texts, numbers = _missing(self.missing)
        return text in texts or to_number(text) in numbers

    @property
    def missing_numbers(self) -> list[float]:
        """The numbers that mean a missing value."""
        return [number for number in _missing(self.missing)[1] if number is not None]

    def to_document(self) -> dict[str, Any]:
        """Return the layout as JSON values: files are parsed equally under equal documents."""
        columns = self.columns
        return {
            **self._asdict(),
            **{name: _plain(getattr(self, name)) for name in ("label", "subject", "session")},
            "columns": None,
            "widths": list(self.widths),
            "form": self.form._asdict(),
            "channels": [[_plain(c.column), _plain(c.plus), c.scale] for c in columns.channels],
            "time": _plain(columns.time),
            "start": [_plain(start) for start in columns.start],
            "rows": _plain(columns.rows),
        }


def _plain(value: object) -> Any:
    return value.to_document() if isinstance(value, Record) else value


@cache
def _missing(texts: tuple[str, ...]) -> tuple[set[str], set[float | None]]:
    """Return the texts that mean a missing value, and those of them that are numbers, as numbers."""
    return {text.strip() for text in texts}, {to_number(text) for text in texts} - {None}


def to_number(text: str, decimal: str = ".") -> float | None:
    """Return what Python's float() accepts, except underscores."""
    try:
        return None if "_" in text else float(text if decimal == "." else text.replace(decimal, "."))
    except ValueError:
        return None


class Places(NamedTuple):
    """The positions of a layout's columns in a file, from 0."""

    channels: tuple[tuple[int, ...], ...]  # of each channel: its column, and the one that is added
    time: int | None
    added: int | None  # the second column of the time
    texts: dict[Role, int]
    names: Sequence[str]  # of all columns of the file, for messages

    @property
    def numbers(self) -> tuple[int, ...]:
        """The columns that are read as float64."""
        found = (place for places in self.channels for place in places)
        return tuple(dict.fromkeys([*found, *([] if self.added is None else [self.added])]))


class File(NamedTuple):
    """A text file that is parsed."""

    where: str
    layout: Layout
    places: Places

    def at(self, line: int) -> str:
        """Return the place of a line."""
        return f"{self.where}:{line}"


def find_places(where: str, names: Sequence[str], layout: Layout) -> Places:
    """Return the positions of the columns. Raises InputError with those that are missing or ambiguous."""
    columns = layout.columns
    configured = csv_header.configured_columns(columns)
    configured |= {str(role): column for role, column in layout.texts.items() if role != "rows"}
    if problems := list(csv_header.find_problems(where, names, configured, advise=isinstance(columns, CsvPart))):
        raise InputError(UNREADABLE, problems)

    def place(column: Column) -> int:
        return csv_header.find(names, column)[0]

    time = columns.time
    return Places(
        channels=tuple(tuple(map(place, channel.named())) for channel in columns.channels),
        time=place(time.column) if time else None,
        added=place(time.plus.column) if time and time.plus else None,
        texts={role: place(column) for role, column in layout.texts.items()},
        names=names,
    )
