"""`modelreg train`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelreg.cli import cross_fitting, crossval, host
from modelreg.cli.console import note, say
from modelreg.cli.options import Assignments
from modelreg.cli.phrases import counted_subjects
from modelreg.cli.progress import show_training
from modelreg.errors import InputError
from modelreg.registry import filenames

if TYPE_CHECKING:
    from modelreg.config import TrainConfig
    from modelreg.data.preparation import Prepared
    from modelreg.records.run import RunRecord

THRESHOLD = "quality.threshold"  # `data check` lists these
MANY_DROPPED = 0.5  # share of a split's windows: more than this is worth a warning


def train(
    configuration: Annotated[
        Path | None,
        typer.Argument(help="Training configuration (YAML). Default: the embedded sample.", metavar="[CONFIG]"),
    ] = None,
    assignments: Assignments = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of the new run. Default: the next one in runs/.", metavar="DIR")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Resume an interrupted run.", metavar="RUN")] = None,
    protocol: Annotated[
        Literal["holdout", "loso", "kfold-subject"] | None,
        typer.Option(
            help="holdout: one model. loso, kfold-subject: one for each fold of subjects, and a final one on all "
            "subjects. Default: that of the configuration."
        ),
    ] = None,
    folds: Annotated[int | None, typer.Option(min=2, help="Number of folds of kfold-subject.", metavar="K")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help=crossval.PARALLEL_FOLDS, metavar="N")] = None,
) -> None:
    """Train a model.

    --protocol loso (leave one subject out) and kfold-subject train a cross-fitted run: a model for each fold of
    subjects, in RUN/folds/, then the final model on all subjects. Its metrics are those of the folds, for subjects
    that the predicting model never saw.

    Each epoch is saved before the next begins, so that an interrupted training can be resumed. `*` marks the best epoch
    so far. The training loss includes label smoothing; the validation loss is the plain cross-entropy.

    Relative paths in a configuration start at the registry's root, or at the working directory outside a registry.

    Example: modelreg train --set training.epochs=20
    """
    if resume and (configuration or assignments or out_folder or protocol or folds):
        raise typer.BadParameter("a run is resumed with its own configuration: pass --resume alone, or with --jobs")
    host.need_extra("train", "torch", "safetensors", "tensorboard", "matplotlib", "scipy", "pandas")
    from modelreg import config, files
    from modelreg.records.base import load
    from modelreg.registry import runs
    from modelreg.workflows import training_run

    if resume:
        runs.load_run(resume)  # raises the error of a folder that is not a run
        folder, settings = resume, load(resume / filenames.CONFIG, config.TrainConfig)
    else:
        settings = _settings(configuration, [*(assignments or []), *cross_fitting.assigned(protocol, folds)])
        folder = out_folder or _next_folder(settings.model.name)
    if jobs and jobs > 1 and not settings.evaluation.crossfitted:
        raise typer.BadParameter("trains folds in parallel, and this configuration has none", param_hint="--jobs")
    files.refuse_unwritable(folder)
    with host.reading(new_subjects=not resume) as reading:
        place = crossval.place_of(reading, settings.training)
        if resume:
            prepared = training_run.reopen(folder, reading, place.training)
        else:
            prepared = training_run.start(settings, folder, reading, place.training, host.now())
    _note_splits(prepared)
    _note_findings(prepared)
    if resume:
        _note_version(runs.load_run(folder), place.training.modelreg)
    host.ready_to_train(settings.training)
    shown = host.shown(folder)
    try:
        if settings.evaluation.crossfitted:
            cross_fitting.train(folder, prepared, place, settings.training, jobs)
        else:
            show_training(training_run.train(folder, prepared, place.training, host.now), settings.training, shown)
    except InputError:
        training_run.discard_if_empty(folder)
        raise
    say(f"{shown}: {_result(runs.load_run(folder))}")
    say(f"next: modelreg evaluate {shown}")


def _next_folder(model: str) -> Path:
    """Return the folder of the next run; print a notice if the training of the newest one is not finished."""
    from modelreg.registry import runs

    place = host.workplace() / "runs"
    if left := runs.interrupted(place):
        shown = host.shown(left)
        note(f"notice: the training of {shown} is not finished; to resume it: modelreg train --resume {shown}")
    return runs.next_folder(place, model)


def _result(trained: "RunRecord") -> str:
    """Return the result of a training in a line."""
    if trained.folds:
        return cross_fitting.result(trained)
    return f"best epoch {trained.best_epoch}, validation loss {trained.best_validation_loss:.4f}"


def _note_version(run: "RunRecord", version: str) -> None:
    """Print a note if another version of modelreg trained the run so far."""
    if run.trained_by != version:
        note(f"notice: modelreg {version} resumes a run of modelreg {run.trained_by}; {filenames.RUN} records both")


def _note_splits(prepared: "Prepared") -> None:
    """Print the size of each split, why windows were dropped, and a warning if most of them were."""
    data = prepared.record
    for name, split in data.parts.items():
        why = f" ({prepared.windows[name].why})" if split.dropped else ""
        note(f"{name}: {split.windows:,} windows of {counted_subjects(split.subjects)}, {split.dropped:,} dropped{why}")
        possible = split.windows + split.dropped
        if split.dropped > MANY_DROPPED * possible:
            check = "check with: modelreg data check"
            note(f"warning: {split.dropped:,} of {possible:,} {name} windows were dropped; {check}")
    if data.folds:
        cross_fitting.note_folds(data.folds)


def _note_findings(prepared: "Prepared") -> None:
    """Print what the split cannot show, and the first thing that is wrong with the sensors, with the next step."""
    from modelreg.data import preparation
    from modelreg.documents.report import overview
    from modelreg.documents.report.formatting import counted

    found = prepared.quality.findings or ()
    wrong = [finding for finding in found if finding.level == "problem" and finding.rule != THRESHOLD]
    for finding in (*preparation.advise(prepared), *wrong[:1]):
        words = overview.in_words(finding, len(prepared.quality.recordings))
        note(f"warning: {words}; next: {overview.next_step(finding)}")
    if len(wrong) > 1:
        note(f"warning: {counted(len(wrong) - 1, 'more problem')}; list all with: modelreg data check")


def _settings(configuration: Path | None, assignments: list[str]) -> "TrainConfig":
    from modelreg import config

    if configuration is None:
        note("no configuration named: training the built-in default on the embedded sample recordings")
        settings = config.settle(config.default(), config.TrainConfig, "the built-in default", assignments)
    else:
        settings = config.load(configuration, config.TrainConfig, assignments)
    return host.with_pseudonyms(settings)
