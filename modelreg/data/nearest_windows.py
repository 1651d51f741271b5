"""Find the most similar windows of two splits: candidates for copies.

A window of 2 s at 12.5 Hz is reduced to its 32 principal components, and the windows are put into lists by their
nearest centre (an inverted file: Jégou, Douze and Schmid 2011). A search looks into the lists of the PROBED nearest
centres. Two windows are similar by their cosine over all channels jointly: each channel by itself would amplify the
noise of a channel at rest.
"""

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

LEAST_SD = 0.05  # of some channel of a window that is searched, in deviations of its sensor
BASIS = 8000  # windows from which the principal components are computed
LIST = 512  # windows of a list, on average
MOST_LISTS = 2048
PROBED = 8  # lists; all of a small set
ROUNDS = 4  # of k-means, on TAUGHT windows for each list
TAUGHT = 16
OF_A_LIST = 16  # best windows of a list for each query
SIMILAR = 0.85  # smallest cosine of a candidate; true copies have 0.95 and more
BLOCK_S = 60.0  # seconds of which only the best window is a candidate: strides resemble their neighbours
BEST = 12  # candidates of a query, of as many blocks
QUERIES = 8192  # searched in one step
ROWS = 65_536  # windows projected in one step

Floats: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]


class Shape(NamedTuple):
    """The form of the windows that are compared."""

    samples: int
    components: int
    rate_hz: float


class Coarse(NamedTuple):
    """Signals of all pieces, one after another, and the windows in them."""

    values: Floats  # (n, C), in deviations of each sensor
    start: Ints  # (w,) first samples of the windows that move, in increasing order
    shape: Shape


class Candidates(NamedTuple):
    """Pairs of similar windows: numbers of their first samples."""

    ours: Ints
    half: Bools  # whether ours begins half a sample later
    theirs: Ints
    cosine: Floats


class Index(NamedTuple):
    """Windows of all splits in lists, and the space in which they are compared."""

    basis: Floats  # (samples · C, components)
    points: Floats  # (w, components), of length 1
    centres: Floats  # (lists, components)
    members: Ints  # (w,) windows, list after list, in increasing order in each
    bounds: Ints  # (lists + 1,) of the lists in `members`


def moving(values: Floats, start: Ints, samples: int) -> Bools:
    """Return which windows have a channel with a standard deviation of at least LEAST_SD."""
    sums = np.zeros((2, len(values) + 1, values.shape[1]))
    np.cumsum(values, axis=0, out=sums[0, 1:])
    np.cumsum(np.square(values, dtype=np.float64), axis=0, out=sums[1, 1:])
    total, square = (of[start + samples] - of[start] for of in sums)
    variance = square / samples - (total / samples) ** 2
    moves: Bools = variance.max(axis=1, initial=0.0) >= LEAST_SD**2
    return moves


def build(coarse: Coarse) -> Index:
    """Return the index of all windows. The same windows give the same index."""
    drawn = np.random.default_rng(0)
    basis = _basis(coarse, drawn)
    points = _points(coarse.values, coarse.start, basis, coarse.shape.samples)
    centres = _centres(points, drawn)
    nearest = np.concatenate(
        [(points[at : at + ROWS] @ centres.T).argmax(axis=1) for at in range(0, len(points), ROWS)]
    )
    members = np.argsort(nearest, kind="stable")
    bounds = np.searchsorted(nearest[members], np.arange(len(centres) + 1))
    return Index(basis, points, centres, members, bounds)


def search(coarse: Coarse, index: Index, queries: Ints, before: int) -> Iterator[Candidates]:
    """Yield the candidates of windows `queries` (q,) among those with a number below `before`.

    Each query is searched twice: as it is, and half a sample later, because the other recording was sampled at other
    moments.
    """
    half = _half_later(coarse.values)
    samples = coarse.shape.samples
    for at in range(0, len(queries), QUERIES):
        some = queries[at : at + QUERIES]
        points = [index.points[some], _points(half, coarse.start[some], index.basis, samples)]
        ours = np.tile(some, 2)
        later = np.repeat([False, True], len(some))
        asked, theirs, cosine = _neighbours(index, np.concatenate(points), before)
        found = Candidates(ours[asked], later[asked], theirs, cosine)
        best = _best(found, coarse)
        yield Candidates(coarse.start[best.ours], best.half, coarse.start[best.theirs], best.cosine)


