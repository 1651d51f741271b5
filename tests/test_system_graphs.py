"""The graphs of every model system: what they answer, what they are made of, and where the last bits decide."""

import copy
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tiny_systems import ALL, SYSTEMS, network_of, part, spec_of, trained

from modelreg.artifacts import graph_interface, onnx_file, ort_session
from modelreg.export import graph_rewrite, graphs, operators, parity
from modelreg.ml import vq
from modelreg.records.export import Tolerance

EXPORTED = [*sorted(SYSTEMS.keys() - {"conv2d_fsq"}), "vq off"]  # conv2d_fsq: test_graphs.py, repeated exports too
CENTS = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)


@pytest.fixture(scope="module", params=EXPORTED)
def exported(request):
    """A system after a short training, and its graphs at opset 17."""
    network = trained(request.param, epochs=1)
    return request.param, network, graphs.export(network, {}, 17)


def test_the_graphs_answer_as_the_network(exported) -> None:
    """Whole, and encoder then head, on real windows."""
    _, network, made = exported

    assert parity.measure_parity(network, made, part().x[:20].numpy(), Tolerance()).problems == ()


def test_the_encoder_holds_what_the_compiler_knows(exported) -> None:
    """Padding is part of its convolution, the average a global one; a Flatten at the end is a doubt."""
    name, _, made = exported
    tokens = name == "conv2d_vq_tokens"
    kinds = Counter(node.op_type for node in onnx.load_from_string(made["encoder"]).graph.node)

    assert [len(found) for found in operators.check_operators(made["encoder"], "hailo8")] == [0, int(tokens)]
    assert (kinds["Pad"], kinds["Reshape"], kinds["GlobalAveragePool"], kinds["Flatten"]) == (0, 0, 1 - tokens, 1)


def test_the_interface_is_what_verify_expects(exported) -> None:
    """Names and shapes, as modelreg.artifacts.graph_interface states them, of opset 17."""
    name, _, made = exported
    read = {graph: onnx_file.read_onnx(data, graph) for graph, data in made.items()}
    opsets = {entry.version for data in made.values() for entry in onnx.load_from_string(data).opset_import}

    assert {graph: (r.inputs, r.outputs) for graph, r in read.items()} == graph_interface.interface(spec_of(name))
    assert opsets == {17}


@pytest.mark.parametrize("name", ["conv2d_vq_hdp_hsmm", "one mixture"])
def test_a_frozen_mixture_answers_as_in_evaluation(name) -> None:
    """Weights, cluster and logits of points of unknown sessions; the network itself keeps what can be trained."""
    network = trained(name, epochs=1)
    frozen = copy.deepcopy(network)
    frozen.freeze()
    with torch.no_grad():
        projection = network.device_part(part().x)
        ours, theirs = network.host_part(projection), frozen.host_part(projection)

    torch.testing.assert_close((ours.logits, ours.bound), (theirs.logits, theirs.bound))
    assert torch.equal(ours.cluster, theirs.cluster)
    assert not list(frozen.host_part.mixture.parameters())


@pytest.mark.parametrize("name", ALL)
def test_undecided_has_a_column_for_each_digit(name) -> None:
    """None where nothing is quantized."""
    network = network_of(name)

    assert network.undecided(torch.zeros(5, network.projection), 1e-4).shape == (5, spec_of(name).code_width)


@pytest.mark.parametrize("within", [0.01, 0.1, 0.3])
def test_a_vector_is_undecided_where_another_code_is_within_reach(within) -> None:
    """By brute force: some code is as near, once the vector has gone so far straight towards half way to it."""
    network = network_of("conv2d_vq")
    codes = network.host_part.quantizer.codes.numpy().astype(np.float64)
    reach = within * 2  # √4 dimensions, each off by so much
    expected = [_can_change(z.astype(np.float64), codes, reach) for z in CENTS]
    found = network.undecided(torch.from_numpy(CENTS), within)[:, 0].tolist()

    assert found == expected
    assert 0 < sum(found) < len(found)


