"""The cross-fitted run: a model for each fold of subjects, and a final model that is trained on all subjects.

The folds are runs under `folds/` of the run's folder, as those of a cross-validation: an interrupted fold is resumed, a
finished one is not trained again. They estimate how the recipe does on new subjects. The final model is the one that is
released; it is trained for the median of the folds' best epochs.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from modelreg import files
from modelreg.config import SubjectSplit, TrainConfig
from modelreg.data.preparation import Prepared
from modelreg.errors import Problem
from modelreg.records.base import load
from modelreg.records.data import DataRecord
from modelreg.records.run import Epoch, RunRecord, TrainedFold
from modelreg.registry import runs
from modelreg.registry.filenames import CHECKPOINT, CONFIG, DATA, PREDICTIONS
from modelreg.workflows import cross_validation, run_checks, training_run
from modelreg.workflows.cross_validation import Fold, Place
from modelreg.workflows.training_run import FoldsOutcome


def plan(folder: Path) -> tuple[Fold, ...]:
    """Return the folds of a started run. Raises InputError if another plan has their folders."""
    found = folds_of(folder, load(folder / CONFIG, TrainConfig), load(folder / DATA, DataRecord))
    what = f"{CONFIG} differs from the configuration of this run"
    run_checks.refuse_others({fold.folder: fold.config for fold in found}, "cannot train the folds", what)
    return found


def folds_of(place: Path, config: TrainConfig, data: DataRecord) -> tuple[Fold, ...]:
    """Return the folds of a run or a version, as runs below `place`."""
    return tuple(
        cross_validation.fold_of(place, config, fold.name, SubjectSplit(test=fold.test, validation=fold.validation))
        for fold in data.folds or ()
    )


def train_folds(folder: Path, place: Place, jobs: int = 1) -> Iterator[Fold]:
    """Train and evaluate every unfinished fold of a started run, `jobs` at a time; yield each when it is finished.

    Raises InputError if the run was changed, or another process trains it.
    """
    with files.sole_writer(folder, folder):
        run_checks.load_checked(folder, status="training")
        yield from cross_validation.train(plan(folder), place._replace(refuse_copies=False), jobs)


def train_final(folder: Path, prepared: Prepared, place: Place) -> Iterator[Epoch]:
    """Train the final model of a run whose folds are finished; yield each epoch when it is on disk."""
    yield from training_run.train(folder, prepared, place.training, place.clock, read_outcome(folder))


def read_outcome(folder: Path) -> FoldsOutcome:
    """Return what the folds of a run determine. Raises InputError if a fold is not finished, or was changed."""
    planned = plan(folder)
    trained, problems = [], []
    for fold in planned:
        if not cross_validation.is_finished(fold):
            step = f"run `modelreg train --resume {folder}`"
            problems.append(Problem(str(fold.folder), "run.not-trained", "this fold is not finished", step))
            continue
        run = runs.load_run(fold.folder)
        problems += runs.find_changed(fold.folder, run)
        trained.append(_trained(fold, run))
    run_checks.refuse("cannot train the final model", problems)
    config = load(folder / CONFIG, TrainConfig)
    epochs = math.ceil(statistics.median(fold.best_epoch for fold in trained))
    given = config.training.scheduler == "plateau"
    return FoldsOutcome(tuple(trained), epochs, _median_rates(planned, epochs) if given else None)


def recorded_outcome(run: RunRecord) -> FoldsOutcome | None:
    """Return what run.json says of the folds; None for a hold-out run."""
    return None if run.folds is None else FoldsOutcome(run.folds, run.epochs, run.learning_rates)


def _trained(fold: Fold, run: RunRecord) -> TrainedFold:
    best: dict[str, Any] = {"best_epoch": run.best_epoch, "validation_loss": run.best_validation_loss}
    return TrainedFold(
        name=fold.folder.name,
        **best,
        checkpoint_sha256=files.sha256(fold.folder / CHECKPOINT),
        predictions_sha256=files.sha256(fold.folder / PREDICTIONS),
    )


def _median_rates(folds: Sequence[Fold], epochs: int) -> tuple[float, ...]:
    """Return the median of the folds' learning rates at each epoch; of those folds that trained so long."""
    histories = [runs.read_history(fold.folder) for fold in folds]
    rates = ([history[at].learning_rate for history in histories if at < len(history)] for at in range(epochs))
    return tuple(statistics.median(found) for found in rates)
