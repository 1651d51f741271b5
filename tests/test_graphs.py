"""The exported graphs: what they compute, what they are made of, and that they are always the same."""

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

from modelreg.artifacts import graph_interface
from modelreg.errors import ExportError
from modelreg.export import graphs, operators, parity
from modelreg.ml import factory
from modelreg.records.export import Tolerance
from modelreg.records.model import Conv2dFsqSettings

SHAPE = (3, 2, 16)
SETTINGS = Conv2dFsqSettings(widths=(4, 6), kernels=((2, 3), (1, 3)), levels=(4, 3), hidden=5)


def trained(settings: Conv2dFsqSettings = SETTINGS) -> factory.Network:
    """A network whose batch normalization has seen data, as after a training."""
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


def test_the_graphs_answer_as_the_network(made) -> None:
    """Whole, and encoder then head, within the tolerance of the issue."""
    assert parity.measure_parity(trained(), made, windows(), Tolerance()).problems == ()


def test_what_is_exported_are_parts_of_the_network() -> None:
    """Before any exporter: encoder and then head give what the whole gives, in torch."""
    network = trained()
    x = torch.from_numpy(windows(1))
    with torch.no_grad():
        projection = graphs._Encoder(network)(x)
        split = (projection, *graphs._Head(network)(projection))

        assert all(map(torch.equal, split, graphs._Whole(network)(x)))


def test_whole_and_split_are_one(made) -> None:
    """Encoder then head give the very logits of the whole graph."""
    whole, split = parity.of_graphs(made, windows())

    np.testing.assert_array_equal(whole.logits, split.logits)


def test_a_batch_normalization_of_the_projection_is_folded_too() -> None:
    """`batchnorm_before_fsq` leaves nothing of itself in the graph."""
    network = trained(SETTINGS.model_copy(update={"batchnorm_before_fsq": True}))
    found = graphs.export(network, {}, 17)

    assert parity.measure_parity(network, found, windows(), Tolerance()).problems == ()


def test_folding_leaves_the_network_alone() -> None:
    """It works on a copy."""
    network = trained()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    graphs.fold(network)

    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_encoder_holds_what_the_compiler_knows(made) -> None:
    """Nothing is refused, nothing is unknown."""
    assert operators.check_operators(made["encoder"], "hailo8") == ((), ())


def test_the_average_is_global(made) -> None:
    """GlobalAveragePool and Flatten, no Reshape."""
    types = Counter(node.op_type for node in onnx.load_from_string(made["encoder"]).graph.node)

    assert (types["GlobalAveragePool"], types["Flatten"], types["AveragePool"] + types["Reshape"]) == (1, 1, 0)


def test_the_interface_is_what_verify_expects(made) -> None:
    """Names and shapes, as modelreg.artifacts.graph_interface states them."""
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
def test_the_opset_is_the_one_asked_for(opset) -> None:
    """The exporter may fall back silently: it did not."""
    model = onnx.load_from_string(graphs.export(trained(), {}, opset)["model"])

    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]


@pytest.mark.parametrize("opset", [11, 15, 19])
def test_another_opset_is_refused(opset) -> None:
    """With the reason."""
    with pytest.raises(ExportError, match="not reliable"):
        graphs.export(trained(), {}, opset)


def test_names_are_unique_and_ours(made) -> None:
    """Of nodes and tensors, after what they do."""
    graph = onnx.load_from_string(made["model"]).graph
    names = [node.name for node in graph.node] + [weight.name for weight in graph.initializer]

    assert (len(set(names)), names[:4]) == (len(names), ["conv1", "relu1", "maxpool1", "conv2"])


def without_numbers(data: bytes) -> bytes:
    """Return a graph without the bytes of its weights, which may spell anything."""
    model = onnx.load_from_string(data)
    for weight in model.graph.initializer:
        weight.ClearField("raw_data")
    return model.SerializeToString()


def test_nothing_of_the_exporter_is_left(made) -> None:
    """No path, no stack trace, no name of torch."""
    texts = [without_numbers(data) for data in made.values()]

    assert not any(word in text for text in texts for word in (b"/", b"torch", b"pkg.", b".py"))


