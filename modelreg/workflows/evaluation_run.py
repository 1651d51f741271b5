"""Evaluation of a trained run: predictions on the test split, metrics, calibration, report.

Temperature scaling and the thresholds of prediction sets are fitted on the validation split. Predictions are kept, so
that `verify` can compute the metrics again. Every evaluation on the test split is counted in run.json.
"""

from collections.abc import Iterator
from pathlib import Path

from modelreg import files
from modelreg.artifacts import exports, npz
from modelreg.config import TrainConfig
from modelreg.data import preparation
from modelreg.data.cache import Reading
from modelreg.data.preparation import Prepared
from modelreg.documents.report import formatting, render
from modelreg.errors import InputError, Problem
from modelreg.evaluation import calibration, metrics, sequences
from modelreg.records.audit import AuditRecord
from modelreg.records.base import AnyRecord, Clock, load
from modelreg.records.calibration import ConfidenceRecord
from modelreg.records.crossval import CrossValidation
from modelreg.records.data import DataRecord, PartName, QualityReport
from modelreg.records.hsmm import HsmmSpec
from modelreg.records.metrics import EvalMetrics, Protocol
from modelreg.records.model import ModelSpec
from modelreg.records.run import Environment, Evaluation, ImportRecord, RunRecord
from modelreg.registry import runs
from modelreg.registry.filenames import (
    AUDIT,
    CALIBRATION,
    CHECKPOINT,
    CROSSVAL,
    DATA,
    HSMM,
    METRICS,
    PREDICTIONS,
    QUALITY,
    RUN,
    VALIDATION,
)
from modelreg.workflows import inference, plausibility, run_checks

HELD_OUT: PartName = "test"
CALIBRATED_ON: PartName = "validation"


def evaluate(folder: Path, reading: Reading, environment: Environment, clock: Clock) -> EvalMetrics:
    """Compute a trained run's metrics on its test split; keep the predictions and write the report."""
    measured = assess(folder, reading, environment, clock)
    write_report(folder)
    return measured


def assess(folder: Path, reading: Reading, environment: Environment, clock: Clock) -> EvalMetrics:
    """Compute a trained run's metrics as `evaluate` does, without the report.

    Temperature scaling and prediction-set thresholds are fitted on the validation split, and measured on the test
    split. The test-set evaluation is counted in run.json before any of its results is written.
    """
    run, config = run_checks.load_checked(folder, status="trained")
    if run.imported:
        run_checks.refuse("cannot evaluate an encoder without its classifier", _find_missing_parts(run.imported))
    prepared, audited = preparation.prepare_and_audit(config, reading)
    run_checks.refuse_other_data(folder, prepared)
    predictions = inference.predict(folder, run.model, prepared.windows[HELD_OUT], threads=config.training.threads)
    recorded = npz.npz_bytes(predictions.arrays())
    digest = files.sha256_bytes(recorded)
    if not _is_known(run, digest):
        counted = Evaluation(at=clock(), part=HELD_OUT, predictions_sha256=digest, environment=environment)
        run = run.model_copy(update={"evaluations": (*run.evaluations, counted)})
        files.write_atomic(folder / RUN, run.to_bytes())
    files.write_atomic(folder / PREDICTIONS, recorded)
    _calibrate(folder, config, run.model, prepared)
    measured = exports.with_estimate(measure(folder, config, run, predictions), exports.estimate_of(folder))
    files.write_atomic(folder / METRICS, measured.to_bytes())
    plausibility.judge(folder, measured, audited)
    return measured


def _is_known(run: RunRecord, predictions_sha256: str) -> bool:
    """Say whether the latest evaluation gave the same predictions: computing them again shows nothing new."""
    latest = [evaluation for evaluation in run.evaluations if evaluation.part == HELD_OUT][-1:]
    return [evaluation.predictions_sha256 for evaluation in latest] == [predictions_sha256]


def _calibrate(folder: Path, config: TrainConfig, spec: ModelSpec, prepared: Prepared) -> None:
    """Fit calibration.json on the validation split, and keep the validation predictions."""
    validation = inference.predict(folder, spec, prepared.windows[CALIBRATED_ON], threads=config.training.threads)
    origin = calibration.Origin(
        spec.classes, files.sha256(folder / CHECKPOINT), prepared.record.parts[CALIBRATED_ON].digest
    )
    fitted = calibration.fit_calibration(validation, origin)
    files.write_atomic(folder / VALIDATION, npz.npz_bytes(validation.arrays()))
    files.write_atomic(folder / CALIBRATION, fitted.to_bytes())


def measure(folder: Path, config: TrainConfig, run: RunRecord, predictions: metrics.Predictions) -> EvalMetrics:
    """Return the metrics of recorded predictions, with their protocol. Raises InputError for a random split."""
    data, spec = load(folder / DATA, DataRecord), run.model
    if data.split == "random":
        what = "its train, validation and test windows come from the same subjects"
        raise InputError("nothing was evaluated", [Problem(str(folder), "evaluate.random-split", what)])
    protocol = Protocol(
        split=data.split,
        parts=data.parts,
        evaluations=sum(each.part == HELD_OUT for each in run.evaluations),
    )
    computed = metrics.compute(predictions, classes=spec.classes, levels=spec.levels, settings=config.evaluation)
    return EvalMetrics(
        **dict(computed),
        model=spec.settings.name,
        classes=spec.classes,
        parameters=spec.parameters,
        settings=config.evaluation,
        protocol=protocol,
        temporal=sequences.measure_smoothing(predictions, load(folder / HSMM, HsmmSpec), data.hop)
        if spec.smooths
        else None,
        confidence=calibration.measure_calibration(
            predictions, load(folder / CALIBRATION, ConfidenceRecord), config.evaluation
        ),
        checkpoint_sha256=files.sha256(folder / CHECKPOINT),
        predictions_sha256=files.sha256(folder / PREDICTIONS),
    )


def write_report(folder: Path) -> None:
    """Write the report of an evaluated run as Markdown and as an HTML page with plots."""
    checks = formatting.Checks(
        _kept(folder / QUALITY, QualityReport),
        _kept(folder / AUDIT, AuditRecord),
        _kept(folder / CROSSVAL, CrossValidation),
        plausibility.load_random_split(folder),
    )
    measured, data = load(folder / METRICS, EvalMetrics), load(folder / DATA, DataRecord)
    documents = render.documents(measured, data, runs.load_run(folder), runs.read_history(folder), checks)
    for name, document in documents.items():
        files.write_atomic(folder / name, document)


def _kept(path: Path, record: type[AnyRecord]) -> AnyRecord | None:
    return load(path, record) if path.is_file() else None


def _find_missing_parts(origin: ImportRecord) -> Iterator[Problem]:
    what = f"no weights in the imported checkpoint {origin.file}"
    return (Problem(part, "evaluate.weights-missing", what) for part in origin.lacks)
