"""Cross-validation of a run's configuration: one training for each fold of subjects.

A fold is a run under `folds/` of the run's folder: an interrupted fold is resumed, a finished one is not trained again.
The folds test every subject, including the run's test subjects. A choice made by cross-validation is made on them, too.
"""

import statistics
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
from modelreg.evaluation import fold_metrics, metrics, temperature_scaling
from modelreg.evaluation.metrics import Predictions
from modelreg.records.base import Clock, load
from modelreg.records.calibration import ConfidenceMetrics, SetMetrics
from modelreg.records.calibration_v1 import ConfidenceMetricsV1
from modelreg.records.crossval import SPREAD, CrossValidation, FoldRecord, Spread
from modelreg.records.intervals import Reason
from modelreg.records.metrics import EvalMetrics, ProtocolName
from modelreg.records.run import Environment
from modelreg.registry import runs
from modelreg.registry.filenames import CONFIG, FOLDS, METRICS, PREDICTIONS
from modelreg.workflows import evaluation_run, run_checks, training_run


class Fold(NamedTuple):
    """One training: its folder and its configuration."""

    folder: Path
    config: TrainConfig


class Place(NamedTuple):
    """What the training of a fold needs, in this process or in another."""

    base: Path
    cache: Path | None
    pseudonyms: Callable[[Collection[str]], Mapping[str, str]] | None
    training: Environment
    evaluation: Environment
    clock: Clock
    refuse_copies: bool = True  # False: the subjects were compared before


def plan(folder: Path, protocol: ProtocolName, folds: int, reading: Reading) -> tuple[Fold, ...]:
    """Return the folds of a run. Raises InputError if there are too few subjects or another plan has its folders."""
    config = run_checks.repeatable(folder, "cross-validate")
    run_checks.refuse_crossfitted(folder, config, "cannot cross-validate")
    subjects = {recording.subject for recording in preparation.read_dataset(config, reading).recordings}
    divided = splits.named_folds(protocol, folds, subjects, splits.validating(config.split))
    found = tuple(fold_of(folder, config, name, split) for name, split in divided.items())
    what = f"{CONFIG} differs from the configuration or the subjects of this cross-validation"
    planned = {fold.folder: fold.config for fold in found}
    run_checks.refuse_others(planned, "cannot resume this cross-validation", what)
    return found


def fold_of(folder: Path, config: TrainConfig, name: str, split: SubjectSplit) -> Fold:
    """Return a fold of a run, which is a hold-out run."""
    alone = config.evaluation.model_copy(update={"protocol": "holdout", "folds": None})
    return Fold(folder / FOLDS / name, config.model_copy(update={"split": split, "evaluation": alone}))


def train(folds: Sequence[Fold], place: Place, jobs: int = 1) -> Iterator[Fold]:
    """Train and evaluate every unfinished fold, `jobs` at a time; yield each fold when it is finished."""
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
    """Train or resume a fold, then evaluate it on its test subjects. It has no leakage audit and no report."""
    reading = Reading(place.base, place.cache, pseudonyms=place.pseudonyms)
    prepared = None
    if not fold.folder.exists():
        here, now = place.training, place.clock()
        prepared = training_run.start(fold.config, fold.folder, reading, here, now, refuse_copies=place.refuse_copies)
    elif runs.load_run(fold.folder).status == "training":
        prepared = training_run.reopen(fold.folder, reading, place.training)
    if prepared and runs.load_run(fold.folder).status == "training":
        for _ in training_run.train(fold.folder, prepared, place.training, place.clock):
            pass
    evaluation_run.assess_fold(fold.folder, reading, place.evaluation, place.clock, prepared)


def is_finished(fold: Fold) -> bool:
    """Return whether a fold was trained, and its metrics are those of its latest test-set evaluation."""
    if not (fold.folder / METRICS).is_file():
        return False
    evaluations = runs.load_run(fold.folder).evaluations
    return (
        bool(evaluations)
        and evaluations[-1].predictions_sha256 == load(fold.folder / METRICS, EvalMetrics).predictions_sha256
    )


# Pooled results


def pool(protocol: ProtocolName, folds: Sequence[Fold]) -> CrossValidation:
    """Pool the out-of-fold predictions of finished folds. Raises InputError if a fold's files were changed."""
    measured = [load(fold.folder / METRICS, EvalMetrics) for fold in folds]
    first, settings = measured[0], measured[0].settings
    parts = [_predictions(fold, each) for fold, each in zip(folds, measured, strict=True)]
    confidences = [_confidence(fold, each) for fold, each in zip(folds, measured, strict=True)]
    together = fold_metrics.pool(parts)
    scaled = [part.logits / np.float32(found.after.temperature) for part, found in zip(parts, confidences, strict=True)]
    records = tuple(map(_record, folds, measured, confidences))
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
    """Read a fold's predictions without codes: every fold has another quantizer."""
    path = fold.folder / PREDICTIONS
    if not path.is_file() or files.sha256(path) != measured.predictions_sha256:
        what = f"its SHA-256 differs from the one recorded in {METRICS}"
        step = "remove the fold's folder, then run the same command again"
        raise InputError("cannot pool the folds", [Problem(str(path), "evaluate.predictions-mismatch", what, step)])
    found = metrics.from_arrays(npz.read_npz(path), path.name, len(measured.classes))
    return found._replace(code=None, cluster=None)


def _confidence(fold: Fold, measured: EvalMetrics) -> ConfidenceMetrics | ConfidenceMetricsV1:
    if measured.confidence is None:
        what = f"{METRICS} has no calibration: an earlier version of modelreg wrote it"
        raise InputError("cannot pool the folds", [Problem(str(fold.folder), "evaluate.calibration-missing", what)])
    return measured.confidence


def _record(fold: Fold, measured: EvalMetrics, found: ConfidenceMetrics | ConfidenceMetricsV1) -> FoldRecord:
    return FoldRecord(
        name=fold.folder.name,
        tested=measured.protocol.tested.subjects,
        validated=measured.protocol.parts["validation"].subjects,
        windows=measured.windows,
        accuracy=measured.accuracy,
        balanced_accuracy=measured.balanced_accuracy,
        macro_f1=measured.macro_f1,
        ece=found.before.equal_mass.error,
        ece_after=found.after.equal_mass.error,
        temperature=found.after.temperature,
        coverage=_coverage(found),
        checkpoint_sha256=measured.checkpoint_sha256,
        predictions_sha256=measured.predictions_sha256,
    )


def _coverage(found: ConfidenceMetrics | ConfidenceMetricsV1) -> float | None:
    """Return the coverage of the prediction sets; None if the validation split gives no threshold."""
    if isinstance(found, ConfidenceMetricsV1):
        return None if isinstance(found.sets, Reason) else found.sets["lac"].coverage
    pooled = found.sets["pooled"]
    return pooled.coverage if isinstance(pooled, SetMetrics) else None


def _spread(values: Sequence[float]) -> Spread:
    return Spread(
        mean=statistics.fmean(values), deviation=statistics.stdev(values), lowest=min(values), highest=max(values)
    )
