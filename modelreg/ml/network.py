"""The base class of model systems: a device part, a host part, and components for training only.

The device part computes the continuous projection, with layers that an NPU compiles well. The host part quantizes and
classifies. A system may add terms to the classification loss. Each term is differentiable, weighted, and recorded by
name in the history.
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
    """The output of the host part for N projections."""

    code: Tensor  # (N, w), float32: the level of each dimension (FSQ), the number of the code (VQ), or w = 0
    code_index: Tensor  # (N,), int64; 0 without a quantizer
    logits: Tensor  # (N, K)
    features: Tensor  # (N, d): the quantized projection
    cluster: Tensor | None = None  # (N,), int64: the most likely cluster of the mixture
    bound: Tensor | None = None  # (N,): the contribution of each window to the ELBO of the mixture


class Output(NamedTuple):
    """The output of a network for N windows."""

    projection: Tensor  # (N, d), continuous; the output of the device part
    code: Tensor
    code_index: Tensor
    logits: Tensor
    features: Tensor
    cluster: Tensor | None = None
    bound: Tensor | None = None


class Batch(NamedTuple):
    """The windows of one training step."""

    x: Tensor  # (N, C, D, T)
    y: Tensor  # (N,), int64
    domain: Tensor | None = None  # (N,), int64: the data set of each window
    session: Tensor | None = None  # (N,), int64: the recording in the train split of each window
    streams: tuple[int, ...] = ()  # lengths of the runs of consecutive windows, in order; for systems with a chunk


class Groups(NamedTuple):
    """The number of groups in the train split; some components for training have weights for each group."""

    domains: int = 0  # data sets; a domain head needs at least 2
    sessions: int = 0  # recordings; 0: a mixture without groups


class Network(nn.Module):
    """The interface of a model system for training, evaluation and export."""

    device_part: nn.Module  # windows (N, C, D, T) -> projection (N, d)
    host_part: nn.Module  # projection (N, d) -> HostOutput
    chunk = 1  # consecutive windows in a training step
    classification = 1.0  # weight of the classification loss
    progress = 0.0  # progress of the training, from 0 to 1
    windows = 1  # in the train split

    def __init__(self, shape: Shape, classes: int, levels: tuple[int, ...] | None, projection: int) -> None:
        super().__init__()
        self.shape = shape
        self.classes = classes
        self.levels = levels  # of each digit of a code; None: no quantizer
        self.projection = projection

    def forward(self, x: Tensor) -> Output:
        """Return the output for windows (N, C, D, T)."""
        projection = self.device_part(x)
        return Output(projection, *self.host_part(projection))

    def answer(self, batch: Batch) -> Output:
        """Return the output for a training batch, which may use more than its windows."""
        output: Output = self(batch.x)
        return output

    def terms(self, _batch: Batch, _output: Output) -> dict[str, Tensor]:
        """Return the weighted loss terms other than classification, each (); none by default."""
        return {}

    def prepare(self, y: Tensor, streams: tuple[int, ...]) -> None:
        """Initialize weights from the labels (N,) of the train split; nothing by default."""

    def advance(self, progress: float) -> None:
        """Set the progress of the training, from 0 to 1, for schedules that depend on it."""
        self.progress = progress

    def undecided(self, projection: Tensor, _within: float) -> Tensor:
        """Return (N, w), bool: whether a value is so close to a code boundary that rounding may change the code."""
        return torch.zeros(len(projection), 0, dtype=torch.bool)

    def freeze(self) -> None:
        """Replace training-only components by constants, in place, so that a graph has plain operators only."""

    def smoother(self, _classes: Sequence[str]) -> HsmmSpec | None:
        """Return the record of the model that smooths consecutive predictions, or None."""
        return None

    def mean_duration(self) -> float | None:
        """Return the mean duration of a state in windows, or None without a duration model."""
        return None


def active_clusters(cluster: Tensor) -> int:
    """Return the number of clusters with at least ACTIVE_SHARE of the windows, from the cluster (N,) of each."""
    counts = torch.bincount(cluster)
    return int((counts >= ACTIVE_SHARE * len(cluster)).sum())


def classifier(width: int, hidden: int, dropout: float, classes: int) -> nn.Sequential:
    """Return the layers from a quantized projection (N, width) to logits (N, K)."""
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
