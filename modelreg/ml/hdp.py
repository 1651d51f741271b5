"""The mixture of dirichlet_process.py as a layer, trained by gradient together with the network.

The logit of cluster k for a point z is E log π_k − ½ d², where d is the distance from the centre in units of σ. In
training, the cluster weights are samples of the Gumbel-softmax distribution (Jang 2017, arXiv:1611.01144; Maddison
2017) at a falling temperature. In evaluation they are softmax(logits).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from modelreg.ml import dirichlet_process
from modelreg.ml.dirichlet_process import Model, Sticks

START_POINTS = 2048  # of the first batch; the initial mixture is fitted to them


class Assigned(NamedTuple):
    """The cluster assignment of N points."""

    logits: Tensor  # (N, K)
    weights: Tensor  # (N, K), sum to 1
    cluster: Tensor  # (N,), int64, argmax of the logits
    bound: Tensor  # (N,), log Σ_k exp(E log π_k + log N(z | k)): the contribution of each point to the ELBO


def assignment_logits(z: Tensor, log_pi: Tensor, centres: Tensor, noise: Tensor) -> Tensor:
    """Return log π − ½ d² (N, K) of points (N, d), log π (N, K) or (K,), centres (K, d), σ² () or (d,)."""
    return log_pi - dirichlet_process.scaled_distance(z, centres, noise) / 2


def log_volume(z: Tensor, noise: Tensor) -> Tensor:
    """Return −½ d² − log N(z | k), (), the log normalizer, of points (N, d) and one σ² ()."""
    return z.shape[1] * (2 * math.pi * noise).log() / 2


def gumbel_softmax(logits: Tensor, temperature: Tensor | float) -> Tensor:
    """Return random weights (N, K) for logits (N, K), from torch's generator; near one-hot at low temperature."""
    gumbel = -torch.empty_like(logits).exponential_().log()
    return ((logits + gumbel) / temperature).softmax(-1)


def temperature_at(progress: float, start: float = 1.0, end: float = 0.5) -> float:
    """Return the temperature at a progress from 0 to 1 of the training, geometric from `start` to `end`."""
    return start * math.pow(end / start, progress)


class HDP(nn.Module):
    """An HDP mixture with `groups` (the sessions of the training), or a DP mixture without groups.

    The parameters are q(v), θ, the centres and one σ². Positive parameters are stored as logarithms, so that a step
    changes each in proportion to its size. The first batch initializes the layer with a fitted DP mixture.
    """

    temperature: Tensor
    initialised: Tensor

    def __init__(
        self, dimensions: int, clusters: int = 20, groups: int = 0, *, gamma: float = 1.0, alpha: float = 1.0
    ) -> None:
        super().__init__()
        self.model = Model(gamma, alpha, clusters, "isotropic")
        self.centres = nn.Parameter(torch.randn(clusters, dimensions))
        self.log_noise = nn.Parameter(torch.zeros(()))
        self.log_sticks = nn.Parameter(
            torch.stack([torch.ones(clusters - 1), torch.arange(clusters - 1, 0, -1.0)]).log()
        )
        self.log_groups = nn.Parameter(torch.zeros(groups, clusters)) if groups else None
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("initialised", torch.tensor(0))  # int64: checkpoints have no bool tensors

    @property
    def sticks(self) -> Sticks:
        """q(v)."""
        return Sticks(*self.log_sticks.exp())

    def forward(self, z: Tensor, group: Tensor | None = None) -> Assigned:
        """Assign points (N, d) to clusters, with groups (N,), int64, if they are known.

        The gradient of the bound reaches the layer but not z, because an encoder that maximizes the density of its
        embeddings maps them all to one point. The encoder is trained through the cluster weights.
        """
        if self.training and not self.initialised:
            self._start(z.detach()[:: max(1, len(z) // START_POINTS)])
        log_pi, noise = self.log_pi(group), self.log_noise.exp()
        logits = assignment_logits(z, log_pi, self.centres, noise)
        fitted = assignment_logits(z.detach(), log_pi, self.centres, noise)
        return Assigned(
            logits=logits,
            weights=gumbel_softmax(logits, self.temperature) if self.training else logits.softmax(1),
            cluster=logits.argmax(1),
            bound=fitted.logsumexp(1) - log_volume(z, noise),
        )

    def log_pi(self, group: Tensor | None = None) -> Tensor:
        """Return E log π (N, K) of groups (N,), or E log β (K,) if the groups are unknown or not modelled."""
        if group is None or self.log_groups is None:
            return dirichlet_process.expected_log_weights(self.sticks)
        return dirichlet_process.expected_log_group_weights(self.log_groups.exp())[group]

    def frozen(self) -> "Frozen":
        """Return the layer for evaluation, for points of unknown groups."""
        return Frozen(self.log_pi(), self.centres, self.log_noise.exp())

    def loss(self, bound: Tensor, windows: int) -> Tensor:
        """Return −ELBO per window, (), from the bounds (N,) of a batch; `windows` is the size of the train split."""
        return self.divergence() / windows - bound.mean()

    def divergence(self) -> Tensor:
        """Return KL(q(v) ‖ p(v)), (), plus the bound of KL(q(π) ‖ p(π)) with groups."""
        own = dirichlet_process.stick_divergence(self.sticks, self.model.gamma)
        if self.log_groups is None:
            return own
        return own + dirichlet_process.group_divergence(self.log_groups.exp(), self.sticks, self.model.alpha).sum()

    def advance(self, progress: float, start: float = 1.0, end: float = 0.5) -> None:
        """Set the temperature for this progress of the training, from 0 to 1."""
        self.temperature.fill_(temperature_at(progress, start, end))

    @torch.no_grad()
    def _start(self, z: Tensor) -> None:
        """Initialize the clusters from a DP mixture of points (n, d); empty clusters are drawn from the prior.

        Each group starts with the counts of these points, plus one point in each cluster.
        """
        fitted = dirichlet_process.dp_mixture_fit(z, self.model)
        c, n = fitted.components, fitted.responsibilities.sum(0)
        self.centres.copy_(c.mean + c.variance.sqrt() * torch.randn(c.mean.shape).to(c.mean))
        self.log_noise.copy_(c.noise.mean().log())
        self.log_sticks.copy_(torch.stack(fitted.sticks).log())
        if self.log_groups is not None:
            self.log_groups.copy_((self.model.alpha * dirichlet_process.expected_weights(fitted.sticks) + n + 1).log())
        self.initialised.fill_(1)


class Frozen(nn.Module):
    """The layer in evaluation with constant weights, which can be exported as a graph."""

    log_pi: Tensor
    centres: Tensor
    noise: Tensor

    def __init__(self, log_pi: Tensor, centres: Tensor, noise: Tensor) -> None:
        super().__init__()
        for name, tensor in (("log_pi", log_pi), ("centres", centres), ("noise", noise)):
            self.register_buffer(name, tensor.detach().clone())

    def forward(self, z: Tensor, _group: Tensor | None = None) -> Assigned:
        """Assign points (N, d) to clusters."""
        logits = assignment_logits(z, self.log_pi, self.centres, self.noise)
        return Assigned(logits, logits.softmax(1), logits.argmax(1), logits.logsumexp(1) - log_volume(z, self.noise))
