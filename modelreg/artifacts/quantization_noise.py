"""What rounding to 8 bits does to numbers: HailoRT's formula, and the noise that is left."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
STEPS = 255
BOUND_DB = 300.0  # beyond double precision: no error, or no signal


class Rounding(NamedTuple):
    """An asymmetric scale of 8 bits: an integer q stands for (q - zero) * scale."""

    scale: float
    zero: int

    def through(self, values: Floats) -> Floats:
        """Round values and return what the integers stand for, as HailoRT's host does (quantization.hpp).

        q = round half to even(clip(x, lowest, highest) / scale + zero).
        """
        low, high = (np.float32((q - self.zero) * self.scale) for q in (0, STEPS))
        integers = np.rint(np.clip(values, low, high) / np.float32(self.scale) + np.float32(self.zero))
        rounded: Floats = ((integers - np.float32(self.zero)) * np.float32(self.scale)).astype(np.float32)
        return rounded


def rounding(low: float, high: float) -> Rounding:
    """Return the scale whose integers reach from `low` to `high`; 0 is always one of the values."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / STEPS or 1.0
    return Rounding(scale, round(-low / scale))


def snr_db(signal: Floats, noisy: Floats) -> float:
    """Return 10 log10 of a signal's power over that of its error, at most BOUND_DB either way; NaN where it is."""
    wide = signal.astype(np.float64)
    return decibels(float(np.square(wide).sum()), float(np.square(noisy - wide).sum()))


def decibels(power: float, error: float) -> float:
    """Return 10 log10(power / error), at most BOUND_DB either way; NaN stays NaN."""
    if math.isnan(error) or math.isnan(power):
        return math.nan
    if not power or not error:
        return BOUND_DB if not error else -BOUND_DB
    return max(-BOUND_DB, min(BOUND_DB, 10 * math.log10(power / error)))
