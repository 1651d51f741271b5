"""The graphs of every model system: their outputs, their operators, and values close to a boundary."""

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

EXPORTED = [*sorted(SYSTEMS.keys() - {"conv2d_fsq"}), "vq off"]  # conv2d_fsq, with repeated exports: test_graphs.py
CENTS = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)


@pytest.fixture(scope="module", params=EXPORTED)
def exported(request):
    """A system after a short training, and its graphs at opset 17."""
    network = trained(request.param, epochs=1)
    return request.param, network, graphs.export(network, {}, 17)


def test_the_graphs_are_equivalent_to_the_network(exported) -> None:
    """Both paths, on real windows."""
    _, network, made = exported

    assert parity.measure_parity(network, made, part().x[:20].numpy(), Tolerance()).problems == ()


def test_the_encoder_has_only_supported_operators(exported) -> None:
    """Padding is merged into its convolution and the average is global; only a Flatten at the end is unknown."""
    name, _, made = exported
    tokens = name == "conv2d_vq_tokens"
    kinds = Counter(node.op_type for node in onnx.load_from_string(made["encoder"]).graph.node)

    assert [len(found) for found in operators.check_operators(made["encoder"], "hailo8")] == [0, int(tokens)]
    assert (kinds["Pad"], kinds["Reshape"], kinds["GlobalAveragePool"], kinds["Flatten"]) == (0, 0, 1 - tokens, 1)


def test_the_interface_is_the_one_that_verify_expects(exported) -> None:
    """Names and shapes of modelreg.artifacts.graph_interface, and opset 17."""
    name, _, made = exported
    read = {graph: onnx_file.read_onnx(data, graph) for graph, data in made.items()}
    opsets = {entry.version for data in made.values() for entry in onnx.load_from_string(data).opset_import}

    assert {graph: (r.inputs, r.outputs) for graph, r in read.items()} == graph_interface.interface(spec_of(name))
    assert opsets == {17}


@pytest.mark.parametrize("name", ["conv2d_vq_hdp_hsmm", "one mixture"])
def test_a_frozen_mixture_gives_the_outputs_of_evaluation(name) -> None:
    """For unknown sessions; freezing a copy keeps the parameters of the network itself."""
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
    """A model without a quantizer has no digits."""
    network = network_of(name)

    assert network.undecided(torch.zeros(5, network.projection), 1e-4).shape == (5, spec_of(name).code_width)


@pytest.mark.parametrize("within", [0.01, 0.1, 0.3])
def test_a_vector_is_undecided_if_another_code_is_within_reach(within) -> None:
    """By brute force: after a move of this length towards the boundary, another code is at least as close."""
    network = network_of("conv2d_vq")
    codes = network.host_part.quantizer.codes.numpy().astype(np.float64)
    reach = within * 2  # √4 dimensions, each moved by `within`
    expected = [_can_change(z.astype(np.float64), codes, reach) for z in CENTS]
    found = network.undecided(torch.from_numpy(CENTS), within)[:, 0].tolist()

    assert found == expected
    assert 0 < sum(found) < len(found)


def _can_change(z, codes, reach: float) -> bool:
    """Return whether a move of z by `reach`, parallel to the line between two codes, makes the other one as close."""
    own = np.square(codes - z).sum(1).argmin()
    for k in set(range(len(codes))) - {own}:
        way = codes[k] - codes[own]
        moved = z + reach * way / np.linalg.norm(way)
        if np.square(codes[k] - moved).sum() <= np.square(codes[own] - moved).sum():
            return True
    return False


def test_the_nearest_boundary_need_not_be_that_of_the_second_nearest_code() -> None:
    """The boundary between two close codes can be far away; that of a code on the other side can be closer."""
    z, codes = torch.zeros(1, 2), torch.tensor([[1.0, 0.0], [1.01, 0.001], [-1.02, 0.0]])

    assert vq.margin(z, codes).item() == pytest.approx((1.02**2 - 1) / (2 * 2.02))


def test_equal_codes_leave_a_vector_undecided() -> None:
    """The last bits decide which one is chosen."""
    assert vq.margin(torch.zeros(1, 2), torch.tensor([[1.0, 0.0], [1.0, 0.0], [5.0, 5.0]])).item() == 0


def padded_graph(*, mode: str = "constant", value: float | None = 0.0, widths=(0, 0, 0, 2, 0, 0, 0, 1), users: int = 1):
    """A graph of a Pad and convolutions after it, which have pads too."""
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
def test_a_zero_pad_is_merged_into_its_convolution(value) -> None:
    """Only the convolution is left, with the same output."""
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
def test_other_padding_is_not_changed(changes) -> None:
    """A convolution cannot do this padding."""
    model = padded_graph(**changes)
    before = model.SerializeToString()
    graph_rewrite.merge_padding(model.graph)

    assert model.SerializeToString() == before


def test_padding_with_explicit_axes_is_not_changed() -> None:
    """Its widths are for those axes only."""
    model = padded_graph()
    model.graph.initializer.append(numpy_helper.from_array(np.arange(4), "axes"))
    model.graph.node[0].input.append("axes")
    graph_rewrite.merge_padding(model.graph)

    assert model.graph.node[0].op_type == "Pad"
