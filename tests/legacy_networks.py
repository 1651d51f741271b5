"""Legacy networks with the documented tensor names and shapes.

Each has all layers with tensors, and a forward pass where a test compares outputs.
"""

import math
import warnings
from collections import OrderedDict
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn


def conv(width: int, out: int, *kernel: int) -> nn.Conv2d:
    """Return a convolution over time with equal numbers of timesteps in and out."""
    return nn.Conv2d(width, out, kernel, padding=(0, kernel[1] // 2))


def rounded(z: Tensor, levels: tuple[int, ...]) -> Tensor:
    """Return the codes of finite scalar quantization with a range factor of 1 + 1e-3."""
    L = torch.tensor(levels)
    half, offset = (L - 1) * 1.001 / 2, torch.where(L % 2 == 0, 0.5, 0.0)
    return torch.round(torch.tanh(z + torch.atanh(offset / half)) * half - offset) / (L // 2)


class PooledFsq(nn.Module):
    """The README graph with 39,762 parameters, or with (64, 32) and no dropout the FSQ-Hailo encoder with 26,162."""

    def __init__(
        self, last: int = 128, hidden: int = 64, classes: int = 10, *, dropout: bool = True, channels: int = 9
    ) -> None:
        super().__init__()
        for n, (width, out, length) in enumerate(((channels, 32, 7), (32, 64, 5), (64, last, 3)), 1):
            self.add_module(f"conv{n}", conv(width, out, 1, length))
            self.add_module(f"bn{n}", nn.BatchNorm2d(out))
        self.fsq_projection = nn.Linear(last, 8)
        between = [nn.Dropout(0.0)] if dropout else []
        self.classifier = nn.Sequential(nn.Linear(8, hidden), nn.ReLU(), *between, nn.Linear(hidden, classes))

    def project(self, x: Tensor) -> Tensor:
        """Return the projection (N, 8) of windows (N, 9, 2, T)."""
        for n in (1, 2, 3):
            x = torch.relu(getattr(self, f"bn{n}")(getattr(self, f"conv{n}")(x)))
            x = torch.max_pool2d(x, (1, 2)) if n < 3 else x
        return self.fsq_projection(x.mean(dim=(2, 3)))


class UnpooledFsq(nn.Module):
    """Conv2dFSQ with 57,293 parameters for levels [8, 6, 5], or 58,063 for [8, 6, 5, 5, 4]."""

    def __init__(self, levels: tuple[int, ...] = (8, 6, 5, 5, 4), classes: int = 10, *, channels: int = 9) -> None:
        super().__init__()
        layers = OrderedDict()
        for n, (width, out) in enumerate(((channels, 32), (32, 64), (64, 128)), 1):
            layers |= {f"conv{n}": conv(width, out, 1, 5), f"bn{n}": nn.BatchNorm2d(out)}
        self.encoder = nn.Sequential(layers)
        self.projection = nn.Linear(128, len(levels))
        head = nn.Linear(len(levels), 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, classes)
        self.classifier = nn.Sequential(*head)
        self.register_buffer("code_counts", torch.zeros(math.prod(levels)))
        self.register_buffer("total_samples", torch.tensor(0))
        self.levels = levels

    def project(self, x: Tensor) -> Tensor:
        """Return the projection (N, d) of windows (N, 9, 2, T)."""
        for n in (1, 2, 3):
            conv, norm = getattr(self.encoder, f"conv{n}"), getattr(self.encoder, f"bn{n}")
            x = torch.relu(norm(conv(x)))
        return self.projection(x.mean(dim=(2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, 10) of codes."""
        return self.classifier(rounded(self.project(x), self.levels))


class AblationFsq(nn.Module):
    """The FSQ and "HSMM" graph of the ablation with 46,102 parameters."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        sizes = enumerate(((9, 32, 7), (32, 64, 5), (64, 128, 3)), 1)
        self.encoder = nn.Sequential(OrderedDict((f"conv{n}", conv(a, b, 1, k)) for n, (a, b, k) in sizes))
        self.fsq_proj = nn.Linear(128, 8)
        self.hsmm = nn.Sequential(nn.Dropout(), nn.Linear(8, 100))
        self.classifier = nn.Sequential(nn.Linear(100, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, classes))
        self.register_buffer("code_usage", torch.zeros(1000))

    def project(self, x: Tensor) -> Tensor:
        """Return the projection (N, 8) of windows (N, 9, 2, T)."""
        for n in (1, 2, 3):
            x = torch.relu(getattr(self.encoder, f"conv{n}")(x))
            x = torch.max_pool2d(x, (1, 2)) if n < 3 else x
        return self.fsq_proj(x.mean(dim=(2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, 10) of codes."""
        return self.classifier(self.hsmm(rounded(self.project(x), (8,) * 8)))


class TemporalBlock(nn.Module):
    """Two convolutions with the deprecated weight norm, each listed under two names."""

    def __init__(self, width: int, out: int, dilation: int = 1) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the deprecated weight norm is intended here
            self.conv1 = nn.utils.weight_norm(nn.Conv1d(width, out, 3, dilation=dilation))
            self.conv2 = nn.utils.weight_norm(nn.Conv1d(out, out, 3, dilation=dilation))
        blank = nn.Identity
        self.net = nn.Sequential(self.conv1, blank(), blank(), blank(), self.conv2, blank(), blank(), blank())
        if width != out:
            self.downsample = nn.Conv1d(width, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return causal features with the same number of timesteps."""
        out, before = x, 2 * self.conv1.dilation[0]
        for layer in (self.conv1, self.conv2):
            out = torch.relu(layer(nn.functional.pad(out, (before, 0))))
        return torch.relu(out + (self.downsample(x) if hasattr(self, "downsample") else x))


class Tcn(nn.Module):
    """A sequence of temporal blocks; a checkpoint of the encoder only has its tensors."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        blocks = (TemporalBlock(a, b, 1 << n) for n, (a, b) in enumerate(pairwise(widths)))
        self.network = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (N, width) of sequences (N, T, channels)."""
        return self.network(x.transpose(1, 2)).mean(2)


class TcnVae(nn.Module):
    """The TCN-VAE with 1,104,175 parameters for 12 classes and 108 tensor names."""

    def __init__(self, classes: int = 12, widths: tuple[int, int, int] = (64, 128, 256), *, channels: int = 9) -> None:
        super().__init__()
        last = widths[-1]
        self.tcn_encoder = Tcn(channels, *widths)
        self.fc_mu, self.fc_logvar, self.decoder_fc = nn.Linear(last, 64), nn.Linear(last, 64), nn.Linear(64, last)
        self.tcn_decoder = Tcn(last, *widths[::-1], channels)
        self.activity_classifier = nn.Linear(64, classes)
        self.domain_classifier = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))


class VqCoder(nn.Module):
    """The blocks between the first and the last layer of the encoder or the decoder."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        blocks = (nn.Sequential(conv(a, b, 1, 3), nn.BatchNorm2d(b)) for a, b in pairwise(widths))
        self.temporal_layers = nn.ModuleList(blocks)


class Conv2dVq(nn.Module):
    """Conv2d-VQ with 304,645 parameters and 50 tensor names."""

    def __init__(self, codes: int = 512, classes: int = 12, *, channels: int = 9, devices: int = 2) -> None:
        super().__init__()
        self.encoder, self.decoder, self.vq = VqCoder(64, 128, 256), VqCoder(256, 128, 64), nn.Module()
        self.encoder.initial_conv, self.encoder.to_codes = conv(channels, 64, devices, 5), nn.Conv2d(256, 64, 1)
        self.decoder.from_codes = nn.Conv2d(64, 256, 1)
        self.decoder.final_conv = nn.ConvTranspose2d(64, channels, (devices, 5))
        for name, shape in {
            "embedding": (codes, 64),
            "ema_cluster_size": (codes,),
            "ema_embed_sum": (codes, 64),
        }.items():
            self.vq.register_buffer(name, torch.rand(shape))
        self.vq.register_buffer("steps", torch.tensor(3))
        self.vq.register_buffer("code_usage_count", torch.zeros(codes))
        self.vq.register_buffer("total_usage_updates", torch.tensor(3))
        blank = nn.Identity
        self.activity_classifier = nn.Sequential(
            blank(), blank(), nn.Linear(64, 128), blank(), blank(), nn.Linear(128, classes)
        )
        self.state_predictor = nn.Sequential(nn.Conv2d(64, 32, 1), blank(), nn.Conv2d(32, 16, 1))

    def encode(self, x: Tensor) -> Tensor:
        """Return the vectors (N, 64, T) of windows (N, 9, 2, T)."""
        x = self.encoder.initial_conv(x)
        for block in self.encoder.temporal_layers:
            x = torch.relu(block(x))
        return self.encoder.to_codes(x)[:, :, 0]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes (N, T) and the logits (N, classes)."""
        z, e = self.encode(x).transpose(1, 2), self.vq.embedding
        index = (z[:, :, None] - e).square().sum(3).argmin(2)
        hidden = torch.relu(self.activity_classifier[2](e[index].mean(1)))
        return index, self.activity_classifier[5](hidden)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Compute on one thread, because two threads on a busy machine are slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeded(make, *args, **kwargs) -> nn.Module:
    """Return a network with reproducible weights, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = make(*args, **kwargs)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
    return network.eval()
