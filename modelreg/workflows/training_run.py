"""Training of a run: start it from a configuration, train it, resume it after an interruption.

A run's folder appears whole, with everything that its training needs. Then every epoch writes the weights if they are
the best so far, the history, and last the state to resume from. Training a new run and resuming one are the same call.

The final model of a cross-fitted run has no validation split: its folds determine its epochs (`FoldsOutcome`), and its
weights are those of the last epoch.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from modelreg import files
from modelreg.config import TrainConfig
from modelreg.data import normalization, preparation
from modelreg.data.cache import Reading
from modelreg.data.preparation import Prepared
from modelreg.data.recording import Windows
from modelreg.evaluation import sequences
from modelreg.records.base import Clock, load
from modelreg.records.data import Normalization
from modelreg.records.model import ModelSpec, TcnVaeSettings
from modelreg.records.run import Environment, Epoch, RunRecord, TrainedFold
from modelreg.registry import runs
from modelreg.registry.filenames import (
    CHECKPOINT,
    CONFIG,
    DATA,
    ENCODER,
    FOLDS,
    HISTORY,
    HSMM,
    LAST,
    NORMALIZATION,
    QUALITY,
    RUN,
)
from modelreg.workflows import run_checks

GROUPED = {  # TensorBoard tags, by which the predecessors of modelreg logged an epoch, and what they hold
    "loss/train": "train_loss",
    "loss/validation": "validation_loss",
    "accuracy/train": "train_accuracy",
    "accuracy/behavior": "validation_accuracy",
    "codebook/perplexity": "perplexity",
    "codebook/usage": "used_share",
    "hdp/active_clusters": "active_clusters",
    "hsmm/mean_duration": "mean_duration",
}

if TYPE_CHECKING:
    from modelreg.ml.augmentation import Augmentation
    from modelreg.ml.batches import Part


class FoldsOutcome(NamedTuple):
    """What the folds of a cross-fitted run determine of its final model."""

    folds: tuple[TrainedFold, ...]
    epochs: int
    learning_rates: tuple[float, ...] | None  # of each epoch; None: the scheduler determines them


def start(
    config: TrainConfig,
    folder: Path,
    reading: Reading,
    environment: Environment,
    now: str,
    *,
    refuse_copies: bool = True,
) -> Prepared:
    """Create a run's folder and return its training data. Raises InputError if the folder exists or data are unfit."""
    run_checks.refuse_existing(folder)
    prepared = preparation.prepare(config, reading, refuse_copies=refuse_copies)
    begin(config, folder, prepared, environment, now)
    return prepared


def begin(config: TrainConfig, folder: Path, prepared: Prepared, environment: Environment, now: str) -> None:
    """Create a run's folder for prepared data."""
    documents = {
        CONFIG: config.model_copy(update={"split": prepared.split}).to_bytes(),
        DATA: prepared.record.to_bytes(),
        NORMALIZATION: prepared.normalization.to_bytes(),
        QUALITY: prepared.quality.to_bytes(),
    }
    record = RunRecord(
        model=spec_of(config, prepared),
        seed=config.training.seed,
        status="training",
        started=now,
        finished=None,
        environment=environment,
        epochs=0,
        best_epoch=None,
        best_validation_loss=None,
        stopped=None,
        files={name: files.sha256_bytes(data) for name, data in documents.items()},
    )
    runs.create(folder, documents, record)


def spec_of(config: TrainConfig, prepared: Prepared) -> ModelSpec:
    """Return the model that a configuration gives for prepared data."""
    from modelreg.ml import factory

    recordings = prepared.record.parts.train.recordings
    return factory.spec(config.model, prepared.input, prepared.classes, prepared.domains, recordings)


def reopen(folder: Path, reading: Reading, environment: Environment) -> Prepared:
    """Return the training data of a run to resume. Raises InputError if it cannot be resumed."""
    run, config = run_checks.load_checked(folder, status="training")
    _refuse_other_environment(run, environment)
    return preparation.prepare(config, reading)


def train(
    folder: Path, prepared: Prepared, environment: Environment, clock: Clock, outcome: FoldsOutcome | None = None
) -> Iterator[Epoch]:
    """Train a started run to its end; yield each epoch when it is on disk. `outcome` is that of a cross-fitted run.

    Raises InputError if the run, its data or its environment have changed since the start: only then does a resumed
    training give the same bytes as an uninterrupted one. Another version of modelreg may resume a run, so that an
    upgrade does not end an interrupted training; run.json records it. One process may train a run at a time.
    """
    with files.sole_writer(folder, folder):
        yield from _train(folder, prepared, environment, clock, outcome)


def _train(
    folder: Path, prepared: Prepared, environment: Environment, clock: Clock, outcome: FoldsOutcome | None
) -> Iterator[Epoch]:
    from modelreg.ml import checkpoint, factory, training

    run, config = run_checks.load_checked(folder, status="training")
    _refuse_other_environment(run, environment)
    run_checks.refuse_other_data(folder, prepared)
    parts = {name: _tensors(folder, run.model, part, config.data.hop) for name, part in prepared.windows.items()}
    network = factory.of_spec(run.model, seed=run.seed)
    last = folder / LAST
    resume = checkpoint.read_checkpoint(last) if last.exists() else None
    history = runs.read_history(folder)[: resume.state["epoch"] if resume and resume.state else 0]
    run = _record_version(folder, run, environment)
    with _board(folder, len(history)) as draw:
        epochs = training.fit(
            network,
            parts["train"],
            training.Course(outcome.epochs, outcome.learning_rates) if outcome else parts["validation"],
            config.training,
            resume,
            _augmentation(folder, config),
        )
        for snapshot in epochs:
            history.append(snapshot.epoch)
            if snapshot.epoch.best or (outcome and snapshot.epoch.number == outcome.epochs):
                files.write_atomic(folder / CHECKPOINT, checkpoint.checkpoint_bytes(snapshot.weights))
            files.write_atomic(folder / HISTORY, b"".join(map(_line, history)))
            files.write_atomic(last, checkpoint.checkpoint_bytes(snapshot.tensors, snapshot.state))
            draw(snapshot.epoch)
            yield snapshot.epoch
    _write_parts(folder, run.model)
    files.write_atomic(folder / RUN, _trained(folder, run, config, history, outcome, clock()).to_bytes())


