"""What the numbers of an evaluation suggest to do next.

Each rule reads records and yields what it found with the numbers it found, and what to change; it yields nothing
where the numbers call for nothing. A setting is named as the training's YAML file has it.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from modelreg.documents.report.formatting import counted, escape, listed, number, percent
from modelreg.documents.report.health import ailments
from modelreg.documents.templates.card_v1 import UNKNOWN_TRAINING
from modelreg.records.data import DataRecord, QualityReport
from modelreg.records.metrics import CodeUsage, EvalMetrics, NoInterval
from modelreg.records.run import Epoch, RunRecord

CONFUSED_SHARE = (
    0.2  # of a class that goes to one other: below, better training is the likelier remedy than better data
)
CONFUSED_WINDOWS = 5  # fewer may be one slip of the hand that labelled
SUBJECT_GAP = 0.10  # ten points below the others is what a user of the model notices
SUBJECT_ERRORS = 3.0  # standard errors; more than two, because windows that overlap are not independent
ONE_SIDED = 0.5  # of the calibration error that the mean gap must make up before it is called over- or under-confidence
OVERFIT_RISE = 0.2  # of the validation loss above its best: less is its usual unrest
IMBALANCE = 10.0  # largest over smallest class: from there on the plain loss hardly sees the smallest
DROPPED_SHARE = 0.10  # of the windows of a part: more, and the part is no longer what was recorded
HELD_OUT = {  # where it is said who is held out, by the kind of the split
    "subject": "`split.test`",
    "time": "`split.test` of a split with `split.by: subject`",
    "given": "the parts that the source gives",
}


class Advice(NamedTuple):
    """What was found, with its numbers, and what to change; both in Markdown, names escaped."""

    finding: str
    advice: str


def recommendations(
    metrics: EvalMetrics, data: DataRecord, run: RunRecord, history: Sequence[Epoch], quality: QualityReport | None
) -> list[Advice]:
    """Return what the records call for, the gravest first: doubts about the result, its failures, then its making."""
    return [
        *_imported(run),
        *_baseline(metrics),
        *_looks(metrics),
        *_intervals(metrics),
        *_untested(metrics),
        *_untrained(metrics),
        *_confused(metrics, data),
        *_subjects(metrics),
        *_calibration(metrics),
        *_imbalance(data),
        *_dropped(data),
        *_unfinished(run),
        *_overfit(history),
        *_starved_dimensions(metrics, run),
        *(Advice(f"{found.finding}.", found.advice) for found in ailments(metrics)),
        *_broken(quality),
    ]


def starved(codes: CodeUsage, levels: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return dimension, levels used and levels of each dimension of a grid that uses under half of its levels."""
    pairs = enumerate(zip(codes.levels_used, levels, strict=False), 1)  # a codebook has no dimensions
    return [(i, used, of) for i, (used, of) in pairs if 2 * used < of]


def mean_confidence(metrics: EvalMetrics) -> float:
    """Return the mean confidence over all windows."""
    return sum(row.count * row.confidence for row in metrics.calibration.table) / metrics.windows


# Doubts about the result


def _baseline(metrics: EvalMetrics) -> Iterator[Advice]:
    if metrics.accuracy <= (majority := metrics.baselines.majority_accuracy):
        yield Advice(
            f"The accuracy of {number(metrics.accuracy)} is no better than the {number(majority)} of a model that "
            "always answers the commonest class.",
            "Check first that labels and signals belong together and that the training loss falls; then try another "
            "`training.learning_rate` or more `training.epochs`.",
        )


def _looks(metrics: EvalMetrics) -> Iterator[Advice]:
    part, times = metrics.protocol.part, metrics.protocol.evaluations
    if times > 1:
        yield Advice(
            f"The {part} part of this run was evaluated {times} times.",
            "Choose between models by their validation loss. Before a number is published, set subjects aside that no "
            f"choice has seen: see {HELD_OUT[metrics.protocol.split]}.",
        )


