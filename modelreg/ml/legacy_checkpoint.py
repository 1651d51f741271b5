"""Read legacy checkpoints (.pth files written by torch.save). This is the only module that calls torch.load.

The kind of a file is determined from its first bytes and its zip directory before torch reads it. torch loads the file
with `weights_only=True` onto the CPU. numpy scalars are allowed too, through replacement classes of this module,
because `numpy.dtype.__setstate__` crashes the process when its state is damaged.
"""

import io
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 the error alone: nothing is unpickled by Python
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from modelreg import files
from modelreg.errors import InputError, Problem
from modelreg.ml import checkpoint, pickle_scan

UNREADABLE = "cannot read the legacy checkpoint"
WRAPPERS = ("model_state_dict", "state_dict", "model")  # keys of the weights in a dictionary
PREFIXES = ("module.", "_orig_mod.")  # of nn.DataParallel and of torch.compile

_OLD_FORMAT = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch's magic number, pickled: format before torch 1.6
_PICKLES = 5  # in a file of that format: magic number, version, system, document, keys of the storages
# zipfile raises NotImplementedError for a compression that it does not know
_BAD_ARCHIVE = (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, EOFError, OSError, struct.error)
_DAMAGED = (
    *(UnpicklingError, RuntimeError, LookupError, AssertionError, ValueError, TypeError, AttributeError),
    *(EOFError, OverflowError, MemoryError, OSError, struct.error),
)


class LegacyCheckpoint(NamedTuple):
    """The contents of a file: tensors (float32 or int64) by their legacy names, and the other entries as text."""

    tensors: dict[str, Tensor]
    others: dict[str, str]  # the other entries of the file: name -> its value as text
    sha256: str  # of the file


def read_legacy_checkpoint(path: Path, limit: int = checkpoint.LIMIT) -> LegacyCheckpoint:
    """Read a state dictionary, on its own or as an entry of a dictionary. Raises InputError for any other file."""
    data = files.read_bytes(path, limit)
    if problem := _foreign(data, str(path)):
        raise InputError(UNREADABLE, [problem])
    found, others = _unwrap(_load(data, str(path)), str(path))
    if problems := list(_find_problems(found, limit)):
        raise InputError(f"cannot read the tensors of {path}", problems)
    prefix = next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in found)), "")
    tensors = {name.removeprefix(prefix): _plain(tensor) for name, tensor in found.items()}
    return LegacyCheckpoint(tensors, others, files.sha256_bytes(data))


class _Dtype:
    """A replacement for numpy.dtype in a pickle."""

    order = "="

    def __init__(self, code: str, *_flags: bool) -> None:
        if not re.fullmatch("b1|[iu][1248]|f[248]", code):
            raise ValueError(f"unsupported numpy scalar of type {code[:20]}")
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1] if state[1] in ("<", ">", "=", "|") else "="


def _scalar(dtype: _Dtype, data: bytes) -> float:
    """Return the number; a replacement for numpy's `scalar` in a pickle."""
    number: float = np.frombuffer(data, np.dtype(dtype.order + dtype.code), count=1)[0].item()
    return number


_SAFE: list[Any] = [
    (_scalar, "numpy.core.multiarray.scalar"),  # before numpy 2
    (_scalar, "numpy._core.multiarray.scalar"),
    (_Dtype, "numpy.dtype"),
]


def _foreign(data: bytes, where: str) -> Problem | None:
    """Return why a file is not a checkpoint that torch.save wrote, as far as its bytes show it without torch."""
    if data.startswith(_OLD_FORMAT):
        return _hostile(io.BytesIO(data), _PICKLES, where)
    if data.startswith(b"PK\x03\x04"):
        return _foreign_archive(data, where)
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8:
        kind = "a safetensors file"
    else:
        kind = checkpoint.foreign(data) or "a file of unknown format"
    return Problem(where, "legacy.foreign-file", f"is {kind}, must be a file written by torch.save")


