"""Print: results to stdout, diagnostics to stderr. Text is never read as markup, and a control character never printed.

rich draws tables and costs 40 ms: it is loaded when the first table is drawn.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Literal, TextIO

from modelreg.cli import error_text
from modelreg.escaping import json_text, one_line

if TYPE_CHECKING:
    from rich.table import Table

    from modelreg.errors import ModelregError, Notice, Problem


class _Results:
    """What the running command has printed."""

    has_json = False


_results = _Results()


def say(line: str = "") -> None:
    """Print a line of a result. A newline in it is shown as `\\n`: names from files cannot forge a line."""
    sys.stdout.write(f"{one_line(line)}\n")


def note(line: str) -> None:
    """Print a line of diagnostics, as `say` does."""
    sys.stderr.write(f"{one_line(line)}\n")


def emit_json(document: object) -> None:
    """Print a result for machines: one JSON document on stdout."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write(f"{json_text(text)}\n")
    _results.has_json = True


def show_error(error: "ModelregError", *, as_json: bool = False) -> None:
    """Print an error to stderr; with `as_json` to stdout too, as a document, where the command printed no other."""
    if as_json and not _results.has_json:
        emit_json(error_text.document_of(error))
    width = get_terminal_size().columns if sys.stderr.isatty() else None
    sys.stderr.writelines(f"{line}\n" for line in error_text.lines_of(error, width))


def start_command() -> None:
    """Forget the results of an earlier command of this process."""
    _results.has_json = False


def note_all(notices: "Iterable[Notice]") -> None:
    """Print notices as diagnostics, one line for each message."""
    for line in error_text.notice_lines(notices):
        note(line)


def listed(found: "Iterable[Problem | Notice]") -> list[dict[str, str]]:
    """Return problems or notices for `emit_json`."""
    return [{key: text for key, text in each._asdict().items() if text} for each in found]


def draw(made: "Table", stream: TextIO) -> None:
    """Print a table."""
    from rich.console import Console

    Console(file=stream, markup=False, highlight=False, emoji=False).print(made)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = (), whole: Sequence[str] = ()
) -> "Table":
    """Return a table of plain text; columns in `right` are aligned to the right, those in `whole` are never folded."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        side: Literal["left", "right"] = "right" if column in right else "left"
        made.add_column(column, justify=side, overflow="fold", no_wrap=column in whole)
    for row in rows:
        made.add_row(*(Text(one_line(str(cell))) for cell in row))
    return made