def _intervals(metrics: EvalMetrics) -> Iterator[Advice]:
    """Yield each reason for which there is no interval; it says how many subjects there are and how many it needs."""
    reasons = dict.fromkeys(i.reason for i in metrics.intervals.values() if isinstance(i, NoInterval))
    for reason in reasons:
        yield Advice(
            f"There is no interval: {escape(reason)}.",
            f"Hold out more subjects: see {HELD_OUT[metrics.protocol.split]}. Without an interval nothing says how "
            "far another group of subjects would differ.",
        )


def _untested(metrics: EvalMetrics) -> Iterator[Advice]:
    part = metrics.protocol.part
    if absent := [name for name in metrics.classes if not metrics.per_class[name].support]:
        yield Advice(
            f"The {part} part has no window of {listed(absent)}: nothing is known of how well it is recognised.",
            f"Hold out subjects who show every class: see {HELD_OUT[metrics.protocol.split]}.",
        )


# Its failures


def _untrained(metrics: EvalMetrics) -> Iterator[Advice]:
    predicted = dict(zip(metrics.classes, map(sum, zip(*metrics.confusion, strict=True)), strict=True))
    for name in metrics.classes:
        row = metrics.per_class[name]
        if row.support == 0 or row.recall > 0:
            continue
        times = (
            f"predicted {counted(predicted[name], 'time')}, each time wrongly" if predicted[name] else "never predicted"
        )
        trained = metrics.protocol.parts.train.class_windows.get(name, 0)
        yield Advice(
            f"An untrained class: {escape(name)} was {times}; none of its {counted(row.support, 'window')} was "
            f"recognised. It has {counted(trained, 'window')} in the training part.",
            _teach(trained, metrics.protocol.split),
        )


def _teach(trained: int, split: str) -> str:
    """Return what to change for a class that so many windows of the training part did not teach."""
    if not trained:
        return f"Leave subjects who show it in the training part: see {HELD_OUT[split]}."
    return "Try `training.class_weights: balanced` and more `training.epochs`; if it stays, record more of it."


def _confused(metrics: EvalMetrics, data: DataRecord) -> Iterator[Advice]:
    """Yield each class of whose misses most go to one other class."""
    longer = "cut longer windows" if data.sources[0].kind == "npy" else "enlarge `data.window`"
    for row, (name, counts) in enumerate(zip(metrics.classes, metrics.confusion, strict=True)):
        total, misses = sum(counts), sum(counts) - counts[row]
        others = [count if column != row else -1 for column, count in enumerate(counts)]
        most = max(others)
        if most < CONFUSED_WINDOWS or 2 * most <= misses or most < CONFUSED_SHARE * total:
            continue
        taken = metrics.classes[others.index(most)]
        yield Advice(
            f"{escape(name)} is taken for {escape(taken)} in {most:,} of its {counted(total, 'window')} "
            f"({percent(most / total)}), which is {percent(most / misses)} of its misses.",
            "Look at the recordings and labels of both. If they mean the same, give them one name in the `labels` of "
            f"the source; if they differ only over a longer time, {longer}.",
        )


def _subjects(metrics: EvalMetrics) -> Iterator[Advice]:
    """Yield each subject who is far below all others taken together, and not by chance."""
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
                f"{counted(row.windows, 'window')}, all others together {number(others)}.",
                "Look at this subject's recordings: labels, placement and side of the device. Where devices sit "
                "differently from subject to subject, try `augmentation.rotation_deg`.",
            )


def _calibration(metrics: EvalMetrics) -> Iterator[Advice]:
    calibration, confidence = metrics.calibration, mean_confidence(metrics)
    if calibration.ece <= calibration.null_high:
        return
    gap = confidence - metrics.accuracy
    means = f"mean confidence {number(confidence)}, accuracy {number(metrics.accuracy)}"
    if abs(gap) < ONE_SIDED * calibration.ece:
        what, advice = "too high in some places and too low in others", "Do not read confidences as probabilities."
    elif gap > 0:
        what, advice = (
            "over-confident",
            "Try `training.label_smoothing: 0.1`, or stop earlier with fewer `training.epochs`.",
        )
    else:
        what, advice = (
            "under-confident",
            "Lower `training.label_smoothing` where it is set, or train for more `training.epochs`.",
        )
    yield Advice(
        f"The confidences are {what}: {means}. The calibration error of {number(calibration.ece)} lies above "
        f"{number(calibration.null_high)}, which a calibrated model would stay below in 95 % of draws.",
        advice,
    )