def _foreign_archive(data: bytes, where: str) -> Problem | None:
    """Return why a zip archive is not a checkpoint that torch.save wrote."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        entries = archive.infolist()
    except _BAD_ARCHIVE as error:
        return Problem(where, "legacy.damaged", f"damaged or truncated zip archive: {error}")
    names = [entry.filename for entry in entries]
    if any(name.endswith("/constants.pkl") for name in names):
        return Problem(where, "legacy.torchscript", "is a TorchScript program, must be a state_dict")
    if not any(name.endswith("/data.pkl") for name in names):
        kind = f"a zip archive with {', '.join(map(_word, names[:3])) or '0 files'}"
        return Problem(where, "legacy.foreign-file", f"is {kind}, must be a file written by torch.save")
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if packed or sum(entry.file_size for entry in entries) > len(data):
        return Problem(where, "legacy.compressed-archive", "is a compressed zip archive, must be uncompressed")
    return next(filter(None, (_hostile_entry(archive, entry, where) for entry in entries)), None)


def _hostile_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, where: str) -> Problem | None:
    """Return why a pickle of an archive cannot be loaded safely."""
    if not entry.filename.endswith("/data.pkl"):
        return None
    try:
        return _hostile(io.BytesIO(archive.read(entry)), 1, where)
    except _BAD_ARCHIVE as error:
        return Problem(where, "legacy.damaged", f"damaged or truncated zip archive: {error}")


def _hostile(file: IO[bytes], pickles: int, where: str) -> Problem | None:
    """Return why the next pickles of a file cannot be loaded safely."""
    try:
        fault = next(filter(None, (pickle_scan.find_fault(file) for _ in range(pickles))), None)
    except ValueError as error:
        return _unloadable(error, where)
    return Problem(where, "legacy.damaged", f"the pickle {fault}") if fault else None


def _load(data: bytes, where: str) -> object:
    """Load a file with torch, without running code from it. Raises InputError."""
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_SAFE):
            warnings.simplefilter("ignore")  # deprecated formats
            found: object = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)  # noqa: TID251 here
    except _DAMAGED as error:
        raise InputError(UNREADABLE, [_unloadable(error, where)]) from error
    return found


def _unloadable(error: Exception, where: str) -> Problem:
    """Return why torch did not load a file, without torch's advice to load it unsafely."""
    if blocked := re.search(r"GLOBAL ([\w.]+)", str(error)):
        what = f"contains {blocked[1]}, which runs code when it is loaded; only tensors, numbers and texts are allowed"
        return Problem(where, "legacy.code-required", what)
    reason = f"{type(error).__name__}: {_word(str(error)[-100:].strip(), 100)}"
    return Problem(where, "legacy.damaged", f"damaged, or not written by torch.save ({reason})")


def _unwrap(document: object, where: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a document, and its other entries as text. Raises InputError."""
    if not isinstance(document, Mapping) or not document:
        what = f"contains a {type(document).__name__}, must contain a non-empty dictionary of tensors"
        raise InputError(UNREADABLE, [Problem(where, "legacy.no-state-dict", what)])
    if _is_state(document):
        return dict(document), {}
    name = next((name for name in WRAPPERS if _is_state(document.get(name))), None)
    if name is None:
        names = ", ".join(map(_word, list(document)[:10]))
        what = f"must contain only tensors, or a dictionary of tensors under {', '.join(WRAPPERS)}; found keys {names}"
        raise InputError(UNREADABLE, [Problem(where, "legacy.no-state-dict", what)])
    return dict(document[name]), {_word(key): _short(document[key]) for key in document if key != name}


def _is_state(value: object) -> bool:
    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in value.items())


def _short(value: object) -> str:
    """Return a short description of a value."""
    if isinstance(value, str | int | float | None):
        return _word(value)
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, list | dict | tuple) else type(value).__name__


def _word(value: object, length: int = 40) -> str:
    """Return a value as printable text of limited length."""
    return "".join(char if char.isprintable() else "?" for char in str(value)[:length])


def _find_problems(tensors: Mapping[str, Tensor], limit: int) -> Iterator[Problem]:
    """Yield each tensor that is not a dense array of numbers; a few bytes may claim a shape of any size."""
    for name, tensor in tensors.items():
        if not name.isprintable():
            yield Problem(_word(name), "legacy.invalid-tensor-name", "the tensor name contains control characters")
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized or tensor.is_complex():
            what = "is sparse, quantized, complex or has no values; must be a dense array of real numbers"
            yield Problem(name, "legacy.unsupported-tensor", what)
    if sum(4 * tensor.numel() for tensor in tensors.values()) > limit:
        yield Problem("all tensors", "legacy.too-large", f"their shapes need more than the limit of {limit:,} bytes")


def _plain(tensor: Tensor) -> Tensor:
    """Return a contiguous copy of a tensor as float32 or int64."""
    kind = torch.float32 if tensor.is_floating_point() else torch.int64
    return tensor.detach().to(kind).clone(memory_format=torch.contiguous_format)
