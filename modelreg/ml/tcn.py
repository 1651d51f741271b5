"""The parts of a TCN-VAE: a causal temporal encoder, latent heads, a decoder, a domain head behind reversal.

Sources: temporal blocks Bai 2018 (arXiv:1803.01271), the VAE Kingma & Welling 2014 (arXiv:1312.6114), free bits
Kingma 2016 (arXiv:1606.04934), gradient reversal Ganin & Lempitsky 2015 (arXiv:1409.7495). Letters: N windows, C
channels, D devices, T timesteps, Z latent dimensions. Sequences are (N, T, D·C); inside, channels come first.

The blocks carry batch normalization instead of the published weight normalization: it evens out the sizes of the
channels' activations, without which convolutions are said to quantize badly, and folds into its convolution.
`batchnorm=False` is the plain form, which the weights of older checkpoints fit.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

LOG_VARIANCE_BOUND = 8.0  # e^±8: wide enough for any posterior, far from overflow


class Latent(NamedTuple):
    """q(z|x) of windows."""

    mu: Tensor  # (N, Z)
    log_variance: Tensor  # (N, Z)


class Elbo(NamedTuple):
    """The two terms of −ELBO, each summed over all elements of a window, then the mean over windows."""

    reconstruction: Tensor  # ()
    divergence: Tensor  # ()


def to_sequence(x: Tensor) -> Tensor:
    """Return windows (N, C, D, T) as sequences (N, T, D·C), the first device's channels first."""
    return x.permute(0, 3, 2, 1).flatten(2)


def receptive_field(blocks: int, kernel: int = 3) -> int:
    """Return how many samples one output depends on: two convolutions a block, dilations 1, 2, 4, …"""
    return 1 + 2 * (kernel - 1) * ((1 << blocks) - 1)


def reconstruction_loss(x: Tensor, x_hat: Tensor, variance: float = 1.0) -> Tensor:
    """Return ½ Σ (x − x̂)² / σ² of each window, (N,), over all of its elements."""
    return (x - x_hat).square().flatten(1).sum(1) / (2 * variance)


def kl_divergence(q: Latent) -> Tensor:
    """Return KL(q ‖ N(0, 1)) = ½ (μ² + σ² − 1 − log σ²) of each dimension, (N, Z), never negative."""
    log_variance = q.log_variance
    return (q.mu.square() + torch.expm1(log_variance) - log_variance) / 2


def elbo(x: Tensor, x_hat: Tensor, q: Latent, *, variance: float = 1.0, free_bits: float = 0.0) -> Elbo:
    """Return both terms for windows and their reconstructions, of the same shape (N, …).

    With `free_bits` (nats), a dimension whose mean divergence is below that costs just that: it is free to
    carry so much.
    """
    divergence = kl_divergence(q).mean(0).clamp(min=free_bits).sum()
    return Elbo(reconstruction_loss(x, x_hat, variance).mean(), divergence)


def warm_up(progress: float, share: float, beta: float = 1.0) -> float:
    """Return the weight of the divergence: rising from 0 to β over the first `share` of the training."""
    return beta * min(1.0, progress / share) if share > 0 else beta


def reparametrize(q: Latent) -> Tensor:
    """Return z = μ + σ ε (N, Z), ε drawn by torch's own generator."""
    return q.mu + (q.log_variance / 2).exp() * torch.randn_like(q.mu)


def reversal_strength(progress: float) -> float:
    """Return λ = 2 / (1 + e^{−10 p}) − 1 at a share p of the whole training."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


def reverse_gradient(x: Tensor, strength: Tensor) -> Tensor:
    """Return x as it is; backwards, the gradient times −λ, () ."""
    reversed_: Tensor = _Reversal.apply(x, strength)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return reversed_


def positions(width: int, T: int) -> Tensor:
    """Return a code of time (width, T): cosines of half a cycle per window and faster, as in the DCT-II."""
    k, t = torch.arange(width), torch.arange(T)
    return torch.cos(math.pi / T * (k % T)[:, None] * (t + 0.5))


class Form(NamedTuple):
    """How the blocks of a stack are made."""

    kernel: int = 3
    dropout: float = 0.2
    batchnorm: bool = True
    causal: bool = True  # padding on the left alone, else on both sides
    rows: int = 0  # 0: Conv1d on (N, C, T); else Conv2d on (N, C, rows, T), whose first block unites the rows


def with_rows(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a view of a weight (out, D·C, k) in its shape (out, C, D, k), of other tensors as they are."""
    return tensor.unflatten(1, (shape[2], -1)).transpose(1, 2) if tensor.dim() == 3 else tensor


