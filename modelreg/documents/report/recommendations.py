"""Derive recommendations from the records of an evaluation.

Each rule yields a finding with its numbers and a recommendation, or nothing. Settings have the names of the training
configuration.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from modelreg.documents.report.formatting import counted, escape, listed, number, percent
from modelreg.documents.report.health import ailments
from modelreg.documents.templates import calibration_v2
from modelreg.documents.templates.card_v2 import UNKNOWN_TRAINING
from modelreg.records.calibration import SETS, ConfidenceMetrics, NoThreshold, Outcome, SetMetrics
from modelreg.records.data import DataRecord, QualityReport
from modelreg.records.metrics import CodeUsage, EvalMetrics, NoInterval
from modelreg.records.run import Epoch, RunRecord

CONFUSED_SHARE = 0.2  # of a class that is predicted as one other class: below, better training helps more than data
CONFUSED_WINDOWS = 5  # fewer may be a single labeling mistake
SUBJECT_GAP = 0.10  # users of the model notice ten points
SUBJECT_ERRORS = 3.0  # standard errors; more than 2, because overlapping windows are not independent
ONE_SIDED = 0.5  # smallest share of the calibration error that the mean gap must explain: over- or under-confident
OVERFIT_RISE = 0.2  # relative rise of the validation loss above its minimum: less is normal fluctuation
IMBALANCE = 10.0  # largest class / smallest class: above, the plain loss hardly depends on the smallest class
MISSED = 0.05  # of the coverage, if there is no interval: a few subjects vary by as much
SCALING: dict[Outcome, str] = {
    "applied": "Nothing is to be done: `predict`, exports and `serve` apply it.",
    "declined": "Use the probabilities as they are: a temperature would not reliably help another subject.",
    "too_few_subjects": "To find out whether it helps another subject, train with `--protocol kfold-subject`: then all "
    "subjects judge it.",
    "at_bound": "Calibrate on more subjects: the model is nearly always right, or nearly always wrong, on these.",
}
DROPPED_SHARE = 0.10  # of the windows of a split
TEST_SUBJECTS = {  # where the test subjects are configured, by the kind of the split
    "subject": "`split.test`",
    "time": "`split.test` of a split with `split.by: subject`",
    "given": "the splits in the source",
}


class Advice(NamedTuple):
    """A finding with its numbers, and a recommendation; both in Markdown, names escaped."""

    finding: str
    advice: str


def recommendations(
    metrics: EvalMetrics, data: DataRecord, run: RunRecord, history: Sequence[Epoch], quality: QualityReport | None
) -> list[Advice]:
    """Return the recommendations: first on the validity of the metrics, then on the errors, then on the training."""
    return [
        *_imported(run),
        *_baseline(metrics),
        *_evaluations(metrics),
        *_intervals(metrics),
        *_untested(metrics),
        *_untrained(metrics),
        *_confused(metrics, data),
        *_subjects(metrics),
        *_calibration(metrics),
        *_scaling(metrics),
        *_sets(metrics),
        *_imbalance(data),
        *_dropped(data),
        *_unfinished(run),
        *_overfit(history),
        *_starved_dimensions(metrics, run),
        *(Advice(f"{found.finding}.", found.advice) for found in ailments(metrics)),
        *_broken(quality),
    ]


def starved(codes: CodeUsage, levels: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return (dimension, levels used, levels) of each dimension that uses fewer than half of its levels."""
    pairs = enumerate(zip(codes.levels_used, levels, strict=False), 1)  # a codebook has no dimensions
    return [(i, used, of) for i, (used, of) in pairs if 2 * used < of]


def mean_confidence(metrics: EvalMetrics) -> float:
    """Return the mean confidence over all windows."""
    return sum(row.count * row.confidence for row in metrics.calibration.table) / metrics.windows


# Validity of the metrics


