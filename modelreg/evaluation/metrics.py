"""Compute the metrics of recorded predictions: arrays in, a record out. Needs numpy only, so that `verify` can use it.

Every number follows from the predictions and the settings; the order of the windows does not matter. Random draws come
from `Generator.random` only: numpy keeps this stream stable, so that other versions give the same intervals.
Letters: N windows, K classes, S subjects, R replicates, G groups of equal confidence.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from modelreg.errors import InputError, Problem
from modelreg.evaluation import bootstrap
from modelreg.evaluation import tolerance as tolerances
from modelreg.records.base import Name, dotted
from modelreg.records.metrics import (
    Baselines,
    Calibration,
    ClassMetrics,
    ClusterUsage,
    CodeUsage,
    EvaluationSettings,
    Interval,
    Metrics,
    NoInterval,
    ReliabilityBin,
    SubjectMetrics,
)

NULL_QUANTILE = 0.95

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

_DTYPES = {
    "logits": "<f4",
    "y": "<i8",
    "subject": "U",
    "recording": "U",
    "start": "<i8",
    "code": "<i8",
    "cluster": "<i8",
}
ACTIVE_SHARE = 0.01  # of the windows: a cluster with fewer is not active
_OPTIONAL = {"code", "cluster"}
_NAMES = TypeAdapter(set[Name])


class Predictions(NamedTuple):
    """The logits and true classes of every window of a split (predictions.npz)."""

    logits: NDArray[np.float32]  # (N, K)
    y: Ints  # (N,) true class
    subject: NDArray[np.str_]  # (N,)
    recording: NDArray[np.str_]  # (N,)
    start: Ints  # (N,) first sample of the window in its recording
    code: Ints | None = None  # (N,) index of the quantizer's code
    cluster: Ints | None = None  # (N,) of a mixture

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays as `npz.npz_bytes` expects them, without those that are None."""
        return {name: array for name, array in self._asdict().items() if array is not None}

    def rows(self, chosen: Ints | NDArray[np.bool_]) -> "Predictions":
        """Return a subset of the windows, by indices or by a mask (N,)."""
        return Predictions(**{name: array[chosen] for name, array in self.arrays().items()})


def from_arrays(arrays: Mapping[str, NDArray[Any]], where: str, classes: int) -> Predictions:
    """Return the arrays of predictions.npz of a model with `classes` classes as Predictions.

    Raises InputError with every problem of dtype, shape, range and finiteness.
    """
    if problems := list(_array_problems(arrays, where, classes)):
        raise InputError("cannot read the predictions", problems)
    return Predictions(**arrays)


def compute(
    predictions: Predictions,
    *,
    classes: tuple[str, ...],
    levels: tuple[int, ...] | None,
    settings: EvaluationSettings,
) -> Metrics:
    """Return every metric of N >= 1 windows. `levels` are those of the quantizer, None without a quantizer.

    Raises InputError if a code is outside the range of the quantizer.
    """
    log_p = log_softmax(predictions.logits)
    subjects, by_subject = confusions(predictions)
    pooled = by_subject.sum(axis=0)
    scores = score(pooled)
    return Metrics(
        windows=len(predictions.y),
        accuracy=float(scores.accuracy),
        balanced_accuracy=float(scores.balanced_accuracy),
        macro_f1=float(scores.macro_f1),
        weighted_f1=float(scores.weighted_f1),
        log_loss=log_loss(log_p, predictions.y),
        brier=brier(log_p, predictions.y),
        calibration=_calibration(log_p, predictions, settings),
        baselines=_baselines(scores.support),
        per_class=_per_class(classes, scores),
        per_subject=_per_subject(subjects, by_subject),
        confusion=tuple(map(tuple, pooled.tolist())),
        codes=code_usage(predictions.code, levels),
        clusters=cluster_usage(predictions.cluster),
        intervals=intervals(by_subject, settings),
    )


def differences(recorded: Metrics, computed: Metrics, tolerance: float = tolerances.RECOMPUTED) -> Iterator[Problem]:
    """Yield the dotted path of every value of Metrics that differs, with both values.

    Counts and strings must be equal; other numbers may differ by `tolerance`, relative or absolute. `recorded` may
    be an EvalMetrics: only the fields of Metrics are compared.
    """
    theirs, ours = recorded.to_document(), computed.to_document()
    for name in Metrics.model_fields:
        yield from tolerances.differences((name,), theirs[name], ours[name], tolerance)


