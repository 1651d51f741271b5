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
from modelreg.records.base import AnyRecord, validate
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
from modelreg.records.manifest import Manifest
from modelreg.records.model import ModelSpec
from modelreg.records.run import RunRecord
from modelreg.registry import filenames, versions

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


def read(path: Path, *, compiled: bool = False) -> Package:
    """Read the export in a folder or a .tar.gz; `compiled`: one with a HEF for a device.

    Raises VerificationFailed where a file is not what its manifest or bundle.json says, InputError where there is no
    export to run.
    """
    if path.is_file():
        return _of_bundle(bundle_archive.unpack(path), path.name)
    if (path / filenames.BUNDLE).is_file():
        return _of_bundle(_bundle_files(path), path.name)
    if (path / filenames.MANIFEST).is_file():
        return _of_version(path, compiled=compiled)
    if (path / filenames.RUN).is_file():
        return _of_run(path, compiled=compiled)
    what = "is no version, no run and no bundle (a folder with bundle.json, or its .tar.gz)"
    raise InputError("nothing to run", [Problem(str(path), what)])


# A bundle


def _bundle_files(folder: Path) -> dict[str, bytes]:
    """Return the files that bundle.json lists, and those that list them; what else lies there is never read."""
    record = _document(files.read_bytes(folder / filenames.BUNDLE), BundleRecord, filenames.BUNDLE)
    names = [name for name in (*record.files, filenames.BUNDLE, filenames.SUMS) if _there(folder, name)]
    return {name: files.read_bytes(folder / name, bundle_archive.BUNDLE_LIMIT) for name in names}


def _of_bundle(found: Mapping[str, bytes], where: str) -> Package:
    if filenames.BUNDLE not in found:
        raise InputError("nothing to run", [Problem(where, f"holds no {filenames.BUNDLE}")])
    record = _document(found[filenames.BUNDLE], BundleRecord, filenames.BUNDLE)
    _refuse_changed(where, _bundle_problems(found, record))
    if filenames.MODEL_CONFIG not in found:
        what = f"holds no {filenames.MODEL_CONFIG}: it is of modelreg 0.2; export it again"
        raise InputError("nothing to run", [Problem(where, what)])
    compiled = [name for name in record.files if name.endswith(HEF)]
    return _package(found, record.version, record, found[compiled[0]] if compiled else None)


def _bundle_problems(found: Mapping[str, bytes], record: BundleRecord) -> Iterator[Problem]:
    yield from _differences(found, record.files)
    digests = {**record.files, filenames.BUNDLE: files.sha256_bytes(found[filenames.BUNDLE])}
    if found.get(filenames.SUMS) != files.sums_text(digests).encode():
        yield Problem(filenames.SUMS, f"does not say what {filenames.BUNDLE} says")


# A version


def _of_version(folder: Path, *, compiled: bool) -> Package:
    data = files.read_bytes(folder / filenames.MANIFEST)
    manifest = _document(data, Manifest, filenames.MANIFEST)
    listed = {entry.path: entry.sha256 for entry in manifest.files}
    graphs = f"{filenames.ONNX}/{filenames.PARITY}"
    if compiled or not (folder / graphs).is_file():
        return _of_archive(folder, listed)
    wanted = _wanted(listed)
    found = {
        path: files.read_bytes(folder / path, bundle_archive.BUNDLE_LIMIT) for path in wanted if _there(folder, path)
    }
    _refuse_changed(folder.name, _version_problems(found, wanted, folder, manifest))
    named = {path.removeprefix(f"{filenames.ONNX}/"): content for path, content in found.items()}
    return _package(named, manifest.version, None, None)


def _wanted(listed: Mapping[str, str]) -> dict[str, str]:
    """Return what a runtime reads of a version, with its digests."""
    plain = (filenames.MODEL_CONFIG, filenames.NORMALIZATION, filenames.HSMM, filenames.CALIBRATION)
    return {p: digest for p, digest in listed.items() if p in plain or p.startswith(f"{filenames.ONNX}/")}


def _version_problems(
    found: Mapping[str, bytes], wanted: Mapping[str, str], folder: Path, manifest: Manifest
) -> Iterator[Problem]:
    yield from _differences(found, wanted)
    expected = versions.sums_text(manifest, files.sha256(folder / filenames.MANIFEST)).encode()
    if not _there(folder, filenames.SUMS) or files.read_bytes(folder / filenames.SUMS) != expected:
        yield Problem(filenames.SUMS, f"does not say what {filenames.MANIFEST} says")


