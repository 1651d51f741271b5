"""Cut a stream of samples into windows in constant memory, the same windows that `data/windows.py` cuts.

All devices are resampled to one grid at the model's rate. Without time stamps, the samples of a device are the steps of
the grid. With time stamps, the grid starts when all devices have started, and a value is interpolated linearly between
its neighbours, as in `data/alignment.py`; it is missing inside a gap and next to a missing value. A step is complete
when a sample reaches it; no later samples are needed. The caller must low-pass filter and decimate a signal that is
faster than the model's rate, because that needs later samples.

A clock may stop, jump forward or be set back. After a forward jump, the samples in between are missing. After a
backward jump longer than a gap, the grid restarts for all devices; after a shorter one, the late samples are dropped.
"""

from collections.abc import Iterator
from math import ceil, floor, inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.alignment import SAME, Grid, longest_interval
from modelreg.errors import InputError, Problem
from modelreg.records.data import Limits
from modelreg.records.model import InputSpec

SLACK_S = 5.0  # the longest lead of one device over another
Floats = NDArray[np.float32]
Times = NDArray[np.float64]


class Window(NamedTuple):
    """A complete window."""

    start: int  # step of its first sample, counted from the start of the grid
    time: float | None  # of its last sample, on the devices' clock; None without time stamps
    x: Floats  # (C, D, T), raw; D and T are folded if the model folds them


class Missing(NamedTuple):
    """Windows that were dropped, because a value is missing."""

    start: int  # of the first one
    windows: int


class Gap(NamedTuple):
    """A gap: a device's clock advanced without samples."""

    device: str
    seconds: float


class ClockJump(NamedTuple):
    """A device's clock was set back: the grid restarts at step 0."""

    device: str
    seconds: float  # negative


class Late(NamedTuple):
    """Samples that arrived late and were dropped."""

    device: str
    samples: int


Cut = Window | Missing | Gap | ClockJump | Late


class _Clock:
    """One device: the samples that are still needed, and how far it has filled the grid."""

    def __init__(self, channels: int) -> None:
        self.time: Times = np.empty(0)
        self.values: Floats = np.empty((0, channels), dtype=np.float32)
        self.filled = 0  # the next step to fill

    @property
    def latest(self) -> float:
        """The time of the last sample."""
        return float(self.time[-1]) if len(self.time) else -inf

    def take(self, time: Times, values: Floats) -> None:
        self.time, self.values = np.concatenate([self.time, time]), np.concatenate([self.values, values])

    def keep_last(self, count: int) -> None:
        self.time, self.values = self.time[-count:], self.values[-count:]

    def stretches(self, gap_s: float) -> Iterator[tuple[Times, Floats]]:
        """Yield the samples between gaps."""
        ends = np.flatnonzero(np.diff(self.time) > gap_s) + 1
        yield from zip(np.split(self.time, ends), np.split(self.values, ends), strict=True)


