"""Fit durations to counts: the most likely parameters of a family truncated at D.

For each state, L-BFGS-B maximizes Σ_d ended(d) log p(d) + cut(d) log Σ_{u ≥ d} p(u) within bounds, with the gradient
(Byrd et al. 1995). Without censored segments, Poisson and Gaussian have a single maximum, because they are exponential
families.
"""

import numpy as np

from modelreg.hsmm.durations import Durations, Floats, Kind, log_pmf, log_survivor, of_moments

# Bounds of the parameters; a Gaussian's mean lies between 1 and D.
R, P, RATE, SD = (0.05, 1000.0), (1e-4, 1 - 1e-4), (1e-4, 1000.0), (0.3, 1000.0)


def fit_durations(durations: Durations, ended: Floats, cut: Floats) -> Durations:
    """Return the most likely durations for counts (S, D): at least as likely as `durations`.

    `ended` counts segments of duration d, `cut` counts segments censored after d. The search starts at `durations` and
    at the moments of the counts, and the better result is returned. A state without counts keeps its parameters.
    """
    guess = of_moments(durations.kind, *moments(ended + cut), durations.longest)
    rows = zip(durations.parameters, guess.parameters, ended, cut, strict=True)
    fitted = [_fit_state(durations.kind, *row) if row[2].any() or row[3].any() else row[0] for row in rows]
    return durations._replace(parameters=np.array(fitted))


def _fit_state(kind: Kind, own: Floats, guess: Floats, ended: Floats, cut: Floats) -> Floats:
    from scipy.optimize import minimize  # 0.3 s

    bounds = _bounds(kind, len(ended))
    total = ended.sum() + cut.sum()
    best, lowest = own, _loss(_free(kind, own), kind, ended / total, cut / total)[0]
    for begin in (own, guess):
        x = np.clip(_free(kind, begin), *bounds.T)
        found = minimize(_loss, x, (kind, ended / total, cut / total), "L-BFGS-B", jac=True, bounds=bounds.tolist())
        if found.fun < lowest:
            best, lowest = _bound(kind, found.x), found.fun
    return best


def _loss(x: Floats, kind: Kind, ended: Floats, cut: Floats) -> tuple[float, Floats]:
    """Return −Σ ended log p + cut log survivor for shares (D,), and its gradient by the free parameters x (P,)."""
    own = _bound(kind, x)
    log_p = log_pmf(Durations(kind, own[None], len(ended)))
    log_s = log_survivor(log_p)
    beyond = np.triu(np.exp(np.minimum(log_p - log_s.T, 0)))  # (D, D) p(u | u ≥ d)
    weight = ended + cut @ beyond - np.exp(log_p[0])  # derivative by each log weight
    return -float(ended @ log_p[0] + cut @ log_s[0]), -_slopes(kind, own, len(ended)) @ weight


def _slopes(kind: Kind, own: Floats, longest: int) -> Floats:
    """Return the derivatives (P, D) of the log weights by the free parameters."""
    k = np.arange(longest)
    match kind:
        case "negative_binomial":
            r, p = own
            return np.stack([r * np.cumsum(np.concatenate([[0.0], 1 / (r + k[:-1])])), -k * p])
        case "poisson":
            return k[None].astype(np.float64)
        case _:  # gaussian
            z = (k + 1 - own[0]) / own[1]
            return np.stack([z / own[1], z**2])


def _free(kind: Kind, own: Floats) -> Floats:
    """Return the free parameters, which may be any number: log r, logit p; log rate; mean, log sd."""
    match kind:
        case "negative_binomial":
            return np.array([np.log(own[0]), np.log(own[1] / (1 - own[1]))])
        case "poisson":
            return np.log(own)
        case _:  # gaussian
            return np.array([own[0], np.log(own[1])])


def _bound(kind: Kind, x: Floats) -> Floats:
    """Return the parameters for free parameters."""
    match kind:
        case "negative_binomial":
            return np.array([np.exp(x[0]), 1 / (1 + np.exp(-x[1]))])
        case "poisson":
            return np.exp(x)
        case _:  # gaussian
            return np.array([x[0], np.exp(x[1])])


def _bounds(kind: Kind, longest: int) -> Floats:
    """Return lower and upper bounds (P, 2) of the free parameters."""
    corners = {"negative_binomial": (R, P), "poisson": (RATE,), "gaussian": ((1.0, float(longest)), SD)}[kind]
    return np.stack([_free(kind, np.array(corner)) for corner in zip(*corners, strict=True)], axis=1)


def moments(counts: Floats) -> tuple[Floats, Floats]:
    """Return mean and variance (S,) of the durations counted in (S, D); without counts, both are 0."""
    d = np.arange(1, counts.shape[1] + 1)
    total = counts.sum(axis=1)
    shares = np.divide(counts, total[:, None], out=np.zeros(counts.shape), where=total[:, None] > 0)
    mean = shares @ d
    return mean, shares @ d**2 - mean**2
