"""Find samples in two splits that are nearly equal: shifted, noisy, scaled, resampled or slightly stretched copies.

Only accelerations and angular velocities are compared: different subjects pass the same magnetic field. Similar windows
are searched at 12.5 Hz (`nearest_windows`), and judged at 50 Hz (`copy_fit`). Devices are compared with themselves.

The largest residual of a copy is fixed. Over 28 hours of four public sets, the smallest one between different subjects
is 0.033, and its tail falls with a power of 6 to 9, so that LIMIT gives less than 0.001 false alarms in such a set.
Within a subject it is 0.011: SAME_SUBJECT is lower. Turned axes fit more, and the smallest one is 0.013: TURNED_LIMIT
is lower, too. A limit estimated from the audited set would fail where most of it is copied.

Products of matrices differ in the last bits of float32 between processors: residuals by about 0.0001, and the ends of a
copy by a few samples.

Memory: 25 MB for each hour of a device with six channels, and 300 MB. A set of more than MOST_QUERIES windows is
searched at fewer moments; `every_s` says at which.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelreg.data import copy_fit, nearest_windows
from modelreg.data.copy_fit import Pairs
from modelreg.data.memory_map import release
from modelreg.data.nearest_windows import Candidates, Coarse, Shape
from modelreg.data.sensors import Quantity, sensors_of, unit_of
from modelreg.data.tracks import Track
from modelreg.records.model import Channel

LIMIT = 0.01  # largest residual of a copy
SAME_SUBJECT = 0.005  # the same, between two recordings of one subject
TURNED_LIMIT = 0.005  # of axes that are turned freely; different subjects reach 0.013
TURNED_SAME = 0.0025
WINDOW = Shape(samples=25, components=32, rate_hz=12.5)
TURNED = Shape(samples=31, components=24, rate_hz=12.5)
COARSE_HZ = 3.0  # low-pass of the search
BAND_HZ = 10.0  # low-pass of the comparison; SHARE of a lower rate
SHARE = 0.4
EVERY = 6  # samples at 12.5 Hz between two queries: 0.48 s
MOST_QUERIES = 500_000
LEAST_HZ = 8.0  # a slower recording does not have the band of the search
SHORTEST_S = 2.5
FINE = round(copy_fit.RATE_HZ / WINDOW.rate_hz)  # samples of the comparison for one of the search
NEIGHBOURS = 12.5  # shifts in samples at 50 Hz that belong to one copy

Floats: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int64]


class NearCopy(NamedTuple):
    """Nearly equal samples in tracks of two splits; places in samples of the tracks."""

    earlier: int  # index of the track in the earlier split
    later: int
    earlier_start: float
    start: float
    end: float
    residual: float  # q of its best window


class Found(NamedTuple):
    """The copies, and how they were searched."""

    copies: list[NearCopy]
    every_s: float  # between two moments that were searched
    devices: tuple[str, ...]  # that were searched: those of at least LEAST_HZ


class _Piece(NamedTuple):
    """Successive samples of a track without a missing value."""

    track: int
    first: int
    last: int


class _Signals(NamedTuple):
    """The pieces of a device's tracks, in deviations of each sensor."""

    pieces: list[_Piece]
    slow: list[Floats]  # (n, C) of each piece at 12.5 Hz
    fine: Floats  # (n, C) of all pieces at 50 Hz, one after another
    bounds: Ints  # (pieces + 1,) in `fine`


class _Pass(NamedTuple):
    """One way to compare: the signals of its search, and the function that confirms a candidate."""

    shape: Shape
    slow: list[Floats]  # of each piece
    confirm: Callable[[Pairs], copy_fit.Fits]
    limit: float  # largest residual of a copy
    same_subject: float


class _Places(NamedTuple):
    """Where pieces are in the signals of the search and of the comparison."""

    pieces: list[_Piece]
    slow: Ints  # (pieces + 1,) bounds
    fine: Ints


class _Alarm(NamedTuple):
    earlier: int  # pieces
    later: int
    shift: float  # samples at 50 Hz, of the earlier place in its piece from the later one in its
    start: int  # in the later piece, in samples at 50 Hz
    end: int
    residual: float


def columns_of(channels: Sequence[Channel]) -> dict[int, Quantity | None]:
    """Return the columns that are compared, with what they measure.

    Those are accelerations and angular velocities; if no unit is known to be one of them, all columns that are not a
    magnetic field.
    """
    units = {column: unit_of(channel) for column, channel in enumerate(channels)}
    inertial = {n: unit.quantity for n, unit in units.items() if unit and unit.quantity != "magnetic field"}
    return dict(inertial) or {n: None for n, unit in units.items() if unit is None}


