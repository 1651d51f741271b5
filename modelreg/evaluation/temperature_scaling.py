"""Temperature scaling, and calibration errors of probabilities. Needs numpy only, so that `verify` can repeat it.

Every error is a statistic of bins: the number of windows, the sum of their probabilities, the number of hits. It is
computed for all windows, for labels drawn from the probabilities (the error expected by chance), and for resampled
subjects with unchanged bins.

Many windows may have equal probabilities (common with a quantizer). If such a group crosses the edge of an equal-mass
bin, both bins share it as one piece, so that the order of windows does not matter.
Letters: N windows, K classes, S subjects, R replicates, P pieces, B bins (of every class together).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelreg.evaluation import bootstrap, metrics
from modelreg.evaluation.metrics import Floats, Ints, Predictions
from modelreg.records.calibration_parts import BrierParts, CalibrationError, CalibrationMetrics, Reliability
from modelreg.records.metrics import EvaluationSettings, Interval, NoInterval

LOG_BOUND = 3.0  # search range from exp(-3) to exp(3), or 0.05 to 20
CLOSE = 1e-14  # of log T: the search ends with a smaller step
STEPS = 100  # at most; halving alone needs 50


class Temperature(NamedTuple):
    """A fitted temperature, and the mean log loss before and after it, in nats."""

    value: float
    at_bound: bool  # the log loss would decrease further beyond the bounds
    before: float
    after: float


class Bins(NamedTuple):
    """The inputs of an error; any leading axes, the last axis is that of the bins."""

    windows: Floats  # (..., B)
    expected: Floats  # (..., B) sum of the probabilities
    hits: Floats  # (..., B) windows whose true class is the class of the bin


Statistic: TypeAlias = Callable[[Bins], Floats]  # (..., B) each -> (...)
Cut: TypeAlias = Callable[[Floats, int], tuple[Ints, Floats]]  # values (N,) -> piece (N,), spread (P, B)


class _Binning(NamedTuple):
    """The assignment of each class of each window to bins."""

    piece: Ints  # (N, K)
    spread: Floats  # (P, B) the share of each piece in each bin; a row of zeros for classes without a bin


def fit_temperature(logits: NDArray[np.float32], y: Ints) -> Temperature:
    """Return the T that minimizes the log loss of softmax(logits / T); logits (N, K), N >= 1 (Guo 2017).

    The log loss is convex in 1/T, so its slope changes sign once, and a search over log T finds this point. T is 1 if
    the loss does not depend on it.
    """
    log_t = _best_log_temperature(logits.astype(np.float64), y)
    value = float(np.exp(log_t))
    before, after = (log_loss(logits, y, t) for t in (1.0, value))
    return Temperature(value, abs(log_t) == LOG_BOUND, before, after)


def log_loss(logits: NDArray[np.float32], y: Ints, temperature: float) -> float:
    """Return the mean log loss of softmax(logits / temperature), in nats."""
    return metrics.log_loss(log_probabilities(logits, temperature), y)


def log_probabilities(logits: NDArray[np.float32], temperature: float | Floats = 1.0) -> Floats:
    """Return the logarithm of softmax(logits / temperature), (N, K), computed in float64.

    `temperature` is one number, or that of each window (N,).
    """
    divisor = temperature if isinstance(temperature, float) else temperature[:, None]
    return metrics.log_softmax(logits.astype(np.float64) / divisor)


def measure_calibration_error(
    predictions: Predictions, settings: EvaluationSettings, temperature: float = 1.0, each: Floats | None = None
) -> CalibrationMetrics:
    """Return the calibration of the probabilities of N >= 1 windows at a temperature.

    With `each` (N,), every window is measured at its own temperature, and the record states `temperature`.
    """
    log_p = log_probabilities(predictions.logits, temperature if each is None else each)
    p, top = np.exp(log_p).round(12), predictions.logits.argmax(axis=1)  # equal but for the last bits: equal
    binnings = (
        _of_top_class(p, top, equal_width, settings.ece_bins),
        _of_top_class(p, top, equal_mass, settings.ece_bins),
        _of_every_class(p, equal_width, settings.ece_bins),
        _of_every_class(p, equal_mass, settings.ece_bins),
    )
    found = [_bins_by_subject(binning, p, predictions) for binning in binnings]
    nulls = _null_hits(p, binnings, settings)
    errors = [_judge(bins, null, calibration_error, settings) for bins, null in zip(found, nulls, strict=True)]
    return CalibrationMetrics(
        temperature=temperature,
        log_loss=metrics.log_loss(log_p, predictions.y),
        brier=metrics.brier(log_p, predictions.y),
        equal_width=_with_table(errors[0], found[0]),
        equal_mass=_with_table(errors[1], found[1]),
        class_wise=errors[2],
        adaptive=errors[3],
        parts=_brier_parts(p, predictions.y, binnings[2], found[2], nulls[2], settings),
    )


# Bins


def equal_width(values: Floats, count: int) -> tuple[Ints, Floats]:
    """Assign values (N,) from 0 to 1 to equal-width bins (low, high]; the first bin is closed."""
    edges = np.linspace(0, 1, count + 1).round(12)
    return np.searchsorted(edges[1:-1], values), np.eye(count)


def equal_mass(values: Floats, count: int) -> tuple[Ints, Floats]:
    """Assign values (N,) to equal-mass bins; at most one bin per window."""
    order = np.argsort(values, kind="stable")
    bins = metrics.equal_mass_bins(values[order], count)
    ends, group_ends = np.cumsum(bins.counts), bins.group_starts + bins.group_sizes
    first, last = (np.searchsorted(ends, at, side="right") for at in (bins.group_starts, group_ends - 1))
    across = np.flatnonzero(first != last)
    group_piece = first.copy()
    group_piece[across] = len(ends) + np.arange(len(across))
    shared = np.minimum(group_ends[across, None], ends) - np.maximum(bins.group_starts[across, None], bins.starts)
    spread = np.vstack([np.eye(len(ends)), shared.clip(min=0) / bins.group_sizes[across, None]])
    piece = np.empty(len(values), dtype=np.int64)
    piece[order] = np.repeat(group_piece, bins.group_sizes)
    return piece, spread


def _of_top_class(p: Floats, top: Ints, cut: Cut, bins: int) -> _Binning:
    rows = np.arange(len(p))
    piece, spread = cut(p[rows, top], bins)
    pieces = np.full(p.shape, len(spread))
    pieces[rows, top] = piece
    return _Binning(pieces, np.vstack([spread, np.zeros(spread.shape[1])]))


def _of_every_class(p: Floats, cut: Cut, bins: int) -> _Binning:
    cuts = [cut(column, bins) for column in p.T]
    rows = np.cumsum([0] + [spread.shape[0] for _, spread in cuts])
    columns = np.cumsum([0] + [spread.shape[1] for _, spread in cuts])
    whole = np.zeros((rows[-1], columns[-1]))
    for k, (_, spread) in enumerate(cuts):
        whole[rows[k] : rows[k + 1], columns[k] : columns[k + 1]] = spread
    return _Binning(np.stack([piece + rows[k] for k, (piece, _) in enumerate(cuts)], axis=1), whole)


def _bins_by_subject(binning: _Binning, p: Floats, predictions: Predictions) -> Bins:
    """Return the bins (S, B) of each subject, sorted by name."""
    subjects, member = np.unique(predictions.subject, return_inverse=True)
    shape = (len(subjects), len(binning.spread))
    cell = member[:, None] * shape[1] + binning.piece  # (N, K)
    hit = cell[np.arange(len(cell)), predictions.y]
    counted = (
        np.bincount(cell.ravel(), minlength=shape[0] * shape[1]),
        np.bincount(cell.ravel(), weights=p.ravel(), minlength=shape[0] * shape[1]),
        np.bincount(hit, minlength=shape[0] * shape[1]),
    )
    return Bins(*(count.reshape(shape) @ binning.spread for count in counted))


# Statistics of bins


def calibration_error(bins: Bins) -> Floats:
    """Return the mean |probability - frequency| of bins, weighted by windows (and classes, if binned per class)."""
    error: Floats = np.abs(bins.expected - bins.hits).sum(axis=-1) / bins.windows.sum(axis=-1)
    return error


def brier_reliability(bins: Bins, classes: int) -> Floats:
    """Return the squared difference of probability and frequency, mean over windows, summed over classes."""
    squared: Floats = metrics.ratio((bins.expected - bins.hits) ** 2, bins.windows).sum(axis=-1)
    mean: Floats = squared / (bins.windows.sum(axis=-1) / classes)
    return mean


def brier_resolution(bins: Bins, classes: int) -> Floats:
    """Return the squared difference of bin frequency and overall frequency, mean over windows, summed over classes."""
    windows, hits = (_by_class(counts, classes) for counts in (bins.windows, bins.hits))
    frequency = metrics.ratio(hits.sum(axis=-1, keepdims=True), windows.sum(axis=-1, keepdims=True))
    squared: Floats = (windows * (metrics.ratio(hits, windows) - frequency) ** 2).sum(axis=(-1, -2))
    mean: Floats = squared / (bins.windows.sum(axis=-1) / classes)
    return mean


def brier_uncertainty(bins: Bins, classes: int) -> Floats:
    """Return the sum over classes of f (1 - f), f the frequency of the class."""
    windows, hits = (_by_class(counts, classes).sum(axis=-1) for counts in (bins.windows, bins.hits))
    frequency = metrics.ratio(hits, windows)
    uncertainty: Floats = (frequency * (1 - frequency)).sum(axis=-1)
    return uncertainty


def _by_class(counts: Floats, classes: int) -> Floats:
    return counts.reshape(*counts.shape[:-1], classes, -1)


# Expected errors and intervals


def _judge(bins: Bins, null_hits: Floats, statistic: Statistic, settings: EvaluationSettings) -> CalibrationError:
    pooled = _pooled(bins)
    null = statistic(pooled._replace(hits=null_hits))
    return CalibrationError(
        error=float(statistic(pooled)),
        bins=int((pooled.windows > 0).sum()),
        null_mean=float(null.mean()),
        null_high=float(np.quantile(null, metrics.NULL_QUANTILE)),
        interval=_interval(bins, statistic, settings),
    )


def _pooled(bins: Bins) -> Bins:
    return Bins(*(counts.sum(axis=0) for counts in bins))


def _interval(bins: Bins, statistic: Statistic, settings: EvaluationSettings) -> Interval | NoInterval:
    subjects = len(bins.windows)
    times = bootstrap.draws(subjects, settings)
    if isinstance(times, NoInterval):
        return times
    return bootstrap.interval(statistic(Bins(*(times @ counts for counts in bins))), subjects, settings)


def _null_hits(p: Floats, binnings: Sequence[_Binning], settings: EvaluationSettings) -> list[Floats]:
    """Return for each binning the hits (R, B) of labels drawn from the probabilities."""
    counts = [np.empty((settings.replicates, len(binning.spread))) for binning in binnings]
    rows = np.arange(len(p))
    for replicate, y in enumerate(_drawn_labels(p, settings)):
        for count, binning in zip(counts, binnings, strict=True):
            count[replicate] = np.bincount(binning.piece[rows, y], minlength=count.shape[1])
    return [count @ binning.spread for count, binning in zip(counts, binnings, strict=True)]


def _drawn_labels(p: Floats, settings: EvaluationSettings) -> Iterator[Ints]:
    """Yield R times a drawn label (N,) for each window.

    Windows get their random numbers in the order of their sorted probabilities, largest first. Windows with equal
    probabilities are interchangeable, and the top class is hit by the same draws as in metrics.compute.
    """
    ranked = np.argsort(-p, axis=1, kind="stable")
    cumulated = np.cumsum(np.take_along_axis(p, ranked, axis=1), axis=1)[:, :-1]
    order = np.lexsort([*p.T, p.max(axis=1)])
    random = np.random.default_rng([settings.seed, 0])
    drawn = np.empty(len(p))
    for _ in range(settings.replicates):
        drawn[order] = random.random(len(p))
        rank = (drawn[:, None] >= cumulated).sum(axis=1)
        yield np.take_along_axis(ranked, rank[:, None], axis=1)[:, 0]


def _with_table(error: CalibrationError, bins: Bins) -> Reliability:
    pooled = _pooled(bins)
    held = pooled.windows > 0
    counts = np.rint(pooled.windows[held]).astype(np.int64)  # shares of pieces sum to windows
    confidence, accuracy = ((sums[held] / counts).clip(0, 1) for sums in (pooled.expected, pooled.hits))
    table = metrics.reliability(counts, confidence, accuracy)
    return Reliability(**dict(error), table=table)


def _brier_parts(
    p: Floats, y: Ints, binning: _Binning, bins: Bins, null_hits: Floats, settings: EvaluationSettings
) -> BrierParts:
    classes = p.shape[1]
    reliability, resolution = (partial(part, classes=classes) for part in (brier_reliability, brier_resolution))
    pooled = _pooled(bins)
    return BrierParts(
        reliability=_judge(bins, null_hits, reliability, settings),
        resolution=float(resolution(pooled)),
        resolution_interval=_interval(bins, resolution, settings),
        uncertainty=float(brier_uncertainty(pooled, classes)),
        within_bins=_within_bins(p, y, binning, pooled),
    )


def _within_bins(p: Floats, y: Ints, binning: _Binning, pooled: Bins) -> float:
    """Return the variance of the probabilities within their bins, minus twice their covariance with the outcomes."""
    hit = np.eye(p.shape[1])[y]  # equal-width bins: each piece is one bin
    means, frequencies = (metrics.ratio(counts, pooled.windows) for counts in (pooled.expected, pooled.hits))
    away, outcome = p - means[binning.piece], hit - frequencies[binning.piece]
    return float((away * (away - 2 * outcome)).sum(axis=1).mean())


# Temperature


def _best_log_temperature(logits: Floats, y: Ints) -> float:
    """Find where the slope changes its sign: by Newton's method, and by bisection where that leaves the bracket."""
    logits -= logits.max(axis=1, keepdims=True)
    at, found = 0.0, _slope(logits, y, 0.0)
    if found.slope == 0:
        return 0.0
    low, high = -LOG_BOUND, LOG_BOUND
    if _slope(logits, y, low).slope <= 0:
        return low
    if _slope(logits, y, high).slope >= 0:
        return high
    steps, before = 0, math.inf
    while steps < STEPS and abs(at - before) > CLOSE and found.slope != 0:
        low, high = (at, high) if found.slope > 0 else (low, at)
        newton = at + found.slope / found.change if found.change > 0 else low
        before, at = at, newton if low < newton < high else (low + high) / 2
        found, steps = _slope(logits, y, at), steps + 1
    return at


class _Slope(NamedTuple):
    """The slope of the log loss in 1/T, and how fast it decreases with log T."""

    slope: float
    change: float


def _slope(logits: Floats, y: Ints, log_t: float) -> _Slope:
    """Return the mean expected logit minus the mean logit of the true class, and the variance of the logit over T."""
    p = np.exp(metrics.log_softmax(logits * math.exp(-log_t)))
    expected = (p * logits).sum(axis=1)
    variance = (p * (logits - expected[:, None]) ** 2).sum(axis=1).mean()
    slope = (expected - logits[np.arange(len(y)), y]).mean()
    return _Slope(float(slope), float(variance) * math.exp(-log_t))
