"""Parse one text file of rows and columns into arrays: with pandas, and with Python where pandas fails.

pandas fills short rows, cuts long ones and reads a column of True as 1. Its result is used only if every row has the
expected number of cells and every number is a number; otherwise Python parses the file, or finds out what is wrong.
One cause is one problem of a file, with its first line and the number of rows.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.message_lists import and_others
from modelreg.data.recording import UNLABELLED, UNREADABLE
from modelreg.data.sources import csv_header, csv_times
from modelreg.errors import InputError, Problem
from modelreg.records.base import is_name
from modelreg.records.source import Column, CsvColumns, CsvSource

SHOWN = 40  # characters of a cell

DECIMAL_COMMA = "export the file again with a decimal point: 0.25, not 0,25"

_BOM = b"\xef\xbb\xbf"
_INTEGER = re.compile(r"\s*[-+]?[0-9]{1,18}\s*")  # always fits int64
_DECIMAL_COMMA = re.compile(r"[-+]?[0-9]*,[0-9]+([eE][-+]?[0-9]+)?")
_TRUTH = re.compile(rb"true|false", re.IGNORECASE)

Texts = Sequence[str] | NDArray[Any]


class Layout(NamedTuple):
    """Every setting that the parsing of one device's files depends on."""

    columns: CsvColumns
    label: Column | None
    separator: str
    header: bool
    missing: tuple[str, ...]

    @classmethod
    def of(cls, source: CsvSource, device: str) -> "Layout":
        """Return the layout of a device's files; labels are those of the first device."""
        label = source.label if device == source.devices[0].name else None
        return cls(source.by_name[device], label, source.separator, source.header, source.missing)

    @property
    def has_dates(self) -> bool:
        """Whether time stamps are ISO 8601 texts."""
        return self.columns.time is not None and self.columns.time.unit == "iso8601"

    def is_missing(self, text: str) -> bool:
        """Return whether a stripped text means a missing value; numbers are compared as numbers."""
        texts, numbers = _missing(self.missing)
        return text in texts or _number(text) in numbers

    def to_document(self) -> dict[str, Any]:
        """Return the layout as JSON values: files are parsed equally under equal documents."""
        return {
            "channels": [[channel.column, channel.scale] for channel in self.columns.channels],
            "time": self.columns.time and self.columns.time.to_document(),
            **self._asdict() | {"columns": None},
        }


@cache
def _missing(texts: tuple[str, ...]) -> tuple[set[str], set[float | None]]:
    """Return the texts that mean a missing value, and those of them that are numbers, as numbers."""
    return {text.strip() for text in texts}, {_number(text) for text in texts} - {None}


class _Places(NamedTuple):
    """The positions of a layout's columns in a file, from 0."""

    width: int  # columns of the file
    channels: tuple[int, ...]
    time: int | None
    label: int | None
    names: Sequence[str]  # of all columns of the file, for messages


class _Table(NamedTuple):
    """The values of the columns, row by row."""

    numbers: dict[int, NDArray[np.float64]]
    stamps: NDArray[Any] | None  # numbers, or texts if they are dates
    labels: Texts | None


class _Cell(NamedTuple):
    """A cell that is not a number."""

    line: int
    column: str
    text: str


class _File(NamedTuple):
    data: bytes  # UTF-8, no byte order mark, no empty lines at the end
    where: str
    layout: Layout

    def at(self, line: int) -> str:
        return f"{self.where}:{line}"