def test_metadata_are_ours(made) -> None:
    """All of them, sorted."""
    model = onnx.load_from_string(made["head"])

    assert [(entry.key, entry.value) for entry in model.metadata_props] == [("model", "conv2d_fsq")]


def test_weights_are_float32(made) -> None:
    """The compiler takes nothing else."""
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
    """A graph of other weights breaks parity, with the measured error."""
    model = onnx.load_from_string(made["encoder"])
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.01, weight.name))
    found = parity.measure_parity(trained(), {**made, "encoder": model.SerializeToString()}, windows(), Tolerance())

    assert re.match(
        r"encoder.onnx and head.onnx: projection: differs by \S+ at node gemm1 in \d+ windows", str(found.problems[0])
    )


def test_nan_breaks_parity(made) -> None:
    """A graph that answers with nothing is no equal."""
    expected = parity.of_torch(trained(), windows(4))
    silent = expected._replace(projection=np.full_like(expected.projection, np.nan))

    assert list(parity.find_breaches(expected, silent, np.zeros((4, 2), bool), Tolerance(), "x", {}))


def test_a_code_may_differ_at_a_boundary() -> None:
    """Only there: the same flip is a breach elsewhere, and counted where it is allowed."""
    expected = parity.of_torch(trained(), windows(4))
    flipped = expected.code.copy()
    flipped[0, 0] += 0.5
    found = expected._replace(code=flipped)
    at = np.zeros(flipped.shape, bool)
    at[0, 0] = True
    breaches = [len(list(parity.find_breaches(expected, found, near, Tolerance(), "x", {}))) for near in (at, ~at)]

    assert (breaches, parity.compare(expected, found, at).codes_different) == ([0, 1], 1)


def test_another_class_is_a_breach() -> None:
    """Where the best two are not tied."""
    expected = parity.of_torch(trained(), windows(4))
    turned = expected._replace(logits=-expected.logits)

    assert any(
        "another class" in p.what
        for p in parity.find_breaches(expected, turned, np.zeros(expected.code.shape, bool), Tolerance(), "x", {})
    )


def test_refusal_names_every_breach(made) -> None:
    """Exit 8."""
    wrong = parity.measure_parity(factory.seeded(SETTINGS, SHAPE, 3, seed=9).eval(), made, windows(), Tolerance())
    with pytest.raises(ExportError) as caught:
        parity.refuse(wrong)

    assert (caught.value.exit_code, len(caught.value.problems) >= 2) == (8, True)


def test_edge_windows_reach_the_limits() -> None:
    """Zeros, constants, and the ends of the range in turn."""
    low, high = (np.full((3, 1, 1), value, np.float32) for value in (-4, 5))
    edges = parity.edge_windows(SHAPE, low, high, np.zeros_like(low))

    assert (len(edges), edges["lowest and highest in turn"][0, 0, :2].tolist()) == (6, [-4.0, 5.0])


def node(operator: str, **attributes) -> bytes:
    """A graph of one node, valid or not."""
    made = onnx.helper.make_node(operator, ["x"], ["y"], "n", **attributes)
    graph = onnx.helper.make_graph([made], "g", [], [])
    return onnx.helper.make_model(graph).SerializeToString()


def test_an_unsupported_operator_is_named_with_its_alternative() -> None:
    """Node, target, evidence and what to do."""
    (problem,) = operators.check_operators(node("Round"), "hailo8l").refused

    assert str(problem) == (
        "n: hailo8l cannot compute Round: the parser offers the node before it; "
        "instead: it belongs to the host: cut the graph before it"
    )


def test_a_convolution_over_one_axis_is_refused() -> None:
    """The known failure of rank 3."""
    assert "Conv2d" in operators.check_operators(node("Conv", kernel_shape=[3]), "hailo8").refused[0].what


def test_an_unknown_operator_warns() -> None:
    """No evidence is no refusal."""
    verdicts = operators.check_operators(node("Einsum"), "hailo8")

    assert (len(verdicts.refused), len(verdicts.warned)) == (0, 1)


def test_every_entry_has_its_evidence() -> None:
    """And each operator stands there once."""
    names = [support.operator for support in operators.TABLE]

    assert (len(set(names)), all(support.evidence for support in operators.TABLE)) == (len(names), True)
