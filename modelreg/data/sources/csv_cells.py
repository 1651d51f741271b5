"""Convert the cells of a text file to numbers and texts, block by block, and note the rows that do not fit.

pandas converts a block whose cells are all numbers where numbers are expected. In any other block Python converts each
cell, and so finds which rows are bad.
"""

import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.message_lists import and_others
from modelreg.data.sources.csv_layout import File, Role, to_number
from modelreg.data.sources.table_columns import Columns
from modelreg.data.sources.text_rows import Block, Misfit
from modelreg.errors import Problem

SHOWN = 40  # characters of a cell

_INTEGER = re.compile(r"\s*[-+]?[0-9]{1,18}\s*")  # always fits int64
_DECIMAL_COMMA = re.compile(r"[-+]?[0-9]*,[0-9]+([eE][-+]?[0-9]+)?")
_TRUTH = re.compile(rb"true|false", re.IGNORECASE)
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ].*)?")
_TIME_OF_DAY = re.compile(r"\d{1,2}:\d\d:\d\d([.:,]\d+)?")


class Rows(NamedTuple):
    """The values of the columns of some rows."""

    numbers: dict[int, NDArray[np.float64]]  # by the column's position
    stamps: NDArray[Any] | None  # numbers, or texts if they are dates
    texts: dict[Role, NDArray[Any]]
    lines: NDArray[np.int64]

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "Rows":
        """Return some rows, by indices or by a mask."""
        return Rows(
            {place: values[rows] for place, values in self.numbers.items()},
            None if self.stamps is None else self.stamps[rows],
            {role: values[rows] for role, values in self.texts.items()},
            self.lines[rows],
        )


class Cell(NamedTuple):
    """A cell that is not a number."""

    line: int
    place: int
    text: str
    cut: bool  # it is in a last line without a line end


class Faults(NamedTuple):
    """The rows of a file that do not fit."""

    misfits: list[Misfit]
    cells: list[Cell]

    def bad_lines(self) -> set[int]:
        """Return the lines of the bad rows, without a last one that was cut off."""
        bad = {row.line for row in self.misfits if not row.cut}
        return bad | {cell.line for cell in self.cells if not cell.cut}

    def all_bad(self) -> "Faults":
        """Return the same, with a last line that was cut off as any other: for a file without a good row."""
        return Faults(
            [row._replace(cut=False) for row in self.misfits], [cell._replace(cut=False) for cell in self.cells]
        )

    def is_cut(self) -> bool:
        """Return whether the last line was cut off."""
        return any(row.cut for row in self.misfits) or any(cell.cut for cell in self.cells)


def joined(parts: Sequence[Rows]) -> Rows:
    """Return the rows of all blocks."""
    if not parts:
        return Rows({}, None, {}, np.empty(0, np.int64))
    first = parts[0]
    return Rows(
        {place: np.concatenate([part.numbers[place] for part in parts]) for place in first.numbers},
        None if first.stamps is None else np.concatenate([part.stamps for part in parts]),
        {role: np.concatenate([part.texts[role] for part in parts]) for role in first.texts},
        np.concatenate([part.lines for part in parts]),
    )


def to_rows(file: File, block: Block, faults: Faults) -> Rows:
    """Return the rows of a block that are read and fit; note the others."""
    found = _of_numbers(file, block)
    if found is None:
        return _of_cells(file, block, faults)
    wanted = file.layout.columns.rows
    return found.take(_stripped(found.texts["rows"]) == wanted.text) if wanted else found


