"""Check that calibration.json follows from the predictions that it was fitted on, and its metrics. Requires only numpy.

Temperature scaling and conformal thresholds are fitted again, by the rules of the document's schema version: on the
validation split (validation.npz), or on the out-of-fold predictions of all subjects (predictions.npz). They are judged
again on predictions.npz. Numbers may differ in the last bits: exponentials differ between machines.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from modelreg import files
from modelreg.artifacts import npz
from modelreg.errors import Problem
from modelreg.evaluation import calibration, calibration_v1, tolerance
from modelreg.evaluation import metrics as scores
from modelreg.evaluation.metrics import Predictions
from modelreg.records.base import load
from modelreg.records.calibration import AnyConfidenceRecord, ConfidenceRecord, kind_of
from modelreg.records.data import DataRecord, PartRecord
from modelreg.records.metrics import EvalMetrics
from modelreg.records.model import ModelSpec
from modelreg.registry import filenames
from modelreg.verification.version_files import VersionFiles, equal, unlisted

READ = (filenames.CALIBRATION, filenames.VALIDATION, filenames.PREDICTIONS)


def find_problems(here: VersionFiles, spec: ModelSpec, data: DataRecord, metrics: EvalMetrics) -> Iterator[Problem]:
    """Yield where the calibration is missing, is of another model, or does not follow from the predictions.

    Raises InputError if a file cannot be read.
    """
    source = filenames.PREDICTIONS if data.parts.validation is None else filenames.VALIDATION
    for name in (filenames.CALIBRATION, *([] if source == filenames.PREDICTIONS else [source])):
        if metrics.confidence and name not in here.digests:
            yield unlisted(name)
        elif name in here.digests and not metrics.confidence:
            yield from equal(filenames.METRICS, "confidence", None, f"metrics of {name}")
    if filenames.CALIBRATION not in here.present:
        return
    record = read(here.folder / filenames.CALIBRATION)
    fitted_on = data.parts.validation or data.parts.train
    yield from _find_strangers(record, here, spec, fitted_on)
    if record.classes != spec.classes:
        return
    if source in here.present:
        yield from _find_fitting_problems(_read(here, source, spec), source, record, fitted_on, metrics)
    if filenames.PREDICTIONS in here.present and metrics.confidence:
        yield from _find_metric_problems(_read(here, filenames.PREDICTIONS, spec), record, metrics)


def read(path: Path) -> AnyConfidenceRecord:
    """Read a calibration.json of any schema version. Raises InputError."""
    return load(path, kind_of(files.read_bytes(path, ConfidenceRecord.SIZE_LIMIT), path.name))


def _read(here: VersionFiles, name: str, spec: ModelSpec) -> Predictions:
    return scores.from_arrays(npz.read_npz(here.folder / name), name, len(spec.classes))


def _find_strangers(
    record: AnyConfidenceRecord, here: VersionFiles, spec: ModelSpec, fitted_on: PartRecord
) -> Iterator[Problem]:
    for key, stated, other in (
        ("classes", record.classes, spec.classes),
        ("checkpoint_sha256", record.checkpoint_sha256, here.digests.get(filenames.CHECKPOINT)),
        ("validation_digest", record.validation_digest, fitted_on.digest),
    ):
        yield from equal(filenames.CALIBRATION, key, stated, other)


def _find_fitting_problems(
    fitted: Predictions, name: str, record: AnyConfidenceRecord, split: PartRecord, measured: EvalMetrics
) -> Iterator[Problem]:
    """Check that the predictions of a file cover the whole split, and fit on them again."""
    counts = np.bincount(fitted.y, minlength=len(record.classes)).tolist()
    windows = dict(zip(record.classes, counts, strict=True))
    yield from equal(name, "subjects", sorted(set(fitted.subject.tolist())), sorted(split.subjects))
    yield from equal(name, "windows of each class", windows, split.class_windows)
    again = _fit(fitted, record, measured)
    found = tolerance.differences((), record.to_document(), again.to_document(), tolerance.RECOMPUTED)
    yield from (problem.under(filenames.CALIBRATION) for problem in found)


def _fit(fitted: Predictions, record: AnyConfidenceRecord, measured: EvalMetrics) -> AnyConfidenceRecord:
    """Fit again by the rules of the record's schema version."""
    origin = calibration.Origin(record.classes, record.checkpoint_sha256, record.validation_digest)
    if isinstance(record, ConfidenceRecord):
        return calibration.fit_calibration(fitted, origin, alpha=record.alpha)
    return calibration_v1.fit_calibration(fitted, origin, level=measured.settings.level, alpha=record.alpha)


def _find_metric_problems(
    predictions: Predictions, record: AnyConfidenceRecord, measured: EvalMetrics
) -> Iterator[Problem]:
    stated = measured.confidence.to_document() if measured.confidence else {}
    again = calibration.measure_calibration(predictions, record, measured.settings).to_document()
    found = tolerance.differences(("confidence",), stated, again, tolerance.RECOMPUTED)
    yield from (problem.under(filenames.METRICS) for problem in found)
