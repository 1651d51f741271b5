"""A network as three ONNX graphs: the encoder for the device, the head for the host, and the whole model.

torch.onnx.export falls back silently, names nodes by position and leaves stack traces and paths behind. So batch
normalization is folded before it, and after it the graph is rewritten to names of ours, stripped, simplified by
onnxsim, checked in full, and held against what was asked: opset, static float32 shapes of one window, no Round on the
device. The same network gives the same bytes.
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
IR_VERSION = 8  # of opset 16 to 18; what the compiler's onnx 1.17 surely reads


class _Encoder(nn.Module):
    """Windows (1, C, D, T) -> projection (1, d)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.device_part = network.device_part

    def forward(self, windows: Tensor) -> Tensor:
        projection: Tensor = self.device_part(windows)
        return projection


class _Head(nn.Module):
    """Projection (1, d) -> code (1, w) where something is quantized, logits (1, K)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.host_part = network.host_part
        self.quantizes = network.levels is not None

    def forward(self, projection: Tensor) -> tuple[Tensor, ...]:
        answer = self.host_part(projection)
        return (answer.code, answer.logits) if self.quantizes else (answer.logits,)


class _Whole(nn.Module):
    """Windows (1, C, D, T) -> projection, code where something is quantized, logits."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, windows: Tensor) -> tuple[Tensor, ...]:
        answer = self.network(windows)
        code = () if self.network.levels is None else (answer.code,)
        return (answer.projection, *code, answer.logits)


def export(network: Network, metadata: Mapping[str, str], opset: int) -> dict[GraphName, bytes]:
    """Return the three graphs as ONNX files. Raises ExportError where one is not what was asked for."""
    if opset not in OPSETS:
        what = f"is {opset}: below 16 the exporter's conversion is not reliable, above 18 the compiler was never seen"
        raise ExportError(
            "cannot export", [Problem("opset", "todo.graphs", f"{what}; choose {OPSETS[0]} to {OPSETS[-1]}")]
        )
    folded = fold(network)
    window, projection = torch.zeros(1, *network.shape), torch.zeros(1, network.projection)
    answers = [LOGITS] if network.levels is None else [CODE, LOGITS]
    return {
        "encoder": _export(_Encoder(folded), window, ([WINDOWS], [PROJECTION]), metadata, opset),
        "head": _export(_Head(folded), projection, ([PROJECTION], answers), metadata, opset),
        "model": _export(_Whole(folded), window, ([WINDOWS], [PROJECTION, *answers]), metadata, opset),
    }


def fold(network: Network) -> Network:
    """Return a copy, ready to predict, in which every batch normalization is part of the layer before it."""
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
        raise ExportError(
            "cannot export", [Problem(outputs[0], "todo.graphs", "onnxsim changed what the graph computes")]
        )
    graph_rewrite.merge_padding(model.graph)
    graph_rewrite.simplify_pooling(model.graph)
    model = graph_rewrite.lower(model, opset)
    graph_rewrite.rename(model.graph)
    graph_rewrite.strip(model, metadata, IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    if problems := list(_find_problems(model, names, opset)):
        raise ExportError("the exporter did not do what was asked", problems)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's remarks on opsets and on torchvision; what it did is checked afterwards."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", (FutureWarning, DeprecationWarning))
            yield
    finally:
        logging.disable(disabled)


def _find_problems(model: "ModelProto", names: tuple[list[str], list[str]], opset: int) -> Iterator[Problem]:
    """Yield where a graph is not what was asked for."""
    from onnx import TensorProto

    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets != {"": opset}:
        yield Problem("opset", "todo.graphs", f"is {opsets}, asked for was {opset}")
    graph = model.graph
    if ([value.name for value in graph.input], [value.name for value in graph.output]) != names:
        yield Problem("graph", "todo.graphs", "its inputs and outputs are not those that were asked for")
    for value in [*graph.input, *graph.output]:
        tensor = value.type.tensor_type
        sizes = [dimension.dim_value for dimension in tensor.shape.dim]
        if tensor.elem_type != TensorProto.FLOAT or sizes[:1] != [1] or min(sizes) < 1:
            yield Problem(value.name, "todo.graphs", f"must be float32 of a batch of one, is of shape {sizes}")
    for node in graph.node:
        if node.op_type == "BatchNormalization":
            yield Problem(node.name, "todo.graphs", "is a batch normalization that was not folded")
        if names == ([WINDOWS], [PROJECTION]) and operators.is_for_the_host(node.op_type):
            yield Problem(node.name, "todo.graphs", f"is a {node.op_type}, which the device cannot compute")
