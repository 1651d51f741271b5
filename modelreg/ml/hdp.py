"""The mixture of dirichlet_process.py as a layer, learned by gradient with the network that it is part of.

A point z belongs to cluster k with logit E log π_k − ½ d², d its distance from the centre in units of σ. In
training the weights of the clusters are drawn from the Gumbel-softmax (Jang 2017, arXiv:1611.01144; Maddison 2017)
at a temperature that falls; in evaluation they are softmax(logits) and nothing is drawn.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from modelreg.ml import dirichlet_process
from modelreg.ml.dirichlet_process import Model, Sticks

START_POINTS = 2048  # of the first batch, that a mixture is fitted to


class Assigned(NamedTuple):
    """What the layer makes of points."""

    logits: Tensor  # (N, K)
    weights: Tensor  # (N, K), sum to 1
    cluster: Tensor  # (N,), int64, argmax of the logits
    bound: Tensor  # (N,), log Σ_k exp(E log π_k + log N(z | k)): each point's share of the ELBO


def assignment_logits(z: Tensor, log_pi: Tensor, centres: Tensor, noise: Tensor) -> Tensor:
    """Return log π − ½ d² (N, K) of points (N, d), log π (N, K) or (K,), centres (K, d), σ² () or (d,)."""
    return log_pi - dirichlet_process.scaled_distance(z, centres, noise) / 2


def log_volume(z: Tensor, noise: Tensor) -> Tensor:
    """Return what log N(z | k) is less than −½ d² by, (), of points (N, d) and one σ² ()."""
    return z.shape[1] * (2 * math.pi * noise).log() / 2


def gumbel_softmax(logits: Tensor, temperature: Tensor | float) -> Tensor:
    """Return weights (N, K) drawn around the logits (N, K) by torch's own generator; sharp where it is cold."""
    gumbel = -torch.empty_like(logits).exponential_().log()
    return ((logits + gumbel) / temperature).softmax(-1)


def temperature_at(progress: float, start: float = 1.0, end: float = 0.5) -> float:
    """Return the temperature at a share of the training, geometric from `start` to `end`."""
    return start * math.pow(end / start, progress)


class HDP(nn.Module):
    """Hierarchical with `groups`, the sessions of the training; without, a DP mixture.

    Its parameters are q(v), θ, the centres and one σ², those that must be positive as logarithms: a step then
    changes each by a share of itself. It starts at the clusters of a DP mixture fitted to the first batch.
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
        self.register_buffer("initialised", torch.tensor(0))  # int64: a checkpoint has no truth values

    @property
    def sticks(self) -> Sticks:
        """q(v)."""
        return Sticks(*self.log_sticks.exp())

    def forward(self, z: Tensor, group: Tensor | None = None) -> Assigned:
        """Assign points (N, d), of groups (N,), int64, where these are known.

        The bound's gradient reaches the layer but not z: embeddings that may raise their own density shrink
        to one point. What follows the weights teaches the encoder.
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
        """Return E log π (N, K) of groups (N,); E log β (K,) where they are not known or there are none."""
        if group is None or self.log_groups is None:
            return dirichlet_process.expected_log_weights(self.sticks)
        return dirichlet_process.expected_log_group_weights(self.log_groups.exp())[group]

    def frozen(self) -> "Frozen":
        """Return the layer as it is in evaluation, for points of unknown groups."""
        return Frozen(self.log_pi(), self.centres, self.log_noise.exp())

    def loss(self, bound: Tensor, windows: int) -> Tensor:
        """Return −ELBO per window, (), from the bounds (N,) of a batch, out of a training with `windows`."""
        return self.divergence() / windows - bound.mean()

    def divergence(self) -> Tensor:
        """Return KL(q(v) ‖ p(v)), with groups plus the bound of KL(q(π) ‖ p(π)), ()."""
        own = dirichlet_process.stick_divergence(self.sticks, self.model.gamma)
        if self.log_groups is None:
            return own
        return own + dirichlet_process.group_divergence(self.log_groups.exp(), self.sticks, self.model.alpha).sum()

    def advance(self, progress: float, start: float = 1.0, end: float = 0.5) -> None:
        """Set the temperature for this share of the training, 0 … 1."""
        self.temperature.fill_(temperature_at(progress, start, end))

    @torch.no_grad()
    def _start(self, z: Tensor) -> None:
        """Take the clusters of a DP mixture of points (n, d); an empty one is drawn from its prior.

        Each group begins as if it had seen these points, and one more in every cluster.
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
    """The layer in evaluation, its weights constants: what a graph can hold."""

    log_pi: Tensor
    centres: Tensor
    noise: Tensor

    def __init__(self, log_pi: Tensor, centres: Tensor, noise: Tensor) -> None:
        super().__init__()
        for name, tensor in (("log_pi", log_pi), ("centres", centres), ("noise", noise)):
            self.register_buffer(name, tensor.detach().clone())

    def forward(self, z: Tensor, _group: Tensor | None = None) -> Assigned:
        """Assign points (N, d)."""
        logits = assignment_logits(z, self.log_pi, self.centres, self.noise)
        return Assigned(logits, logits.softmax(1), logits.argmax(1), logits.logsumexp(1) - log_volume(z, self.noise))