def parse(data: bytes, where: str, layout: Layout) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the arrays of one file: values, time and, if there is a label column, codes, labels and lines.

    `codes` are indices into `labels`, or UNLABELLED; `lines` holds the first line of each label. Raises InputError
    with every problem.
    """
    data = data.removeprefix(_BOM)
    if problem := _find_foreign(data, where):
        raise InputError(UNREADABLE, [problem])
    file = _File(data.rstrip(b"\r\n") + b"\n", where, layout)
    places = _find_places(file)
    lines, problems = _lines(file, places)
    if not len(lines):
        raise InputError(UNREADABLE, [Problem(where, "csv.empty", "no row of values below the header")])
    table = None if problems else _parse_fast(file, places, len(lines))
    if table is None:
        table, more = _parse_slowly(file, places)
        problems += more
    if problems:
        raise InputError(UNREADABLE, problems)
    seconds, problems = _seconds(file, table.stamps, lines)
    labels, more = _label_arrays(file, table.labels, lines)
    if problems or more:
        raise InputError(UNREADABLE, [*problems, *more])
    yield "values", _scale(file, places, table)
    yield from seconds.items()
    yield from labels.items()


def _find_foreign(data: bytes, where: str) -> Problem | None:
    """Return why bytes are not UTF-8 text, if so."""
    if (nul := data.find(b"\0")) >= 0:
        place = f"{where}:{_line_of(data, nul)}"
        return Problem(place, "csv.encoding", "NUL byte: the file is UTF-16, or not a text file")
    try:
        if not data.isascii():
            data.decode()
    except UnicodeDecodeError as error:
        place = f"{where}:{_line_of(data, error.start)}"
        return Problem(place, "csv.encoding", f"not UTF-8 at byte {error.start}")
    return None


def _line_of(data: bytes, place: int) -> int:
    return data.count(b"\n", 0, place) + 1


def _rows(file: _File) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which each row begins, and its cells; blank lines are counted, but not yielded."""
    lines = io.TextIOWrapper(io.BytesIO(file.data), "utf-8", newline="")
    reader = csv.reader(lines, delimiter=file.layout.separator, strict=True)
    line = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise InputError(UNREADABLE, [Problem(file.at(line), "csv.quotes", str(error))]) from error
        if cells is None:
            return
        if len(cells) > 1 or "".join(cells).strip():
            yield line, cells
        line = reader.line_num + 1


def _find_places(file: _File) -> _Places:
    """Return the positions of the columns. Raises InputError with those that are missing or ambiguous."""
    _, cells = next(_rows(file), (1, []))
    if not cells:
        raise InputError(UNREADABLE, [Problem(file.where, "csv.empty", "the file is empty")])
    names = [cell.strip() for cell in cells] if file.layout.header else [str(n + 1) for n in range(len(cells))]
    columns, label = file.layout.columns, file.layout.label
    if problems := list(csv_header.find_problems(file.where, names, columns, label)):
        raise InputError(UNREADABLE, problems)
    return _Places(
        width=len(cells),
        channels=tuple(names.index(str(channel.column)) for channel in columns.channels),
        time=names.index(str(columns.time.column)) if columns.time else None,
        label=None if label is None else names.index(str(label)),
        names=names,
    )


def _lines(file: _File, places: _Places) -> tuple[Sequence[int], list[Problem]]:
    """Return the line of every row below the header, and a problem if rows have another number of cells."""
    header = file.layout.header
    if (count := _count_even(file, places.width)) is not None:
        return range(1 + header, 1 + count), []
    widths = [(line, len(cells)) for line, cells in islice(_rows(file), header, None)]
    lines = [line for line, _ in widths]
    if not (wrong := [row for row in widths if row[1] != places.width]):
        return lines, []
    line, width = wrong[0]
    step = DECIMAL_COMMA if width > places.width and file.layout.separator == "," else ""
    message = f"{width} columns, expected {places.width}{and_others(len(wrong))}"
    return lines, [
        Problem(file.at(line), "csv.row-width", message, step and f"if numbers have a decimal comma, {step}")
    ]


def _count_even(file: _File, width: int) -> int | None:
    """Return the number of lines if each has `width` cells; None if quotes or line ends may hide the answer."""
    data = file.data
    if width == 1 or b'"' in data or (b"\r" in data and data.count(b"\r") != data.count(b"\r\n")):
        return None
    separator = file.layout.separator.encode()
    marks = data.translate(None, bytes({*range(256)} - {*separator, *b"\n"}))
    count = len(marks) // width
    return count if marks == (separator * (width - 1) + b"\n") * count else None


