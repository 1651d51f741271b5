"""Find how the lines of a text file become rows: clevercsv finds the separator, the rest is counted.

clevercsv is that of van den Burg, Nazábal, Sutton: Wrangling messy CSV files by detecting row and type patterns,
Data Mining and Knowledge Discovery 33, 2019.
"""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from modelreg.data.draft import words
from modelreg.data.sources.csv_layout import to_number
from modelreg.records.csv_device import BLANKS, CsvForm

SEPARATORS = (",", ";", "\t", "|", " ")
SNIFFED_LINES, SNIFFED_CHARACTERS = 120, 20_000  # that clevercsv sees; its time grows with them
MOST = 0.9  # share of the rows that decides
VALUES = 0.8  # share of a column's cells that are numbers or dates, in a column of values
STEADY = 10  # rows that must follow the first one of a table
_COMMA = re.compile(r"[-+]?\d+,\d+([eE][-+]?\d+)?")
_POINT = re.compile(r"[-+]?\d*\.\d+([eE][-+]?\d+)?")
_DATE = re.compile(r"\d{1,4}[-./:]\d{1,2}[-./:]\d{1,4}.*|\d{1,2}:\d{2}.*")
_COMMENT = re.compile(r"[#%]")


class _Rows(NamedTuple):
    """Every line as cells; those of a comment or without text have none."""

    cells: list[list[str]]
    width: int  # of most rows, without an empty cell at the end of each

    def fit(self, line: int) -> bool:
        """Return whether a line has the usual number of cells."""
        return len(_trimmed(self.cells[line], self.width)) == self.width


def detect(lines: Sequence[str]) -> CsvForm | None:
    """Return the form of a file from its first lines; None if they are not those of a table."""
    body = [line for line in lines[-SNIFFED_LINES:] if line.strip() and not _COMMENT.match(line)]
    if not body:
        return None
    row_end = _row_end(body)
    separator = _separator([line.rstrip().removesuffix(row_end or "") for line in body])
    comment = next((line[0] for line in lines if _COMMENT.match(line)), None)
    rows = _rows(lines, separator, row_end, comment)
    first = _first(rows)
    if first is None:
        return None
    values = [row for row in rows.cells[first + 1 :] if len(row) >= rows.width] or [rows.cells[first]]
    decimal = _decimal(values, separator)
    preamble = any(line.strip() and not (comment and line.startswith(comment)) for line in lines[:first])
    return CsvForm(
        separator=separator,
        decimal="," if decimal == "," else ".",
        row_end=row_end,
        comment=comment,
        skip=first if preamble else 0,
        header=_is_header(rows.cells[first], values, decimal),
    )


def cells(line: str, separator: str) -> list[str]:
    """Return the cells of one line."""
    if separator == BLANKS:
        return line.split()
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:  # a cell of more characters than the csv module reads
        return [line]


def is_value(text: str, decimal: str = ".") -> bool:
    """Return whether a cell is a number or a date."""
    return to_number(text, decimal) is not None or _DATE.fullmatch(text) is not None


def _separator(body: Sequence[str]) -> str:
    import clevercsv

    text = "\n".join(body)[-SNIFFED_CHARACTERS:].partition("\n")[2] or "\n".join(body)[:SNIFFED_CHARACTERS]
    found = clevercsv.Sniffer().sniff(text, delimiters=SEPARATORS)
    mark = found.delimiter if found else ""
    return BLANKS if mark == " " else mark or ","


def _row_end(body: Sequence[str]) -> str | None:
    """Return the mark that ends the rows and does not separate cells."""
    for mark in ";|":
        ended = [line for line in body if line.rstrip().endswith(mark)]
        if len(ended) >= MOST * len(body) and sum(line.count(mark) == 1 for line in ended) >= MOST * len(ended):
            return mark
    return None


def _rows(lines: Sequence[str], separator: str, row_end: str | None, comment: str | None) -> _Rows:
    found = [
        []
        if not line.strip() or (comment and line.startswith(comment))
        else cells(line.rstrip().removesuffix(row_end or ""), separator)
        for line in lines
    ]
    body = [row for row in found[-SNIFFED_LINES:] if row]
    width = Counter(map(len, body)).most_common(1)[0][0]
    ends = [row for row in body if len(row) == width and width > 1 and not row[-1]]
    return _Rows(found, width - (len(ends) >= MOST * len(body)))


def _trimmed(row: list[str], width: int) -> list[str]:
    """Return a row without empty cells beyond the width."""
    return row[:width] if not any(row[width:]) else row


def _first(rows: _Rows) -> int | None:
    """Return the first line of the table: most of the next ones have as many cells."""
    for line, row in enumerate(rows.cells):
        following = [n for n in range(line, min(line + STEADY, len(rows.cells))) if rows.cells[n]]
        if row and rows.fit(line) and sum(map(rows.fit, following)) >= VALUES * len(following):
            return line
    return None


def _decimal(rows: Sequence[Sequence[str]], separator: str) -> str:
    """Return the decimal mark of most numbers."""
    if separator == ",":
        return "."
    found = [cell for row in rows for cell in row]
    commas, points = (sum(1 for cell in found if mark.fullmatch(cell)) for mark in (_COMMA, _POINT))
    return "," if commas > points else "."


def _is_header(first: Sequence[str], rows: Sequence[Sequence[str]], decimal: str) -> bool:
    """Return whether the first row names the columns: a text above values, or a name of the vocabulary."""
    columns = list(zip(*(row[: len(first)] for row in rows if len(row) >= len(first)), strict=True))
    for name, column in zip(first, columns, strict=False):
        values = [cell for cell in column if cell]
        share = sum(is_value(cell, decimal) for cell in values) / len(values) if values else 0.0
        if name and not is_value(name, decimal) and share >= VALUES:
            return rows[0] is not first
    named = [words.role_of(name, words.vocabulary().columns) for name in first if not is_value(name, decimal)]
    return any(named) and all(name not in column for name, column in zip(first, columns, strict=False) if name)