def _refuse_other_environment(run: RunRecord, environment: Environment) -> None:
    """Raise InputError if a run was started in another environment; the version of modelreg may differ."""
    differences = run_checks.environment_differences(run.environment, environment)
    run_checks.refuse("cannot resume this run", (each for each in differences if each.where != "modelreg"))


def _record_version(folder: Path, run: RunRecord, environment: Environment) -> RunRecord:
    """Record in run.json that another version of modelreg resumes the run; return the record."""
    if run.trained_by == environment.modelreg:
        return run
    resumed = run.model_copy(update={"resumed_by": (*(run.resumed_by or ()), environment.modelreg)})
    files.write_atomic(folder / RUN, resumed.to_bytes())
    return resumed


def _write_parts(folder: Path, spec: ModelSpec) -> None:
    """Write the files derived from the best weights: the duration model; for a tcn_vae, the device part."""
    from modelreg.ml import checkpoint, prediction

    network = prediction.load_network(spec, folder / CHECKPOINT)
    if smoother := network.smoother(spec.classes):
        files.write_atomic(folder / HSMM, smoother.to_bytes())
    if isinstance(spec.settings, TcnVaeSettings):
        files.write_atomic(folder / ENCODER, checkpoint.checkpoint_bytes(network.device_part.state_dict()))


def discard_if_empty(folder: Path) -> None:
    """Remove a run that failed before the end of the first epoch of any training in it: nothing is lost."""
    if not (folder / HISTORY).exists() and not any((folder / FOLDS).glob(f"*/{HISTORY}")):
        shutil.rmtree(folder, ignore_errors=True)


def _line(epoch: Epoch) -> bytes:
    return files.to_line(epoch.to_document())


def _tensors(folder: Path, spec: ModelSpec, windows: Windows, hop: int) -> "Part":
    import torch

    from modelreg.ml.batches import Part

    scale = load(folder / NORMALIZATION, Normalization)
    domains = [windows.domains[i] for i in windows.recording] if spec.domains else []
    return Part(
        torch.from_numpy(normalization.apply(windows.x, scale)),
        torch.from_numpy(windows.y),
        torch.tensor([spec.domains.index(name) for name in domains]) if domains else None,
        torch.from_numpy(windows.recording.astype(np.int64)) if spec.sessions else None,
        sequences.stream_lengths(windows.recording, windows.start, hop),
    )


def _augmentation(folder: Path, config: TrainConfig) -> "Augmentation | None":
    import torch

    from modelreg.ml import augmentation

    scale = load(folder / NORMALIZATION, Normalization)
    mean, std = (torch.tensor(rows).T[:, :, None] for rows in (scale.mean, scale.std))  # (C, D or 1, 1)
    names = [channel.name for channel in scale.channels]
    return augmentation.make(config.augmentation, names, augmentation.Scale(mean, std))


def _trained(
    folder: Path,
    run: RunRecord,
    config: TrainConfig,
    history: list[Epoch],
    outcome: FoldsOutcome | None,
    now: str,
) -> RunRecord:
    """Return the record of a finished run, with the digests of its weights and its history."""
    changes = {
        "status": "trained",
        "finished": now,
        "epochs": len(history),
        "files": run.files | runs.seal(folder, (CHECKPOINT, HISTORY, *runs.parts(folder))),
    }
    if outcome:
        final = {"stopped": "epochs", "folds": outcome.folds, "learning_rates": outcome.learning_rates}
        return run.model_copy(update=changes | final)
    best = next(epoch for epoch in reversed(history) if epoch.best)
    chosen = {
        "best_epoch": best.number,
        "best_validation_loss": best.validation_loss,
        "stopped": "epochs" if len(history) == config.training.epochs else "patience",
    }
    return run.model_copy(update=changes | chosen)


@contextmanager
def _board(folder: Path, epochs: int) -> Iterator[Callable[[Epoch], None]]:
    """Yield a function that logs an epoch for TensorBoard; events after `epochs`, of a killed training, are hidden."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "tensorboard"), purge_step=epochs + 1) as writer:

        def draw(epoch: Epoch) -> None:
            for tag, value in scalars(epoch).items():
                writer.add_scalar(tag, value, epoch.number)

        yield draw


def scalars(epoch: Epoch) -> dict[str, float]:
    """Return the numbers of an epoch by their TensorBoard tags: flat as in history.jsonl, and those of `GROUPED`."""
    document = epoch.to_document()
    flat = {name: document[name] for name in document if name not in ("number", "best", "terms")} | epoch.terms
    grouped = {tag: document.get(name) for tag, name in GROUPED.items()}
    grouped |= {f"loss/{name}": value for name, value in epoch.terms.items()}
    return {tag: value for tag, value in {**flat, **grouped}.items() if value is not None}
