"""Decide whether two windows are copies: fit a shift, a time scale, gains and offsets, and measure what remains.

Letters: x ours, z theirs, both (B, T, C) at RATE_HZ, in deviations of their sensor; g the gain and a mean of each
channel; δ the shift in samples; s the time scale. x(t) = g z(δ + s t) + a, by variable projection: g and a are solved
for, δ and s are improved in Gauss-Newton steps. With them fixed, the residual q of longer windows is

    q = R - 1.3 F,  R = Σ |x - g z|² / E,  E = Σ |x|²,  F = C m n² / E

without the means, summed over the channels and m samples; F is what noise of n deviations in both leaves.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 50.0
NOISE = 0.01  # n, in deviations of the sensor
FLOOR = 1.3  # of F
FITTED = 100  # samples of the fit: 2 s
FITTED_TURNED = 125
LAGS = 5  # samples to each side in which the shift is first searched: 0.1 s
RELATED = 0.65  # smallest squared correlation there
GAIN = (0.8, 1.25)
SCALE = (0.98, 1.02)
STRAY = 3.0  # samples that the steps may change the first shift by
HOPELESS = (
    0.5,
    0.15,
    0.05,
    0.03,
)  # largest q of the fitted window before each step and after the last
HOPELESS_TURNED = (0.6, 0.3, 0.15, 0.1)  # of the lengths of vectors, in which noise and offsets count more
AROUND = 125  # samples to each side of the fit that are measured: 2.5 s
MEASURED = (125, 200)  # samples of the windows that are measured: 2.5 s and 4 s
HOP = 2  # samples between them
HOP_TURNED = 10
LEAST_SD = 8 * NOISE  # of some channel, in both: slow drifts alone prove nothing
BATCH = 512  # pairs in one step

Floats: TypeAlias = NDArray[np.float32]
Doubles: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]


Residuals: TypeAlias = Callable[[Doubles, Doubles, int], tuple[Doubles, Bools, int]]


class Pairs(NamedTuple):
    """Windows to be compared: first samples, and the bounds of the pieces that they lie in."""

    ours: Ints  # (B,)
    theirs: Ints
    ours_low: Ints
    ours_high: Ints
    theirs_low: Ints
    theirs_high: Ints
    limit: Doubles  # the largest q of a copy

    def some(self, rows: Bools | Ints | slice) -> "Pairs":
        """Return some pairs."""
        return Pairs._make(column[rows] for column in self)


class Fits(NamedTuple):
    """Copies."""

    pair: Ints  # (k,) the row of the pair
    start: Ints  # first sample of ours
    end: Ints
    origin: Doubles  # the sample of theirs at `start`
    q: Doubles


class _Aligned(NamedTuple):
    """Pairs that may be copies, with the shift and the time scale of theirs."""

    row: Ints  # (k,) of the pair
    shift: Doubles
    scale: Doubles


def confirm(signal: Floats, pairs: Pairs) -> Fits:
    """Return the pairs of windows of a signal (n, C) that are copies."""

    def judge(some: Pairs) -> Fits:
        return _measured(signal, some, _aligned(signal, some, FITTED, HOPELESS), FITTED, _residuals)

    return _in_batches(pairs, judge)


def confirm_turned(lengths: Floats, axes: Floats, pairs: Pairs) -> Fits:
    """Return the pairs that are copies if the axes of each sensor are turned, exchanged or mirrored.

    `lengths` (n, S) of the vectors of each sensor, which no turn changes, give the shift and the time scale; then the
    best orthogonal map of each sensor is found for `axes` (n, 3 S), sensor after sensor.
    """

    def judge(some: Pairs) -> Fits:
        found = _aligned(lengths, some, FITTED_TURNED, HOPELESS_TURNED)
        return _measured(axes, some, found, FITTED_TURNED, _turned_residuals)

    return _in_batches(pairs, judge)


def _in_batches(pairs: Pairs, judge: Callable[[Pairs], Fits]) -> Fits:
    none = np.empty(0, np.int64)
    found = [Fits(none, none, none, np.empty(0), np.empty(0))]
    for at in range(0, len(pairs.ours), BATCH):
        fits = judge(pairs.some(slice(at, at + BATCH)))
        found.append(fits._replace(pair=fits.pair + at))
    return Fits._make(np.concatenate(column) for column in zip(*found, strict=True))


def _aligned(signal: Floats, pairs: Pairs, samples: int, hopeless: Sequence[float]) -> _Aligned:
    """Return the pairs that a shift and a time scale bring near enough, fitted over `samples`."""
    rows = np.arange(len(pairs.ours))
    x = _centred(_taken(signal, pairs.ours[:, None] + np.arange(samples), pairs.ours_low, pairs.ours_high))
    lag, related = _lags(signal, x, pairs)
    rows, x, shift = rows[related], x[related], lag[related].astype(np.float64)
    scale = np.ones(len(rows))
    first = shift.copy()
    for most in hopeless:
        residual, step, stretch = _step(signal, x, pairs.some(rows), shift, scale)
        kept = residual <= most
        rows, x, first = rows[kept], x[kept], first[kept]
        shift = np.clip(shift[kept] + step[kept], first - STRAY, first + STRAY)
        scale = np.clip(scale[kept] + stretch[kept], *SCALE)
    return _Aligned(rows, shift, scale)


def _taken(signal: Floats, at: Ints, low: Ints, high: Ints) -> Floats:
    """Return samples (B, T, C); outside of a piece those at its end."""
    found: Floats = signal[np.clip(at, low[:, None], high[:, None] - 1)]
    return found


def _centred(x: Floats) -> Floats:
    centred: Floats = x - x.mean(axis=1, keepdims=True)
    return centred


def _lags(signal: Floats, x: Floats, pairs: Pairs) -> tuple[Ints, Bools]:
    """Return the shift with the highest correlation, and whether that is high enough."""
    length = x.shape[1]
    offsets = np.arange(-LAGS, length + LAGS)
    wide = _centred(_taken(signal, pairs.theirs[:, None] + offsets, pairs.theirs_low, pairs.theirs_high))
    sums = np.zeros((2, len(wide), len(offsets) + 1, wide.shape[2]), np.float32)
    np.cumsum(wide, axis=1, out=sums[0, :, 1:])
    np.cumsum(wide * wide, axis=1, out=sums[1, :, 1:])
    total, square = (of[:, length:] - of[:, :-length] for of in sums)  # (B, 11, C)
    variance = (square - total * total / length).sum(axis=2)
    covariance = np.stack(
        [np.einsum("btc,btc->b", x, wide[:, lag : lag + length]) for lag in range(2 * LAGS + 1)], axis=1
    )
    energy = np.einsum("btc,btc->b", x, x)[:, None]
    correlation = covariance / np.sqrt(np.maximum(energy * variance, 1e-12))
    best = correlation.argmax(axis=1)
    return best - LAGS, correlation[np.arange(len(x)), best] >= RELATED**0.5


def _interpolated(signal: Floats, at: Doubles, pairs: Pairs, *, slope: bool = False) -> tuple[Floats, Floats]:
    """Return theirs and its slope at positions (B, T), by the cubic polynomial through four samples."""
    base = np.floor(at)
    f = (at - base).astype(np.float32)[..., None]
    taps = base.astype(np.int64)
    low, high = pairs.theirs_low, pairs.theirs_high
    a, b, c, d = (_taken(signal, taps + k, low, high) for k in (-1, 0, 1, 2))
    weights = (-f * (f - 1) * (f - 2) / 6, (f + 1) * (f - 1) * (f - 2) / 2, -(f + 1) * f * (f - 2) / 2)
    z = weights[0] * a + weights[1] * b + weights[2] * c + (f + 1) * f * (f - 1) / 6 * d
    if not slope:
        return np.asarray(z, np.float32), np.asarray(z, np.float32)
    square = 3 * f * f
    slopes = (-(square - 6 * f + 2) / 6, (square - 4 * f - 1) / 2, -(square - 2 * f - 2) / 2, (square - 1) / 6)
    slanted = slopes[0] * a + slopes[1] * b + slopes[2] * c + slopes[3] * d
    return np.asarray(z, np.float32), np.asarray(slanted, np.float32)


def _step(signal: Floats, x: Floats, pairs: Pairs, shift: Doubles, scale: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Return the residual before a Gauss-Newton step, and the step of the shift and of the time scale."""
    length = x.shape[1]
    u = np.arange(length) - (length - 1) / 2
    at = (pairs.theirs + shift)[:, None] + (length - 1) / 2 + scale[:, None] * u
    z, d = _interpolated(signal, at, pairs, slope=True)
    z, e = _centred(z), _centred(u.astype(np.float32)[:, None] * d)
    d = _centred(d)

    def dot(one: Floats, other: Floats) -> Doubles:
        product: Doubles = np.einsum("btc,btc->bc", one, other).astype(np.float64)
        return product

    xx, xz, zz, zd, ze = dot(x, x), dot(x, z), np.maximum(dot(z, z), 1e-12), dot(z, d), dot(z, e)
    g = np.clip(xz / zz, *GAIN)
    energy = np.maximum(xx.sum(axis=1), 1e-12)
    residual = ((xx - 2 * g * xz + g * g * zz).sum(axis=1) - FLOOR * xx.shape[1] * length * NOISE**2) / energy
    left = xz - g * zz
    b1 = (g * (dot(x, d) - g * zd - zd * left / zz)).sum(axis=1)
    b2 = (g * (dot(x, e) - g * ze - ze * left / zz)).sum(axis=1)
    a11 = (g * g * (dot(d, d) - zd * zd / zz)).sum(axis=1)
    a12 = (g * g * (dot(d, e) - zd * ze / zz)).sum(axis=1)
    a22 = (g * g * (dot(e, e) - ze * ze / zz)).sum(axis=1)
    determinant = np.maximum(a11 * a22 - a12 * a12, 1e-12)
    return residual, (a22 * b1 - a12 * b2) / determinant, (a11 * b2 - a12 * b1) / determinant