def _of_archive(folder: Path, listed: Mapping[str, str]) -> Package:
    """Return the one packed bundle of a version that is here."""
    names = [name for target in HAILO if (name := f"{target}/{filenames.ARCHIVE}") in listed]
    here = [name for name in names if _there(folder, name)]
    if len(here) != 1:
        raise InputError("nothing to run", [Problem(folder.name, _choice(names, here, folder))])
    data = files.read_bytes(folder / here[0], bundle_archive.BUNDLE_LIMIT)
    _refuse_changed(folder.name, _differences({here[0]: data}, {here[0]: listed[here[0]]}))
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
            raise InputError("nothing to run", [Problem(folder.name, _choice(names, names, folder))])
        return _of_bundle(_bundle_files(bundles[0]), bundles[0].name)
    if not exports.has(folder, filenames.ONNX):
        what = "was not exported; export it with `modelreg export`"
        raise InputError("nothing to run", [Problem(folder.name, what)])
    record = _document(files.read_bytes(folder / filenames.RUN), RunRecord, filenames.RUN)
    changed = [*exports.find_changed(folder, filenames.ONNX), *_sealed_changed(folder, record)]
    _refuse_changed(folder.name, changed)
    graphs = folder / filenames.ONNX
    found = {
        path.name: files.read_bytes(path, bundle_archive.BUNDLE_LIMIT) for path in graphs.iterdir() if path.is_file()
    }
    beside = [name for name in (*SEALED, filenames.CALIBRATION) if _there(folder, name)]
    found |= {name: files.read_bytes(folder / name) for name in beside}
    return _package({**found, filenames.MODEL_CONFIG: record.model.to_bytes()}, None, None, None)


def _sealed_changed(folder: Path, record: RunRecord) -> Iterator[Problem]:
    stated = {name: digest for name, digest in record.files.items() if name in SEALED}
    found = {name: files.read_bytes(folder / name) for name in stated if _there(folder, name)}
    yield from _differences(found, stated)


# All of them


def _package(
    found: Mapping[str, bytes], version: str | None, bundle: BundleRecord | None, hef: bytes | None
) -> Package:
    """Return what hashed files make. Raises InputError on a broken document, VerificationFailed on a misfit."""
    _refuse_changed("the export", (Problem(name, "is missing") for name in NEEDED if name not in found))
    spec = _document(found[filenames.MODEL_CONFIG], ModelSpec, filenames.MODEL_CONFIG)
    graphs: dict[GraphName, bytes] = {name: found[f"{name}.onnx"] for name in GRAPHS}
    made = Package(
        spec=spec,
        normalization=_document(found[filenames.NORMALIZATION], Normalization, filenames.NORMALIZATION),
        version=version,
        graphs=graphs,
        parity=_document(found[filenames.PARITY], ParityRecord, filenames.PARITY),
        vectors=_vectors(found, spec),
        calibration=_optional(found, filenames.CALIBRATION, ConfidenceRecord),
        durations=_optional(found, filenames.HSMM, HsmmSpec),
        bundle=bundle,
        hef=hef,
    )
    _refuse_changed(spec.settings.name, [*_misfits(graphs, spec), *_strangers(made)])
    return made


def _optional(found: Mapping[str, bytes], name: str, record: type[AnyRecord]) -> AnyRecord | None:
    return _document(found[name], record, name) if name in found else None


def _strangers(made: Package) -> Iterator[Problem]:
    """Yield where what the host needs beside the graphs is missing, or of another model."""
    classes, durations, calibration = made.spec.classes, made.durations, made.calibration
    if made.spec.smooths and durations is None:
        yield Problem(filenames.HSMM, "is missing")
    if durations and durations.states != classes:
        yield Problem(f"{filenames.HSMM}: states", "are not the classes of the model")
    if calibration and calibration.classes != classes:
        yield Problem(f"{filenames.CALIBRATION}: classes", "are not the classes of the model")
    if calibration and calibration.checkpoint_sha256 != made.parity.checkpoint_sha256:
        yield Problem(f"{filenames.CALIBRATION}: checkpoint_sha256", "is of other weights")


def _vectors(found: Mapping[str, bytes], spec: ModelSpec) -> dict[str, NDArray[np.float32]] | None:
    if filenames.VECTORS not in found:
        return None
    vectors = npz.parse(found[filenames.VECTORS], filenames.VECTORS)
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
            _refuse_changed(filenames.VECTORS, [Problem(name, f"must be float32 of shape ({count or 'N'}, {shape})")])
    return vectors


def _misfits(graphs: Mapping[GraphName, bytes], spec: ModelSpec) -> Iterator[Problem]:
    for name, wanted in graph_interface.interface(spec).items():
        graph = onnx_file.read(graphs[name], f"{name}.onnx")
        if (graph.inputs, graph.outputs) != wanted:
            yield Problem(f"{name}.onnx", f"takes and gives other tensors than {filenames.MODEL_CONFIG} says")


def _differences(found: Mapping[str, bytes], stated: Mapping[str, str]) -> Iterator[Problem]:
    for name, digest in sorted(stated.items()):
        if name not in found:
            yield Problem(name, "is missing")
        elif (now := files.sha256_bytes(found[name])) != digest:
            yield Problem(name, f"has sha256 {now}, not {digest}")


def _refuse_changed(where: str, problems: Iterable[Problem]) -> None:
    if listed := list(problems):
        raise VerificationFailed(f"{where} is not what was exported; nothing was started", listed)


def _document(data: bytes, record: type[AnyRecord], where: str) -> AnyRecord:
    """Read a document that was held against its schema when it was made: strict JSON and the record are enough."""
    files.parse_json(data, where)
    return validate(data, record, where)


def _there(folder: Path, name: str) -> bool:
    return (folder / name).is_file()
