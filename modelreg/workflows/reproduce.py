"""Whether a version's numbers can be made again: from its weights and the data, or from the data alone.

The data are found by digest: others are refused. On the machine and versions that made a version, predictions have
the very same bytes, and so have weights that are trained again. Elsewhere the last bits of a logit differ, and a
window whose projection lies on the border between two codes may get the other one: evaluation/tolerance.py says how
far that may go. Weights trained elsewhere are other weights: their metrics must lie in the recorded intervals.
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
    """Predict the held-out part of a version again, and compute its metrics again.

    Raises InputError where the weights are not on this machine, or the data are not found or not those recorded.
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
            (), (Notice(filenames.PREDICTIONS, f"predicted again: the same bytes, {len(again.y)} windows"),)
        )
    computed = _metrics(again, run, recorded.settings)
    problems = list(_metric_problems(recorded, computed))
    if not (folder / filenames.PREDICTIONS).is_file():
        what = f"is not on this machine; metrics computed again lie within {tolerance.REPRODUCED_METRIC:g}"
        return CheckResult(tuple(problems), () if problems else (Notice(filenames.PREDICTIONS, what),))
    old = metrics.from_arrays(
        npz.read_npz(folder / filenames.PREDICTIONS), filenames.PREDICTIONS, len(run.model.classes)
    )
    return _compared(old, again, problems)


def _refuse_absent(folder: Path) -> None:
    if not (folder / filenames.CHECKPOINT).is_file():
        what = "is not on this machine; get it with `modelreg pull`"
        raise InputError("cannot reproduce", [Problem(filenames.CHECKPOINT, "todo.reproduce", what)])


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
    strange = [name for name in EXACT if not np.array_equal(getattr(old, name), getattr(new, name))]
    if strange:
        found = [Problem(f"{where}: {name}", "todo.reproduce", "is not that of the data") for name in strange]
        return CheckResult((*problems, *found), ())
    recoded = np.zeros(len(new.y), dtype=bool) if old.code is None or new.code is None else old.code != new.code
    off = np.abs(old.logits - new.logits) > tolerance.LOGIT * np.maximum(1, np.abs(old.logits))
    wrong, share = int((off.any(axis=1) & ~recoded).sum()), float(recoded.mean())
    if wrong:
        problems.append(
            Problem(f"{where}: logits", "todo.reproduce", f"of {wrong} windows differ by more than {tolerance.LOGIT:g}")
        )
    if share > tolerance.RECODED:
        problems.append(
            Problem(
                f"{where}: code",
                "todo.reproduce",
                f"of {share:.2%} of the windows is another, at most {tolerance.RECODED:.0%} may",
            )
        )
    largest = float(np.abs(old.logits - new.logits)[~recoded].max(initial=0))
    said = f"predicted again: logits within {largest:.1e} (tolerance {tolerance.LOGIT:g}), {recoded.sum()} codes differ"
    return CheckResult(tuple(problems), () if problems else (Notice(where, said),))


# From the data alone


def restart(folder: Path, place: Path, reading: Reading, environment: Environment, now: str) -> Prepared:
    """Start a run in `place` as the version's own was started, from its configuration and seed.

    Raises InputError where nothing was trained, or the data are not those recorded.
    """
    run = load(folder / filenames.RUN, RunRecord)
    if run.imported:
        what = f"was imported from {run.imported.file}: nothing was trained"
        raise InputError("cannot train again", [Problem(filenames.CHECKPOINT, "todo.reproduce", what)])
    prepared = training_run.start(sources.configuration(folder, reading), place, reading, environment, now)
    run_checks.refuse_other_data(folder, prepared)
    return prepared


def judge_training(folder: Path, place: Path, prepared: Prepared, environment: Environment) -> CheckResult:
    """Hold the weights of a run that was trained again against those of the version.

    Where anything differs that a training depends on, other weights are to be expected, and their metrics count.
    """
    recorded, run = load(folder / filenames.METRICS, EvalMetrics), load(folder / filenames.RUN, RunRecord)
    if files.sha256(place / filenames.CHECKPOINT) == recorded.checkpoint_sha256:
        return CheckResult((), (Notice(filenames.CHECKPOINT, "trained again: the same bytes"),))
    differences = list(_training_differences(run, environment))
    if not differences:
        return CheckResult(
            (Problem(filenames.CHECKPOINT, "todo.reproduce", "trained again on the same versions: other weights"),), ()
        )
    windows = prepared.windows[evaluation_run.HELD_OUT]
    again = inference.predict(place, run.model, windows, threads=environment.threads)
    return _within_intervals(recorded, _metrics(again, run, recorded.settings), differences)


def _training_differences(run: RunRecord, environment: Environment) -> Iterator[Problem]:
    """Yield what a training depends on and was different when the run was trained, or resumed."""
    differences = list(run_checks.environment_differences(run.environment, environment))
    yield from differences
    if run.resumed_by and not any(each.where == "modelreg" for each in differences):
        yield Problem(
            "modelreg",
            "todo.reproduce",
            f"is {environment.modelreg}, but the run was resumed with {', '.join(run.resumed_by)}",
        )


def _within_intervals(recorded: EvalMetrics, computed: Metrics, differences: list[Problem]) -> CheckResult:
    names = ", ".join(problem.where for problem in differences)
    problems, notices = [], [Notice(filenames.CHECKPOINT, f"trained again, other weights: {names} differ")]
    for name, interval in recorded.intervals.items():
        place, value = f"{filenames.METRICS}: {name}", getattr(computed, name)
        if not isinstance(interval, Interval):
            what = f"trained again {value:.4f}, recorded {getattr(recorded, name):.4f}; not judged: {interval.reason}"
            notices.append(Notice(place, what))
        elif not interval.low <= value <= interval.high:
            what = f"trained again {value:.4f}, outside of {interval.low:.4f} to {interval.high:.4f}"
            problems.append(Problem(place, "todo.reproduce", what))
        else:
            what = f"trained again {value:.4f}, inside of {interval.low:.4f} to {interval.high:.4f}"
            notices.append(Notice(place, what))
    return CheckResult(tuple(problems), tuple(notices))