def _baseline(metrics: EvalMetrics) -> Iterator[Advice]:
    if metrics.accuracy <= (majority := metrics.baselines.majority_accuracy):
        yield Advice(
            f"The accuracy of {number(metrics.accuracy)} does not exceed the {number(majority)} of the majority-class "
            "baseline.",
            "Check that labels match the signals and that the training loss decreases. Then change "
            "`training.learning_rate` or increase `training.epochs`.",
        )


def _evaluations(metrics: EvalMetrics) -> Iterator[Advice]:
    part, times = metrics.protocol.part, metrics.protocol.evaluations
    if times > 1:
        yield Advice(
            f"The {part} split was evaluated {times} times with this run.",
            "Select models by their validation loss. Before you publish metrics, evaluate on subjects that were not "
            f"used for selection: see {TEST_SUBJECTS[metrics.protocol.split]}.",
        )


def _intervals(metrics: EvalMetrics) -> Iterator[Advice]:
    """Yield each reason for a missing interval."""
    reasons = dict.fromkeys(i.reason for i in metrics.intervals.values() if isinstance(i, NoInterval))
    for reason in reasons:
        yield Advice(
            f"No interval: {escape(reason)}.",
            f"{_more_subjects(metrics)} Without an interval, the uncertainty of the metrics is unknown.",
        )


def _more_subjects(metrics: EvalMetrics) -> str:
    if metrics.protocol.folds is not None:
        return "Record more subjects."
    return f"Add subjects to the test split: see {TEST_SUBJECTS[metrics.protocol.split]}."


def _untested(metrics: EvalMetrics) -> Iterator[Advice]:
    part = metrics.protocol.part
    if absent := [name for name in metrics.classes if not metrics.per_class[name].support]:
        yield Advice(
            f"Classes without a window in the {part} split: {listed(absent)}. They are not evaluated.",
            f"Choose test subjects with windows of every class: see {TEST_SUBJECTS[metrics.protocol.split]}.",
        )


# Errors


def _untrained(metrics: EvalMetrics) -> Iterator[Advice]:
    predicted = dict(zip(metrics.classes, map(sum, zip(*metrics.confusion, strict=True)), strict=True))
    for name in metrics.classes:
        row = metrics.per_class[name]
        if row.support == 0 or row.recall > 0:
            continue
        times = (
            f"predicted {counted(predicted[name], 'time')}, always incorrectly"
            if predicted[name]
            else "never predicted"
        )
        trained = metrics.protocol.parts.train.class_windows.get(name, 0)
        yield Advice(
            f"Class {escape(name)} has a recall of 0 on {counted(row.support, 'window')} and is {times}. The train "
            f"split has {counted(trained, 'window')} of it.",
            _teach(trained, metrics.protocol.split),
        )


def _teach(trained: int, split: str) -> str:
    """Return the recommendation for a class that was not learned from `trained` windows."""
    if not trained:
        return f"Keep subjects with windows of this class in the train split: see {TEST_SUBJECTS[split]}."
    return (
        "Set `training.class_weights: balanced` and increase `training.epochs`. If this does not help, record more "
        "data of this class."
    )


def _confused(metrics: EvalMetrics, data: DataRecord) -> Iterator[Advice]:
    """Yield each class whose errors are mostly predictions of one other class."""
    longer = "use longer windows in the source" if data.sources[0].kind == "npy" else "increase `data.window`"
    for row, (name, counts) in enumerate(zip(metrics.classes, metrics.confusion, strict=True)):
        total, misses = sum(counts), sum(counts) - counts[row]
        others = [count if column != row else -1 for column, count in enumerate(counts)]
        most = max(others)
        if most < CONFUSED_WINDOWS or 2 * most <= misses or most < CONFUSED_SHARE * total:
            continue
        other = metrics.classes[others.index(most)]
        yield Advice(
            f"Class {escape(name)} is predicted as {escape(other)} in {most:,} of {counted(total, 'window')} "
            f"({percent(most / total)}), which are {percent(most / misses)} of its errors.",
            "Check the recordings and labels of both classes. If they have the same meaning, merge them with `labels` "
            f"of the source. If they differ only over a longer time, {longer}.",
        )


