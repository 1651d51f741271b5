"""Checkpoints of older code, as torch.save wrote them (.pth): the only place where torch.load is called.

What a file is, is told from its first bytes and from its table of contents before torch sees it. torch then loads
it with `weights_only=True`, onto the CPU; of other types only numpy's scalars are let in, and these as stand-ins of
ours: numpy's own `dtype.__setstate__` crashes the process where its state is damaged.
"""

import io
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 the error alone: nothing is unpickled by Python
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from modelreg import files
from modelreg.errors import InputError, Problem
from modelreg.ml import checkpoint

WRAPPERS = ("model_state_dict", "state_dict", "model")  # under which a dictionary keeps its weights
PREFIXES = ("module.", "_orig_mod.")  # of nn.DataParallel and of torch.compile

_OLD_FORMAT = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch's magic number, pickled: files before torch 1.6
_BAD_ARCHIVE = (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, EOFError, OSError, struct.error)
_DAMAGED = (
    *(UnpicklingError, RuntimeError, LookupError, AssertionError, ValueError, TypeError, AttributeError),
    *(EOFError, OverflowError, MemoryError, OSError, struct.error),
)


class LegacyCheckpoint(NamedTuple):
    """What a file holds: tensors under their old names, float32 or int64, and what stood beside them."""

    tensors: dict[str, Tensor]
    beside: dict[str, str]  # name -> its value in words
    sha256: str  # of the file


def read_legacy_checkpoint(path: Path, limit: int = checkpoint.LIMIT) -> LegacyCheckpoint:
    """Read a state dict, bare or in a dictionary with other things. Raises InputError, naming what else a file is."""
    data = files.read_bytes(path, limit)
    if what := _foreign(data):
        raise InputError("not a checkpoint", [Problem(str(path), "todo.legacy-checkpoint", what)])
    found, beside = _unwrap(_load(data, str(path)), str(path))
    if problems := list(_find_problems(found, limit)):
        raise InputError(f"{path}: its weights cannot be taken", problems)
    prefix = next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in found)), "")
    tensors = {name.removeprefix(prefix): _plain(tensor) for name, tensor in found.items()}
    return LegacyCheckpoint(tensors, beside, files.sha256_bytes(data))


class _Dtype:
    """Stands for numpy.dtype in a pickle."""

    order = "="

    def __init__(self, code: str, *_flags: bool) -> None:
        if not re.fullmatch("b1|[iu][1248]|f[248]", code):
            raise ValueError(f"a numpy scalar of type {code[:20]}")
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1] if state[1] in ("<", ">", "=", "|") else "="


def _scalar(dtype: _Dtype, data: bytes) -> float:
    """Stand for numpy's `scalar` in a pickle: return the number."""
    number: float = np.frombuffer(data, np.dtype(dtype.order + dtype.code), count=1)[0].item()
    return number


_SAFE: list[Any] = [
    (_scalar, "numpy.core.multiarray.scalar"),  # before numpy 2
    (_scalar, "numpy._core.multiarray.scalar"),
    (_Dtype, "numpy.dtype"),
]


def _foreign(data: bytes) -> str | None:
    """Return what a file is that torch.save did not write."""
    if data.startswith(_OLD_FORMAT):
        return None
    if data.startswith(b"PK\x03\x04"):
        return _foreign_archive(data)
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8:
        return "a safetensors file: no checkpoint of older code"
    return checkpoint.foreign(data) or "no file that torch.save writes"


def _foreign_archive(data: bytes) -> str | None:
    """Return what a zip archive is that torch.save did not write."""
    try:
        entries = zipfile.ZipFile(io.BytesIO(data)).infolist()
    except _BAD_ARCHIVE as error:
        return f"a zip archive, damaged or cut off: {error}"
    names = [entry.filename for entry in entries]
    if any(name.endswith("/constants.pkl") for name in names):
        return "a TorchScript program: save the state_dict of the network instead"
    if not any(name.endswith("/data.pkl") for name in names):
        return f"a zip archive that torch.save did not write: it holds {', '.join(map(_word, names[:3])) or 'nothing'}"
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if packed or sum(entry.file_size for entry in entries) > len(data):
        return "a zip archive that is packed, as torch.save never does"
    return None


def _load(data: bytes, where: str) -> object:
    """Return what torch makes of a file. Raises InputError; nothing in the file is ever called."""
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_SAFE):
            warnings.simplefilter("ignore")  # of formats that torch means to give up
            found: object = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)  # noqa: TID251 here
    except _DAMAGED as error:
        raise InputError(
            "cannot read the checkpoint", [Problem(where, "todo.legacy-checkpoint", _words(error))]
        ) from error
    return found


def _words(error: Exception) -> str:
    """Return what kept torch from loading a file, without its advice to load it unsafely."""
    if blocked := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return (
            f"holds {blocked[1]}, which loading would have to run: only tensors, numbers and texts are loaded; "
            "save the state_dict of the network alone"
        )
    return f"damaged, or not written by torch.save ({type(error).__name__}: {_word(str(error)[-100:].strip(), 100)})"


def _unwrap(document: object, where: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a document, and what stands beside them in words. Raises InputError."""
    if not isinstance(document, Mapping) or not document:
        what = f"holds a {type(document).__name__}, not a dictionary of tensors"
        raise InputError("not a checkpoint", [Problem(where, "todo.legacy-checkpoint", what)])
    if _is_state(document):
        return dict(document), {}
    name = next((name for name in WRAPPERS if _is_state(document.get(name))), None)
    if name is None:
        names = ", ".join(map(_word, list(document)[:10]))
        what = f"holds tensors neither alone nor under {', '.join(WRAPPERS)}; it has {names}"
        raise InputError("not a checkpoint", [Problem(where, "todo.legacy-checkpoint", what)])
    return dict(document[name]), {_word(key): _short(document[key]) for key in document if key != name}


def _is_state(value: object) -> bool:
    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in value.items())


def _short(value: object) -> str:
    """Return a value in words."""
    if isinstance(value, str | int | float | None):
        return _word(value)
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, list | dict | tuple) else type(value).__name__


def _word(value: object, length: int = 40) -> str:
    """Return a value as text that can do a terminal no harm."""
    return "".join(char if char.isprintable() else "?" for char in str(value)[:length])


def _find_problems(tensors: Mapping[str, Tensor], limit: int) -> Iterator[Problem]:
    """Yield the tensors that are no plain arrays of numbers; a few bytes may claim a shape of any size."""
    for name, tensor in tensors.items():
        if not name.isprintable():
            yield Problem(_word(name), "todo.legacy-checkpoint", "is no name of a tensor: it holds control characters")
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized or tensor.is_complex():
            yield Problem(
                name,
                "todo.legacy-checkpoint",
                "is sparse, quantized, complex or without values: no plain array of numbers",
            )
    if sum(4 * tensor.numel() for tensor in tensors.values()) > limit:
        yield Problem("all tensors", "todo.legacy-checkpoint", f"have shapes of more than {limit} bytes")


def _plain(tensor: Tensor) -> Tensor:
    """Return a tensor with a storage of its own, float32 or int64."""
    kind = torch.float32 if tensor.is_floating_point() else torch.int64
    return tensor.detach().to(kind).clone(memory_format=torch.contiguous_format)
