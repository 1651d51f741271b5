"""ONNX Runtime as every part of modelreg uses it: on the CPU, by default on one thread."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import InputError, Problem

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def session(graph: bytes, threads: int = 1) -> "InferenceSession":
    """Return a session. Raises InputError where ONNX Runtime takes no such graph."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except (errors.Fail, errors.InvalidGraph, errors.InvalidProtobuf, errors.NotImplemented) as error:
        raise InputError("ONNX Runtime takes no such graph", [Problem("graph", str(error)[:300])]) from error


def ask(session: "InferenceSession", name: str, value: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return all that a graph of one input answers, by name."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {name: value}), strict=True))
