"""Files of older code: read as weights alone, never run, and named as what they are where they are something else."""

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
from modelreg.errors import InputError
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
    """What torch.save writes: the archive of today, or the file of torch before 1.6."""
    buffer = io.BytesIO()
    torch.save(document, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


def zipped(names: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in names.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def read(folder: Path, data: bytes, **limits: int) -> legacy_checkpoint.LegacyCheckpoint:
    """Read a file with these bytes."""
    (folder / "model.pth").write_bytes(data)
    return legacy_checkpoint.read_legacy_checkpoint(folder / "model.pth", **limits)


def complaint(folder: Path, data: bytes, **limits: int) -> str:
    """What reading a file complains of."""
    with pytest.raises(InputError) as caught:
        read(folder, data, **limits)
    return str(caught.value)


def same(tensors) -> bool:
    """Tell whether these are the weights that were saved."""
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
def test_weights_are_read_however_they_were_wrapped(tmp_path, document, new) -> None:
    """Every number, under its own name."""
    assert same(read(tmp_path, saved(document[1], new=new)).tensors)


def test_what_stands_beside_is_told_in_words(tmp_path) -> None:
    """Numbers of numpy too."""
    beside = read(tmp_path, saved(TRAINED)).beside

    assert beside == {
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
def test_scalars_written_elsewhere_are_read(tmp_path, changes) -> None:
    """By an older numpy, or on a machine that writes numbers the other way round."""
    document = saved({"best": np.float64(0.5), "model": STATE})
    written = zipfile.ZipFile(io.BytesIO(document))
    entries = {entry.filename: written.read(entry) for entry in written.infolist()}
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        assert old in entries["archive/data.pkl"]
        entries["archive/data.pkl"] = entries["archive/data.pkl"].replace(old, new)

    assert read(tmp_path, zipped(entries)).beside == {"best": "0.5"}


@pytest.mark.parametrize("new", [True, False], ids=["archive", "before 1.6"])
def test_tensors_of_a_gpu_come_to_the_cpu(tmp_path, new) -> None:
    """A file that says cuda:0 is read where there is none."""
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
def test_nothing_in_a_file_is_run(tmp_path, new) -> None:
    """The command is named, and was not run."""
    found = complaint(tmp_path, saved({"model": STATE, "x": Command(tmp_path / "ran")}, new=new))

    assert "holds posix.system, which loading would have to run" in found
    assert not (tmp_path / "ran").exists()


def test_nothing_in_a_plain_pickle_is_run(tmp_path) -> None:
    """torch never sees it."""
    assert "a pickle, which is never loaded" in complaint(tmp_path, pickle.dumps(Command(tmp_path / "ran")))
    assert not (tmp_path / "ran").exists()


def test_a_whole_network_is_refused(tmp_path) -> None:
    """To load one is to run its class; what to do is said, and not to load it unsafely."""
    found = complaint(tmp_path, saved(nn.Linear(3, 2)))

    assert "holds torch.nn.modules.linear.Linear" in found
    assert "save the state_dict" in found
    assert "weights_only" not in found


def scripted() -> bytes:
    """What torch.jit.save writes, as far as its names go."""
    return zipped({"m/data.pkl": b"", "m/constants.pkl": b"", "m/code/x.py": b""})


FOREIGN = {
    "empty": (b"", "empty"),
    "text": (b"# Placeholder for the trained model\n", "a text file of 36 bytes"),
    "text in UTF-8": ("# Modell für später → train\n".encode(), "a text file of 32 bytes"),
    "JSON": (json.dumps({"placeholder": True}).encode(), "a JSON document of 21 bytes"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
    "safetensors": (checkpoint.checkpoint_bytes(STATE), "a safetensors file"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    "HEF": (b"\x01HEF" + bytes(100), "a model compiled for Hailo"),
    "zeros": (bytes(1000), "no file that torch.save writes"),
    "zip": (zipped({"weights/x.bin": b"", "README": b""}), "did not write: it holds weights/x.bin, README"),
    "npz": (npz.npz_bytes({"a": np.zeros(3)}), "did not write: it holds a.npy"),
    "empty zip": (b"PK\x03\x04", "a zip archive, damaged or cut off"),
    "TorchScript": (scripted(), "a TorchScript program"),
    "packed": (zipped({"m/data.pkl": bytes(10_000)}, zipfile.ZIP_DEFLATED), "that is packed"),
    "no pickle": (zipped({"m/data.pkl": b"hello", "m/version": b"3\n"}), "damaged, or not written by torch.save"),
    "old, cut off": (saved(STATE, new=False)[:-100], "damaged, or not written by torch.save"),
    "new, cut off": (saved(STATE)[:-100], "a zip archive, damaged or cut off"),
    "a tensor": (saved(torch.zeros(3)), "holds a Tensor, not a dictionary"),
    "nothing": (saved({}), "holds a dict, not a dictionary of tensors"),
    "numbers": (saved({"a": 1, "b": 2}), "it has a, b"),
    "numbered": (saved({0: torch.zeros(3)}), "it has 0"),
    "no weights": (saved({"model": {}, "epoch": 3}), "holds tensors neither alone nor under"),
    "an array": (saved({"model": STATE, "x": np.zeros(3)}), "holds numpy"),
    "an odd scalar": (saved({"model": STATE, "x": np.complex64(1)}), "a numpy scalar of type c8"),
    "sparse": (saved({"a": torch.eye(3).to_sparse()}), "a: is sparse, quantized, complex or without values"),
    "complex": (saved({"a": torch.zeros(3, dtype=torch.complex64)}), "a: is sparse"),
    "meta": (saved({"a": torch.zeros(3, device="meta")}), "without values"),
    "an escape in a name": (saved({"\x1b[2Ja": torch.zeros(3)}), "?[2Ja: is no name of a tensor"),
    "escapes beside": (saved({"\x1b[2Jb": 1}), "it has ?[2Jb"),
    "a tensor of any size": (saved({"a": torch.zeros(1).expand(2**40)}), "have shapes of more than"),
}


@pytest.mark.parametrize(("data", "what"), FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_checkpoint_is_named(tmp_path, data, what) -> None:
    """As what it is, or with what it lacks."""
    assert what in complaint(tmp_path, data)


def test_a_file_over_the_limit_is_not_read(tmp_path) -> None:
    """Its size is looked at first."""
    assert "larger than 100 bytes" in complaint(tmp_path, saved(STATE), limit=100)


@pytest.mark.parametrize("new", [True, False], ids=["archive", "before 1.6"])
@given(seed=st.integers(0, 10_000))
def test_a_damaged_file_is_refused_or_read(tmp_path_factory, seed, new) -> None:
    """Whatever bytes change: an InputError or tensors, never another error and never a crash."""
    rng = np.random.default_rng(seed)
    data = bytearray(saved(TRAINED, new=new))
    for place in rng.integers(0, min(len(data), 1500), rng.choice([1, 2, 5])):
        data[place] = rng.integers(256)
    with suppress(InputError):
        found = read(tmp_path_factory.mktemp("damaged"), bytes(data)).tensors

        assert {tensor.dtype for tensor in found.values()} <= {torch.float32, torch.int64}
