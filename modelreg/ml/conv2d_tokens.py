"""The model system conv2d_vq_tokens: one code for each timestep of a window, and a classifier of their mean.

The first kernel spans all device rows, the others span time only. No layer pools, so each timestep has a vector
z_t. On the host, z_t is replaced by the nearest code e_t, and the classifier receives the mean of e_t over time. The
first and the last convolution are not followed by batch normalization and ReLU, as in the legacy Conv2d-VQ.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modelreg.ml import vq
from modelreg.ml.network import Batch, HostOutput, Network, Output, Shape, classifier, codebook
from modelreg.records.model import Conv2dVqTokensSettings


class HostPart(nn.Module):
    """The codebook and the classifier."""

    def __init__(self, settings: Conv2dVqTokensSettings, steps: int, classes: int) -> None:
        super().__init__()
        self.sizes = settings.embedding, steps
        self.quantizer = codebook(settings.vq, settings.embedding)
        self.head = classifier(settings.embedding, settings.hidden, settings.dropout, classes)

    def tokens(self, projection: Tensor) -> Tensor:
        """Return the vectors (N, T, d) of a projection (N, d·T)."""
        vectors: Tensor = projection.unflatten(1, self.sizes)
        return vectors.transpose(1, 2)

    def forward(self, projection: Tensor) -> HostOutput:
        """Return codes (N, T), the most frequent code of each window, logits, and code vectors (N, d·T)."""
        codes, index, _ = self.quantizer(self.tokens(projection))
        columns = codes.transpose(1, 2)  # (N, d, T)
        counts = projection.new_zeros(len(projection), len(self.quantizer.codes))
        counts = counts.scatter_add(1, index, torch.ones_like(index, dtype=counts.dtype))
        return HostOutput(
            code=index.to(projection.dtype),
            code_index=counts.argmax(1),
            logits=self.head(F.avg_pool1d(columns, columns.shape[2]).flatten(1)),
            features=columns.flatten(1),
        )


class Conv2dTokens(Network):
    """The model system conv2d_vq_tokens. `factory.build` creates it."""

    host_part: HostPart

    def __init__(self, settings: Conv2dVqTokensSettings, shape: Shape, classes: int) -> None:
        super().__init__(shape, classes, (settings.vq.codes,), settings.embedding * shape[2])
        self.classification = settings.classification
        self.device_part = nn.Sequential(OrderedDict(_device_layers(settings, shape)))
        self.host_part = HostPart(settings, shape[2], classes)

    def terms(self, _batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the commitment loss of the vectors, a mean over all values."""
        error = F.mse_loss(output.projection, output.features.detach())
        return {"commitment": self.host_part.quantizer.commitment * error}

    def undecided(self, projection: Tensor, within: float) -> Tensor:
        """Return (N, T), bool: whether a vector is within this distance of the boundary of two codes."""
        codes = self.host_part.quantizer.codes
        # Window by window, to limit memory.
        margins = [vq.margin(window, codes) for window in self.host_part.tokens(projection)]
        return torch.stack(margins) <= within * math.sqrt(codes.shape[1])


def _device_layers(settings: Conv2dVqTokensSettings, shape: Shape) -> Iterator[tuple[str, nn.Module]]:
    """Yield the named layers from windows (N, C, D, T) to the projection (N, d·T), ordered by dimension."""
    channels, rows, _ = shape
    yield "conv1", nn.Conv2d(channels, settings.widths[0], (rows, 5), padding=(0, 2))
    for n, (width, out) in enumerate(pairwise(settings.widths), 2):
        yield f"conv{n}", nn.Conv2d(width, out, (1, 3), padding=(0, 1))
        yield f"bn{n}", nn.BatchNorm2d(out)
        yield f"relu{n}", nn.ReLU()
    yield "projection", nn.Conv2d(settings.widths[-1], settings.embedding, 1)
    yield "flatten", nn.Flatten()
