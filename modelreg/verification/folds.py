"""Check that the numbers of a cross-fitted version follow from its pooled out-of-fold predictions. Requires only numpy.

Every subject must be tested in exactly one fold, and must not be in another split of that fold. The numbers of a fold,
and the digest of its predictions, are computed again from the rows of its test subjects in predictions.npz.
"""

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from modelreg import files
from modelreg.artifacts import npz
from modelreg.errors import Problem
from modelreg.evaluation import fold_metrics, tolerance
from modelreg.evaluation import metrics as scores
from modelreg.records.data import DataRecord, FoldSplit
from modelreg.records.metrics import EvalMetrics, FoldMetrics
from modelreg.records.model import ModelSpec
from modelreg.records.run import RunRecord, TrainedFold
from modelreg.registry import filenames
from modelreg.verification.version_files import VersionFiles, equal, unlisted

READ = (filenames.PREDICTIONS, filenames.FITTED)


def find_problems(
    here: VersionFiles, spec: ModelSpec, metrics: EvalMetrics, data: DataRecord, run: RunRecord
) -> Iterator[Problem]:
    """Yield where the folds of the documents differ, overlap, or do not follow from the predictions.

    Raises InputError if a file cannot be read.
    """
    measured, divided, trained = metrics.protocol.folds or (), data.folds or (), run.folds or ()
    yield from equal(filenames.METRICS, "protocol.kind", metrics.protocol.kind, metrics.settings.protocol)
    names = [fold.name for fold in measured]
    yield from equal(filenames.DATA, "folds", [fold.name for fold in divided], names)
    yield from equal(filenames.RUN, "folds", [fold.name for fold in trained], names)
    yield from equal(filenames.METRICS, "fitted_sha256", metrics.fitted_sha256, here.digests.get(filenames.FITTED))
    if not names:
        return
    if filenames.FITTED not in here.digests:
        yield unlisted(filenames.FITTED)
    for fold, split, own in zip(measured, divided, trained, strict=False):
        yield from _find_differences(fold, split)
        for key in ("checkpoint_sha256", "predictions_sha256"):
            yield from equal(filenames.RUN, f"folds.{fold.name}.{key}", getattr(own, key), getattr(fold, key))
        weights = here.digests.get(f"{filenames.FOLDS}/{fold.name}/{filenames.CHECKPOINT}", fold.checkpoint_sha256)
        yield from equal(
            filenames.METRICS, f"protocol.folds.{fold.name}.checkpoint_sha256", fold.checkpoint_sha256, weights
        )
    yield from _find_division_problems(divided, data.parts.train.subjects)
    yield from _find_final_problems(run, trained) if trained else ()
    if filenames.PREDICTIONS in here.present:
        yield from _find_value_problems(here, spec, measured)
    if filenames.FITTED in here.present:
        yield from _find_fitted_problems(here, spec, data)


def _find_differences(fold: FoldMetrics, split: FoldSplit) -> Iterator[Problem]:
    """Compare a fold in the metrics with the same fold in data.json."""
    place = f"protocol.folds.{fold.name}"
    for key, stated, other in (
        ("tested", fold.tested, split.test),
        ("validated", fold.validated, split.validation),
        ("windows", fold.windows, split.windows),
    ):
        yield from equal(filenames.METRICS, f"{place}.{key}", stated, other)


def _find_division_problems(folds: Sequence[FoldSplit], subjects: Sequence[str]) -> Iterator[Problem]:
    """Yield subjects that are not tested in exactly one fold, and folds whose splits share subjects."""
    tested = Counter(name for fold in folds for name in fold.test)
    for name in sorted({*subjects, *tested}):
        if tested[name] != 1 or name not in subjects:
            what = f"subject {name} is in the test set of {tested[name]} folds, expected 1"
            yield Problem(f"{filenames.DATA}: folds", "verify.test-subject-known", what)
    for fold in folds:
        if known := {*fold.test} & {*fold.train, *fold.validation}:
            what = f"test subjects {', '.join(sorted(known))} are also in the training or validation split"
            yield Problem(f"{filenames.DATA}: folds.{fold.name}", "verify.test-subject-known", what)
        everyone = sorted({*fold.train, *fold.validation, *fold.test})
        yield from equal(filenames.DATA, f"subjects of folds.{fold.name}", everyone, sorted(subjects))


def _find_final_problems(run: RunRecord, trained: Sequence[TrainedFold]) -> Iterator[Problem]:
    """Check that the final model was trained for the median of the folds' best epochs."""
    epochs = math.ceil(statistics.median(fold.best_epoch for fold in trained))
    yield from equal(filenames.RUN, "epochs", run.epochs, epochs)
    rates = epochs if run.learning_rates is None else len(run.learning_rates)
    yield from equal(filenames.RUN, "number of learning_rates", rates, epochs)


def _find_value_problems(here: VersionFiles, spec: ModelSpec, folds: Sequence[FoldMetrics]) -> Iterator[Problem]:
    pooled = _read(here, filenames.PREDICTIONS, spec)
    for fold in folds:
        place = f"protocol.folds.{fold.name}"
        own = fold_metrics.rows_of(pooled, fold.tested)
        if not len(own.y):
            yield from equal(filenames.METRICS, f"{place}.windows", fold.windows, 0)
            continue
        again = fold.model_copy(update=fold_metrics.compute_fold(own, spec.levels))
        found = tolerance.differences((place,), fold.to_document(), again.to_document(), tolerance.RECOMPUTED)
        yield from (problem.under(filenames.METRICS) for problem in found)
        digest = files.sha256_bytes(npz.npz_bytes(own.arrays()))
        yield from equal(filenames.METRICS, f"{place}.predictions_sha256", fold.predictions_sha256, digest)


def _find_fitted_problems(here: VersionFiles, spec: ModelSpec, data: DataRecord) -> Iterator[Problem]:
    """Check that fitted.npz has the windows that the final model was trained on."""
    fitted, trained = _read(here, filenames.FITTED, spec), data.parts.train
    windows = set(zip(fitted.recording.tolist(), fitted.start.tolist(), strict=True))
    subjects = sorted(set(fitted.subject.tolist()))
    yield from equal(filenames.FITTED, "subjects", subjects, sorted(trained.subjects))
    yield from equal(filenames.FITTED, "distinct windows", len(windows), trained.windows)


def _read(here: VersionFiles, name: str, spec: ModelSpec) -> scores.Predictions:
    return scores.from_arrays(npz.read_npz(here.folder / name), name, len(spec.classes))
