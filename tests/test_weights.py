"""weights: the header of a checkpoint, read without torch."""

import numpy as np
import pytest
from example_run import model_spec, tensors
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from modelreg import weights
from modelreg.errors import InputError

DATA = save(tensors(np.random.default_rng(0)))


def test_shapes_are_those_that_were_saved(tmp_path) -> None:
    """Every tensor is found with its shape."""
    (tmp_path / "c").write_bytes(DATA)
    found = {name: entry.shape for name, entry in weights.read_header(tmp_path / "c").items()}

    assert found == {name: array.shape for name, array in tensors(np.random.default_rng(0)).items()}


def test_parameters_leave_out_running_statistics(tmp_path) -> None:
    """What is not trained is not counted."""
    (tmp_path / "c").write_bytes(DATA)

    assert weights.parameter_count(weights.read_header(tmp_path / "c")) == model_spec().parameters


@given(st.binary(max_size=200) | st.integers(0, len(DATA) - 1).map(lambda n: DATA[:n]))
def test_anything_else_is_refused(tmp_path_factory, data) -> None:
    """Random bytes and truncated files give a problem, never a crash or a large allocation."""
    path = tmp_path_factory.mktemp("w") / "c"
    path.write_bytes(data)
    with pytest.raises(InputError):
        weights.read_header(path)


@pytest.mark.parametrize(
    "header", [b"[]", b'{"a": 1}', b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}']
)
def test_a_foreign_header_is_refused(tmp_path, header) -> None:
    """A header that is JSON but not of tensors is refused."""
    (tmp_path / "c").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(InputError, match="header"):
        weights.read_header(tmp_path / "c")
