"""Check that a version's graphs and bundles were exported from its checkpoint and match their records.

Nothing is executed: digests, interfaces and records are compared.
"""

import io
from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np

from modelreg import files
from modelreg.artifacts import bundle_archive, bundle_hef, exports, graph_interface, hef_compatibility, npz, onnx_file
from modelreg.errors import InputError, Notice, Problem
from modelreg.records.base import load
from modelreg.records.data import DataRecord, PartName
from modelreg.records.export import (
    GRAPHS,
    HAILO,
    BundleRecord,
    GraphName,
    ParityRecord,
    Target,
)
from modelreg.records.int8 import Int8Estimate
from modelreg.records.model import ModelSpec
from modelreg.registry import filenames
from modelreg.verification.version_files import VersionFiles, equal, unlisted

GRAPHS_READ = tuple(f"{filenames.ONNX}/{name}" for name in (filenames.PARITY, *filenames.GRAPH_FILES))
BUNDLES_READ = tuple(
    f"{target}/{name}" for target in HAILO for name in (filenames.BUNDLE, filenames.INT8, filenames.ARCHIVE)
)


def find_graph_problems(here: VersionFiles, spec: ModelSpec) -> Iterator[Problem]:
    """Yield problems of a version's graphs: another checkpoint, or other graphs than those of parity.json."""
    listed = here.digests.keys()
    if any(path.startswith(f"{filenames.ONNX}/") for path in listed):
        yield from _find_unlisted(listed, filenames.ONNX, (*filenames.GRAPH_FILES, filenames.PARITY))
        if f"{filenames.ONNX}/{filenames.PARITY}" in here.present:
            yield from _compare_graphs(here, spec)


def find_bundle_problems(here: VersionFiles, spec: ModelSpec, data: DataRecord) -> Iterator[Problem | Notice]:
    """Yield problems of a version's bundles: another checkpoint, other data, contents that differ from bundle.json.

    What a HEF does not state is a notice.
    """
    listed = here.digests.keys()
    for target in HAILO:
        if any(path.startswith(f"{target}/") for path in listed):
            yield from _find_unlisted(listed, target, (filenames.BUNDLE, filenames.ARCHIVE))
            if f"{target}/{filenames.BUNDLE}" in here.present:
                yield from _compare_bundle(target, here, spec, data)


def _find_unlisted(listed: Collection[str], part: str, names: tuple[str, ...]) -> Iterator[Problem]:
    for name in names:
        if f"{part}/{name}" not in listed:
            yield unlisted(f"{part}/{name}")


def _compare_graphs(here: VersionFiles, spec: ModelSpec) -> Iterator[Problem]:
    where = f"{filenames.ONNX}/{filenames.PARITY}"
    try:
        parity = exports.parity_of(here.folder)
    except InputError as error:
        yield from error.problems
        return
    yield from _find_strangers(where, parity, here, spec)
    yield from _find_breaches(parity, where)
    vectors = here.digests.get(f"{filenames.ONNX}/{filenames.VECTORS}")
    yield from equal(where, "vectors_sha256", parity.vectors_sha256, vectors)
    for name in GRAPHS:
        path = f"{filenames.ONNX}/{name}.onnx"
        if path in here.present:
            data = files.read_bytes(here.folder / path, onnx_file.GRAPH_LIMIT)
            yield from find_misfits(data, name, parity, here, spec)


def _find_strangers(
    where: str, record: ParityRecord | BundleRecord | Int8Estimate, here: VersionFiles, spec: ModelSpec
) -> Iterator[Problem]:
    """Yield where the record of an export names another model, checkpoint or normalization."""
    for key, stated, other in (
        ("model", record.model, spec.settings.name),
        ("checkpoint_sha256", record.checkpoint_sha256, here.digests.get(filenames.CHECKPOINT)),
        ("normalization_sha256", record.normalization_sha256, here.digests.get(filenames.NORMALIZATION)),
    ):
        yield from equal(where, key, stated, other)