def find(
    tracks: Sequence[Track],
    channels: Sequence[Channel],
    rates: Mapping[str, float] | None = None,
    *,
    turned: bool = True,
) -> Found:
    """Return the copies between tracks of different splits, which are on one clock and in the order of the splits.

    `rates` is the lowest rate at which each device was recorded: all its recordings have the band of that rate. With
    `turned`, copies of turned, exchanged or mirrored axes are searched, too.
    """
    columns = columns_of(channels)
    known = rates or {}
    every, searched = EVERY, []
    found: list[NearCopy] = []
    for device in dict.fromkeys(track.device for track in tracks):
        numbers = [n for n, track in enumerate(tracks) if track.device == device]
        lowest = min(known.get(device, np.inf), tracks[numbers[0]].rate_hz)
        if not columns or lowest < LEAST_HZ:
            continue
        searched.append(device)
        signals = _signals(tracks, numbers, columns, min(BAND_HZ, SHARE * lowest))
        passes = [_as_they_are(signals)]
        passes += [_turned(signals, sensors)] if turned and (sensors := _sensors(channels, list(columns))) else []
        with ThreadPoolExecutor(len(passes)) as threads:  # array operations let other threads work meanwhile
            results = list(threads.map(partial(_compare, tracks, signals), passes if signals.pieces else ()))
        for alarms, step in results:
            found += _merged(tracks, signals.pieces, alarms)
            every = max(every, step)
    return Found(sorted(found), every / WINDOW.rate_hz, tuple(searched))


# Signals


def _signals(
    tracks: Sequence[Track], numbers: Sequence[int], columns: Mapping[int, Quantity | None], band_hz: float
) -> _Signals:
    """Return the signals of a device for the search and for the comparison."""
    pieces = [piece for n in numbers for piece in _pieces(tracks[n], n, list(columns))]
    scale = _scale(tracks, numbers, columns)
    slow, fine = [], []
    for piece in pieces:
        track = tracks[piece.track]
        values = track.values[piece.first : piece.last, list(columns)] / scale
        slow.append(_resampled(values, track.rate_hz, COARSE_HZ, WINDOW.rate_hz))
        fine.append(_resampled(values, track.rate_hz, band_hz, copy_fit.RATE_HZ))
        release([track.values])
    bounds = np.cumsum([0, *map(len, fine)])
    return _Signals(pieces, slow, np.concatenate(fine) if fine else np.empty((0, len(columns)), np.float32), bounds)


def _as_they_are(signals: _Signals) -> _Pass:
    return _Pass(WINDOW, signals.slow, lambda pairs: copy_fit.confirm(signals.fine, pairs), LIMIT, SAME_SUBJECT)


def _turned(signals: _Signals, sensors: Sequence[Sequence[int]]) -> _Pass:
    """Return the search by the lengths of each sensor's vectors, which no turn changes."""
    axes = [signals.fine[:, list(columns)] for columns in sensors]
    lengths = np.stack([np.linalg.norm(each, axis=1) for each in axes], axis=1).astype(np.float32)
    bounds = pairwise(signals.bounds.tolist())
    slow = [_resampled(lengths[a:b], copy_fit.RATE_HZ, COARSE_HZ, WINDOW.rate_hz) for a, b in bounds]
    fine = np.concatenate(axes, axis=1)
    return _Pass(TURNED, slow, lambda pairs: copy_fit.confirm_turned(lengths, fine, pairs), TURNED_LIMIT, TURNED_SAME)


def _sensors(channels: Sequence[Channel], columns: Sequence[int]) -> list[list[int]]:
    """Return the places in `columns` of the axes of each sensor."""
    return [
        [columns.index(column) for column in sensor.columns]
        for sensor in sensors_of(channels)
        if set(sensor.columns) <= set(columns)
    ]


# Search


