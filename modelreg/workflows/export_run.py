"""Export a run or a version: ONNX graphs proven equal to the checkpoint, and Hailo compile bundles.

Nothing is written before the graphs were compared with the network on real windows. The export of a run goes into the
run's folder; that of a version goes to another folder, because a version never changes.
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
from modelreg.records.export import (
    GRAPHS,
    HAILO,
    ExportSettings,
    GraphName,
    GraphRecord,
    HailoArch,
    ParityRecord,
    Target,
)
from modelreg.records.int8 import Int8Estimate
from modelreg.records.manifest import Manifest
from modelreg.records.metrics import EvalMetrics
from modelreg.records.model import ModelSpec
from modelreg.registry import filenames
from modelreg.workflows import evaluation_run, inference, run_checks, sources

PACKAGES = ("onnx", "onnxruntime", "onnxsim", "torch")


class Exported(NamedTuple):
    """The result of an export: the parity of the graphs, the folders written, and warnings for the targets."""

    parity: ParityRecord
    estimate: Int8Estimate | None  # of the loss in 8 bits; None: no target is a device
    written: tuple[Path, ...]
    warnings: tuple[Problem, ...]


class Proof(NamedTuple):
    """Graphs that are equal to their checkpoint, and test vectors that let a device check this again."""

    graphs: Mapping[GraphName, bytes]
    parity: ParityRecord
    vectors: bytes  # test_vectors.npz


class _Origin(NamedTuple):
    """The model to export, with its data."""

    folder: Path
    version: str | None  # None: a run
    spec: ModelSpec
    network: Network
    prepared: Prepared


def export(
    folder: Path, place: Path, targets: Sequence[Target], settings: ExportSettings, reading: Reading
) -> Exported:
    """Export a run or a version into `place`, one folder for each target; `onnx` is always exported.

    Raises ExportError if a graph differs from the checkpoint, or has an operator that a target cannot compute;
    InputError if the data are not those of the training, or an attached HEF would be lost. Then nothing is written.
    """
    attach_hef.refuse_loss(place, targets)
    origin = _open(folder, reading)
    proof = prove(origin, settings)
    warnings = [problem for target in targets for problem in _compilable(proof.graphs["encoder"], target)]
    devices = [target for target in targets if target != "onnx"]
    estimate = _estimate(origin, proof, settings) if devices else None
    if estimate:
        warnings += (*int8.find_clipped(estimate), *hailo.find_few(estimate.calibration_windows))
    whole: dict[Target, dict[str, bytes]] = {
        target: _bundle(origin, proof, target, settings, estimate) for target in devices
    }
    whole[filenames.ONNX] = {
        **bundle_archive.stamped(_files_of(proof.graphs), origin.version),
        filenames.PARITY: proof.parity.to_bytes(),
        filenames.VECTORS: proof.vectors,
    }
    single = {place / f"{target}.tar.gz": bundle_archive.pack(whole[target]) for target in devices}
    if place == folder and (folder / filenames.METRICS).is_file():
        first = next((target for target in HAILO if target in devices or exports.has(folder, target)), None)
        judged = estimate if first in devices else exports.estimate_of(folder)  # as `estimate_of` will read it
        measured = exports.with_estimate(load(folder / filenames.METRICS, EvalMetrics), judged)
        single[folder / filenames.METRICS] = measured.to_bytes()
    files.write_all({place / target: documents for target, documents in whole.items()}, single)
    written = tuple(place / target for target in sorted(whole))
    return Exported(proof.parity, estimate, written, tuple(dict.fromkeys(warnings)))


def prove(origin: _Origin, settings: ExportSettings) -> Proof:
    """Return the graphs of a network, proven equal to it. Raises ExportError if they are not."""
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
    """Read a run or a version and its training data. Raises InputError if the data have changed."""
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
    """Return warnings about operators that a target may not support. Raises ExportError for those it refuses."""
    if target == "onnx":
        return ()
    verdicts = operators.check_operators(encoder, target)
    if verdicts.refused:
        raise ExportError(f"nothing was exported for {target}", verdicts.refused)
    return verdicts.warned


def _bundle(
    origin: _Origin, proof: Proof, target: HailoArch, settings: ExportSettings, estimate: Int8Estimate | None
) -> dict[str, bytes]:
    """Return the files of a compile bundle by name."""
    contents = hailo.Contents(
        spec=origin.spec,
        normalization=origin.prepared.normalization,
        normalization_file=files.read_bytes(origin.folder / filenames.NORMALIZATION),
        graphs=_files_of(proof.graphs),
        parity=proof.parity,
        windows=origin.prepared.windows["train"],
        vectors=proof.vectors,
        host_files=_host_files(origin),
        estimate=estimate,
    )
    described, found = hailo.make(contents, target, settings)
    return bundle_archive.sealed(described, found, origin.version)


def _estimate(origin: _Origin, proof: Proof, settings: ExportSettings) -> Int8Estimate:
    """Estimate the accuracy in 8 bits, calibrated on the bundle's calibration windows.

    It is that on the test split; of a cross-fitted run, whose final model has no unseen windows, on those of all
    subjects. The loss in 8 bits can be read from both, the accuracy itself from the test split only.
    """
    train = origin.prepared.windows["train"]
    unseen = origin.prepared.windows.get(evaluation_run.HELD_OUT)
    subject = int8.Subject(
        spec=origin.spec,
        scale=origin.prepared.normalization,
        graphs=proof.graphs,
        calibration=train.x[hailo.balanced(train.y, settings.calibration_windows)],
        test=train if unseen is None else unseen,
        on_chip=settings.normalization == "chip",
        checkpoint_sha256=proof.parity.checkpoint_sha256,
        normalization_sha256=proof.parity.normalization_sha256,
        part="train" if unseen is None else "test",
    )
    return int8.estimate(subject)


def _host_files(origin: _Origin) -> dict[str, bytes]:
    """Return the files of a bundle that the host part needs."""
    parts = [name for name in (filenames.CALIBRATION, filenames.HSMM) if (origin.folder / name).is_file()]
    found = {name: files.read_bytes(origin.folder / name) for name in parts}
    return {filenames.MODEL_CONFIG: origin.spec.to_bytes(), **found}


def _vectors(origin: _Origin) -> dict[str, NDArray[np.float32]]:
    """Return windows with the outputs of torch: a compiled model is compared with these.

    They are of the validation split; of a cross-fitted run, of all subjects.
    """
    found = origin.prepared.windows
    raw = spread(found.get("validation", found["train"]).x, hailo.VECTORS)
    windows = scaling.apply(raw, origin.prepared.normalization)
    answers = parity.of_torch(origin.network, windows)._asdict()
    named = {name: values for name, values in answers.items() if values.shape[1]}  # a code only where there is one
    return {"windows_raw": raw, "windows": windows, **named}


def _edges(origin: _Origin) -> dict[str, NDArray[np.float32]]:
    """Return the edge windows; a sensor's limits are those of the quality check, else the range of the train split."""
    scale, x = origin.prepared.normalization, origin.prepared.windows["train"].x
    low, high = x.min(axis=(0, 2, 3)), x.max(axis=(0, 2, 3))
    for number, channel in enumerate(scale.channels):
        low[number], high[number] = scale.limits.channels.get(channel.name, (low[number], high[number]))
    ends = [scaling.apply(end[None, :, None, None], scale)[0] for end in (low, high, np.zeros_like(low))]
    return parity.edge_windows(origin.spec.input.shape, *ends)
