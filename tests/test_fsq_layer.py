"""The quantizer equals its definition, a table of all codes, and another implementation."""

import itertools
import math
import time
import tracemalloc

import pytest
import torch
import vector_quantize_pytorch as published  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from modelreg.ml import fsq_layer as q
from modelreg.records import fsq

LEVELS = st.lists(st.integers(2, 1000), min_size=1, max_size=6)
LEVEL_SETS = [(8, 6, 5, 5, 4), (7, 5, 3), (8, 8, 8), (4,), (3, 4, 5, 6)]


def make_grid(levels: tuple[int, ...] | list[int]) -> q.Grid:
    """Return the constants of these levels."""
    return q.grid(fsq.spec(levels))


def projections(d: int, seed: int = 0, n: int = 20_000) -> Tensor:
    """Return n random projections, wide enough to reach all levels."""
    return 2 * torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def table(levels: tuple[int, ...]) -> Tensor:
    """Return all codes in the order of their indices; the first dimension varies fastest."""
    steps = [[(k - L // 2) / (L // 2) for k in range(L)] for L in reversed(levels)]
    return torch.tensor([code[::-1] for code in itertools.product(*steps)])


def code_of(index: Tensor, g: q.Grid, levels: list[int]) -> Tensor:
    """Return the code (…, d) of an index (…), from its digits 0 … L − 1 in the mixed radix of the levels."""
    digits = index.unsqueeze(-1) // g.basis % torch.tensor(levels)
    return (digits - g.half_width) / g.half_width


@pytest.mark.parametrize("levels", LEVEL_SETS)
def test_code_and_index_equal_the_published_ones(levels: tuple[int, ...]) -> None:
    """Another implementation of the paper gives the same codes and the same indices."""
    z = projections(len(levels))
    code, index = q.FSQ(levels).eval()(z)
    their_code, their_index = published.FSQ(list(levels)).eval()(z[None])

    assert torch.equal(code, their_code[0])
    assert torch.equal(index, their_index[0].long())


@pytest.mark.parametrize("levels", [*LEVEL_SETS[1:], (2, 3, 2)])
def test_index_is_the_row_of_the_nearest_code(levels: tuple[int, ...]) -> None:
    """A search for the nearest of all codes gives the same code and index as the formula."""
    g = make_grid(levels)
    z = projections(len(levels), n=2000)
    distance = torch.cdist(q.bound(z, g).double(), table(levels).double() * g.half_width)
    code, index = q.FSQ(levels).eval()(z)

    assert torch.equal(index, distance.argmin(1))
    assert torch.equal(code, table(levels)[index])


@given(st.integers(2, 1000))
def test_each_level_is_reached_and_none_beyond(L: int) -> None:
    """Increasing projections give exactly the levels −⌊L/2⌋ … ⌈L/2⌉ − 1, in order."""
    g = make_grid([L])
    targets = (torch.arange(L) - L // 2 + g.offset) / g.half_range
    z = torch.cat([torch.tensor([-1e9]), torch.atanh(targets.double()).float() - g.shift, torch.tensor([1e9])])
    r = q.quantize(z[:, None], g, straight_through=False)[:, 0] * g.half_width

    assert r.round().int().tolist() == [-(L // 2), *range(-(L // 2), math.ceil(L / 2)), math.ceil(L / 2) - 1]


@given(LEVELS, st.data())
def test_every_index_is_that_of_its_code(levels: list[int], data: st.DataObject) -> None:
    """The levels of an index, by division and remainder, give the code with that index."""
    g = make_grid(levels)
    index = torch.tensor(data.draw(st.lists(st.integers(0, math.prod(levels) - 1), min_size=1)))

    assert torch.equal(q.index_of(code_of(index, g, levels), g), index)


@given(st.integers(2, 1000), st.lists(st.floats(-20, 20), min_size=2, max_size=50))
def test_quantizing_keeps_the_order(L: int, values: list[float]) -> None:
    """A larger projection does not get a smaller code."""
    z = torch.tensor(sorted(values))[:, None]
    code = q.quantize(z, make_grid([L]), straight_through=False)[:, 0]

    assert (code.diff() >= 0).all()


@given(LEVELS)
def test_zero_lies_at_zero(levels: list[int]) -> None:
    """The shift maps a projection of 0 to 0."""
    z = torch.zeros(1, len(levels))

    assert q.bound(z, make_grid(levels)).abs().max() < 1e-4


def test_training_and_evaluation_give_the_same_bits() -> None:
    """The straight-through form changes the gradient only."""
    g, z = make_grid((8, 6, 5, 5, 4)), projections(5)
    straight = q.quantize(z, g, straight_through=True)

    assert torch.equal(straight, q.quantize(z, g, straight_through=False))


def test_gradient_is_that_of_the_bound() -> None:
    """d code / d z = (1 − tanh²(z + shift)) · half_range / half_width."""
    g = make_grid((8, 5, 2))
    z = projections(3, n=100).requires_grad_()
    q.quantize(z, g, straight_through=True).sum().backward()
    slope = (1 - torch.tanh(z.detach() + g.shift) ** 2) * g.half_range / g.half_width

    torch.testing.assert_close(z.grad, slope)


def test_ties_go_to_the_even_level() -> None:
    """Ties are rounded to the even level, as in ONNX and numpy."""
    g = make_grid([7])
    halves = torch.tensor([[-1.5], [-0.5], [0.5], [1.5]])
    z = torch.atanh(halves.double() / g.half_range).float()
    z = z[(q.bound(z, g) == halves).flatten()]

    assert (q.quantize(z, g, straight_through=False) * g.half_width % 2 == 0).all()
    assert len(z) > 0


def test_a_codebook_of_millions_needs_no_memory() -> None:
    """The quantizer for the 16.7 million codes of [8] * 8 takes less than 50 ms and 100 kB."""
    q.FSQ([8] * 8)
    tracemalloc.start()
    begin = time.perf_counter()
    layer = q.FSQ([8] * 8)
    seconds, peak = time.perf_counter() - begin, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert seconds < 0.05
    assert peak + sum(buffer.nbytes for buffer in layer.buffers()) < 100_000


def test_the_layer_has_nothing_to_save() -> None:
    """Its constants are stored in the record."""
    assert not q.FSQ((8, 6)).state_dict()


def test_the_record_describes_the_quantizer_completely() -> None:
    """The formula in the docstring of FsqSpec gives the same codes as torch."""
    spec = fsq.spec((8, 6, 5, 5, 4))
    z = projections(5, n=500)
    rows = zip(spec.half_range, spec.offset, spec.shift, spec.half_width, spec.basis, strict=True)
    index = [0] * len(z)
    for i, (half_range, offset, shift, half_width, basis) in enumerate(rows):
        for n, value in enumerate(z[:, i].tolist()):
            index[n] += (round(math.tanh(value + shift) * half_range - offset) + half_width) * basis

    assert q.FSQ(spec.levels)(z)[1].tolist() == index


def test_perplexity_of_equal_shares_is_their_number() -> None:
    """With 4 of 40 codes in equal use, the perplexity is 4 and the used share is 0.1."""
    usage = q.usage(torch.tensor([0, 7, 39, 5] * 10), (8, 5))

    assert usage == pytest.approx((4, 0.1))
