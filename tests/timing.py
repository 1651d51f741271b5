"""Measure the processor time of a call, for tests that compare two: for tests only."""

import gc
import time
from collections.abc import Callable


def processor_seconds(call: Callable[[], object]) -> float:
    """Return the shorter of two calls, without the collector: its time grows with all objects of the process."""
    taken = []
    gc.disable()
    try:
        for _ in range(2):
            begun = time.process_time()
            call()
            taken.append(time.process_time() - begun)
    finally:
        gc.enable()
    return min(taken)
