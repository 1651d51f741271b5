"""Sample streams from a model."""

import numpy as np

from modelreg.hsmm.model import Tables


def sample(model: Tables, T: int, random: np.random.Generator) -> np.ndarray:
    """Return random states (T,); the last segment is censored."""
    states = np.empty(T, dtype=np.int64)
    t, log_next = 0, model.log_initial
    while t < T:
        state = _draw(np.exp(log_next), random)
        end = t + 1 + _draw(np.exp(model.log_duration[state]), random)
        states[t:end] = state
        t, log_next = end, model.log_transition[state]
    return states


def _draw(p: np.ndarray, random: np.random.Generator) -> int:
    total = np.cumsum(p)
    return int(np.searchsorted(total, random.random() * total[-1], side="right"))
