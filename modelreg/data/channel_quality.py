"""Measure single channels, and compare them with thresholds that follow from the unit of each channel."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.flags import RANGE, THRESHOLD, Flag
from modelreg.data.motion import Motion, runs
from modelreg.data.recording import Signal
from modelreg.data.sensors import DEGREE, G, Quantity, unit_of
from modelreg.records.data import ChannelQuality, Limits
from modelreg.records.model import Channel

SATURATED = 3  # consecutive samples at the lowest or highest value; fewer can be chance

# Thresholds by quantity, in m/s², rad/s and µT.
QUIETEST: Mapping[Quantity, float] = {  # below the noise of the best sensors at 12 Hz, so that a body at rest passes
    "acceleration": 2e-5 * G,  # ADXL355: 25 µg/√Hz
    "angular velocity": 0.005 * DEGREE,  # ICM-42688: 0.003 °/s/√Hz
    "magnetic field": 0.005,  # RM3100: 15 nT
}
LOUDEST: Mapping[Quantity, float] = {  # running has 3 g and 8 rad/s at the ankle
    "acceleration": 50.0,
    "angular velocity": 20.0,
    "magnetic field": 200.0,
}
WIDEST: Mapping[Quantity, float] = {  # the widest ranges of common sensors
    "acceleration": 32 * G,  # LSM6DSO32
    "angular velocity": 4000 * DEGREE,  # ICM-20649
    "magnetic field": 5000.0,  # AK8963: 4,912 µT
}
NARROWEST: Mapping[Quantity, float] = {  # a signal that stays within the narrowest ranges cannot clip
    "acceleration": 1.4 * G,  # MMA7361: 1.5 g
    "angular velocity": 120 * DEGREE,  # BMI160: 125 °/s
    "magnetic field": 0.0,
}

DEFAULT = Limits()


class Bounds(NamedTuple):
    """The thresholds of one channel, in its unit."""

    std_min: float
    std_max: float
    low: float
    high: float
    configured: bool  # low and high are those of the configuration


def bounds(channel: Channel, limits: Limits) -> Bounds:
    """Return the thresholds of a channel: those of the configuration, in place of a default those of its unit.

    A channel of an unknown unit has no default thresholds.
    """
    unit = unit_of(channel)
    least, most, range_end = (0.0, np.inf, np.inf)
    if unit:
        least, most, range_end = (table[unit.quantity] / unit.factor for table in (QUIETEST, LOUDEST, WIDEST))
    low, high = limits.channels.get(channel.name, (-range_end, range_end))
    return Bounds(
        std_min=least if limits.std_min == DEFAULT.std_min else limits.std_min,
        std_max=most if limits.std_max == DEFAULT.std_max else limits.std_max,
        low=low,
        high=high,
        configured=channel.name in limits.channels,
    )


def measure(device: str, signal: Signal, channels: Sequence[Channel], motion: Motion) -> Iterator[ChannelQuality]:
    """Measure each column of a signal (samples, C)."""
    values = signal.values
    finite = np.isfinite(values)
    count = np.count_nonzero(finite, axis=0)
    x = np.zeros_like(values, dtype=np.float64)  # the only copy, because recordings can be large
    np.copyto(x, values, where=finite)
    mean = x.sum(axis=0) / np.maximum(count, 1)
    np.subtract(x, mean, out=x, where=finite)
    std = np.sqrt(np.square(x, out=x).sum(axis=0) / np.maximum(count, 1))
    del x
    low = np.min(values, axis=0, where=finite, initial=np.inf)
    high = np.max(values, axis=0, where=finite, initial=-np.inf)
    nan = np.count_nonzero(np.isnan(values), axis=0)
    inf = np.count_nonzero(np.isinf(values), axis=0)
    samples = max(len(values), 1)
    repeated = _repeated(motion, samples)
    for c, channel in enumerate(channels):
        yield ChannelQuality(
            device=device,
            channel=channel.name,
            nan=int(nan[c]),
            inf=int(inf[c]),
            nan_rate=int(nan[c]) / samples,
            inf_rate=int(inf[c]) / samples,
            constant=bool(low[c] == high[c]),
            saturated_rate=_count_saturated(values[:, c], (float(low[c]), float(high[c])), channel) / samples,
            frozen_rate=repeated.get(channel.name),
            mean=float(mean[c]) if count[c] else None,
            std=float(std[c]) if count[c] else None,
            min=float(low[c]) if count[c] else None,
            max=float(high[c]) if count[c] else None,
        )


def _repeated(motion: Motion, samples: int) -> dict[str, float]:
    """Return the share of samples that repeat a value, by channel; stretches of one channel do not overlap."""
    found: dict[str, int] = {}
    for stretch in motion.stretches:
        for channel in stretch.channels:
            found[channel] = found.get(channel, 0) + stretch.samples
    return {channel: min(count / samples, 1.0) for channel, count in found.items()}


def _count_saturated(values: NDArray[np.float32], ends: tuple[float, float], channel: Channel) -> int:
    """Return the samples in runs of at least SATURATED at either end of the values (S,); 0 for a constant channel.

    An end of 0, or one that is lower than the end of every sensor's range, is not where a sensor clips.
    """
    unit = unit_of(channel)
    narrowest = NARROWEST[unit.quantity] / unit.factor if unit else 0.0
    count, (low, high) = 0, ends
    for end in ends:
        if low < high and end and abs(end) >= narrowest:
            lengths = runs(values == np.float32(end))[:, 1]
            count += int(lengths[lengths >= SATURATED].sum())
    return count


def judge(
    recording: str, quality: ChannelQuality, channel: Channel, limits: Limits, filling: str = ""
) -> Iterator[Flag]:
    """Yield every threshold that a channel exceeds; `filling` is the next step for missing values."""
    place = recording, quality.device, (quality.channel,)
    for name, rate, most in (
        ("NaN", quality.nan_rate, limits.max_nan_rate),
        ("Inf", quality.inf_rate, limits.max_inf_rate),
    ):
        if rate > most:
            cause, message = f"more than {most:.1%} {name}", f"{rate:.1%} {name}, above {most:.1%}"
            yield _flag(place, cause, message, rate)._replace(next=filling)
    if quality.std is None:
        step = "check the column; leave the channel or the recordings out"
        yield _flag(place, "no finite value", "no finite value", 0)._replace(next=step)
        return
    known = bounds(channel, limits)
    yield from _judge_spread(place, quality, known)
    if quality.saturated_rate > limits.max_saturated_rate:
        message = f"{quality.saturated_rate:.1%} saturated, above {limits.max_saturated_rate:.1%}"
        cause = f"more than {limits.max_saturated_rate:.1%} saturated"
        yield _flag(place, cause, message, quality.saturated_rate)._replace(
            next="record again with a larger measuring range, or check `scale`"
        )
    yield from _judge_range(place, quality, channel, known)


Place = tuple[str, str, tuple[str, ...]]  # recording, device, channels


def _flag(place: Place, cause: str, message: str, size: float, rule: str = THRESHOLD) -> Flag:
    recording, device, channels = place
    return Flag(recording, rule, device, channels, cause, message, size)


def _judge_spread(place: Place, quality: ChannelQuality, known: Bounds) -> Iterator[Flag]:
    std = quality.std or 0.0
    if quality.constant:
        step = "check the column and the sensor; leave the channel or the recordings out"
        yield _flag(place, "constant", "constant", 0)._replace(next=step)
    elif std < known.std_min:
        message = f"standard deviation {std:.3g}, below {known.std_min:.3g}"
        yield _flag(place, f"standard deviation below {known.std_min:.3g}", message, -std)
    elif std > known.std_max:
        message = f"standard deviation {std:.3g}, above {known.std_max:.3g}"
        yield _flag(place, f"standard deviation above {known.std_max:.3g}", message, std)


def _judge_range(place: Place, quality: ChannelQuality, channel: Channel, known: Bounds) -> Iterator[Flag]:
    least, most = quality.min or 0.0, quality.max or 0.0
    if known.low <= least and most <= known.high:
        return
    size = max(known.low - least, most - known.high)
    if known.configured:
        cause = f"values outside {known.low:g} to {known.high:g}"
        yield _flag(place, cause, f"values from {least:g} to {most:g}, outside {known.low:g} to {known.high:g}", size)
        return
    cause = f"values beyond what sensors measure ({known.high:.4g} {channel.unit})"
    message = f"values from {least:.4g} to {most:.4g} {channel.unit}, sensors measure up to {known.high:.4g}"
    yield _flag(place, cause, message, size, RANGE)
