"""Export a network as three ONNX graphs: the encoder for the device, the head for the host, and the whole model.

torch.onnx.export falls back to other opsets silently, names nodes by position and writes stack traces and paths into
the graph. Batch normalization is therefore folded before the export. After it, the graph is simplified by onnxsim,
rewritten with stable names, stripped, and checked: opset, static float32 shapes of one window, no Round on the device.
The same network gives the same bytes.
"""

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from modelreg.errors import ExportError, Problem
from modelreg.export import graph_rewrite, operators
from modelreg.ml.network import Network
from modelreg.records.export import CODE, LOGITS, PROJECTION, WINDOWS, GraphName

if TYPE_CHECKING:
    from onnx import ModelProto

OPSETS = (16, 17, 18)
IR_VERSION = 8  # fits opset 16 to 18; the compiler's onnx 1.17 reads it


class _Encoder(nn.Module):
    """Windows (1, C, D, T) -> projection (1, d)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.device_part = network.device_part

    def forward(self, windows: Tensor) -> Tensor:
        projection: Tensor = self.device_part(windows)
        return projection


class _Head(nn.Module):
    """Projection (1, d) -> code (1, w) if the network has a quantizer, logits (1, K)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.host_part = network.host_part
        self.quantizes = network.levels is not None

    def forward(self, projection: Tensor) -> tuple[Tensor, ...]:
        answer = self.host_part(projection)
        return (answer.code, answer.logits) if self.quantizes else (answer.logits,)


class _Whole(nn.Module):
    """Windows (1, C, D, T) -> projection, code if the network has a quantizer, logits."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, windows: Tensor) -> tuple[Tensor, ...]:
        answer = self.network(windows)
        code = () if self.network.levels is None else (answer.code,)
        return (answer.projection, *code, answer.logits)


def export(network: Network, metadata: Mapping[str, str], opset: int) -> dict[GraphName, bytes]:
    """Return the three graphs as ONNX files. Raises ExportError if a graph fails its checks."""
    if opset not in OPSETS:
        message = f"must be {OPSETS[0]} to {OPSETS[-1]}, but is {opset}"
        raise ExportError("cannot export", [Problem("opset", "export.opset-unsupported", message)])
    folded = fold(network)
    window, projection = torch.zeros(1, *network.shape), torch.zeros(1, network.projection)
    answers = [LOGITS] if network.levels is None else [CODE, LOGITS]
    return {
        "encoder": _export(_Encoder(folded), window, ([WINDOWS], [PROJECTION]), metadata, opset),
        "head": _export(_Head(folded), projection, ([PROJECTION], answers), metadata, opset),
        "model": _export(_Whole(folded), window, ([WINDOWS], [PROJECTION, *answers]), metadata, opset),
    }


def fold(network: Network) -> Network:
    """Return a copy in evaluation mode, with each batch normalization folded into the layer before it."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

    folded = copy.deepcopy(network).cpu().eval()
    folded.freeze()
    for layers in [part for part in folded.device_part.modules() if isinstance(part, nn.Sequential)]:
        for (before, layer), (name, norm) in pairwise(list(layers.named_children())):
            if isinstance(norm, nn.BatchNorm2d) and isinstance(layer, nn.Conv2d):
                setattr(layers, before, fuse_conv_bn_eval(layer, norm))
            elif isinstance(norm, nn.BatchNorm1d) and isinstance(layer, nn.Linear):
                setattr(layers, before, fuse_linear_bn_eval(layer, norm))
            else:
                continue
            delattr(layers, name)
    return folded


def _export(
    module: nn.Module, example: Tensor, names: tuple[list[str], list[str]], metadata: Mapping[str, str], opset: int
) -> bytes:
    import onnx
    import onnxsim

    inputs, outputs = names
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            (example,),
            input_names=inputs,
            output_names=outputs,
            dynamo=True,
            opset_version=opset,
            external_data=False,
            verbose=False,
        )
        assert program is not None  # noqa: S101 it is with dynamo=True
        model, same = onnxsim.simplify(program.model_proto)
    if not same:
        message = "the outputs of the graph changed when onnxsim simplified it"
        raise ExportError("cannot export", [Problem(outputs[0], "export.simplification-failed", message)])
    graph_rewrite.merge_padding(model.graph)
    graph_rewrite.simplify_pooling(model.graph)
    model = graph_rewrite.lower(model, opset)
    graph_rewrite.rename(model.graph)
    graph_rewrite.strip(model, metadata, IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    if problems := list(_find_problems(model, names, opset)):
        raise ExportError("cannot export", problems)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's warnings about opsets and torchvision; its result is checked afterwards."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", (FutureWarning, DeprecationWarning))
            yield
    finally:
        logging.disable(disabled)


def _find_problems(model: "ModelProto", names: tuple[list[str], list[str]], opset: int) -> Iterator[Problem]:
    """Yield the differences between a graph and the requested opset, tensors and operators."""
    from onnx import TensorProto

    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets != {"": opset}:
        yield Problem("opset", "export.opset-mismatch", f"must be {opset}, but the graph has {opsets}")
    graph = model.graph
    found = ([value.name for value in graph.input], [value.name for value in graph.output])
    if found != names:
        message = f"inputs and outputs must be {names[0]} and {names[1]}, but are {found[0]} and {found[1]}"
        yield Problem("graph", "export.tensors-mismatch", message)
    for value in [*graph.input, *graph.output]:
        tensor = value.type.tensor_type
        sizes = [dimension.dim_value for dimension in tensor.shape.dim]
        if tensor.elem_type != TensorProto.FLOAT or sizes[:1] != [1] or min(sizes) < 1:
            message = f"must be float32 with a static shape and a batch of 1, but has shape {sizes}"
            yield Problem(value.name, "export.shape-not-static", message)
    for node in graph.node:
        if node.op_type == "BatchNormalization":
            message = "the batch normalization was not folded into the layer before it"
            yield Problem(node.name, "export.batch-norm-not-folded", message)
        if names == ([WINDOWS], [PROJECTION]) and operators.is_for_the_host(node.op_type):
            yield Problem(node.name, "export.operator-unsupported", f"the device cannot compute {node.op_type}")
