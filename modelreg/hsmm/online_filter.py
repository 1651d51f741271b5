"""The online filter of the runtime: p(state_t | x_≤t) after each window, with numpy only and in constant memory.

The recursion is that of the forward pass, with the last segment censored at the newest window. A ring buffer (S, D) has
the log weight of an active segment of each age; each step replaces the oldest.
"""

from typing import NamedTuple

import numpy as np

from modelreg.errors import InputError, Problem
from modelreg.hsmm.durations import Floats
from modelreg.hsmm.model import Tables

UNUSABLE = "cannot filter the window"  # the summary of every error
LOWEST = -1e300  # replaces −∞, because −∞ − (−∞) is NaN
TINY = 1e-280  # smaller sums may have lost precision by underflow and are computed in log space


class FilterState(NamedTuple):
    """The state of the filter between two windows, of constant size."""

    log_transition: Floats  # (S, S)
    log_by_age: Floats  # (2, S, 2 D) log survivor and log p, the longest first, repeated: each rotation is a slice
    by_age: Floats  # exp(log_by_age)
    ring: Floats  # (S, D) log p(active segment, x_≤t) − log p(x_≤t), without the factor of its duration
    place: int  # index in the ring of the next segment
    entry: Floats  # (S,) log p(a segment of j starts at the next window | x_≤t)
    log_likelihood: float  # log p(x_≤t)


def filter_start(model: Tables) -> FilterState:
    """Return the state before the first window."""
    log_by_age = np.tile(np.stack([model.log_survivor, model.log_duration])[:, :, ::-1], 2)
    ring = np.full(model.log_duration.shape, -np.inf)
    return FilterState(model.log_transition, log_by_age, np.exp(log_by_age), ring, 0, model.log_initial, 0.0)


def filter_step(state: FilterState, log_b: Floats) -> tuple[FilterState, Floats]:
    """Return the next filter state and p(state_t = j | x_≤t) (S,) after a window with log b (S,).

    `state` is not changed. Raises InputError if log b contains NaN or +∞, or if the window is impossible after the
    windows before.
    """
    if not log_b.max() < np.inf:  # true for NaN too
        raise InputError(UNUSABLE, [Problem("log_b", "hsmm.emission-not-finite", "contains NaN or +inf")])
    D, place = state.ring.shape[1], state.place
    ring = state.ring + log_b[:, None]
    ring[:, place] = state.entry + log_b
    ages = slice(D - 1 - place, 2 * D - 1 - place)  # the age of place i is (place − i) mod D + 1
    alive, ends = _log_sums(ring, state.by_age[:, :, ages], state.log_by_age[:, :, ages])
    evidence = np.logaddexp.reduce(alive)
    if evidence == -np.inf:
        what = "probability 0 in every state, after the windows before"
        raise InputError(UNUSABLE, [Problem("log_b", "hsmm.impossible-stream", what)])
    entry = np.logaddexp.reduce((ends - evidence)[:, None] + state.log_transition, axis=0)
    log_likelihood = state.log_likelihood + float(evidence)
    after = state._replace(ring=ring - evidence, place=(place + 1) % D, entry=entry, log_likelihood=log_likelihood)
    return after, np.exp(alive - evidence)


def _log_sums(log_w: Floats, by_age: Floats, log_by_age: Floats) -> Floats:
    """Return log Σ_d exp(log w) · by_age, (2, S), of log w (S, D) and by_age (2, S, D)."""
    highest = np.maximum(log_w.max(axis=1), LOWEST)
    sums = (np.exp(log_w - highest[:, None]) * by_age).sum(axis=2)
    exact = sums.min() > TINY
    log_sums: Floats = np.log(sums) + highest if exact else np.logaddexp.reduce(log_w + log_by_age, axis=2)
    return log_sums
