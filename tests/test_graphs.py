"""The exported graphs: their outputs, their operators and their reproducibility."""

import re
import subprocess
import sys
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
import untraced
from onnx import numpy_helper
from places import places

from modelreg.artifacts import graph_interface
from modelreg.errors import ExportError
from modelreg.export import graphs, operators, parity
from modelreg.ml import factory
from modelreg.records.export import Tolerance
from modelreg.records.model import Conv2dFsqSettings

SHAPE = (3, 2, 16)
SETTINGS = Conv2dFsqSettings(widths=(4, 6), kernels=((2, 3), (1, 3)), levels=(4, 3), hidden=5)


def trained(settings: Conv2dFsqSettings = SETTINGS) -> factory.Network:
    """A network with batch normalization statistics from data, as after training."""
    network = factory.seeded(settings, SHAPE, 3, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for _ in range(5):
            network(torch.randn(32, *SHAPE, generator=generator) * 2 + 0.5)
    return network.eval()


@pytest.fixture(scope="module")
def made():
    """The three graphs of a network."""
    return graphs.export(trained(), {"model": "conv2d_fsq"}, 17)


def windows(count: int = 64) -> np.ndarray:
    """Normalized windows."""
    return np.random.default_rng(0).normal(size=(count, *SHAPE)).astype(np.float32)


def test_the_graphs_are_equivalent_to_the_network(made) -> None:
    """Both paths, within the default tolerance."""
    assert parity.measure_parity(trained(), made, windows(), Tolerance()).problems == ()


def test_the_exported_modules_are_equal_to_the_network() -> None:
    """In torch, the encoder followed by the head equals the whole model."""
    network = trained()
    x = torch.from_numpy(windows(1))
    with torch.no_grad():
        projection = graphs._Encoder(network)(x)
        split = (projection, *graphs._Head(network)(projection))

        assert all(map(torch.equal, split, graphs._Whole(network)(x)))


def test_both_paths_give_the_same_logits(made) -> None:
    """The encoder followed by the head, and the whole graph, bit for bit."""
    whole, split = parity.of_graphs(made, windows())

    np.testing.assert_array_equal(whole.logits, split.logits)


def test_a_batch_normalization_of_the_projection_is_folded_too() -> None:
    """`batchnorm_before_fsq` adds no node to the graph."""
    network = trained(SETTINGS.model_copy(update={"batchnorm_before_fsq": True}))
    found = graphs.export(network, {}, 17)

    assert parity.measure_parity(network, found, windows(), Tolerance()).problems == ()


def test_folding_does_not_change_the_network() -> None:
    """It returns a copy."""
    network = trained()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    graphs.fold(network)

    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_encoder_has_only_supported_operators(made) -> None:
    """None is refused or unknown."""
    assert operators.check_operators(made["encoder"], "hailo8") == ((), ())


def test_the_average_is_global(made) -> None:
    """GlobalAveragePool and Flatten instead of AveragePool and Reshape."""
    types = Counter(node.op_type for node in onnx.load_from_string(made["encoder"]).graph.node)

    assert (types["GlobalAveragePool"], types["Flatten"], types["AveragePool"] + types["Reshape"]) == (1, 1, 0)


def test_the_interface_is_the_one_that_verify_expects(made) -> None:
    """Names and shapes of modelreg.artifacts.graph_interface."""
    spec = factory.spec(SETTINGS, _input_spec(), ("a", "b", "c"))
    from modelreg.artifacts import onnx_file

    found = {
        name: (graph.inputs, graph.outputs) for name, graph in ((n, onnx_file.read_onnx(d, n)) for n, d in made.items())
    }

    assert found == graph_interface.interface(spec)


def _input_spec():
    from modelreg.records.model import Channel, InputSpec

    channels = tuple(Channel(name=name, unit="g") for name in "xyz")
    return InputSpec(channels=channels, devices=("a", "b"), timesteps=16, rate_hz=50.0)


@pytest.mark.parametrize("opset", [16, 17, 18])
def test_the_opset_is_the_requested_one(opset) -> None:
    """The exporter can silently use another one."""
    model = onnx.load_from_string(graphs.export(trained(), {}, opset)["model"])

    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]


@pytest.mark.parametrize("opset", [11, 15, 19])
def test_another_opset_is_refused(opset) -> None:
    """Only 16, 17 and 18 are supported."""
    with pytest.raises(ExportError) as caught:
        graphs.export(trained(), {}, opset)
    assert places(caught.value.problems) == [("opset", "export.opset-unsupported")]


def test_names_are_unique_and_stable(made) -> None:
    """Nodes are named after their operators."""
    graph = onnx.load_from_string(made["model"]).graph
    names = [node.name for node in graph.node] + [weight.name for weight in graph.initializer]

    assert (len(set(names)), names[:4]) == (len(names), ["conv1", "relu1", "maxpool1", "conv2"])


def without_numbers(data: bytes) -> bytes:
    """Return a graph without the bytes of its weights, which can contain any text."""
    model = onnx.load_from_string(data)
    for weight in model.graph.initializer:
        weight.ClearField("raw_data")
    return model.SerializeToString()


def test_the_graphs_contain_no_traces_of_the_exporter(made) -> None:
    """No path, no stack trace, no name of torch."""
    texts = [without_numbers(data) for data in made.values()]

    assert not any(word in text for text in texts for word in (b"/", b"torch", b"pkg.", b".py"))


