"""Read and write weights as safetensors. No pickle is read or written.

A file has contiguous tensors and at most one metadata key, `state`, with canonical strict JSON. safetensors writes
several metadata keys in random order, so there is only one. Equal tensors and state give equal bytes.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from modelreg import files
from modelreg.errors import InputError, Problem
from modelreg.files import Json

LIMIT = 2**30  # bytes

_FOREIGN = {
    b"version https://git-lfs": "a Git LFS pointer",
    b"PK\x03\x04": "a zip archive",
    b"\x80": "a pickle",
    b"\x89HDF": "an HDF5 file",
    b"\x01HEF": "a model compiled for Hailo (HEF)",
}


class Saved(NamedTuple):
    """The contents of a checkpoint file."""

    tensors: dict[str, Tensor]
    state: dict[str, Json] | None


def checkpoint_bytes(tensors: Mapping[str, Tensor], state: Mapping[str, Json] | None = None) -> bytes:
    """Return the bytes of a checkpoint of tensors and a JSON state, whose non-finite numbers become null."""
    contiguous = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    metadata = None if state is None else {"state": files.to_json(finite(dict(state))).decode()}
    return safetensors.torch.save(contiguous, metadata)


def read_checkpoint(path: Path, limit: int = LIMIT) -> Saved:
    """Read tensors and state from a file. Raises InputError, which names the kind of a foreign file."""
    return parse(files.read_bytes(path, limit), str(path))


def parse(data: bytes, where: str) -> Saved:
    """Read tensors and state from the bytes of a file. Raises InputError."""
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, KeyError) as error:  # KeyError: a number format unknown to torch
        raise InputError("cannot read the weights", [_unreadable(data, where, error)]) from error
    return Saved(tensors, _state(data, where))


def load_weights(network: nn.Module, path: Path) -> None:
    """Load the weights of a network from a file. Raises InputError unless exactly its tensors are in the file."""
    fill(network, files.read_bytes(path, LIMIT), str(path))


def fill(network: nn.Module, data: bytes, where: str) -> None:
    """Load the weights of a network from the bytes of a file. Raises InputError."""
    tensors = parse(data, where).tensors
    if problems := [*mismatches(network.state_dict(), tensors), *non_finite(tensors)]:
        raise InputError(f"cannot load the weights of {where}", problems)
    network.load_state_dict(tensors)


def mismatches(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Iterator[Problem]:
    """Yield each tensor that is missing, unexpected, or of another shape or number format."""
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            yield Problem(name, "checkpoint.tensor-missing", "missing tensor")
        elif name not in expected:
            yield Problem(name, "checkpoint.tensor-unexpected", "unexpected tensor")
        elif (kind := _kind(found[name])) != (rule := _kind(expected[name])):
            yield Problem(name, "checkpoint.tensor-mismatch", f"is {kind}, must be {rule}")


def non_finite(tensors: Mapping[str, Tensor]) -> Iterator[Problem]:
    """Yield each tensor with NaN or Inf."""
    for name, tensor in sorted(tensors.items()):
        if count := int((~tensor.isfinite()).sum()):
            yield Problem(name, "checkpoint.non-finite", f"{count} of {tensor.numel()} values are NaN or Inf")


def finite(value: Json) -> Json:
    """Return JSON values as they are after a round trip: non-finite numbers as null, tuples as lists."""
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _state(data: bytes, where: str) -> dict[str, Json] | None:
    """Return the state in the header of a valid safetensors file."""
    header = files.parse_json(data[8 : 8 + int.from_bytes(data[:8], "little")], where)
    text = header.get("__metadata__", {}).get("state")
    if text is None:
        return None
    state = files.parse_json(text.encode(), f"{where}: state")
    if not isinstance(state, dict):
        problem = Problem(f"{where}: state", "checkpoint.state-invalid", "must be a JSON object")
        raise InputError("cannot read the weights", [problem])
    return state


def _unreadable(data: bytes, where: str, error: Exception) -> Problem:
    """Return why safetensors cannot read a file."""
    if kind := foreign(data):
        return Problem(where, "checkpoint.foreign-file", f"is {kind}, must be a safetensors file")
    return Problem(where, "checkpoint.damaged", f"damaged, or not a safetensors file: {error}")


def foreign(data: bytes) -> str | None:
    """Return the kind of a file without weights, such as "a pickle", as far as its first bytes show it."""
    if not data:
        return "an empty file"
    for start, what in _FOREIGN.items():
        if data.startswith(start):
            return what
    if _is_text(data[:512]):
        kind = "JSON document" if data.lstrip().startswith((b"{", b"[")) else "text file"
        return f"a {kind} of {len(data)} bytes"
    return None


def _is_text(head: bytes) -> bool:
    """Return whether a file starts with UTF-8 text; the last character may be incomplete."""
    text = head.decode("utf-8", "replace")
    return "\N{REPLACEMENT CHARACTER}" not in text[:-1] and all(char >= " " or char in "\t\n\r" for char in text)
