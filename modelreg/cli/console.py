"""Where words go: results to stdout, diagnostics to stderr. Nothing that is printed is read as markup.

rich draws tables and costs 40 ms: it is loaded when the first table is drawn.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, TextIO

if TYPE_CHECKING:
    from rich.table import Table

    from modelreg.errors import Notice, Problem


def say(text: str) -> None:
    """Print a line of a result."""
    sys.stdout.write(f"{text}\n")


def note(text: str) -> None:
    """Print a line of diagnostics."""
    sys.stderr.write(f"{text}\n")


def emit_json(document: object) -> None:
    """Print a result for machines: one JSON document on stdout."""
    say(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def listed(found: "Iterable[Problem | Notice]") -> list[dict[str, str]]:
    """Return problems or notices for `emit_json`."""
    return [{"where": where, "what": what} for where, what in found]


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
        made.add_row(*(Text(str(cell)) for cell in row))
    return made
