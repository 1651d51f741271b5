"""Whether calibration.json of a version follows from what was predicted, and its metrics from both. numpy alone.

Temperature and thresholds are fitted again on the predictions of the validation part (validation.npz), and judged
again on those of the test part. Numbers may differ by the last bits of another machine's exponentials.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from modelreg import agreement, confidence, metrics, npz, registry
from modelreg.artifact_checks import Facts
from modelreg.errors import InputError, Problem
from modelreg.metrics import Predictions
from modelreg.records.base import load
from modelreg.records.calibration import ConfidenceRecord
from modelreg.records.metrics import EvalMetrics

TOLERANCE = 1e-9  # relative or absolute, of a number computed again


def find_problems(folder: Path, facts: Facts, measured: EvalMetrics) -> Iterator[Problem]:
    """Yield where the calibration is missing, is of something else, or does not follow from the predictions."""
    for name in (registry.CALIBRATION, registry.VALIDATION):
        if (name in facts.digests) != (measured.confidence is not None):
            what = "does not list" if measured.confidence else "has no numbers of what it is worth, but the version has"
            place = registry.MANIFEST if measured.confidence else registry.METRICS
            yield Problem(place, f"{what} {name}")
    if registry.CALIBRATION not in facts.present:
        return
    try:
        record = load(folder / registry.CALIBRATION, ConfidenceRecord)
        yield from _find_strangers(record, facts)
        if record.classes != facts.spec.classes:
            return
        if registry.VALIDATION in facts.present:
            yield from _find_fitting_problems(_read(folder, registry.VALIDATION, facts), record, facts, measured)
        if registry.PREDICTIONS in facts.present and measured.confidence:
            yield from _find_metric_problems(_read(folder, registry.PREDICTIONS, facts), record, measured)
    except InputError as error:
        yield from error.problems


def _read(folder: Path, name: str, facts: Facts) -> Predictions:
    return metrics.from_arrays(npz.read(folder / name), name, len(facts.spec.classes))


def _find_strangers(record: ConfidenceRecord, facts: Facts) -> Iterator[Problem]:
    for key, stated, other in (
        ("classes", record.classes, facts.spec.classes),
        ("checkpoint_sha256", record.checkpoint_sha256, facts.digests.get(registry.CHECKPOINT)),
        ("validation_digest", record.validation_digest, facts.data.parts.validation.digest),
    ):
        if stated != other:
            yield Problem(f"{registry.CALIBRATION}: {key}", f"is {stated}, but the version has {other}")


def _find_fitting_problems(
    validation: Predictions, record: ConfidenceRecord, facts: Facts, measured: EvalMetrics
) -> Iterator[Problem]:
    """See that the predictions are of the whole validation part, and fit on them again."""
    part = facts.data.parts.validation
    counts = np.bincount(validation.y, minlength=len(record.classes)).tolist()
    if sorted(set(validation.subject.tolist())) != sorted(part.subjects):
        yield Problem(f"{registry.VALIDATION}: subjects", f"are not those of {registry.DATA}")
    if dict(zip(record.classes, counts, strict=True)) != part.class_windows:
        yield Problem(f"{registry.VALIDATION}: windows of each class", f"are not those of {registry.DATA}")
    origin = confidence.Origin(record.classes, record.checkpoint_sha256, record.validation_digest)
    again = confidence.fit(validation, origin, level=measured.settings.level, alpha=record.alpha)
    found = agreement.differences((), record.to_document(), again.to_document(), TOLERANCE)
    yield from (Problem(f"{registry.CALIBRATION}: {place}", what) for place, what in found)


def _find_metric_problems(
    predictions: Predictions, record: ConfidenceRecord, measured: EvalMetrics
) -> Iterator[Problem]:
    stated = measured.confidence.to_document() if measured.confidence else {}
    again = confidence.measure(predictions, record, measured.settings).to_document()
    found = agreement.differences(("confidence",), stated, again, TOLERANCE)
    yield from (Problem(f"{registry.METRICS}: {place}", what) for place, what in found)
