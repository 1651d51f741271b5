"""Small bundles of every model system for the runtime, exported by torch with random weights of a fixed seed."""

import functools
from pathlib import Path
from typing import Any

import example_run
import numpy as np
import torch
from example_bundle import example

from modelreg import files
from modelreg.artifacts import bundle_archive, graph_interface, npz, onnx_file
from modelreg.data.recording import Windows
from modelreg.export import graphs, hailo, parity
from modelreg.ml import factory
from modelreg.ml.network import Network
from modelreg.records.data import Limits, Normalization
from modelreg.records.export import ExportSettings, GraphName, GraphRecord, ParityRecord
from modelreg.records.model import (
    Channel,
    Conv2dFsqHsmmSettings,
    Conv2dVqSettings,
    Conv2dVqTokensSettings,
    HsmmSettings,
    InputSpec,
    ModelSettings,
    ModelSpec,
    TcnVaeSettings,
    VqSettings,
)
from modelreg.registry import filenames

CHECKPOINT = "c" * 64  # the digest of a checkpoint that is not written
CLASSES = ("rest", "walk", "run")
C, T = 3, 16
INPUT = InputSpec(
    channels=tuple(Channel(name=f"c{i}", unit="g") for i in range(C)), devices=("watch",), timesteps=T, rate_hz=50.0
)
SMALL: dict[str, Any] = {"widths": (4,), "kernels": ((1, 3),), "hidden": 5}
SETTINGS: dict[str, ModelSettings] = {
    "tcn_vae": TcnVaeSettings(name="tcn_vae", widths=(4, 6), latent=7, decoder=4),
    "conv2d_vq": Conv2dVqSettings(name="conv2d_vq", embedding=6, vq=VqSettings(codes=9), **SMALL),
    "conv2d_vq_tokens": Conv2dVqTokensSettings(
        name="conv2d_vq_tokens", widths=(4, 6), embedding=3, hidden=5, vq=VqSettings(codes=9)
    ),
    "conv2d_fsq_hsmm": Conv2dFsqHsmmSettings(
        name="conv2d_fsq_hsmm", levels=(3, 2), hsmm=HsmmSettings(max_duration=8, chunk=4), **SMALL
    ),
}


@functools.cache
def spec(system: str) -> ModelSpec:
    """The record of a system."""
    return factory.spec(SETTINGS[system], INPUT, CLASSES)


@functools.cache
def network(system: str) -> Network:
    """A network of a system."""
    return factory.of_spec(spec(system), seed=3).eval()


@functools.cache
def windows() -> Windows:
    """Random raw windows of one recording; the scale below does not change them."""
    x = np.random.default_rng(5).normal(size=(96, C, 1, T)).astype(np.float32)
    zeros, start = np.zeros(len(x), dtype=np.int32), np.arange(len(x), dtype=np.int64) * T
    return Windows(x, np.arange(len(x)) % len(CLASSES), zeros, zeros, start, ("s1",), ("r1",))


def torch_windows(x: np.ndarray) -> torch.Tensor:
    """Windows as tensors."""
    return torch.from_numpy(x)


SCALE = Normalization(
    per="channel",
    samples=100,
    data_digest="d" * 64,
    channels=INPUT.channels,
    devices=INPUT.devices,
    rate_hz=INPUT.rate_hz,
    timesteps=T,
    fold=1,
    mean=((0.0,) * C,),
    std=((1.0,) * C,),
    limits=Limits(),
)


@functools.cache
def bundle(system: str) -> dict[str, bytes]:
    """The files of a bundle for Hailo-8, with the documents of the host part."""
    known, scale = spec(system), SCALE.to_bytes()
    digests = {filenames.CHECKPOINT: CHECKPOINT, filenames.NORMALIZATION: files.sha256_bytes(scale)}
    made = graphs.export(network(system), graph_interface.metadata(known, digests), 17)
    raw = windows().x[:16]
    answers = parity.of_torch(network(system), raw)._asdict()
    named = {name: values for name, values in answers.items() if values.shape[1]}
    smoother = network(system).smoother(CLASSES)
    contents = hailo.Contents(
        spec=known,
        normalization=SCALE,
        normalization_file=scale,
        graphs={f"{name}.onnx": data for name, data in made.items()},
        parity=_parity(known, made, digests),
        windows=windows(),
        vectors=npz.npz_bytes({"windows_raw": raw, "windows": raw, **named}),
        host_files={
            filenames.MODEL_CONFIG: known.to_bytes(),
            **({filenames.HSMM: smoother.to_bytes()} if smoother else {}),
        },
    )
    record, found = hailo.make(contents, "hailo8", ExportSettings(calibration_windows=64))
    return bundle_archive.sealed(record, found, None)


def _parity(known: ModelSpec, made: dict[GraphName, bytes], digests: dict[str, str]) -> ParityRecord:
    """The parity record of these graphs; its errors are those of the released example."""
    read = {name: onnx_file.read_onnx(data, name) for name, data in made.items()}
    stated = {
        name: GraphRecord(
            sha256=files.sha256_bytes(made[name]), inputs=g.inputs, outputs=g.outputs, operators=g.operators
        )
        for name, g in read.items()
    }
    named = {"model": known.settings.name, "graphs": stated, "checkpoint_sha256": CHECKPOINT}
    return example().parity.model_copy(update={**named, "normalization_sha256": digests[filenames.NORMALIZATION]})


def write_run(folder: Path, system: str) -> Path:
    """The files of a run that the runtime reads: graphs, normalization and duration model, with digests in run.json."""
    found = bundle(system)
    parts = {name: found[name] for name in (filenames.NORMALIZATION, filenames.HSMM) if name in found}
    graphs_ = (*filenames.GRAPH_FILES, filenames.PARITY, filenames.VECTORS)
    record = example_run.run_record("e" * 64).model_copy(
        update={"model": spec(system), "files": {name: files.sha256_bytes(data) for name, data in parts.items()}}
    )
    files.write_folder(folder, {**parts, filenames.RUN: record.to_bytes()})
    files.write_folder(folder / filenames.ONNX, {name: found[name] for name in graphs_})
    return folder
