"""`modelreg init`: a new registry repository."""

from pathlib import Path
from typing import Annotated

import typer

from modelreg.cli.console import say


def init(
    folder: Annotated[Path, typer.Argument(help="Where; made if it does not exist.", metavar="[DIR]")] = Path(),
) -> None:
    """Make a registry repository.

    Settings, registry/, changelog, releases page, .gitignore and a CI workflow.

    Nothing that exists is overwritten; what an earlier `init` has not written is.

    Example: modelreg init my-models
    """
    from modelreg import files, scaffold

    for name, text in scaffold.missing(folder).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(folder / name, text.encode())
        say(f"wrote {folder / name}")
    say(f"next: {f'cd {folder}; ' if folder != Path() else ''}modelreg train")
