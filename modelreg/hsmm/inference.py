"""Exact inference on a whole stream in log space: log likelihood, posterior marginals and best path.

Time O(T · S · (S + D)), memory O(T · S). Yu 2010, Hidden semi-Markov models, Artificial Intelligence 174.
"""

from typing import NamedTuple

import numpy as np

from modelreg.errors import InputError, Problem
from modelreg.hsmm.durations import Floats
from modelreg.hsmm.model import Ints, Tables
from modelreg.hsmm.segmentation import runs

UNUSABLE = "cannot infer the states of the stream"  # the summary of every error
LOG_LARGE = 640.0  # e^640 times the smallest double is still negligible


class Counts(NamedTuple):
    """Observed or expected counts."""

    initial: Floats  # (S,) first segments
    transition: Floats  # (S, S) a segment of i followed by one of j
    duration: Floats  # (S, D) segments of j with duration d
    cut: Floats  # (S, D) segments of j censored after d


class Posterior(NamedTuple):
    """The posterior of the states given the whole stream."""

    log_likelihood: float  # log p(x)
    gamma: Floats  # (T, S) p(state_t = j | x)
    counts: Counts  # expected values given x


class BestPath(NamedTuple):
    """The most probable states and their segments."""

    states: Ints  # (T,)
    starts: Ints  # (N,) first window of each segment
    lengths: Ints  # (N,) in windows
    score: float  # log p(states, x)


def log_likelihood(model: Tables, log_b: Floats, *, censored: bool = True) -> float:
    """Return log p(x) of log b (T, S), T ≥ 1, or −∞ if no path is possible.

    Raises InputError if log b contains NaN or +∞, or has another shape.
    """
    return _forward(model, log_b, censored).log_likelihood


def posterior(model: Tables, log_b: Floats, *, censored: bool = True) -> Posterior:
    """Return posterior marginals and expected counts of log b (T, S), T ≥ 1.

    Raises InputError if log b contains NaN or +∞, has another shape, or is impossible.
    """
    from modelreg.hsmm import kernels

    f = _forward(model, log_b, censored)
    if f.log_likelihood == -np.inf:
        raise _impossible(f.evidence)
    scaled = log_b - f.evidence[:, None]
    begins, after, lasting, cut = kernels.backward(
        scaled, kernels.oldest_first(model), model.log_transition, f.starts, -np.inf if censored else -f.last
    )
    gamma = _marginals(np.exp(f.starts + begins), np.exp(f.ends + after))
    transition = _transitions(f.ends[:-1], begins[1:], model.log_transition)
    return Posterior(f.log_likelihood, gamma, Counts(gamma[0], transition, lasting[:, ::-1], cut))


def best_path(model: Tables, log_b: Floats, *, censored: bool = True) -> BestPath:
    """Return the most probable path of log b (T, S), T ≥ 1 (Viterbi), or one of several with equal probability.

    Raises InputError if log b contains NaN or +∞, has another shape, or is impossible.
    """
    from modelreg.hsmm import kernels

    _check(model, log_b)
    log_b, log_p, log_A = np.ascontiguousarray(log_b), model.log_duration, model.log_transition
    starts, ends = kernels.paths(log_b, kernels.oldest_first(model).log_p, model.log_initial, log_A)
    last = model.log_survivor if censored else log_p
    segments, lengths = kernels.retrace(log_b, log_p, last, log_A, starts, ends)
    if not len(segments):
        raise _impossible(_forward(model, log_b, censored).evidence)
    states = np.repeat(segments, lengths)
    return BestPath(states, np.cumsum(lengths) - lengths, lengths, path_score(model, log_b, states, censored=censored))


def path_score(model: Tables, log_b: Floats, states: Ints, *, censored: bool = True) -> float:
    """Return log p(states, x) of states (T,) and log b (T, S), or −∞ if a segment is longer than D."""
    order, _, lengths = runs(states)
    if lengths.max() > model.log_duration.shape[1]:
        return -np.inf
    last = model.log_survivor if censored else model.log_duration
    return float(
        model.log_initial[order[0]]
        + model.log_transition[order[:-1], order[1:]].sum()
        + model.log_duration[order[:-1], lengths[:-1] - 1].sum()
        + last[order[-1], lengths[-1] - 1]
        + log_b[np.arange(len(states)), states].sum()
    )


class _Forward(NamedTuple):
    starts: Floats  # (T, S) log p(a segment of j starts at t | x_<t)
    ends: Floats  # (T, S) log p(a segment of j ends at t | x_≤t)
    evidence: Floats  # (T,) log p(x_t | x_<t), the last segment censored; −∞ from the first impossible step on
    last: float  # log p(a segment ends with the stream | x); 0 if the last segment is censored

    @property
    def log_likelihood(self) -> float:
        return float(self.evidence.sum() + self.last)


def _forward(model: Tables, log_b: Floats, censored: bool) -> _Forward:
    from modelreg.hsmm import kernels

    _check(model, log_b)
    evidence, starts, ends = kernels.forward(
        np.ascontiguousarray(log_b), kernels.oldest_first(model), model.log_initial, model.log_transition
    )
    return _Forward(starts, ends, evidence, 0.0 if censored else float(np.logaddexp.reduce(ends[-1])))


def _check(model: Tables, log_b: Floats) -> None:
    """Raise InputError unless log b is float64 (T, S) with values below +∞."""
    S = len(model.log_initial)
    if log_b.ndim != 2 or log_b.shape[1] != S or not len(log_b) or log_b.dtype != np.float64:
        what = f"{log_b.dtype} {log_b.shape}, must be float64 (T, {S}) with T ≥ 1"
        raise InputError(UNUSABLE, [Problem("log_b", "hsmm.emission-mismatch", what)])
    if not log_b.max() < np.inf:  # true for NaN too
        step = int((~(log_b < np.inf)).any(axis=1).argmax())
        raise InputError(UNUSABLE, [Problem(f"log_b: step {step}", "hsmm.emission-not-finite", "contains NaN or +inf")])


def _impossible(evidence: Floats) -> InputError:
    """Return the error for a stream without a possible path."""
    dead = evidence == -np.inf
    where = f"step {int(dead.argmax())}" if dead.any() else "the last step"
    what = "probability 0 in every state, after the steps before" if dead.any() else "no segment can end here"
    return InputError(UNUSABLE, [Problem(where, "hsmm.impossible-stream", what)])


def _marginals(starting: Floats, ending: Floats) -> Floats:
    """Return p(state_t = j) (T, S): γ_t = Σ_{u ≤ t} p(start_u = j) − p(end_{u−1} = j)."""
    change = starting
    change[1:] -= ending[:-1]
    gamma: Floats = np.cumsum(change, axis=0).clip(0)
    gamma /= gamma.sum(axis=1, keepdims=True)  # 1 up to rounding
    return gamma


def _transitions(ends: Floats, begins: Floats, log_A: Floats) -> Floats:
    """Return Σ_t exp(ends_t(i) + log A_ij + begins_t(j)) (S, S) of ends and begins (T, S)."""
    highest = ends.max(axis=1, initial=-np.inf), begins.max(axis=1, initial=-np.inf)
    scale = highest[0] + highest[1]
    usual = (scale > -np.inf) & (scale < LOG_LARGE)
    a = np.exp(ends[usual] - highest[0][usual, None])
    b = np.exp(begins[usual] - highest[1][usual, None])
    total: Floats = np.exp(log_A) * ((a * np.exp(scale[usual, None])).T @ b)
    for t in np.flatnonzero(scale >= LOG_LARGE):
        total += np.exp(ends[t][:, None] + log_A + begins[t])
    return total
