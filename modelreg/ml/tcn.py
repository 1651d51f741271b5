"""The components of a TCN-VAE: causal temporal encoder, latent heads, decoder, domain head with gradient reversal.

Sources: temporal blocks Bai 2018 (arXiv:1803.01271), the VAE Kingma & Welling 2014 (arXiv:1312.6114), free bits
Kingma 2016 (arXiv:1606.04934), gradient reversal Ganin & Lempitsky 2015 (arXiv:1409.7495). Letters: N windows, C
channels, D devices, T timesteps, Z latent dimensions. Sequences are (N, T, D·C); layers use (N, D·C, T).

The blocks use batch normalization instead of the published weight normalization. It equalizes the activations of the
channels, which helps int8 quantization, and can be folded into the convolution. `batchnorm=False` has neither, which is
the form of folded legacy checkpoints.
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
    """The two terms of −ELBO: each a sum over all elements of a window, averaged over windows."""

    reconstruction: Tensor  # ()
    divergence: Tensor  # ()


def to_sequence(x: Tensor) -> Tensor:
    """Return windows (N, C, D, T) as sequences (N, T, D·C); the channels of the first device come first."""
    return x.permute(0, 3, 2, 1).flatten(2)


def receptive_field(blocks: int, kernel: int = 3) -> int:
    """Return the receptive field in timesteps of blocks with two convolutions and dilations 1, 2, 4, …"""
    return 1 + 2 * (kernel - 1) * ((1 << blocks) - 1)


def reconstruction_loss(x: Tensor, x_hat: Tensor, variance: float = 1.0) -> Tensor:
    """Return ½ Σ (x − x̂)² / σ² over all elements of each window, (N,)."""
    return (x - x_hat).square().flatten(1).sum(1) / (2 * variance)


def kl_divergence(q: Latent) -> Tensor:
    """Return KL(q ‖ N(0, 1)) = ½ (μ² + σ² − 1 − log σ²) ≥ 0 of each dimension, (N, Z)."""
    log_variance = q.log_variance
    return (q.mu.square() + torch.expm1(log_variance) - log_variance) / 2


def elbo(x: Tensor, x_hat: Tensor, q: Latent, *, variance: float = 1.0, free_bits: float = 0.0) -> Elbo:
    """Return both terms for windows and their reconstructions, of the same shape (N, …).

    `free_bits` (nats) is the lower limit of the mean divergence of each dimension: information up to this
    amount costs nothing.
    """
    divergence = kl_divergence(q).mean(0).clamp(min=free_bits).sum()
    return Elbo(reconstruction_loss(x, x_hat, variance).mean(), divergence)


def warm_up(progress: float, share: float, beta: float = 1.0) -> float:
    """Return the weight of the divergence, which rises from 0 to β over the first `share` of the training."""
    return beta * min(1.0, progress / share) if share > 0 else beta


def reparametrize(q: Latent) -> Tensor:
    """Return z = μ + σ ε (N, Z), with ε from torch's generator."""
    return q.mu + (q.log_variance / 2).exp() * torch.randn_like(q.mu)


def reversal_strength(progress: float) -> float:
    """Return λ = 2 / (1 + e^{−10 p}) − 1 at progress p, from 0 to 1, of the training."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


def reverse_gradient(x: Tensor, strength: Tensor) -> Tensor:
    """Return x; the backward pass multiplies the gradient by −λ, ()."""
    reversed_: Tensor = _Reversal.apply(x, strength)  # type: ignore[no-untyped-call]  # untyped in torch
    return reversed_


def positions(width: int, T: int) -> Tensor:
    """Return a position code (width, T): the cosines of the DCT-II, from half a cycle per window upwards."""
    k, t = torch.arange(width), torch.arange(T)
    return torch.cos(math.pi / T * (k % T)[:, None] * (t + 0.5))


class Form(NamedTuple):
    """The form of the blocks in a stack."""

    kernel: int = 3
    dropout: float = 0.2
    batchnorm: bool = True
    causal: bool = True  # padding on the left only; False: on both sides
    rows: int = 0  # 0: Conv1d on (N, C, T); else Conv2d on (N, C, rows, T), where the first block merges the rows


def with_rows(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a view of a weight (out, D·C, k) in the shape (out, C, D, k), and other tensors unchanged."""
    return tensor.unflatten(1, (shape[2], -1)).transpose(1, 2) if tensor.dim() == 3 else tensor


class TemporalBlock(nn.Module):
    """Two dilated convolutions with a residual path; T timesteps in and out.

    Padding is a separate layer. An export keeps it, or merges it into the convolution as asymmetric padding.
    """

    def __init__(self, width_in: int, width: int, dilation: int, form: Form) -> None:
        super().__init__()
        self.body = nn.Sequential(OrderedDict(_block_layers(width_in, width, dilation, form)))
        same = width_in == width and dilation > 1  # the input of the first block has other quantities than its output
        self.downsample = nn.Identity() if same else _convolution(width_in, width, 1, 1, form.rows)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, width, T) of (N, width_in, T), or (N, width, 1, T) of (N, width_in / rows, rows, T)."""
        out: Tensor = self.relu(self.body(x) + self.downsample(x))
        return out


class Encoder(nn.Module):
    """Temporal blocks with dilations 1, 2, 4, … and a mean over time: (N, D·C, T) to features (N, width)."""

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
    """Features (N, width) to μ (N, Z), for systems without an ELBO."""

    def __init__(self, width: int = 256, latent: int = 64) -> None:
        super().__init__()
        self.mu = nn.Linear(width, latent)

    def forward(self, features: Tensor) -> Tensor:
        """Return μ."""
        mu: Tensor = self.mu(features)
        return mu


class LatentHeads(nn.Module):
    """Features (N, width) to q(z|x); log σ² is bounded smoothly, so that its gradient is never 0."""

    def __init__(self, width: int = 256, latent: int = 64) -> None:
        super().__init__()
        self.mu = nn.Linear(width, latent)
        self.log_variance = nn.Linear(width, latent)

    def forward(self, features: Tensor) -> Latent:
        """Return μ and log σ², (N, Z) each."""
        raw = self.log_variance(features)
        return Latent(self.mu(features), LOG_VARIANCE_BOUND * torch.tanh(raw / LOG_VARIANCE_BOUND))

    def draw(self, q: Latent) -> Tensor:
        """Return z (N, Z): a random sample in training, μ in evaluation."""
        return reparametrize(q) if self.training else q.mu


class Decoder(nn.Module):
    """z (N, Z) to sequences (N, T, D·C), with a position code for each timestep and a linear last layer.

    Its blocks are not causal, because the decoder is used in training only.
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
    """Classify the domain from μ (N, Z); the reversed gradient trains the encoder to remove the domain."""

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
        """Set λ for this progress of the training, from 0 to 1."""
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
    """Return a sequence of blocks; the dilation doubles with each, and the first merges the rows."""
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
