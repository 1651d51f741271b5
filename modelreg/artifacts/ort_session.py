"""Create ONNX Runtime sessions: on the CPU, on one thread by default.

Kernels for 8-bit integers differ between processors: without VNNI, those for AVX2 add products of uint8 and int8 in
16 bits and saturate. Quantized graphs whose metrics are recorded are therefore computed in float32.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import InputError, Problem

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions


def session(graph: bytes, threads: int = 1, *, in_float: bool = False) -> "InferenceSession":
    """Return a session. Raises InputError if ONNX Runtime cannot load the graph.

    With `in_float`, a quantized graph keeps its QuantizeLinear and DequantizeLinear nodes, and every layer between them
    is computed in float32: integer kernels and optimizations for the processor are disabled.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    options = _options(threads, in_float=in_float)
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except (errors.Fail, errors.InvalidGraph, errors.InvalidProtobuf, errors.NotImplemented) as error:
        problem = Problem("graph", "onnx.unreadable", f"ONNX Runtime: {str(error)[:300]}")
        raise InputError("cannot load the graph", [problem]) from error


def _options(threads: int, *, in_float: bool) -> "SessionOptions":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if in_float:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options


def ask(session: "InferenceSession", name: str, value: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Run a graph with one input. Return its outputs by name."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {name: value}), strict=True))