def _basis(coarse: Coarse, drawn: np.random.Generator) -> Floats:
    """Return the principal components (samples · C, components) of windows without the mean of each channel."""
    start = coarse.start
    if len(start) > BASIS:
        start = start[np.sort(drawn.choice(len(start), BASIS, replace=False))]
    samples = coarse.shape.samples
    windows = sliding_window_view(coarse.values, samples, axis=0)[start].astype(np.float64)  # (w, C, T)
    windows -= windows.mean(axis=2, keepdims=True)
    flat = windows.transpose(0, 2, 1).reshape(len(start), -1)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(flat.T @ flat)
    basis: Floats = np.ascontiguousarray(vectors[:, ::-1][:, : coarse.shape.components], dtype=np.float32)
    return basis


def _points(values: Floats, start: Ints, basis: Floats, samples: int) -> Floats:
    """Return windows as unit vectors (n, components). The basis has no part in the mean of a channel."""
    found = np.empty((len(start), basis.shape[1]), np.float32)
    views = sliding_window_view(values, (samples, values.shape[1]))[:, 0] if len(start) else values
    for at in range(0, len(start), ROWS):
        rows = start[at : at + ROWS]
        np.matmul(views[rows].reshape(len(rows), -1), basis, out=found[at : at + ROWS])
    length = np.linalg.norm(found, axis=1, keepdims=True)
    unit: Floats = np.divide(found, length, out=found, where=length > 0)
    return unit


def _half_later(values: Floats) -> Floats:
    """Return the signals half a sample later, by cubic interpolation."""
    found = values.copy()
    found[1:-2] = (9 * (values[1:-2] + values[2:-1]) - values[:-3] - values[3:]) / 16
    return found


def _centres(points: Floats, drawn: np.random.Generator) -> Floats:
    """Return the centres of lists by spherical k-means."""
    lists = max(1, min(len(points) // LIST, MOST_LISTS))
    taught = points[np.sort(drawn.choice(len(points), min(len(points), lists * TAUGHT), replace=False))]
    centres = taught[drawn.choice(len(taught), lists, replace=False)]
    for _ in range(ROUNDS if lists > 1 else 0):
        nearest = (taught @ centres.T).argmax(axis=1)
        order = np.argsort(nearest, kind="stable")
        used, first = np.unique(nearest[order], return_index=True)
        sums = np.add.reduceat(taught[order], first, axis=0)
        centres[used] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), np.float32(1e-12))
    return centres


def _neighbours(index: Index, points: Floats, before: int) -> tuple[Ints, Ints, Floats]:
    """Return rows of `points`, similar windows below `before`, and their cosines."""
    near = points @ index.centres.T
    probed = min(PROBED, near.shape[1])
    lists = np.argpartition(near, near.shape[1] - probed, axis=1)[:, near.shape[1] - probed :]
    order = np.argsort(lists, axis=None, kind="stable")
    asking = order // probed
    bounds = np.searchsorted(lists.reshape(-1)[order], np.arange(near.shape[1] + 1))
    none = np.empty(0, np.int64)
    found = [(none, none, np.empty(0, np.float32))]
    for number in range(near.shape[1]):
        rows = asking[bounds[number] : bounds[number + 1]]
        members = index.members[index.bounds[number] : index.bounds[number + 1]]
        members = members[: np.searchsorted(members, before)]
        if len(rows) and len(members):
            found.append(_of_a_list(index.points, points, rows, members))
    asked, theirs, cosine = (np.concatenate(column) for column in zip(*found, strict=True))
    return asked, theirs, cosine


def _of_a_list(windows: Floats, points: Floats, rows: Ints, members: Ints) -> tuple[Ints, Ints, Floats]:
    cosine = points[rows] @ windows[members].T
    if len(members) > OF_A_LIST:
        best = np.argpartition(cosine, len(members) - OF_A_LIST, axis=1)[:, len(members) - OF_A_LIST :]
        cosine = np.take_along_axis(cosine, best, axis=1)
    else:
        best = np.broadcast_to(np.arange(len(members)), cosine.shape)
    row, column = np.nonzero(cosine >= SIMILAR)
    return rows[row], members[best[row, column]], cosine[row, column]


def _best(found: Candidates, coarse: Coarse) -> Candidates:
    """Return of each query the best candidate of each block, and of these the BEST."""
    block = coarse.start[found.theirs] // int(BLOCK_S * coarse.shape.rate_hz)
    order = np.lexsort((found.theirs, -found.cosine, block, found.ours))
    ours, block = found.ours[order], block[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (ours[1:] != ours[:-1]) | (block[1:] != block[:-1])
    kept = order[first]
    kept = kept[np.lexsort((found.theirs[kept], -found.cosine[kept], found.ours[kept]))]
    ours = found.ours[kept]
    rank = np.arange(len(kept)) - np.searchsorted(ours, ours)
    kept = kept[rank < BEST]
    return Candidates._make(column[kept] for column in found)
