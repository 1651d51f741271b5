"""Cross-validation of a run's configuration: one training for each fold of subjects, in folders of the run.

A fold is a run of its own under `folds/`: one that was killed goes on, one that is finished is not trained again.
Every subject is looked at, those of the run's own held-out part too: what is chosen by a cross-validation has been
chosen on them.
"""

import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from modelreg import files
from modelreg.artifacts import npz
from modelreg.config import SubjectSplit, TrainConfig
from modelreg.data import preparation, splits
from modelreg.data.cache import Reading
from modelreg.errors import InputError, Problem
from modelreg.evaluation import metrics, temperature_scaling
from modelreg.evaluation.metrics import Predictions
from modelreg.records.base import Clock, load
from modelreg.records.calibration import ConfidenceMetrics
from modelreg.records.crossval import SPREAD, CrossValidation, FoldRecord, ProtocolName, Spread
from modelreg.records.intervals import Reason
from modelreg.records.metrics import EvalMetrics
from modelreg.records.run import Environment
from modelreg.registry import runs
from modelreg.registry.filenames import CONFIG, METRICS, PREDICTIONS
from modelreg.workflows import evaluation_run, run_checks, training_run

FOLDS = "folds"


class Fold(NamedTuple):
    """One training: where, and by which configuration."""

    folder: Path
    config: TrainConfig


class Place(NamedTuple):
    """What every fold needs to be trained, in this process or in another."""

    base: Path
    cache: Path | None
    training: Environment
    evaluation: Environment
    clock: Clock


def plan(folder: Path, protocol: ProtocolName, folds: int, reading: Reading) -> tuple[Fold, ...]:
    """Return the folds of a run. Raises InputError where it cannot be divided, or a fold's folder is of another."""
    config = run_checks.repeatable(folder, "cross-validate")
    subjects = {recording.subject for recording in preparation.read_dataset(config, reading).recordings}
    validation = _validating(config)
    if protocol == "loso":
        named = "loso"
        divided = splits.leave_one_out(subjects, validation)
    else:
        named = f"kfold{folds}"
        divided = splits.by_folds(subjects, folds, validation)
    found = tuple(
        Fold(folder / FOLDS / f"{named}-{number:02d}", config.model_copy(update={"split": split}))
        for number, split in enumerate(divided, 1)
    )
    _refuse_others(found)
    return found


def _validating(config: TrainConfig) -> int:
    """Return how many subjects validate a fold: as many as validate the run, one where it is not split by subject."""
    if not isinstance(config.split, SubjectSplit):
        return 1
    wanted = config.split.validation
    return wanted if isinstance(wanted, int) else len(wanted)


def _refuse_others(found: Sequence[Fold]) -> None:
    what = "is of another configuration or other subjects; remove it"
    others = [fold for fold in found if fold.folder.exists() and load(fold.folder / CONFIG, TrainConfig) != fold.config]
    if others:
        raise InputError(
            "cannot go on with these folds",
            [Problem(str(fold.folder), "todo.cross-validation", what) for fold in others],
        )


def train(folds: Sequence[Fold], place: Place, jobs: int = 1) -> Iterator[Fold]:
    """Train and measure every fold that is not finished, `jobs` at a time; yield each when it is."""
    waiting = [fold for fold in folds if not is_finished(fold)]
    if jobs == 1:
        for fold in waiting:
            run_fold(fold, place)
            yield fold
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:  # torch does not survive a fork
        started = {pool.submit(run_fold, fold, place): fold for fold in waiting}
        for done in as_completed(started):
            done.result()
            yield started[done]


def run_fold(fold: Fold, place: Place) -> None:
    """Train a fold from where it stands, and measure it on its held-out subjects."""
    reading = Reading(place.base, place.cache)
    if not fold.folder.exists():
        prepared = training_run.start(fold.config, fold.folder, reading, place.training, place.clock())
    elif runs.load_run(fold.folder).status == "training":
        prepared = training_run.reopen(fold.folder, reading, place.training)
    if runs.load_run(fold.folder).status == "training":
        for _ in training_run.train(fold.folder, prepared, place.training, place.clock):
            pass
    evaluation_run.assess(fold.folder, reading, place.evaluation, place.clock)


def is_finished(fold: Fold) -> bool:
    """Say whether a fold was trained, and measured after its last look at the subjects it holds out."""
    if not (fold.folder / METRICS).is_file():
        return False
    looks = runs.load_run(fold.folder).evaluations
    return bool(looks) and looks[-1].predictions_sha256 == load(fold.folder / METRICS, EvalMetrics).predictions_sha256


# What they say together


def pool(protocol: ProtocolName, folds: Sequence[Fold]) -> CrossValidation:
    """Return what finished folds say together. Raises InputError where their files are damaged."""
    measured = [load(fold.folder / METRICS, EvalMetrics) for fold in folds]
    first, settings = measured[0], measured[0].settings
    parts = [_predictions(fold, each) for fold, each in zip(folds, measured, strict=True)]
    told = [_confidence(fold, each) for fold, each in zip(folds, measured, strict=True)]
    together = _joined(parts)
    scaled = [part.logits / np.float32(found.after.temperature) for part, found in zip(parts, told, strict=True)]
    records = tuple(map(_record, folds, measured, told))
    return CrossValidation(
        protocol=protocol,
        model=first.model,
        classes=first.classes,
        settings=settings,
        folds=records,
        pooled=metrics.compute(together, classes=first.classes, levels=None, settings=settings),
        calibrated=temperature_scaling.measure_calibration_error(
            together._replace(logits=np.concatenate(scaled)), settings
        ),
        spread={name: _spread([getattr(record, name) for record in records]) for name in SPREAD},
    )


def _predictions(fold: Fold, measured: EvalMetrics) -> Predictions:
    """Read a fold's predictions, without codes: those are of its own quantizer."""
    path = fold.folder / PREDICTIONS
    if not path.is_file() or files.sha256(path) != measured.predictions_sha256:
        raise InputError(
            "cannot pool the folds",
            [Problem(str(path), "todo.cross-validation", "was changed; remove the fold's folder")],
        )
    found = metrics.from_arrays(npz.read_npz(path), path.name, len(measured.classes))
    return found._replace(code=None, cluster=None)


def _confidence(fold: Fold, measured: EvalMetrics) -> ConfidenceMetrics:
    if measured.confidence is None:
        what = "has no calibration: an older modelreg evaluated it; remove the fold's folder"
        raise InputError("cannot pool the folds", [Problem(str(fold.folder), "todo.cross-validation", what)])
    return measured.confidence


def _joined(parts: Sequence[Predictions]) -> Predictions:
    names = parts[0].arrays()
    return Predictions(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _record(fold: Fold, measured: EvalMetrics, found: ConfidenceMetrics) -> FoldRecord:
    return FoldRecord(
        name=fold.folder.name,
        tested=measured.protocol.tested.subjects,
        validated=measured.protocol.parts.validation.subjects,
        windows=measured.windows,
        accuracy=measured.accuracy,
        balanced_accuracy=measured.balanced_accuracy,
        macro_f1=measured.macro_f1,
        ece=found.before.equal_mass.error,
        ece_after=found.after.equal_mass.error,
        temperature=found.after.temperature,
        coverage=None if isinstance(found.sets, Reason) else found.sets["lac"].coverage,
        checkpoint_sha256=measured.checkpoint_sha256,
        predictions_sha256=measured.predictions_sha256,
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(
        mean=statistics.fmean(values), deviation=statistics.stdev(values), lowest=min(values), highest=max(values)
    )
