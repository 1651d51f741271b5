"""Measure the latency of one window on this machine, from raw samples to the result."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.records.latency import LatencySpread
from modelreg.runtime.backends import Floats
from modelreg.runtime.pipeline import Pipeline
from modelreg.runtime.self_test import windows_of

WARM_UP = 200  # windows, not measured: caches, branch predictors and clocks settle


class Measured(NamedTuple):
    """The figures of one benchmark."""

    latency: LatencySpread
    device_part: LatencySpread
    windows_per_s: float


def measure_latency(pipeline: Pipeline, windows: int, clock: Callable[[], float]) -> Measured:
    """Time `windows` windows of the export, one after another; `clock` returns seconds. Raises BackendError."""
    raw = windows_of(pipeline.package)
    whole = _seconds(pipeline.infer, raw, windows, clock)
    fed = np.stack([pipeline.fed(window) for window in raw])
    part = _seconds(pipeline.backend.project, fed, windows, clock)
    return Measured(_spread(whole), _spread(part), float(windows / whole.sum()))


def _seconds(
    work: Callable[[Floats], object], windows: Floats, count: int, clock: Callable[[], float]
) -> NDArray[np.float64]:
    for number in range(WARM_UP):
        work(windows[number % len(windows)])
    taken = np.empty(count)
    for number in range(count):
        window = windows[number % len(windows)]
        start = clock()
        work(window)
        taken[number] = clock() - start
    return taken


def _spread(seconds: NDArray[np.float64]) -> LatencySpread:
    p50, p95, p99 = (float(value) for value in np.percentile(seconds, (50, 95, 99)) * 1e3)
    return LatencySpread(p50_ms=p50, p95_ms=p95, p99_ms=p99, max_ms=float(seconds.max() * 1e3))
