"""One text file of rows and columns to arrays: by pandas, and by Python where that fails, to say why or to do it.

pandas is fast and forgiving: it fills short rows, cuts long ones and reads a column of True as 1. So nothing that it
returns is used before the number of cells in every row was counted and a number was told from a truth value.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.recording import UNLABELLED
from modelreg.errors import InputError, Problem
from modelreg.records.base import is_name
from modelreg.records.source import Column, CsvColumns, CsvSource

SHOWN = 10  # problems of one file that are written out; the others are counted
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
EXACT = 2**53  # up to which every integer is a float64

_BOM = b"\xef\xbb\xbf"
_INTEGER = re.compile(r"\s*[-+]?[0-9]{1,18}\s*")  # what surely fits int64
_TRUTH = re.compile(rb"true|false", re.IGNORECASE)

Texts = Sequence[str] | NDArray[Any]


class Layout(NamedTuple):
    """All that steers the parsing of one device's files."""

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
        """Whether time stamps are texts."""
        return self.columns.time is not None and self.columns.time.unit == "iso8601"

    def is_missing(self, text: str) -> bool:
        """Return whether a text, without blanks around it, stands for no value; a number however it is written."""
        texts, numbers = _missing(self.missing)
        return text in texts or _number(text) in numbers

    def to_document(self) -> dict[str, Any]:
        """Return the layout as JSON values: equal ones parse equally."""
        return {
            "channels": [[channel.column, channel.scale] for channel in self.columns.channels],
            "time": self.columns.time and self.columns.time.to_document(),
            **self._asdict() | {"columns": None},
        }


@cache
def _missing(texts: tuple[str, ...]) -> tuple[set[str], set[float | None]]:
    """Return the texts that stand for no value, and those among them that are numbers, as numbers."""
    return {text.strip() for text in texts}, {_number(text) for text in texts} - {None}


class _Places(NamedTuple):
    """Where the columns of a layout stand in a file, from 0."""

    width: int  # columns of the file
    channels: tuple[int, ...]
    time: int | None
    label: int | None
    names: Sequence[str]  # of all columns of the file, for messages


class _Table(NamedTuple):
    """What the columns hold, row by row."""

    numbers: dict[int, NDArray[np.float64]]
    stamps: NDArray[Any] | None  # numbers, or texts where they are dates
    labels: Texts | None


class _File(NamedTuple):
    data: bytes  # UTF-8, no byte order mark, no empty lines at the end
    where: str
    layout: Layout

    def at(self, line: int, what: str) -> Problem:
        return Problem(f"{self.where}: line {line}", "todo.csv-table", what)

    def error(self, problems: Iterable[Problem]) -> InputError:
        return InputError("not the table that is described", list(_first(problems, self.where)))


def parse(data: bytes, where: str, layout: Layout) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the arrays of one file: values, time and, where a column has them, codes, labels and lines.

    `codes` are indices into `labels`, or UNLABELLED; `lines` says where each label stands first. Raises InputError
    with every problem.
    """
    data = data.removeprefix(_BOM)
    if problem := _find_foreign(data, where):
        raise InputError("not a text", [problem])
    file = _File(data.rstrip(b"\r\n") + b"\n", where, layout)
    places = _find_places(file)
    lines, problems = _lines(file, places)
    if not len(lines):
        raise file.error([Problem(where, "todo.csv-table", "holds no row of values")])
    table = None if problems else _parse_fast(file, places, len(lines))
    if table is None:
        table, more = _parse_slowly(file, places)
        problems += more
    if problems:
        raise file.error(problems)
    seconds, problems = _seconds(file, table.stamps, lines)
    labels, more = _label_arrays(file, table.labels, lines)
    if problems or more:
        raise file.error([*problems, *more])
    yield "values", _scale(file, places, table)
    yield from seconds.items()
    yield from labels.items()


def _first(problems: Iterable[Problem], where: str) -> Iterator[Problem]:
    """Yield the first problems, and how many more there are."""
    rest = iter(problems)
    yield from islice(rest, SHOWN)
    if more := sum(1 for _ in rest):
        yield Problem(where, "todo.csv-table", f"and {more} more")


def _find_foreign(data: bytes, where: str) -> Problem | None:
    """Return what keeps bytes from being a text."""
    if (nul := data.find(b"\0")) >= 0:
        return Problem(
            f"{where}: line {_line_of(data, nul)}",
            "todo.csv-table",
            "a NUL byte: not a text, or UTF-16; save it as UTF-8",
        )
    try:
        if not data.isascii():
            data.decode()
    except UnicodeDecodeError as error:
        return Problem(
            f"{where}: line {_line_of(data, error.start)}", "todo.csv-table", f"not UTF-8 at byte {error.start}"
        )
    return None


def _line_of(data: bytes, place: int) -> int:
    return data.count(b"\n", 0, place) + 1


def _rows(file: _File) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which each row begins, and its cells; blank lines are counted, but no rows."""
    lines = io.TextIOWrapper(io.BytesIO(file.data), "utf-8", newline="")
    reader = csv.reader(lines, delimiter=file.layout.separator, strict=True)
    line = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise file.error([file.at(line, f"broken quotes, or no text: {error}")]) from error
        if cells is None:
            return
        if len(cells) > 1 or "".join(cells).strip():
            yield line, cells
        line = reader.line_num + 1


