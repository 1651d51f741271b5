"""Open a model for prediction: from a version, a run or a bundle, with ONNX Runtime or torch.

A model with ONNX graphs is computed by ONNX Runtime, without torch; any other model by torch, from its checkpoint. The
choice depends on the files that the manifest lists, never on what is installed. The SHA-256 of each file is checked
before it is read, and graphs must reproduce their test vectors.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.artifacts import exports
from modelreg.data import extras
from modelreg.data import normalization as scaling
from modelreg.errors import InputError, Problem, VerificationFailed
from modelreg.records.base import AnyRecord
from modelreg.records.calibration import AnyConfidenceRecord
from modelreg.records.data import DataRecord, Normalization
from modelreg.records.hsmm import HsmmSpec
from modelreg.records.manifest import Manifest
from modelreg.records.model import ModelSpec
from modelreg.registry import filenames, sealed_files, versions
from modelreg.runtime import bundle_loader

if TYPE_CHECKING:
    from modelreg.ml.network import Network
    from modelreg.runtime.pipeline import Pipeline

BESIDE = (filenames.NORMALIZATION, filenames.CALIBRATION, filenames.HSMM, filenames.DATA)

Floats = NDArray[np.float32]


class Outputs(NamedTuple):
    """The outputs of a network for N windows; K is the number of classes."""

    logits: Floats  # (N, K); NaN for a window whose values overflow in the network
    codes: NDArray[np.int64] | None  # (N,) index of the code; None: the model has no quantizer


class Engine(Protocol):
    """A backend that computes a model."""

    def compute(self, windows: Floats) -> Outputs:
        """Return the outputs of raw windows (N, C, D, T)."""
        ...


class OpenModel(NamedTuple):
    """A model with everything that a prediction needs."""

    reference: str
    spec: ModelSpec
    normalization: Normalization
    calibration: AnyConfidenceRecord | None  # None: not calibrated
    hop: int | None  # samples between training windows; None: not recorded, as in a bundle
    engine: Engine


def open_model(path: Path) -> OpenModel:
    """Open a version, a run or a bundle (its folder or its .tar.gz).

    Raises VerificationFailed if a file differs from its manifest or a graph does not reproduce its test vectors;
    InputError if nothing is there to load, a file is not on this machine, or an extra is not installed.
    """
    if path.is_file() or (path / filenames.BUNDLE).is_file():
        return _with_graphs(path, None, None)
    if versions.is_version_folder(path):
        return _of_version(path)
    if (path / filenames.RUN).is_file():
        return _of_run(path)
    what = "is not a version, a run or a bundle (a folder with bundle.json, or its .tar.gz)"
    raise InputError("cannot load a model", [Problem(str(path), "reference.not-a-model", what)])


def _of_version(folder: Path) -> OpenModel:
    first = {filenames.MODEL_CONFIG, filenames.DATA, f"{filenames.ONNX}/{filenames.PARITY}"}
    manifest, sealed = sealed_files.read_version(folder, first.__contains__)
    reference = versions.Version(folder, manifest).reference
    _refuse_unlisted(manifest, reference)
    spec = versions.parse_document(sealed[filenames.MODEL_CONFIG], ModelSpec, filenames.MODEL_CONFIG)
    if spec.settings.name != manifest.model:
        what = f"names the model {manifest.model}, but {filenames.MODEL_CONFIG} names {spec.settings.name}"
        raise VerificationFailed(
            f"cannot load {reference}", [Problem(filenames.MANIFEST, "manifest.model-mismatch", what)]
        )
    paths = {entry.path for entry in manifest.files}
    has_graphs = any(path.startswith(f"{filenames.ONNX}/") for path in paths)
    _refuse_absent(folder, manifest, reference, f"{filenames.ONNX}/" if has_graphs else filenames.CHECKPOINT)
    if has_graphs:
        return _with_graphs(folder, reference, _hop(sealed))
    _need("train", "torch", "safetensors", why=f"{reference} has no ONNX graphs")
    needed = {filenames.CHECKPOINT, *BESIDE}
    _, found = sealed_files.read_version(folder, needed.__contains__)
    return _with_torch(reference, spec, found)


def _refuse_unlisted(manifest: Manifest, reference: str) -> None:
    """Raise VerificationFailed if the manifest does not list the files that every version has."""
    listed = {entry.path for entry in manifest.files}
    needed = (filenames.MODEL_CONFIG, filenames.NORMALIZATION, filenames.CHECKPOINT)
    if missing := [
        Problem(filenames.MANIFEST, "manifest.file-unlisted", f"does not list {name}")
        for name in needed
        if name not in listed
    ]:
        raise VerificationFailed(f"cannot load {reference}", missing)


def _refuse_absent(folder: Path, manifest: Manifest, reference: str, prefix: str) -> None:
    """Raise InputError if files stored as release assets are not on this machine."""
    assets = [entry.path for entry in manifest.files if entry.stored == "asset" and entry.path.startswith(prefix)]
    if absent := [path for path in assets if not (folder / path).exists()]:
        what, step = "stored with the release, but not on this machine", f"run `modelreg pull {reference}`"
        problems = [Problem(path, "version.asset-missing", what, step) for path in absent]
        raise InputError(f"cannot load {reference}", problems)


def _of_run(folder: Path) -> OpenModel:
    if exports.has(folder, filenames.ONNX):
        _, found = sealed_files.read_run(folder, {filenames.DATA}.__contains__)
        return _with_graphs(folder, folder.name, _hop(found))
    _need("train", "torch", "safetensors", why=f"{folder} has no ONNX graphs")
    run, found = sealed_files.read_run(folder, {filenames.CHECKPOINT, *BESIDE}.__contains__)
    if run.status != "trained":
        step = f"run `modelreg train --resume {folder}`"
        problem = Problem(str(folder), "run.not-trained", "its training is not finished", step)
        raise InputError("cannot load a model", [problem])
    fitted_later = [name for name in BESIDE if name not in found and (folder / name).is_file()]
    return _with_torch(folder.name, run.model, {**found, **{n: files.read_bytes(folder / n) for n in fitted_later}})


def _hop(found: Mapping[str, bytes]) -> int | None:
    data = _optional(found, filenames.DATA, DataRecord)
    return data.hop if data else None


def _optional(found: Mapping[str, bytes], name: str, record: type[AnyRecord]) -> AnyRecord | None:
    return versions.parse_document(found[name], record, name) if name in found else None


def _need(extra: str, *packages: str, why: str) -> None:
    """Raise InputError if a package of an extra is not installed."""
    if missing := extras.find_missing(extra, packages, why):
        raise InputError("cannot load a model", [missing])


# ONNX Runtime


def _with_graphs(path: Path, reference: str | None, hop: int | None) -> OpenModel:
    _need("predict", "onnxruntime", why=f"{reference or path} has ONNX graphs")
    from modelreg.runtime.pipeline import Pipeline

    pipeline = Pipeline.load(path)
    package = pipeline.package
    name = reference or pipeline.name
    return OpenModel(name, package.spec, package.normalization, package.calibration, hop, _OnnxEngine(pipeline))


class _OnnxEngine:
    """The ONNX graphs of an export. Their batch size is 1, so windows are computed one by one."""

    def __init__(self, pipeline: "Pipeline") -> None:
        self._pipeline = pipeline

    def compute(self, windows: Floats) -> Outputs:
        """Return the outputs of raw windows (N, C, D, T)."""
        spec = self._pipeline.spec
        logits = np.full((len(windows), len(spec.classes)), np.nan, dtype=np.float32)
        codes = None if spec.levels is None else np.zeros(len(windows), dtype=np.int64)
        for number, window in enumerate(windows):
            try:
                answer = self._pipeline.answer(window)
            except InputError:  # the window overflows: its row stays NaN
                continue
            logits[number] = answer.logits
            if codes is not None and answer.code_index is not None:
                codes[number] = answer.code_index
        return Outputs(logits, codes)


# torch


def _with_torch(reference: str, spec: ModelSpec, found: Mapping[str, bytes]) -> OpenModel:
    from modelreg.ml import prediction

    calibration = bundle_loader.parse_calibration(found)
    durations = _optional(found, filenames.HSMM, HsmmSpec)
    digest = files.sha256_bytes(found[filenames.CHECKPOINT])
    if strangers := list(bundle_loader.find_strangers(spec, calibration, durations, digest)):
        raise VerificationFailed(f"cannot load {reference}: its files are of different models", strangers)
    normalization = versions.parse_document(found[filenames.NORMALIZATION], Normalization, filenames.NORMALIZATION)
    network = prediction.fill_network(spec, found[filenames.CHECKPOINT], filenames.CHECKPOINT)
    return OpenModel(reference, spec, normalization, calibration, _hop(found), _TorchEngine(network, normalization))


class _TorchEngine:
    """A torch network with the weights of its checkpoint."""

    def __init__(self, network: "Network", normalization: Normalization) -> None:
        self._network, self._normalization = network, normalization

    def compute(self, windows: Floats) -> Outputs:
        """Return the outputs of raw windows (N, C, D, T)."""
        from modelreg.ml import prediction

        with np.errstate(over="ignore", invalid="ignore"):  # the caller refuses rows that are not finite
            found = prediction.predict(self._network, scaling.apply(windows, self._normalization))
        finite = np.isfinite(found.logits).all(axis=1, keepdims=True)
        return Outputs(np.where(finite, found.logits, np.float32(np.nan)), found.code_index)
