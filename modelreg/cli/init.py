"""`modelreg init`: a new registry repository."""

from pathlib import Path
from typing import Annotated

import typer

from modelreg.cli.console import say


def init(
    folder: Annotated[Path, typer.Argument(help="Where; made if it does not exist.", metavar="[DIR]")] = Path(),
    sample: Annotated[
        bool, typer.Option("--sample", help="To try it on the built-in recordings: waive the gates they cannot meet.")
    ] = False,
) -> None:
    """Make a registry repository.

    Settings, registry/, changelog, releases page, .gitignore and a CI workflow.

    Nothing that exists is overwritten; what an earlier `init` has not written is.

    Example: modelreg init my-models
    """
    from modelreg import files
    from modelreg.release import init as release_init

    for name, text in release_init.missing(folder, sample=sample).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(folder / name, text.encode())
        say(f"wrote {folder / name}")
    say(f"next: {f'cd {folder}; ' if folder != Path() else ''}modelreg train")
