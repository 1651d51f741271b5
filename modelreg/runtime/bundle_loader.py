"""Read one export of a model into memory and verify the digest of each file.

An export is a bundle (a folder or a .tar.gz), a version (pulled or in the registry) or a run. The bytes that are
returned are the bytes that were hashed, so a later change of a file has no effect.
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.artifacts import bundle_archive, exports, graph_interface, npz, onnx_file
from modelreg.errors import InputError, Problem, VerificationFailed
from modelreg.records.base import AnyRecord
from modelreg.records.calibration import AnyConfidenceRecord, kind_of
from modelreg.records.data import Normalization
from modelreg.records.export import (
    CODE,
    GRAPHS,
    HAILO,
    LOGITS,
    PROJECTION,
    BundleRecord,
    GraphName,
    ParityRecord,
)
from modelreg.records.hsmm import HsmmSpec
from modelreg.records.model import ModelSpec
from modelreg.registry import filenames, sealed_files, versions

HEF = ".hef"
SEALED = (filenames.NORMALIZATION, filenames.HSMM)  # their digests are in run.json
NEEDED = (*filenames.GRAPH_FILES, filenames.PARITY, filenames.MODEL_CONFIG, filenames.NORMALIZATION)


class Package(NamedTuple):
    """One export of a model."""

    spec: ModelSpec
    normalization: Normalization
    version: str | None  # None: the export of a run
    graphs: Mapping[GraphName, bytes]
    parity: ParityRecord
    vectors: Mapping[str, NDArray[np.float32]] | None  # None: the export is older than test vectors
    calibration: AnyConfidenceRecord | None  # None: not calibrated
    durations: HsmmSpec | None  # None: the model system has none
    bundle: BundleRecord | None  # None: not read from a bundle
    hef: bytes | None


def read_export(path: Path, *, compiled: bool = False) -> Package:
    """Read the export in a folder or a .tar.gz; with `compiled`, the bundle for a Hailo device.

    Raises VerificationFailed if a file differs from its manifest or bundle.json, InputError if an export is missing.
    """
    if path.is_file():
        return _of_bundle(bundle_archive.unpack(path), path.name)
    if (path / filenames.BUNDLE).is_file():
        return _of_bundle(_bundle_files(path), path.name)
    if versions.is_version_folder(path):
        return _of_version(path, compiled=compiled)
    if (path / filenames.RUN).is_file():
        return _of_run(path, compiled=compiled)
    message = "not a version, a run or a bundle (a folder with bundle.json, or its .tar.gz)"
    raise _nothing(Problem(str(path), "bundle.not-found", message))


def _nothing(problem: Problem) -> InputError:
    """Return the error of a place without an export to load."""
    return InputError("cannot load the model", [problem])


# A bundle


def _bundle_files(folder: Path) -> dict[str, bytes]:
    """Return bundle.json, sha256sum.txt and the files that bundle.json lists; other files are never read."""
    record = versions.parse_document(files.read_bytes(folder / filenames.BUNDLE), BundleRecord, filenames.BUNDLE)
    names = [name for name in (*record.files, filenames.BUNDLE, filenames.SUMS) if _there(folder, name)]
    return {name: files.read_bytes(folder / name, bundle_archive.BUNDLE_LIMIT) for name in names}


def _of_bundle(found: Mapping[str, bytes], where: str) -> Package:
    if filenames.BUNDLE not in found:
        raise _nothing(Problem(where, "bundle.not-found", f"not a bundle: it has no {filenames.BUNDLE}"))
    record = versions.parse_document(found[filenames.BUNDLE], BundleRecord, filenames.BUNDLE)
    _refuse_changed(where, _bundle_problems(found, record))
    if filenames.MODEL_CONFIG not in found:
        message = f"{filenames.MODEL_CONFIG} is missing: modelreg 0.2 or earlier wrote this bundle"
        raise _nothing(Problem(where, "bundle.outdated", message))
    compiled = [name for name in record.files if name.endswith(HEF)]
    return _package(found, record.version, record, found[compiled[0]] if compiled else None)


def _bundle_problems(found: Mapping[str, bytes], record: BundleRecord) -> Iterator[Problem]:
    yield from sealed_files.find_differences(found, record.files)
    digests = {**record.files, filenames.BUNDLE: files.sha256_bytes(found[filenames.BUNDLE])}
    if found.get(filenames.SUMS) != files.sums_text(digests).encode():
        yield Problem(filenames.SUMS, "bundle.sums-mismatch", f"differs from the digests in {filenames.BUNDLE}")


# A version


def _of_version(folder: Path, *, compiled: bool) -> Package:
    if compiled or not (folder / filenames.ONNX / filenames.PARITY).is_file():
        _, manifest = sealed_files.read_manifest(folder)
        return _of_archive(folder, {entry.path: entry.sha256 for entry in manifest.files})
    manifest, found = sealed_files.read_version(folder, _is_needed)
    named = {path.removeprefix(f"{filenames.ONNX}/"): content for path, content in found.items()}
    return _package(named, manifest.version, None, None)


def _is_needed(path: str) -> bool:
    """Return whether inference reads this file of a version."""
    plain = (filenames.MODEL_CONFIG, filenames.NORMALIZATION, filenames.HSMM, filenames.CALIBRATION)
    return path in plain or path.startswith(f"{filenames.ONNX}/")


def _of_archive(folder: Path, listed: Mapping[str, str]) -> Package:
    """Return the only packed bundle of a version that is on this machine."""
    names = [name for target in HAILO if (name := f"{target}/{filenames.ARCHIVE}") in listed]
    here = [name for name in names if _there(folder, name)]
    if len(here) != 1:
        raise _nothing(_no_choice(names, here, folder))
    data = files.read_bytes(folder / here[0], bundle_archive.BUNDLE_LIMIT)
    _refuse_changed(folder.name, sealed_files.find_differences({here[0]: data}, {here[0]: listed[here[0]]}))
    return _of_bundle(bundle_archive.unpack_stream(io.BytesIO(data), here[0]), here[0])


def _no_choice(names: list[str], here: list[str], folder: Path) -> Problem:
    """Return why a version or a run has not exactly one bundle to load."""
    if here:
        paths = ", ".join(str(folder / name) for name in here)
        return Problem(folder.name, "bundle.ambiguous", f"has {len(here)} bundles: {paths}")
    if names:
        return Problem(folder.name, "bundle.not-pulled", f"{' and '.join(names)} not found on this machine")
    return Problem(folder.name, "bundle.missing", "has no bundle for a Hailo device")


# A run


def _of_run(folder: Path, *, compiled: bool) -> Package:
    bundles = [folder / target for target in HAILO if exports.has(folder, target)]
    if compiled:
        if len(bundles) != 1:
            names = [path.name for path in bundles]
            raise _nothing(_no_choice(names, names, folder))
        return _of_bundle(_bundle_files(bundles[0]), bundles[0].name)
    if not exports.has(folder, filenames.ONNX):
        raise _nothing(Problem(folder.name, "export.not-exported", "the run has no ONNX graphs"))
    changed = exports.find_changed(folder, filenames.ONNX)
    record, found = sealed_files.read_run(folder, SEALED.__contains__, changed)
    graphs = folder / filenames.ONNX
    found |= {
        path.name: files.read_bytes(path, bundle_archive.BUNDLE_LIMIT) for path in graphs.iterdir() if path.is_file()
    }
    later = [name for name in (filenames.HSMM, filenames.CALIBRATION) if name not in found and _there(folder, name)]
    found |= {name: files.read_bytes(folder / name) for name in later}  # run.json does not list what is fitted later
    return _package({**found, filenames.MODEL_CONFIG: record.model.to_bytes()}, None, None, None)


# All of them


def _package(
    found: Mapping[str, bytes], version: str | None, bundle: BundleRecord | None, hef: bytes | None
) -> Package:
    """Return the package of verified files.

    Raises InputError for an invalid document, VerificationFailed for documents that contradict each other.
    """
    missing = [Problem(name, "bundle.file-missing", "file not found") for name in NEEDED if name not in found]
    _refuse_changed("the export", missing)
    spec = versions.parse_document(found[filenames.MODEL_CONFIG], ModelSpec, filenames.MODEL_CONFIG)
    graphs: dict[GraphName, bytes] = {name: found[f"{name}.onnx"] for name in GRAPHS}
    made = Package(
        spec=spec,
        normalization=versions.parse_document(found[filenames.NORMALIZATION], Normalization, filenames.NORMALIZATION),
        version=version,
        graphs=graphs,
        parity=versions.parse_document(found[filenames.PARITY], ParityRecord, filenames.PARITY),
        vectors=_vectors(found, spec),
        calibration=parse_calibration(found),
        durations=_optional(found, filenames.HSMM, HsmmSpec),
        bundle=bundle,
        hef=hef,
    )
    foreign = find_strangers(spec, made.calibration, made.durations, made.parity.checkpoint_sha256)
    _refuse_changed(spec.settings.name, [*_misfits(graphs, spec), *foreign])
    return made


def parse_calibration(found: Mapping[str, bytes]) -> AnyConfidenceRecord | None:
    """Return the calibration.json among files, of any schema version; None if there is none. Raises InputError."""
    data = found.get(filenames.CALIBRATION)
    if data is None:
        return None
    return versions.parse_document(data, kind_of(data, filenames.CALIBRATION), filenames.CALIBRATION)


def _optional(found: Mapping[str, bytes], name: str, record: type[AnyRecord]) -> AnyRecord | None:
    return versions.parse_document(found[name], record, name) if name in found else None


def find_strangers(
    spec: ModelSpec, calibration: AnyConfidenceRecord | None, durations: HsmmSpec | None, checkpoint_sha256: str
) -> Iterator[Problem]:
    """Yield a problem for each document of the host part that is missing or belongs to another model."""
    if spec.smooths and durations is None:
        yield Problem(filenames.HSMM, "model.durations-missing", "file not found, but the model smooths by durations")
    if durations and durations.states != spec.classes:
        yield _other_classes(f"{filenames.HSMM}: states", durations.states, spec)
    if calibration and calibration.classes != spec.classes:
        yield _other_classes(f"{filenames.CALIBRATION}: classes", calibration.classes, spec)
    if calibration and calibration.checkpoint_sha256 != checkpoint_sha256:
        message = f"is {calibration.checkpoint_sha256[:12]}…, but the model's checkpoint is {checkpoint_sha256[:12]}…"
        yield Problem(f"{filenames.CALIBRATION}: checkpoint_sha256", "model.checkpoint-mismatch", message)


def _other_classes(where: str, found: tuple[str, ...], spec: ModelSpec) -> Problem:
    message = f"must be the model's classes {', '.join(spec.classes)}, but is {', '.join(found)}"
    return Problem(where, "model.classes-mismatch", message)


def _vectors(found: Mapping[str, bytes], spec: ModelSpec) -> dict[str, NDArray[np.float32]] | None:
    if filenames.VECTORS not in found:
        return None
    vectors = npz.parse_npz(found[filenames.VECTORS], filenames.VECTORS)
    count, dimensions = len(vectors.get("windows_raw", ())), spec.projection
    shapes = {
        "windows_raw": spec.input.shape,
        PROJECTION: (dimensions,),
        **({} if spec.levels is None else {CODE: (spec.code_width,)}),
        LOGITS: (len(spec.classes),),
    }
    for name, shape in shapes.items():
        array = vectors.get(name)
        if not count or array is None or (array.shape, array.dtype) != ((count, *shape), np.dtype(np.float32)):
            sizes = ", ".join(map(str, (count or "N", *shape)))
            problem = Problem(name, "bundle.vectors-invalid", f"must be float32 of shape ({sizes})")
            _refuse_changed(filenames.VECTORS, [problem])
    return vectors


def _misfits(graphs: Mapping[GraphName, bytes], spec: ModelSpec) -> Iterator[Problem]:
    for name, expected in graph_interface.interface(spec).items():
        graph = onnx_file.read_onnx(graphs[name], f"{name}.onnx")
        if (graph.inputs, graph.outputs) != expected:
            message = f"inputs and outputs do not match {filenames.MODEL_CONFIG}"
            yield Problem(f"{name}.onnx", "bundle.graph-mismatch", message)


def _refuse_changed(where: str, problems: Iterable[Problem]) -> None:
    if listed := list(problems):
        raise VerificationFailed(f"{where}: verification failed, the model was not loaded", listed)


def _there(folder: Path, name: str) -> bool:
    return (folder / name).is_file()