def _subjects(metrics: EvalMetrics) -> Iterator[Advice]:
    """Yield each subject whose accuracy is significantly below that of all other subjects pooled."""
    right = {name: row.accuracy * row.windows for name, row in metrics.per_subject.items()}
    for name, row in metrics.per_subject.items():
        rest = metrics.windows - row.windows
        if not rest:
            return
        others = min(1.0, (sum(right.values()) - right[name]) / rest)
        error = math.sqrt(others * (1 - others) * (1 / row.windows + 1 / rest))
        if others - row.accuracy > max(SUBJECT_GAP, SUBJECT_ERRORS * error):
            yield Advice(
                f"Subject {escape(name)} has an accuracy of {number(row.accuracy)} on "
                f"{counted(row.windows, 'window')}. The pooled accuracy of all other subjects is {number(others)}.",
                "Check labels, device placement and body side of this subject's recordings. If the placement varies "
                "between subjects, set `augmentation.rotation_deg`.",
            )


def _calibration(metrics: EvalMetrics) -> Iterator[Advice]:
    """Yield miscalibration that remains after what is applied."""
    found = metrics.confidence
    error, high, table, when = metrics.calibration.ece, metrics.calibration.null_high, metrics.calibration.table, ""
    if isinstance(found, ConfidenceMetrics) and found.temperature.outcome == "applied":
        after = found.after.equal_mass
        error, high, table, when = after.error, after.null_high, after.table, " after temperature scaling"
    if error <= high:
        return
    confidence = sum(row.count * row.confidence for row in table) / metrics.windows
    gap = confidence - metrics.accuracy
    means = f"mean confidence {number(confidence)}, accuracy {number(metrics.accuracy)}"
    if abs(gap) < ONE_SIDED * error:
        what = "miscalibrated: its confidence is too high for some windows and too low for others"
        advice = "Do not interpret confidences as probabilities."
    elif gap > 0:
        what = "over-confident"
        advice = "Set `training.label_smoothing: 0.1`, or reduce `training.epochs`."
    else:
        what = "under-confident"
        advice = "Reduce `training.label_smoothing` if it is set, or increase `training.epochs`."
    yield Advice(
        f"The model is {what} ({means}). The calibration error{when} of {number(error)} exceeds the {number(high)} "
        "expected by chance.",
        advice,
    )


def _scaling(metrics: EvalMetrics) -> Iterator[Advice]:
    """Yield whether temperature scaling is applied, and why."""
    found = metrics.confidence
    if isinstance(found, ConfidenceMetrics):
        yield Advice(calibration_v2.temperature(found.temperature), SCALING[found.temperature.outcome])


def _sets(metrics: EvalMetrics) -> Iterator[Advice]:
    """Yield prediction sets that miss their level, and a promise that is not possible."""
    found = metrics.confidence
    if not isinstance(found, ConfidenceMetrics):
        return
    for kind in SETS:
        each = found.sets[kind]
        if isinstance(each, NoThreshold):
            needed = f"It needs {each.needed} {each.units}."
            yield Advice(escape(calibration_v2.sets(found, kind)), f"{needed} {_more_calibration(metrics)}")
        elif _misses(each, 1 - found.alpha):
            yield Advice(
                escape(calibration_v2.sets(found, kind)),
                f"Do not rely on the level for new subjects. {_more_calibration(metrics)}",
            )


def _more_calibration(metrics: EvalMetrics) -> str:
    if metrics.protocol.folds is not None:
        return "Record more subjects."
    return "Train with `--protocol kfold-subject` to calibrate on every subject."


def _misses(sets: SetMetrics, level: float) -> bool:
    """Return whether the coverage is below the level: by its interval, or by more than MISSED without one."""
    if isinstance(sets.interval, NoInterval):
        return sets.subject_mean < level - MISSED
    return sets.interval.high < level


# Training


