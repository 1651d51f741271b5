"""Finite scalar quantization (FSQ; Mentzer 2023, arXiv:2309.15505, appendix A).

The constants and formulae are those of modelreg/records/fsq.py. The index of a code is computed from its levels, so no
codebook is stored.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from modelreg.records import fsq
from modelreg.records.model import FsqSpec


class Grid(NamedTuple):
    """The FSQ constants as tensors (d,)."""

    half_range: Tensor
    offset: Tensor
    shift: Tensor
    half_width: Tensor  # int64
    basis: Tensor  # int64


class Usage(NamedTuple):
    """The use of the codebook by a set of indices."""

    perplexity: float  # exp(−Σ p log p) over the codes
    used_share: float  # used codes / all codes


def grid(c: FsqSpec) -> Grid:
    """Return the FSQ constants as tensors."""
    return Grid(
        half_range=torch.tensor(c.half_range, dtype=torch.float32),
        offset=torch.tensor(c.offset, dtype=torch.float32),
        shift=torch.tensor(c.shift, dtype=torch.float32),
        half_width=torch.tensor(c.half_width),
        basis=torch.tensor(c.basis),
    )


def bound(z: Tensor, g: Grid) -> Tensor:
    """Return a projection (…, d) squashed into the range that rounds to the levels."""
    return torch.tanh(z + g.shift) * g.half_range - g.offset


def quantize(z: Tensor, g: Grid, *, straight_through: bool) -> Tensor:
    """Return the code (…, d) of a projection (…, d).

    With `straight_through`, the gradient is that of `bound`. The value is the same to the last bit in both cases.
    Without it, an exported graph has a single Round operator.
    """
    bounded = bound(z, g)
    r = torch.round(bounded)
    if straight_through:
        r = r.detach() + (bounded - bounded.detach())  # + exactly 0
    return r / g.half_width


def index_of(code: Tensor, g: Grid) -> Tensor:
    """Return the index (…), int64, of a code (…, d)."""
    r = torch.round(code * g.half_width).to(torch.int64)
    return ((r + g.half_width) * g.basis).sum(-1)


def usage(index: Tensor, levels: Sequence[int]) -> Usage:
    """Return perplexity and used share of indices (N,), without a table of all codes."""
    counts = torch.unique(index, return_counts=True)[1].double()
    p = counts / counts.sum()
    return Usage(math.exp(-(p * p.log()).sum().item()), len(counts) / math.prod(levels))


class FSQ(nn.Module):
    """The quantizer as a layer without weights; its constants are not stored in checkpoints."""

    half_range: Tensor
    offset: Tensor
    shift: Tensor
    half_width: Tensor
    basis: Tensor

    def __init__(self, levels: Sequence[int], epsilon: float = fsq.EPSILON) -> None:
        super().__init__()
        for name, tensor in grid(fsq.spec(levels, epsilon))._asdict().items():
            self.register_buffer(name, tensor, persistent=False)

    @property
    def grid(self) -> Grid:
        """The FSQ constants on the device of the layer."""
        return Grid(self.half_range, self.offset, self.shift, self.half_width, self.basis)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return code (N, d) and index (N,) of a projection (N, d)."""
        code = quantize(z, self.grid, straight_through=self.training)
        return code, index_of(code.detach(), self.grid)
