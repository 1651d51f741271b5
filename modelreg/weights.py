"""What a safetensors file says of its tensors, read from its header: no torch, no weight is loaded.

Format: 8 bytes little-endian length of the header, the header as JSON (name -> dtype, shape, offsets), the data.
"""

import math
from pathlib import Path

from pydantic import RootModel, ValidationError

from modelreg import files
from modelreg.errors import InputError, Problem
from modelreg.records.base import Count, Record

HEADER_LIMIT = 2**20  # bytes


class TensorEntry(Record):
    """One tensor of the header."""

    dtype: str
    shape: tuple[Count, ...]
    data_offsets: tuple[Count, Count]


class _Header(RootModel[dict[str, TensorEntry]]):
    pass


def read_header(path: Path) -> dict[str, TensorEntry]:
    """Return the tensors of a safetensors file by name. Raises InputError for anything else."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= HEADER_LIMIT:
            raise InputError("not a checkpoint", [Problem(path.name, "is not a safetensors file")])
        header = file.read(length)
    document = files.parse_json(header, path.name)
    if not isinstance(document, dict):
        raise InputError("not a checkpoint", [Problem(path.name, "its header is not an object")])
    document.pop("__metadata__", None)
    try:
        tensors = _Header.model_validate_json(files.to_json(document)).root
    except ValidationError as error:
        what = f"its header is not that of a safetensors file ({error.error_count()} faults)"
        raise InputError("not a checkpoint", [Problem(path.name, what)]) from error
    end = max((entry.data_offsets[1] for entry in tensors.values()), default=0)
    if 8 + length + end != path.stat().st_size:
        raise InputError("not a checkpoint", [Problem(path.name, "is shorter or longer than its header says")])
    return tensors


def parameter_count(tensors: dict[str, TensorEntry]) -> int:
    """Return how many trained numbers there are: every tensor but the running statistics of normalization."""
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return sum(math.prod(entry.shape) for name, entry in tensors.items() if not name.endswith(statistics))
