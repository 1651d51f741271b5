"""Streams drawn from a model. Only `Generator.random` is called: numpy keeps that stream of numbers stable."""

import numpy as np

from modelreg.hsmm.durations import Floats
from modelreg.hsmm.model import Ints, Tables


def sample(model: Tables, T: int, random: np.random.Generator) -> Ints:
    """Draw states (T,), the last segment cut off by the end."""
    states = np.empty(T, dtype=np.int64)
    t, log_next = 0, model.log_initial
    while t < T:
        state = _draw(np.exp(log_next), random)
        end = t + 1 + _draw(np.exp(model.log_duration[state]), random)
        states[t:end] = state
        t, log_next = end, model.log_transition[state]
    return states


def sample_codes(table: Floats, states: Ints, random: np.random.Generator) -> Ints:
    """Draw a code for each of the states (T,) from p(code | state) (S, K)."""
    return np.array([_draw(table[state], random) for state in states], dtype=np.int64)


def _draw(p: Floats, random: np.random.Generator) -> int:
    total = np.cumsum(p)
    return int(np.searchsorted(total, random.random() * total[-1], side="right"))
