"""Where coverage looks away: other people's Python, which it follows line by line, only to leave every line out.

torch's exporter, numba's compiler and matplotlib's drawing take two to three times as long when they are traced. So the
tracer rests while one of them runs, while slow libraries are loaded, and in tests marked `no_cover`: those that run a
thousand times what other tests run as well.
"""

import functools
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

SLOW = ("torch", "onnx", "onnxruntime", "pandas", "scipy.stats", "sklearn.metrics", "schemathesis")
# The first call is traced where what it calls of ours (a reader of windows) is called by nobody else.
CALLED_BACK = ("onnxruntime.quantization:quantize_static",)
ALONE = ("torch.onnx:export", "numba.core.dispatcher:Dispatcher.compile", "matplotlib.figure:Figure.savefig")


def untraced(function: Callable[..., Any], *, first_too: bool = True) -> Callable[..., Any]:
    """Return a function that does the same, but from its first or its second call on untraced."""
    resting = first_too

    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        nonlocal resting
        tracer = sys.gettrace()
        if tracer is None or not resting:
            resting = True
            return function(*args, **named)
        sys.settrace(None)
        try:
            return function(*args, **named)
        finally:
            sys._getframe().f_trace = tracer  # that saw this frame begin, and must see it end
            sys.settrace(tracer)

    return call


def load() -> None:
    """Load what is slow, and let nothing trace what is named above from now on."""
    load_module = untraced(importlib.import_module)
    for name in SLOW:
        load_module(name)
    for name in (*CALLED_BACK, *ALONE):
        module, _, path = name.partition(":")
        *classes, last = path.split(".")
        owner = functools.reduce(getattr, classes, load_module(module))
        setattr(owner, last, untraced(getattr(owner, last), first_too=name in ALONE))


def environment() -> dict[str, str]:
    """Return the environment for a process in which nothing of ours runs, or nothing new: coverage stays out of it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS")}
