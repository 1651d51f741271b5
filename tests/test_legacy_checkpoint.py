"""Legacy checkpoints: only tensors are read, no code is run, and other files are refused by their kind."""

import io
import json
import os
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from legacy_networks import _one_thread, seeded
from torch import nn

from modelreg.artifacts import npz
from modelreg.errors import InputError, Problem
from modelreg.ml import checkpoint, legacy_checkpoint

__all__ = ["_one_thread"]  # a fixture

STATE = seeded(nn.Linear, 3, 2).state_dict()
TRAINED = {
    "epoch": 12,
    "val_accuracy": np.float64(0.5),
    "best": np.float32(0.25),
    "steps": np.int64(7),
    "done": np.bool_(True),
    "note": "a text",
    "history": [1, 2],
    "none": None,
    "optimizer_state_dict": torch.optim.Adam(nn.Linear(3, 2).parameters()).state_dict(),
    "running": torch.tensor(1.0),
    "model_state_dict": STATE,
}


def saved(document, *, new: bool = True) -> bytes:
    """Return what torch.save writes: the current archive, or the format before torch 1.6."""
    buffer = io.BytesIO()
    torch.save(document, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


def zipped(names: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in names.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def read(folder: Path, data: bytes, **limits: int) -> legacy_checkpoint.LegacyCheckpoint:
    """Read a file with these bytes."""
    (folder / "model.pth").write_bytes(data)
    return legacy_checkpoint.read_legacy_checkpoint(folder / "model.pth", **limits)


def refusal(folder: Path, data: bytes, **limits: int) -> Problem:
    """Return the problem that a file is refused with."""
    with pytest.raises(InputError) as caught:
        read(folder, data, **limits)
    (problem,) = caught.value.problems
    return problem


def same(tensors) -> bool:
    """Return whether these are the saved weights."""
    return tensors.keys() == STATE.keys() and all(torch.equal(tensors[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("new", [True, False], ids=["archive", "before 1.6"])
@pytest.mark.parametrize(
    "document",
    {
        "bare": STATE,
        "wrapped": TRAINED,
        "state_dict": {"state_dict": STATE},
        "model": {"model": dict(STATE)},
        "DataParallel": {f"module.{name}": tensor for name, tensor in STATE.items()},
        "compiled": {f"_orig_mod.{name}": tensor for name, tensor in STATE.items()},
        "double": {name: tensor.double() for name, tensor in STATE.items()},
        "views": {name: torch.stack([tensor, tensor], dim=-1)[..., 1] for name, tensor in STATE.items()},
        "gradients": {name: nn.Parameter(tensor) for name, tensor in STATE.items()},
    }.items(),
    ids=lambda item: item[0],
)
def test_weights_are_read_from_every_supported_wrapper(tmp_path, document, new) -> None:
    """Each value is read under the original tensor name."""
    assert same(read(tmp_path, saved(document[1], new=new)).tensors)


def test_other_entries_are_summarized_as_text(tmp_path) -> None:
    """This includes numpy scalars."""
    others = read(tmp_path, saved(TRAINED)).others

    assert others == {
        "epoch": "12",
        "val_accuracy": "0.5",
        "best": "0.25",
        "steps": "7",
        "done": "True",
        "note": "a text",
        "history": "list of 2",
        "none": "None",
        "optimizer_state_dict": "dict of 2",
        "running": "Tensor",
    }


OLD_NUMPY = (b"numpy._core.multiarray", b"numpy.core.multiarray")  # numpy 2 renamed the module
OTHER_ENDIAN = (  # the order, and the bytes of 0.5 as latin-1 text in UTF-8
    *(b"X\x01\x00\x00\x00<", b"X\x01\x00\x00\x00>"),
    *(bytes(6) + b"\xc3\xa0?", b"?\xc3\xa0" + bytes(6)),
)


@pytest.mark.parametrize("changes", [OLD_NUMPY, OTHER_ENDIAN], ids=["numpy 1", "big-endian"])
def test_scalars_of_other_machines_are_read(tmp_path, changes) -> None:
    """A scalar may come from an older numpy or from a big-endian machine."""
    document = saved({"best": np.float64(0.5), "model": STATE})
    written = zipfile.ZipFile(io.BytesIO(document))
    entries = {entry.filename: written.read(entry) for entry in written.infolist()}
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        assert old in entries["archive/data.pkl"]
        entries["archive/data.pkl"] = entries["archive/data.pkl"].replace(old, new)

    assert read(tmp_path, zipped(entries)).others == {"best": "0.5"}


@pytest.mark.parametrize("new", [True, False], ids=["archive", "before 1.6"])
def test_tensors_saved_on_a_gpu_are_read_on_the_cpu(tmp_path, new) -> None:
    """A file that names cuda:0 is read on a machine without a GPU."""
    tagged = io.BytesIO()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
        torch.save(STATE, tagged, _use_new_zipfile_serialization=new)
    assert b"cuda:0" in tagged.getvalue()

    assert same(read(tmp_path, tagged.getvalue()).tensors)


class Command:
    """An object whose loading runs a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("new", [True, False], ids=["archive", "before 1.6"])
def test_no_code_in_a_checkpoint_is_run(tmp_path, new) -> None:
    """The error names the command, and the command did not run."""
    problem = refusal(tmp_path, saved({"model": STATE, "x": Command(tmp_path / "ran")}, new=new))

    assert (problem.rule, "posix.system" in problem.message) == ("legacy.code-required", True)
    assert not (tmp_path / "ran").exists()


def test_no_code_in_a_plain_pickle_is_run(tmp_path) -> None:
    """The file is refused before torch sees it."""
    assert refusal(tmp_path, pickle.dumps(Command(tmp_path / "ran"))).rule == "legacy.foreign-file"
    assert not (tmp_path / "ran").exists()


def test_a_whole_network_is_refused(tmp_path) -> None:
    """Loading it would run its class. The error does not repeat torch's advice to load it unsafely."""
    problem = refusal(tmp_path, saved(nn.Linear(3, 2)))

    assert (problem.rule, "torch.nn.modules.linear.Linear" in problem.message) == ("legacy.code-required", True)
    assert "weights_only" not in problem.message


def scripted() -> bytes:
    """Return an archive with the entry names that torch.jit.save writes."""
    return zipped({"m/data.pkl": b"", "m/constants.pkl": b"", "m/code/x.py": b""})


REFUSED = {  # bytes, the rule, and a value that the error names
    "empty": (b"", "foreign-file", "empty"),
    "text": (b"# Placeholder for the trained model\n", "foreign-file", "text file of 36 bytes"),
    "text in UTF-8": ("# Modell für später → train\n".encode(), "foreign-file", "text file of 32 bytes"),
    "JSON": (json.dumps({"placeholder": True}).encode(), "foreign-file", "JSON document of 21 bytes"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "foreign-file", "Git LFS"),
    "safetensors": (checkpoint.checkpoint_bytes(STATE), "foreign-file", "safetensors"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "foreign-file", "HDF5"),
    "HEF": (b"\x01HEF" + bytes(100), "foreign-file", "Hailo"),
    "zeros": (bytes(1000), "foreign-file", "unknown format"),
    "zip": (zipped({"weights/x.bin": b"", "README": b""}), "foreign-file", "weights/x.bin, README"),
    "npz": (npz.npz_bytes({"a": np.zeros(3)}), "foreign-file", "a.npy"),
    "empty zip": (b"PK\x03\x04", "damaged", "zip archive"),
    "TorchScript": (scripted(), "torchscript", ""),
    "compressed": (zipped({"m/data.pkl": bytes(10_000)}, zipfile.ZIP_DEFLATED), "compressed-archive", ""),
    "no pickle": (zipped({"m/data.pkl": b"hello", "m/version": b"3\n"}), "damaged", "Error: "),
    "old, truncated": (saved(STATE, new=False)[:-100], "damaged", "Error: "),
    "new, truncated": (saved(STATE)[:-100], "damaged", "zip archive"),
    "a tensor": (saved(torch.zeros(3)), "no-state-dict", "a Tensor"),
    "nothing": (saved({}), "no-state-dict", "a dict"),
    "numbers": (saved({"a": 1, "b": 2}), "no-state-dict", "a, b"),
    "numbered": (saved({0: torch.zeros(3)}), "no-state-dict", "0"),
    "no weights": (saved({"model": {}, "epoch": 3}), "no-state-dict", "model, epoch"),
    "an array": (saved({"model": STATE, "x": np.zeros(3)}), "code-required", "numpy"),
    "an odd scalar": (saved({"model": STATE, "x": np.complex64(1)}), "damaged", "c8"),
    "sparse": (saved({"a": torch.eye(3).to_sparse()}), "unsupported-tensor", "a: "),
    "complex": (saved({"a": torch.zeros(3, dtype=torch.complex64)}), "unsupported-tensor", "a: "),
    "meta": (saved({"a": torch.zeros(3, device="meta")}), "unsupported-tensor", "a: "),
    "an escape in a name": (saved({"\x1b[2Ja": torch.zeros(3)}), "invalid-tensor-name", "?[2Ja: "),
    "an escape in a key": (saved({"\x1b[2Jb": 1}), "no-state-dict", "?[2Jb"),
    "a tensor of any size": (saved({"a": torch.zeros(1).expand(2**40)}), "too-large", f"{checkpoint.LIMIT:,}"),
}


@pytest.mark.parametrize(("data", "rule", "value"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_is_not_a_checkpoint_is_refused(tmp_path, data, rule, value) -> None:
    """The rule names the cause, and the error names what was found."""
    problem = refusal(tmp_path, data)

    assert (problem.rule, value in str(problem)) == (f"legacy.{rule}", True)


def test_a_file_over_the_limit_is_not_read(tmp_path) -> None:
    """The size is checked before the contents are read."""
    assert "100" in refusal(tmp_path, saved(STATE), limit=100).message


@pytest.mark.parametrize("new", [True, False], ids=["archive", "before 1.6"])
@given(seed=st.integers(0, 10_000))
def test_a_damaged_file_is_refused_or_read(tmp_path_factory, seed, new) -> None:
    """Reading changed bytes gives tensors or an InputError, never another error or a crash."""
    rng = np.random.default_rng(seed)
    data = bytearray(saved(TRAINED, new=new))
    for place in rng.integers(0, min(len(data), 1500), rng.choice([1, 2, 5])):
        data[place] = rng.integers(256)
    with suppress(InputError):
        found = read(tmp_path_factory.mktemp("damaged"), bytes(data)).tensors

        assert {tensor.dtype for tensor in found.values()} <= {torch.float32, torch.int64}
