"""Checkpoint files: equal tensors give equal bytes, and other files are refused."""

import io
import json
import math
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from places import places
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from modelreg.errors import InputError, Problem
from modelreg.ml import checkpoint

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
STATES = st.dictionaries(st.text(max_size=5), JSON, max_size=4)
TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(3), "c": torch.zeros(0, 2)}
DATA = checkpoint.checkpoint_bytes(TENSORS, {"epoch": 3})


def written(folder: Path, data: bytes) -> Path:
    """Return a file with these bytes."""
    path = folder / "weights.safetensors"
    path.write_bytes(data)
    return path


def refusal(path: Path, limit: int = checkpoint.LIMIT) -> Problem:
    """Return the problem that a file is refused with."""
    with pytest.raises(InputError) as caught:
        checkpoint.read_checkpoint(path, limit)
    (problem,) = caught.value.problems
    return problem


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Return whether names and values are equal."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def with_nulls(value: Any) -> Any:
    """Return JSON values with non-finite numbers as null."""
    return json.loads(json.dumps(value), parse_constant=lambda _: None)


@given(state=STATES)
def test_a_checkpoint_survives_a_round_trip(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]) -> None:
    """Tensors are equal bit by bit. The state is equal as JSON, with non-finite numbers as null."""
    path = written(tmp_path_factory.mktemp("weights"), checkpoint.checkpoint_bytes(TENSORS, state))
    saved = checkpoint.read_checkpoint(path)

    assert same(saved.tensors, TENSORS)
    assert saved.state == with_nulls(state)


def test_the_order_of_tensors_and_keys_does_not_matter() -> None:
    """Equal contents give equal bytes."""
    tensors = dict(reversed(TENSORS.items()))
    first = checkpoint.checkpoint_bytes(TENSORS, {"a": 1, "b": math.inf, "c": (1, 2)})

    assert first == checkpoint.checkpoint_bytes(tensors, {"c": [1, 2], "b": math.nan, "a": 1})


def test_the_memory_format_does_not_matter() -> None:
    """Channels-last tensors and parameters with gradients are written as contiguous tensors."""
    plain = torch.arange(120.0).reshape(2, 3, 4, 5)
    last = plain.clone(memory_format=torch.channels_last).requires_grad_()

    assert checkpoint.checkpoint_bytes({"w": last}) == checkpoint.checkpoint_bytes({"w": plain})


def test_weights_alone_have_no_state(tmp_path: Path) -> None:
    """The state of such a checkpoint is None."""
    assert checkpoint.read_checkpoint(written(tmp_path, checkpoint.checkpoint_bytes(TENSORS))).state is None


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    """The safetensors reader finds the tensor names and the only metadata key."""
    with safe_open(written(tmp_path, DATA), framework="pt") as file:
        assert (sorted(file.keys()), list(file.metadata())) == (["a", "b", "c"], ["state"])


def zipped() -> bytes:
    """Return a zip archive such as torch.save writes."""
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        archive.writestr("data.pkl", b"")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "rule", "kind"),
    [
        (b"", "checkpoint.foreign-file", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "checkpoint.foreign-file", "Git LFS"),
        (b"# placeholder for the compiled model\n", "checkpoint.foreign-file", "text file of 37 bytes"),
        (zipped(), "checkpoint.foreign-file", "zip archive"),
        (b"\x80\x02}q\x00.", "checkpoint.foreign-file", "pickle"),
        (b"\x89HDF\r\n\x1a\n", "checkpoint.foreign-file", "HDF5"),
        (bytes(range(256)), "checkpoint.damaged", ""),
        (DATA[:-1], "checkpoint.damaged", ""),
        (DATA + b"x", "checkpoint.damaged", ""),
    ],
)
def test_a_file_that_is_not_safetensors_is_refused(tmp_path: Path, data: bytes, rule: str, kind: str) -> None:
    """The error names the kind of the file, or reports damage."""
    problem = refusal(written(tmp_path, data))

    assert (problem.rule, kind in problem.message) == (rule, True)


def test_a_state_that_is_not_an_object_is_refused(tmp_path: Path) -> None:
    """The place is the file and its metadata key."""
    path = written(tmp_path, save(TENSORS, {"state": "[]"}))

    assert places([refusal(path)]) == [(f"{path}: state", "checkpoint.state-invalid")]


@pytest.mark.parametrize("state", ["{", '{"a": NaN}', '{"a":1,"a":2}'])
def test_a_state_that_is_not_strict_json_is_refused(tmp_path: Path, state: str) -> None:
    """The metadata is read by the same strict reader as every document."""
    path = written(tmp_path, save(TENSORS, {"state": state}))

    assert refusal(path).where == f"{path}: state"


def test_a_file_above_the_limit_is_refused(tmp_path: Path) -> None:
    """The error names the limit."""
    assert f"{len(DATA) - 1}" in refusal(written(tmp_path, DATA), len(DATA) - 1).message


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    """The place is its path."""
    assert refusal(tmp_path / "nowhere").where == str(tmp_path / "nowhere")


@given(place=st.integers(0, len(DATA) - 1), value=st.integers(0, 255), end=st.integers(0, len(DATA)))
def test_a_damaged_file_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, end: int
) -> None:
    """Reading a changed or truncated file gives tensors or an InputError."""
    damaged = DATA[:place] + bytes([value]) + DATA[place + 1 :]
    for data in (damaged, DATA[:end]):
        path = written(tmp_path_factory.mktemp("weights"), data)
        with suppress(InputError):
            checkpoint.read_checkpoint(path)


def test_a_number_format_unknown_to_torch_is_refused(tmp_path: Path) -> None:
    """Newer versions of safetensors may add number formats."""
    header = b'{"a":{"dtype":"F8_E8M0","shape":[1],"data_offsets":[0,1]}}'
    data = len(header).to_bytes(8, "little") + header + b"\0"

    assert "F8_E8M0" in refusal(written(tmp_path, data)).message


def test_weights_are_loaded_into_the_network(tmp_path: Path) -> None:
    """All tensors of the network are those of the file."""
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    checkpoint.load_weights(target, written(tmp_path, checkpoint.checkpoint_bytes(source.state_dict())))

    assert same(source.state_dict(), target.state_dict())


def test_each_tensor_that_does_not_fit_is_reported(tmp_path: Path) -> None:
    """Tensors that are missing, unexpected, non-finite, or of another shape or type are in one error."""
    network = nn.ModuleDict({name: nn.Linear(3, 2, bias=False) for name in "abcd"})
    wrong = {
        "a.weight": torch.zeros(3, 2),
        "b.weight": torch.zeros(2, 3, dtype=torch.float64),
        "c.weight": torch.tensor([[math.nan, 0, 0], [0, math.inf, 0]]),
        "x": torch.zeros(1),
    }
    with pytest.raises(InputError) as caught:
        checkpoint.load_weights(network, written(tmp_path, checkpoint.checkpoint_bytes(wrong)))

    assert places(caught.value.problems) == [
        ("a.weight", "checkpoint.tensor-mismatch"),
        ("b.weight", "checkpoint.tensor-mismatch"),
        ("d.weight", "checkpoint.tensor-missing"),
        ("x", "checkpoint.tensor-unexpected"),
        ("c.weight", "checkpoint.non-finite"),
    ]
    assert "float32 (3, 2), must be float32 (2, 3)" in caught.value.problems[0].message
    assert "2 of 6" in caught.value.problems[4].message
