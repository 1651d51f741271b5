"""k-means++ (Arthur & Vassilvitskii 2007): where a codebook and a mixture start, spread out over the data."""

import torch
from torch import Tensor


def plus_plus(x: Tensor, K: int, generator: torch.Generator | None = None) -> Tensor:
    """Return K rows of x (N, d) as centres (K, d).

    The first is drawn evenly, each other one in proportion to its squared distance from the nearest centre so
    far. Draws are made in main memory, alike for every device, from `generator` or torch's own. Where x has
    fewer than K distinct rows, some centres are equal.
    """
    row = torch.randint(len(x), (), generator=generator).to(x.device)
    rows = [row]
    distance = torch.full_like(x[:, 0], torch.inf)
    for _ in range(K - 1):
        distance = torch.minimum(distance, (x - x[row]).square().sum(1))
        race = torch.empty(len(x)).exponential_(generator=generator).to(x.device)
        row = (race / distance).argmin()  # exponential times with these rates: the first is drawn as wanted
        rows.append(row)
    return x[torch.stack(rows)]
