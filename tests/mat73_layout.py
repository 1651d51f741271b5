"""Write the layout of MATLAB 7.3 files: HDF5 with the attributes that MATLAB gives each array."""

import io
from typing import Any

import h5py
import numpy as np

HEADER = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Tue May  7 08:30:00 2024 HDF5 schema 1.00 ."
WHOLE = {f"{sign}{size}": f"{word}int{8 * size}" for sign, word in (("i", ""), ("u", "u")) for size in (1, 2, 4, 8)}
KINDS = {"f8": "double", "f4": "single", "b1": "logical", **WHOLE}


def mat73(variables: dict[str, Any]) -> bytes:
    """Return a file: arrays, texts, lists of texts (cells) and dictionaries (structs)."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=512) as file:
        for name, value in variables.items():
            _write(file, name, value)
    data = bytearray(buffer.getvalue())
    data[: len(HEADER)] = HEADER
    return bytes(data)


def _write(group: h5py.Group, name: str, value: Any) -> h5py.HLObject:
    if isinstance(value, dict):
        made = group.create_group(name)
        made.attrs["MATLAB_class"] = np.bytes_("struct")
        for field, inner in value.items():
            _write(made, field, inner)
        return made
    if isinstance(value, str):
        return _dataset(group, name, np.array([[ord(c)] for c in value], np.uint16), "char", empty=not value)
    if isinstance(value, list):
        stored = group.file.require_group("#refs#")
        cells = [_write(stored, f"{name}{n}", each).ref for n, each in enumerate(value)]
        return _dataset(group, name, np.array([cells], h5py.ref_dtype), "cell", empty=not value)
    kind = KINDS[value.dtype.str[1:]]
    return _dataset(group, name, (value.astype("u1") if kind == "logical" else value).T, kind, empty=not value.size)


def _dataset(group: h5py.Group, name: str, stored: np.ndarray, kind: str, *, empty: bool = False) -> h5py.Dataset:
    made = group.create_dataset(name, data=np.zeros(2, np.uint64) if empty else stored)
    made.attrs["MATLAB_class"] = np.bytes_(kind)
    if empty:
        made.attrs["MATLAB_empty"] = np.uint8(1)
    return made
