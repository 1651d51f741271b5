"""Find runs of equal samples in two splits, at any offset.

Every 32 successive samples of a channel have a hash. Of each 18 successive hashes the smallest is a seed (winnowing:
Schleimer, Wilkerson and Aiken 2003), so that two equal runs of 49 samples share a seed at any offset. The
channels of all recordings are searched together, so that exchanged channels are found, too. A shared seed is extended
to the longest run of equal samples. Runs that repeat themselves, or that a coarse sensor gives by chance, hold little
information: a run counts by the phrases of its differences (Lempel and Ziv 1976), and is a copy from a number of bits
that chance does not reach.

Time and memory are proportional to the samples: about 10 bytes for each sample of a channel, and 100 MB for a block.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelreg.data.memory_map import release
from modelreg.data.tracks import Track

SEED = 32  # samples of a hash
SPREAD = 18  # successive hashes of which one is kept
SHORTEST = SEED + SPREAD - 1  # samples of the shortest run that is surely found
CHANGES = 6  # fewer in the samples of a hash are those of a sensor that is stuck
MARGIN_BITS = 20  # above chance: one false alarm in a million sets of independent recordings
MEASURED = 257  # samples of a run whose information is computed: enough for any threshold
BLOCK = 2**20  # samples that are hashed in one step
NEXT = 2  # representatives of a hash with which each is compared

Unsigned: TypeAlias = NDArray[np.uint64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]
_NONE = np.uint64(2**64 - 1)  # the hash of samples that are not searched


class ExactCopy(NamedTuple):
    """Equal samples in tracks of two splits."""

    earlier: int  # index of the track in the earlier split
    later: int
    earlier_start: int  # first sample
    start: int
    samples: int
    bits: float  # of all runs of the two tracks with this shift


class _Seeds(NamedTuple):
    key: Unsigned  # (n,) the hash
    column: Ints  # (n,) track · channels + channel
    at: Ints  # (n,) its first sample


class _Run(NamedTuple):
    start: int  # in the later track
    end: int
    bits: float


def find(tracks: Sequence[Track]) -> list[ExactCopy]:
    """Return all copies between tracks of different splits, in the order of the tracks. All have the same channels."""
    values = sum(track.values.size for track in tracks)
    if not values:
        return []
    found: dict[tuple[int, int, int], list[_Run]] = defaultdict(list)
    for key, runs in _equal_runs(tracks):
        found[key] += runs
    least = needed_bits(values)
    return [
        ExactCopy(earlier, later, start - shift, start, end - start, bits)
        for (earlier, later, shift), runs in sorted(found.items())
        if (bits := sum(run.bits for run in runs)) >= least
        for start, end in _united(runs)
    ]


def needed_bits(values: int) -> float:
    """Return the bits of a copy among so many values: those of the luckiest pair by chance, and a margin."""
    return float(2 * np.log2(values) - 1 + MARGIN_BITS)


def information(samples: NDArray[np.float32]) -> float:
    """Return the bits in a run of samples (n,): c log₂ m with c phrases of its m differences."""
    steps = np.diff(samples[:MEASURED].astype(np.float64))
    sizes = np.abs(steps[steps != 0])
    if not len(sizes):
        return 0.0
    _, letters = np.unique(np.rint(steps / sizes.min()), return_inverse=True)
    return float(_phrases("".join(map(chr, letters.tolist()))) * np.log2(len(steps)))


def _phrases(text: str) -> int:
    """Return the number of phrases: each is the shortest that did not begin before."""
    count = begin = 0
    while begin < len(text):
        end = begin + 1
        while end <= len(text) and text[begin:end] in text[: end - 1]:
            end += 1
        count, begin = count + 1, end
    return count


def _united(runs: Sequence[_Run]) -> Iterator[tuple[int, int]]:
    """Yield the intervals that the runs cover together."""
    start = end = -1
    for run in sorted(runs):
        if run.start > end:
            if end > start:
                yield start, end
            start = run.start
        end = max(end, run.end)
    yield start, end


# Seeds


def _seeds(tracks: Sequence[Track]) -> _Seeds:
    none = np.empty(0, np.int64)
    found = [_Seeds(none.astype(np.uint64), none, none)]
    found += [seeds for block in _blocks(tracks) for seeds in _seeds_of(tracks, block)]
    return _Seeds(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _blocks(tracks: Sequence[Track]) -> Iterator[list[tuple[int, int, int]]]:
    """Yield pieces (track, first and last sample) of BLOCK samples together; those of a track overlap by a run."""
    block: list[tuple[int, int, int]] = []
    held = 0
    for number, track in enumerate(tracks):
        for first in range(0, max(len(track.values) - SHORTEST + 1, 1), BLOCK):
            last = min(first + BLOCK + SHORTEST - 1, len(track.values))
            if held + last - first > BLOCK and block:
                yield block
                block, held = [], 0
            block.append((number, first, last))
            held += last - first
    yield block


def _seeds_of(tracks: Sequence[Track], block: Sequence[tuple[int, int, int]]) -> Iterator[_Seeds]:
    """Yield the seeds of each channel of a block."""
    values = np.concatenate([tracks[number].values[first:last] for number, first, last in block])
    lengths = [last - first for _, first, last in block]
    piece = np.repeat(np.arange(len(block)), lengths)
    at = np.concatenate([np.arange(first, last) for _, first, last in block])
    number = np.repeat([number for number, _, _ in block], lengths)
    if len(piece) < SEED:
        return
    whole = piece[: 1 - SEED] == piece[SEED - 1 :]
    for channel in range(values.shape[1]):
        column = np.ascontiguousarray(values[:, channel], dtype=np.float32)
        keys = np.where(whole & _changing(column), _hashes(column), _NONE)
        kept = np.flatnonzero(_smallest(keys))
        yield _Seeds(keys[kept], number[kept] * values.shape[1] + channel, at[kept])
    release(tracks[number].values for number, _, _ in block)


def _changing(column: NDArray[np.float32]) -> Bools:
    """Return whether the samples of each hash are finite and change often enough."""
    changes = np.concatenate([[0], np.cumsum(column[1:] != column[:-1])])
    missing = np.concatenate([[0], np.cumsum(~np.isfinite(column))])
    enough: Bools = changes[SEED - 1 :] - changes[: 1 - SEED] >= CHANGES
    finite: Bools = missing[SEED:] == missing[:-SEED]
    return enough & finite


def _hashes(column: NDArray[np.float32]) -> Unsigned:
    """Return the hash of each 32 successive samples (n,), (n - 31,)."""
    keys = _mixed((column + np.float32(0)).view(np.uint32).astype(np.uint64))  # -0 becomes 0
    length = 1
    while length < SEED:
        keys = _mixed(keys[:-length] * np.uint64(0x9E3779B97F4A7C15) + keys[length:])
        length *= 2
    return keys


def _mixed(keys: Unsigned) -> Unsigned:
    """Return a permutation of 64-bit numbers that looks random: the finalizer of SplitMix64."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        keys = (keys ^ (keys >> np.uint64(shift))) * np.uint64(factor)
    return keys ^ (keys >> np.uint64(31))


