"""Duration families on d = 1 … D: truncated at D and normalized."""

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Kind: TypeAlias = Literal["negative_binomial", "poisson", "gaussian"]

# The parameters of each family in column order, with their lower and upper bounds.
PARAMETERS: dict[Kind, dict[str, tuple[float, float]]] = {
    "negative_binomial": {"r": (0, np.inf), "p": (0, 1)},
    "poisson": {"rate": (0, np.inf)},
    "gaussian": {"mean": (-np.inf, np.inf), "sd": (0, np.inf)},
}


class Durations(NamedTuple):
    """A duration family, with parameters for each state."""

    kind: Kind
    parameters: Floats  # (S, P), columns as in PARAMETERS
    longest: int  # D


def log_weights(durations: Durations) -> Floats:
    """Return unnormalized log weights (S, D) of d = 1 … D.

    Negative binomial: Γ(d − 1 + r) / (Γ(r) (d − 1)!) · (1 − p)^(d − 1), without the constant factor p^r.
    Poisson: rate^(d − 1) / (d − 1)!. Gaussian: exp(−(d − mean)² / 2 sd²).
    """
    d = np.arange(1, durations.longest + 1)
    columns = [column[:, None] for column in durations.parameters.T]
    match durations.kind:
        case "negative_binomial":
            r, p = columns
            steps = np.log(r + d[:-1] - 1) - np.log(d[:-1]) + np.log1p(-p)
        case "poisson":
            steps = np.log(columns[0]) - np.log(d[:-1])
        case _:  # gaussian
            mean, sd = columns
            return np.asarray(-(((d - mean) / sd) ** 2) / 2)
    return np.pad(np.cumsum(steps, axis=1), [(0, 0), (1, 0)])


def log_pmf(durations: Durations) -> Floats:
    """Return log p_j(d) (S, D)."""
    weights = log_weights(durations)
    total: Floats = np.logaddexp.reduce(weights, axis=1, keepdims=True)
    return weights - total


def log_survivor(log_p: Floats) -> Floats:
    """Return log Σ_{u ≥ d} p_j(u) (S, D) of log p_j(d) (S, D)."""
    log_s: Floats = np.logaddexp.accumulate(log_p[:, ::-1], axis=1)[:, ::-1]
    return log_s


def mean(durations: Durations) -> Floats:
    """Return the mean (S,) of the truncated distributions, in windows."""
    return np.exp(log_pmf(durations)) @ np.arange(1, durations.longest + 1)


def of_moments(kind: Kind, mean: Floats, variance: Floats, longest: int) -> Durations:
    """Return durations with this mean and variance (S,) before truncation, as closely as the family allows.

    The variance of a Poisson distribution follows from its mean. That of a negative binomial is at least as large.
    """
    rate, sd = np.maximum(mean - 1, 0.01), np.sqrt(np.maximum(variance, 0.25))
    excess = np.maximum(variance - rate, 0.01 * rate)
    columns = {
        "negative_binomial": (rate**2 / excess, rate / (rate + excess)),
        "poisson": (rate,),
        "gaussian": (mean, sd),
    }[kind]
    return Durations(kind, np.column_stack(columns), longest)
