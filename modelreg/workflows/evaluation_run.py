"""Evaluation of a trained run: predictions on the test split, metrics, calibration, report.

Temperature scaling and the thresholds of prediction sets are fitted on the validation split. Predictions are kept, so
that `verify` can compute the metrics again. Every evaluation on the test split is counted in run.json.

A cross-fitted run pools the kept predictions of its folds: each subject is predicted by the model that never saw the
subject. Its calibration is fitted on them. The final model's predictions for its own training windows (fitted.npz) show
with `verify --reproduce` that the weights are those of the run; they do not estimate its quality.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from modelreg import files
from modelreg.artifacts import exports, npz
from modelreg.config import TrainConfig
from modelreg.data import preparation
from modelreg.data.cache import Reading
from modelreg.data.preparation import Prepared
from modelreg.documents.report import formatting, render
from modelreg.errors import InputError, Problem
from modelreg.evaluation import calibration, fold_metrics, metrics, sequences
from modelreg.evaluation.metrics import Predictions
from modelreg.records.audit import AuditRecord
from modelreg.records.base import AnyRecord, Clock, load
from modelreg.records.calibration import ConfidenceRecord
from modelreg.records.crossval import CrossValidation
from modelreg.records.data import DataRecord, PartName, QualityReport
from modelreg.records.hsmm import HsmmSpec
from modelreg.records.metrics import EvalMetrics, FoldMetrics, Protocol
from modelreg.records.run import Environment, Evaluation, ImportRecord, RunRecord, TrainedFold
from modelreg.registry import runs
from modelreg.registry.filenames import (
    AUDIT,
    CALIBRATION,
    CHECKPOINT,
    CROSSVAL,
    DATA,
    FITTED,
    FOLDS,
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


class _Answers(NamedTuple):
    """The predictions of a run."""

    tested: Predictions  # that the metrics are computed from
    fitting: Predictions  # that the calibration is fitted on
    digest: str  # of the windows of `fitting`, as in data.json
    files: dict[str, bytes]  # in which they are kept, by name


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
    run, config = _load_evaluable(folder)
    prepared, audited = preparation.prepare_and_audit(config, reading)
    measured = _assess(folder, run, config, prepared, environment, clock)
    plausibility.judge(folder, measured, audited)
    return measured


def assess_fold(
    folder: Path, reading: Reading, environment: Environment, clock: Clock, prepared: Prepared | None = None
) -> EvalMetrics:
    """Compute the metrics of a fold on its test split, without a leakage audit; `prepared` are its data, if known."""
    run, config = _load_evaluable(folder)
    return _assess(folder, run, config, prepared or preparation.prepare(config, reading), environment, clock)


def _load_evaluable(folder: Path) -> tuple[RunRecord, TrainConfig]:
    run, config = run_checks.load_checked(folder, status="trained")
    if run.imported:
        run_checks.refuse("cannot evaluate an encoder without its classifier", _find_missing_parts(run.imported))
    return run, config


def _assess(
    folder: Path, run: RunRecord, config: TrainConfig, prepared: Prepared, environment: Environment, clock: Clock
) -> EvalMetrics:
    run_checks.refuse_other_data(folder, prepared)
    answers = _answer(folder, run, config, prepared)
    digest = files.sha256_bytes(answers.files[PREDICTIONS])
    if not _is_known(run, digest):
        counted = Evaluation(at=clock(), part=HELD_OUT, predictions_sha256=digest, environment=environment)
        run = run.model_copy(update={"evaluations": (*run.evaluations, counted)})
        files.write_atomic(folder / RUN, run.to_bytes())
    origin = calibration.Origin(run.model.classes, files.sha256(folder / CHECKPOINT), answers.digest)
    fitted = calibration.fit_calibration(answers.fitting, origin)
    for name, data in answers.files.items():
        files.write_atomic(folder / name, data)
    files.write_atomic(folder / CALIBRATION, fitted.to_bytes())
    measured = exports.with_estimate(measure(folder, config, run, answers.tested), exports.estimate_of(folder))
    files.write_atomic(folder / METRICS, measured.to_bytes())
    return measured


def _answer(folder: Path, run: RunRecord, config: TrainConfig, prepared: Prepared) -> _Answers:
    """Predict the test and the validation split; or pool the folds, and predict all windows with the final model."""
    wanted: tuple[PartName, ...] = ("train",) if run.folds else (HELD_OUT, CALIBRATED_ON)
    threads, parts = config.training.threads, prepared.record.parts
    found = [inference.predict(folder, run.model, prepared.windows[part], threads=threads) for part in wanted]
    if run.folds:
        pooled = fold_metrics.pool([_fold_predictions(folder, fold, len(run.model.classes)) for fold in run.folds])
        kept = {PREDICTIONS: pooled, FITTED: found[0]}
        return _Answers(pooled, pooled, parts.train.digest, _as_files(kept))
    tested, validated = found
    return _Answers(
        tested, validated, parts[CALIBRATED_ON].digest, _as_files({PREDICTIONS: tested, VALIDATION: validated})
    )


def _as_files(predictions: dict[str, Predictions]) -> dict[str, bytes]:
    return {name: npz.npz_bytes(found.arrays()) for name, found in predictions.items()}


def _fold_predictions(folder: Path, fold: TrainedFold, classes: int) -> Predictions:
    """Read the kept predictions of a fold. Raises InputError if they are missing, or not those of the training."""
    path = folder / FOLDS / fold.name / PREDICTIONS
    if not path.is_file():
        problem = Problem(str(path), "evaluate.fold-missing", "missing, so the folds cannot be pooled")
        raise InputError("cannot pool the folds", [problem])
    if files.sha256(path) != fold.predictions_sha256:
        what = f"its SHA-256 differs from the one recorded in {RUN}"
        raise InputError("cannot pool the folds", [Problem(str(path), "evaluate.predictions-mismatch", what)])
    return metrics.from_arrays(npz.read_npz(path), f"{fold.name}/{PREDICTIONS}", classes)


def _is_known(run: RunRecord, predictions_sha256: str) -> bool:
    """Say whether the latest evaluation gave the same predictions: computing them again shows nothing new."""
    latest = [evaluation for evaluation in run.evaluations if evaluation.part == HELD_OUT][-1:]
    return [evaluation.predictions_sha256 for evaluation in latest] == [predictions_sha256]


def measure(folder: Path, config: TrainConfig, run: RunRecord, predictions: Predictions) -> EvalMetrics:
    """Return the metrics of recorded predictions, with their protocol. Raises InputError for a random split."""
    data, spec = load(folder / DATA, DataRecord), run.model
    if data.split == "random":
        what = "its train, validation and test windows come from the same subjects"
        raise InputError("nothing was evaluated", [Problem(str(folder), "evaluate.random-split", what)])
    protocol = Protocol(
        kind=config.evaluation.protocol,
        split=data.split,
        parts=data.parts,
        evaluations=sum(each.part == HELD_OUT for each in run.evaluations),
        folds=_measure_folds(data, run, predictions),
    )
    computed = (
        fold_metrics.compute_pooled(predictions, spec.classes, config.evaluation)
        if protocol.folds
        else metrics.compute(predictions, classes=spec.classes, levels=spec.levels, settings=config.evaluation)
    )
    return EvalMetrics(
        **dict(computed),
        model=spec.settings.name,
        classes=spec.classes,
        parameters=spec.parameters,
        settings=config.evaluation,
        protocol=protocol,
        temporal=sequences.measure_smoothing(predictions, load(folder / HSMM, HsmmSpec), data.hop)
        if spec.smooths and not protocol.folds
        else None,
        confidence=calibration.measure_calibration(
            predictions, load(folder / CALIBRATION, ConfidenceRecord), config.evaluation
        ),
        checkpoint_sha256=files.sha256(folder / CHECKPOINT),
        predictions_sha256=files.sha256(folder / PREDICTIONS),
        fitted_sha256=files.sha256(folder / FITTED) if protocol.folds else None,
    )


def _measure_folds(data: DataRecord, run: RunRecord, pooled: Predictions) -> tuple[FoldMetrics, ...] | None:
    """Return the metrics of each fold of a cross-fitted run, else None."""
    if data.folds is None or run.folds is None:
        return None
    return tuple(
        FoldMetrics(
            name=fold.name,
            tested=fold.test,
            validated=fold.validation,
            **fold_metrics.compute_fold(fold_metrics.rows_of(pooled, fold.test), run.model.levels),
            checkpoint_sha256=trained.checkpoint_sha256,
            predictions_sha256=trained.predictions_sha256,
        )
        for fold, trained in zip(data.folds, run.folds, strict=True)
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