def _smallest(keys: Unsigned) -> Bools:
    """Return which hashes are the smallest of SPREAD successive ones."""
    if len(keys) < SPREAD:
        return np.zeros(len(keys), np.bool_)
    lowest = _extreme(keys, np.minimum)  # of each SPREAD successive ones
    edge = np.zeros(SPREAD - 1, np.uint64)
    highest = _extreme(np.concatenate([edge, lowest, edge]), np.maximum)  # of all that contain a hash
    smallest: Bools = (highest == keys) & (keys != _NONE)
    return smallest


def _extreme(keys: Unsigned, choose: np.ufunc) -> Unsigned:
    """Return the smallest or largest of each SPREAD successive numbers (n,), (n - 17,)."""
    length, found = 1, keys
    while 2 * length <= SPREAD:
        found = choose(found[:-length], found[length:])
        length *= 2
    chosen: Unsigned = choose(found[: len(keys) - SPREAD + 1], found[SPREAD - length :])
    return chosen


# Runs


class _Pairs(NamedTuple):
    """Places with one hash in two splits."""

    earlier: Ints  # (n,) the column
    later: Ints
    shift: Ints  # of the later place from the earlier one
    at: Ints  # in the later track


def _equal_runs(tracks: Sequence[Track]) -> Iterator[tuple[tuple[int, int, int], list[_Run]]]:
    """Yield the earlier track, the later track and the shift, with the runs of one channel in both."""
    channels = tracks[0].values.shape[1]
    pairs = _pairs(_seeds(tracks), tracks, channels)
    order = np.lexsort((pairs.at, pairs.shift, pairs.later, pairs.earlier))
    earlier, later, shift, at = (column[order] for column in pairs)
    new = np.flatnonzero((np.diff(earlier) != 0) | (np.diff(later) != 0) | (np.diff(shift) != 0)) + 1
    bounds = [0, *new.tolist(), len(at)] if len(at) else []
    for first, last in pairwise(bounds):
        one, other, moved = int(earlier[first]), int(later[first]), int(shift[first])
        theirs = tracks[one // channels].values[:, one % channels]
        ours = tracks[other // channels].values[:, other % channels]
        runs = [_Run(a, b, information(ours[a:b])) for a, b in _extended(theirs, ours, moved, at[first:last])]
        yield (one // channels, other // channels, moved), runs


def _pairs(seeds: _Seeds, tracks: Sequence[Track], channels: int) -> _Pairs:
    """Return pairs of places with one hash in two splits: of each subject the first place, with the NEXT subjects'."""
    owners = {owner: n for n, owner in enumerate(dict.fromkeys((track.part, track.subject) for track in tracks))}
    parts = {part: n for n, part in enumerate(dict.fromkeys(track.part for track in tracks))}
    owner = np.array([owners[track.part, track.subject] for track in tracks])[seeds.column // channels]
    order = np.lexsort((owner, seeds.key))
    key, owner = seeds.key[order], owner[order]
    first = np.ones(len(key), np.bool_)
    first[1:] = (key[1:] != key[:-1]) | (owner[1:] != owner[:-1])
    key, order = key[first], order[first]
    column, at = seeds.column[order], seeds.at[order]
    part = np.array([parts[track.part] for track in tracks])[column // channels]
    found = []
    for step in range(1, NEXT + 1):
        same = np.flatnonzero((key[step:] == key[:-step]) & (part[step:] != part[:-step]))
        found.append((column[same], column[same + step], at[same + step] - at[same], at[same + step]))
    return _Pairs(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


def _extended(
    theirs: NDArray[np.float32], ours: NDArray[np.float32], shift: int, at: Ints
) -> Iterator[tuple[int, int]]:
    """Yield the longest runs of equal samples, in `ours`, through seeds (n,) in increasing order."""
    end = -1
    for seed in at.tolist():
        if seed < end:
            continue
        back = _agreeing(theirs[: seed - shift][::-1], ours[:seed][::-1])
        end = seed + _agreeing(theirs[seed - shift :], ours[seed:])
        if end - seed >= SEED:  # equal hashes of other samples are rare, not impossible
            yield seed - back, end


def _agreeing(one: NDArray[np.float32], other: NDArray[np.float32]) -> int:
    """Return how many first samples are equal."""
    most, done, step = min(len(one), len(other)), 0, 64
    while done < most:
        last = min(done + step, most)
        differs = one[done:last] != other[done:last]
        if differs.any():
            return done + int(differs.argmax())
        done, step = last, 2 * step
    return most