# Its making


def _imbalance(data: DataRecord) -> Iterator[Advice]:
    windows = {name: data.parts.train.class_windows.get(name, 0) for name in data.classes}
    most, least = max(windows, key=windows.__getitem__), min(windows, key=windows.__getitem__)
    if windows[most] > IMBALANCE * windows[least]:
        yield Advice(
            f"The training part has {counted(windows[most], 'window')} of {escape(most)} and "
            f"{windows[least]:,} of {escape(least)}.",
            _teach(windows[least], data.split),
        )


def _dropped(data: DataRecord) -> Iterator[Advice]:
    rule = "; `data.labels: majority` keeps windows of more than one label" if data.labels == "pure" else ""
    for name, part in data.parts.items():
        share = part.dropped / (part.windows + part.dropped)
        if share > DROPPED_SHARE:
            yield Advice(
                f"Of the {name} part, {part.dropped:,} of {counted(part.windows + part.dropped, 'window')} were "
                f"dropped ({percent(share)}).",
                "They hold missing values or have no label. Missing values are filled as `quality.missing` and "
                f"`quality.max_fill_s` say{rule}.",
            )


def _imported(run: RunRecord) -> Iterator[Advice]:
    if run.imported:
        yield Advice(
            f"The weights were imported. {UNKNOWN_TRAINING}",
            "If so, these numbers say nothing about new people: test on recordings that are newer than the file.",
        )


def _unfinished(run: RunRecord) -> Iterator[Advice]:
    if run.stopped == "epochs" and run.best_epoch == run.epochs:
        yield Advice(
            f"The last of {counted(run.epochs, 'epoch')} was the best: the model was still improving.",
            f"Train longer: `training.epochs: {2 * run.epochs}`.",
        )


def _overfit(history: Sequence[Epoch]) -> Iterator[Advice]:
    """Yield where the validation loss rose well above its best while the training loss fell on."""
    if not history:
        return
    best, last = min(history, key=lambda epoch: epoch.validation_loss), history[-1]
    if last.validation_loss > (1 + OVERFIT_RISE) * best.validation_loss and last.train_loss < best.train_loss:
        yield Advice(
            f"Overfitting: the validation loss was {number(best.validation_loss)} in epoch {best.number} and "
            f"{number(last.validation_loss)} in epoch {last.number}, while the training loss fell from "
            f"{number(best.train_loss)} to {number(last.train_loss)}.",
            "The best weights were kept, so this cost time only; to get more out of the data try `model.dropout`, "
            "`training.weight_decay` or the settings of `augmentation`.",
        )


def _starved_dimensions(metrics: EvalMetrics, run: RunRecord) -> Iterator[Advice]:
    if metrics.codes is None or not (found := starved(metrics.codes, run.model.grid)):
        return
    dimensions = ", ".join(f"{i} ({used} of {of})" for i, used, of in found)
    first = (
        "" if getattr(run.model.settings, "batchnorm_before_fsq", True) else "`model.batchnorm_before_fsq: true`, or "
    )
    yield Advice(
        f"Under half of the levels are used in dimension {dimensions} of the codes.",
        f"Try {first}fewer `model.levels`.",
    )


def _broken(quality: QualityReport | None) -> Iterator[Advice]:
    if quality is None or not (broken := [recording for recording in quality.recordings if recording.problems]):
        return
    worst = min(broken, key=lambda recording: recording.score)
    yield Advice(
        f"{len(broken):,} of {counted(len(quality.recordings), 'recording')} break a threshold of the quality check, "
        f"the worst {escape(worst.recording)} with a score of {number(worst.score)} of 100.",
        "The data quality section lists them. Leave recordings out with `drop` of their source, set thresholds that "
        "fit the sensor in `quality.limits`, or refuse to train with `quality.strict: true`.",
    )
