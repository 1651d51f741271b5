"""Which windows a step of training sees together: shuffled one by one, or in chunks of consecutive ones.

Every window is used once per epoch. What models durations must see windows in their order: the pieces of consecutive
windows are cut into chunks, always the same ones, and the chunks are shuffled.
"""

from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from modelreg.ml.network import Batch


class Part(NamedTuple):
    """One part of the data, in memory, in the order of the recordings."""

    x: Tensor  # (N, C, D, T), float32, normalized
    y: Tensor  # (N,), int64
    domain: Tensor | None = None  # (N,), int64: the data set that each window is of
    session: Tensor | None = None  # (N,), int64: the recording that each window is of
    streams: tuple[int, ...] = ()  # how many windows follow each other without a break, piece by piece; (): all do


class Order(NamedTuple):
    """How a part is divided into the batches of an epoch."""

    sizes: tuple[int, ...]  # of the batches: windows, or chunks
    chunks: tuple[Tensor, ...] = ()  # rows of each; () where windows are shuffled one by one

    @property
    def windows(self) -> int:
        """How many windows an epoch has."""
        return sum(map(len, self.chunks)) or sum(self.sizes)

    def shuffled(self, random: torch.Generator) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        """Yield the rows of each batch, and the lengths of the chunks among them."""
        order = torch.randperm(sum(self.sizes), generator=random)
        for picked in order.split(self.sizes):
            if self.chunks:
                found = [self.chunks[i] for i in picked.tolist()]
                yield torch.cat(found), tuple(map(len, found))
            else:
                yield picked, ()


def order(part: Part, batch_size: int, chunk: int) -> Order:
    """Return how the windows of a part are divided; `chunk` 1 shuffles them one by one.

    No chunk is longer than `chunk`: in a longer one, a class might last longer than a model of durations can express.
    With two chunks to a batch, and two windows at all, no batch has a single window.
    """
    if chunk == 1:
        return Order(tuple(sizes(len(part.y), batch_size)))
    ends = list(accumulate(part.streams or (len(part.y),), initial=0))
    chunks = [rows for start, end in pairwise(ends) for rows in torch.arange(start, end).split(chunk)]
    count = max(1, len(chunks) * chunk // batch_size)
    return Order(tuple(map(len, torch.arange(len(chunks)).tensor_split(count))), tuple(chunks))


def sizes(windows: int, batch_size: int) -> list[int]:
    """Return the sizes of the batches. A single window left over joins the last: BatchNorm needs two."""
    full, rest = divmod(windows, batch_size)
    if rest == 1 and full:
        return [batch_size] * (full - 1) + [batch_size + 1]
    return [batch_size] * full + [rest] * (rest > 0)


def on_device(part: Part, device: str) -> Part:
    """Return the part with x as (N, D, T, C), so that a selection of windows has its channels last."""
    x = part.x.to(device).permute(0, 2, 3, 1).contiguous()
    domain, session = (None if group is None else group.to(device) for group in (part.domain, part.session))
    return Part(x, part.y.to(device), domain, session, part.streams)


def select(part: Part, rows: Tensor, streams: tuple[int, ...] = ()) -> Batch:
    """Return windows (n, C, D, T), channels last, cut straight from memory."""
    rows = rows.to(part.y.device)
    x, y = part.x.index_select(0, rows).permute(0, 3, 1, 2), part.y.index_select(0, rows)
    return Batch(x, y, _picked(part.domain, rows), _picked(part.session, rows), streams)


def _picked(group: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if group is None else group.index_select(0, rows)


def in_order(part: Part, batch_size: int) -> Iterator[Batch]:
    """Yield all windows as they stand."""
    for rows in torch.arange(len(part.y)).split(sizes(len(part.y), batch_size)):
        yield select(part, rows)