def _measured(signal: Floats, pairs: Pairs, found: _Aligned, samples: int, residuals: Residuals) -> Fits:
    """Return the copies among aligned pairs: the windows around the fit whose residual is small enough."""
    some = pairs.some(found.row)
    t = np.arange(-AROUND, samples + AROUND)
    ours = some.ours[:, None] + t
    middle = (samples - 1) / 2
    at = (some.theirs + found.shift)[:, None] + middle + found.scale[:, None] * (t - middle)
    inside = (ours >= some.ours_low[:, None]) & (ours < some.ours_high[:, None])
    inside &= (at >= some.theirs_low[:, None]) & (at <= some.theirs_high[:, None] - 1)
    x = _centred(_taken(signal, ours, some.ours_low, some.ours_high)).astype(np.float64)
    z = _centred(_interpolated(signal, at, some)[0]).astype(np.float64)
    lowest = np.full(len(ours), np.inf)
    start, end = np.full(len(ours), 2**62), np.full(len(ours), -(2**62))
    for length in MEASURED:
        q, moves, hop = residuals(x, z, length)
        begins = np.arange(0, len(t) - length + 1, hop)
        whole = _summed(inside.astype(np.float64), length, hop) == length
        copied = (q <= some.limit[:, None]) & moves & whole
        lowest = np.minimum(lowest, np.where(copied, q, np.inf).min(axis=1, initial=np.inf))
        start = np.minimum(start, np.where(copied, begins, 2**62).min(axis=1, initial=2**62))
        end = np.maximum(end, np.where(copied, begins + length, -(2**62)).max(axis=1, initial=-(2**62)))
    copies = np.flatnonzero(np.isfinite(lowest))
    first = start[copies]
    return Fits(
        found.row[copies], ours[copies, first], ours[copies, 0] + end[copies], at[copies, first], lowest[copies]
    )


