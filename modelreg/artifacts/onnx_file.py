"""Read the parts of an ONNX file that `verify` and `release` need, without onnx.

Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from modelreg.artifacts import protobuf_wire
from modelreg.errors import InputError, Problem
from modelreg.records.export import Tensor

GRAPH_LIMIT = 256 * 2**20  # bytes
VERSION_KEY = "version"

_GRAPH, _OPSET, _METADATA = 7, 8, 14  # of ModelProto
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12  # of GraphProto
_NODE_TYPE, _TENSOR_NAME = 4, 8


class GraphFile(NamedTuple):
    """The interface, operators and metadata of an ONNX file."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: dict[str, int]  # number of nodes by type
    opset: int  # of the default domain
    metadata: dict[str, str]


def read_onnx(data: bytes, where: str) -> GraphFile:
    """Read an ONNX file. Raises InputError for another type of file, or if a shape is not static."""
    try:
        graph = b"".join(protobuf_wire.messages(data, _GRAPH))  # concatenated messages are merged
        weights = {protobuf_wire.text(weight, _TENSOR_NAME) for weight in protobuf_wire.messages(graph, _INITIALIZER)}
        return GraphFile(
            inputs=tuple(tensor for tensor in _tensors(graph, _INPUT) if tensor.name not in weights),
            outputs=tuple(_tensors(graph, _OUTPUT)),
            operators=dict(
                sorted(Counter(protobuf_wire.text(n, _NODE_TYPE) for n in protobuf_wire.messages(graph, _NODE)).items())
            ),
            opset=max(
                (
                    v
                    for o in protobuf_wire.messages(data, _OPSET)
                    if not protobuf_wire.text(o, 1)
                    for v in protobuf_wire.numbers(o, 2)
                ),
                default=0,
            ),
            metadata={
                protobuf_wire.text(m, 1): protobuf_wire.text(m, 2) for m in protobuf_wire.messages(data, _METADATA)
            },
        )
    except ValueError as error:
        problem = Problem(where, "onnx.unreadable", f"not an ONNX graph with static shapes: {error}")
        raise InputError("cannot read the graph", [problem]) from error


def stamp(data: bytes, version: str) -> bytes:
    """Return a graph with a release's version in its metadata.

    Fields may be appended to a Protocol Buffers message. The graph that was compared with the checkpoint is unchanged.
    """
    return data + _stamp(version)


def unstamp(data: bytes, version: str) -> bytes | None:
    """Return the graph without this version in its metadata, or None if the version is not there."""
    ending = _stamp(version)
    return data[: -len(ending)] if data.endswith(ending) else None


def _stamp(version: str) -> bytes:
    entry = protobuf_wire.encode_text(1, VERSION_KEY.encode()) + protobuf_wire.encode_text(2, version.encode())
    return protobuf_wire.encode_text(_METADATA, entry)


def _tensors(graph: bytes, number: int) -> Iterator[Tensor]:
    """Yield the inputs or outputs of a graph: ValueInfoProto, TypeProto, Tensor, TensorShapeProto, Dimension."""
    for value in protobuf_wire.messages(graph, number):
        dimensions = [
            dimension
            for type_ in protobuf_wire.messages(value, 2)
            for tensor in protobuf_wire.messages(type_, 1)
            for shape in protobuf_wire.messages(tensor, 2)
            for dimension in protobuf_wire.messages(shape, 1)
        ]
        sizes = [next(protobuf_wire.numbers(dimension, 1), 0) for dimension in dimensions]
        if not sizes or min(sizes) < 1:
            raise ValueError(f"{protobuf_wire.text(value, 1)} has no static shape")
        yield Tensor(name=protobuf_wire.text(value, 1), shape=tuple(sizes))
