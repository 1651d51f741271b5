"""A run from a configuration: start it, train it (again, after a kill), evaluate it, use it.

This is the one room that brings data, network and run folder together. A run's folder appears whole, with all
that its training will need; then every epoch writes the best weights if they are new, the history, and last the
state to go on from. So training a fresh run and going on with a killed one are the same call.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.artifacts import exports, npz
from modelreg.config import TrainConfig
from modelreg.data import normalization, preparation
from modelreg.data.cache import Reading
from modelreg.data.preparation import Prepared
from modelreg.data.recording import Windows
from modelreg.documents.report import formatting, render
from modelreg.errors import InputError, Problem
from modelreg.evaluation import calibration, metrics, sequences
from modelreg.records.audit import AuditRecord
from modelreg.records.base import AnyRecord, load, parse
from modelreg.records.calibration import ConfidenceRecord
from modelreg.records.crossval import CrossValidation
from modelreg.records.data import DataRecord, Normalization, PartName, QualityReport
from modelreg.records.hsmm import HsmmSpec
from modelreg.records.metrics import EvalMetrics, Protocol
from modelreg.records.model import ModelSpec, TcnVaeSettings
from modelreg.records.run import Environment, Epoch, Evaluation, ImportRecord, RunRecord
from modelreg.registry import runs
from modelreg.registry.filenames import (
    AUDIT,
    CALIBRATION,
    CHECKPOINT,
    CONFIG,
    CROSSVAL,
    DATA,
    ENCODER,
    HISTORY,
    HSMM,
    LAST,
    METRICS,
    MODEL_CONFIG,
    NORMALIZATION,
    PREDICTIONS,
    QUALITY,
    RUN,
    VALIDATION,
)
from modelreg.workflows import plausibility

if TYPE_CHECKING:
    from modelreg.ml.augmentation import Augmentation
    from modelreg.ml.batches import Part

Clock = Callable[[], str]  # now, ISO 8601 UTC

HELD_OUT: PartName = "test"
CALIBRATED_ON: PartName = "validation"


def start(config: TrainConfig, folder: Path, reading: Reading, environment: Environment, now: str) -> Prepared:
    """Make a run's folder and return the data that it will train on. Raises InputError where a rule is broken."""
    if folder.exists():
        raise InputError("cannot start a run", [Problem(str(folder), "exists; give another --out")])
    prepared = preparation.prepare(config, reading)
    begin(config, folder, prepared, environment, now)
    return prepared