class TemporalBlock(nn.Module):
    """Two dilated convolutions beside a residual path, T steps in, T steps out.

    Padding is a layer of its own: exported as it is, or taken into the convolution as an asymmetric one.
    """

    def __init__(self, width_in: int, width: int, dilation: int, form: Form) -> None:
        super().__init__()
        self.body = nn.Sequential(OrderedDict(_block_layers(width_in, width, dilation, form)))
        same = width_in == width and dilation > 1  # the first block's input is made of other quantities
        self.downsample = nn.Identity() if same else _convolution(width_in, width, 1, 1, form.rows)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, width, T) of (N, width_in, T), or (N, width, 1, T) of (N, width_in / rows, rows, T)."""
        out: Tensor = self.relu(self.body(x) + self.downsample(x))
        return out


class Encoder(nn.Module):
    """Temporal blocks with dilations 1, 2, 4, …, then the mean over time: (N, D·C, T) to features (N, width)."""

    def __init__(
        self,
        channels: int,
        T: int,
        widths: Sequence[int] = (64, 128, 256),
        form: Form = Form(),  # noqa: B008 it is immutable
    ) -> None:
        super().__init__()
        self.blocks = _stack(channels, widths, form)
        self.average = nn.AvgPool2d((1, T)) if form.rows else nn.AvgPool1d(T)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (N, width)."""
        features: Tensor = self.average(self.blocks(x))
        return features.flatten(1)


class MeanHead(nn.Module):
    """Features (N, width) to μ (N, Z): what is left of the latent heads where there is no ELBO."""

    def __init__(self, width: int = 256, latent: int = 64) -> None:
        super().__init__()
        self.mu = nn.Linear(width, latent)

    def forward(self, features: Tensor) -> Tensor:
        """Return μ."""
        mu: Tensor = self.mu(features)
        return mu


class LatentHeads(nn.Module):
    """Features (N, width) to q(z|x); log σ² is bounded smoothly, so that its gradient never ends."""

    def __init__(self, width: int = 256, latent: int = 64) -> None:
        super().__init__()
        self.mu = nn.Linear(width, latent)
        self.log_variance = nn.Linear(width, latent)

    def forward(self, features: Tensor) -> Latent:
        """Return μ and log σ², (N, Z) each."""
        raw = self.log_variance(features)
        return Latent(self.mu(features), LOG_VARIANCE_BOUND * torch.tanh(raw / LOG_VARIANCE_BOUND))

    def draw(self, q: Latent) -> Tensor:
        """Return z (N, Z): drawn in training, μ in evaluation."""
        return reparametrize(q) if self.training else q.mu


class Decoder(nn.Module):
    """z (N, Z) to sequences (N, T, D·C). A code of time tells each step which it is; the last layer is linear.

    Its blocks look both ways in time: it never runs on a device.
    """

    code: Tensor

    def __init__(
        self,
        channels: int,
        T: int,
        latent: int = 64,
        widths: Sequence[int] = (128, 128, 64),
        form: Form = Form(causal=False),  # noqa: B008 it is immutable
    ) -> None:
        super().__init__()
        self.spread = nn.Linear(latent, widths[0])
        self.register_buffer("code", positions(widths[0], T), persistent=False)
        self.blocks = _stack(widths[0], widths, form)
        self.out = nn.Conv1d(widths[-1], channels, 1)

    def forward(self, z: Tensor) -> Tensor:
        """Return reconstructions x̂ (N, T, D·C)."""
        out: Tensor = self.out(self.blocks(self.spread(z)[:, :, None] + self.code))
        return out.transpose(1, 2)


class DomainHead(nn.Module):
    """Tells the domain from μ (N, Z); its gradient, reversed, makes the encoder hide it."""

    strength: Tensor

    def __init__(self, latent: int, domains: int, hidden: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, domains))
        self.register_buffer("strength", torch.zeros(()))

    def forward(self, mu: Tensor) -> Tensor:
        """Return logits (N, domains)."""
        logits: Tensor = self.layers(reverse_gradient(mu, self.strength))
        return logits

    def advance(self, progress: float) -> None:
        """Set λ for this share of the whole training, 0 … 1."""
        self.strength.fill_(reversal_strength(progress))


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: Tensor) -> Tensor:
        ctx.save_for_backward(strength)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (strength,) = ctx.saved_tensors
        return -strength * gradients[0], None


def _stack(width_in: int, widths: Sequence[int], form: Form) -> nn.Sequential:
    """Return blocks in a row; the dilation doubles with each, the rows are united by the first."""
    blocks = OrderedDict[str, nn.Module]()
    for n, width in enumerate(widths):
        blocks[f"block{n + 1}"] = TemporalBlock(width_in, width, 1 << n, form)
        width_in, form = width, form._replace(rows=min(form.rows, 1))
    return nn.Sequential(blocks)


def _block_layers(width_in: int, width: int, dilation: int, form: Form) -> Iterator[tuple[str, nn.Module]]:
    total = (form.kernel - 1) * dilation
    left = total if form.causal else total // 2
    for n, (before, rows) in enumerate([(width_in, form.rows), (width, min(form.rows, 1))], 1):
        sides = (left, total - left)
        yield f"pad{n}", nn.ZeroPad2d((*sides, 0, 0)) if rows else nn.ZeroPad1d(sides)
        yield f"conv{n}", _convolution(before, width, form.kernel, dilation, rows)
        if form.batchnorm:
            yield f"norm{n}", nn.BatchNorm2d(width) if rows else nn.BatchNorm1d(width)
        yield f"relu{n}", nn.ReLU()
        yield f"dropout{n}", nn.Dropout(form.dropout)


def _convolution(width_in: int, width: int, kernel: int, dilation: int, rows: int) -> nn.Module:
    if not rows:
        return nn.Conv1d(width_in, width, kernel, dilation=dilation)
    return nn.Conv2d(width_in // rows, width, (rows, kernel), dilation=(1, dilation))