def of_table(file: File, columns: Columns, faults: Faults) -> Rows:
    """Return the rows of a binary table that are read and fit; note the others. Lines are numbers of rows, from 1."""
    layout, places, wanted = file.layout, file.places, file.layout.columns.rows
    count = len(columns.values[0]) if columns.values else 0
    lines = np.arange(1, count + 1)
    if wanted:
        lines = lines[to_texts(columns, places.texts["rows"]) == wanted.text]
    wrong: list[Cell] = []

    def numbers(place: int) -> NDArray[np.float64]:
        array = columns.values[place][lines - 1]
        if array.dtype.kind in "if":
            values = array.astype(np.float64)
            return np.where(np.isin(values, layout.missing_numbers), np.nan, values)
        texts = to_texts(columns, place)[lines - 1]
        return _to_numbers(file, place, zip(lines.tolist(), texts, strict=True), len(lines), wrong)

    stamps: NDArray[Any] | None = None
    if places.time is not None:
        array = columns.values[places.time][lines - 1]
        numeric = array.dtype.kind in "if"
        dates = to_texts(columns, places.time)[lines - 1] if layout.has_dates or not numeric else array
        stamps = dates if layout.has_dates or numeric else numbers(places.time)
    found = {place: numbers(place) for place in places.numbers}
    texts = {role: to_texts(columns, place)[lines - 1] for role, place in places.texts.items()}
    faults.cells.extend(wrong)
    bad = {cell.line for cell in wrong}
    good = np.array([line not in bad for line in lines.tolist()], dtype=bool)
    return Rows(found, stamps, texts, lines.astype(np.int64)).take(good)


def to_texts(columns: Columns, place: int) -> NDArray[Any]:
    """Return a column of a binary table as texts without blanks at their ends: numbers as short as possible."""
    array = columns.values[place]
    match array.dtype.kind:
        case "M":
            texts = np.datetime_as_string(array, timezone="UTC" if place in columns.zoned else "naive")
            return np.where(np.isnat(array), "", texts).astype(object)
        case "f":
            return np.array([_shortest(number) for number in array.tolist()], dtype=object)
        case "i":
            return np.array([str(x) for x in array.tolist()], dtype=object)
        case _:
            return _stripped(array)


def _shortest(number: float) -> str:
    """Return a number as text: `4` for 4.0, nothing for NaN."""
    if math.isnan(number):
        return ""
    return f"{number:.0f}" if number.is_integer() else repr(number)


def _to_numbers(
    file: File, place: int, cells: Iterable[tuple[int, str]], count: int, wrong: list[Cell], last: int | None = None
) -> NDArray[np.float64]:
    """Return the numbers of a column's cells, each with its line; NaN for missing ones, and for those that are `wrong`.

    `last` is the line of a row without a line end.
    """
    values = np.full(count, np.nan)
    for row, (line, text) in enumerate(cells):
        if not file.layout.is_missing(text):
            value = to_number(text, file.layout.decimal)
            values[row] = np.nan if value is None else value
            if value is None:
                wrong.append(Cell(line, place, text, cut=line == last))
    return values


def _stripped(texts: NDArray[Any]) -> NDArray[Any]:
    return np.array([text.strip() for text in texts], dtype=object)


def _of_numbers(file: File, block: Block) -> Rows | None:
    """Return what pandas reads of a block, or None if that may differ from the text."""
    import pandas as pd

    places, dates = file.places, file.layout.has_dates
    time = set() if places.time is None else {places.time}
    numeric = {*places.numbers, *(set() if dates else time)}
    texts = {*places.texts.values(), *(time if dates else set())}
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
    columns = {int(name): frame[name] for name in frame.columns}
    values = {place: columns[place].to_numpy() for place in numeric}
    if len(frame) != len(block.lines) or not all(_is_numeric(found, block.text) for found in values.values()):
        return None
    words = {place: columns[place].fillna("").to_numpy(object) for place in texts}
    return Rows(
        {place: values[place] for place in places.numbers},
        None if places.time is None else (words if dates else values)[places.time],
        {role: words[place] for role, place in places.texts.items()},
        np.asarray(block.lines, dtype=np.int64),
    )


def _is_numeric(column: NDArray[Any], data: bytes) -> bool:
    """Return whether the text held numbers: pandas reads a column of True and False as ones and zeros."""
    if column.dtype.kind not in "iuf":
        return False
    if column[0] not in {0, 1} and column[0] == column[0]:
        return True
    return not ((column == 0) | (column == 1) | np.isnan(column)).all() or not _TRUTH.search(data)


