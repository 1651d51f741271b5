"""`modelreg import`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelreg.cli import host
from modelreg.cli.console import note, note_all, say
from modelreg.errors import InputError, Notice

if TYPE_CHECKING:
    from modelreg.config import TrainConfig
    from modelreg.workflows.import_checkpoint import Older


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
            "--config",
            help="Training configuration (YAML or JSON). Default: the embedded sample, if it fits the checkpoint.",
            metavar="CONFIG",
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
    Without one, the embedded sample and the default settings of the model system are used. If the checkpoint needs
    other data, an example of a configuration for it is printed.

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
    config = host.with_pseudonyms(_settings(older, checkpoint, configuration))
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
        say(f"missing in {older.file}: {import_checkpoint.missing_heads(older)}")
        say("without a whole head, the run is only an encoder: it has no metrics and cannot be evaluated")
    else:
        say(f"next: modelreg evaluate {shown}")


def _settings(older: "Older", checkpoint: Path, configuration: Path | None) -> "TrainConfig":
    """Return the configuration of an import; without one, say what is taken, or print an example of what is needed."""
    from modelreg import files, strict_yaml
    from modelreg.workflows import import_checkpoint, import_default

    if configuration is not None:
        text = files.read_text(configuration)
        document = strict_yaml.parse(text, str(configuration))  # JSON is YAML
        return import_checkpoint.settle(older, document, str(configuration), text)
    command = f"modelreg import {host.shown(checkpoint)} --as {older.model}"
    if problems := list(import_default.find_problems(older)):
        own = import_default.FILE
        for line in import_default.example(older, f"{command} --config {own}").splitlines():
            say(line)
        fix = f"save the configuration above with `{command} > {own}`, fill it in, and add `--config {own}`"
        raise InputError(
            f"no run was created: {older.file} does not fit {import_default.DEFAULT}",
            [problem._replace(next=fix) for problem in problems],
        )
    config = import_default.settle(older)
    note_all(import_default.describe(older, config))
    return config