def log_softmax(logits: NDArray[np.floating[Any]]) -> Floats:
    """Return log probabilities (N, K), computed in float64. Finite logits give finite values."""
    wide = logits.astype(np.float64)
    shifted: Floats = wide - wide.max(axis=1, keepdims=True)
    total: Floats = np.exp(shifted).sum(axis=1, keepdims=True)
    return shifted - np.log(total)


def _array_problems(arrays: Mapping[str, NDArray[Any]], where: str, classes: int) -> Iterator[Problem]:
    for name in sorted(_DTYPES.keys() - _OPTIONAL - arrays.keys()):
        yield Problem(dotted(where, name), "predictions.array-missing", "array not found")
    for name in sorted(arrays.keys() - _DTYPES.keys()):
        expected = ", ".join(_DTYPES)
        yield Problem(dotted(where, name), "predictions.array-unexpected", f"unexpected array, expected {expected}")
    windows = next((len(arrays[name]) for name in ("y", "logits") if name in arrays and arrays[name].ndim), 0)
    if not windows:
        yield Problem(where, "predictions.no-windows", "contains 0 windows, expected at least 1")
    for name in [name for name in _DTYPES if name in arrays]:
        shape = (windows, classes) if name == "logits" else (windows,)
        yield from _problems_of(name, arrays[name], dotted(where, name), shape, classes)


def _problems_of(name: str, array: NDArray[Any], place: str, shape: tuple[int, ...], classes: int) -> Iterator[Problem]:
    if array.shape != shape:
        yield Problem(place, "predictions.shape-mismatch", f"shape is {array.shape}, expected {shape}")
    if not _has_dtype(array, _DTYPES[name]):
        what = f"dtype is {array.dtype.str}, expected {_DTYPES[name]}"
        yield Problem(place, "predictions.dtype-mismatch", what)
    elif name == "logits":
        yield from _finite_problems(array, place)
    elif array.dtype.kind == "U":
        yield from _name_problems(array, place)
    else:
        yield from _range_problems(array, place, classes if name == "y" else None)


def _has_dtype(array: NDArray[Any], expected: str) -> bool:
    if expected == "U":
        return array.dtype.kind == "U" and array.dtype.isnative
    return array.dtype == np.dtype(expected)


def _finite_problems(array: NDArray[Any], place: str) -> Iterator[Problem]:
    if count := int((~np.isfinite(array)).sum()):
        yield Problem(place, "predictions.not-finite", f"{count} of {array.size} values are NaN or infinite")


def _name_problems(array: NDArray[Any], place: str) -> Iterator[Problem]:
    try:
        _NAMES.validate_python(set(array.ravel().tolist()))
    except ValueError:  # raised by numpy for invalid Unicode, by pydantic for an invalid name
        what = "contains an invalid name, expected 1 to 100 characters without control characters"
        yield Problem(place, "predictions.invalid-name", what)


def _range_problems(array: NDArray[Any], place: str, end: int | None) -> Iterator[Problem]:
    if array.size and (array.min() < 0 or (end is not None and array.max() >= end)):
        bound = "at least 0" if end is None else f"0 to {end - 1}"
        what = f"values are {array.min()} to {array.max()}, expected {bound}"
        yield Problem(place, "predictions.out-of-range", what)


class Scores(NamedTuple):
    """Scores of confusion matrices (..., K, K); a ratio without a denominator is 0."""

    support: Ints  # (..., K)
    precision: Floats  # (..., K)
    recall: Floats  # (..., K)
    f1: Floats  # (..., K)
    accuracy: Floats  # (...)
    balanced_accuracy: Floats  # mean recall over the classes present
    macro_f1: Floats  # mean over all classes
    present_f1: Floats  # mean over the classes present
    weighted_f1: Floats  # mean weighted by support


