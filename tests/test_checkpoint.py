"""Weights on disk: equal bytes for equal tensors, and nothing read that is not weights."""

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
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from modelreg.errors import InputError
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


def message(path: Path, limit: int = checkpoint.LIMIT) -> str:
    """Return what reading a file complains of."""
    with pytest.raises(InputError) as caught:
        checkpoint.read_checkpoint(path, limit)
    return str(caught.value)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Tell whether names and values agree."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def with_nulls(value: Any) -> Any:
    """Return JSON values with non-finite numbers as null."""
    return json.loads(json.dumps(value), parse_constant=lambda _: None)


@given(state=STATES)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]) -> None:
    """Tensors come back bit by bit, the state as JSON has it, non-finite numbers as null."""
    path = written(tmp_path_factory.mktemp("weights"), checkpoint.checkpoint_bytes(TENSORS, state))
    saved = checkpoint.read_checkpoint(path)

    assert same(saved.tensors, TENSORS)
    assert saved.state == with_nulls(state)


def test_the_order_of_tensors_and_keys_does_not_matter() -> None:
    """Equal content gives equal bytes."""
    tensors = dict(reversed(TENSORS.items()))
    first = checkpoint.checkpoint_bytes(TENSORS, {"a": 1, "b": math.inf, "c": (1, 2)})

    assert first == checkpoint.checkpoint_bytes(tensors, {"c": [1, 2], "b": math.nan, "a": 1})


def test_the_memory_format_does_not_matter() -> None:
    """Channels-last tensors, views and parameters that need gradients are written as plain ones."""
    plain = torch.arange(120.0).reshape(2, 3, 4, 5)
    last = plain.clone(memory_format=torch.channels_last).requires_grad_()

    assert checkpoint.checkpoint_bytes({"w": last}) == checkpoint.checkpoint_bytes({"w": plain})


def test_weights_alone_have_no_state(tmp_path: Path) -> None:
    """A checkpoint without a state gives none."""
    assert checkpoint.read_checkpoint(written(tmp_path, checkpoint.checkpoint_bytes(TENSORS))).state is None


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    """The format's own reader finds the names and the one metadata key."""
    with safe_open(written(tmp_path, DATA), framework="pt") as file:
        assert (sorted(file.keys()), list(file.metadata())) == (["a", "b", "c"], ["state"])


def zipped() -> bytes:
    """Return what torch.save writes: a zip archive."""
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        archive.writestr("data.pkl", b"")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
        (b"# placeholder for the compiled model\n", "a text file of 37 bytes"),
        (zipped(), "zip archive"),
        (b"\x80\x02}q\x00.", "pickle"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (bytes(range(256)), "damaged or not safetensors"),
        (DATA[:-1], "damaged or not safetensors"),
        (DATA + b"x", "damaged or not safetensors"),
    ],
)
def test_what_is_not_weights_is_called_what_it_is(tmp_path: Path, data: bytes, what: str) -> None:
    """Stubs, pointers, pickles and truncated files are refused by name."""
    assert what in message(written(tmp_path, data))


@pytest.mark.parametrize(
    ("state", "what"),
    [("[]", "must be a JSON object"), ("{", "line 1"), ('{"a": NaN}', "NaN"), ('{"a":1,"a":2}', "duplicate")],
)
def test_a_state_that_is_not_strict_json_is_refused(tmp_path: Path, state: str, what: str) -> None:
    """The metadata passes the same strict reader as every document."""
    data = save(TENSORS, {"state": state})

    assert what in message(written(tmp_path, data))


def test_a_file_above_the_limit_is_refused(tmp_path: Path) -> None:
    """Nothing larger than asked for is read."""
    assert f"larger than {len(DATA) - 1} bytes" in message(written(tmp_path, DATA), len(DATA) - 1)


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    """What is not there is named with its path."""
    assert "nowhere" in message(tmp_path / "nowhere")


@given(place=st.integers(0, len(DATA) - 1), value=st.integers(0, 255), end=st.integers(0, len(DATA)))
def test_a_damaged_file_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, end: int
) -> None:
    """Any byte changed, or any end cut off: tensors or an InputError, nothing else."""
    damaged = DATA[:place] + bytes([value]) + DATA[place + 1 :]
    for data in (damaged, DATA[:end]):
        path = written(tmp_path_factory.mktemp("weights"), data)
        with suppress(InputError):
            checkpoint.read_checkpoint(path)


def test_a_number_format_that_torch_lacks_is_refused(tmp_path: Path) -> None:
    """The format may grow types; they are an input error, not a crash."""
    header = b'{"a":{"dtype":"F8_E8M0","shape":[1],"data_offsets":[0,1]}}'
    data = len(header).to_bytes(8, "little") + header + b"\0"

    assert "F8_E8M0" in message(written(tmp_path, data))


def test_weights_fill_the_network(tmp_path: Path) -> None:
    """The network answers with what was saved."""
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    checkpoint.load_weights(target, written(tmp_path, checkpoint.checkpoint_bytes(source.state_dict())))

    assert same(source.state_dict(), target.state_dict())


def test_every_tensor_that_does_not_fit_is_listed(tmp_path: Path) -> None:
    """Missing, unexpected, mis-shaped, of another type, non-finite: all in one error."""
    network = nn.ModuleDict({name: nn.Linear(3, 2, bias=False) for name in "abcd"})
    wrong = {
        "a.weight": torch.zeros(3, 2),
        "b.weight": torch.zeros(2, 3, dtype=torch.float64),
        "c.weight": torch.tensor([[math.nan, 0, 0], [0, math.inf, 0]]),
        "x": torch.zeros(1),
    }
    with pytest.raises(InputError) as caught:
        checkpoint.load_weights(network, written(tmp_path, checkpoint.checkpoint_bytes(wrong)))

    assert [str(problem) for problem in caught.value.problems] == [
        "a.weight: is float32 (3, 2), must be float32 (2, 3)",
        "b.weight: is float64 (2, 3), must be float32 (2, 3)",
        "d.weight: missing",
        "x: unexpected",
        "c.weight: 2 of 6 values are NaN or Inf",
    ]
