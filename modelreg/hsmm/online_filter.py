"""The online filter of the runtime: p(state_t | x_≤t) after every window. numpy alone, constant memory, no clock.

The same recursion as the forward pass, with the last segment cut off by the newest window. A ring of S × D holds the
log weights of the segments that may be under way, one for each age; a step replaces the oldest.
"""

from typing import NamedTuple

import numpy as np

from modelreg.errors import InputError, Problem
from modelreg.hsmm.durations import Floats
from modelreg.hsmm.model import Tables

UNUSABLE = "cannot filter the window"  # the summary of every error
LOWEST = -1e300  # in the place of −∞, which cannot be subtracted from itself
TINY = 1e-280  # sums below may have lost a part to the smallest double: they are made again in log space


class FilterState(NamedTuple):
    """What the filter keeps between two windows. Its size never grows."""

    log_transition: Floats  # (S, S)
    log_by_age: Floats  # (2, S, 2 D): survivor and duration, the longest first, twice: any turn of the ring is a slice
    by_age: Floats  # the same, not as logarithms
    ring: Floats  # (S, D) log p(segment under way, x_≤t) but for its duration, less log p(x_≤t)
    place: int  # of the ring, which the next segment takes
    entry: Floats  # (S,) log p(a segment of j starts at the next window | x_≤t)
    log_likelihood: float  # log p(x_≤t)


def filter_start(model: Tables) -> FilterState:
    """Return the state before the first window."""
    log_by_age = np.tile(np.stack([model.log_survivor, model.log_duration])[:, :, ::-1], 2)
    ring = np.full(model.log_duration.shape, -np.inf)
    return FilterState(model.log_transition, log_by_age, np.exp(log_by_age), ring, 0, model.log_initial, 0.0)


def filter_step(state: FilterState, log_b: Floats) -> tuple[FilterState, Floats]:
    """Take in a window's log b (S,); return the next state and p(state_t = j | x_≤t) (S,). `state` stays as it is.

    Raises InputError where log b holds NaN or +∞, or where no state can explain the window after those before.
    """
    if not log_b.max() < np.inf:  # NaN, too, is not
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
    """Return log Σ_d exp(log w) by_age (2, S) of log w (S, D) and by_age (2, S, D)."""
    highest = np.maximum(log_w.max(axis=1), LOWEST)
    sums = (np.exp(log_w - highest[:, None]) * by_age).sum(axis=2)
    exact = sums.min() > TINY
    log_sums: Floats = np.log(sums) + highest if exact else np.logaddexp.reduce(log_w + log_by_age, axis=2)
    return log_sums
