"""safetensors_file: checkpoints are read without torch."""

import json

import numpy as np
import pytest
from example_run import model_spec, tensors
from hypothesis import given
from hypothesis import strategies as st
from places import places
from safetensors.numpy import save

from modelreg.artifacts import safetensors_file
from modelreg.errors import InputError

TENSORS = tensors(np.random.default_rng(0))
DATA = save(TENSORS)


def written(folder, data):
    """Write a file and return its path."""
    (folder / "c").write_bytes(data)
    return folder / "c"


def test_tensors_are_those_that_were_saved(tmp_path) -> None:
    """Every tensor is found with its values."""
    found = safetensors_file.read_safetensors(written(tmp_path, DATA))

    assert {name: array.tobytes() for name, array in found.items()} == {n: a.tobytes() for n, a in TENSORS.items()}


def test_the_shapes_of_a_network_follow_from_its_record() -> None:
    """Without torch."""
    assert safetensors_file.shapes(model_spec()) == {name: array.shape for name, array in TENSORS.items()}


@pytest.mark.parametrize("batchnorm", [True, False])
def test_torch_builds_the_same_shapes(batchnorm) -> None:
    """The network defines the shapes, also with a normalization layer before the quantizer."""
    from modelreg.ml import factory

    spec = model_spec()
    settings = spec.settings.model_copy(
        update={
            "batchnorm_before_fsq": True,
            "batchnorm": batchnorm,
            "widths": (4, 6),
            "kernels": ((1, 3),) * 2,
        }
    )
    spec = factory.spec(settings, spec.input, spec.classes)
    network = factory.seeded(settings, spec.input.shape, len(spec.classes), seed=0)

    assert safetensors_file.shapes(spec) == {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def test_parameters_leave_out_running_statistics() -> None:
    """Only trained numbers are counted."""
    assert safetensors_file.parameter_count(safetensors_file.shapes(model_spec())) == model_spec().parameters


@given(st.binary(max_size=200) | st.integers(0, len(DATA) - 1).map(lambda n: DATA[:n]))
def test_anything_else_is_refused(tmp_path_factory, data) -> None:
    """Random bytes and truncated files give a problem, without a crash or a large allocation."""
    with pytest.raises(InputError):
        safetensors_file.read_safetensors(written(tmp_path_factory.mktemp("w"), data))


@given(st.integers(0, len(DATA) - 1), st.integers(0, 7))
def test_a_flipped_bit_is_read_or_refused(tmp_path_factory, position, bit) -> None:
    """A damaged file raises only InputError."""
    broken = bytearray(DATA)
    broken[position] ^= 1 << bit
    try:
        found = safetensors_file.read_safetensors(written(tmp_path_factory.mktemp("w"), bytes(broken)))
    except InputError:
        return
    assert isinstance(found, dict)


@pytest.mark.parametrize(
    ("header", "body", "found"),
    [
        (b"[]", b"", [("c", "checkpoint.damaged")]),
        (b'{"a": 1}', b"", [("c", "checkpoint.damaged")]),
        (b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}', b"", [("c", "checkpoint.damaged")]),
        (
            b'{"a": {"dtype": "NOPE", "shape": [1], "data_offsets": [0, 4]}}',
            b"1234",
            [("c: a", "checkpoint.tensor-mismatch")],
        ),
        (
            b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
            b"1234",
            [("c: a", "checkpoint.damaged")],
        ),
        (
            json.dumps({n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "ab"}).encode(),
            b"1234",
            [("c: b", "checkpoint.damaged")],
        ),
        (b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', b"12345", [("c", "checkpoint.damaged")]),
    ],
)
def test_an_invalid_header_is_refused(tmp_path, header, body, found) -> None:
    """Unknown formats, overlapping tensors, and sizes that do not fit."""
    with pytest.raises(InputError) as caught:
        safetensors_file.read_safetensors(written(tmp_path, len(header).to_bytes(8, "little") + header + body))

    assert places(caught.value.problems) == found


def test_a_record_with_another_number_of_parameters_is_found() -> None:
    """The number follows from the shapes."""
    spec = model_spec().model_copy(update={"parameters": 1})

    assert places(safetensors_file.find_tensor_problems(TENSORS, spec, "c")) == [("c", "model.record-mismatch")]
