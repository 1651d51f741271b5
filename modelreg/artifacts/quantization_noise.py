"""Rounding to 8 bits by HailoRT's formula, and the signal-to-noise ratio of the result."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
STEPS = 255
BOUND_DB = 300.0  # beyond double precision: used for a zero error or a zero signal


class Rounding(NamedTuple):
    """An asymmetric 8-bit scale: an integer q represents (q - zero) * scale."""

    scale: float
    zero: int

    def through(self, values: Floats) -> Floats:
        """Quantize and dequantize values in the same way as HailoRT's host library (quantization.hpp).

        q = round half to even(clip(x, lowest, highest) / scale + zero).
        """
        low, high = (np.float32((q - self.zero) * self.scale) for q in (0, STEPS))
        integers = np.rint(np.clip(values, low, high) / np.float32(self.scale) + np.float32(self.zero))
        rounded: Floats = ((integers - np.float32(self.zero)) * np.float32(self.scale)).astype(np.float32)
        return rounded


def rounding(low: float, high: float) -> Rounding:
    """Return the scale with the range `low` to `high`, extended to include 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / STEPS or 1.0
    return Rounding(scale, round(-low / scale))


def snr_db(signal: Floats, noisy: Floats) -> float:
    """Return the signal-to-noise ratio in dB, limited to ±BOUND_DB. NaN if an input has NaN."""
    wide = signal.astype(np.float64)
    return decibels(float(np.square(wide).sum()), float(np.square(noisy - wide).sum()))


def decibels(power: float, error: float) -> float:
    """Return 10 log10(power / error), limited to ±BOUND_DB. NaN if an argument is NaN."""
    if math.isnan(error) or math.isnan(power):
        return math.nan
    if not power or not error:
        return BOUND_DB if not error else -BOUND_DB
    return max(-BOUND_DB, min(BOUND_DB, 10 * math.log10(power / error)))
