"""Parse one text file of rows and columns into arrays.

The rows come in blocks (text_rows.py). pandas converts a block whose cells are all numbers where numbers are expected.
In any other block Python converts each cell, and so finds which rows are bad. One cause is one problem of a file, with
its first line and the number of rows.
"""

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.message_lists import and_others
from modelreg.data.recording import UNLABELLED, UNREADABLE
from modelreg.data.sources import csv_header, csv_times
from modelreg.data.sources.csv_times import Ordered
from modelreg.data.sources.text_rows import Block, Form, Misfit, open_table
from modelreg.errors import InputError, Problem
from modelreg.records.base import is_name
from modelreg.records.source import ClockRule, Column, CsvColumns, CsvSource

SHOWN = 40  # characters of a cell
HOUR_S, NEAR_S = 3600, 60
SUMMER = "set `time.zone`, for example to Europe/Berlin: local time is set back when daylight saving time ends"
COUNTS = (  # of a file
    "rows",  # that were read
    "bad",  # rows left out
    "cut",  # whether the last line was cut off
    "moved",  # rows out of order
    "late",  # rows left out because their time is not after all before
    "packet",  # rows that share each time stamp
)

_INTEGER = re.compile(r"\s*[-+]?[0-9]{1,18}\s*")  # always fits int64
_DECIMAL_COMMA = re.compile(r"[-+]?[0-9]*,[0-9]+([eE][-+]?[0-9]+)?")
_TRUTH = re.compile(rb"true|false", re.IGNORECASE)

Texts = Sequence[str] | NDArray[Any]


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

    @classmethod
    def of(cls, source: CsvSource, part: str) -> "Layout":
        """Return the layout of the files of a device or of its part; labels are those of the first one."""
        return cls(
            columns=source.by_name[part],
            label=source.label if part == source.first else None,
            form=Form(
                separator=source.separator,
                header=source.header,
                encoding=source.encoding,
                comment=source.comment,
                skip=source.skip,
                skip_until=source.skip_until,
            ),
            missing=source.missing,
            decimal=source.decimal,
            skip_bad_rows=source.on_bad_row == "skip",
            max_bad_rows=source.max_bad_rows,
            clock=source.clock,
        )

    @property
    def has_dates(self) -> bool:
        """Whether time stamps are texts."""
        return self.columns.time is not None and self.columns.time.unit in csv_times.TEXTS

    def is_missing(self, text: str) -> bool:
        """Return whether a stripped text means a missing value; numbers are compared as numbers."""
        texts, numbers = _missing(self.missing)
        return text in texts or _number(text) in numbers

    def to_document(self) -> dict[str, Any]:
        """Return the layout as JSON values: files are parsed equally under equal documents."""
        return {
            "channels": [[channel.column, channel.scale] for channel in self.columns.channels],
            "time": self.columns.time and self.columns.time.to_document(),
            **self._asdict() | {"columns": None, "form": self.form._asdict()},
        }


@cache
def _missing(texts: tuple[str, ...]) -> tuple[set[str], set[float | None]]:
    """Return the texts that mean a missing value, and those of them that are numbers, as numbers."""
    return {text.strip() for text in texts}, {_number(text) for text in texts} - {None}


class _Places(NamedTuple):
    """The positions of a layout's columns in a file, from 0."""

    channels: tuple[int, ...]
    time: int | None
    added: int | None  # the second column of the time
    label: int | None
    names: Sequence[str]  # of all columns of the file, for messages

    @property
    def numbers(self) -> tuple[int, ...]:
        """The columns that are read as float64."""
        return (*self.channels, *_there(self.added))


class _Rows(NamedTuple):
    """The values of the columns of some rows."""

    numbers: dict[int, NDArray[np.float64]]
    stamps: NDArray[Any] | None  # numbers, or texts if they are dates
    labels: NDArray[Any] | None  # texts
    lines: NDArray[np.int64]

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "_Rows":
        """Return some rows, by indices or by a mask."""
        return _Rows(
            {place: values[rows] for place, values in self.numbers.items()},
            None if self.stamps is None else self.stamps[rows],
            None if self.labels is None else self.labels[rows],
            self.lines[rows],
        )