def _find_breaches(parity: ParityRecord, where: str) -> Iterator[Problem]:
    """Yield where the recorded numbers do not prove parity."""
    for name, path in (("whole", parity.whole), ("split", parity.split)):
        if path.codes_different > path.codes_near_boundary:
            what = (
                f"{path.codes_different} codes differ, at most {path.codes_near_boundary} are near a rounding boundary"
            )
            yield Problem(f"{where}: {name}.codes_different", "export.parity-not-proven", what)
        if path.argmax_compared + path.codes_different < parity.windows:
            what = f"{path.argmax_compared} windows compared, expected {parity.windows - path.codes_different} or more"
            yield Problem(f"{where}: {name}.argmax_compared", "export.parity-not-proven", what)
    yield from equal(where, "graphs", sorted(parity.graphs), sorted(GRAPHS))


def find_misfits(
    data: bytes, name: GraphName, parity: ParityRecord, here: VersionFiles, spec: ModelSpec
) -> Iterator[Problem]:
    """Yield where a graph of a version is not the one of parity.json, or not of this model."""
    where = f"{filenames.ONNX}/{name}.onnx"
    proven = onnx_file.unstamp(data, here.version)
    if proven is None:
        what = f"the metadata does not end with version {here.version}"
        yield Problem(where, "export.version-missing", what)
        return
    stated = parity.graphs.get(name)
    if stated is None or files.sha256_bytes(proven) != stated.sha256:
        what = f"the graph without its version is not the one that {filenames.PARITY} lists"
        yield Problem(where, "export.graph-mismatch", what)
        return
    try:
        graph = onnx_file.read_onnx(data, where)
    except InputError as error:
        yield from error.problems
        return
    inputs, outputs = graph_interface.interface(spec)[name]
    metadata = {**graph_interface.metadata(spec, here.digests), onnx_file.VERSION_KEY: here.version}
    for key, found, other in (
        ("inputs", graph.inputs, inputs),
        ("outputs", graph.outputs, outputs),
        ("opset", graph.opset, parity.opset),
        ("metadata", graph.metadata, metadata),
        (f"{filenames.PARITY}: inputs", stated.inputs, inputs),
        (f"{filenames.PARITY}: outputs", stated.outputs, outputs),
        (f"{filenames.PARITY}: operators", stated.operators, graph.operators),
    ):
        yield from equal(where, key, found, other)


def _compare_bundle(
    target: Target, here: VersionFiles, spec: ModelSpec, data: DataRecord
) -> Iterator[Problem | Notice]:
    folder = here.folder
    where, estimated = f"{target}/{filenames.BUNDLE}", f"{target}/{filenames.INT8}"
    try:
        record = load(folder / where, BundleRecord)
        estimate = load(folder / estimated, Int8Estimate) if estimated in here.present else None
    except InputError as error:
        yield from error.problems
        return
    yield from _find_strangers(where, record, here, spec)
    yield from find_contradictions(record, target, where, here, spec, data)
    if record.hef:
        yield from (notice.under(f"{where}: hef") for notice in hef_compatibility.find_unchecked(record.hef))
    if estimate:
        yield from _find_estimate_problems(estimate, record, estimated, here, spec, data)
    archive = f"{target}/{filenames.ARCHIVE}"
    if archive in here.present:
        try:
            bundle = bundle_archive.unpack(folder / archive)
        except InputError as error:
            yield from error.problems
            return
        if bundle.get(filenames.BUNDLE) != files.read_bytes(folder / where):
            what = f"its {filenames.BUNDLE} is not the {filenames.BUNDLE} of the version"
            yield Problem(archive, "bundle.archive-mismatch", what)
        elif bundle != _sealed_again(bundle, record):
            what = f"its files are not those that its {filenames.BUNDLE} and {filenames.SUMS} list"
            yield Problem(archive, "bundle.archive-mismatch", what)
        else:
            yield from find_calibration_problems(bundle, record, archive)
            yield from _within(archive, bundle_hef.find_file_problems(bundle, record))


def _find_estimate_problems(
    estimate: Int8Estimate, record: BundleRecord, where: str, here: VersionFiles, spec: ModelSpec, data: DataRecord
) -> Iterator[Problem]:
    yield from _find_strangers(where, estimate, here, spec)
    yield from equal(where, f"int8 of {filenames.BUNDLE}", record.int8 or estimate.summary, estimate.summary)
    judged: PartName = "test" if data.parts.test else "train"
    yield from equal(where, "part", estimate.part, judged)
    yield from equal(where, "windows", estimate.windows, data.parts[judged].windows)


