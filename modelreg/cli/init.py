"""`modelreg init`."""

from pathlib import Path
from typing import Annotated

import typer

from modelreg.cli.console import say


def init(
    folder: Annotated[Path, typer.Argument(help="Folder; created if it does not exist.", metavar="[DIR]")] = Path(),
    sample: Annotated[
        bool, typer.Option("--sample", help="Waive the gates that the built-in sample recordings fail.")
    ] = False,
) -> None:
    """Create a registry repository.

    Writes modelreg.yaml, registry/, CHANGELOG.md, RELEASES.md, .gitignore and a GitHub workflow. An existing file is
    never overwritten.

    Example: modelreg init --sample
    """
    from modelreg import files
    from modelreg.release import init as release_init

    for name, text in release_init.missing(folder, sample=sample).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(folder / name, text.encode())
        say(f"wrote {folder / name}")
    say(f"next: {f'cd {folder}; ' if folder != Path() else ''}modelreg train")
