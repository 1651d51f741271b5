"""Small models and all paths through them: the oracle for the fast algorithms."""

from functools import cache
from typing import NamedTuple

import numpy as np

from modelreg.hsmm.durations import PARAMETERS, Durations
from modelreg.hsmm.model import Hsmm, Tables, tables

KINDS = tuple(PARAMETERS)


class Small(NamedTuple):
    """A model and a stream that are small enough to list all paths."""

    model: Hsmm
    tables: Tables
    log_b: np.ndarray  # (T, S)


class Path(NamedTuple):
    """One segmentation of a stream."""

    segments: tuple[tuple[int, int], ...]  # state and duration
    log_weight: float

    @property
    def states(self) -> list[int]:
        """The state of each window."""
        return [state for state, d in self.segments for _ in range(d)]


def random_durations(rng: np.random.Generator, kind: str, states: int, longest: int) -> Durations:
    """Return random parameters of a duration family."""
    columns = {
        "negative_binomial": (rng.uniform(0.2, 8, states), rng.uniform(0.1, 0.9, states)),
        "poisson": (rng.uniform(0.1, longest, states),),
        "gaussian": (rng.uniform(1, longest, states), rng.uniform(0.4, longest, states)),
    }
    return Durations(kind, np.column_stack(columns[kind]), longest)


def random_model(rng: np.random.Generator, kind: str, states: int, longest: int) -> Hsmm:
    """Return a random model in which about one of five transitions is impossible."""
    transition = rng.random((states, states)) * (rng.random((states, states)) < 0.8) * (1 - np.eye(states))
    transition[np.arange(states), np.arange(states) - 1] += 0.1
    initial = rng.random(states) + 0.05
    return Hsmm(
        initial / initial.sum(),
        transition / transition.sum(axis=1, keepdims=True),
        random_durations(rng, kind, states, longest),
    )


def stream(seed: int, T: int, states: int = 4, longest: int = 20, spread: float = 1.0) -> tuple[Tables, np.ndarray]:
    """Return a model and a long stream; with a spread over 100, some emissions are −∞."""
    rng = np.random.default_rng(seed)
    log_b = rng.normal(scale=spread, size=(T, states))
    if spread > 100:
        log_b[rng.random((T, states)) < 0.05] = -np.inf
    return tables(random_model(rng, KINDS[seed % 3], states, longest)), log_b


@cache
def small(seed: int) -> Small:
    """Return a model with 2 or 3 states and durations up to 4, and a stream of up to 7 windows."""
    rng = np.random.default_rng(seed)
    states, longest, T = rng.integers(2, 4), rng.integers(1, 5), rng.integers(1, 8)
    model = random_model(rng, KINDS[seed % 3], states, longest)
    log_b = rng.normal(size=(T, states)) * rng.choice([1, 5, 700])
    log_b[rng.random((T, states)) < rng.choice([0, 0, 0.15])] = -np.inf
    return Small(model, tables(model), log_b)


@cache
def paths(seed: int, censored: bool) -> list[Path]:
    """Return all possible paths of a small stream."""
    _, model, log_b = small(seed)
    return list(_paths(model, log_b, censored, (), 0.0))


def _paths(model, log_b, censored, before, log_weight):
    t, states = sum(d for _, d in before), range(len(model.log_initial))
    if t == len(log_b):
        yield Path(before, log_weight)
        return
    for j in states:
        start = model.log_transition[before[-1][0], j] if before else model.log_initial[j]
        for d in range(1, min(model.log_duration.shape[1], len(log_b) - t) + 1):
            lasting = model.log_survivor if censored and t + d == len(log_b) else model.log_duration
            weight = start + lasting[j, d - 1] + log_b[t : t + d, j].sum()
            if weight > -np.inf:
                yield from _paths(model, log_b, censored, (*before, (j, d)), log_weight + weight)


def total(found: list[Path]) -> float:
    """Return log Σ exp of the weights, or −∞ without a path."""
    return float(np.logaddexp.reduce([path.log_weight for path in found])) if found else -np.inf


def shares(found: list[Path]) -> np.ndarray:
    """Return the probability of each path."""
    return np.exp([path.log_weight - total(found) for path in found])
