"""Batches of training windows: shuffled window by window, or in chunks of consecutive windows.

Each window is used once per epoch. A duration model needs consecutive windows in order: each stream is cut into fixed
chunks, and the chunks are shuffled.
"""

from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from modelreg.ml.network import Batch


class Part(NamedTuple):
    """One split in memory, in the order of the recordings."""

    x: Tensor  # (N, C, D, T), float32, normalized
    y: Tensor  # (N,), int64
    domain: Tensor | None = None  # (N,), int64: the data set of each window
    session: Tensor | None = None  # (N,), int64: the recording of each window
    streams: tuple[int, ...] = ()  # lengths in windows of the streams without gaps; (): one stream


class Order(NamedTuple):
    """The division of a split into the batches of an epoch."""

    sizes: tuple[int, ...]  # of the batches, in windows or in chunks
    chunks: tuple[Tensor, ...] = ()  # rows of each chunk; () if single windows are shuffled

    @property
    def windows(self) -> int:
        """The number of windows in an epoch."""
        return sum(map(len, self.chunks)) or sum(self.sizes)

    def shuffled(self, random: torch.Generator) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        """Yield the rows of each batch and the lengths of its chunks."""
        order = torch.randperm(sum(self.sizes), generator=random)
        for picked in order.split(self.sizes):
            if self.chunks:
                found = [self.chunks[i] for i in picked.tolist()]
                yield torch.cat(found), tuple(map(len, found))
            else:
                yield picked, ()


def order(part: Part, batch_size: int, chunk: int) -> Order:
    """Return the division of a split into batches; with `chunk` 1, single windows are shuffled.

    A chunk has at most `chunk` windows, because a class in a longer one could exceed the longest duration. With at
    least 2 chunks per batch and at least 2 windows in total, each batch has at least 2 windows.
    """
    if chunk == 1:
        return Order(tuple(sizes(len(part.y), batch_size)))
    ends = list(accumulate(part.streams or (len(part.y),), initial=0))
    chunks = [rows for start, end in pairwise(ends) for rows in torch.arange(start, end).split(chunk)]
    count = max(1, len(chunks) * chunk // batch_size)
    return Order(tuple(map(len, torch.arange(len(chunks)).tensor_split(count))), tuple(chunks))


def sizes(windows: int, batch_size: int) -> list[int]:
    """Return the batch sizes. A single remaining window joins the last batch, because BatchNorm needs two."""
    full, rest = divmod(windows, batch_size)
    if rest == 1 and full:
        return [batch_size] * (full - 1) + [batch_size + 1]
    return [batch_size] * full + [rest] * (rest > 0)


def on_device(part: Part, device: str) -> Part:
    """Return the split with x as (N, D, T, C), so that selected windows are in the channels-last format."""
    x = part.x.to(device).permute(0, 2, 3, 1).contiguous()
    domain, session = (None if group is None else group.to(device) for group in (part.domain, part.session))
    return Part(x, part.y.to(device), domain, session, part.streams)


def select(part: Part, rows: Tensor, streams: tuple[int, ...] = ()) -> Batch:
    """Return the windows (n, C, D, T) of rows (n,), in the channels-last memory format."""
    rows = rows.to(part.y.device)
    x, y = part.x.index_select(0, rows).permute(0, 3, 1, 2), part.y.index_select(0, rows)
    return Batch(x, y, _picked(part.domain, rows), _picked(part.session, rows), streams)


def _picked(group: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if group is None else group.index_select(0, rows)


def in_order(part: Part, batch_size: int) -> Iterator[Batch]:
    """Yield all windows in batches, in order."""
    for rows in torch.arange(len(part.y)).split(sizes(len(part.y), batch_size)):
        yield select(part, rows)
