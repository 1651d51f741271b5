"""Which operators a Hailo-8 compiles: a table with its evidence, and graphs held against it.

The vendor's own table is behind a login. What stands here was read in its public code, its model zoo, working scripts
and issue threads; where nothing was found, the status is unknown, which warns and does not refuse. Both chips have one
compiler and one set of layers.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from modelreg.errors import Problem
from modelreg.records.export import HailoArch

if TYPE_CHECKING:
    from onnx import NodeProto

Status = Literal["yes", "no", "unknown"]


class Support(NamedTuple):
    """What is known of one ONNX operator on a target."""

    operator: str
    status: Status
    evidence: str
    instead: str = ""  # what to use where it is refused


ACTIVATIONS = "compiled graphs and the staff's list, community.hailo.ai 5046"
COMPILED = "compiled by DFC 3.32 (public graphs and their HEF files)"
XFEAT = "in a compiled public graph (xfeat)"
NO_EVIDENCE = "no graph, list or log shows it"
HOST = "it belongs to the host: cut the graph before it"

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
    Support("Reshape", "unknown", "between layers only; others end in UnsupportedShuffleLayerError", "Flatten"),
    Support("GroupNormalization", "unknown", NO_EVIDENCE, "BatchNormalization"),
    *(Support(name, "unknown", "static, unrolled, one direction (one report)") for name in ("LSTM", "GRU")),
    Support("Erf", "no", "only inside the Gelu pattern that the parser knows", "Relu, or Gelu as torch exports it"),
    Support("Round", "no", "the parser offers the node before it", HOST),
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
    """What stands against a graph, and what is merely not known."""

    refused: tuple[Problem, ...]
    warned: tuple[Problem, ...]


def check_operators(graph: bytes, target: HailoArch) -> Verdicts:
    """Hold each node of an ONNX file against the table."""
    import onnx

    nodes = onnx.load_from_string(graph).graph.node
    found = list(_judge([(node.name, node.op_type, len(kernel(node))) for node in nodes], target))
    read = {name for node in nodes if node.op_type == "Gemm" for name in node.input}
    last = [node.name for node in nodes if node.op_type == "Flatten" and not read & set(node.output)]
    found += [
        ("unknown", Problem(name, "todo.operators", f"{target} may not compute a Flatten without a Gemm behind"))
        for name in last
    ]
    return Verdicts(
        tuple(problem for status, problem in found if status == "no"),
        tuple(problem for status, problem in found if status == "unknown"),
    )


def is_for_the_host(operator: str) -> bool:
    """Return whether a device part may never hold this operator, whatever the target."""
    return operator in BY_NAME and BY_NAME[operator].instead == HOST


def kernel(node: "NodeProto") -> list[int]:
    """Return the shape of a node's kernel; empty where it has none."""
    return next((list(attribute.ints) for attribute in node.attribute if attribute.name == "kernel_shape"), [])


def _judge(nodes: list[tuple[str, str, int]], target: HailoArch) -> Iterator[tuple[Status, Problem]]:
    for name, operator, rank in nodes:
        if operator == "Conv" and rank == 1:
            what = (
                f"{target} is known to fail on a convolution over one axis; write it as a Conv2d with a (1, k) kernel"
            )
            yield "no", Problem(name, "todo.operators", what)
            continue
        support = BY_NAME.get(operator, Support(operator, "unknown", NO_EVIDENCE))
        if support.status != "yes":
            instead = f"; instead: {support.instead}" if support.instead else ""
            fate = "cannot compute" if support.status == "no" else "may not compute"
            yield (
                support.status,
                Problem(name, "todo.operators", f"{target} {fate} {operator}: {support.evidence}{instead}"),
            )
