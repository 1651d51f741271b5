"""The constants of finite scalar quantization, computed by the standard library: torch and `verify` share them.

Mentzer et al. 2023, arXiv:2309.15505, appendix A, in the variant of docs/adr/0002: for L levels

    half_range = (L - 1)(1 + ε)/2,  offset = 1/2 if L is even, else 0,  shift = atanh(offset / half_range),
    bounded = tanh(z + shift) · half_range - offset,  r = round half to even (bounded),
    code = r / ⌊L/2⌋,  index = Σ (r + ⌊L/2⌋) · basis,  basis = 1, L₁, L₁L₂, …
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from operator import mul

from modelreg.records.model import (
    Conv2dFsqHsmmSettings,
    Conv2dFsqSettings,
    FsqSpec,
    ModelSettings,
    TcnVaeSettings,
    VqSpec,
)

EPSILON = 1e-3
CODEBOOK = "host_part.quantizer.codes"  # the tensor of a checkpoint


def quantizer(settings: ModelSettings) -> FsqSpec | VqSpec | None:
    """Return the record of a model system's quantizer; None without a quantizer."""
    match settings:
        case Conv2dFsqSettings() | Conv2dFsqHsmmSettings():
            return spec(settings.levels)
        case TcnVaeSettings():
            return None
        case _ if settings.vq:
            return VqSpec(codes=settings.vq.codes, dimension=settings.embedding, codebook=CODEBOOK)
        case _:
            return None


def spec(levels: Sequence[int], epsilon: float = EPSILON) -> FsqSpec:
    """Return the record of a quantizer with these levels, each at least 2."""
    half_range = tuple((level - 1) * (1 + epsilon) / 2 for level in levels)
    offset = tuple(0.0 if level % 2 else 0.5 for level in levels)
    return FsqSpec(
        levels=tuple(levels),
        epsilon=epsilon,
        half_range=half_range,
        offset=offset,
        shift=tuple(math.atanh(o / h) for o, h in zip(offset, half_range, strict=True)),
        half_width=tuple(level // 2 for level in levels),
        basis=tuple(accumulate([1, *levels[:-1]], mul)),
    )