def begin(config: TrainConfig, folder: Path, prepared: Prepared, environment: Environment, now: str) -> None:
    """Make a run's folder of data that are prepared."""
    from modelreg.ml import factory

    documents = {
        CONFIG: config.to_bytes(),
        DATA: prepared.record.to_bytes(),
        NORMALIZATION: prepared.normalization.to_bytes(),
        QUALITY: prepared.quality.to_bytes(),
    }
    record = RunRecord(
        model=factory.spec(
            config.model, prepared.input, prepared.classes, prepared.domains, prepared.record.parts.train.recordings
        ),
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


def repeatable(folder: Path, action: str) -> TrainConfig:
    """Return the configuration of a run that may be trained again. Raises InputError where it may not."""
    run = runs.load_run(folder)
    if run.imported:
        _refuse(f"cannot {action}", [Problem(str(folder), "was imported: there is no training to repeat")])
    _refuse("the run is not what it was", runs.find_changed(folder, run))
    return load(folder / CONFIG, TrainConfig)


def reopen(folder: Path, reading: Reading, environment: Environment) -> Prepared:
    """Return the data of a run whose training is to go on. Raises InputError where it cannot."""
    run, config = _load(folder, status="training")
    _refuse("cannot go on with this run", environment_differences(run.environment, environment))
    return preparation.prepare(config, reading)


def train(folder: Path, prepared: Prepared, environment: Environment, clock: Clock) -> Iterator[Epoch]:
    """Train a started run to its end, from where it stands; yield each epoch once it is on disk.

    Raises InputError where the run, its data or its environment are not what they were at the start: the bytes of
    a resumed training are those of an uninterrupted one only where all of these are. One process at a time.
    """
    with files.sole_writer(folder, folder):
        yield from _train(folder, prepared, environment, clock)


def _train(folder: Path, prepared: Prepared, environment: Environment, clock: Clock) -> Iterator[Epoch]:
    from modelreg.ml import checkpoint, factory, training

    run, config = _load(folder, status="training")
    _refuse("cannot go on with this run", environment_differences(run.environment, environment))
    refuse_other_data(folder, prepared)
    parts = {name: _tensors(folder, run.model, part, config.data.hop) for name, part in prepared.windows.items()}
    network = factory.of_spec(run.model, seed=run.seed)
    last = folder / LAST
    resume = checkpoint.read(last) if last.exists() else None
    history = read_history(folder)[: resume.state["epoch"] if resume and resume.state else 0]
    with _board(folder, len(history)) as draw:
        epochs = training.fit(
            network, parts["train"], parts["validation"], config.training, resume, _augmentation(folder, config)
        )
        for snapshot in epochs:
            history.append(snapshot.epoch)
            if snapshot.epoch.best:
                files.write_atomic(folder / CHECKPOINT, checkpoint.to_bytes(snapshot.weights))
            files.write_atomic(folder / HISTORY, b"".join(map(_line, history)))
            files.write_atomic(last, checkpoint.to_bytes(snapshot.tensors, snapshot.state))
            draw(snapshot.epoch)
            yield snapshot.epoch
    _write_parts(folder, run.model)
    files.write_atomic(folder / RUN, _trained(folder, run, config, history, clock()).to_bytes())


def _write_parts(folder: Path, spec: ModelSpec) -> None:
    """Write what is taken out of the best weights: the model of durations; of a tcn_vae, the device part alone."""
    from modelreg.ml import checkpoint, prediction

    network = prediction.load_network(spec, folder / CHECKPOINT)
    if smoother := network.smoother(spec.classes):
        files.write_atomic(folder / HSMM, smoother.to_bytes())
    if isinstance(spec.settings, TcnVaeSettings):
        files.write_atomic(folder / ENCODER, checkpoint.to_bytes(network.device_part.state_dict()))


def discard_if_empty(folder: Path) -> None:
    """Remove a run that failed before its first epoch ended: nothing can be gone on with."""
    if not (folder / HISTORY).exists():
        shutil.rmtree(folder, ignore_errors=True)


def evaluate(folder: Path, reading: Reading, environment: Environment, clock: Clock) -> EvalMetrics:
    """Compute a trained run's metrics on its held-out part; keep the predictions and write the report."""
    measured = assess(folder, reading, environment, clock)
    write_report(folder)
    return measured


def assess(folder: Path, reading: Reading, environment: Environment, clock: Clock) -> EvalMetrics:
    """Do what `evaluate` does, without the report.

    Temperature and thresholds are fitted on the validation part, and judged on the held-out one. The look at the
    held-out part is logged in run.json before anything that follows from it is written.
    """
    run, config = _load(folder, status="trained")
    if run.imported:
        _refuse("an encoder alone has no answers to measure", _find_lacks(folder, run.imported))
    prepared, audited = preparation.prepare_and_audit(config, reading)
    refuse_other_data(folder, prepared)
    predictions = predict(folder, run.model, prepared.windows[HELD_OUT], threads=config.training.threads)
    recorded = npz.to_bytes(predictions.arrays())
    digest = files.sha256_bytes(recorded)
    look = Evaluation(at=clock(), part=HELD_OUT, predictions_sha256=digest, environment=environment)
    run = run.model_copy(update={"evaluations": (*run.evaluations, look)})
    files.write_atomic(folder / RUN, run.to_bytes())
    files.write_atomic(folder / PREDICTIONS, recorded)
    _calibrate(folder, config, run.model, prepared)
    measured = exports.with_estimate(measure(folder, config, run, predictions), exports.estimate_of(folder))
    files.write_atomic(folder / METRICS, measured.to_bytes())
    plausibility.judge(folder, measured, audited)
    return measured


def _calibrate(folder: Path, config: TrainConfig, spec: ModelSpec, prepared: Prepared) -> None:
    """Fit calibration.json on the validation part, and keep the predictions that it follows from."""
    validation = predict(folder, spec, prepared.windows[CALIBRATED_ON], threads=config.training.threads)
    origin = calibration.Origin(
        spec.classes, files.sha256(folder / CHECKPOINT), prepared.record.parts[CALIBRATED_ON].digest
    )
    fitted = calibration.fit(validation, origin, level=config.evaluation.level)
    files.write_atomic(folder / VALIDATION, npz.to_bytes(validation.arrays()))
    files.write_atomic(folder / CALIBRATION, fitted.to_bytes())


def predict(folder: Path, spec: ModelSpec, windows: Windows, *, threads: int) -> metrics.Predictions:
    """Return what a run's best weights answer to windows in raw units; `threads` are part of the last bit."""
    import torch

    from modelreg.ml import prediction

    torch.set_num_threads(threads)
    network = prediction.load_network(spec, folder / CHECKPOINT)
    scale = load(folder / NORMALIZATION, Normalization)
    answers = prediction.predict(network, normalization.apply(windows.x, scale))
    arrays = windows.arrays()
    return metrics.Predictions(
        logits=answers.logits,
        y=windows.y,
        subject=arrays["subject"],
        recording=arrays["recording"],
        start=windows.start,
        code=answers.code_index,
        cluster=answers.cluster,
    )


def measure(folder: Path, config: TrainConfig, run: RunRecord, predictions: metrics.Predictions) -> EvalMetrics:
    """Return the metrics of recorded predictions, with the protocol they were made by."""
    data, spec = load(folder / DATA, DataRecord), run.model
    if data.split == "random":
        raise InputError("no evaluation", [Problem(str(folder), "its parts leak on purpose: it is a reference")])
    protocol = Protocol(
        split=data.split,
        parts=data.parts,
        evaluations=sum(look.part == HELD_OUT for look in run.evaluations),
    )
    computed = metrics.compute(predictions, classes=spec.classes, levels=spec.levels, settings=config.evaluation)
    return EvalMetrics(
        **dict(computed),
        model=spec.settings.name,
        classes=spec.classes,
        parameters=spec.parameters,
        settings=config.evaluation,
        protocol=protocol,
        temporal=sequences.measure(predictions, load(folder / HSMM, HsmmSpec), data.hop) if spec.smooths else None,
        confidence=calibration.measure(predictions, load(folder / CALIBRATION, ConfidenceRecord), config.evaluation),
        checkpoint_sha256=files.sha256(folder / CHECKPOINT),
        predictions_sha256=files.sha256(folder / PREDICTIONS),
    )


def classify(folder: Path, windows: NDArray[np.float32]) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Return the classes, and their probabilities (N, K) for windows (N, C, D, T) in raw units.

    `folder` is a run or a version. Raises InputError where the windows do not fit.
    """
    from modelreg.ml import prediction

    spec = load_spec(folder)
    network = prediction.load_network(spec, folder / CHECKPOINT)
    scaled = normalization.apply(windows, load(folder / NORMALIZATION, Normalization))
    logits = prediction.predict(network, scaled).logits
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return spec.classes, odds / odds.sum(axis=1, keepdims=True)


def load_spec(folder: Path) -> ModelSpec:
    """Return the network of a run or of a version."""
    version = folder / MODEL_CONFIG
    return load(version, ModelSpec) if version.is_file() else runs.load_run(folder).model


def read_history(folder: Path) -> list[Epoch]:
    """Return the epochs that a run has on disk."""
    path = folder / HISTORY
    lines = files.read_bytes(path).splitlines() if path.exists() else []
    return [parse(line, Epoch, f"{path.name}: line {number}") for number, line in enumerate(lines, 1)]


def _line(epoch: Epoch) -> bytes:
    return files.to_line(epoch.to_document())


def _load(folder: Path, *, status: Literal["training", "trained"]) -> tuple[RunRecord, TrainConfig]:
    """Read a run that must be in this state. Raises InputError, also where a sealed file was changed."""
    run = runs.load_run(folder)
    if run.status != status:
        what = f"is not trained to its end; go on with `modelreg train --resume {folder}`"
        what = "is trained to its end" if status == "training" else what
        raise InputError(
            f"the run is {'already ' if status == 'training' else 'not yet '}trained", [Problem(str(folder), what)]
        )
    _refuse("the run is not what it was", runs.find_changed(folder, run))
    return run, load(folder / CONFIG, TrainConfig)


def _find_lacks(folder: Path, origin: ImportRecord) -> Iterator[Problem]:
    for part in origin.lacks:
        yield Problem(
            f"{folder}: {part}", f"has no weights: there are none in {origin.file}, which the run was made of"
        )


def _refuse(summary: str, problems: Iterable[Problem]) -> None:
    """Raise InputError where there is a problem."""
    if found := list(problems):
        raise InputError(summary, found)


def environment_differences(then: Environment, now: Environment) -> Iterator[Problem]:
    """Yield what a result may depend on and is not what it was; whether git's tree is dirty is no matter."""
    old, new = then.to_document(), now.to_document()
    for name in Environment.model_fields:
        if name != "git" and old[name] != new[name]:
            yield Problem(name, f"is {new[name]}, but the run was started with {old[name]}")


def refuse_other_data(folder: Path, prepared: Prepared) -> None:
    """Raise InputError where data are not those that a run or a version recorded."""
    recorded, scale = load(folder / DATA, DataRecord), load(folder / NORMALIZATION, Normalization)
    now, then = prepared.record.to_document(), recorded.to_document()
    problems = [
        Problem(f"{DATA}: {name}", "is not what the data give now: restore the recordings, or start anew")
        for name in then
        if now[name] != then[name]
    ]
    if scale.fitted_on == "train" and prepared.normalization != scale:
        problems.append(Problem(NORMALIZATION, "is not what the training part gives now"))
    _refuse("the data have changed since the run was started", problems)


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


def _trained(folder: Path, run: RunRecord, config: TrainConfig, history: list[Epoch], now: str) -> RunRecord:
    """Return the record of a run that has come to its end, weights and history sealed."""
    best = next(epoch for epoch in reversed(history) if epoch.best)
    changes = {
        "status": "trained",
        "finished": now,
        "epochs": len(history),
        "best_epoch": best.number,
        "best_validation_loss": best.validation_loss,
        "stopped": "epochs" if len(history) == config.training.epochs else "patience",
        "files": run.files | runs.seal(folder, (CHECKPOINT, HISTORY, *runs.parts(folder))),
    }
    return run.model_copy(update=changes)


def write_report(folder: Path) -> None:
    """Write the report of an evaluated run as Markdown and as a page, with its pictures."""
    checks = formatting.Checks(
        _kept(folder / QUALITY, QualityReport),
        _kept(folder / AUDIT, AuditRecord),
        _kept(folder / CROSSVAL, CrossValidation),
        plausibility.load_random_split(folder),
    )
    measured, data = load(folder / METRICS, EvalMetrics), load(folder / DATA, DataRecord)
    documents = render.documents(measured, data, runs.load_run(folder), read_history(folder), checks)
    for name, document in documents.items():
        files.write_atomic(folder / name, document)


def _kept(path: Path, record: type[AnyRecord]) -> AnyRecord | None:
    return load(path, record) if path.is_file() else None


@contextmanager
def _board(folder: Path, epochs: int) -> Iterator[Callable[[Epoch], None]]:
    """Yield what draws an epoch for TensorBoard; events after `epochs`, of a killed training, are hidden."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "tensorboard"), purge_step=epochs + 1) as writer:

        def draw(epoch: Epoch) -> None:
            for name, value in {**epoch.to_document(), **epoch.terms}.items():
                if isinstance(value, float | int) and name not in ("number", "best"):
                    writer.add_scalar(name, value, epoch.number)

        yield draw
