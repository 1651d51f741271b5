"""What every model system is: a device part, a host part, and what only its training needs.

The device part, up to and with the continuous projection, holds only what an NPU compiles well. The host part
quantizes and classifies. A system adds its own terms to the loss of the classification; each is differentiable, already
weighted, and named in the history.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from modelreg.evaluation.metrics import ACTIVE_SHARE
from modelreg.ml.vq import VQ
from modelreg.records.hsmm import HsmmSpec
from modelreg.records.model import VqSettings

Shape = tuple[int, int, int]  # C channels, D device rows, T timesteps


class HostOutput(NamedTuple):
    """What the host computes from a projection."""

    code: Tensor  # (N, w), float32: the level of each dimension (FSQ), the number of the code (VQ), or w = 0
    code_index: Tensor  # (N,), int64; 0 where nothing is quantized
    logits: Tensor  # (N, K)
    features: Tensor  # (N, d): what the quantizer made of the projection
    cluster: Tensor | None = None  # (N,), int64: the likeliest cluster of a mixture
    bound: Tensor | None = None  # (N,): each window's share of the mixture's ELBO


class Output(NamedTuple):
    """What a network computes from windows."""

    projection: Tensor  # (N, d), continuous: where device and host meet
    code: Tensor
    code_index: Tensor
    logits: Tensor
    features: Tensor
    cluster: Tensor | None = None
    bound: Tensor | None = None


class Batch(NamedTuple):
    """Windows that one step sees."""

    x: Tensor  # (N, C, D, T)
    y: Tensor  # (N,), int64
    domain: Tensor | None = None  # (N,), int64: the data set that each window is of
    session: Tensor | None = None  # (N,), int64: the recording of the training part that each window is of
    streams: tuple[int, ...] = ()  # lengths of the pieces of consecutive windows, in order; of systems with a chunk


class Groups(NamedTuple):
    """How many groups the training part has: what only training needs has weights for each."""

    domains: int = 0  # data sets; under two there is no domain head
    sessions: int = 0  # recordings; 0: a mixture without groups


class Network(nn.Module):
    """A model system, as training, evaluation and export see it."""

    device_part: nn.Module  # windows (N, C, D, T) -> projection (N, d)
    host_part: nn.Module  # projection (N, d) -> HostOutput
    chunk = 1  # consecutive windows that a step must see together
    classification = 1.0  # weight of its loss
    progress = 0.0  # share of the training's steps that are done
    windows = 1  # of the training part

    def __init__(self, shape: Shape, classes: int, levels: tuple[int, ...] | None, projection: int) -> None:
        super().__init__()
        self.shape = shape
        self.classes = classes
        self.levels = levels  # of the digits of a code; None: nothing is quantized
        self.projection = projection

    def forward(self, x: Tensor) -> Output:
        """Return all that follows from windows (N, C, D, T)."""
        projection = self.device_part(x)
        return Output(projection, *self.host_part(projection))

    def answer(self, batch: Batch) -> Output:
        """Return all that follows from a batch of the training, of which more is known than its windows."""
        output: Output = self(batch.x)
        return output

    def terms(self, _batch: Batch, _output: Output) -> dict[str, Tensor]:
        """Return the terms of the loss beside the classification, each (), weighted; none by default."""
        return {}

    def prepare(self, y: Tensor, streams: tuple[int, ...]) -> None:
        """Take from the labels (N,) of the training part what weights start from; nothing by default."""

    def advance(self, progress: float) -> None:
        """Say how far the training is, from 0 to 1: what is annealed depends on it."""
        self.progress = progress

    def undecided(self, projection: Tensor, _within: float) -> Tensor:
        """Return (N, w), bool: whether a projection lies so near to a boundary between codes that bits decide."""
        return torch.zeros(len(projection), 0, dtype=torch.bool)

    def freeze(self) -> None:
        """Replace what only training can change by constants, so that a graph holds plain operators; in place."""

    def smoother(self, _classes: Sequence[str]) -> HsmmSpec | None:
        """Return what smooths the classes of consecutive windows, where the system has it."""
        return None

    def mean_duration(self) -> float | None:
        """Return how many windows a state lasts on average, where durations are modelled."""
        return None


def active_clusters(cluster: Tensor) -> int:
    """Return how many clusters (N,) hold at least ACTIVE_SHARE of the windows."""
    counts = torch.bincount(cluster)
    return int((counts >= ACTIVE_SHARE * len(cluster)).sum())


def classifier(width: int, hidden: int, dropout: float, classes: int) -> nn.Sequential:
    """Return the layers from what a quantizer made of a projection (N, width) to the logits (N, K)."""
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, classes))


def codebook(settings: VqSettings, dimensions: int) -> VQ:
    """Return the vector quantizer of a configuration."""
    return VQ(
        settings.codes,
        dimensions,
        commitment=settings.commitment,
        decay=settings.decay,
        threshold=settings.restart_below,
    )
