"""Reproduce a version's metrics: from its weights and the data, or from the data alone.

The data must have the recorded digest. On the same machine with the same package versions, predictions and retrained
weights have the same bytes. On others, the last bits of a logit differ, and a window close to the border of two codes
may get the other code: evaluation/tolerance.py has the limits. Weights trained on another machine differ: their metrics
must be inside the recorded intervals.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from modelreg import files
from modelreg.artifacts import npz
from modelreg.data import preparation
from modelreg.data.cache import Reading
from modelreg.data.preparation import Prepared
from modelreg.documents.report.formatting import HEADLINE
from modelreg.errors import InputError, Notice, Problem
from modelreg.evaluation import metrics, tolerance
from modelreg.evaluation.metrics import Predictions
from modelreg.records.base import load
from modelreg.records.metrics import EvalMetrics, EvaluationSettings, Interval, Metrics
from modelreg.records.run import Environment, RunRecord
from modelreg.registry import filenames
from modelreg.verification.verify import CheckResult
from modelreg.workflows import evaluation_run, inference, run_checks, sources, training_run

EXACT = ("y", "subject", "recording", "start")


# From weights and data


def reproduce(folder: Path, reading: Reading) -> CheckResult:
    """Predict the test split of a version again, and compute its metrics again.

    Raises InputError if the weights are not on this machine, or the data are not found or have changed.
    """
    _refuse_absent(folder)
    config, run = sources.configuration(folder, reading), load(folder / filenames.RUN, RunRecord)
    prepared = preparation.prepare(config, reading)
    run_checks.refuse_other_data(folder, prepared)
    windows = prepared.windows[evaluation_run.HELD_OUT]
    again = inference.predict(folder, run.model, windows, threads=run.environment.threads)
    recorded = load(folder / filenames.METRICS, EvalMetrics)
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


def _refuse_absent(folder: Path) -> None:
    if not (folder / filenames.CHECKPOINT).is_file():
        what = "stored with the release, but not on this machine"
        raise InputError("nothing was reproduced", [Problem(filenames.CHECKPOINT, "version.asset-missing", what)])


def _metrics(predictions: Predictions, run: RunRecord, settings: EvaluationSettings) -> Metrics:
    spec = run.model
    return metrics.compute(predictions, classes=spec.classes, levels=spec.levels, settings=settings)


def _metric_problems(recorded: Metrics, computed: Metrics) -> Iterator[Problem]:
    for name in HEADLINE:
        pair = getattr(recorded, name), getattr(computed, name)
        found = tolerance.differences((name,), *pair, tolerance.REPRODUCED_METRIC)
        yield from (problem.under(filenames.METRICS) for problem in found)


def _compared(old: Predictions, new: Predictions, problems: list[Problem]) -> CheckResult:
    """Compare predictions of the same windows."""
    where = filenames.PREDICTIONS
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
    windows = prepared.windows[evaluation_run.HELD_OUT]
    again = inference.predict(place, run.model, windows, threads=environment.threads)
    return _within_intervals(recorded, _metrics(again, run, recorded.settings), differences)


def _training_differences(run: RunRecord, environment: Environment) -> Iterator[Problem]:
    """Yield what differs from the environment in which the run was trained or resumed."""
    differences = list(run_checks.environment_differences(run.environment, environment))
    yield from differences
    if run.resumed_by and not any(each.where == "modelreg" for each in differences):
        what = f"is {environment.modelreg}, but the run was resumed with {', '.join(run.resumed_by)}"
        yield Problem("modelreg", "train.environment-mismatch", what)


def _within_intervals(recorded: EvalMetrics, computed: Metrics, differences: list[Problem]) -> CheckResult:
    names = ", ".join(problem.where for problem in differences)
    problems, notices = (
        [],
        [Notice(filenames.CHECKPOINT, f"retrained weights differ from it, as expected: {names} differ")],
    )
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
