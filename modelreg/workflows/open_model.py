"""A model that is ready to predict: from a version, a run or a bundle, by ONNX Runtime or by torch.

What has graphs is computed by ONNX Runtime, which needs no torch; what has none by torch, from its checkpoint. Which of
the two it is depends on the files that the manifest lists, never on what is installed. Each file that is read is
compared with its digest first, and graphs must answer their test vectors.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.artifacts import exports
from modelreg.data import normalization as scaling
from modelreg.errors import InputError, Problem, VerificationFailed
from modelreg.records.base import AnyRecord
from modelreg.records.calibration import ConfidenceRecord
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
    """What a network computes from N windows; K is the number of classes."""

    logits: Floats  # (N, K); NaN where a window's numbers are so large that those of the network overflow
    codes: NDArray[np.int64] | None  # (N,) index of the code; None: nothing is quantized


class Engine(Protocol):
    """What computes a model."""

    def compute(self, windows: Floats) -> Outputs:
        """Return the outputs of raw windows (N, C, D, T)."""
        ...


class OpenModel(NamedTuple):
    """A model with all that a prediction needs."""

    reference: str
    spec: ModelSpec
    normalization: Normalization
    calibration: ConfidenceRecord | None  # None: it is not calibrated
    hop: int | None  # samples between the windows of the training; None: a bundle does not say
    engine: Engine


def open_model(path: Path) -> OpenModel:
    """Open a version, a run or a bundle (its folder or its .tar.gz).

    Raises VerificationFailed where a file is not what its manifest says or a graph answers otherwise than it did when
    it was exported; InputError where there is no model, a file is not on this machine, or an extra is not installed.
    """
    if path.is_file() or (path / filenames.BUNDLE).is_file():
        return _with_graphs(path, None, None)
    if versions.is_version_folder(path):
        return _of_version(path)
    if (path / filenames.RUN).is_file():
        return _of_run(path)
    what = "is not a version, a run or a bundle (a folder with bundle.json, or its .tar.gz)"
    raise InputError("no model to load", [Problem(str(path), "todo.open-model", what)])


def _of_version(folder: Path) -> OpenModel:
    first = {filenames.MODEL_CONFIG, filenames.DATA, f"{filenames.ONNX}/{filenames.PARITY}"}
    manifest, sealed = sealed_files.read_version(folder, first.__contains__)
    reference = versions.Version(folder, manifest).reference
    _refuse_unlisted(manifest, reference)
    spec = versions.parse_document(sealed[filenames.MODEL_CONFIG], ModelSpec, filenames.MODEL_CONFIG)
    if spec.settings.name != manifest.model:
        what = f"is of {manifest.model}, but {filenames.MODEL_CONFIG} is of {spec.settings.name}"
        raise VerificationFailed(
            f"{reference} is not one model", [Problem(filenames.MANIFEST, "todo.open-model", what)]
        )
    paths = {entry.path for entry in manifest.files}
    has_graphs = any(path.startswith(f"{filenames.ONNX}/") for path in paths)
    _refuse_absent(folder, manifest, reference, f"{filenames.ONNX}/" if has_graphs else filenames.CHECKPOINT)
    if has_graphs:
        return _with_graphs(folder, reference, _hop(sealed))
    _need("train", "torch", "safetensors", why=f"{reference} has no graphs, so torch computes it")
    wanted = {filenames.CHECKPOINT, *BESIDE}
    _, found = sealed_files.read_version(folder, wanted.__contains__)
    return _with_torch(reference, spec, found)


def _refuse_unlisted(manifest: Manifest, reference: str) -> None:
    """Raise VerificationFailed where a manifest lacks what every version has."""
    listed = {entry.path for entry in manifest.files}
    needed = (filenames.MODEL_CONFIG, filenames.NORMALIZATION, filenames.CHECKPOINT)
    if missing := [
        Problem(filenames.MANIFEST, "todo.open-model", f"does not list {name}") for name in needed if name not in listed
    ]:
        raise VerificationFailed(f"{reference} is not whole", missing)


def _refuse_absent(folder: Path, manifest: Manifest, reference: str, prefix: str) -> None:
    """Raise InputError where files that travel as assets of a release are not on this machine."""
    assets = [entry.path for entry in manifest.files if entry.stored == "asset" and entry.path.startswith(prefix)]
    if absent := [path for path in assets if not (folder / path).exists()]:
        what = f"files are not on this machine; get them with `modelreg pull {reference}`"
        raise InputError(
            f"{reference}: {what}", [Problem(path, "todo.open-model", "is stored with the release") for path in absent]
        )


def _of_run(folder: Path) -> OpenModel:
    if exports.has(folder, filenames.ONNX):
        _, found = sealed_files.read_run(folder, {filenames.DATA}.__contains__)
        return _with_graphs(folder, folder.name, _hop(found))
    _need("train", "torch", "safetensors", why=f"{folder} has no graphs, so torch computes it")
    run, found = sealed_files.read_run(folder, {filenames.CHECKPOINT, *BESIDE}.__contains__)
    if run.status != "trained":
        what = f"its training was interrupted; finish it with `modelreg train --resume {folder}`"
        raise InputError("no model to load", [Problem(str(folder), "todo.open-model", what)])
    fitted_later = [name for name in BESIDE if name not in found and (folder / name).is_file()]
    return _with_torch(folder.name, run.model, {**found, **{n: files.read_bytes(folder / n) for n in fitted_later}})


def _hop(found: Mapping[str, bytes]) -> int | None:
    data = _optional(found, filenames.DATA, DataRecord)
    return data.hop if data else None


def _optional(found: Mapping[str, bytes], name: str, record: type[AnyRecord]) -> AnyRecord | None:
    return versions.parse_document(found[name], record, name) if name in found else None


def _need(extra: str, *packages: str, why: str) -> None:
    """Raise InputError where a package of an extra is not installed."""
    if missing := [package for package in packages if find_spec(package) is None]:
        summary = f"{', '.join(missing)} not installed; pip install 'modelreg[{extra}]'"
        raise InputError(
            summary, [Problem(package, "todo.open-model", f"is not installed; {why}") for package in missing]
        )


# ONNX Runtime


def _with_graphs(path: Path, reference: str | None, hop: int | None) -> OpenModel:
    _need("predict", "onnxruntime", why=f"it computes the graphs of {reference or path}")
    from modelreg.runtime.pipeline import Pipeline

    pipeline = Pipeline.load(path)
    package = pipeline.package
    name = reference or pipeline.name
    return OpenModel(name, package.spec, package.normalization, package.calibration, hop, _OnnxEngine(pipeline))


class _OnnxEngine:
    """The graphs of an export, window by window: their batch is one."""

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
            except InputError:  # its numbers overflow: the row stays NaN
                continue
            logits[number] = answer.logits
            if codes is not None and answer.code_index is not None:
                codes[number] = answer.code_index
        return Outputs(logits, codes)


# torch


def _with_torch(reference: str, spec: ModelSpec, found: Mapping[str, bytes]) -> OpenModel:
    from modelreg.ml import prediction

    calibration = _optional(found, filenames.CALIBRATION, ConfidenceRecord)
    durations = _optional(found, filenames.HSMM, HsmmSpec)
    digest = files.sha256_bytes(found[filenames.CHECKPOINT])
    if strangers := list(bundle_loader.find_strangers(spec, calibration, durations, digest)):
        raise VerificationFailed(f"{reference}: its files are of different models", strangers)
    normalization = versions.parse_document(found[filenames.NORMALIZATION], Normalization, filenames.NORMALIZATION)
    network = prediction.fill_network(spec, found[filenames.CHECKPOINT], filenames.CHECKPOINT)
    return OpenModel(reference, spec, normalization, calibration, _hop(found), _TorchEngine(network, normalization))


class _TorchEngine:
    """A network filled from its checkpoint."""

    def __init__(self, network: "Network", normalization: Normalization) -> None:
        self._network, self._normalization = network, normalization

    def compute(self, windows: Floats) -> Outputs:
        """Return the outputs of raw windows (N, C, D, T)."""
        from modelreg.ml import prediction

        with np.errstate(over="ignore", invalid="ignore"):  # rows that are not finite are refused by the caller
            found = prediction.predict(self._network, scaling.apply(windows, self._normalization))
        finite = np.isfinite(found.logits).all(axis=1, keepdims=True)
        return Outputs(np.where(finite, found.logits, np.float32(np.nan)), found.code_index)
