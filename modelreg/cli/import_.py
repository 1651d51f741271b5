"""`modelreg import`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelreg.cli import host
from modelreg.cli.console import note, note_all, say
from modelreg.errors import Notice

if TYPE_CHECKING:
    from modelreg.files import Json


def import_(
    checkpoint: Annotated[
        Path, typer.Argument(help="Legacy checkpoint (.pth), as torch.save writes it.", metavar="FILE")
    ],
    model: Annotated[
        str, typer.Option("--as", help="Model system to convert it to, such as conv2d_fsq.", metavar="MODEL")
    ],
    configuration: Annotated[
        Path | None,
        typer.Option(
            "--config", help="Training configuration (YAML or JSON). Default: the embedded sample.", metavar="CONFIG"
        ),
    ] = None,
    normalization: Annotated[
        Path | None,
        typer.Option(
            help="JSON file with a mean and a std for each channel. Default: fitted on the train split.", metavar="FILE"
        ),
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of the new run. Default: the next one in runs/.", metavar="DIR")
    ] = None,
) -> None:
    """Create a run from a legacy checkpoint.

    Only tensors and numbers are read; code in the file is never run. Missing, unexpected or misshapen weights are
    listed, and no run is created. The configuration names the data; its model settings must match the checkpoint.

    Example: modelreg import legacy.pth --as conv2d_fsq
    """
    host.need_extra("train", "torch", "safetensors", "scipy", "pandas")
    from modelreg import files
    from modelreg.registry import runs
    from modelreg.workflows import import_checkpoint, run_checks

    folder = out_folder or runs.next_folder(host.workplace() / "runs", model)
    run_checks.refuse_existing(folder)
    files.refuse_unwritable(folder)
    older = import_checkpoint.read_legacy(checkpoint, model)
    settings = import_checkpoint.settle(older, _document(configuration), str(configuration or "the built-in default"))
    config = host.with_pseudonyms(settings)
    here = host.describe(config.training.model_copy(update={"device": "cpu"}))
    inputs = import_checkpoint.Inputs(older, config, normalization)
    with host.reading(new_subjects=True) as reading:
        odd = import_checkpoint.start(folder, inputs, reading, here, host.now())
    note_all(Notice(older.file, what) for what in older.adopted.notes)
    if normalization is None:
        note_all([Notice("normalization", "fitted on the train split; the one of the checkpoint is not known")])
    for problem in odd:
        note(f"warning: {problem}")
    values = ", ".join(f"{name} {value}" for name, value in older.beside.items())
    shown = host.shown(folder)
    say(
        f"{shown}: imported {older.file} (layout {older.layout})"
        + (f"; stored with the weights: {values}" if values else "")
    )
    if older.adopted.lacks:
        say(f"the checkpoint has an encoder only, without {', '.join(older.adopted.lacks)}: it cannot be evaluated")
    else:
        say(f"next: modelreg evaluate {shown}")


def _document(configuration: Path | None) -> "Json":
    from modelreg import config, files, strict_yaml

    if configuration is None:
        return config.default()
    return strict_yaml.parse(files.read_text(configuration), str(configuration))  # JSON is YAML