def test_the_metadata_are_those_passed_in(made) -> None:
    """And no others."""
    model = onnx.load_from_string(made["head"])

    assert [(entry.key, entry.value) for entry in model.metadata_props] == [("model", "conv2d_fsq")]


def test_weights_are_float32(made) -> None:
    """The compiler accepts no other type."""
    kinds = {numpy_helper.to_array(weight).dtype for weight in onnx.load_from_string(made["encoder"]).graph.initializer}

    assert kinds == {np.dtype(np.float32)}


def test_the_same_network_gives_the_same_bytes(made) -> None:
    """In another process too."""
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from test_graphs import trained\nfrom modelreg.export import graphs\nfrom modelreg import files\n"
        "print(files.sha256_bytes(graphs.export(trained(), {'model': 'conv2d_fsq'}, 17)['model']))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=untraced.environment())
    from modelreg import files

    assert done.stdout.strip() == files.sha256_bytes(made["model"])


def test_changed_weights_are_found(made) -> None:
    """The problem has the error and the node of the projection."""
    model = onnx.load_from_string(made["encoder"])
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.01, weight.name))
    found = parity.measure_parity(trained(), {**made, "encoder": model.SerializeToString()}, windows(), Tolerance())

    assert ("encoder.onnx and head.onnx: projection", "export.parity-value") in places(found.problems)
    assert re.search(r"up to \d\S+ at node gemm1 in \d+ of 64 windows", found.problems[0].message)


def test_nan_breaks_parity(made) -> None:
    """NaN is above any limit."""
    expected = parity.of_torch(trained(), windows(4))
    silent = expected._replace(projection=np.full_like(expected.projection, np.nan))

    breaches = parity.find_breaches(expected, silent, np.zeros((4, 2), bool), Tolerance(), "x", {})

    assert places(breaches) == [("x: projection", "export.parity-value")]


def test_a_code_may_differ_only_at_a_boundary() -> None:
    """There a difference is counted; elsewhere it is a breach."""
    expected = parity.of_torch(trained(), windows(4))
    flipped = expected.code.copy()
    flipped[0, 0] += 0.5
    found = expected._replace(code=flipped)
    at = np.zeros(flipped.shape, bool)
    at[0, 0] = True
    breaches = [places(parity.find_breaches(expected, found, near, Tolerance(), "x", {})) for near in (at, ~at)]

    assert (breaches, parity.compare(expected, found, at).codes_different) == (
        [[], [("x: code", "export.parity-code")]],
        1,
    )


def test_another_class_is_a_breach() -> None:
    """Unless the best two classes are tied."""
    expected = parity.of_torch(trained(), windows(4))
    turned = expected._replace(logits=-expected.logits)

    breaches = parity.find_breaches(expected, turned, np.zeros(expected.code.shape, bool), Tolerance(), "x", {})

    assert ("x: logits", "export.parity-class") in places(breaches)


def test_the_error_lists_every_breach(made) -> None:
    """Exit 8."""
    wrong = parity.measure_parity(factory.seeded(SETTINGS, SHAPE, 3, seed=9).eval(), made, windows(), Tolerance())
    with pytest.raises(ExportError) as caught:
        parity.refuse(wrong)

    assert (caught.value.exit_code, len(caught.value.problems) >= 2) == (8, True)


def test_edge_windows_reach_the_limits() -> None:
    """One of them alternates between the lowest and the highest values."""
    low, high = (np.full((3, 1, 1), value, np.float32) for value in (-4, 5))
    edges = parity.edge_windows(SHAPE, low, high, np.zeros_like(low))

    assert (len(edges), edges["alternating lowest and highest values"][0, 0, :2].tolist()) == (6, [-4.0, 5.0])


def node(operator: str, **attributes) -> bytes:
    """A graph of one node, which may be invalid."""
    made = onnx.helper.make_node(operator, ["x"], ["y"], "n", **attributes)
    graph = onnx.helper.make_graph([made], "g", [], [])
    return onnx.helper.make_model(graph).SerializeToString()


def test_an_unsupported_operator_is_named_with_its_alternative() -> None:
    """The message has the target and the operator, the next step the alternative."""
    (problem,) = operators.check_operators(node("Round"), "hailo8l").refused

    assert (problem.where, problem.rule) == ("n", "export.operator-unsupported")
    assert ("hailo8l" in problem.message, "Round" in problem.message, operators.HOST in problem.next) == (True,) * 3


def test_a_convolution_over_one_axis_is_refused() -> None:
    """The compiler fails for kernels of rank 1."""
    (problem,) = operators.check_operators(node("Conv", kernel_shape=[3]), "hailo8").refused

    assert (problem.rule, "Conv2d" in problem.next) == ("export.operator-unsupported", True)


def test_an_unknown_operator_warns() -> None:
    """It is not refused."""
    verdicts = operators.check_operators(node("Einsum"), "hailo8")

    assert (verdicts.refused, places(verdicts.warned)) == ((), [("n", "export.operator-unverified")])


def test_every_operator_has_its_evidence() -> None:
    """And is listed once."""
    names = [support.operator for support in operators.TABLE]

    assert (len(set(names)), all(support.evidence for support in operators.TABLE)) == (len(names), True)
