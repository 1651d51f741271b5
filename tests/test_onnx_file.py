"""ONNX files read without onnx: what onnx says of them, and nothing that crashes."""

import struct

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from modelreg.artifacts import onnx_file, protobuf_wire
from modelreg.errors import InputError
from modelreg.records.export import Tensor


def graph_bytes(**metadata: str) -> bytes:
    """A graph of two nodes, made by onnx itself."""
    nodes = [helper.make_node("Relu", ["x"], ["h"], "relu1"), helper.make_node("Add", ["h", "w"], ["y"], "add1")]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    helper.set_model_props(model, metadata)
    return model.SerializeToString()


GRAPH = graph_bytes(model="m")


def test_inputs_and_outputs_are_onnxs() -> None:
    """Names and shapes; weights are no inputs."""
    found = onnx_file.read_onnx(GRAPH, "g.onnx")

    assert (found.inputs, found.outputs) == ((Tensor(name="x", shape=(1, 3)),), (Tensor(name="y", shape=(1, 3)),))


def test_operators_opset_and_metadata_are_onnxs() -> None:
    """Counted, of the default domain, as texts."""
    found = onnx_file.read_onnx(GRAPH, "g.onnx")

    assert (found.operators, found.opset, found.metadata) == ({"Add": 1, "Relu": 1}, 17, {"model": "m"})


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_onnx_reads_the_stamp(version: str) -> None:
    """A stamped graph is a whole ONNX file whose metadata has the version."""
    model = onnx.load_from_string(onnx_file.stamp(GRAPH, version))

    assert {entry.key: entry.value for entry in model.metadata_props} == {"model": "m", "version": version}


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_a_stamp_comes_off(version: str) -> None:
    """What was proven equal is there to the byte."""
    assert onnx_file.unstamp(onnx_file.stamp(GRAPH, version), version) == GRAPH


def test_another_stamp_stays_on() -> None:
    """It is not the version that was asked for."""
    assert onnx_file.unstamp(onnx_file.stamp(GRAPH, "0.2.0"), "0.2.1") is None


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_read(data: bytes) -> None:
    """No other error, whatever they are."""
    try:
        onnx_file.read_onnx(data, "x")
    except InputError as error:
        assert error.problems  # noqa: PT017 either is right


@given(st.integers(0, len(GRAPH) - 1))
def test_a_cut_off_graph_is_refused_or_read(length: int) -> None:
    """A truncated file is an error in words, or has lost whole fields at its end."""
    try:
        onnx_file.read_onnx(GRAPH[:length], "x")
    except InputError as error:
        assert "not an ONNX file" in str(error)  # noqa: PT017 either is right


def test_a_dynamic_shape_is_refused() -> None:
    """The device wants numbers."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["x2"])], "g", [value], [value])
    with pytest.raises(InputError, match="no static shape"):
        onnx_file.read_onnx(helper.make_model(graph).SerializeToString(), "x")


@given(st.lists(st.tuples(st.integers(1, 2**20), st.binary(max_size=300)), max_size=5))
def test_fields_come_back(pairs: list[tuple[int, bytes]]) -> None:
    """What is encoded is read, in its order."""
    data = b"".join(protobuf_wire.encode_text(number, value) for number, value in pairs)

    assert [(field.number, bytes(field.value)) for field in protobuf_wire.fields(data)] == pairs


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\x05ab",  # five bytes are promised, two are there
        b"\x0a",  # no length
        b"\x08" + b"\xff" * 10,  # a number without an end
        b"\x0b",  # a group, which nobody writes any more
        b"\x09\x00",  # eight bytes are promised
        b"\x02\x00",  # field 0
    ],
)
def test_damage_is_a_value_error(data: bytes) -> None:
    """Lengths are held against what is there."""
    with pytest.raises(ValueError, match="byte"):
        list(protobuf_wire.fields(data))


def test_fixed_numbers_are_read() -> None:
    """64 and 32 bits, little-endian."""
    data = b"\x09" + (7).to_bytes(8, "little") + b"\x15" + (9).to_bytes(4, "little")

    assert [field.value for field in protobuf_wire.fields(data)] == [7, 9]


def test_numbers_of_eight_bytes_are_read_packed_or_not() -> None:
    """In their order; what has another type under that number is passed over."""
    one, two, three = (struct.pack("<d", value) for value in (1.5, -2.0, 3.0))
    data = b"\x31" + one + b"\x30\x07" + b"\x32\x10" + two + three

    assert list(protobuf_wire.Message(data, iter(range(9))).floats64(6)) == [1.5, -2.0, 3.0]


def test_a_message_is_read_until_its_steps_run_out() -> None:
    """Who reads a file of somebody else's says how much it may cost."""
    assert protobuf_wire.Message(b"\x08\x01" * 9, iter(range(9))).number(1) == 1
    with pytest.raises(ValueError, match="holds more fields"):
        protobuf_wire.Message(b"\x08\x01" * 10, iter(range(9))).number(1)
