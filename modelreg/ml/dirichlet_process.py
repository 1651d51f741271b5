"""Mixtures whose number of clusters is inferred: the DP mixture and the hierarchical Dirichlet process (HDP).

Variational inference, truncated at K clusters, in log space (Blei & Jordan 2006; HDP: Teh 2006). Letters: N points x
of d dimensions, J groups (sessions). The model and its variational posterior q:

    v_k ~ Beta(1, γ), v_K = 1,  β_k = v_k Π_{l<k} (1 − v_l)      q(v_k) = Beta(a_k, b_k)
    π_j ~ Dir(α β), the weak limit of DP(α, β)                   q(π_j) = Dir(θ_j)
    c_n ~ π of its group                                         q(c_n) = r_n
    μ_k ~ N(m₀, s₀²),  x_n ~ N(μ of c_n, σ²)                     q(μ_k) = N(m_k, s_k²)

Without groups, c_n ~ β; this is a DP mixture with one level. The normalizer of Dir(αβ) is bounded by
log Γ(α) − Σ log Γ(αβ_k) ≥ (K − 1) log α + Σ log β_k (Hughes, Kim & Sudderth 2015), so the ELBO is a lower bound of
log p(x | σ²) for both models. m₀ and s₀² are mean and variance of the data. σ² is fixed, or maximizes the bound.
This module fits the DP mixture by sweeps; hdp.py trains both models by gradient.
"""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from modelreg.ml import kmeans

FLOOR = 1e-6  # lower limit of a variance, for data of order 1
TOLERANCE = 1e-6  # nats per point; sweeps stop when they gain less

Noise: TypeAlias = Literal["isotropic", "diagonal"] | Tensor


class Model(NamedTuple):
    """The prior of a mixture."""

    gamma: float = 1.0  # γ: a larger value favours more clusters
    alpha: float = 1.0  # α: a larger value keeps the groups closer to β
    truncation: int = 20  # K, at least 2
    noise: Noise = "diagonal"  # σ²: learned as one value or one for each dimension, or fixed (d,)


class Sticks(NamedTuple):
    """q(v), the Beta parameters of the first K − 1 sticks."""

    a: Tensor  # (K − 1,)
    b: Tensor  # (K − 1,)


class Components(NamedTuple):
    """q(μ) and σ²."""

    mean: Tensor  # (K, d)
    variance: Tensor  # (K, d), of the mean
    noise: Tensor  # (d,), σ²


class Mixture(NamedTuple):
    """A fitted DP mixture, float64."""

    sticks: Sticks
    components: Components
    responsibilities: Tensor  # (N, K), r
    elbo: float  # nats


def log_weights(log_v: Tensor, log_rest: Tensor) -> Tensor:
    """Return log β (…, K) = log v_k + Σ_{l<k} log (1 − v_l) of log v and log (1 − v), (…, K − 1)."""
    K = log_v.shape[-1] + 1
    return F.pad(log_v, (0, 1)) + log_rest @ log_rest.new_ones(K - 1, K).triu(1)


def expected_log_weights(q: Sticks) -> Tensor:
    """Return E log β (K,)."""
    both = torch.digamma(q.a + q.b)
    return log_weights(torch.digamma(q.a) - both, torch.digamma(q.b) - both)


def expected_weights(q: Sticks) -> Tensor:
    """Return E β (K,), which sums to 1."""
    both = (q.a + q.b).log()
    return log_weights(q.a.log() - both, q.b.log() - both).exp()


def stick_divergence(q: Sticks, gamma: float) -> Tensor:
    """Return KL(q(v) ‖ Beta(1, γ)), summed over the sticks, ()."""
    a, b = q
    log_beta = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
    moments = (a - 1) * torch.digamma(a) + (b - gamma) * torch.digamma(b)
    return (moments + (1 + gamma - a - b) * torch.digamma(a + b) - log_beta - math.log(gamma)).sum()


def expected_log_group_weights(theta: Tensor) -> Tensor:
    """Return E log π (J, K) of θ (J, K)."""
    return torch.digamma(theta) - torch.digamma(theta.sum(-1, keepdim=True))


def group_divergence(theta: Tensor, q: Sticks, alpha: float) -> Tensor:
    """Return an upper bound of the expectation over q(v) of KL(q(π_j) ‖ Dir(αβ)), (J,), of θ (J, K)."""
    log_pi, K = expected_log_group_weights(theta), theta.shape[-1]
    own = torch.lgamma(theta.sum(1)) - torch.lgamma(theta).sum(1)
    prior = (K - 1) * math.log(alpha) + expected_log_weights(q).sum()
    return own + ((theta - alpha * expected_weights(q)) * log_pi).sum(1) - prior


def scaled_distance(x: Tensor, mean: Tensor, noise: Tensor) -> Tensor:
    """Return d² = ‖(x − mean) / σ‖² (N, K) of points (N, d), means (K, d) and σ² (d,) or ()."""
    middle, scale = mean.mean(0), noise.rsqrt()
    x, mean = (x - middle) * scale, (mean - middle) * scale
    return x.square().sum(1, keepdim=True) - 2 * x @ mean.T + mean.square().sum(1)