def _parse_fast(file: _File, places: _Places, count: int) -> _Table | None:
    """Return what pandas reads of `count` rows, or None if that may differ from the text."""
    import pandas as pd

    dates = file.layout.has_dates
    numeric = {*places.channels, *_there(None if dates else places.time)}
    texts = {*_there(places.time if dates else None), *_there(places.label)}
    try:
        frame = pd.read_csv(
            io.BytesIO(file.data),
            sep=file.layout.separator,
            header=0 if file.layout.header else None,
            names=[str(place) for place in range(places.width)],
            usecols=[str(place) for place in sorted(numeric | texts)],
            index_col=False,
            dtype={str(place): str if place in texts else np.float64 for place in (*texts, *places.channels)},
            na_values=list(file.layout.missing),
            keep_default_na=False,
            low_memory=False,
        )
    except ValueError:
        return None
    columns = {int(name): frame[name].to_numpy() for name in frame.columns}
    if len(frame) != count or not all(_is_numeric(columns[place], file.data) for place in numeric):
        return None
    return _Table(
        {place: columns[place] for place in places.channels},
        None if places.time is None else columns[places.time],
        None if places.label is None else columns[places.label],
    )


def _there(place: int | None) -> tuple[int, ...]:
    return () if place is None else (place,)


def _is_numeric(column: NDArray[Any], data: bytes) -> bool:
    """Return whether the text held numbers: pandas reads a column of True and False as ones and zeros."""
    if column.dtype.kind not in "iuf":
        return False
    if column[0] not in {0, 1} and column[0] == column[0]:
        return True
    return not ((column == 0) | (column == 1) | np.isnan(column)).all() or not _TRUTH.search(data)


def _parse_slowly(file: _File, places: _Places) -> tuple[_Table, list[Problem]]:
    """Return what Python reads of the rows that have all columns, and a problem if cells are not numbers."""
    rows = [row for row in islice(_rows(file), file.layout.header, None) if len(row[1]) == places.width]
    wrong: list[_Cell] = []

    def column(place: int) -> NDArray[np.float64]:
        values = np.full(len(rows), np.nan)
        for row, (line, cells) in enumerate(rows):
            text = cells[place].strip()
            value = _number(text)
            if not file.layout.is_missing(text):
                values[row] = np.nan if value is None else value
                if value is None:
                    wrong.append(_Cell(line, places.names[place], text))
        return values

    def texts(place: int) -> list[str]:
        return [cells[place] for _, cells in rows]

    found = {place: column(place) for place in places.channels}
    stamps: NDArray[Any] | None = None
    if places.time is not None:
        stamps = np.array(texts(places.time), dtype=object)
        if not file.layout.has_dates:
            whole = all(_INTEGER.fullmatch(text) for text in stamps)
            stamps = stamps.astype(np.int64) if whole else column(places.time)
    labels = None if places.label is None else texts(places.label)
    return _Table(found, stamps, labels), list(_find_cell_problems(file, wrong))


def _find_cell_problems(file: _File, cells: Sequence[_Cell]) -> Iterator[Problem]:
    """Yield one problem for cells with a decimal comma, and one for others that are not numbers."""
    in_order = sorted(cells, key=lambda cell: cell.line)
    commas = [cell for cell in in_order if _DECIMAL_COMMA.fullmatch(cell.text)]
    others = [cell for cell in in_order if not _DECIMAL_COMMA.fullmatch(cell.text)]
    if commas:
        yield Problem(file.at(commas[0].line), "csv.decimal-comma", f"decimal comma in {_quoted_cell(commas)}")
    if others:
        yield Problem(file.at(others[0].line), "csv.not-a-number", f"not a number: {_quoted_cell(others)}")


