"""The cross-fitted part of `modelreg train`: the folds of a run, then its final model."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from modelreg.cli import host
from modelreg.cli.console import note
from modelreg.cli.crossval import settle_jobs
from modelreg.cli.phrases import counted, counted_subjects
from modelreg.cli.progress import show_folds, show_training

if TYPE_CHECKING:
    from modelreg.config import TrainingSettings
    from modelreg.data.preparation import Prepared
    from modelreg.records.data import FoldSplit
    from modelreg.records.run import RunRecord
    from modelreg.workflows.cross_validation import Place


def assigned(protocol: str | None, folds: int | None) -> list[str]:
    """Return the options of `train` as assignments; only kfold-subject has a number of folds."""
    number = [] if folds is None else [f"evaluation.folds={folds}"]
    if protocol and protocol != "kfold-subject" and folds is None:
        number = ["evaluation.folds=null"]
    return [*number, *([f"evaluation.protocol={protocol}"] if protocol else [])]


def train(folder: Path, prepared: "Prepared", place: "Place", settings: "TrainingSettings", jobs: int | None) -> None:
    """Train every fold that is not finished, then the final model. On Ctrl-C, print the command that resumes it."""
    from modelreg.workflows import cross_fitting, cross_validation

    planned = cross_fitting.plan(folder)
    jobs = settle_jobs(jobs, settings, len(planned))
    done = sum(map(cross_validation.is_finished, planned))
    finished = (host.shown(fold.folder) for fold in cross_fitting.train_folds(folder, place, jobs))
    try:
        show_folds(finished, done, len(planned), sys.stderr)
    except KeyboardInterrupt:
        note(f"stopped; resume with: modelreg train --resume {host.shown(folder)}")
        raise
    epochs = cross_fitting.read_outcome(folder).epochs
    note(
        f"final model: trained on all subjects for {counted(epochs, 'epoch')}, "
        "the median of the best epochs of the folds"
    )
    final = settings.model_copy(update={"epochs": epochs})
    show_training(cross_fitting.train_final(folder, prepared, place), final, host.shown(folder))


def note_folds(folds: "tuple[FoldSplit, ...]") -> None:
    """Print how the subjects are divided into folds."""
    validating = counted_subjects(folds[0].validation).partition(" (")[0]
    note(f"folds: {len(folds)}; each subject is tested in one, by a model that never saw it; {validating} to validate")


def result(trained: "RunRecord") -> str:
    """Return the result of a cross-fitted training in a line."""
    epochs = counted(trained.epochs, "epoch")
    return f"{len(trained.folds or ())} folds, and a final model trained on all subjects for {epochs}"