def _summed(values: Doubles, samples: int, hop: int) -> Doubles:
    """Return the sums over windows, (B, T, …) → (B, windows, …)."""
    sums = np.zeros((values.shape[0], values.shape[1] + 1, *values.shape[2:]))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    windows: Doubles = (sums[:, samples:] - sums[:, :-samples])[:, ::hop]
    return windows


def _residuals(x: Doubles, z: Doubles, samples: int) -> tuple[Doubles, Bools, int]:
    """Return q of each window, whether some channel moves in both, and the samples between two windows."""
    sx, sz = _summed(x, samples, HOP), _summed(z, samples, HOP)
    xx = np.maximum(_summed(x * x, samples, HOP) - sx * sx / samples, 0)
    zz = np.maximum(_summed(z * z, samples, HOP) - sz * sz / samples, 1e-12)
    xz = _summed(x * z, samples, HOP) - sx * sz / samples
    g = np.clip(xz / zz, *GAIN)
    left = (xx - 2 * g * xz + g * g * zz).sum(axis=2)
    return _q(left, xx, samples), _moves(xx, zz, samples), HOP


def _turned_residuals(x: Doubles, z: Doubles, samples: int) -> tuple[Doubles, Bools, int]:
    """Return what `_residuals` does, with the best orthogonal map and gain of each sensor (Schönemann 1966).

    With the singular values s of XᵀZ, the residual is |x|² - 2 g Σ s + g² |z|².
    """
    sx, sz = _summed(x, samples, HOP_TURNED), _summed(z, samples, HOP_TURNED)
    xx = np.maximum(_summed(x * x, samples, HOP_TURNED) - sx * sx / samples, 0)
    zz = np.maximum(_summed(z * z, samples, HOP_TURNED) - sz * sz / samples, 1e-12)
    one, other = (
        total.reshape(*total.shape[:2], total.shape[2] // 3, 3).sum(axis=3) for total in (xx, zz)
    )  # (B, windows, S)
    left = np.zeros(one.shape[:2])
    for sensor in range(one.shape[2]):
        axes = slice(3 * sensor, 3 * sensor + 3)
        products = (x[:, :, axes, None] * z[:, :, None, axes]).reshape(*x.shape[:2], 9)
        means = sx[:, :, axes, None] * sz[:, :, None, axes] / samples
        cross = _summed(products, samples, HOP_TURNED).reshape(means.shape) - means
        shared = np.linalg.svd(cross, compute_uv=False).sum(axis=2)
        g = np.clip(shared / other[:, :, sensor], *GAIN)
        left += one[:, :, sensor] - 2 * g * shared + g * g * other[:, :, sensor]
    return _q(left, xx, samples), _moves(one, other, samples), HOP_TURNED


def _q(left: Doubles, xx: Doubles, samples: int) -> Doubles:
    energy = np.maximum(xx.sum(axis=2), 1e-12)
    q: Doubles = (left - FLOOR * xx.shape[2] * samples * NOISE**2) / energy
    return q


def _moves(xx: Doubles, zz: Doubles, samples: int) -> Bools:
    moves: Bools = np.minimum(xx, zz).max(axis=2) >= samples * LEAST_SD**2
    return moves
