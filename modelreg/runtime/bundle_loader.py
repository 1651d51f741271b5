"""What a runtime is made of: one export of a model, read into memory, each byte hashed before it is believed.

An export is found in a bundle (its folder or its .tar.gz), in a version, pulled or of the registry, and in a run.
What is returned are the very bytes that were hashed: a file that changes afterwards changes nothing.
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
from modelreg.records.calibration import ConfidenceRecord
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
SEALED = (filenames.NORMALIZATION, filenames.HSMM)  # by run.json
NEEDED = (*filenames.GRAPH_FILES, filenames.PARITY, filenames.MODEL_CONFIG, filenames.NORMALIZATION)


class Package(NamedTuple):
    """One export of a model."""

    spec: ModelSpec
    normalization: Normalization
    version: str | None  # None: of a run that was not released
    graphs: Mapping[GraphName, bytes]
    parity: ParityRecord
    vectors: Mapping[str, NDArray[np.float32]] | None  # None: exported before there were any
    calibration: ConfidenceRecord | None  # None: not calibrated
    durations: HsmmSpec | None  # None: of a system without
    bundle: BundleRecord | None  # None: without a bundle for a device
    hef: bytes | None


def read_export(path: Path, *, compiled: bool = False) -> Package:
    """Read the export in a folder or a .tar.gz; `compiled`: one with a HEF for a device.

    Raises VerificationFailed where a file is not what its manifest or bundle.json says, InputError where there is no
    export to run.
    """
    if path.is_file():
        return _of_bundle(bundle_archive.unpack(path), path.name)
    if (path / filenames.BUNDLE).is_file():
        return _of_bundle(_bundle_files(path), path.name)
    if versions.is_version_folder(path):
        return _of_version(path, compiled=compiled)
    if (path / filenames.RUN).is_file():
        return _of_run(path, compiled=compiled)
    what = "is no version, no run and no bundle (a folder with bundle.json, or its .tar.gz)"
    raise InputError("nothing to run", [Problem(str(path), "todo.bundle-loader", what)])


# A bundle


def _bundle_files(folder: Path) -> dict[str, bytes]:
    """Return the files that bundle.json lists, and those that list them; what else lies there is never read."""
    record = versions.parse_document(files.read_bytes(folder / filenames.BUNDLE), BundleRecord, filenames.BUNDLE)
    names = [name for name in (*record.files, filenames.BUNDLE, filenames.SUMS) if _there(folder, name)]
    return {name: files.read_bytes(folder / name, bundle_archive.BUNDLE_LIMIT) for name in names}


def _of_bundle(found: Mapping[str, bytes], where: str) -> Package:
    if filenames.BUNDLE not in found:
        raise InputError("nothing to run", [Problem(where, "todo.bundle-loader", f"holds no {filenames.BUNDLE}")])
    record = versions.parse_document(found[filenames.BUNDLE], BundleRecord, filenames.BUNDLE)
    _refuse_changed(where, _bundle_problems(found, record))
    if filenames.MODEL_CONFIG not in found:
        what = f"holds no {filenames.MODEL_CONFIG}: it is of modelreg 0.2; export it again"
        raise InputError("nothing to run", [Problem(where, "todo.bundle-loader", what)])
    compiled = [name for name in record.files if name.endswith(HEF)]
    return _package(found, record.version, record, found[compiled[0]] if compiled else None)


def _bundle_problems(found: Mapping[str, bytes], record: BundleRecord) -> Iterator[Problem]:
    yield from sealed_files.find_differences(found, record.files)
    digests = {**record.files, filenames.BUNDLE: files.sha256_bytes(found[filenames.BUNDLE])}
    if found.get(filenames.SUMS) != files.sums_text(digests).encode():
        yield Problem(filenames.SUMS, "todo.bundle-loader", f"does not say what {filenames.BUNDLE} says")


# A version


def _of_version(folder: Path, *, compiled: bool) -> Package:
    if compiled or not (folder / filenames.ONNX / filenames.PARITY).is_file():
        _, manifest = sealed_files.read_manifest(folder)
        return _of_archive(folder, {entry.path: entry.sha256 for entry in manifest.files})
    manifest, found = sealed_files.read_version(folder, _is_needed)
    named = {path.removeprefix(f"{filenames.ONNX}/"): content for path, content in found.items()}
    return _package(named, manifest.version, None, None)


def _is_needed(path: str) -> bool:
    """Return whether a runtime reads this file of a version."""
    plain = (filenames.MODEL_CONFIG, filenames.NORMALIZATION, filenames.HSMM, filenames.CALIBRATION)
    return path in plain or path.startswith(f"{filenames.ONNX}/")


def _of_archive(folder: Path, listed: Mapping[str, str]) -> Package:
    """Return the one packed bundle of a version that is here."""
    names = [name for target in HAILO if (name := f"{target}/{filenames.ARCHIVE}") in listed]
    here = [name for name in names if _there(folder, name)]
    if len(here) != 1:
        raise InputError("nothing to run", [Problem(folder.name, "todo.bundle-loader", _choice(names, here, folder))])
    data = files.read_bytes(folder / here[0], bundle_archive.BUNDLE_LIMIT)
    _refuse_changed(folder.name, sealed_files.find_differences({here[0]: data}, {here[0]: listed[here[0]]}))
    return _of_bundle(bundle_archive.unpack_stream(io.BytesIO(data), here[0]), here[0])


def _choice(names: list[str], here: list[str], folder: Path) -> str:
    if here:
        return f"has several bundles; name one of them: {', '.join(str(folder / name) for name in here)}"
    if names:
        return "its bundle is not on this machine; get it with `modelreg pull VERSION --only bundle`"
    return "has no bundle for a Hailo device; make one with `modelreg export --target hailo8`"


# A run


def _of_run(folder: Path, *, compiled: bool) -> Package:
    bundles = [folder / target for target in HAILO if exports.has(folder, target)]
    if compiled:
        if len(bundles) != 1:
            names = [path.name for path in bundles]
            raise InputError(
                "nothing to run", [Problem(folder.name, "todo.bundle-loader", _choice(names, names, folder))]
            )
        return _of_bundle(_bundle_files(bundles[0]), bundles[0].name)
    if not exports.has(folder, filenames.ONNX):
        what = "was not exported; export it with `modelreg export`"
        raise InputError("nothing to run", [Problem(folder.name, "todo.bundle-loader", what)])
    changed = exports.find_changed(folder, filenames.ONNX)
    record, found = sealed_files.read_run(folder, SEALED.__contains__, changed)
    graphs = folder / filenames.ONNX
    found |= {
        path.name: files.read_bytes(path, bundle_archive.BUNDLE_LIMIT) for path in graphs.iterdir() if path.is_file()
    }
    beside = [name for name in (filenames.HSMM, filenames.CALIBRATION) if name not in found and _there(folder, name)]
    found |= {name: files.read_bytes(folder / name) for name in beside}  # run.json does not list what is fitted later
    return _package({**found, filenames.MODEL_CONFIG: record.model.to_bytes()}, None, None, None)


# All of them


def _package(
    found: Mapping[str, bytes], version: str | None, bundle: BundleRecord | None, hef: bytes | None
) -> Package:
    """Return what hashed files make. Raises InputError on a broken document, VerificationFailed on a misfit."""
    _refuse_changed(
        "the export", (Problem(name, "todo.bundle-loader", "is missing") for name in NEEDED if name not in found)
    )
    spec = versions.parse_document(found[filenames.MODEL_CONFIG], ModelSpec, filenames.MODEL_CONFIG)
    graphs: dict[GraphName, bytes] = {name: found[f"{name}.onnx"] for name in GRAPHS}
    made = Package(
        spec=spec,
        normalization=versions.parse_document(found[filenames.NORMALIZATION], Normalization, filenames.NORMALIZATION),
        version=version,
        graphs=graphs,
        parity=versions.parse_document(found[filenames.PARITY], ParityRecord, filenames.PARITY),
        vectors=_vectors(found, spec),
        calibration=_optional(found, filenames.CALIBRATION, ConfidenceRecord),
        durations=_optional(found, filenames.HSMM, HsmmSpec),
        bundle=bundle,
        hef=hef,
    )
    strangers = find_strangers(spec, made.calibration, made.durations, made.parity.checkpoint_sha256)
    _refuse_changed(spec.settings.name, [*_misfits(graphs, spec), *strangers])
    return made


def _optional(found: Mapping[str, bytes], name: str, record: type[AnyRecord]) -> AnyRecord | None:
    return versions.parse_document(found[name], record, name) if name in found else None


def find_strangers(
    spec: ModelSpec, calibration: ConfidenceRecord | None, durations: HsmmSpec | None, checkpoint_sha256: str
) -> Iterator[Problem]:
    """Yield where what the host needs beside the network is missing, or of another model."""
    if spec.smooths and durations is None:
        yield Problem(filenames.HSMM, "todo.bundle-loader", "is missing")
    if durations and durations.states != spec.classes:
        yield Problem(f"{filenames.HSMM}: states", "todo.bundle-loader", "are not the classes of the model")
    if calibration and calibration.classes != spec.classes:
        yield Problem(f"{filenames.CALIBRATION}: classes", "todo.bundle-loader", "are not the classes of the model")
    if calibration and calibration.checkpoint_sha256 != checkpoint_sha256:
        yield Problem(f"{filenames.CALIBRATION}: checkpoint_sha256", "todo.bundle-loader", "is of other weights")


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
            _refuse_changed(
                filenames.VECTORS,
                [Problem(name, "todo.bundle-loader", f"must be float32 of shape ({count or 'N'}, {shape})")],
            )
    return vectors


def _misfits(graphs: Mapping[GraphName, bytes], spec: ModelSpec) -> Iterator[Problem]:
    for name, wanted in graph_interface.interface(spec).items():
        graph = onnx_file.read_onnx(graphs[name], f"{name}.onnx")
        if (graph.inputs, graph.outputs) != wanted:
            yield Problem(
                f"{name}.onnx",
                "todo.bundle-loader",
                f"takes and gives other tensors than {filenames.MODEL_CONFIG} says",
            )


def _refuse_changed(where: str, problems: Iterable[Problem]) -> None:
    if listed := list(problems):
        raise VerificationFailed(f"{where} is not what was exported; nothing was started", listed)


def _there(folder: Path, name: str) -> bool:
    return (folder / name).is_file()