def _quoted_cell(cells: Sequence[_Cell]) -> str:
    """Return the first cell and its column, and how many other rows have such a cell."""
    first = cells[0]
    return f"{first.text[:SHOWN]!r}, column {first.column!r}{and_others(len({cell.line for cell in cells}))}"


def _number(text: str) -> float | None:
    """Return what Python's float() accepts, except underscores."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _scale(file: _File, places: _Places, table: _Table) -> NDArray[np.float32]:
    """Return the channels, (rows, C), each times its scale; what float32 cannot hold becomes Inf, a missing value."""
    channels = file.layout.columns.channels
    first = table.numbers[places.channels[0]]
    values = np.empty((len(first), len(channels)), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for number, (place, channel) in enumerate(zip(places.channels, channels, strict=True)):
            values[:, number] = table.numbers[place] * channel.scale
    return values


def _seconds(
    file: _File, stamps: NDArray[Any] | None, lines: Sequence[int]
) -> tuple[dict[str, NDArray[np.float64]], list[Problem]]:
    """Return the time of every row, if there is a time column, and the problems of its values."""
    time = file.layout.columns.time
    if time is None or stamps is None:
        return {}, []
    seconds = csv_times.to_seconds(stamps, time.unit)
    return {"time": seconds}, list(_find_time_problems(file, seconds, stamps, lines))


def _find_time_problems(
    file: _File, seconds: NDArray[np.float64], stamps: NDArray[Any], lines: Sequence[int]
) -> Iterator[Problem]:
    """Yield one problem for missing times, one for a clock that goes back, one for a clock that stands still."""
    missing = np.flatnonzero(~np.isfinite(seconds)).tolist()
    back = np.flatnonzero(seconds[1:] < seconds[:-1]).tolist()
    if missing:
        stamp = stamps[missing[0]]
        found = f", found {stamp[:SHOWN]!r}" if isinstance(stamp, str) else ""
        yield Problem(file.at(lines[missing[0]]), "csv.time-missing", f"no time{found}{and_others(len(missing))}")
    if back:
        before, after = seconds[back[0]], seconds[back[0] + 1]
        message = f"time goes back by {before - after:.6g} s, to {after:.6f} s{and_others(len(back))}"
        yield Problem(file.at(lines[back[0] + 1]), "csv.time-goes-back", message)
    if not missing and not back and seconds[0] == seconds[-1]:
        yield Problem(file.where, "csv.time-constant", f"every time is {seconds[0]:.6f} s, expected different times")


def _label_arrays(
    file: _File, texts: Texts | None, lines: Sequence[int]
) -> tuple[dict[str, NDArray[Any]], list[Problem]]:
    """Return the labels as codes, names and the first line of each; and a problem if labels are invalid names."""
    if texts is None:
        return {}, []
    import pandas as pd

    found, uniques = pd.factorize(np.asarray(texts, dtype=object))
    cleaned = [text.strip() for text in uniques]
    given = dict.fromkeys(text for text in cleaned if text and not file.layout.is_missing(text))
    names = {text: code for code, text in enumerate(given)}
    codes = np.array([*(names.get(text, UNLABELLED) for text in cleaned), UNLABELLED], dtype=np.int32)[found]
    first = np.zeros(len(names) + 1, np.int64)  # the last entry is for UNLABELLED, -1
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # the first row of each code is assigned last
    where = np.array([lines[row] for row in first[:-1].tolist()], dtype=np.int64)
    problems = [Problem(file.at(lines[row]), "csv.name-invalid", message) for row, message in _invalid(names, first)]
    return {"codes": codes, "labels": np.array(list(names), dtype="U"), "lines": where}, problems


def _invalid(names: Iterable[str], first: NDArray[np.int64]) -> Iterator[tuple[int, str]]:
    """Yield the first invalid label: its first row, and a message."""
    invalid = [(row, text) for text, row in zip(names, first.tolist(), strict=False) if not is_name(text)]
    if invalid:
        row, text = min(invalid)
        yield row, f"label {text[:SHOWN]!r} is not a valid name{and_others(len(invalid), 'label')}"