class Cutter:
    """Cuts a stream of samples into windows."""

    def __init__(self, spec: InputSpec, hop: int, limits: Limits) -> None:
        """`hop` is in samples; raises InputError below 1."""
        if hop < 1:
            message = f"must be at least 1 sample, but is {hop}"
            raise InputError("cannot cut windows", [Problem("hop", "stream.hop-too-small", message)])
        self._spec, self._hop = spec, hop
        self._gap_s = longest_interval(spec.rate_hz, limits)
        self._capacity = 2 * spec.timesteps + ceil(SLACK_S * spec.rate_hz)
        self._timed: bool | None = None  # whether samples have time stamps; None before the first samples
        self._begin()

    def _begin(self) -> None:
        channels, devices = len(self._spec.channels), self._spec.devices
        self._ring = np.full((channels, len(devices), self._capacity), np.nan, dtype=np.float32)
        self._clocks = {device: _Clock(channels) for device in devices}
        self._origin: float | None = None  # the time of step 0, in seconds
        self._next = 0  # first step of the next window, and of the ring

    def push(self, samples: Floats, device: str | None = None, time: Times | None = None) -> Iterator[Cut]:
        """Yield the windows and events of new samples (n, C) of a device; Inf counts as NaN. Iterate to the end.

        `time` is (n,) seconds, on one clock for all devices. Pass it with all samples or with none. Raises InputError
        before it takes any sample.
        """
        name = self._checked(samples, device, time)
        values = np.where(np.isfinite(samples), samples, np.nan).astype(np.float32)
        size = self._spec.timesteps
        for first in range(0, len(values), size):
            part = slice(first, first + size)
            if time is None:
                yield from self._put(name, self._clocks[name].filled, values[part])
            else:
                yield from self._tick(name, values[part], time[part].astype(np.float64))

    def _checked(self, samples: Floats, device: str | None, time: Times | None) -> str:
        devices, channels = self._spec.devices, len(self._spec.channels)
        problems = []
        if samples.ndim != 2 or samples.shape[1] != channels:
            message = f"shape must be (n, {channels}), but is {samples.shape}"
            problems.append(Problem("samples", "stream.samples-shape", message))
        if (device is None and len(devices) > 1) or device not in (None, *devices):
            message = f"must be one of {', '.join(devices)}, but is {device or 'not set'}"
            problems.append(Problem("device", "stream.device-unknown", message))
        if self._timed not in (None, time is not None):
            message = "samples with and without time stamps are mixed"
            problems.append(Problem("time", "stream.time-mixed", message))
        if time is not None and (time.shape != samples.shape[:1] or not np.isfinite(time).all()):
            message = f"must be {len(samples)} finite numbers, in seconds"
            problems.append(Problem("time", "stream.time-invalid", message))
        if problems:
            raise InputError("cannot take these samples", problems)
        self._timed = time is not None
        return device or devices[0]

    # Time stamps

    def _tick(self, device: str, values: Floats, time: Times) -> Iterator[Cut]:
        """Detect late samples and clock jumps, and fill the grid with the other samples."""
        while len(time):
            clock = self._clocks[device]
            latest = np.maximum.accumulate(np.concatenate([[clock.latest], time[:-1]]))
            back = np.flatnonzero(time < latest - self._gap_s)
            end = int(back[0]) if len(back) else len(time)
            on_time = time[:end] > latest[:end]
            clock.take(time[:end][on_time], values[:end][on_time])
            if late := end - int(np.count_nonzero(on_time)):
                yield Late(device, late)
            yield from self._settle()
            if len(back):
                yield ClockJump(device, float(time[end] - latest[end]))
                self._begin()
            values, time = values[end:], time[end:]

    def _settle(self) -> Iterator[Cut]:
        """Resample to the grid, once all devices have started."""
        clocks = self._clocks
        if self._origin is None and all(len(clock.time) for clock in clocks.values()):
            self._origin = max(float(clock.time[0]) for clock in clocks.values())
        for device, clock in clocks.items():
            if self._origin is not None:
                yield from self._resample(device, clock, self._origin)
            clock.keep_last(1 if self._origin is not None else self._capacity)

    def _resample(self, device: str, clock: _Clock, origin: float) -> Iterator[Cut]:
        """Fill the steps that a device's samples reach; steps inside a gap stay missing."""
        rate, size, before = self._spec.rate_hz, self._spec.timesteps, None
        for time, values in clock.stretches(self._gap_s):
            if before is not None and time[0] > origin:
                yield Gap(device, float(time[0] - before))
            before = float(time[-1])
            first = max(clock.filled, ceil((float(time[0]) - origin) * rate - SAME))
            last = floor((before - origin) * rate + SAME)
            for step in range(first, last + 1, size):
                steps = np.arange(step, min(step + size, last + 1))
                yield from self._put(device, step, _linear(Grid(origin + steps / rate, rate), time, values))

    # The grid

    def _put(self, device: str, first: int, values: Floats) -> Iterator[Cut]:
        """Put a device's next steps into the ring; unfilled steps before `first` stay missing."""
        end = first + len(values)
        yield from self._give_up(end - self._capacity)
        places = np.arange(first, end) - self._next
        there = places >= 0  # steps of dropped windows, or between two windows, are not needed
        self._ring[:, self._spec.devices.index(device), places[there]] = values[there].T
        self._clocks[device].filled = end
        yield from self._cut()

    def _give_up(self, oldest: int) -> Iterator[Cut]:
        """Drop the windows that start before `oldest`: a device is too far behind, or its clock jumped forward."""
        if oldest > self._next:
            windows = -(-(oldest - self._next) // self._hop)
            yield Missing(self._next, windows)
            self._move(windows * self._hop)

    def _cut(self) -> Iterator[Cut]:
        """Yield every window that all devices have filled."""
        size = self._spec.timesteps
        while self._next + size <= min(clock.filled for clock in self._clocks.values()):
            x = self._ring[:, :, :size].copy()
            yield self._window(x) if np.isfinite(x).all() else Missing(self._next, 1)
            self._move(self._hop)

    def _window(self, x: Floats) -> Window:
        last = self._next + self._spec.timesteps - 1
        time = None if self._origin is None else self._origin + last / self._spec.rate_hz
        return Window(self._next, time, x.reshape(self._spec.shape))

    def _move(self, steps: int) -> None:
        kept = max(0, self._capacity - steps)
        self._ring[:, :, :kept] = self._ring[:, :, self._capacity - kept :]
        self._ring[:, :, kept:] = np.nan
        self._next += steps


def _linear(grid: Grid, time: Times, values: Floats) -> Floats:
    """Return the values (n, C) at the times of a grid; missing next to a missing value."""
    before, after = grid.between(time)
    apart = np.where(after > before, time[after] - time[before], 1.0)
    share = np.clip((grid.moments - time[before]) / apart, 0.0, 1.0)[:, None]
    low, high = values[before].astype(np.float64), values[after].astype(np.float64)
    mixed: Floats = (low + (high - low) * share).astype(np.float32)
    return mixed
