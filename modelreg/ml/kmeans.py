"""k-means++ (Arthur & Vassilvitskii 2007): initial centres for a codebook or a mixture."""

import torch
from torch import Tensor


def plus_plus(x: Tensor, K: int, generator: torch.Generator | None = None) -> Tensor:
    """Return K rows of x (N, d) as centres (K, d).

    The first is drawn uniformly. Each other one is drawn in proportion to its squared distance from the nearest centre
    so far. The random numbers are drawn on the CPU from `generator`, or from torch's generator, so they do not depend
    on the device. If x has fewer than K distinct rows, some centres are equal.
    """
    row = torch.randint(len(x), (), generator=generator).to(x.device)
    rows = [row]
    distance = torch.full_like(x[:, 0], torch.inf)
    for _ in range(K - 1):
        distance = torch.minimum(distance, (x - x[row]).square().sum(1))
        race = torch.empty(len(x)).exponential_(generator=generator).to(x.device)
        row = (race / distance).argmin()  # the least of exponential times with these rates
        rows.append(row)
    return x[torch.stack(rows)]