def _compare(tracks: Sequence[Track], signals: _Signals, comparison: _Pass) -> tuple[list[_Alarm], int]:
    """Return the copies that a search finds, and the samples between two moments that were searched."""
    shape, bounds = comparison.shape, np.cumsum([0, *map(len, comparison.slow)])
    start = np.concatenate([np.arange(a, max(b - shape.samples + 1, a)) for a, b in pairwise(bounds.tolist())])
    values = np.concatenate(comparison.slow)
    start = start[nearest_windows.moving(values, start, shape.samples)]
    every = EVERY * max(1, -(-len(start) // (EVERY * MOST_QUERIES)))
    alarms: list[_Alarm] = []
    if not len(start):
        return alarms, every
    coarse = Coarse(values, start, shape)
    index = nearest_windows.build(coarse)
    places = _Places(signals.pieces, bounds, signals.bounds)
    for first, last in _parts(tracks, places, start):
        queries = np.arange(first, last)
        queries = queries[start[queries] % every == 0]
        for candidates in nearest_windows.search(coarse, index, queries, first) if first else ():
            pairs = _pairs(tracks, places, candidates, comparison)
            alarms += _alarms(places, pairs, comparison.confirm(pairs))
    return alarms, every


def _pieces(track: Track, number: int, columns: Sequence[int]) -> Iterator[_Piece]:
    finite = np.isfinite(track.values[:, columns]).all(axis=1)
    changes = np.flatnonzero(np.diff(np.concatenate([[False], finite, [False]]).astype(np.int8)))
    for first, last in changes.reshape(-1, 2).tolist():
        if last - first >= SHORTEST_S * track.rate_hz:
            yield _Piece(number, first, last)
    release([track.values])


def _scale(tracks: Sequence[Track], numbers: Sequence[int], columns: Mapping[int, Quantity | None]) -> Floats:
    """Return what each column is divided by: the root mean square of its sensor's standard deviations over the set."""
    sums = np.zeros((3, len(columns)))
    for n in numbers:
        values = tracks[n].values[:, list(columns)].astype(np.float64)
        finite = np.isfinite(values)
        values = np.where(finite, values, 0)
        sums += np.stack([finite.sum(axis=0), values.sum(axis=0), np.square(values).sum(axis=0)])
        release([tracks[n].values])
    count = np.maximum(sums[0], 1)
    variance = np.maximum(sums[2] / count - (sums[1] / count) ** 2, 0)
    quantities = np.array([quantity or "" for quantity in columns.values()])
    shared = np.array([variance[quantities == quantity].mean() for quantity in quantities])
    scale: Floats = np.sqrt(np.where(shared > 0, shared, 1)).astype(np.float32)
    return scale


def _resampled(values: Floats, rate_hz: float, band_hz: float, new_hz: float) -> Floats:
    """Return the signal in a band, at another rate; the filters have no phase."""
    from scipy import signal  # 0.4 s: imported on use

    filtered = signal.sosfiltfilt(signal.butter(4, band_hz, fs=rate_hz, output="sos"), values, axis=0)
    ratio = Fraction(new_hz / rate_hz).limit_denominator(1000)
    if ratio != 1:
        filtered = signal.resample_poly(filtered, ratio.numerator, ratio.denominator, axis=0, padtype="edge")
    made: Floats = filtered.astype(np.float32)
    return made


def _parts(tracks: Sequence[Track], places: _Places, start: Ints) -> Iterator[tuple[int, int]]:
    """Yield the first and last window of each split."""
    parts = [tracks[piece.track].part for piece in places.pieces]
    begins = [n for n, part in enumerate(parts) if not n or part != parts[n - 1]]
    bounds = np.searchsorted(start, [*places.slow[begins], places.slow[-1]]).tolist()
    yield from pairwise(bounds)


def _pairs(tracks: Sequence[Track], places: _Places, candidates: Candidates, comparison: _Pass) -> Pairs:
    """Return candidates in samples at 50 Hz, with the bounds of their pieces."""
    ours = np.searchsorted(places.slow, candidates.ours, side="right") - 1
    theirs = np.searchsorted(places.slow, candidates.theirs, side="right") - 1
    subjects = np.array([tracks[piece.track].subject for piece in places.pieces])
    return Pairs(
        ours=places.fine[ours] + FINE * (candidates.ours - places.slow[ours]) + FINE // 2 * candidates.half,
        theirs=places.fine[theirs] + FINE * (candidates.theirs - places.slow[theirs]),
        ours_low=places.fine[ours],
        ours_high=places.fine[ours + 1],
        theirs_low=places.fine[theirs],
        theirs_high=places.fine[theirs + 1],
        limit=np.where(subjects[ours] == subjects[theirs], comparison.same_subject, comparison.limit),
    )


def _alarms(places: _Places, pairs: Pairs, fits: copy_fit.Fits) -> Iterator[_Alarm]:
    for pair, start, end, origin, q in zip(*(column.tolist() for column in fits), strict=True):
        ours, theirs = int(pairs.ours_low[pair]), int(pairs.theirs_low[pair])
        later, earlier = (int(np.searchsorted(places.fine, low, side="right")) - 1 for low in (ours, theirs))
        yield _Alarm(earlier, later, origin - theirs - (start - ours), start - ours, end - ours, q)


def _merged(tracks: Sequence[Track], pieces: Sequence[_Piece], alarms: Sequence[_Alarm]) -> Iterator[NearCopy]:
    """Yield one copy for alarms of two pieces whose shifts differ little and whose times meet."""
    held: list[_Alarm] = []
    for alarm in sorted(alarms):
        if held and (alarm[:2] != held[-1][:2] or alarm.shift - held[-1].shift > NEIGHBOURS):
            yield from _intervals(tracks, pieces, held)
            held = []
        held.append(alarm)
    if held:
        yield from _intervals(tracks, pieces, held)


def _intervals(tracks: Sequence[Track], pieces: Sequence[_Piece], alarms: Sequence[_Alarm]) -> Iterator[NearCopy]:
    whole: list[_Alarm] = []
    for alarm in sorted(alarms, key=lambda alarm: alarm.start):
        if whole and alarm.start <= whole[-1].end:
            last = whole[-1]
            lowest = min(last.residual, alarm.residual)
            whole[-1] = last._replace(end=max(last.end, alarm.end), residual=lowest)
        else:
            whole.append(alarm)
    for alarm in whole:
        one, other = pieces[alarm.earlier], pieces[alarm.later]
        step = tracks[other.track].rate_hz / copy_fit.RATE_HZ
        yield NearCopy(
            earlier=one.track,
            later=other.track,
            earlier_start=one.first + step * (alarm.start + alarm.shift),
            start=other.first + step * alarm.start,
            end=other.first + step * alarm.end,
            residual=alarm.residual,
        )
