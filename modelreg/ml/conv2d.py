"""The Conv2d model systems: convolutions over time, a projection, a quantizer, a classifier and optional components.

The device part uses only layers that an NPU compiles well: Conv2d, BatchNorm, ReLU, MaxPool2d, AvgPool2d of a fixed
size, Flatten, Linear. Convolutions are padded symmetrically over time and not padded over device rows. A kernel of
height 2 merges two device rows into one. With height 1 in every kernel, devices are interchangeable.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modelreg.errors import Problem
from modelreg.ml import fsq_layer, vq
from modelreg.ml.fsq_layer import FSQ
from modelreg.ml.hdp import HDP, Frozen
from modelreg.ml.hsmm_layer import Durations
from modelreg.ml.network import Batch, HostOutput, Network, Output, Shape, classifier, codebook
from modelreg.ml.tcn import Decoder, to_sequence
from modelreg.ml.vq import VQ
from modelreg.records.hsmm import HsmmSpec
from modelreg.records.model import (
    Conv2dFsqHsmmSettings,
    Conv2dFsqSettings,
    Conv2dVqHdpHsmmSettings,
    Conv2dVqSettings,
    ConvSettings,
    HdpSettings,
    HsmmSettings,
)

INDEX_LIMIT = 2**63  # an index is an int64
DECODER = (64, 64, 32)  # widths of its blocks


class Pieces(NamedTuple):
    """The optional components of a system; None for each that is off."""

    quantizer: nn.Module | None
    width: int  # of the projection
    levels: tuple[int, ...] | None
    hdp: HdpSettings | None = None
    hsmm: HsmmSettings | None = None
    reconstruction: float = 0.0  # weight of the reconstruction loss
    classification: float = 1.0  # weight of the classification loss


def pieces(settings: ConvSettings) -> Pieces:
    """Return the optional components of a system."""
    match settings:
        case Conv2dFsqSettings():
            return Pieces(FSQ(settings.levels), len(settings.levels), settings.levels)
        case Conv2dFsqHsmmSettings():
            return Pieces(FSQ(settings.levels), len(settings.levels), settings.levels, hsmm=settings.hsmm or None)
        case Conv2dVqSettings():
            return _vq_pieces(settings)
        case Conv2dVqHdpHsmmSettings():
            return _vq_pieces(settings)._replace(hdp=settings.hdp or None, hsmm=settings.hsmm or None)


def _vq_pieces(settings: Conv2dVqSettings | Conv2dVqHdpHsmmSettings) -> Pieces:
    return Pieces(
        codebook(settings.vq, settings.embedding) if settings.vq else None,
        settings.embedding,
        (settings.vq.codes,) if settings.vq else None,
        reconstruction=settings.reconstruction,
        classification=settings.classification,
    )


class HostPart(nn.Module):
    """The layers that run on the CPU: quantizer, mixture and classifier."""

    def __init__(self, settings: ConvSettings, found: Pieces, classes: int, sessions: int) -> None:
        super().__init__()
        self.quantizer = found.quantizer
        self.mixture: HDP | Frozen | None = _mixture(found.hdp, found.width, sessions) if found.hdp else None
        width = found.width + (found.hdp.clusters if found.hdp else 0)
        self.head = classifier(width, settings.hidden, settings.dropout, classes)

    def forward(self, projection: Tensor, session: Tensor | None = None) -> HostOutput:
        """Return code, index and logits of a projection (N, d), with sessions (N,) if they are known."""
        code, index, features = self._quantized(projection)
        if self.mixture is None:
            return HostOutput(code, index, self.head(features), features)
        found = self.mixture(features, session)
        logits = self.head(torch.cat([features, found.weights], 1))
        return HostOutput(code, index, logits, features, found.cluster, found.bound)

    def _quantized(self, projection: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return code (N, w), index (N,) and the input of the classifier (N, d)."""
        match self.quantizer:
            case FSQ():
                code, index = self.quantizer(projection)
                return code, index, code
            case VQ():
                features, index, _ = self.quantizer(projection)
                return index[:, None].to(projection.dtype), index, features
            case _:
                return projection[:, :0], projection.new_zeros(len(projection), dtype=torch.int64), projection


def _mixture(settings: HdpSettings, width: int, sessions: int) -> HDP:
    groups = sessions if settings.sessions else 0
    return HDP(width, settings.clusters, groups, gamma=settings.gamma, alpha=settings.alpha)


