"""`modelreg init`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from modelreg.cli import installation
from modelreg.cli.console import note, say


def init(
    folder: Annotated[Path, typer.Argument(help="Folder; created if it does not exist.", metavar="[DIR]")] = Path(),
    sample: Annotated[
        bool, typer.Option("--sample", help="To try the built-in recordings: without a configuration of your own.")
    ] = False,
) -> None:
    """Create a registry repository.

    Writes modelreg.yaml, registry/, CHANGELOG.md, RELEASES.md, .gitignore, .gitattributes, a GitHub workflow, and
    configs/mine.yaml for your own recordings, which `modelreg data init` drafts. An existing file is never changed; the
    lines that it does not have are printed.

    Example: modelreg init --sample
    """
    from modelreg import files
    from modelreg.release import init as release_init

    origin = installation.requirement(installation.recorded())
    wanted = release_init.documents(sample=sample, origin=origin.partition(" @ ")[2] if origin else None)
    found = release_init.missing(folder, wanted)
    for name, text in found.written.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(folder / name, text.encode())
        say(f"wrote {folder / name}")
    for name, lines in found.absent_lines.items():
        note(f"{folder / name} exists and was not changed; it does not have:")
        for line in lines:
            note(f"  {line}")
    enter = f"cd {shlex.quote(folder.as_posix())}; " if folder != Path() else ""
    say(f"next: {enter}modelreg train  (built-in configuration and recordings)")
    if not sample:
        say(f"or:   {enter}modelreg data init FOLDER  (your recordings; drafts {release_init.MINE})")
