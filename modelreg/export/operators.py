"""Check a graph against a table of the operators that Hailo-8 and Hailo-8L support, with the evidence for each.

The vendor's table requires a login. These entries come from its public code, its model zoo, working scripts and issue
threads. Without evidence the status is unknown: the check warns and does not fail. Both chips use the same compiler and
the same layers.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from modelreg.errors import Problem
from modelreg.records.export import HailoArch

if TYPE_CHECKING:
    from onnx import NodeProto

Status = Literal["yes", "no", "unknown"]


class Support(NamedTuple):
    """The support for one ONNX operator on a target."""

    operator: str
    status: Status
    evidence: str
    instead: str = ""  # the alternative to a refused operator


ACTIVATIONS = "compiled graphs and the staff's list, community.hailo.ai 5046"
COMPILED = "compiled by DFC 3.32 (public graphs and their HEF files)"
XFEAT = "in a compiled public graph (xfeat)"
NO_EVIDENCE = "no known graph, list or log contains it"
HOST = "compute it on the host: cut the graph before it"

TABLE: tuple[Support, ...] = (
    Support("Conv", "yes", COMPILED),
    Support("ConvTranspose", "yes", COMPILED),
    Support("BatchNormalization", "yes", "folded by the parser"),
    *(Support(name, "yes", ACTIVATIONS) for name in ("Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Sigmoid")),
    *(Support(name, "yes", ACTIVATIONS) for name in ("HardSigmoid", "Tanh", "HardSwish")),
    *(Support(name, "yes", COMPILED) for name in ("MaxPool", "AveragePool", "GlobalAveragePool")),
    *(Support(name, "yes", COMPILED) for name in ("Add", "Sub", "Mul", "Div", "Concat", "Pad")),
    Support("Gemm", "yes", "directly after a convolution, a pooling, Flatten or another Gemm"),
    Support("MatMul", "yes", "attention in the vendor's zoo (ViT)"),
    Support("Flatten", "yes", "between a convolution or pooling and a Gemm"),
    Support("Softmax", "yes", XFEAT),
    Support("LayerNormalization", "yes", "the zoo's vit and deit scripts"),
    Support("InstanceNormalization", "yes", XFEAT),
    Support("Resize", "yes", XFEAT),
    Support("ReduceMean", "unknown", "over channels in some graphs; before a Gemm it failed", "GlobalAveragePool"),
    *(Support(name, "unknown", "over some axes in some graphs") for name in ("ReduceMax", "ReduceSum", "ReduceL2")),
    *(Support(name, "unknown", "some cases compile, others are refused") for name in ("Slice", "Split", "Transpose")),
    Support("Reshape", "unknown", "supported between layers only; elsewhere UnsupportedShuffleLayerError", "Flatten"),
    Support("GroupNormalization", "unknown", NO_EVIDENCE, "BatchNormalization"),
    *(Support(name, "unknown", "static, unrolled, one direction (one report)") for name in ("LSTM", "GRU")),
    Support("Erf", "no", "only inside the Gelu pattern that the parser knows", "Relu, or Gelu as torch exports it"),
    Support("Round", "no", "the parser recommends to end at the node before it", HOST),
    *(Support(name, "no", NO_EVIDENCE, HOST) for name in ("Floor", "Sign", "Cast", "ArgMin", "ArgMax")),
    *(Support(n, "no", "issue threads", HOST) for n in ("TopK", "Gather", "GatherElements", "GridSample", "ScatterND")),
    *(
        Support(name, "no", "the parser takes float graphs only", "the float graph; the compiler quantizes")
        for name in ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul")
    ),
    *(
        Support(name, "no", "left over from dynamic shapes", "static shapes, simplified by onnxsim")
        for name in ("ConstantOfShape", "Where", "Expand", "Shape")
    ),
)
BY_NAME: Mapping[str, Support] = {support.operator: support for support in TABLE}


class Verdicts(NamedTuple):
    """The operators that a target cannot compute, and those whose support is unknown."""

    refused: tuple[Problem, ...]
    warned: tuple[Problem, ...]


def check_operators(graph: bytes, target: HailoArch) -> Verdicts:
    """Check each node of an ONNX file against the table."""
    import onnx

    nodes = onnx.load_from_string(graph).graph.node
    found = list(_judge([(node.name, node.op_type, len(kernel(node))) for node in nodes], target))
    read = {name for node in nodes if node.op_type == "Gemm" for name in node.input}
    last = [node.name for node in nodes if node.op_type == "Flatten" and not read & set(node.output)]
    message = f"{target} may not support Flatten without a Gemm after it"
    found += [("unknown", Problem(name, "export.operator-unverified", message)) for name in last]
    return Verdicts(
        tuple(problem for status, problem in found if status == "no"),
        tuple(problem for status, problem in found if status == "unknown"),
    )


def is_for_the_host(operator: str) -> bool:
    """Return whether no target supports this operator in the device part."""
    return operator in BY_NAME and BY_NAME[operator].instead == HOST


def kernel(node: "NodeProto") -> list[int]:
    """Return the shape of a node's kernel; empty without a kernel."""
    return next((list(attribute.ints) for attribute in node.attribute if attribute.name == "kernel_shape"), [])


def _judge(nodes: list[tuple[str, str, int]], target: HailoArch) -> Iterator[tuple[Status, Problem]]:
    for name, operator, rank in nodes:
        if operator == "Conv" and rank == 1:
            message = f"{target} does not support a convolution over one axis"
            conv2d = "write the layer as a Conv2d with a (1, k) kernel"
            yield "no", Problem(name, "export.operator-unsupported", message, conv2d)
            continue
        support = BY_NAME.get(operator, Support(operator, "unknown", NO_EVIDENCE))
        if support.status != "yes":
            yield support.status, _problem(name, support, target)


def _problem(node: str, support: Support, target: HailoArch) -> Problem:
    instead = f"alternative: {support.instead}" if support.instead else ""
    if support.status == "no":
        message = f"{target} does not support {support.operator} ({support.evidence})"
        return Problem(node, "export.operator-unsupported", message, instead)
    message = f"{target} may not support {support.operator} ({support.evidence})"
    return Problem(node, "export.operator-unverified", message, instead)
