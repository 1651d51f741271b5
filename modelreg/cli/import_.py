"""`modelreg import`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelreg.cli import host
from modelreg.cli.console import note, say

if TYPE_CHECKING:
    from modelreg.files import Json


def import_(
    checkpoint: Annotated[Path, typer.Argument(help="A .pth file that torch.save wrote.", metavar="PTH")],
    model: Annotated[str, typer.Option("--as", help="The model system it becomes, as conv2d_fsq.", metavar="MODEL")],
    configuration: Annotated[
        Path | None,
        typer.Option(
            "--config", help="The training configuration, JSON or YAML; left out: the built-in default.", metavar="JSON"
        ),
    ] = None,
    normalization: Annotated[
        Path | None,
        typer.Option(
            help="Its mean and std, one for each channel; left out: fitted on the training part.", metavar="JSON"
        ),
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="The run's folder; left out: the next one under runs/.")
    ] = None,
) -> None:
    """Make a run out of a checkpoint of older code.

    Only tensors and numbers are read from the file, nothing in it is run. Whatever is missing, unexpected or of another
    shape is listed and refused. The configuration names the data; what it says of the model must be what the file has.

    Example: modelreg import old.pth --as conv2d_fsq --config configs/mine.yaml
    """
    host.need_extra("train", "torch", "safetensors", "scipy", "pandas")
    from modelreg.registry import runs
    from modelreg.workflows import import_checkpoint

    older = import_checkpoint.read_legacy(checkpoint, model)
    config = import_checkpoint.settle(older, _document(configuration), str(configuration or "the built-in default"))
    folder = out_folder or runs.next_folder(host.workplace() / "runs", model)
    here = host.describe(config.training.model_copy(update={"device": "cpu"}))
    wanted = import_checkpoint.Wanted(older, config, normalization)
    with host.reading() as reading:
        odd = import_checkpoint.start(folder, wanted, reading, here, host.now())
    for what in older.adopted.notes:
        note(f"notice: {what}")
    if normalization is None:
        note("notice: normalization fitted on the training part here; that of the older code is not known")
    for problem in odd:
        note(f"warning: {problem}")
    beside = ", ".join(f"{name} {value}" for name, value in older.beside.items())
    shown = host.shown(folder)
    say(f"{shown}: {older.file}, in the layout {older.layout}" + (f"; beside its weights: {beside}" if beside else ""))
    if older.adopted.lacks:
        say(f"an encoder alone, without {', '.join(older.adopted.lacks)}: it has no answers to measure")
    else:
        say(f"next: modelreg evaluate {shown}")


def _document(configuration: Path | None) -> "Json":
    from modelreg import config, files, strict_yaml

    if configuration is None:
        return config.default()
    return strict_yaml.parse(files.read_text(configuration), str(configuration))  # JSON is YAML
