"""compare: a legacy ONNX file and a run, on the same real windows, output by output."""

import json
import shutil

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from legacy_networks import PooledFsq, _one_thread, seeded
from onnx import TensorProto, helper, numpy_helper
from two_device import write_two_device

from modelreg.cli.main import main
from modelreg.registry import filenames
from modelreg.workflows import compare_onnx

__all__ = ["_one_thread"]  # a fixture

OLD = seeded(PooledFsq, classes=3)
CONFIG = {
    "data": {"sources": [{"kind": "npy", "path": "data/dataset.json"}], "window": 100, "hop": 100},
    "split": {"by": "subject", "test": 2, "validation": 1},
    "model": {"levels": [8] * 8},
}
ROWS = arrays.arrays(np.float32, (4, 3), elements=st.floats(-100, 100, width=32))


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A registry with a run of an old network, and one of its encoder alone."""
    root = tmp_path_factory.mktemp("imported")
    encoder = {name: tensor for name, tensor in OLD.state_dict().items() if not name.startswith("classifier")}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        main(["init"])
        (root / "data").mkdir()
        write_two_device(root / "data")
        (root / "config.json").write_text(json.dumps(CONFIG))
        for file, state in {"whole.pth": OLD.state_dict(), "encoder.pth": encoder}.items():
            torch.save(state, root / file)
            assert main(["import", file, "--as", "conv2d_fsq", "--config", "config.json", "--out", file[:-4]]) == 0
    return root


@pytest.fixture
def place(imported, monkeypatch):
    """The working directory."""
    monkeypatch.chdir(imported)
    return imported


def graph(path, nodes, inputs, outputs, constants=()) -> None:
    """Write an ONNX file."""
    made = helper.make_graph(
        nodes,
        "old",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in dict(constants).items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)


def mean_graph(path, shape, axes, *, kind=TensorProto.FLOAT, more=()) -> None:
    """A graph of one output of 8 numbers: the mean over some axes of a window, cut to eight."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=axes, keepdims=0),
        helper.make_node("Slice", ["mean", "from", "to", "axis"], ["old_projection"]),
        *more,
    ]
    constants = {"from": np.array([0]), "to": np.array([8]), "axis": np.array([1])}
    graph(path, nodes, {"x": shape}, {"old_projection": (kind, None)}, constants)


