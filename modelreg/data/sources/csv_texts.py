"""Read a small table of texts: annotations, or the names of recordings."""

from collections.abc import Iterable, Mapping
from typing import IO, NamedTuple

from modelreg.data.message_lists import and_others
from modelreg.data.recording import UNREADABLE
from modelreg.data.sources import csv_header
from modelreg.data.sources.text_rows import Block, Form, Misfit, open_table
from modelreg.errors import InputError, Problem
from modelreg.records.csv_device import Column, CsvForm

ROWS = 1_000_000  # of one table


class Row(NamedTuple):
    """The texts of one row, without blanks at their ends."""

    line: int
    texts: Mapping[str, str]  # by the key of the configuration


def read(stream: IO[bytes], where: str, form: CsvForm, columns: Mapping[str, Column]) -> list[Row]:
    """Return the configured columns of every row, by their keys.

    Raises InputError with what is wrong: a missing column, rows of another length, more than ROWS rows.
    """
    names, blocks, _ = open_table(stream, where, Form.of(form))
    if problems := list(csv_header.find_problems(where, names, columns)):
        raise InputError(UNREADABLE, problems)
    places = {key: csv_header.find(names, column)[0] for key, column in columns.items()}
    rows: list[Row] = []
    misfits: list[Misfit] = []
    for block in blocks:
        if isinstance(block, Misfit):
            misfits.append(block)
            continue
        rows += _rows(block, places)
        if len(rows) > ROWS:
            raise InputError(UNREADABLE, [Problem(where, "csv.too-many-rows", f"more than {ROWS:,} rows")])
    if misfits:
        raise InputError(UNREADABLE, [_misfit_problem(where, misfits, len(names))])
    return rows


def _rows(block: Block, places: Mapping[str, int]) -> Iterable[Row]:
    texts = block.text.decode().split("\n")[:-1]
    for line, row in zip(block.lines, texts, strict=True):
        cells = row.split(block.separator)
        yield Row(line, {key: cells[place].strip() for key, place in places.items()})


def _misfit_problem(where: str, misfits: list[Misfit], width: int) -> Problem:
    first = misfits[0]
    message = f"{first.cells} columns, expected {width}" if first.cells else first.why
    rule = "csv.row-width" if first.cells else "csv.quotes"
    return Problem(f"{where}:{first.line}", rule, message + and_others(len(misfits)))