def expected_log_likelihood(x: Tensor, c: Components) -> Tensor:
    """Return E log N(x | μ_k, σ²) (N, K) of points (N, d)."""
    d2 = scaled_distance(x, c.mean, c.noise) + (c.variance / c.noise).sum(1)
    return -(d2 + (2 * math.pi * c.noise).log().sum()) / 2


def dp_mixture_fit(
    x: Tensor,
    model: Model = Model(),  # noqa: B008 it is immutable
    *,
    centres: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Mixture:
    """Fit a DP mixture to finite points (N, d), starting at `centres` (K, d) or k-means++. α is not used."""
    *_, last = climb(x, model, centres=centres, generator=generator)
    return last


def climb(
    x: Tensor,
    model: Model,
    *,
    centres: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[Mixture]:
    """Yield the mixture after each sweep and each merge; the bound never decreases.

    A sweep sets each factor of q, and σ², to its optimum given the others. When sweeps gain less than the tolerance,
    two near clusters are merged if that raises the bound. Sweeps alone rarely merge two clusters that share the same
    points.
    """
    data = _Data(x.detach().double(), model)
    state = _start(data, kmeans.plus_plus(data.x, model.truncation, generator) if centres is None else centres)
    while True:
        before, state = state.elbo, _sweep(data, state)
        yield state
        if state.elbo - before < TOLERANCE * len(x):
            merged = _merge(data, state)
            if merged is None:
                return
            state = merged
            yield state


class _Data(NamedTuple):
    """The input of a fit."""

    x: Tensor  # (N, d), float64
    model: Model

    @property
    def center(self) -> Tensor:
        """m₀ (d,)."""
        return self.x.mean(0)

    @property
    def spread(self) -> Tensor:
        """s₀² (d,)."""
        return self.x.var(0, correction=0).clamp(min=FLOOR)


def _start(data: _Data, centres: Tensor) -> Mixture:
    """Return the initial mixture: each point belongs to the nearest centre (K, d), the largest cluster comes first."""
    one = torch.ones_like(data.spread)
    nearest = scaled_distance(data.x, centres.to(data.x), one).argmin(1)
    r = _by_size(F.one_hot(nearest, len(centres)).to(data.x))
    sticks = Sticks(torch.ones_like(r[0, 1:]), torch.full_like(r[0, 1:], data.model.gamma))
    noise = data.model.noise.to(data.x) if isinstance(data.model.noise, Tensor) else data.spread
    components = Components(centres, torch.zeros_like(centres), noise)
    return Mixture(sticks, components, r, -math.inf)


def _by_size(r: Tensor) -> Tensor:
    """Return responsibilities (N, K) sorted by cluster size, the largest first, as the sticks favour."""
    return r[:, r.sum(0).argsort(descending=True, stable=True)]


def _sweep(data: _Data, state: Mixture) -> Mixture:
    components = _best_components(data, state.responsibilities, state.components.noise)
    sticks = _best_sticks(state.responsibilities.sum(0), data.model.gamma)
    logits = expected_log_weights(sticks) + expected_log_likelihood(data.x, components)
    divergence = stick_divergence(sticks, data.model.gamma) + _component_divergence(data, components)
    return Mixture(sticks, components, logits.softmax(1), float(logits.logsumexp(1).sum() - divergence))


def _merge(data: _Data, state: Mixture) -> Mixture | None:
    """Return the mixture after merging the nearest pair of clusters whose merge raises the bound, or None."""
    held = (state.responsibilities.sum(0) >= 0.5).nonzero()[:, 0]
    pairs = torch.combinations(held)
    mean = state.components.mean / state.components.noise.sqrt()
    distance = (mean[pairs[:, 0]] - mean[pairs[:, 1]]).square().sum(1)
    for k, other in pairs[distance.argsort(stable=True)[: len(held)]].tolist():
        r = state.responsibilities.clone()
        r[:, k] += r[:, other]
        r[:, other] = 0
        united = _sweep(data, state._replace(responsibilities=_by_size(r)))
        if united.elbo > state.elbo:
            return united
    return None


def _best_components(data: _Data, r: Tensor, noise: Tensor) -> Components:
    """Return q(μ) given responsibilities (N, K) and σ² (d,), then σ² given q(μ)."""
    n, total = r.sum(0)[:, None], r.T @ data.x
    variance = 1 / (1 / data.spread + n / noise)
    mean = variance * (data.center / data.spread + total / noise)
    if isinstance(data.model.noise, Tensor):
        return Components(mean, variance, noise)
    squares = r.T @ data.x.square() - 2 * mean * total + n * (mean.square() + variance)
    best = squares.sum(0) / len(data.x)
    if data.model.noise == "isotropic":
        best = best.mean().expand_as(best)
    return Components(mean, variance, best.clamp(min=FLOOR))


def _component_divergence(data: _Data, c: Components) -> Tensor:
    """Return KL(q(μ) ‖ N(m₀, s₀²)), ()."""
    ratio = c.variance / data.spread
    return (ratio + (c.mean - data.center).square() / data.spread - 1 - ratio.log()).sum() / 2


def _best_sticks(n: Tensor, gamma: float) -> Sticks:
    """Return q(v) of a DP mixture whose clusters hold n (K,) points: a = 1 + n_k, b = γ + Σ_{l>k} n_l."""
    return Sticks(1 + n[:-1], gamma + n @ n.new_ones(len(n), len(n) - 1).tril(-1))
