"""Finite scalar quantization (Mentzer 2023, arXiv:2309.15505, appendix A): every code is arithmetic.

Of a projection z (…, d), with L levels in a dimension and ε pinned in the record:

    half_range = (L − 1)(1 + ε) / 2      offset = ½ where L is even, else 0
    shift      = atanh(offset / half_range), so that bound(0) = 0
    bound(z)   = tanh(z + shift) · half_range − offset
    r          = bound(z), rounded half to even: −⌊L/2⌋ … ⌈L/2⌉ − 1
    code       = r / ⌊L/2⌋               index  = Σ (r_i + ⌊L_i/2⌋) · Π_{j<i} L_j

Codes and indices turn into each other by division and remainder; the codebook is never a table.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from modelreg.errors import Problem

EPSILON = 1e-3  # keeps the outermost levels reachable; up to 1000 levels it reaches no further one


class Constants(NamedTuple):
    """What pins a quantizer, in double precision: one entry per dimension, as a record keeps it."""

    levels: tuple[int, ...]  # L
    epsilon: float
    half_range: tuple[float, ...]
    offset: tuple[float, ...]
    shift: tuple[float, ...]
    half_width: tuple[int, ...]  # ⌊L/2⌋
    basis: tuple[int, ...]  # Π_{j<i} L_j


class Grid(NamedTuple):
    """The constants as tensors (d,), to compute with."""

    levels: Tensor  # int64
    half_range: Tensor
    offset: Tensor
    shift: Tensor
    half_width: Tensor  # int64
    basis: Tensor  # int64


class Usage(NamedTuple):
    """How much of the codebook a set of indices uses."""

    perplexity: float  # exp(−Σ p log p) over the codes
    used_share: float  # of all codes


def constants(levels: Sequence[int], epsilon: float = EPSILON) -> Constants:
    """Return the constants of a quantizer with these levels, each from 2 to 1000."""
    half_range = tuple((L - 1) * (1 + epsilon) / 2 for L in levels)
    offset = tuple(0.5 if L % 2 == 0 else 0.0 for L in levels)
    return Constants(
        levels=tuple(levels),
        epsilon=epsilon,
        half_range=half_range,
        offset=offset,
        shift=tuple(math.atanh(o / h) for o, h in zip(offset, half_range, strict=True)),
        half_width=tuple(L // 2 for L in levels),
        basis=tuple(math.prod(levels[:i]) for i in range(len(levels))),
    )


def grid(c: Constants) -> Grid:
    """Return the constants as tensors."""
    return Grid(
        levels=torch.tensor(c.levels),
        half_range=torch.tensor(c.half_range, dtype=torch.float32),
        offset=torch.tensor(c.offset, dtype=torch.float32),
        shift=torch.tensor(c.shift, dtype=torch.float32),
        half_width=torch.tensor(c.half_width),
        basis=torch.tensor(c.basis),
    )


def bound(z: Tensor, g: Grid) -> Tensor:
    """Squash a projection (…, d) into the range whose roundings are the levels."""
    return torch.tanh(z + g.shift) * g.half_range - g.offset


def quantize(z: Tensor, g: Grid, *, straight_through: bool) -> Tensor:
    """Return the code (…, d) of a projection (…, d).

    Straight through, the gradient is that of `bound`; the value is the rounded one to the last bit either
    way. Without it the graph holds one plain Round.
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


def digits(index: Tensor, g: Grid) -> Tensor:
    """Return the level of each dimension, 0 … L−1, (…, d), int64, of an index (…)."""
    return index.unsqueeze(-1) // g.basis % g.levels


def code_of(index: Tensor, g: Grid) -> Tensor:
    """Return the code (…, d) of an index (…)."""
    return (digits(index, g) - g.half_width) / g.half_width


def usage(index: Tensor, levels: Sequence[int]) -> Usage:
    """Return perplexity and used share of indices (N,); the table of all codes is never made."""
    counts = torch.unique(index, return_counts=True)[1].double()
    p = counts / counts.sum()
    return Usage(math.exp(-(p * p.log()).sum().item()), len(counts) / math.prod(levels))


def dead_levels(index: Tensor, levels: Sequence[int]) -> list[Problem]:
    """Return a warning for each dimension of which indices (N,) use under half the levels, or only one."""
    used = [len(torch.unique(digit)) for digit in digits(torch.unique(index), grid(constants(levels))).T]
    return list(_dead(used, levels))


def _dead(used: Sequence[int], levels: Sequence[int]) -> Iterator[Problem]:
    for i, (n, L) in enumerate(zip(used, levels, strict=True)):
        if n < max(2, L / 2):
            yield Problem(f"model.levels.{i}", f"uses {n} of {L} levels: fewer might do")


class FSQ(nn.Module):
    """The quantizer as a layer without weights: its constants are not part of a checkpoint."""

    levels: Tensor
    half_range: Tensor
    offset: Tensor
    shift: Tensor
    half_width: Tensor
    basis: Tensor

    def __init__(self, levels: Sequence[int], epsilon: float = EPSILON) -> None:
        super().__init__()
        for name, tensor in grid(constants(levels, epsilon))._asdict().items():
            self.register_buffer(name, tensor, persistent=False)

    @property
    def grid(self) -> Grid:
        """The constants, on the device of the layer."""
        return Grid(self.levels, self.half_range, self.offset, self.shift, self.half_width, self.basis)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return code (N, d) and index (N,) of a projection (N, d)."""
        code = quantize(z, self.grid, straight_through=self.training)
        return code, index_of(code.detach(), self.grid)
