"""Find windows that a model cannot take: a value is missing, or outside of the sensor's limits."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.records.data import Limits
from modelreg.records.model import InputSpec


class Unfit(NamedTuple):
    """Windows of a batch that share one fault."""

    windows: NDArray[np.intp]  # their numbers, ascending
    what: str
    missing: bool  # a value is missing; else it is outside the sensor's limits


def find(x: NDArray[np.float32], spec: InputSpec, limits: Limits) -> Iterator[Unfit]:
    """Yield the faults of raw windows (N, C, D, T), each with the windows that have it."""
    missing = np.asarray(~np.isfinite(x).all(axis=(2, 3)))  # (N, C)
    windows, channels = np.nonzero(missing)
    if len(windows):
        names = [spec.channels[number].name for number in np.unique(channels)]
        yield Unfit(np.unique(windows), f"missing or infinite value in {', '.join(names)}", missing=True)
    for number, channel in enumerate(spec.channels):
        if channel.name in limits.channels:
            low, high = limits.channels[channel.name]
            values = np.where(np.isfinite(x[:, number]), x[:, number], np.float32(0)).astype(np.float64)
            least, most = values.min(axis=(1, 2)), values.max(axis=(1, 2))
            beyond = ~missing[:, number] & ((least < low) | (most > high))
            if beyond.any():
                reach = f"{least[beyond].min():g} to {most[beyond].max():g} {channel.unit}"
                what = f"{channel.name} reaches from {reach}, this sensor's limits are {low:g} and {high:g}"
                yield Unfit(np.flatnonzero(beyond), what, missing=False)
