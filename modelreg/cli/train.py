"""`modelreg train`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelreg.cli import host
from modelreg.cli.console import note, say
from modelreg.cli.progress import show_training
from modelreg.errors import InputError
from modelreg.registry import filenames

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelreg.config import TrainConfig
    from modelreg.records.data import DataRecord
    from modelreg.records.run import RunRecord

MANY_DROPPED = 0.5  # of a part's windows: beyond, hardly anything is left to learn from


def train(
    configuration: Annotated[
        Path | None,
        typer.Argument(help="A YAML file; left out: the built-in default on the embedded sample.", metavar="[CONFIG]"),
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting; may be repeated.", metavar="A.B=C")
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="The run's folder; left out: the next one under runs/.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with a run that was interrupted.", metavar="RUN")] = None,
) -> None:
    """Train a model.

    Every epoch is on disk before the next begins; `*` marks the best so far. The loss shown for training is the one
    that is minimised, label smoothing included; for validation it is the plain cross-entropy.

    Paths inside a configuration start at the registry's root, or at the working directory where there is none.

    Example: modelreg train configs/sample.yaml --set training.epochs=20
    """
    host.need_extra("train", "torch", "safetensors", "tensorboard", "matplotlib", "scipy", "pandas")
    from modelreg import config
    from modelreg.records.base import load
    from modelreg.registry import runs
    from modelreg.workflows import training_run

    if resume and (configuration or assignments or out_folder):
        raise typer.BadParameter("--resume goes on with the run's own configuration: give nothing else")
    if resume:
        runs.load_run(resume)  # a folder that is no run is refused as that
        folder, settings = resume, load(resume / filenames.CONFIG, config.TrainConfig)
    else:
        settings = _settings(configuration, assignments or [])
        folder = out_folder or runs.next_folder(host.workplace() / "runs", settings.model.name)
    here = host.describe(settings.training)
    with host.reading() as reading:
        if resume:
            prepared = training_run.reopen(folder, reading, here)
        else:
            prepared = training_run.start(settings, folder, reading, here, host.now())
    for line in _parts(prepared.record):
        note(line)
    if resume:
        _note_version(runs.load_run(folder), here.modelreg)
    host.ready_to_train(settings.training)
    shown = host.shown(folder)
    try:
        show_training(training_run.train(folder, prepared, here, host.now), settings.training, shown)
    except InputError:
        training_run.discard_if_empty(folder)
        raise
    trained = runs.load_run(folder)
    say(f"{shown}: best epoch {trained.best_epoch}, validation loss {trained.best_validation_loss:.4f}")
    say(f"next: modelreg evaluate {shown}")


def _note_version(run: "RunRecord", version: str) -> None:
    """Note that a run is resumed by another version of modelreg than trained it so far."""
    if run.trained_by != version:
        note(f"modelreg {version} resumes a run of modelreg {run.trained_by}; {filenames.RUN} records it")


def _parts(data: "DataRecord") -> "Iterator[str]":
    """Yield a line for each part, and a warning where much of it was left out."""
    for name, part in data.parts.items():
        people = ", ".join(part.subjects)
        yield f"{name}: {part.windows} windows of {people}; {part.dropped} dropped"
        if part.dropped > MANY_DROPPED * (part.windows + part.dropped):
            yield f"warning: most of what {name} could hold was dropped: missing values, or no label; try data check"


def _settings(configuration: Path | None, assignments: list[str]) -> "TrainConfig":
    from modelreg import config

    if configuration is None:
        return config.settle(config.default(), config.TrainConfig, "the built-in default", assignments)
    return config.load(configuration, config.TrainConfig, assignments)
