"""From a run or a version to what runs elsewhere: graphs proven equal to the checkpoint, and compile bundles.

Nothing is written before the graphs were held against the network on real windows. A run's export goes into the run;
that of a version goes elsewhere, for a version never changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version as installed
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.artifacts import attach_hef, bundle_archive, exports, graph_interface, npz, onnx_file
from modelreg.data import normalization as scaling
from modelreg.data import preparation
from modelreg.data.cache import Reading
from modelreg.data.preparation import Prepared
from modelreg.data.windows import spread
from modelreg.errors import ExportError, Problem
from modelreg.export import graphs, hailo, int8, operators, parity
from modelreg.ml import prediction
from modelreg.ml.network import Network
from modelreg.records.base import load
from modelreg.records.data import Normalization
from modelreg.records.export import GRAPHS, ExportSettings, GraphName, GraphRecord, HailoArch, ParityRecord, Target
from modelreg.records.int8 import Int8Estimate
from modelreg.records.manifest import Manifest
from modelreg.records.metrics import EvalMetrics
from modelreg.records.model import ModelSpec
from modelreg.registry import filenames
from modelreg.workflows import evaluation_run, inference, run_checks, sources

PACKAGES = ("onnx", "onnxruntime", "onnxsim", "torch")


class Exported(NamedTuple):
    """What an export made: how near the graphs come, where they lie, and what a device may not do well."""

    parity: ParityRecord
    estimate: Int8Estimate | None  # of the loss in 8 bits; None: for no device
    written: tuple[Path, ...]
    warnings: tuple[Problem, ...]


class Proof(NamedTuple):
    """Graphs that answer as their checkpoint does, and the vectors by which a device can see that they still do."""

    graphs: Mapping[GraphName, bytes]
    parity: ParityRecord
    vectors: bytes  # test_vectors.npz


class _Origin(NamedTuple):
    """What is exported."""

    folder: Path
    version: str | None  # None: a run
    spec: ModelSpec
    network: Network
    prepared: Prepared


def export(
    folder: Path, place: Path, targets: Sequence[Target], settings: ExportSettings, reading: Reading
) -> Exported:
    """Export a run or a version into folders of `place`, each named as its target; `onnx` is always among them.

    Raises ExportError where a graph does not answer as the checkpoint does, or holds what a target cannot compute;
    InputError where the data are not those of the training, or a HEF would be lost. Then nothing is written.
    """
    attach_hef.refuse_loss(place, targets)
    origin = _open(folder, reading)
    proof = prove(origin, settings)
    warnings = [problem for target in targets for problem in _compilable(proof.graphs["encoder"], target)]
    devices = [target for target in targets if target != "onnx"]
    estimate = _estimate(origin, proof, settings) if devices else None
    warnings += int8.find_clipped(estimate) if estimate else ()
    whole: dict[Target, dict[str, bytes]] = {
        target: _bundle(origin, proof, target, settings, estimate) for target in devices
    }
    whole[filenames.ONNX] = {
        **bundle_archive.stamped(_files_of(proof.graphs), origin.version),
        filenames.PARITY: proof.parity.to_bytes(),
        filenames.VECTORS: proof.vectors,
    }
    for target, documents in whole.items():
        files.write_folder(place / target, documents)
        if target != "onnx":
            files.write_atomic(place / f"{target}.tar.gz", bundle_archive.pack(documents))
    if place == folder and (folder / filenames.METRICS).is_file():
        measured = exports.with_estimate(load(folder / filenames.METRICS, EvalMetrics), exports.estimate_of(folder))
        files.write_atomic(folder / filenames.METRICS, measured.to_bytes())
    written = tuple(place / target for target in sorted(whole))
    return Exported(proof.parity, estimate, written, tuple(dict.fromkeys(warnings)))


def prove(origin: _Origin, settings: ExportSettings) -> Proof:
    """Return the graphs of a network, proven equal to it. Raises ExportError where they are not."""
    digests = _digests(origin.folder)
    made = graphs.export(origin.network, graph_interface.metadata(origin.spec, digests), settings.opset)
    real = spread(origin.prepared.windows["train"].x, settings.parity_windows)
    normalized = scaling.apply(real, origin.prepared.normalization)
    edges = _edges(origin)
    measured = parity.measure_parity(
        origin.network, made, np.concatenate([normalized, np.stack(list(edges.values()))]), settings.tolerance
    )
    parity.refuse(measured)
    vectors = npz.npz_bytes(_vectors(origin))
    record = ParityRecord(
        model=origin.spec.settings.name,
        checkpoint_sha256=digests[filenames.CHECKPOINT],
        normalization_sha256=digests[filenames.NORMALIZATION],
        opset=settings.opset,
        graphs={name: _graph_record(made[name], name) for name in GRAPHS},
        windows=len(real),
        windows_digest=files.sha256_arrays({"windows": real}),
        edge_cases=tuple(edges),
        tolerance=settings.tolerance,
        whole=measured.whole,
        split=measured.split,
        vectors_sha256=files.sha256_bytes(vectors),
        packages={name: installed(name) for name in PACKAGES},
    )
    return Proof(made, record, vectors)


def _files_of(graphs: Mapping[GraphName, bytes]) -> dict[str, bytes]:
    return {f"{name}.onnx": data for name, data in graphs.items()}


def _open(folder: Path, reading: Reading) -> _Origin:
    """Read a run or a version and the data that it was trained on. Raises InputError where they are others."""
    manifest = folder / filenames.MANIFEST
    version = load(manifest, Manifest).version if manifest.is_file() else None
    prepared = preparation.prepare(sources.configuration(folder, reading), reading)
    run_checks.refuse_other_data(folder, prepared)
    prepared = replace(prepared, normalization=load(folder / filenames.NORMALIZATION, Normalization))
    spec = inference.load_spec(folder)
    return _Origin(folder, version, spec, prediction.load_network(spec, folder / filenames.CHECKPOINT), prepared)


def _digests(folder: Path) -> dict[str, str]:
    return {name: files.sha256(folder / name) for name in (filenames.CHECKPOINT, filenames.NORMALIZATION)}


def _graph_record(data: bytes, name: str) -> GraphRecord:
    graph = onnx_file.read_onnx(data, name)
    return GraphRecord(
        sha256=files.sha256_bytes(data), inputs=graph.inputs, outputs=graph.outputs, operators=graph.operators
    )


def _compilable(encoder: bytes, target: Target) -> Sequence[Problem]:
    """Return what a target may not compute. Raises ExportError for what it cannot."""
    if target == "onnx":
        return ()
    verdicts = operators.check_operators(encoder, target)
    if verdicts.refused:
        raise ExportError(f"{target} cannot compute the encoder", verdicts.refused)
    return verdicts.warned


def _bundle(
    origin: _Origin, proof: Proof, target: HailoArch, settings: ExportSettings, estimate: Int8Estimate | None
) -> dict[str, bytes]:
    """Return the files of a bundle."""
    contents = hailo.Contents(
        spec=origin.spec,
        normalization=origin.prepared.normalization,
        normalization_file=files.read_bytes(origin.folder / filenames.NORMALIZATION),
        graphs=_files_of(proof.graphs),
        parity=proof.parity,
        windows=origin.prepared.windows["train"],
        vectors=proof.vectors,
        beside=_beside(origin),
        estimate=estimate,
    )
    described, found = hailo.make(contents, target, settings)
    return bundle_archive.sealed(described, found, origin.version)


def _estimate(origin: _Origin, proof: Proof, settings: ExportSettings) -> Int8Estimate:
    """Return what the held-out part gets in 8 bits, calibrated on the windows that the bundle takes."""
    train = origin.prepared.windows["train"]
    subject = int8.Subject(
        spec=origin.spec,
        scale=origin.prepared.normalization,
        graphs=proof.graphs,
        calibration=train.x[hailo.balanced(train.y, settings.calibration_windows)],
        held_out=origin.prepared.windows[evaluation_run.HELD_OUT],
        on_chip=settings.normalization == "chip",
        checkpoint_sha256=proof.parity.checkpoint_sha256,
        normalization_sha256=proof.parity.normalization_sha256,
    )
    return int8.estimate(subject)


def _beside(origin: _Origin) -> dict[str, bytes]:
    """Return what travels with a bundle: what the host part needs to know."""
    parts = [name for name in (filenames.CALIBRATION, filenames.HSMM) if (origin.folder / name).is_file()]
    found = {name: files.read_bytes(origin.folder / name) for name in parts}
    return {filenames.MODEL_CONFIG: origin.spec.to_bytes(), **found}


def _vectors(origin: _Origin) -> dict[str, NDArray[np.float32]]:
    """Return windows of the validation part with what torch answers: what a compiled model is compared by."""
    raw = spread(origin.prepared.windows["validation"].x, hailo.VECTORS)
    windows = scaling.apply(raw, origin.prepared.normalization)
    answers = parity.of_torch(origin.network, windows)._asdict()
    named = {name: values for name, values in answers.items() if values.shape[1]}  # a code only where there is one
    return {"windows_raw": raw, "windows": windows, **named}


def _edges(origin: _Origin) -> dict[str, NDArray[np.float32]]:
    """Return the edge windows; a sensor's limits are those of the quality check, else the training part's range."""
    scale, x = origin.prepared.normalization, origin.prepared.windows["train"].x
    low, high = x.min(axis=(0, 2, 3)), x.max(axis=(0, 2, 3))
    for number, channel in enumerate(scale.channels):
        low[number], high[number] = scale.limits.channels.get(channel.name, (low[number], high[number]))
    ends = [scaling.apply(end[None, :, None, None], scale)[0] for end in (low, high, np.zeros_like(low))]
    return parity.edge_windows(origin.spec.input.shape, *ends)
