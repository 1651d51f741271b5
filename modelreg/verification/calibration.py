"""Whether calibration.json of a version follows from what was predicted, and its metrics from both. numpy alone.

Temperature and thresholds are fitted again on the predictions of the validation part (validation.npz), and judged
again on those of the test part. Numbers may differ by the last bits of another machine's exponentials.
"""

from collections.abc import Iterator

import numpy as np

from modelreg.artifacts import npz
from modelreg.errors import Problem
from modelreg.evaluation import calibration, tolerance
from modelreg.evaluation import metrics as scores
from modelreg.evaluation.metrics import Predictions
from modelreg.records.base import load
from modelreg.records.calibration import ConfidenceRecord
from modelreg.records.data import DataRecord
from modelreg.records.metrics import EvalMetrics
from modelreg.records.model import ModelSpec
from modelreg.registry import filenames
from modelreg.verification.version_files import VersionFiles

READ = (filenames.CALIBRATION, filenames.VALIDATION, filenames.PREDICTIONS)


def find_problems(here: VersionFiles, spec: ModelSpec, data: DataRecord, metrics: EvalMetrics) -> Iterator[Problem]:
    """Yield where the calibration is missing, is of something else, or does not follow from the predictions.

    Raises InputError where a file cannot be read.
    """
    for name in (filenames.CALIBRATION, filenames.VALIDATION):
        if (name in here.digests) != (metrics.confidence is not None):
            what = "does not list" if metrics.confidence else "has no numbers of what it is worth, but the version has"
            place = filenames.MANIFEST if metrics.confidence else filenames.METRICS
            yield Problem(place, "todo.calibration", f"{what} {name}")
    if filenames.CALIBRATION not in here.present:
        return
    record = load(here.folder / filenames.CALIBRATION, ConfidenceRecord)
    yield from _find_strangers(record, here, spec, data)
    if record.classes != spec.classes:
        return
    if filenames.VALIDATION in here.present:
        yield from _find_fitting_problems(_read(here, filenames.VALIDATION, spec), record, data, metrics)
    if filenames.PREDICTIONS in here.present and metrics.confidence:
        yield from _find_metric_problems(_read(here, filenames.PREDICTIONS, spec), record, metrics)


def _read(here: VersionFiles, name: str, spec: ModelSpec) -> Predictions:
    return scores.from_arrays(npz.read_npz(here.folder / name), name, len(spec.classes))


def _find_strangers(
    record: ConfidenceRecord, here: VersionFiles, spec: ModelSpec, data: DataRecord
) -> Iterator[Problem]:
    for key, stated, other in (
        ("classes", record.classes, spec.classes),
        ("checkpoint_sha256", record.checkpoint_sha256, here.digests.get(filenames.CHECKPOINT)),
        ("validation_digest", record.validation_digest, data.parts.validation.digest),
    ):
        if stated != other:
            yield Problem(
                f"{filenames.CALIBRATION}: {key}", "todo.calibration", f"is {stated}, but the version has {other}"
            )


def _find_fitting_problems(
    validation: Predictions, record: ConfidenceRecord, data: DataRecord, measured: EvalMetrics
) -> Iterator[Problem]:
    """See that the predictions are of the whole validation part, and fit on them again."""
    part = data.parts.validation
    counts = np.bincount(validation.y, minlength=len(record.classes)).tolist()
    if sorted(set(validation.subject.tolist())) != sorted(part.subjects):
        yield Problem(f"{filenames.VALIDATION}: subjects", "todo.calibration", f"are not those of {filenames.DATA}")
    if dict(zip(record.classes, counts, strict=True)) != part.class_windows:
        yield Problem(
            f"{filenames.VALIDATION}: windows of each class", "todo.calibration", f"are not those of {filenames.DATA}"
        )
    origin = calibration.Origin(record.classes, record.checkpoint_sha256, record.validation_digest)
    again = calibration.fit_calibration(validation, origin, level=measured.settings.level, alpha=record.alpha)
    found = tolerance.differences((), record.to_document(), again.to_document(), tolerance.RECOMPUTED)
    yield from (problem.under(filenames.CALIBRATION) for problem in found)


def _find_metric_problems(
    predictions: Predictions, record: ConfidenceRecord, measured: EvalMetrics
) -> Iterator[Problem]:
    stated = measured.confidence.to_document() if measured.confidence else {}
    again = calibration.measure_calibration(predictions, record, measured.settings).to_document()
    found = tolerance.differences(("confidence",), stated, again, tolerance.RECOMPUTED)
    yield from (problem.under(filenames.METRICS) for problem in found)