def _find_places(file: _File) -> _Places:
    """Return where the columns stand. Raises InputError with those that are not there, or there twice."""
    line, cells = next(_rows(file), (1, []))
    if not cells:
        raise file.error([Problem(file.where, "todo.csv-table", "is empty")])
    names = [cell.strip() for cell in cells] if file.layout.header else [str(n + 1) for n in range(len(cells))]
    columns, label = file.layout.columns, file.layout.label
    wanted = [str(column) for column in (*columns.named(), *([] if label is None else [label]))]
    problems = [file.at(line, what) for name in dict.fromkeys(wanted) if (what := _missing_column(name, names))]
    if problems:
        raise file.error(problems)
    return _Places(
        width=len(cells),
        channels=tuple(names.index(str(channel.column)) for channel in columns.channels),
        time=names.index(str(columns.time.column)) if columns.time else None,
        label=None if label is None else names.index(str(label)),
        names=names,
    )


def _missing_column(name: str, names: Sequence[str]) -> str | None:
    """Return why a column cannot be taken, if so."""
    if names.count(name) > 1:
        return f"has {names.count(name)} columns {name}: which one is meant?"
    if name in names:
        return None
    near = [] if name.isdigit() else get_close_matches(name, names, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"has no column {name}: there are {', '.join(names)[:400]}{meant}"


def _lines(file: _File, places: _Places) -> tuple[Sequence[int], list[Problem]]:
    """Return the line of every row under the header, and each row of another width."""
    header = file.layout.header
    if (count := _count_even(file, places.width)) is not None:
        return range(1 + header, 1 + count), []
    lines: list[int] = []
    problems = []
    for line, cells in islice(_rows(file), header, None):
        lines.append(line)
        if len(cells) != places.width:
            problems.append(file.at(line, f"has {len(cells)} columns, must have {places.width}"))
    return lines, problems


def _count_even(file: _File, width: int) -> int | None:
    """Return how many lines there are if each has `width` cells; None where only a reader of quotes can tell."""
    data = file.data
    if width == 1 or b'"' in data or (b"\r" in data and data.count(b"\r") != data.count(b"\r\n")):
        return None
    separator = file.layout.separator.encode()
    marks = data.translate(None, bytes({*range(256)} - {*separator, *b"\n"}))
    count = len(marks) // width
    return count if marks == (separator * (width - 1) + b"\n") * count else None


def _parse_fast(file: _File, places: _Places, count: int) -> _Table | None:
    """Return what pandas makes of `count` rows, or None where that is not, or may not be, what they say."""
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
    """Return whether numbers stood there: pandas takes a column of nothing but True and False for ones and zeros."""
    if column.dtype.kind not in "iuf":
        return False
    if column[0] not in {0, 1} and column[0] == column[0]:
        return True
    return not ((column == 0) | (column == 1) | np.isnan(column)).all() or not _TRUTH.search(data)


def _parse_slowly(file: _File, places: _Places) -> tuple[_Table, list[Problem]]:
    """Return what Python makes of the rows that have all columns, and every cell that is no number."""
    rows = [row for row in islice(_rows(file), file.layout.header, None) if len(row[1]) == places.width]
    problems: list[Problem] = []

    def column(place: int) -> NDArray[np.float64]:
        values = np.full(len(rows), np.nan)
        for row, (line, cells) in enumerate(rows):
            text = cells[place].strip()
            value = _number(text)
            if not file.layout.is_missing(text):
                values[row] = np.nan if value is None else value
                if value is None:
                    where = f"{file.where}: line {line}, column {places.names[place]}"
                    problems.append(Problem(where, "todo.csv-table", f"not a number: {text[:40]!r}"))
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
    return _Table(found, stamps, None if places.label is None else texts(places.label)), problems


def _number(text: str) -> float | None:
    """Return what Python's float() takes, less its underscores."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _scale(file: _File, places: _Places, table: _Table) -> NDArray[np.float32]:
    """Return the channels, (rows, C), each times its scale; what float32 cannot hold becomes Inf: missing."""
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
    """Return the time of every row, where there is one, and what is wrong with it."""
    time = file.layout.columns.time
    if time is None or stamps is None:
        return {}, []
    seconds = _from_dates(stamps) if file.layout.has_dates else _from_ticks(stamps, PER_SECOND[time.unit])
    problems = [
        file.at(lines[row], f"no time in column {time.column}{_quoted(stamps[row])}")
        for row in np.flatnonzero(~np.isfinite(seconds)).tolist()
    ]
    problems += [
        file.at(lines[row + 1], f"time falls by {seconds[row] - seconds[row + 1]:.6g} s, to {seconds[row + 1]:.6f} s")
        for row in np.flatnonzero(seconds[1:] < seconds[:-1]).tolist()
    ]
    if not problems and seconds[0] == seconds[-1]:
        problems.append(
            Problem(file.where, "todo.csv-table", f"column {time.column} needs two different time stamps at least")
        )
    return {"time": seconds}, problems


def _quoted(stamp: Any) -> str:
    return f": {stamp[:40]!r}" if isinstance(stamp, str) else ""


def _from_dates(texts: NDArray[Any]) -> NDArray[np.float64]:
    """Return the seconds since 1970 of ISO 8601 texts, in UTC where they name no zone; NaN for what is no date."""
    import pandas as pd

    dates = pd.Series(texts, dtype=str)
    dates = dates.where(dates.str.match(r"\s*[0-9]"), "")  # pandas knows `now` and `today`
    stamps = pd.to_datetime(dates, format="ISO8601", utc=True, errors="coerce").dt.tz_localize(None).to_numpy()
    ticks = _from_ticks(stamps.astype(np.int64), PER_SECOND[np.datetime_data(stamps.dtype)[0]])
    return np.where(np.isnat(stamps), np.nan, ticks)


def _from_ticks(ticks: NDArray[Any], per_second: int) -> NDArray[np.float64]:
    """Return seconds, of integers beyond what a float64 holds as well: nanoseconds since 1970 are."""
    if ticks.dtype.kind == "f":
        return ticks / per_second
    whole, rest = np.divmod(ticks, per_second)
    return np.where(np.abs(whole) < EXACT // per_second, ticks / per_second, whole + rest / per_second)


def _label_arrays(
    file: _File, texts: Texts | None, lines: Sequence[int]
) -> tuple[dict[str, NDArray[Any]], list[Problem]]:
    """Return the labels as codes, names and the line of each one's first row; and those that are no names."""
    if texts is None:
        return {}, []
    import pandas as pd

    found, uniques = pd.factorize(np.asarray(texts, dtype=object))
    cleaned = [text.strip() for text in uniques]
    given = dict.fromkeys(text for text in cleaned if text and not file.layout.is_missing(text))
    names = {text: code for code, text in enumerate(given)}
    codes = np.array([*(names.get(text, UNLABELLED) for text in cleaned), UNLABELLED], dtype=np.int32)[found]
    first = np.zeros(len(names) + 1, np.int64)  # the last is what UNLABELLED, -1, finds
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # of several rows the one written last stays: the first
    where = np.array([lines[row] for row in first[:-1].tolist()], dtype=np.int64)
    problems = [
        file.at(line, f"the label {what}") for text, line in zip(names, where, strict=True) if (what := no_name(text))
    ]
    return {"codes": codes, "labels": np.array(list(names), dtype="U"), "lines": where}, problems


def no_name(text: str) -> str | None:
    """Return why a text can be no name of a label, a subject or a recording, if so."""
    if is_name(text):
        return None
    return f"{text[:40]!r} is no name: 1 to 100 characters, no control characters, no blank at either end"
