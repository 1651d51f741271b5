"""Options that several commands share."""

from typing import Annotated

import typer

Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting of the configuration. Repeatable.", metavar="KEY=VALUE"),
]
