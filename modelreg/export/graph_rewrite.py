"""Rewrite a graph that torch exported: replace operators that may not compile, rename nodes, strip metadata."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modelreg.export import operators

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto


def merge_padding(graph: "GraphProto") -> None:
    """Merge each zero Pad before a convolution into the `pads` of the convolution."""
    from onnx import helper, numpy_helper

    values = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
    for pad in [node for node in graph.node if node.op_type == "Pad"]:
        users = [node for node in graph.node if pad.output[0] in node.input]
        if len(users) != 1 or users[0].op_type != "Conv" or not _is_of_zeros(pad, values):
            continue
        widths = values[pad.input[1]].reshape(2, -1)[:, 2:].reshape(-1).tolist()  # of the axes after N and C
        own = next((list(found.ints) for found in users[0].attribute if found.name == "pads"), [0] * len(widths))
        kept = [found for found in users[0].attribute if found.name != "pads"]
        del users[0].attribute[:]
        users[0].attribute.extend(kept)
        users[0].attribute.append(helper.make_attribute("pads", [a + b for a, b in zip(own, widths, strict=True)]))
        users[0].input[0] = pad.input[0]
        graph.node.remove(pad)
    _drop_unused(graph)


def _is_of_zeros(pad: "NodeProto", values: Mapping[str, Any]) -> bool:
    """Return whether a Pad adds a constant number of zeros, to height and width only."""
    mode = next((found.s for found in pad.attribute if found.name == "mode"), b"constant")
    widths, (filled, axes) = values.get(pad.input[1]), (*pad.input[2:], "", "")[:2]
    zeros = not axes and (not filled or (filled in values and not values[filled].any()))
    return mode == b"constant" and zeros and widths is not None and not widths.reshape(2, -1)[:, :2].any()


def lower(model: "ModelProto", opset: int) -> "ModelProto":
    """Return the model at a lower opset; the exporter stays at 18 if a node, removed since, could not be converted."""
    from onnx import version_converter

    if opset >= max(entry.version for entry in model.opset_import):
        return model
    lowered: ModelProto = version_converter.convert_version(model, opset)
    return lowered


def simplify_pooling(graph: "GraphProto") -> None:
    """Replace an AveragePool over the whole input by GlobalAveragePool, and the Reshape after it by Flatten.

    The compiler supports both (docs/hailo.md); it may refuse a Reshape to a constant shape.
    """
    from onnx import helper

    values = [*graph.input, *graph.value_info, *graph.output]
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}
    for node in graph.node:
        if node.op_type == "AveragePool" and operators.kernel(node) == shapes[node.input[0]][2:]:
            node.CopyFrom(helper.make_node("GlobalAveragePool", node.input[:1], node.output))
        elif node.op_type == "Reshape" and len(shapes[node.input[0]]) == 4 and len(shapes[node.output[0]]) == 2:
            node.CopyFrom(helper.make_node("Flatten", node.input[:1], node.output, axis=1))
    _drop_unused(graph)


def _drop_unused(graph: "GraphProto") -> None:
    """Remove constants that no node reads."""
    used = {name for node in graph.node for name in node.input}
    for weight in [weight for weight in graph.initializer if weight.name not in used]:
        graph.initializer.remove(weight)


def rename(graph: "GraphProto") -> None:
    """Name nodes after their operators (conv1, relu1, …), and tensors and weights after their nodes."""
    numbers: Counter[str] = Counter()
    kept = {value.name for value in [*graph.input, *graph.output]}
    names = {name: name for name in kept}
    for node in graph.node:
        kind = node.op_type.lower()
        numbers[kind] += 1
        node.name = f"{kind}{numbers[kind]}"
        for place, name in enumerate(node.input):
            names.setdefault(name, f"{node.name}_{('x', 'weight', 'bias', *map(str, range(3, 64)))[place]}")
        for place, name in enumerate(node.output):
            names.setdefault(name, node.name if place == 0 else f"{node.name}_{place}")
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    for named in [*graph.initializer, *graph.value_info]:
        named.name = names.get(named.name, named.name)
    initializers = sorted(graph.initializer, key=lambda weight: weight.name)
    del graph.initializer[:]
    graph.initializer.extend(initializers)
    del graph.value_info[:]  # inner shapes are inferred from the inputs


def strip(model: "ModelProto", metadata: Mapping[str, str], ir_version: int) -> None:
    """Remove what the exporter added to the graph; add our metadata, sorted."""
    from onnx import helper

    for part in [
        model,
        model.graph,
        *model.graph.node,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
    ]:
        part.doc_string = ""
        del part.metadata_props[:]
    for node in model.graph.node:
        node.domain = ""
    model.graph.name = "modelreg"
    model.ir_version = ir_version
    model.producer_name, model.producer_version, model.domain, model.model_version = "modelreg", "", "", 0
    del model.functions[:]
    helper.set_model_props(model, dict(sorted(metadata.items())))