def confusions(predictions: Predictions) -> tuple[list[str], Ints]:
    """Return the sorted subjects and one confusion matrix per subject (S, K, K): [true, predicted]."""
    subjects, member = np.unique(predictions.subject, return_inverse=True)
    shape = (len(subjects), predictions.logits.shape[1], predictions.logits.shape[1])
    cell = np.ravel_multi_index((member, predictions.y, predictions.logits.argmax(axis=1)), shape)
    return subjects.tolist(), np.bincount(cell, minlength=math.prod(shape)).reshape(shape)


def score(confusion: Ints) -> Scores:
    """Score confusion matrices (..., K, K), [true, predicted]."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)  # (..., K)
    support, claimed = confusion.sum(axis=-1), confusion.sum(axis=-2)
    recall, f1 = ratio(hits, support), ratio(2 * hits, support + claimed)
    windows, present = support.sum(axis=-1), support > 0
    return Scores(
        support=support,
        precision=ratio(hits, claimed),
        recall=recall,
        f1=f1,
        accuracy=ratio(hits.sum(axis=-1), windows),
        balanced_accuracy=ratio(recall.sum(axis=-1), present.sum(axis=-1)),
        macro_f1=f1.mean(axis=-1),
        present_f1=ratio((f1 * present).sum(axis=-1), present.sum(axis=-1)),
        weighted_f1=ratio((f1 * support).sum(axis=-1), windows),
    )


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """Return part / whole, and 0 where the whole is not positive."""
    ratio: Floats = np.divide(part, whole, out=np.zeros(np.shape(part)), where=np.asarray(whole) > 0)
    return ratio


def _per_class(classes: tuple[str, ...], scores: Scores) -> dict[str, ClassMetrics]:
    columns = (scores.precision, scores.recall, scores.f1, scores.support)
    return {
        name: ClassMetrics(precision=precision, recall=recall, f1=f1, support=support)
        for name, precision, recall, f1, support in zip(classes, *(column.tolist() for column in columns), strict=True)
    }


def _per_subject(subjects: list[str], by_subject: Ints) -> dict[str, SubjectMetrics]:
    """Return the scores of each subject; the macro F1 is over the classes in the subject's windows."""
    scores = score(by_subject)
    return {
        name: SubjectMetrics(windows=windows, accuracy=accuracy, macro_f1=macro_f1)
        for name, windows, accuracy, macro_f1 in zip(
            subjects,
            scores.support.sum(axis=1).tolist(),
            scores.accuracy.tolist(),
            scores.present_f1.tolist(),
            strict=True,
        )
    }


def _baselines(support: Ints) -> Baselines:
    return Baselines(majority_accuracy=float(support.max() / support.sum()), uniform_accuracy=1 / len(support))


def log_loss(log_p: Floats, y: Ints) -> float:
    """Return the mean negative log probability of the true class, in nats."""
    return abs(float(log_p[np.arange(len(y)), y].mean()))  # no log probability is above 0


def brier(log_p: Floats, y: Ints) -> float:
    """Return the sum over classes of the squared error, mean over windows: 0 to 2 (Brier 1950)."""
    error = np.exp(log_p)
    error[np.arange(len(y)), y] -= 1
    return float((error**2).sum(axis=1).mean())


class MassBins(NamedTuple):
    """Windows sorted by confidence, in groups of equal confidence and in bins of equal mass."""

    group_starts: Ints  # (G,)
    group_sizes: Ints  # (G,)
    starts: Ints  # (B,)
    counts: Ints  # (B,)


def _calibration(log_p: Floats, predictions: Predictions, settings: EvaluationSettings) -> Calibration:
    """Return the calibration of the top-1 confidence (Naeini 2015, with equal-mass bins)."""
    confidence = np.exp(log_p.max(axis=1)).round(12)  # equal but for the last bits: equal
    correct = (predictions.logits.argmax(axis=1) == predictions.y).astype(np.float64)
    order = np.argsort(confidence, kind="stable")
    bins = equal_mass_bins(confidence[order], settings.ece_bins)
    mean_confidence = _bin_means(confidence[order], bins)
    accuracy = _bin_means(correct[order], bins)
    null = _null_errors(confidence[order], bins, settings)
    return Calibration(
        ece=_error(mean_confidence, accuracy, bins),
        bins=len(bins.counts),
        null_mean=float(null.mean()),
        null_high=float(np.quantile(null, NULL_QUANTILE)),
        table=reliability(bins.counts, mean_confidence, accuracy),
    )


