"""Reproduce a version's metrics: from its weights and the data, or from the data alone.

The data must have the recorded digest. On the same machine with the same package versions, predictions and retrained
weights have the same bytes. On others, the last bits of a logit differ, and a window close to the border of two codes
may get the other code: evaluation/tolerance.py has the limits. Weights trained on another machine differ: their metrics
must be inside the recorded intervals.

The weights of a cross-fitted version were trained on all subjects. They are compared by their predictions for these
windows (fitted.npz). The predictions that the metrics come from are those of the folds, which are compared where the
weights of the folds are at hand: in the run, or in a version that has them.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from modelreg import files
from modelreg.artifacts import npz
from modelreg.config import SubjectSplit, TrainConfig
from modelreg.data import preparation, splits
from modelreg.data.cache import Reading
from modelreg.data.preparation import Prepared
from modelreg.data.recording import Windows
from modelreg.documents.report.formatting import HEADLINE
from modelreg.errors import InputError, Notice, Problem
from modelreg.evaluation import fold_metrics, metrics, tolerance
from modelreg.evaluation.metrics import Predictions
from modelreg.records.base import Clock, load
from modelreg.records.data import DataRecord, Normalization
from modelreg.records.metrics import EvalMetrics, EvaluationSettings, Interval, Metrics
from modelreg.records.run import Environment, Epoch, RunRecord, TrainedFold
from modelreg.registry import filenames
from modelreg.verification.verify import CheckResult
from modelreg.workflows import (
    cross_fitting,
    evaluation_run,
    inference,
    run_checks,
    sources,
    training_run,
)
from modelreg.workflows.cross_validation import Fold

ALL = "all"  # folds
EXACT = ("y", "subject", "recording", "start")


# From weights and data


def reproduce(folder: Path, reading: Reading, runs: Sequence[Path] = ()) -> CheckResult:
    """Predict the test split of a version again, and compute its metrics again.

    Of a cross-fitted version, predict the windows of its training again, and those of each fold whose weights are in
    the version or in one of `runs`.

    Raises InputError if the weights are not on this machine, or the data are not found or have changed.
    """
    _refuse_absent(folder)
    config, run = sources.configuration(folder, reading), load(folder / filenames.RUN, RunRecord)
    prepared = preparation.prepare(config, reading)
    run_checks.refuse_other_data(folder, prepared)
    recorded = load(folder / filenames.METRICS, EvalMetrics)
    if run.folds is not None:
        final = _reproduce_fitted(folder, run, recorded, prepared.windows["train"])
        return _joined([final, *_reproduce_folds(folder, run, config, reading, (folder, *runs))])
    windows = prepared.windows[evaluation_run.HELD_OUT]
    again = inference.predict(folder, run.model, windows, threads=run.environment.threads)
    if files.sha256_bytes(npz.npz_bytes(again.arrays())) == recorded.predictions_sha256:
        return CheckResult(
            (), (Notice(filenames.PREDICTIONS, f"reproduced: identical bytes for {len(again.y)} windows"),)
        )
    computed = _metrics(again, run, recorded.settings)
    problems = list(_metric_problems(recorded, computed))
    if not (folder / filenames.PREDICTIONS).is_file():
        what = f"is not on this machine; reproduced metrics differ by at most {tolerance.REPRODUCED_METRIC:g}"
        return CheckResult(tuple(problems), () if problems else (Notice(filenames.PREDICTIONS, what),))
    old = metrics.from_arrays(
        npz.read_npz(folder / filenames.PREDICTIONS), filenames.PREDICTIONS, len(run.model.classes)
    )
    return _compared(old, again, problems)


def _refuse_absent(folder: Path, name: str = filenames.CHECKPOINT) -> None:
    if not (folder / name).is_file():
        what = "stored with the release, but not on this machine"
        raise InputError("nothing was reproduced", [Problem(name, "version.asset-missing", what)])


def _joined(found: Sequence[CheckResult]) -> CheckResult:
    return CheckResult(
        tuple(problem for each in found for problem in each.problems),
        tuple(notice for each in found for notice in each.notices),
    )


def _reproduce_fitted(folder: Path, run: RunRecord, recorded: EvalMetrics, windows: Windows) -> CheckResult:
    """Predict the windows that the final model was trained on, and compare with fitted.npz."""
    again = inference.predict(folder, run.model, windows, threads=run.environment.threads)
    if files.sha256_bytes(npz.npz_bytes(again.arrays())) == recorded.fitted_sha256:
        return _identical(filenames.FITTED, again)
    _refuse_absent(folder, filenames.FITTED)
    old = metrics.from_arrays(npz.read_npz(folder / filenames.FITTED), filenames.FITTED, len(run.model.classes))
    return _compared(old, again, [], filenames.FITTED)


def _identical(where: str, again: Predictions) -> CheckResult:
    return CheckResult((), (Notice(where, f"reproduced: identical bytes for {len(again.y)} windows"),))


def _reproduce_folds(
    folder: Path, run: RunRecord, config: TrainConfig, reading: Reading, places: Sequence[Path]
) -> Iterator[CheckResult]:
    """Yield the result of each fold whose weights are below one of `places`, and a notice of the others."""
    _refuse_absent(folder, filenames.PREDICTIONS)
    path = folder / filenames.PREDICTIONS
    pooled = metrics.from_arrays(npz.read_npz(path), path.name, len(run.model.classes))
    planned = {
        fold.folder.name: fold
        for fold in cross_fitting.folds_of(folder, config, load(folder / filenames.DATA, DataRecord))
    }
    absent = []
    for trained in run.folds or ():
        weights = _weights(trained, places)
        if weights is None:
            absent.append(trained.name)
        else:
            yield _reproduce_fold(planned[trained.name], trained, weights, pooled, reading, run.environment.threads)
    if absent:
        what = f"not reproduced: the weights of {', '.join(absent)} are not on this machine"
        yield CheckResult((), (Notice(filenames.FOLDS, what),))


def _weights(fold: TrainedFold, places: Sequence[Path]) -> Path | None:
    """Return the folder with the weights of a fold, and their normalization; None if there is none."""
    for place in places:
        own = place / filenames.FOLDS / fold.name
        found = [(own / name).is_file() for name in (filenames.CHECKPOINT, filenames.NORMALIZATION)]
        if all(found) and files.sha256(own / filenames.CHECKPOINT) == fold.checkpoint_sha256:
            return own
    return None


def _reproduce_fold(
    fold: Fold, trained: TrainedFold, weights: Path, pooled: Predictions, reading: Reading, threads: int
) -> CheckResult:
    """Predict the test subjects of a fold again, and compare with their rows in predictions.npz."""
    where = f"{filenames.FOLDS}/{fold.folder.name}"
    prepared = preparation.prepare(fold.config, reading)
    if prepared.normalization != load(weights / filenames.NORMALIZATION, Normalization):
        what = "the recordings now give another value than the recorded one"
        problem = Problem(f"{where}/{filenames.NORMALIZATION}", "run.data-changed", what)
        raise InputError("the data have changed", [problem])
    spec = training_run.spec_of(fold.config, prepared)
    again = inference.predict(weights, spec, prepared.windows[evaluation_run.HELD_OUT], threads=threads)
    if files.sha256_bytes(npz.npz_bytes(again.arrays())) == trained.predictions_sha256:
        return _identical(where, again)
    tested = splits.named(fold.config.split.test) if isinstance(fold.config.split, SubjectSplit) else ()
    return _compared(fold_metrics.rows_of(pooled, tested), again, [], where)


def _metrics(predictions: Predictions, run: RunRecord, settings: EvaluationSettings) -> Metrics:
    spec = run.model
    return metrics.compute(predictions, classes=spec.classes, levels=spec.levels, settings=settings)


def _metric_problems(recorded: Metrics, computed: Metrics) -> Iterator[Problem]:
    for name in HEADLINE:
        pair = getattr(recorded, name), getattr(computed, name)
        found = tolerance.differences((name,), *pair, tolerance.REPRODUCED_METRIC)
        yield from (problem.under(filenames.METRICS) for problem in found)


def _compared(
    old: Predictions, new: Predictions, problems: list[Problem], where: str = filenames.PREDICTIONS
) -> CheckResult:
    """Compare predictions of the same windows; `where` is what holds the old ones."""
    differing = [name for name in EXACT if not np.array_equal(getattr(old, name), getattr(new, name))]
    if differing:
        what = "differs from that of the data"
        found = [Problem(f"{where}: {name}", "reproduce.windows-mismatch", what) for name in differing]
        return CheckResult((*problems, *found), ())
    recoded = np.zeros(len(new.y), dtype=bool) if old.code is None or new.code is None else old.code != new.code
    off = np.abs(old.logits - new.logits) > tolerance.LOGIT * np.maximum(1, np.abs(old.logits))
    wrong, share = int((off.any(axis=1) & ~recoded).sum()), float(recoded.mean())
    if wrong:
        what = f"logits of {wrong} windows differ by more than {tolerance.LOGIT:g} (relative)"
        problems.append(Problem(where, "reproduce.logits-mismatch", what))
    if share > tolerance.RECODED:
        what = f"the codes of {share:.2%} of the windows differ, expected at most {tolerance.RECODED:.0%}"
        problems.append(Problem(where, "reproduce.codes-mismatch", what))
    largest = float(np.abs(old.logits - new.logits)[~recoded].max(initial=0))
    what = f"reproduced: logits within {largest:.1e} (tolerance {tolerance.LOGIT:g}), {recoded.sum()} codes differ"
    return CheckResult(tuple(problems), () if problems else (Notice(where, what),))


# From the data alone


def restart(folder: Path, place: Path, reading: Reading, environment: Environment, now: str) -> Prepared:
    """Start a run in `place` with the configuration and the seed of a version.

    Raises InputError if the version was imported, or the data have changed.
    """
    run = load(folder / filenames.RUN, RunRecord)
    if run.imported:
        what = f"was imported from {run.imported.file}"
        raise InputError("nothing was trained", [Problem(filenames.CHECKPOINT, "run.imported", what)])
    prepared = training_run.start(sources.configuration(folder, reading), place, reading, environment, now)
    run_checks.refuse_other_data(folder, prepared)
    return prepared


def retrain(place: Path, run: RunRecord, prepared: Prepared, environment: Environment, clock: Clock) -> Iterator[Epoch]:
    """Train a run that was started again to its end; that of a cross-fitted version as its folds determined."""
    yield from training_run.train(place, prepared, environment, clock, cross_fitting.recorded_outcome(run))


def chosen_folds(folder: Path, name: str, place: Path, reading: Reading) -> tuple[Fold, ...]:
    """Return a fold of a cross-fitted version by its name, or `all`, as runs below `place`.

    Raises InputError if the version has no such fold.
    """
    config, data = sources.configuration(folder, reading), load(folder / filenames.DATA, DataRecord)
    found = cross_fitting.folds_of(place, config, data)
    chosen = tuple(fold for fold in found if name in (ALL, fold.folder.name))
    if not chosen:
        known = ", ".join(fold.folder.name for fold in found) or "none: the version is not cross-fitted"
        what = f"no such fold; folds of the version: {known}"
        raise InputError("nothing was trained", [Problem(name, "reproduce.fold-unknown", what)])
    return chosen


def judge_fold(folder: Path, fold: Fold, environment: Environment) -> CheckResult:
    """Compare the weights of a fold that was trained and evaluated again with those of the version."""
    run, recorded = load(folder / filenames.RUN, RunRecord), load(folder / filenames.METRICS, EvalMetrics)
    where, name = f"{filenames.FOLDS}/{fold.folder.name}", fold.folder.name
    digests = {trained.name: trained.checkpoint_sha256 for trained in run.folds or ()}
    if files.sha256(fold.folder / filenames.CHECKPOINT) == digests[name]:
        return CheckResult((), (Notice(where, "retrained: identical bytes"),))
    differences = list(_training_differences(run, environment))
    if not differences:
        what = "retrained weights differ from it, in the same environment"
        return CheckResult((Problem(where, "reproduce.weights-mismatch", what),), ())
    old = next(each for each in recorded.protocol.folds or () if each.name == name)
    new = load(fold.folder / filenames.METRICS, EvalMetrics)
    what = f"{_expected(differences)}; accuracy {new.accuracy:.4f}, recorded {old.accuracy:.4f}"
    return CheckResult((), (Notice(where, what),))


def judge_training(folder: Path, place: Path, prepared: Prepared, environment: Environment) -> CheckResult:
    """Compare the weights of a run that was trained again with those of the version.

    If the environment differs, other weights are expected, and their metrics are compared with the recorded intervals.
    """
    recorded, run = load(folder / filenames.METRICS, EvalMetrics), load(folder / filenames.RUN, RunRecord)
    if files.sha256(place / filenames.CHECKPOINT) == recorded.checkpoint_sha256:
        return CheckResult((), (Notice(filenames.CHECKPOINT, "retrained: identical bytes"),))
    differences = list(_training_differences(run, environment))
    if not differences:
        what = "retrained weights differ from it, in the same environment"
        return CheckResult((Problem(filenames.CHECKPOINT, "reproduce.weights-mismatch", what),), ())
    if run.folds is not None:
        what = f"{_expected(differences)}; the final model was not tested, so nothing else was compared"
        return CheckResult((), (Notice(filenames.CHECKPOINT, what),))
    windows = prepared.windows[evaluation_run.HELD_OUT]
    again = inference.predict(place, run.model, windows, threads=environment.threads)
    return _within_intervals(recorded, _metrics(again, run, recorded.settings), differences)


def _expected(differences: Sequence[Problem]) -> str:
    names = ", ".join(problem.where for problem in differences)
    return f"retrained weights differ from it, as expected: {names} differ"


def _training_differences(run: RunRecord, environment: Environment) -> Iterator[Problem]:
    """Yield what differs from the environment in which the run was trained or resumed."""
    differences = list(run_checks.environment_differences(run.environment, environment))
    yield from differences
    if run.resumed_by and not any(each.where == "modelreg" for each in differences):
        what = f"is {environment.modelreg}, but the run was resumed with {', '.join(run.resumed_by)}"
        yield Problem("modelreg", "train.environment-mismatch", what)


def _within_intervals(recorded: EvalMetrics, computed: Metrics, differences: list[Problem]) -> CheckResult:
    problems, notices = [], [Notice(filenames.CHECKPOINT, _expected(differences))]
    for name, interval in recorded.intervals.items():
        place, value = f"{filenames.METRICS}: {name}", getattr(computed, name)
        if not isinstance(interval, Interval):
            what = f"retrained {value:.4f}, recorded {getattr(recorded, name):.4f}; not compared: {interval.reason}"
            notices.append(Notice(place, what))
        elif not interval.low <= value <= interval.high:
            what = f"retrained {value:.4f}, outside the recorded interval {interval.low:.4f} to {interval.high:.4f}"
            problems.append(Problem(place, "reproduce.metric-outside-interval", what))
        else:
            what = f"retrained {value:.4f}, inside the recorded interval {interval.low:.4f} to {interval.high:.4f}"
            notices.append(Notice(place, what))
    return CheckResult(tuple(problems), tuple(notices))
