"""Read safetensors files with numpy only, so that `verify` can check weights without torch.

Format: the length of the header in 8 bytes (little-endian), the header as JSON (name -> dtype, shape, offsets), the
data. Tensors fill the data without gaps or overlaps, and each has the size of its shape and dtype.
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
CANNOT_READ = "cannot read the checkpoint"
DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8")}  # of our checkpoints


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
)  # suffixes of tensors that are not parameters

Arrays = dict[str, NDArray[np.float32] | NDArray[np.int64]]


def read_safetensors(path: Path) -> Arrays:
    """Return the tensors of a checkpoint by name. Raises InputError for an invalid file."""
    data = files.read_bytes(path, LIMIT)
    length = int.from_bytes(data[:8], "little")
    if not 2 <= length <= len(data) - 8:
        raise _invalid(path.name, "not a safetensors file: invalid length of the header")
    header, body = _parse_header(data[8 : 8 + length], path.name), memoryview(data)[8 + length :]
    if problems := list(_header_problems(header, len(body), path.name)):
        raise InputError(CANNOT_READ, problems)
    return {
        name: np.frombuffer(body[slice(*entry.data_offsets)], DTYPES[entry.dtype]).reshape(entry.shape)
        for name, entry in header.items()
    }


def find_tensor_problems(arrays: Arrays, spec: ModelSpec, where: str) -> Iterator[Problem]:
    """Yield where a checkpoint does not fit the network: names, shapes, NaN and infinity, number of parameters."""
    expected = shapes(spec)
    for name in sorted(expected.keys() - arrays.keys()):
        yield Problem(f"{where}: {name}", "checkpoint.tensor-missing", "missing")
    for name in sorted(arrays.keys() - expected.keys()):
        yield Problem(f"{where}: {name}", "checkpoint.tensor-unexpected", "unexpected: not a tensor of this network")
    for name in sorted(arrays.keys() & expected.keys()):
        if arrays[name].shape != expected[name]:
            what = f"shape mismatch: expected {expected[name]}, found {arrays[name].shape}"
            yield Problem(f"{where}: {name}", "checkpoint.tensor-mismatch", what)
        elif not np.isfinite(arrays[name]).all():
            yield Problem(f"{where}: {name}", "checkpoint.non-finite", "invalid: contains NaN or infinity")
    if (count := parameter_count(expected)) != spec.parameters:
        what = f"mismatch: model_config.json says {spec.parameters:,} parameters, its network has {count:,}"
        yield Problem(where, "model.record-mismatch", what)


def shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors that the network of a record saves, by name."""
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
    """Return the number of trained parameters: all tensors except running statistics and moving codebooks."""
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
        raise _invalid(where, "invalid header: not a JSON object")
    document.pop("__metadata__", None)
    try:
        return _Header.model_validate_json(files.to_json(document)).root
    except (ValidationError, RecursionError) as error:  # RecursionError: values nested nearly as deep as JSON is read
        raise _invalid(where, "invalid header: expected the dtype, shape and offsets of each tensor") from error


def _invalid(where: str, what: str) -> InputError:
    return InputError(CANNOT_READ, [Problem(where, "checkpoint.damaged", what)])


def _header_problems(header: dict[str, TensorEntry], size: int, where: str) -> Iterator[Problem]:
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1].data_offsets):
        if entry.dtype not in DTYPES:
            what = f"dtype {entry.dtype}, expected {' or '.join(DTYPES)}"
            yield Problem(f"{where}: {name}", "checkpoint.tensor-mismatch", what)
        elif entry.data_offsets != (end, end + math.prod(entry.shape) * DTYPES[entry.dtype].itemsize):
            yield Problem(
                f"{where}: {name}", "checkpoint.damaged", "invalid offsets: a gap, an overlap or a wrong size"
            )
        end = entry.data_offsets[1]
    if end != size:
        what = f"size mismatch: header says {end:,} bytes of tensors, file has {size:,}"
        yield Problem(where, "checkpoint.damaged", what)