def _sealed_again(bundle: Mapping[str, bytes], record: BundleRecord) -> dict[str, bytes]:
    """Return the bundle with bundle.json and sha256sum.txt written again for its files."""
    return bundle_archive.reseal(
        {name: data for name, data in bundle.items() if name not in (filenames.BUNDLE, filenames.SUMS)}, record
    )


def _if_bundled(record: BundleRecord, here: VersionFiles) -> str | None:
    """Return the digest of the version's calibration, or None if the bundle was exported before the calibration."""
    return here.digests.get(filenames.CALIBRATION) if filenames.CALIBRATION in record.files else None


def find_contradictions(
    record: BundleRecord, target: Target, where: str, here: VersionFiles, spec: ModelSpec, data: DataRecord
) -> Iterator[Problem]:
    """Yield where bundle.json differs from the model and its data."""
    channels, rows, steps = spec.input.shape
    (window,), (projection,) = graph_interface.interface(spec)["encoder"]
    counts = data.parts.train.class_windows
    shape = record.calibration.shape
    for key, stated, other in (
        ("version", record.version, here.version),
        ("hw_arch", record.hw_arch, target),
        ("classes", record.classes, spec.classes),
        ("channels", record.channels, spec.input.channels),
        ("devices", record.devices, spec.input.devices),
        ("input", record.input, window),
        ("output", record.output, projection),
        ("device_input", record.device_input, (rows, steps, channels)),
        ("calibration.shape", shape[1:], (rows, steps, channels)),
        ("calibration.class_windows", sum(record.calibration.class_windows.values()), shape[0]),
        ("calibration.values", record.calibration.values, "raw" if record.normalization == "chip" else "normalized"),
        ("files: calibration.npy", record.files.get("calibration.npy"), record.calibration.sha256),
        (f"files: {filenames.HSMM}", record.files.get(filenames.HSMM), here.digests.get(filenames.HSMM)),
        (f"files: {filenames.INT8}", record.files.get(filenames.INT8), here.digests.get(f"{target}/{filenames.INT8}")),
        ("files: normalization.json", record.files.get(filenames.NORMALIZATION), record.normalization_sha256),
        (f"files: {filenames.CALIBRATION}", record.files.get(filenames.CALIBRATION), _if_bundled(record, here)),
    ):
        yield from equal(where, key, stated, other)
    yield from _within(where, bundle_hef.find_record_problems(record))
    for name, count in record.calibration.class_windows.items():
        if count > counts.get(name, 0):
            what = f"{count} windows of {name}, but the training split has {counts.get(name, 0)}"
            yield Problem(f"{where}: calibration.class_windows", "bundle.calibration-mismatch", what)
    for name in filenames.GRAPH_FILES:
        stated = record.files.get(name)
        yield from equal(where, f"files: {name}", stated, here.digests.get(f"{filenames.ONNX}/{name}", stated))


def _within(place: str, problems: Iterable[Problem]) -> Iterator[Problem]:
    yield from (problem.under(place) for problem in problems)


def find_calibration_problems(bundle: Mapping[str, bytes], record: BundleRecord, where: str) -> Iterator[Problem]:
    """Yield where the calibration set differs from bundle.json: its shape, its range, and where normalization runs."""
    stated = record.calibration
    try:
        data = bundle["calibration.npy"]
        header = npz.read_header(io.BytesIO(data), len(data))
    except (KeyError, ValueError) as error:
        yield Problem(f"{where}: calibration.npy", "bundle.calibration-mismatch", f"cannot read the array: {error}")
        return
    found: tuple[object, ...] = (header.shape, header.dtype)
    if found == (stated.shape, np.dtype("<f4")):
        values = np.load(io.BytesIO(data), allow_pickle=False)
        found += tuple(tuple(end.tolist()) for end in (values.min(axis=(0, 1, 2)), values.max(axis=(0, 1, 2))))
    if found != (stated.shape, np.dtype("<f4"), stated.low, stated.high):
        what = f"mismatch: shape, dtype or range differs from {filenames.BUNDLE}"
        yield Problem(f"{where}: calibration.npy", "bundle.calibration-mismatch", what)
    on_chip = b"normalization(" in bundle.get("model_script.alls", b"")
    if on_chip != (record.normalization == "chip"):
        what = f"mismatch: {filenames.BUNDLE} says normalization: {record.normalization}"
        yield Problem(f"{where}: model_script.alls", "bundle.calibration-mismatch", what)