def _imbalance(data: DataRecord) -> Iterator[Advice]:
    windows = {name: data.parts.train.class_windows.get(name, 0) for name in data.classes}
    most, least = max(windows, key=windows.__getitem__), min(windows, key=windows.__getitem__)
    if windows[most] > IMBALANCE * windows[least]:
        yield Advice(
            f"The classes are imbalanced: the train split has {counted(windows[most], 'window')} of {escape(most)} and "
            f"{windows[least]:,} of {escape(least)}.",
            _teach(windows[least], data.split),
        )


def _dropped(data: DataRecord) -> Iterator[Advice]:
    rule = " `data.labels: majority` keeps windows with more than one label." if data.labels == "pure" else ""
    for name, part in data.parts.items():
        share = part.dropped / (part.windows + part.dropped)
        if share > DROPPED_SHARE:
            yield Advice(
                f"In the {name} split, {part.dropped:,} of {counted(part.windows + part.dropped, 'window')} "
                f"({percent(share)}) were dropped.",
                "They have missing values or no label. `quality.missing` and `quality.max_fill_s` configure how "
                f"missing values are filled.{rule}",
            )


def _imported(run: RunRecord) -> Iterator[Advice]:
    if run.imported:
        yield Advice(
            f"The weights were imported. {UNKNOWN_TRAINING}",
            "Evaluate on recordings that are newer than the file to estimate performance on new subjects.",
        )


def _unfinished(run: RunRecord) -> Iterator[Advice]:
    if run.stopped == "epochs" and run.best_epoch == run.epochs:
        yield Advice(
            f"The last of {counted(run.epochs, 'epoch')} was the best: the validation loss was still decreasing.",
            f"Train longer: set `training.epochs: {2 * run.epochs}`.",
        )


def _overfit(history: Sequence[Epoch]) -> Iterator[Advice]:
    """Yield overfitting: the validation loss rose well above its minimum while the training loss decreased."""
    losses = {epoch.number: epoch.validation_loss for epoch in history if epoch.validation_loss is not None}
    if not losses:
        return
    lowest = min(losses, key=losses.__getitem__)
    best, last = next(epoch for epoch in history if epoch.number == lowest), history[-1]
    risen = losses.get(last.number, losses[lowest])
    if risen > (1 + OVERFIT_RISE) * losses[lowest] and last.train_loss < best.train_loss:
        yield Advice(
            f"Overfitting: from epoch {best.number} to epoch {last.number}, the validation loss rose from "
            f"{number(losses[lowest])} to {number(risen)} while the training loss fell from "
            f"{number(best.train_loss)} to {number(last.train_loss)}.",
            f"The report uses the weights of epoch {best.number}. To reduce overfitting, set `model.dropout`, "
            "`training.weight_decay` or the settings of `augmentation`.",
        )


def _starved_dimensions(metrics: EvalMetrics, run: RunRecord) -> Iterator[Advice]:
    if metrics.codes is None or not (found := starved(metrics.codes, run.model.grid)):
        return
    dimensions = ", ".join(f"{i} ({used} of {of})" for i, used, of in found)
    normalized = getattr(run.model.settings, "batchnorm_before_fsq", True)
    yield Advice(
        f"Fewer than half of the levels are used in dimension {dimensions} of the codes.",
        f"{'Reduce' if normalized else 'Set `model.batchnorm_before_fsq: true`, or reduce'} `model.levels`.",
    )


def _broken(quality: QualityReport | None) -> Iterator[Advice]:
    if quality is None or not (broken := [recording for recording in quality.recordings if recording.problems]):
        return
    worst = min(broken, key=lambda recording: recording.score)
    yield Advice(
        f"{len(broken):,} of {counted(len(quality.recordings), 'recording')} violate a threshold of the quality check. "
        f"The lowest score is {number(worst.score)} of 100 ({escape(worst.recording)}).",
        "The section on data quality lists them. Exclude recordings with `drop` of their source, set thresholds for "
        "your sensor in `quality.limits`, or set `quality.strict: true` to refuse such data.",
    )
