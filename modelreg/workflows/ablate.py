"""Train and evaluate the runs of an ablation grid. An interrupted run is resumed; a finished one is not repeated."""

from collections.abc import Iterator
from pathlib import Path

from modelreg import files
from modelreg.artifacts import npz
from modelreg.config import TrainConfig
from modelreg.data.cache import Reading
from modelreg.errors import InputError, Problem
from modelreg.evaluation import metrics
from modelreg.records.base import Clock, load
from modelreg.records.metrics import EvalMetrics
from modelreg.records.run import Environment, Epoch
from modelreg.registry import filenames, runs
from modelreg.workflows import cross_fitting, evaluation_run, training_run
from modelreg.workflows.ablation_grid import Trained
from modelreg.workflows.cross_validation import Place


def train(
    config: TrainConfig, folder: Path, reading: Reading, environment: Environment, clock: Clock
) -> Iterator[Epoch]:
    """Train a run to its end and yield its epochs; resume an interrupted run, and skip a trained one.

    Of a cross-fitted run, train the folds, and yield the epochs of the final model.
    """
    if not folder.exists():
        prepared = training_run.start(config, folder, reading, environment, clock())
    elif runs.load_run(folder).status == "training":
        prepared = training_run.reopen(folder, reading, environment)
    else:
        return
    if config.evaluation.crossfitted:
        on_cpu = environment.model_copy(update={"device": "cpu"})
        place = Place(reading.base, reading.cache, reading.pseudonyms, environment, on_cpu, clock)
        for _ in cross_fitting.train_folds(folder, place):
            pass
        yield from cross_fitting.train_final(folder, prepared, place)
        return
    yield from training_run.train(folder, prepared, environment, clock)


def evaluate(folder: Path, reading: Reading, environment: Environment, clock: Clock) -> None:
    """Evaluate a trained run that has no metrics yet: every test-set evaluation is counted."""
    if not (folder / filenames.METRICS).is_file():
        evaluation_run.evaluate(folder, reading, environment, clock)


def read_trained(folder: Path) -> Trained:
    """Read a finished run. Raises InputError if its metrics were computed from other predictions."""
    measured = load(folder / filenames.METRICS, EvalMetrics)
    path = folder / filenames.PREDICTIONS
    if files.sha256(path) != measured.predictions_sha256:
        what = f"its SHA-256 differs from the one recorded in {filenames.METRICS}"
        raise InputError("cannot summarize the ablation", [Problem(str(path), "evaluate.predictions-mismatch", what)])
    predictions = metrics.from_arrays(npz.read_npz(path), path.name, len(measured.classes))
    return Trained(folder.name, runs.load_run(folder), measured, predictions)
