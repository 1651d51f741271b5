"""Conformal prediction sets: scores of classes, thresholds, and coverage.

A set contains the classes whose score is at most the threshold. The threshold is the ceil((n + 1)(1 - alpha))-th
smallest score of the true classes of n windows. If these windows are exchangeable with new windows, a set contains the
true class with a probability of at least 1 - alpha. Likely classes have small scores:

- lac: 1 - p (Sadinle 2019). The smallest sets on average; a set may be empty.
- aps: the total probability of all more likely classes (Romano 2020). The paper subtracts a random share of p from the
  probability mass up to and including the class; here all of p is subtracted, for fitted and new windows. Therefore the
  sets are deterministic, the guarantee remains valid, and the most likely class has score 0: no set is empty.
- raps: aps plus a penalty for each rank above `free` (Angelopoulos 2021): fewer very large sets.

Windows of new subjects are not exchangeable with the fitted windows. The measured coverage shows the effect.
Needs numpy only, because devices compute sets too. Letters: N windows, K classes, S subjects.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.evaluation import bootstrap, tolerance
from modelreg.evaluation.metrics import Floats, Ints, Predictions
from modelreg.records.calibration import CoverageBand, CoverageRow, SetMetrics, SetName
from modelreg.records.metrics import EvaluationSettings, Interval, NoInterval

PENALTIES = (0.001, 0.01, 0.1, 0.2, 0.5)  # those of Angelopoulos 2021
HALVINGS = 60  # give a probability with an error of 1e-18


class Ranks(NamedTuple):
    """The penalty of raps per rank above `free`."""

    penalty: float
    free: int


NO_PENALTY = Ranks(0.0, 0)


def scores(p: Floats, method: SetName, ranks: Ranks = NO_PENALTY) -> Floats:
    """Return the score of every class (N, K) from probabilities (N, K); ties rank the first class higher."""
    if method == "lac":
        return 1 - p
    order = np.argsort(-p, axis=1, kind="stable")
    likelier = np.zeros_like(p)
    np.cumsum(np.take_along_axis(p, order, axis=1)[:, :-1], axis=1, out=likelier[:, 1:])
    if method == "raps":
        likelier += ranks.penalty * np.maximum(np.arange(1, p.shape[1] + 1) - ranks.free, 0)
    scored = np.empty_like(p)
    np.put_along_axis(scored, order, likelier, axis=1)
    return scored


def true_scores(scored: Floats, y: Ints) -> Floats:
    """Return the scores (N,) of the true classes."""
    own: Floats = scored[np.arange(len(y)), y]
    return own


def threshold(own: Floats, alpha: float) -> float | None:
    """Return the ceil((n + 1)(1 - alpha))-th smallest of n scores; None if this rank exceeds n."""
    rank = len(own) + 1 - _missed(len(own), alpha)
    return float(np.sort(own)[rank - 1]) if rank <= len(own) else None


def sets_of(scored: Floats, limit: float | None) -> NDArray[np.bool_]:
    """Return the sets (N, K) of scores (N, K); without a limit they contain every class."""
    return np.ones(scored.shape, dtype=bool) if limit is None else scored <= limit


def choose_ranks(p: Floats, y: Ints, alpha: float) -> Ranks:
    """Return the raps penalty with the smallest mean set size, on windows that no threshold is fitted on.

    `free` is the (1 - alpha) quantile of the rank of the true class. Ties go to the smaller penalty.
    """
    order = np.argsort(-p, axis=1, kind="stable")
    rank = 1 + np.argmax(order == y[:, None], axis=1)
    free = threshold(rank.astype(np.float64), alpha)
    if free is None:
        return NO_PENALTY
    choices = [Ranks(penalty, int(free)) for penalty in PENALTIES]
    return min(choices, key=lambda ranks: _mean_size(scores(p, "raps", ranks), y, alpha))


def _mean_size(scored: Floats, y: Ints, alpha: float) -> float:
    return float(sets_of(scored, threshold(true_scores(scored, y), alpha)).sum(axis=1).mean())


def _missed(windows: int, alpha: float) -> int:
    """Return floor((n + 1) alpha), where 10 * 0.1 and similar products count as integers."""
    return math.floor((windows + 1) * alpha + tolerance.RANK)


# Coverage


def coverage_band(fitted: int, alpha: float, level: float, tested: int | None = None) -> CoverageBand:
    """Return the range of the coverage of thresholds fitted on `fitted` exchangeable windows.

    Over all future windows the coverage has the distribution Beta(n + 1 - l, l), l = floor((n + 1) alpha) (Vovk 2012);
    over `tested` windows, the corresponding beta-binomial distribution. Equal scores, common with a quantizer, increase
    the coverage.
    """
    b = _missed(fitted, alpha)
    if not b:  # every set contains every class
        return CoverageBand(low=1.0, high=1.0, level=level)
    tails = ((1 - level) / 2, (1 + level) / 2)
    a = fitted + 1 - b
    low, high = _beta_quantiles(a, b, tails) if tested is None else _beta_binomial_quantiles(a, b, tested, tails)
    return CoverageBand(low=low, high=high, level=level)


def _beta_quantiles(a: int, b: int, tails: Sequence[float]) -> list[float]:
    """Invert P(Beta(a, b) <= x) = P(Binomial(a + b - 1, x) >= a) by bisection."""
    n = a + b - 1
    k = np.arange(n)
    choose = np.concatenate([[0.0], np.cumsum(np.log((n - k) / (k + 1)))])[a:]  # log C(n, i), i >= a
    hits = np.arange(a, n + 1)

    def quantile(tail: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(HALVINGS):
            x = (low + high) / 2
            reached = np.exp(choose + hits * math.log(x) + (n - hits) * math.log1p(-x)).sum()
            low, high = (x, high) if reached < tail else (low, x)
        return (low + high) / 2

    return [quantile(tail) for tail in tails]


def _beta_binomial_quantiles(a: int, b: int, tested: int, tails: Sequence[float]) -> list[float]:
    k = np.arange(tested)
    steps = np.log((tested - k) / (k + 1) * (k + a) / (tested - k - 1 + b))  # of the log probability of k hits
    log_p = np.concatenate([[0.0], np.cumsum(steps)])
    reached = np.cumsum(np.exp(log_p - log_p.max()))
    return [float(np.searchsorted(reached / reached[-1], tail)) / tested for tail in tails]


def measure(
    sets: NDArray[np.bool_],
    predictions: Predictions,
    classes: Sequence[str],
    expected: CoverageBand,
    settings: EvaluationSettings,
) -> SetMetrics:
    """Return coverage and size of the sets (N, K) of N >= 1 windows; `expected` is the range for N windows."""
    subjects, member = np.unique(predictions.subject, return_inverse=True)
    held, sizes = sets[np.arange(len(sets)), predictions.y], sets.sum(axis=1)
    return SetMetrics(
        coverage=float(held.mean()),
        mean_size=float(sizes.mean()),
        empty=float((sizes == 0).mean()),
        singletons=float((sizes == 1).mean()),
        interval=_interval(held, member, settings),
        expected=expected,
        per_class=_rows(classes, predictions.y, held, sizes),
        per_subject=_rows(subjects.tolist(), member, held, sizes),
    )


def _rows(names: Sequence[str], member: Ints, held: NDArray[np.bool_], sizes: Ints) -> dict[str, CoverageRow]:
    windows, hits, size = (np.bincount(member, weights, len(names)) for weights in (None, held, sizes))
    return {
        name: CoverageRow(windows=int(n), coverage=hit / n if n else None, mean_size=total / n if n else None)
        for name, n, hit, total in zip(names, windows.tolist(), hits.tolist(), size.tolist(), strict=True)
    }


def _interval(held: NDArray[np.bool_], member: Ints, settings: EvaluationSettings) -> Interval | NoInterval:
    windows, hits = np.bincount(member), np.bincount(member, held)
    times = bootstrap.draws(len(windows), settings)
    if isinstance(times, NoInterval):
        return times
    return bootstrap.interval((times @ hits) / (times @ windows), len(windows), settings)
