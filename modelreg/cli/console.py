"""Print results to stdout and diagnostics to stderr. Markup is not interpreted, and control characters are escaped.

rich draws tables. It takes 40 ms to import, so it is imported when the first table is drawn.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Literal, TextIO

from modelreg.cli import error_text
from modelreg.escaping import json_text, one_line

if TYPE_CHECKING:
    from rich.table import Column, Table

    from modelreg.errors import ModelregError, Notice, Problem


GAP = 2  # columns of padding between two cells


class _Results:
    """What the running command has printed so far."""

    has_json = False


_results = _Results()


def say(line: str = "") -> None:
    """Print a line of a result. A newline in it is printed as `\\n`, so that names from files cannot forge a line."""
    sys.stdout.write(f"{one_line(line)}\n")


def note(line: str) -> None:
    """Print a line of diagnostics, escaped as `say` does."""
    sys.stderr.write(f"{one_line(line)}\n")


def emit_json(document: object) -> None:
    """Print a result as one JSON document on stdout, in ASCII if the encoding of stdout is not that of JSON."""
    ascii_only = (sys.stdout.encoding or "utf-8").lower() != "utf-8"
    text = json.dumps(document, indent=2, ensure_ascii=ascii_only, allow_nan=False)
    sys.stdout.write(f"{json_text(text)}\n")
    _results.has_json = True


def show_error(error: "ModelregError") -> None:
    """Print an error to stderr; on a terminal, it is wrapped between words."""
    width = get_terminal_size().columns if sys.stderr.isatty() else None
    sys.stderr.writelines(f"{line}\n" for line in error_text.lines_of(error, width))


def emit_error(error: "ModelregError") -> None:
    """Print an error as a JSON document on stdout, unless the command has printed its result already."""
    if not _results.has_json:
        emit_json(error_text.document_of(error))


def start_command() -> None:
    """Forget what an earlier command of this process has printed."""
    _results.has_json = False


def note_all(notices: "Iterable[Notice]") -> None:
    """Print notices as diagnostics: one line for each message, with its places."""
    for line in error_text.notice_lines(notices):
        note(line)


def listed(found: "Iterable[Problem | Notice]") -> list[dict[str, str]]:
    """Return problems or notices as JSON objects, without empty fields."""
    return [{key: text for key, text in each._asdict().items() if text} for each in found]


def draw(made: "Table", stream: TextIO) -> None:
    """Print a table; it is wider than the terminal rather than broken inside a word."""
    from rich.console import Console

    console = Console(file=stream, markup=False, highlight=False, emoji=False)
    gaps = GAP * (len(made.columns) - 1)
    widths = _fitted([_extent(column) for column in made.columns], console.width - gaps)
    for column, width in zip(made.columns, widths, strict=True):
        column.width = width
    console.width = max(console.width, sum(widths) + gaps)
    console.print(made)


def _extent(column: "Column") -> tuple[int, int]:
    """Return the width of a column's longest word and of its longest cell."""
    cells = [str(cell) for cell in (column.header, *column.cells)]
    longest = max(map(len, cells))
    return (longest if column.no_wrap else max(len(word) for cell in cells for word in cell.split() or [""])), longest


def _fitted(extents: Sequence[tuple[int, int]], width: int) -> list[int]:
    """Return the widths of columns within `width`; if a long word prevents that, only the widest column is narrowed."""
    least, widths = [low for low, _ in extents], [high for _, high in extents]
    if sum(least) > width:
        widest = widths.index(max(widths))
        return [*widths[:widest], least[widest], *widths[widest + 1 :]]
    while sum(widths) > width:
        widest = max((n for n in range(len(widths)) if widths[n] > least[n]), key=lambda n: widths[n])
        widths[widest] -= 1
    return widths


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = (), whole: Sequence[str] = ()
) -> "Table":
    """Return a table of plain text; columns in `right` are aligned to the right, those in `whole` are never wrapped."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        side: Literal["left", "right"] = "right" if column in right else "left"
        made.add_column(column, justify=side, overflow="fold", no_wrap=column in whole)
    for row in rows:
        made.add_row(*(Text(one_line(str(cell))) for cell in row))
    return made
