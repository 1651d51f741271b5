"""k-means++ against what it promises: rows of the data, spread out, the same for the same seed."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from modelreg.ml import kmeans


def generator(seed: int = 0) -> torch.Generator:
    """A generator of one's own."""
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 1000))
def test_centres_are_rows_and_distinct_while_there_are_any(n: int, K: int, seed: int) -> None:
    """As many different rows are taken as there are, at most K."""
    x = torch.randn(n, 3, generator=generator(seed))
    centres = kmeans.plus_plus(x, K, generator(seed))

    assert centres.shape == (K, 3)
    assert (centres[:, None] == x).all(2).any(1).all()
    assert len(centres.unique(dim=0)) == min(n, K)


def test_each_far_heap_gets_a_centre() -> None:
    """Eight heaps far apart, one of 1000 points: eight centres lie in eight heaps."""
    heap = torch.cat([torch.zeros(1000), torch.arange(1, 8)]).long()
    x = 1e4 * torch.eye(8)[heap] + torch.randn(1007, 8, generator=generator())

    assert kmeans.plus_plus(x, 8, generator()).argmax(1).unique().tolist() == list(range(8))


def test_the_second_centre_is_drawn_by_squared_distance() -> None:
    """Of points at 0, 1 and 2 from the first centre, the last is drawn four times as often as the middle one."""
    x = torch.tensor([[0.0]] * 50 + [[1.0], [2.0]])
    source = generator()
    pairs = torch.stack([kmeans.plus_plus(x, 2, source)[:, 0] for _ in range(3000)])
    second = pairs[pairs[:, 0] == 0, 1]

    assert abs((second == 2).float().mean() - 0.8) < 0.03


def test_the_seed_decides() -> None:
    """The same generator state gives the same centres; torch's own is used where none is given."""
    x = torch.randn(100, 4, generator=generator())

    def drawn() -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            return kmeans.plus_plus(x, 10)

    assert torch.equal(drawn(), drawn())
    assert torch.equal(kmeans.plus_plus(x, 10, generator(7)), drawn())
