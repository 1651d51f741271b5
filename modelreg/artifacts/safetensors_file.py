"""What a safetensors file holds, read by numpy alone: `verify` needs no torch to tell weights from a stub.

Format: 8 bytes little-endian length of the header, the header as JSON (name -> dtype, shape, offsets), the data.
Tensors fill the data without gap or overlap; each has the bytes that its shape and number format need.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import RootModel, ValidationError

from modelreg import files
from modelreg.errors import InputError, Problem
from modelreg.records.base import Count, Record
from modelreg.records.model import Conv2dFsqSettings, ModelSpec

LIMIT = 2**30  # bytes of a checkpoint
DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8")}  # what a checkpoint of ours holds


class TensorEntry(Record):
    """One tensor of the header."""

    dtype: str
    shape: tuple[Count, ...]
    data_offsets: tuple[Count, Count]


class _Header(RootModel[dict[str, TensorEntry]]):
    pass


BUFFERS = (
    "quantizer.codes",
    "counts",
    "sums",
    "initialised",
    "temperature",
    "strength",
    "prior",
)  # last names of what is no parameter

Arrays = dict[str, NDArray[np.float32] | NDArray[np.int64]]


def read_safetensors(path: Path) -> Arrays:
    """Return the tensors of a checkpoint by name. Raises InputError for anything else."""
    data = files.read_bytes(path, LIMIT)
    length = int.from_bytes(data[:8], "little")
    if not 2 <= length <= len(data) - 8:
        raise InputError("not a checkpoint", [Problem(path.name, "todo.safetensors-file", "is not a safetensors file")])
    header, body = _parse_header(data[8 : 8 + length], path.name), memoryview(data)[8 + length :]
    if problems := [Problem(path.name, "todo.safetensors-file", what) for what in _header_problems(header, len(body))]:
        raise InputError("not a checkpoint", problems)
    return {
        name: np.frombuffer(body[slice(*entry.data_offsets)], DTYPES[entry.dtype]).reshape(entry.shape)
        for name, entry in header.items()
    }


def find_tensor_problems(arrays: Arrays, spec: ModelSpec) -> Iterator[str]:
    """Yield where a checkpoint is not one of this network: names, shapes, NaN and Inf."""
    expected = shapes(spec)
    for name in sorted(arrays.keys() ^ expected.keys()):
        yield f"{name} is {'missing' if name in expected else 'not a tensor of this network'}"
    for name in sorted(arrays.keys() & expected.keys()):
        if arrays[name].shape != expected[name]:
            yield f"{name} has shape {arrays[name].shape}, must have {expected[name]}"
        elif not np.isfinite(arrays[name]).all():
            yield f"{name} holds NaN or Inf"
    if (count := parameter_count(expected)) != spec.parameters:
        yield f"the network of model_config.json has {count} parameters, not {spec.parameters}"


def shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Return the tensors that the network of a record saves, by name."""
    settings, width = spec.settings, spec.input.shape[0]
    if not isinstance(settings, Conv2dFsqSettings):
        return dict(spec.tensors or {})
    found: dict[str, tuple[int, ...]] = {}
    for n, (out, kernel) in enumerate(zip(settings.widths, settings.kernels, strict=True), 1):
        found |= _layer(f"device_part.conv{n}", (out, width, *kernel))
        found |= _norm(f"device_part.bn{n}", out) if settings.batchnorm else {}
        width = out
    found |= _layer("device_part.projection", (len(settings.levels), width))
    if settings.batchnorm_before_fsq:
        found |= _norm("device_part.projection_bn", len(settings.levels))
    return found | _head(settings, len(spec.classes))


def parameter_count(tensors: dict[str, tuple[int, ...]]) -> int:
    """Return how many numbers are trained by gradient: every tensor but running statistics and moving codebooks."""
    statistics = ("running_mean", "running_var", "num_batches_tracked", *BUFFERS)
    return sum(math.prod(shape) for name, shape in tensors.items() if not name.endswith(statistics))


def _head(settings: Conv2dFsqSettings, classes: int) -> dict[str, tuple[int, ...]]:
    hidden = _layer("host_part.head.0", (settings.hidden, len(settings.levels)))
    return hidden | _layer("host_part.head.3", (classes, settings.hidden))


def _layer(name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    tensors: dict[str, tuple[int, ...]] = {
        f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")
    }
    return tensors | {f"{name}.num_batches_tracked": ()}


def _parse_header(data: bytes, where: str) -> dict[str, TensorEntry]:
    document = files.parse_json(data, where)
    if not isinstance(document, dict):
        raise InputError("not a checkpoint", [Problem(where, "todo.safetensors-file", "its header is not an object")])
    document.pop("__metadata__", None)
    try:
        return _Header.model_validate_json(files.to_json(document)).root
    except ValidationError as error:
        what = f"its header is not that of a safetensors file ({error.error_count()} faults)"
        raise InputError("not a checkpoint", [Problem(where, "todo.safetensors-file", what)]) from error


def _header_problems(header: dict[str, TensorEntry], size: int) -> Iterator[str]:
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1].data_offsets):
        if entry.dtype not in DTYPES:
            yield f"{name} has the number format {entry.dtype}, which no checkpoint of ours has"
        elif entry.data_offsets != (end, end + math.prod(entry.shape) * DTYPES[entry.dtype].itemsize):
            yield f"{name} does not lie where its shape and the tensors before it put it"
        end = entry.data_offsets[1]
    if end != size:
        yield "is shorter or longer than its header says"