def equal_mass_bins(confidence: Floats, bins: int) -> MassBins:
    """Return sorted confidences (N,) cut into bins as by np.array_split; at most one bin per window."""
    parts = np.array_split(confidence, min(bins, len(confidence)))
    counts = np.array([len(part) for part in parts])
    _, group_starts, group_sizes = np.unique(confidence, return_index=True, return_counts=True)
    return MassBins(group_starts, group_sizes, np.cumsum(counts) - counts, counts)


def _bin_means(values: Floats, bins: MassBins) -> Floats:
    """Return the mean in each bin of sorted values (N,).

    Windows of equal confidence (common with a quantizer) are replaced by their mean first. Otherwise the result would
    depend on their order.
    """
    shared = np.add.reduceat(values, bins.group_starts) / bins.group_sizes
    means: Floats = np.add.reduceat(np.repeat(shared, bins.group_sizes), bins.starts) / bins.counts
    return means


def _error(confidence: Floats, accuracy: Floats, bins: MassBins) -> float:
    return float((bins.counts * np.abs(confidence - accuracy)).sum() / bins.counts.sum())


def _null_errors(confidence: Floats, bins: MassBins, settings: EvaluationSettings) -> Floats:
    """Return the errors (R,) of a perfectly calibrated model: each window is correct with its confidence."""
    random = np.random.default_rng([settings.seed, 0])
    expected = _bin_means(confidence, bins)
    draws = ((random.random(len(confidence)) < confidence).astype(np.float64) for _ in range(settings.replicates))
    return np.array([_error(expected, _bin_means(draw, bins), bins) for draw in draws])


def reliability(counts: Ints, confidence: Floats, accuracy: Floats) -> tuple[ReliabilityBin, ...]:
    """Return the rows of a reliability diagram from the columns (B,)."""
    columns = zip(counts.tolist(), confidence.tolist(), accuracy.tolist(), strict=True)
    return tuple(ReliabilityBin(count=n, confidence=c, accuracy=a) for n, c, a in columns)


def code_usage(code: Ints | None, levels: tuple[int, ...] | None) -> CodeUsage | None:
    """Return the usage of codes; index = sum of digit_i * product of the levels before i (Mentzer 2023, app. A)."""
    if code is None or levels is None:
        return None
    total = math.prod(levels)  # a Python integer: the product may exceed 2^63
    used, counts = np.unique(code, return_counts=True)
    if used[-1] >= total:
        what = f"values are {used[0]} to {used[-1]}, expected 0 to {total - 1}"
        problem = Problem("predictions.npz: code", "predictions.out-of-range", what)
        raise InputError("cannot compute the metrics", [problem])
    share = counts / counts.sum()
    bases = [math.prod(levels[:i]) for i in range(len(levels))]
    return CodeUsage(
        total=total,
        used=len(used),
        used_share=len(used) / total,
        perplexity=float(np.exp(-(share * np.log(share)).sum())),
        levels_used=tuple(
            len({index // basis % level for index in used.tolist()}) for basis, level in zip(bases, levels, strict=True)
        ),
    )


def cluster_usage(cluster: Ints | None) -> ClusterUsage | None:
    """Return the usage of clusters, by the cluster of each window (N,)."""
    if cluster is None:
        return None
    share = np.unique(cluster, return_counts=True)[1] / len(cluster)
    perplexity = float(np.exp(-(share * np.log(share)).sum()))
    return ClusterUsage(active=int((share >= ACTIVE_SHARE).sum()), perplexity=perplexity)


def intervals(by_subject: Ints, settings: EvaluationSettings) -> dict[Any, Interval | NoInterval]:
    """Return percentile intervals: subjects of confusions (S, K, K) are resampled with replacement and pooled."""
    names = ("accuracy", "balanced_accuracy", "macro_f1")
    times = bootstrap.draws(len(by_subject), settings)
    if isinstance(times, NoInterval):
        return dict.fromkeys(names, times)
    drawn = score(np.tensordot(times, by_subject, axes=1))
    return {name: bootstrap.interval(getattr(drawn, name), len(by_subject), settings) for name in names}