class _Cell(NamedTuple):
    """A cell that is not a number."""

    line: int
    column: str
    text: str
    cut: bool  # it is in a last line without a line end


class _Faults(NamedTuple):
    """The rows of a file that do not fit."""

    misfits: list[Misfit]
    cells: list[_Cell]

    def bad_lines(self) -> set[int]:
        """Return the lines of the bad rows, without a last one that was cut off."""
        bad = {row.line for row in self.misfits if not row.cut}
        return bad | {cell.line for cell in self.cells if not cell.cut}

    def all_bad(self) -> "_Faults":
        """Return the same, with a last line that was cut off as any other: for a file without a good row."""
        return _Faults(
            [row._replace(cut=False) for row in self.misfits], [cell._replace(cut=False) for cell in self.cells]
        )

    def is_cut(self) -> bool:
        """Return whether the last line was cut off."""
        return any(row.cut for row in self.misfits) or any(cell.cut for cell in self.cells)


class _File(NamedTuple):
    where: str
    layout: Layout
    places: _Places

    def at(self, line: int) -> str:
        return f"{self.where}:{line}"


def parse(stream: IO[bytes], where: str, layout: Layout) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the arrays of one file: values, counts, time and, if there is a label column, codes, labels and lines.

    `codes` are indices into `labels`, or UNLABELLED; `lines` holds the first line of each label; `counts` those of
    COUNTS. Raises InputError with every problem.
    """
    names, blocks = open_table(stream, where, layout.form)
    file = _File(where, layout, _find_places(where, names, layout))
    faults = _Faults([], [])
    rows = _joined([_rows(file, each, faults) for each in _without(blocks, faults)])
    if not len(rows.lines):
        faults = faults.all_bad()
    problems = list(_find_bad_rows(file, faults, len(rows.lines)))
    if not len(rows.lines) and not problems:
        raise InputError(UNREADABLE, [Problem(where, "csv.empty", "no row of values below the header")])
    if problems:
        raise InputError(UNREADABLE, problems)
    ordered, problems = _in_order(file, rows)
    late = 0
    if ordered:
        late = len(rows.lines) - len(ordered.rows)
        rows = rows.take(ordered.rows)
    labels, more = _label_arrays(file, rows)
    if problems or more:
        raise InputError(UNREADABLE, [*problems, *more])
    yield "values", _scale(file, rows)
    clock = (ordered.moved, late, ordered.packet) if ordered else (0, 0, 0)
    yield "counts", np.array([len(rows.lines), len(faults.bad_lines()), faults.is_cut(), *clock], dtype=np.int64)
    if ordered:
        yield "time", ordered.seconds
    yield from labels.items()


def _find_places(where: str, names: Sequence[str], layout: Layout) -> _Places:
    """Return the positions of the columns. Raises InputError with those that are missing or ambiguous."""
    columns, label = layout.columns, layout.label
    if problems := list(csv_header.find_problems(where, names, columns, label)):
        raise InputError(UNREADABLE, problems)

    def place(column: Column) -> int:
        return column - 1 if isinstance(column, int) else names.index(column)

    return _Places(
        channels=tuple(place(channel.column) for channel in columns.channels),
        time=place(columns.time.column) if columns.time else None,
        added=place(columns.time.plus.column) if columns.time and columns.time.plus else None,
        label=None if label is None else place(label),
        names=names,
    )


def _without(blocks: Iterable[Block | Misfit], faults: _Faults) -> Iterator[Block]:
    """Yield the blocks, and note the rows that do not fit."""
    for each in blocks:
        if isinstance(each, Misfit):
            faults.misfits.append(each)
        else:
            yield each


def _joined(parts: Sequence[_Rows]) -> _Rows:
    """Return the rows of all blocks."""
    if not parts:
        return _Rows({}, None, None, np.empty(0, np.int64))
    first = parts[0]
    return _Rows(
        {place: np.concatenate([part.numbers[place] for part in parts]) for place in first.numbers},
        None if first.stamps is None else np.concatenate([part.stamps for part in parts]),
        None if first.labels is None else np.concatenate([part.labels for part in parts]),
        np.concatenate([part.lines for part in parts]),
    )


def _rows(file: _File, block: Block, faults: _Faults) -> _Rows:
    found = _of_numbers(file, block)
    return _of_cells(file, block, faults) if found is None else found


def _of_numbers(file: _File, block: Block) -> _Rows | None:
    """Return what pandas reads of a block, or None if that may differ from the text."""
    import pandas as pd

    places, dates = file.places, file.layout.has_dates
    numeric = {*places.channels, *_there(places.added), *_there(None if dates else places.time)}
    texts = {*_there(places.time if dates else None), *_there(places.label)}
    try:
        frame = pd.read_csv(
            io.BytesIO(block.text),
            sep=block.separator,
            header=None,
            names=[str(place) for place in range(len(places.names))],
            usecols=[str(place) for place in sorted(numeric | texts)],
            index_col=False,
            dtype={str(place): str for place in texts} | {str(place): np.float64 for place in places.numbers},
            na_values=list(file.layout.missing),
            keep_default_na=False,
            low_memory=False,
            decimal=file.layout.decimal,
            quoting=3,
            skip_blank_lines=False,
        )
    except ValueError:
        return None
    columns = {int(name): frame[name].to_numpy() for name in frame.columns}
    if len(frame) != len(block.lines) or not all(_is_numeric(columns[place], block.text) for place in numeric):
        return None
    return _Rows(
        {place: columns[place] for place in places.numbers},
        None if places.time is None else columns[places.time],
        None if places.label is None else columns[places.label],
        np.asarray(block.lines, dtype=np.int64),
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


def _of_cells(file: _File, block: Block, faults: _Faults) -> _Rows:
    """Return the rows of a block whose cells are numbers where they must be, and note the others."""
    layout, places = file.layout, file.places
    cells = [[cell.strip() for cell in row.split(block.separator)] for row in block.text.decode().split("\n")[:-1]]
    wrong: list[_Cell] = []

    def column(place: int) -> NDArray[np.float64]:
        values = np.full(len(cells), np.nan)
        for row, line in enumerate(block.lines):
            text = cells[row][place]
            value = _number(text if layout.decimal == "." else text.replace(layout.decimal, "."))
            if not layout.is_missing(text):
                values[row] = np.nan if value is None else value
                if value is None:
                    wrong.append(_Cell(line, places.names[place], text, block.cut and row == len(cells) - 1))
        return values

    numbers = {place: column(place) for place in places.numbers}
    stamps: NDArray[Any] | None = None
    if places.time is not None:
        stamps = np.array([row[places.time] for row in cells], dtype=object)
        if not layout.has_dates:
            whole = all(_INTEGER.fullmatch(text) for text in stamps)
            stamps = stamps.astype(np.int64) if whole else column(places.time)
    labels = None if places.label is None else np.array([row[places.label] for row in cells], dtype=object)
    faults.cells.extend(wrong)
    bad = {cell.line for cell in wrong}
    kept = np.array([line not in bad for line in block.lines], dtype=bool)
    return _Rows(numbers, stamps, labels, np.asarray(block.lines, dtype=np.int64)).take(kept)


def _find_bad_rows(file: _File, faults: _Faults, good: int) -> Iterator[Problem]:
    """Yield a problem for each cause of bad rows; if they are skipped, only if there are too many of them."""
    bad, layout = faults.bad_lines(), file.layout
    if layout.skip_bad_rows and len(bad) <= layout.max_bad_rows * (good + len(bad)):
        return
    if layout.skip_bad_rows:
        share = len(bad) / (good + len(bad))
        message = f"{len(bad)} of {good + len(bad)} rows are bad ({share:.1%}), above {layout.max_bad_rows:.1%}"
        yield Problem(file.at(min(bad)), "csv.too-many-bad-rows", message)
    widths = [row for row in faults.misfits if row.cells and not row.cut]
    quotes = [row for row in faults.misfits if not row.cells and not row.cut]
    if widths:
        yield _width_problem(file, widths)
    if quotes:
        yield Problem(file.at(quotes[0].line), "csv.quotes", f"{quotes[0].why}{and_others(len(quotes))}")
    yield from _find_cell_problems(file, [cell for cell in faults.cells if not cell.cut])


def _width_problem(file: _File, rows: Sequence[Misfit]) -> Problem:
    expected, first = len(file.places.names), rows[0]
    step = "if numbers have a decimal comma, export the file again with semicolons between the columns"
    fitting = first.cells > expected and file.layout.form.separator == ","
    message = f"{first.cells} columns, expected {expected}{and_others(len(rows))}"
    return Problem(file.at(first.line), "csv.row-width", message, step if fitting else "")


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


def _scale(file: _File, rows: _Rows) -> NDArray[np.float32]:
    """Return the channels, (rows, C), each times its scale; what float32 cannot hold becomes Inf, a missing value."""
    channels = file.layout.columns.channels
    values = np.empty((len(rows.lines), len(channels)), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for number, (place, channel) in enumerate(zip(file.places.channels, channels, strict=True)):
            values[:, number] = rows.numbers[place] * channel.scale
    return values


def _in_order(file: _File, rows: _Rows) -> tuple[Ordered | None, list[Problem]]:
    """Return the rows in the order of their time, if there is a time column, and the problems of its values."""
    time, added = file.layout.columns.time, file.places.added
    if time is None or rows.stamps is None:
        return None, []
    seconds = csv_times.to_seconds(rows.stamps, time)
    if time.plus and added is not None:
        seconds = seconds + rows.numbers[added] / csv_times.PER_SECOND[time.plus.unit]
    problems = list(_find_time_problems(file, seconds, rows))
    return (None, problems) if problems else (csv_times.in_order(seconds, file.layout.clock), [])


def _find_time_problems(file: _File, seconds: NDArray[np.float64], rows: _Rows) -> Iterator[Problem]:
    """Yield one problem for missing times, one for a clock that goes back, one for a clock that stands still."""
    missing = np.flatnonzero(~np.isfinite(seconds)).tolist()
    back = np.flatnonzero(seconds[1:] < seconds[:-1]).tolist()
    if missing and rows.stamps is not None:
        stamp = rows.stamps[missing[0]]
        found = f", found {stamp[:SHOWN]!r}" if isinstance(stamp, str) else ""
        yield Problem(file.at(rows.lines[missing[0]]), "csv.time-missing", f"no time{found}{and_others(len(missing))}")
    if back and file.layout.clock == "strict":
        before, after = seconds[back[0]], seconds[back[0] + 1]
        message = f"time goes back by {before - after:.6g} s, to {after:.6f} s{and_others(len(back))}"
        local = abs(before - after - HOUR_S) < NEAR_S and file.layout.has_dates
        yield Problem(file.at(rows.lines[back[0] + 1]), "csv.time-goes-back", message, SUMMER if local else "")
    if not missing and not back and seconds[0] == seconds[-1]:
        yield Problem(file.where, "csv.time-constant", f"every time is {seconds[0]:.6f} s, expected different times")


def _label_arrays(file: _File, rows: _Rows) -> tuple[dict[str, NDArray[Any]], list[Problem]]:
    """Return the labels as codes, names and the first line of each; and a problem if labels are invalid names."""
    if rows.labels is None:
        return {}, []
    import pandas as pd

    found, uniques = pd.factorize(np.asarray(rows.labels, dtype=object))
    cleaned = [text.strip() for text in uniques]
    given = dict.fromkeys(text for text in cleaned if text and not file.layout.is_missing(text))
    names = {text: code for code, text in enumerate(given)}
    codes = np.array([*(names.get(text, UNLABELLED) for text in cleaned), UNLABELLED], dtype=np.int32)[found]
    first = np.zeros(len(names) + 1, np.int64)  # the last entry is for UNLABELLED, -1
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # the first row of each code is assigned last
    where = rows.lines[first[:-1]]
    problems = [
        Problem(file.at(rows.lines[row]), "csv.name-invalid", message) for row, message in _invalid(names, first)
    ]
    return {"codes": codes, "labels": np.array(list(names), dtype="U"), "lines": where}, problems


def _invalid(names: Iterable[str], first: NDArray[np.int64]) -> Iterator[tuple[int, str]]:
    """Yield the first invalid label: its first row, and a message."""
    invalid = [(row, text) for text, row in zip(names, first.tolist(), strict=False) if not is_name(text)]
    if invalid:
        row, text = min(invalid)
        yield row, f"label {text[:SHOWN]!r} is not a valid name{and_others(len(invalid), 'label')}"
