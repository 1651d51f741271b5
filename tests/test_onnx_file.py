"""ONNX files read without onnx: the same values as onnx reads, and no crash."""

import struct

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from places import places

from modelreg.artifacts import onnx_file, protobuf_wire
from modelreg.errors import InputError
from modelreg.records.export import Tensor


def graph_bytes(**metadata: str) -> bytes:
    """Return a graph with two nodes, made by onnx."""
    nodes = [helper.make_node("Relu", ["x"], ["h"], "relu1"), helper.make_node("Add", ["h", "w"], ["y"], "add1")]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    helper.set_model_props(model, metadata)
    return model.SerializeToString()


GRAPH = graph_bytes(model="m")


def test_inputs_and_outputs_are_those_of_onnx() -> None:
    """Names and shapes. Weights are not inputs."""
    found = onnx_file.read_onnx(GRAPH, "g.onnx")

    assert (found.inputs, found.outputs) == ((Tensor(name="x", shape=(1, 3)),), (Tensor(name="y", shape=(1, 3)),))


def test_operators_opset_and_metadata_are_those_of_onnx() -> None:
    """Counts of nodes, the opset of the default domain, and strings."""
    found = onnx_file.read_onnx(GRAPH, "g.onnx")

    assert (found.operators, found.opset, found.metadata) == ({"Add": 1, "Relu": 1}, 17, {"model": "m"})


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_onnx_reads_the_stamp(version: str) -> None:
    """A stamped graph is a complete ONNX file with the version in its metadata."""
    model = onnx.load_from_string(onnx_file.stamp(GRAPH, version))

    assert {entry.key: entry.value for entry in model.metadata_props} == {"model": "m", "version": version}


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_a_stamp_is_removed(version: str) -> None:
    """The original graph is restored to the byte."""
    assert onnx_file.unstamp(onnx_file.stamp(GRAPH, version), version) == GRAPH


def test_another_stamp_is_not_removed() -> None:
    """Only the given version is removed."""
    assert onnx_file.unstamp(onnx_file.stamp(GRAPH, "0.2.0"), "0.2.1") is None


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_read(data: bytes) -> None:
    """There is no other exception."""
    try:
        onnx_file.read_onnx(data, "x")
    except InputError as error:
        assert error.problems  # noqa: PT017 either is right


@given(st.integers(0, len(GRAPH) - 1))
def test_a_cut_off_graph_is_refused_or_read(length: int) -> None:
    """A truncated file is an InputError, or has fewer fields."""
    try:
        onnx_file.read_onnx(GRAPH[:length], "x")
    except InputError as error:
        assert places(error.problems) == [("x", "onnx.unreadable")]  # noqa: PT017 either is right


def test_a_dynamic_shape_is_refused() -> None:
    """The device needs fixed sizes."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["x2"])], "g", [value], [value])
    with pytest.raises(InputError) as caught:
        onnx_file.read_onnx(helper.make_model(graph).SerializeToString(), "x.onnx")

    assert places(caught.value.problems) == [("x.onnx", "onnx.unreadable")]


@given(st.lists(st.tuples(st.integers(1, 2**20), st.binary(max_size=300)), max_size=5))
def test_fields_are_read_as_encoded(pairs: list[tuple[int, bytes]]) -> None:
    """In the same order."""
    data = b"".join(protobuf_wire.encode_text(number, value) for number, value in pairs)

    assert [(field.number, bytes(field.value)) for field in protobuf_wire.fields(data)] == pairs


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\x05ab",  # length 5, but 2 bytes
        b"\x0a",  # no length
        b"\x08" + b"\xff" * 10,  # an unterminated varint
        b"\x0b",  # a group, which is deprecated
        b"\x09\x00",  # 8 bytes expected
        b"\x02\x00",  # field 0
    ],
)
def test_damage_is_a_value_error(data: bytes) -> None:
    """Lengths are compared with the remaining bytes."""
    with pytest.raises(ValueError, match="byte"):
        list(protobuf_wire.fields(data))


def test_fixed_numbers_are_read() -> None:
    """64 and 32 bits, little-endian."""
    data = b"\x09" + (7).to_bytes(8, "little") + b"\x15" + (9).to_bytes(4, "little")

    assert [field.value for field in protobuf_wire.fields(data)] == [7, 9]


def test_numbers_of_eight_bytes_are_read_packed_or_not() -> None:
    """In their order. Fields of another type are skipped."""
    one, two, three = (struct.pack("<d", value) for value in (1.5, -2.0, 3.0))
    data = b"\x31" + one + b"\x30\x07" + b"\x32\x10" + two + three

    assert list(protobuf_wire.Message(data).floats64(6)) == [1.5, -2.0, 3.0]


def test_a_part_of_a_packed_number_is_damage() -> None:
    """Five bytes where a number has eight."""
    with pytest.raises(ValueError, match="5 bytes"):
        list(protobuf_wire.Message(protobuf_wire.encode_text(6, b"parts")).floats64(6))


@pytest.mark.parametrize("times", [0, 1, 2, 5])
def test_a_message_that_occurs_several_times_is_merged(times) -> None:
    """Their fields follow each other, so that the last value counts."""
    parts = [protobuf_wire.encode_text(3, bytes([8, n])) for n in range(1, times + 1)]

    assert protobuf_wire.Message(b"".join(parts)).message(3).number(1) == times