class Conv2dNetwork(Network):
    """A Conv2d model system. `factory.build` checks the settings and creates it."""

    host_part: HostPart
    decoder: Decoder | None
    durations: Durations | None

    def __init__(self, settings: ConvSettings, shape: Shape, classes: int, sessions: int) -> None:
        found = pieces(settings)
        super().__init__(shape, classes, found.levels, found.width)
        C, D, T = shape
        self.classification, self.reconstruction, self.hdp = found.classification, found.reconstruction, found.hdp
        self.chunk = found.hsmm.chunk if found.hsmm else 1
        self.device_part = nn.Sequential(OrderedDict(_device_layers(settings, shape, found.width)))
        self.host_part = HostPart(settings, found, classes, sessions)
        self.decoder = Decoder(D * C, T, found.width, DECODER) if found.reconstruction else None
        self.durations = Durations(found.hsmm, classes) if found.hsmm else None

    def answer(self, batch: Batch) -> Output:
        """Return the output for a batch; the mixture uses its sessions."""
        projection = self.device_part(batch.x)
        return Output(projection, *self.host_part(projection, batch.session))

    def terms(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the loss terms of the optional components: each a mean over windows, or over all values."""
        found = {}
        quantizer, mixture = self.host_part.quantizer, self.host_part.mixture
        if isinstance(quantizer, VQ):
            codes = output.features.detach()
            found["commitment"] = quantizer.commitment * F.mse_loss(output.projection, codes)
        if self.decoder is not None:
            made = self.decoder(output.features)
            found["reconstruction"] = self.reconstruction * F.mse_loss(made, to_sequence(batch.x))
        if isinstance(mixture, HDP) and self.hdp and output.bound is not None:
            found["mixture"] = self.hdp.weight / self.projection * mixture.loss(output.bound, self.windows)
        if self.durations is not None:
            found["temporal"] = self.durations.loss(output.logits, batch.y, batch.streams)
        return found

    def prepare(self, y: Tensor, streams: tuple[int, ...]) -> None:
        """Initialize the durations from the labels."""
        if self.durations is not None:
            self.durations.start(y, streams or (len(y),))

    def advance(self, progress: float) -> None:
        """Lower the temperature of the mixture."""
        super().advance(progress)
        if isinstance(self.host_part.mixture, HDP) and self.hdp:
            self.host_part.mixture.advance(progress, *self.hdp.temperature)

    def mean_duration(self) -> float | None:
        """Return the mean duration of the states in windows."""
        return None if self.durations is None else self.durations.mean()

    def freeze(self) -> None:
        """Replace the mixture by its form for evaluation, with constant weights."""
        if isinstance(self.host_part.mixture, HDP):
            self.host_part.mixture = self.host_part.mixture.frozen()

    def smoother(self, classes: Sequence[str]) -> HsmmSpec | None:
        """Return the record of the duration model."""
        return None if self.durations is None else self.durations.spec(classes)

    def undecided(self, projection: Tensor, within: float) -> Tensor:
        """Return (N, w), bool: whether a value is within this distance of the boundary of two levels or codes."""
        match self.host_part.quantizer:
            case FSQ() as quantizer:
                bounded = fsq_layer.bound(projection, quantizer.grid).double()
                return (bounded - bounded.floor() - 0.5).abs() <= within
            case VQ() as quantizer:
                return vq.margin(projection, quantizer.codes)[:, None] <= within * math.sqrt(self.projection)
            case _:
                return super().undecided(projection, within)


def find_problems(settings: ConvSettings, shape: Shape) -> Iterator[Problem]:
    """Yield why a network with these settings cannot be built for this input."""
    _, D, T = shape
    rows = D
    for i, (height, _) in enumerate(settings.kernels):
        if height > rows:
            what = f"height {height} exceeds the remaining device rows, {rows} of {D}"
            yield Problem(f"model.kernels.{i}", "model.kernel-too-high", what)
        rows = max(1, rows - height + 1)
    pools = len(settings.widths) - 1 if settings.pooling else 0
    if T >> pools < 1:
        what = f"poolings ({pools}) need at least {2**pools} timesteps, but a window has {T}"
        yield Problem("model.widths", "model.window-too-short", what)
    if isinstance(settings, Conv2dFsqSettings | Conv2dFsqHsmmSettings) and math.prod(settings.levels) >= INDEX_LIMIT:
        yield Problem("model.levels", "model.too-many-codes", "the levels give 2^63 codes or more, must be fewer")


def _device_layers(settings: ConvSettings, shape: Shape, projection: int) -> Iterator[tuple[str, nn.Module]]:
    """Yield the named layers from windows (N, C, D, T) to the projection (N, d)."""
    width_in, rows, steps = shape
    blocks = len(settings.widths)
    for n, (width, (height, length)) in enumerate(zip(settings.widths, settings.kernels, strict=True), 1):
        yield f"conv{n}", nn.Conv2d(width_in, width, (height, length), padding=(0, (length - 1) // 2))
        if settings.batchnorm:
            yield f"bn{n}", nn.BatchNorm2d(width)
        yield f"relu{n}", nn.ReLU()
        if settings.pooling and n < blocks:
            yield f"pool{n}", nn.MaxPool2d((1, 2))
            steps //= 2
        width_in, rows = width, rows - height + 1
    yield "average", nn.AvgPool2d((rows, steps))
    yield "flatten", nn.Flatten()
    yield "projection", nn.Linear(width_in, projection)
    if not isinstance(settings, Conv2dFsqSettings | Conv2dFsqHsmmSettings) or settings.batchnorm_before_fsq:
        yield "projection_bn", nn.BatchNorm1d(projection)  # keeps vectors and codes on one scale
