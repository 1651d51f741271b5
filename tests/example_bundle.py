"""A bundle of the released example (registry/conv2d_fsq/v0.2.0), made without torch, and a HEF for the HailoRT stub.

The outputs in its test vectors are those of model.onnx.
"""

import functools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

from modelreg.artifacts import bundle_archive, npz, onnx_file
from modelreg.config import TrainConfig
from modelreg.data import normalization as scaling
from modelreg.data import preparation
from modelreg.data.cache import Reading
from modelreg.data.recording import Windows
from modelreg.export import hailo
from modelreg.records.base import validate
from modelreg.records.data import Normalization
from modelreg.records.export import GRAPHS, ExportSettings, ParityRecord
from modelreg.records.model import ModelSpec
from modelreg.registry import filenames

VERSION = Path(__file__).parents[1] / "registry" / "conv2d_fsq" / "v0.2.0"
BUNDLE_VERSION = "0.2.0"


class Example(NamedTuple):
    """The released example, with its train and test windows."""

    spec: ModelSpec
    scale: Normalization
    parity: ParityRecord
    graphs: dict[str, bytes]  # by file name, as in the export
    train: Windows
    test: Windows


@functools.cache
def example() -> Example:
    """Read it once."""
    prepared = preparation.prepare(TrainConfig(), Reading(VERSION, None, lambda *_: None, lambda _: None))
    stamped = {f"{name}.onnx": (VERSION / "onnx" / f"{name}.onnx").read_bytes() for name in GRAPHS}
    return Example(
        validate((VERSION / filenames.MODEL_CONFIG).read_bytes(), ModelSpec, "spec"),
        validate((VERSION / filenames.NORMALIZATION).read_bytes(), Normalization, "normalization"),
        validate((VERSION / "onnx/parity.json").read_bytes(), ParityRecord, "parity"),
        {name: onnx_file.unstamp(data, "0.2.0") or b"" for name, data in stamped.items()},
        prepared.windows["train"],
        prepared.windows["test"],
    )


def vectors(count: int = 16) -> dict[str, np.ndarray]:
    """Test windows and the outputs of model.onnx for them."""
    known = example()
    raw = known.test.x[:: len(known.test.x) // count][:count]
    windows = scaling.apply(raw, known.scale)
    session = onnxruntime.InferenceSession(known.graphs["model.onnx"])
    answers = [session.run(["projection", "code", "logits"], {"windows": window[None]}) for window in windows]
    named = dict(zip(("projection", "code", "logits"), map(np.concatenate, zip(*answers, strict=True)), strict=True))
    return {"windows_raw": raw, "windows": windows, **named}


def hef(span: float = 8.0) -> bytes:
    """A HEF for the stub of HailoRT: the encoder and the ranges of its 8-bit input and output."""
    limits = {"input": [-span, span], "output": [-8.0, 8.0]}
    return b"\x01HEF" + json.dumps(limits).encode() + b"\n" + example().graphs["encoder.onnx"]


@functools.cache
def bundle(*, compiled: bool = False, normalization: str = "host", span: float = 8.0) -> dict[str, bytes]:
    """The files of a bundle for Hailo-8."""
    known = example()
    settings = ExportSettings(normalization=normalization, calibration_windows=64)
    contents = hailo.Contents(
        spec=known.spec,
        normalization=known.scale,
        normalization_file=(VERSION / filenames.NORMALIZATION).read_bytes(),
        graphs=known.graphs,
        parity=known.parity,
        windows=known.train,
        vectors=npz.npz_bytes(vectors()),
        host_files={filenames.MODEL_CONFIG: known.spec.to_bytes()},
    )
    record, found = hailo.make(contents, "hailo8", settings)
    whole = {**found, "conv2d_fsq.hef": hef(span)} if compiled else found
    return bundle_archive.sealed(record, whole, None)


def write_bundle(folder: Path, documents: dict[str, bytes] | None = None) -> Path:
    """Write a bundle's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (documents or bundle()).items():
        (folder / name).write_bytes(data)
    return folder
