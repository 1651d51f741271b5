"""The only reader and writer of weights: safetensors, nothing pickled.

A file holds contiguous tensors and at most one metadata key, `state`, with canonical strict JSON: several
keys would be written in random order. Equal tensors and state give equal bytes.
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
    b"version https://git-lfs": "a Git LFS pointer, not the weights: fetch them with `git lfs pull`",
    b"PK\x03\x04": "a zip archive, as torch.save writes it, not safetensors",
    b"\x80": "a pickle, which is never loaded, not safetensors",
    b"\x89HDF": "an HDF5 file, not weights of torch",
    b"\x01HEF": "a model compiled for Hailo (HEF), not weights",
}


class Saved(NamedTuple):
    """What a file holds."""

    tensors: dict[str, Tensor]
    state: dict[str, Json] | None


def checkpoint_bytes(tensors: Mapping[str, Tensor], state: Mapping[str, Json] | None = None) -> bytes:
    """Render tensors, and a state of JSON values whose non-finite numbers become null."""
    contiguous = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    metadata = None if state is None else {"state": files.to_json(finite(dict(state))).decode()}
    return safetensors.torch.save(contiguous, metadata)


def read_checkpoint(path: Path, limit: int = LIMIT) -> Saved:
    """Read tensors and state. Raises InputError, naming a file that is something else as what it is."""
    return parse(files.read_bytes(path, limit), str(path))


def parse(data: bytes, where: str) -> Saved:
    """Read tensors and state from the bytes of a file, as `read_checkpoint` does. Raises InputError."""
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, KeyError) as error:  # KeyError: a number format that torch lacks
        what = foreign(data) or f"damaged or not safetensors: {error}"
        raise InputError("cannot read weights", [Problem(where, "todo.checkpoint", what)]) from error
    return Saved(tensors, _state(data, where))


def load_weights(network: nn.Module, path: Path) -> None:
    """Fill a network from a file that must fit it tensor by tensor. Raises InputError."""
    fill(network, files.read_bytes(path, LIMIT), str(path))


def fill(network: nn.Module, data: bytes, where: str) -> None:
    """Fill a network from the bytes of such a file. Raises InputError."""
    tensors = parse(data, where).tensors
    if problems := [*mismatches(network.state_dict(), tensors), *non_finite(tensors)]:
        raise InputError(f"{where}: the weights do not fit the network", problems)
    network.load_state_dict(tensors)


def mismatches(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Iterator[Problem]:
    """Yield what is missing, unexpected, of another shape or of another number format."""
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            yield Problem(name, "todo.checkpoint", "missing")
        elif name not in expected:
            yield Problem(name, "todo.checkpoint", "unexpected")
        elif (kind := _kind(found[name])) != (rule := _kind(expected[name])):
            yield Problem(name, "todo.checkpoint", f"is {kind}, must be {rule}")


def non_finite(tensors: Mapping[str, Tensor]) -> Iterator[Problem]:
    """Yield the tensors that hold NaN or Inf."""
    for name, tensor in sorted(tensors.items()):
        if count := int((~tensor.isfinite()).sum()):
            yield Problem(name, "todo.checkpoint", f"{count} of {tensor.numel()} values are NaN or Inf")


def finite(value: Json) -> Json:
    """Return JSON values as JSON would give them back: non-finite numbers as null, tuples as lists."""
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _state(data: bytes, where: str) -> dict[str, Json] | None:
    """Return the state in the header of a file that safetensors has accepted."""
    header = files.parse_json(data[8 : 8 + int.from_bytes(data[:8], "little")], where)
    text = header.get("__metadata__", {}).get("state")
    if text is None:
        return None
    state = files.parse_json(text.encode(), f"{where}: state")
    if not isinstance(state, dict):
        raise InputError(
            "cannot read weights", [Problem(f"{where}: state", "todo.checkpoint", "must be a JSON object")]
        )
    return state


def foreign(data: bytes) -> str | None:
    """Name what a file is that holds no weights, or not as safetensors, where its first bytes tell."""
    if not data:
        return "empty"
    for start, what in _FOREIGN.items():
        if data.startswith(start):
            return what
    if _is_text(data[:512]):
        kind = "JSON document" if data.lstrip().startswith((b"{", b"[")) else "text file"
        return f"a {kind} of {len(data)} bytes, not weights"
    return None


def _is_text(head: bytes) -> bool:
    """Tell whether a file begins as UTF-8 text; its last character may be cut off."""
    text = head.decode("utf-8", "replace")
    return "\N{REPLACEMENT CHARACTER}" not in text[:-1] and all(char >= " " or char in "\t\n\r" for char in text)