def _of_cells(file: File, block: Block, faults: Faults) -> Rows:
    """Return the rows of a block whose cells are numbers where they must be, and note the others."""
    layout, places, wanted = file.layout, file.places, file.layout.columns.rows
    split = ([cell.strip() for cell in row.split(block.separator)] for row in block.text.decode().split("\n")[:-1])
    kept = [
        (line, cells)
        for line, cells in zip(block.lines, split, strict=True)
        if wanted is None or cells[places.texts["rows"]] == wanted.text
    ]
    lines = np.array([line for line, _ in kept], dtype=np.int64)
    last = block.lines[-1] if block.cut else None
    wrong: list[Cell] = []

    def texts(place: int) -> NDArray[Any]:
        return np.array([cells[place] for _, cells in kept], dtype=object)

    def column(place: int) -> NDArray[np.float64]:
        return _to_numbers(file, place, ((line, cells[place]) for line, cells in kept), len(kept), wrong, last)

    numbers = {place: column(place) for place in places.numbers}
    stamps: NDArray[Any] | None = None
    if places.time is not None:
        stamps = texts(places.time)
        if not layout.has_dates:
            whole = all(_INTEGER.fullmatch(text) for text in stamps)
            stamps = stamps.astype(np.int64) if whole else column(places.time)
    faults.cells.extend(wrong)
    bad = {cell.line for cell in wrong}
    good = np.array([line not in bad for line in lines.tolist()], dtype=bool)
    return Rows(numbers, stamps, {role: texts(place) for role, place in places.texts.items()}, lines).take(good)


def find_problems(file: File, faults: Faults, good: int) -> Iterator[Problem]:
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


def _width_problem(file: File, rows: Sequence[Misfit]) -> Problem:
    expected, first = len(file.places.names), rows[0]
    step = "if numbers have a decimal comma, export the file again with semicolons between the columns"
    fitting = first.cells > expected and file.layout.form.separator == ","
    message = f"{first.cells} columns, expected {expected}{and_others(len(rows))}"
    return Problem(file.at(first.line), "csv.row-width", message, step if fitting else "")


def _find_cell_problems(file: File, cells: Sequence[Cell]) -> Iterator[Problem]:
    """Yield one problem for each cause: dates in a numeric time, a decimal comma, other cells."""
    left = sorted(cells, key=lambda cell: cell.line)
    for rule, message, step, fits in _CAUSES:
        if found := [cell for cell in left if fits(file, cell)]:
            yield Problem(file.at(found[0].line), rule, f"{message} {_quoted_cell(file, found)}", step)
        left = [cell for cell in left if not fits(file, cell)]


def _is_date(file: File, cell: Cell) -> bool:
    return cell.place == file.places.time and _DATE.fullmatch(cell.text) is not None


def _is_time_of_day(file: File, cell: Cell) -> bool:
    return cell.place == file.places.time and _TIME_OF_DAY.fullmatch(cell.text) is not None


_CAUSES: Sequence[tuple[str, str, str, Callable[[File, Cell], bool]]] = (
    ("csv.time-is-date", "date in a numeric time:", "set `time.unit` to iso8601", _is_date),
    ("csv.time-is-date", "time of day in a numeric time:", "set `time.unit` to time-of-day", _is_time_of_day),
    ("csv.decimal-comma", "decimal comma in", "", lambda _, cell: _DECIMAL_COMMA.fullmatch(cell.text) is not None),
    ("csv.not-a-number", "not a number:", "", lambda *_: True),
)


def _quoted_cell(file: File, cells: Sequence[Cell]) -> str:
    """Return the first cell and its column, and how many other rows have such a cell."""
    first = cells[0]
    others = and_others(len({cell.line for cell in cells}))
    return f"{first.text[:SHOWN]!r}, column {file.places.names[first.place]!r}{others}"
