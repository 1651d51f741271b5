"""Where words go: results to stdout, diagnostics and progress to stderr. Data is never read as markup."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

out = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
err = Console(markup=False, highlight=False, emoji=False, stderr=True, soft_wrap=True)


def emit_json(document: object) -> None:
    """Print a result for machines: one JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = ()) -> Table:
    """Return a table of text; columns named in `right` are aligned to the right."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*map(str, row))
    return made
