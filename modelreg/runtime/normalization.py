"""Normalize single windows, z = (x - mean) / std, and check the sensors' limits.

`data/normalization.py` does the same for whole splits. Here the constants are computed once, not for each window.
"""

from collections.abc import Iterator

import numpy as np

from modelreg.errors import Problem
from modelreg.records.data import Normalization
from modelreg.runtime.backends import Floats


class Scale:
    """The constants of normalization.json as arrays."""

    def __init__(self, scale: Normalization) -> None:
        self._mean = np.array(scale.mean, dtype=np.float32).T[:, :, None]  # (C, 1 or D, 1)
        self._std = np.array(scale.std, dtype=np.float32).T[:, :, None]
        self._limits = {
            number: (channel.name, *scale.limits.channels[channel.name])
            for number, channel in enumerate(scale.channels)
            if channel.name in scale.limits.channels
        }

    def normalize(self, window: Floats) -> Floats:
        """Return a normalized window (C, D, T)."""
        normalized: Floats = (window - self._mean) / self._std
        return normalized

    def restore(self, normalized: Floats) -> Floats:
        """Return raw windows (…, C, D, T) of normalized ones."""
        raw: Floats = normalized * self._std + self._mean
        return raw

    def find_out_of_limits(self, window: Floats) -> Iterator[Problem]:
        """Yield a problem for each channel with a value outside its sensor's limits."""
        for number, (name, low, high) in self._limits.items():
            least, most = float(window[number].min()), float(window[number].max())
            if least < low or most > high:
                message = f"values from {least:g} to {most:g} exceed the sensor's limits {low:g} to {high:g}"
                yield Problem(f"channel {name}", "predict.out-of-limits", message)
