"""k-means++: centres are rows of the data, spread out, and reproducible by seed."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from modelreg.ml import kmeans


def generator(seed: int = 0) -> torch.Generator:
    """Return a seeded generator."""
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 1000))
def test_centres_are_distinct_rows(n: int, K: int, seed: int) -> None:
    """There are K distinct centres, or all rows if there are fewer."""
    x = torch.randn(n, 3, generator=generator(seed))
    centres = kmeans.plus_plus(x, K, generator(seed))

    assert centres.shape == (K, 3)
    assert (centres[:, None] == x).all(2).any(1).all()
    assert len(centres.unique(dim=0)) == min(n, K)


def test_each_separated_cluster_gets_a_centre() -> None:
    """There are eight clusters, one of them with 1,000 points."""
    cluster = torch.cat([torch.zeros(1000), torch.arange(1, 8)]).long()
    x = 1e4 * torch.eye(8)[cluster] + torch.randn(1007, 8, generator=generator())

    assert kmeans.plus_plus(x, 8, generator()).argmax(1).unique().tolist() == list(range(8))


def test_the_second_centre_is_drawn_by_squared_distance() -> None:
    """A point at distance 2 is drawn four times as often as a point at distance 1."""
    x = torch.tensor([[0.0]] * 50 + [[1.0], [2.0]])
    source = generator()
    pairs = torch.stack([kmeans.plus_plus(x, 2, source)[:, 0] for _ in range(3000)])
    second = pairs[pairs[:, 0] == 0, 1]

    assert abs((second == 2).float().mean() - 0.8) < 0.03


def test_the_same_seed_gives_the_same_centres() -> None:
    """Without a generator, torch's generator is used."""
    x = torch.randn(100, 4, generator=generator())

    def drawn() -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            return kmeans.plus_plus(x, 10)

    assert torch.equal(drawn(), drawn())
    assert torch.equal(kmeans.plus_plus(x, 10, generator(7)), drawn())
