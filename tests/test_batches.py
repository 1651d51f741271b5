"""Batches: the windows of each training step."""

from itertools import accumulate, pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from modelreg.ml import batches
from modelreg.ml.batches import Order, Part

STREAMS = st.lists(st.integers(1, 40), min_size=1, max_size=12).map(tuple).filter(lambda s: sum(s) > 1)
CHUNKS = st.integers(2, 12)
SIZES = st.integers(2, 5)  # of a batch, in chunks


def order_of(streams: tuple[int, ...], chunk: int, size: int) -> Order:
    """Return the division of windows of zeros into batches."""
    n = sum(streams)
    return batches.order(Part(torch.zeros(n, 1, 1, 1), torch.zeros(n), streams=streams), size * chunk, chunk)


def epoch(order: Order) -> list[tuple[Tensor, tuple[int, ...]]]:
    """Return the batches of an epoch."""
    return list(order.shuffled(torch.Generator().manual_seed(0)))


@given(STREAMS, CHUNKS, SIZES)
def test_chunks_use_each_window_once(streams, chunk, size) -> None:
    """The batches of an epoch are a permutation of the split."""
    order = order_of(streams, chunk, size)
    seen = torch.cat([rows for rows, _ in epoch(order)])

    assert seen.sort().values.tolist() == list(range(sum(streams)))
    assert order.windows == sum(streams)


@given(STREAMS, CHUNKS, SIZES)
def test_chunks_are_consecutive_and_of_one_stream(streams, chunk, size) -> None:
    """No chunk crosses the end of a stream or exceeds the maximum length."""
    ends = set(accumulate(streams))
    for rows, lengths in epoch(order_of(streams, chunk, size)):
        for piece in rows.split(lengths):
            assert 1 <= len(piece) <= chunk
            assert all(b == a + 1 and b not in ends for a, b in pairwise(piece.tolist()))


@given(STREAMS, CHUNKS, SIZES)
def test_no_batch_has_one_window(streams, chunk, size) -> None:
    """BatchNorm needs two windows, also if each stream has one."""
    assert min(len(rows) for rows, _ in epoch(order_of(streams, chunk, size))) > 1


@given(STREAMS, CHUNKS, SIZES)
def test_a_batch_has_less_than_twice_the_requested_chunks(streams, chunk, size) -> None:
    """The remaining chunks are distributed over the batches."""
    assert all(len(lengths) < 2 * size for _, lengths in epoch(order_of(streams, chunk, size)))


def test_a_split_without_streams_is_one_stream() -> None:
    """All its windows are consecutive."""
    part = Part(torch.zeros(10, 1, 1, 1), torch.zeros(10))

    assert [rows.tolist() for rows in batches.order(part, 8, 4).chunks] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_selection_keeps_data_set_and_session() -> None:
    """They are those of each window, in the order of the rows."""
    numbers = torch.arange(5)
    part = batches.on_device(Part(torch.zeros(5, 1, 1, 1), numbers, numbers * 10, numbers * 100, (5,)), "cpu")
    picked = batches.select(part, torch.tensor([3, 1]), (2,))

    assert (picked.y.tolist(), picked.domain.tolist(), picked.session.tolist()) == ([3, 1], [30, 10], [300, 100])
    assert picked.streams == (2,)
