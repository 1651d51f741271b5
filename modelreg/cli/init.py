"""`modelreg init`: a new registry repository."""

from pathlib import Path
from typing import Annotated

import typer

from modelreg.cli.console import say
from modelreg.errors import InputError, Problem


def init(
    folder: Annotated[Path, typer.Argument(help="Where; made if it does not exist.", metavar="[DIR]")] = Path(),
) -> None:
    """Make a registry repository: settings, registry/, changelog, releases page, .gitignore, a CI workflow.

    Nothing that exists is overwritten.

    Example: modelreg init my-models
    """
    from modelreg import files, scaffold

    documents = scaffold.documents()
    taken = [name for name in documents if (folder / name).exists()]
    if taken:
        what = "exists, and is not overwritten"
        raise InputError("cannot make a registry here", [Problem(str(folder / name), what) for name in taken])
    for name, text in documents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(folder / name, text.encode())
        say(f"wrote {folder / name}")
    say(f"next: {f'cd {folder}; ' if folder != Path() else ''}modelreg train")
