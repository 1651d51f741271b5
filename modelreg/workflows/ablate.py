"""The trainings of a grid: each is a normal run, and one that was interrupted goes on where it stands."""

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
from modelreg.workflows import evaluation_run, training_run
from modelreg.workflows.ablation_grid import Trained


def train(
    config: TrainConfig, folder: Path, reading: Reading, environment: Environment, clock: Clock
) -> Iterator[Epoch]:
    """Train a run to its end and yield its epochs: anew, from where it stands, or not at all where it is trained.

    Raises InputError where the folder holds a run of another configuration.
    """
    if not folder.exists():
        yield from training_run.train(
            folder, training_run.start(config, folder, reading, environment, clock()), environment, clock
        )
        return
    run = runs.load_run(folder)
    if load(folder / filenames.CONFIG, TrainConfig) != config:
        what = "is a run of another configuration; give another --out"
        raise InputError("cannot go on with this grid", [Problem(str(folder), "todo.ablate", what)])
    if run.status == "training":
        prepared = training_run.reopen(folder, reading, environment)
        yield from training_run.train(folder, prepared, environment, clock)


def evaluate(folder: Path, reading: Reading, environment: Environment, clock: Clock) -> None:
    """Evaluate a trained run, unless its metrics are there: each is a look at the held-out part."""
    if not (folder / filenames.METRICS).is_file():
        evaluation_run.evaluate(folder, reading, environment, clock)


def read_trained(folder: Path) -> Trained:
    """Read what a finished run left. Raises InputError where its predictions are not those of its metrics."""
    measured = load(folder / filenames.METRICS, EvalMetrics)
    path = folder / filenames.PREDICTIONS
    if files.sha256(path) != measured.predictions_sha256:
        raise InputError(
            "the run is not what it was",
            [Problem(str(path), "todo.ablate", "is not what the metrics were computed from")],
        )
    predictions = metrics.from_arrays(npz.read_npz(path), path.name, len(measured.classes))
    return Trained(folder.name, runs.load_run(folder), measured, predictions)