def compared(capsys, *words) -> list[dict]:
    """The outputs that `compare --json` prints."""
    assert main(["compare", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["outputs"]


@pytest.fixture(scope="module")
def old(imported):
    """Write a legacy graph: projection and logits, layer by layer."""
    nodes, x = [], "x"
    for n, length in ((1, 7), (2, 5), (3, 3)):
        norm = [f"bn{n}.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
        half = length // 2
        pads = [0, half, 0, half]
        nodes.append(helper.make_node("Conv", [x, f"conv{n}.weight", f"conv{n}.bias"], [f"c{n}"], pads=pads))
        nodes.append(helper.make_node("BatchNormalization", [f"c{n}", *norm], [f"b{n}"]))
        nodes.append(helper.make_node("Relu", [f"b{n}"], [x := f"r{n}"]))
        if n < 3:
            nodes.append(helper.make_node("MaxPool", [x], [x := f"p{n}"], kernel_shape=[1, 2], strides=[1, 2]))
    layers = ["fsq_projection", "classifier.0", "classifier.3"]
    gemm = [
        helper.make_node("Gemm", [a, f"{name}.weight", f"{name}.bias"], [b], transB=1)
        for name, a, b in zip(layers, ("flat", "features", "fired"), ("features", "hidden", "scores"), strict=True)
    ]
    nodes += [helper.make_node("GlobalAveragePool", [x], ["mean"]), helper.make_node("Flatten", ["mean"], ["flat"])]
    nodes += [*gemm[:2], helper.make_node("Relu", ["hidden"], ["fired"]), gemm[2]]
    outputs = dict.fromkeys(("features", "scores"), (TensorProto.FLOAT, None))
    constants = {name: t.numpy() for name, t in OLD.state_dict().items() if not name.endswith("tracked")}
    graph(imported / "old.onnx", nodes, {"x": [1, 9, 2, 100]}, outputs, constants)
    return imported / "old.onnx"


def test_an_imported_run_has_the_projection_of_the_legacy_graph(place, old, capsys) -> None:
    """Up to rounding errors. Its logits differ: the legacy head took the projection before quantization."""
    found = {(row["output"], row["beside"]): row for row in compared(capsys, "whole", old.name)}

    assert found["features", "projection"]["max_difference"] < 1e-5
    assert found["features", "projection"]["min_cosine"] > 0.999999
    assert found["scores", "logits"]["max_difference"] > 1e-5


def test_a_table_is_printed(place, old, capsys) -> None:
    """With a row for each pair of outputs."""
    assert main(["compare", "whole", old.name]) == 0
    assert "old.onnx compared with whole on 54 training windows" in capsys.readouterr().out


ORDERS = {
    "NCDT": ([1, 9, 2, 100], [2, 3]),
    "any batch": (["n", 9, 2, "t"], [2, 3]),
    "NTC": ([1, 100, 18], [1]),
    "NCT": ([1, 18, 100], [2]),
}


@pytest.mark.parametrize(("shape", "axes"), ORDERS.values(), ids=ORDERS)
def test_windows_come_in_the_order_that_a_graph_takes(place, capsys, shape, axes) -> None:
    """Devices one after another where they share an axis; an encoder alone is compared by its projection."""
    mean_graph(place / "mean.onnx", shape, axes)
    rows = compared(capsys, "encoder", "mean.onnx")

    assert [(row["output"], row["beside"]) for row in rows] == [("old_projection", "projection")]


def test_flat_windows_hold_the_same_numbers(place, capsys) -> None:
    """The mean over time of a flat window is that of the first device, channel by channel."""
    mean_graph(place / "flat.onnx", [1, 100, 18], [1])
    more = helper.make_node("Split", ["x"], ["first", "second"], axis=2)
    nodes = [
        more,
        helper.make_node("ReduceMean", ["first"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Slice", ["mean", "from", "to", "axis"], ["old_projection"]),
    ]
    constants = {"from": np.array([0]), "to": np.array([8]), "axis": np.array([1])}
    graph(place / "full.onnx", nodes, {"x": [1, 9, 2, 100]}, {"old_projection": (TensorProto.FLOAT, None)}, constants)
    flat, full = (compared(capsys, "encoder", name)[0] for name in ("flat.onnx", "full.onnx"))

    assert flat["max_difference"] == pytest.approx(full["max_difference"], rel=1e-5)


def two_inputs(path) -> None:
    """A graph that takes two windows."""
    graph(
        path,
        [helper.make_node("Add", ["a", "b"], ["c"])],
        {"a": [1, 9, 2, 100], "b": [1, 9, 2, 100]},
        {"c": (TensorProto.FLOAT, None)},
    )


def not_numbers(path) -> None:
    """A graph that answers NaN."""
    mean = helper.make_node("ReduceMean", ["x"], ["m"], axes=[2, 3], keepdims=0)
    nodes = [mean, helper.make_node("Sub", ["m", "m"], ["zero"]), helper.make_node("Div", ["zero", "zero"], ["c"])]
    graph(path, nodes, {"x": [1, 9, 2, 100]}, {"c": (TensorProto.FLOAT, None)})


def broken(path) -> None:
    """A graph that loads, and cannot be computed: its shapes do not go together."""
    reshape = helper.make_node("Reshape", ["x", "to"], ["c"])
    graph(path, [reshape], {"x": [1, 9, 2, "t"]}, {"c": (TensorProto.FLOAT, None)}, {"to": np.array([7, -1])})


STRANGERS = {
    "text": (lambda p: p.write_text("# stub\n"), 3, "[onnx.unreadable]"),
    "no graph": (lambda p: p.write_bytes(bytes(100)), 3, "[onnx.unreadable]"),
    "other windows": (
        lambda p: mean_graph(p, [1, 6, 2, 100], [2, 3]),
        3,
        "[compare.input-mismatch]",
    ),
    "batches": (lambda p: mean_graph(p, [4, 9, 2, 100], [2, 3]), 3, "[compare.input-mismatch]"),
    "two inputs": (two_inputs, 3, "[compare.input-mismatch]"),
    "no such width": (
        lambda p: graph(p, [helper.make_node("Relu", ["x"], ["c"])], {"x": [1, 9, 2, 100]}, {"c": (1, None)}),
        3,
        "[compare.no-comparable-output]",
    ),
    "no floats": (
        lambda p: graph(
            p, [helper.make_node("Shape", ["x"], ["c"])], {"x": [1, 9, 2, 100]}, {"c": (TensorProto.INT64, None)}
        ),
        3,
        "[compare.no-comparable-output]",
    ),
    "NaN": (not_numbers, 8, "[onnx.not-finite]"),
    "cannot be computed": (broken, 8, "[onnx.not-computable]"),
}


@pytest.mark.parametrize(("make", "code", "rule"), STRANGERS.values(), ids=STRANGERS)
def test_what_cannot_be_compared_is_named(place, capsys, make, code, rule) -> None:
    """A file that is not a graph, or a graph of another model."""
    make(place / "other.onnx")

    assert (main(["compare", "whole", "other.onnx"]), rule in capsys.readouterr().err) == (code, True)


def test_a_changed_run_is_refused(place, old, capsys) -> None:
    """The run must be as it was imported."""
    shutil.copytree("whole", "changed", dirs_exist_ok=True)
    (place / "changed" / filenames.HISTORY).write_text("{}")

    assert main(["compare", "changed", old.name]) == 3
    assert "[run.file-changed]" in capsys.readouterr().err


def test_an_imported_run_is_compared_with_another_once_it_has_metrics(place, capsys) -> None:
    """A path without .onnx is a version or a run."""
    assert main(["compare", "whole", "encoder"]) == 3
    assert "[run.not-evaluated]" in capsys.readouterr().err


@given(a=ROWS, b=ROWS)
def test_a_cosine_is_the_cosine(a, b) -> None:
    """Between -1 and 1, the same both ways, and 1 of rows with themselves."""
    found = compare_onnx.cosines(a, b)

    assert (np.abs(found) <= 1 + 1e-9).all()
    np.testing.assert_allclose(found, compare_onnx.cosines(b, a))
    np.testing.assert_allclose(compare_onnx.cosines(a, a), 1)


def test_the_cosine_with_a_zero_row_is_zero() -> None:
    """It is 0 if one row is zero, and 1 if both are."""
    rows = np.array([[0, 0], [1, 2]], dtype=np.float32)

    assert compare_onnx.cosines(rows, rows[::-1]).tolist() == [0.0, 0.0]