def _can_change(z, codes, reach: float) -> bool:
    """Whether some other code becomes at least as near to z moved by `reach` along the line between both codes."""
    own = np.square(codes - z).sum(1).argmin()
    for k in set(range(len(codes))) - {own}:
        way = codes[k] - codes[own]
        moved = z + reach * way / np.linalg.norm(way)
        if np.square(codes[k] - moved).sum() <= np.square(codes[own] - moved).sum():
            return True
    return False


def test_the_nearest_boundary_need_not_be_that_of_the_second_nearest_code() -> None:
    """Codes beside each other share a boundary far away; one on the other side may lie nearer to be crossed."""
    z, codes = torch.zeros(1, 2), torch.tensor([[1.0, 0.0], [1.01, 0.001], [-1.02, 0.0]])

    assert vq.margin(z, codes).item() == pytest.approx((1.02**2 - 1) / (2 * 2.02))


def test_equal_codes_leave_a_vector_undecided() -> None:
    """The first of them is taken; bits decide which is the first."""
    assert vq.margin(torch.zeros(1, 2), torch.tensor([[1.0, 0.0], [1.0, 0.0], [5.0, 5.0]])).item() == 0


def padded_graph(*, mode: str = "constant", value: float | None = 0.0, widths=(0, 0, 0, 2, 0, 0, 0, 1), users: int = 1):
    """A graph of a Pad and convolutions on it, with pads of their own."""
    weights = [
        numpy_helper.from_array(np.array(widths, dtype=np.int64), "widths"),
        numpy_helper.from_array(np.ones((2, 3, 1, 3), dtype=np.float32), "kernel"),
    ]
    if value is not None:
        weights.append(numpy_helper.from_array(np.float32(value), "value"))
    pad = helper.make_node("Pad", ["x", "widths", *(["value"] if value is not None else [])], ["padded"], mode=mode)
    convolutions = [
        helper.make_node("Conv", ["padded", "kernel"], [f"y{n}"], pads=[0, 1, 0, 0], kernel_shape=[1, 3])
        for n in range(users)
    ]
    outputs = [helper.make_tensor_value_info(f"y{n}", TensorProto.FLOAT, None) for n in range(users)]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 1, 8])
    graph = helper.make_graph([pad, *convolutions], "g", [x], outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("value", [0.0, None])
def test_zeros_before_a_convolution_become_its_own(value) -> None:
    """The convolution alone is left, and answers the same."""
    model = padded_graph(value=value)
    x = np.random.default_rng(0).normal(size=(1, 3, 1, 8)).astype(np.float32)
    (before,) = ort_session.session(model.SerializeToString()).run(None, {"x": x})
    graph_rewrite.merge_padding(model.graph)
    (after,) = ort_session.session(model.SerializeToString()).run(None, {"x": x})

    np.testing.assert_allclose(before, after)
    assert [node.op_type for node in model.graph.node] == ["Conv"]
    assert [weight.name for weight in model.graph.initializer] == ["kernel"]


@pytest.mark.parametrize(
    "changes",
    [{"mode": "reflect"}, {"value": 1.0}, {"users": 2}, {"widths": (0, 1, 0, 2, 0, 0, 0, 1)}],
    ids=["reflected", "ones", "two users", "channels"],
)
def test_other_padding_stays(changes) -> None:
    """What a convolution cannot do by itself is left as it is."""
    model = padded_graph(**changes)
    before = model.SerializeToString()
    graph_rewrite.merge_padding(model.graph)

    assert model.SerializeToString() == before


def test_padding_of_named_axes_stays() -> None:
    """Its widths are not of height and width in turn."""
    model = padded_graph()
    model.graph.initializer.append(numpy_helper.from_array(np.arange(4), "axes"))
    model.graph.node[0].input.append("axes")
    graph_rewrite.merge_padding(model.graph)

    assert model.graph.node[0].op_type == "Pad"
