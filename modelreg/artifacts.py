"""Graphs and bundles where they are kept: their names, how they go into a version, and whether they fit it.

A run has `onnx/` and a folder for each Hailo target, beside it the same folder as `<target>.tar.gz`. A version has
`onnx/`, and of each bundle bundle.json and int8.json, which git keeps, and bundle.tar.gz, which travels as an asset.
On the way a release writes its version into the graphs' metadata and into bundle.json; nothing else changes, so the
parity that was measured in the run still holds, and `verify` can tell without onnx.
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple, NoReturn

import numpy as np

from modelreg import files, graphfile, registry
from modelreg.errors import InputError, Problem
from modelreg.hef import bundled
from modelreg.records.base import load
from modelreg.records.data import DataRecord
from modelreg.records.export import (
    CODE,
    GRAPHS,
    HAILO,
    LOGITS,
    PROJECTION,
    TARGETS,
    WINDOWS,
    BundleRecord,
    GraphName,
    ParityRecord,
    Target,
    Tensor,
)
from modelreg.records.int8 import Int8Estimate
from modelreg.records.model import ModelSpec

ONNX: Target = "onnx"
PARITY = "parity.json"
VECTORS = "test_vectors.npz"
INT8 = "int8.json"
CALIBRATION = registry.CALIBRATION  # temperature and conformal thresholds, where a model has them
BUNDLE = "bundle.json"
ARCHIVE = "bundle.tar.gz"
GRAPH_FILES = tuple(f"{name}.onnx" for name in GRAPHS)
EXECUTABLE = ("compile.sh", "compile.py")
BUNDLE_LIMIT = 512 * 2**20  # bytes, unpacked


def has(run: Path, target: Target) -> bool:
    """Return whether a run has an export for a target."""
    return (run / target / (PARITY if target == ONNX else BUNDLE)).is_file()


def exported(run: Path) -> tuple[Target, ...]:
    """Return the targets that a run has exports for."""
    return tuple(target for target in TARGETS if has(run, target))


def checkpoint_of(run: Path, target: Target) -> str:
    """Return the digest of the weights that an export was made of. Raises InputError."""
    return (parity_of(run) if target == ONNX else load(run / target / BUNDLE, BundleRecord)).checkpoint_sha256


def parity_of(folder: Path) -> ParityRecord:
    """Read the parity record of a run or a version. Raises InputError."""
    return load(folder / ONNX / PARITY, ParityRecord)


def find_changed(run: Path, target: Target) -> Iterator[Problem]:
    """Yield where a run's export is not whole, or not what was exported."""
    try:
        sums = _sums_of(run, target)
    except InputError as error:
        yield from error.problems
        return
    if target != ONNX and has(run, ONNX) and not sums.items() >= _sums_of(run, ONNX).items():
        yield Problem(f"{target}/{BUNDLE}", f"is of other graphs; run `modelreg export --target {target}` again")
    for name, digest in sums.items():
        path = run / target / name
        if not path.is_file() or path.is_symlink():
            yield Problem(f"{target}/{name}", "is missing; export again")
        elif files.sha256(path) != digest:
            yield Problem(f"{target}/{name}", "was changed since it was exported; export again")


def _sums_of(run: Path, target: Target) -> dict[str, str]:
    """Return the digests that an export states of its files."""
    if target == ONNX:
        parity = parity_of(run)
        vectors = {VECTORS: parity.vectors_sha256} if parity.vectors_sha256 else {}
        return {f"{name}.onnx": graph.sha256 for name, graph in parity.graphs.items()} | vectors
    return dict(load(run / target / BUNDLE, BundleRecord).files)


def hef_digests(folder: Path) -> dict[str, str]:
    """Return the digests of the HEFs in the bundles of a run or a version, by target and name. Raises InputError."""
    records = {target: load(folder / target / BUNDLE, BundleRecord) for target in HAILO if has(folder, target)}
    return {
        f"{target}/{bundled.file_name(record)}": record.hef.sha256 for target, record in records.items() if record.hef
    }


def for_version(run: Path, target: Target, version: str) -> dict[str, bytes]:
    """Return what a version keeps of a run's export, by path, its version written in."""
    if target == ONNX:
        names = sorted({*_sums_of(run, ONNX), *GRAPH_FILES, PARITY})
        found = {name: files.read_bytes(run / ONNX / name, graphfile.GRAPH_LIMIT) for name in names}
        return {f"{ONNX}/{name}": data for name, data in stamped(found, version).items()}
    record = load(run / target / BUNDLE, BundleRecord)
    found = {name: files.read_bytes(run / target / name, BUNDLE_LIMIT) for name in record.files}
    bundle = sealed(record, found, version)
    read = {f"{target}/{name}": bundle[name] for name in (BUNDLE, INT8) if name in bundle}
    return {**read, f"{target}/{ARCHIVE}": pack(bundle)}


def stamped(found: Mapping[str, bytes], version: str | None) -> dict[str, bytes]:
    """Return files, the graphs among them with a release's version in their metadata; a run has none."""
    if version is None:
        return dict(found)
    return {name: graphfile.stamp(data, version) if name in GRAPH_FILES else data for name, data in found.items()}


def sealed(record: BundleRecord, found: Mapping[str, bytes], version: str | None) -> dict[str, bytes]:
    """Return a whole bundle: its files, bundle.json, which states their digests, and sha256sum.txt, which states all.

    With a version, it is written into the graphs' metadata and into bundle.json.
    """
    return _sealed(stamped(found, version), record.model_copy(update={"version": version}))


def _sealed(found: Mapping[str, bytes], record: BundleRecord) -> dict[str, bytes]:
    digests = {name: files.sha256_bytes(data) for name, data in sorted(found.items())}
    whole = {**found, BUNDLE: record.model_copy(update={"files": digests}).to_bytes()}
    sums = files.sums_text({name: files.sha256_bytes(data) for name, data in whole.items()})
    return {**whole, registry.SUMS: sums.encode()}


def pack(bundle: Mapping[str, bytes]) -> bytes:
    """Return files as a .tar.gz: sorted, of no owner and no time, so that the same files give the same bytes."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name in sorted(bundle):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(bundle[name]), 0o755 if name in EXECUTABLE else 0o644
            archive.addfile(member, io.BytesIO(bundle[name]))
    return packed.getvalue()


def unpack(path: Path) -> dict[str, bytes]:
    """Return the files of a packed bundle. Raises InputError; what a member claims is held against the limit first."""
    with files.open_regular(path) as file:
        return unpack_stream(file, path.name)


def unpack_stream(file: IO[bytes], where: str) -> dict[str, bytes]:
    """Return the files of an open packed bundle, as `unpack` does. Raises InputError."""
    found: dict[str, bytes] = {}
    left = BUNDLE_LIMIT
    try:
        with tarfile.open(fileobj=file, mode="r|gz") as archive:
            for member in archive:
                if member.name in found:
                    _refuse_member(member, "is there twice")
                found[member.name] = _read_member(archive, member, left)
                left -= member.size
    except (tarfile.TarError, zlib.error, OSError, EOFError, ValueError) as error:
        raise InputError("cannot read", [Problem(where, f"not a bundle: {error}")]) from error
    return found


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo, left: int) -> bytes:
    reader = archive.extractfile(member) if member.isreg() and "/" not in member.name else None
    if reader is None:
        _refuse_member(member, "is no plain file")
    if member.size > left:
        _refuse_member(member, "makes more than the limit")
    return reader.read(member.size)


def _refuse_member(member: tarfile.TarInfo, why: str) -> NoReturn:
    raise tarfile.TarError(f"{member.name!r} {why}")


# Whether they fit their version


class Facts(NamedTuple):
    """What is known of a version without its exports."""

    version: str
    spec: ModelSpec
    data: DataRecord
    digests: Mapping[str, str]  # of every file in the manifest
    present: frozenset[str]  # the files that are here, with the bytes of the manifest


def find_problems(folder: Path, facts: Facts) -> Iterator[Problem]:
    """Yield where a version's graphs and bundles are not of its checkpoint, or not what they say."""
    listed = facts.digests.keys()
    if any(path.startswith(f"{ONNX}/") for path in listed):
        yield from _find_unlisted(listed, ONNX, (*GRAPH_FILES, PARITY))
        if f"{ONNX}/{PARITY}" in facts.present:
            yield from _find_graph_problems(folder, facts)
    for target in HAILO:
        if any(path.startswith(f"{target}/") for path in listed):
            yield from _find_unlisted(listed, target, (BUNDLE, ARCHIVE))
            if f"{target}/{BUNDLE}" in facts.present:
                yield from _find_bundle_problems(folder, target, facts)


def _find_unlisted(listed: Collection[str], part: str, names: tuple[str, ...]) -> Iterator[Problem]:
    for name in names:
        if f"{part}/{name}" not in listed:
            yield Problem(registry.MANIFEST, f"does not list {part}/{name}")


def _find_graph_problems(folder: Path, facts: Facts) -> Iterator[Problem]:
    where = f"{ONNX}/{PARITY}"
    try:
        parity = parity_of(folder)
    except InputError as error:
        yield from error.problems
        return
    yield from _find_strangers(where, parity, facts)
    yield from _find_breaches(parity, where)
    if parity.vectors_sha256 != facts.digests.get(f"{ONNX}/{VECTORS}"):
        yield Problem(where, f"states other test vectors than {registry.MANIFEST}")
    for name in GRAPHS:
        path = f"{ONNX}/{name}.onnx"
        if path in facts.present:
            data = files.read_bytes(folder / path, graphfile.GRAPH_LIMIT)
            yield from find_misfits(data, name, path, parity, facts)


def _find_strangers(where: str, record: ParityRecord | BundleRecord | Int8Estimate, facts: Facts) -> Iterator[Problem]:
    """Yield where a record of an export is of another model, checkpoint or normalization."""
    for key, stated, other in (
        ("model", record.model, facts.spec.settings.name),
        ("checkpoint_sha256", record.checkpoint_sha256, facts.digests.get(registry.CHECKPOINT)),
        ("normalization_sha256", record.normalization_sha256, facts.digests.get(registry.NORMALIZATION)),
    ):
        if stated != other:
            yield Problem(f"{where}: {key}", f"is {stated}, but the version has {other}")


def _find_breaches(parity: ParityRecord, where: str) -> Iterator[Problem]:
    """Yield where the recorded parity is none."""
    for name, path in (("whole", parity.whole), ("split", parity.split)):
        if path.codes_different > path.codes_near_boundary:
            yield Problem(f"{where}: {name}.codes_different", "is more than lie near a rounding boundary")
        if path.argmax_compared + path.codes_different < parity.windows:
            yield Problem(f"{where}: {name}.argmax_compared", "leaves out windows whose codes agree")
    if set(parity.graphs) != set(GRAPHS):
        yield Problem(f"{where}: graphs", f"must be {', '.join(GRAPHS)}")


def find_misfits(data: bytes, name: GraphName, where: str, parity: ParityRecord, facts: Facts) -> Iterator[Problem]:
    """Yield where a graph of a version is not the one whose parity was measured, or not of this model."""
    proven = graphfile.unstamp(data, facts.version)
    if proven is None:
        yield Problem(where, f"does not end with version {facts.version} in its metadata")
        return
    stated = parity.graphs.get(name)
    if stated is None or files.sha256_bytes(proven) != stated.sha256:
        yield Problem(where, f"is not the graph whose parity {PARITY} states")
        return
    try:
        graph = graphfile.read(data, where)
    except InputError as error:
        yield from error.problems
        return
    wanted = interface(facts.spec)[name]
    for key, found, other in (
        ("inputs", graph.inputs, wanted[0]),
        ("outputs", graph.outputs, wanted[1]),
        ("opset", graph.opset, parity.opset),
        ("metadata", graph.metadata, {**metadata(facts.spec, facts.digests), graphfile.VERSION_KEY: facts.version}),
        (f"{PARITY}: inputs", stated.inputs, wanted[0]),
        (f"{PARITY}: outputs", stated.outputs, wanted[1]),
        (f"{PARITY}: operators", stated.operators, graph.operators),
    ):
        if found != other:
            yield Problem(f"{where}: {key}", f"is {found}, must be {other}")


def interface(spec: ModelSpec) -> dict[GraphName, tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]:
    """Return the inputs and outputs of each graph of a model."""
    windows = Tensor(name=WINDOWS, shape=(1, *spec.input.shape))
    projection = Tensor(name=PROJECTION, shape=(1, spec.projection))
    code = () if spec.levels is None else (Tensor(name=CODE, shape=(1, len(spec.levels))),)
    logits = Tensor(name=LOGITS, shape=(1, len(spec.classes)))
    return {
        "encoder": ((windows,), (projection,)),
        "head": ((projection,), (*code, logits)),
        "model": ((windows,), (projection, *code, logits)),
    }


def metadata(spec: ModelSpec, digests: Mapping[str, str]) -> dict[str, str]:
    """Return what a graph says of itself; `digests` has those of the checkpoint and the normalization, by name."""
    return {
        "model": spec.settings.name,
        "classes": files.to_line(list(spec.classes)).decode().strip(),
        "checkpoint_sha256": digests[registry.CHECKPOINT],
        "normalization_sha256": digests[registry.NORMALIZATION],
    }


def _find_bundle_problems(folder: Path, target: Target, facts: Facts) -> Iterator[Problem]:
    where, estimated = f"{target}/{BUNDLE}", f"{target}/{INT8}"
    try:
        record = load(folder / where, BundleRecord)
        estimate = load(folder / estimated, Int8Estimate) if estimated in facts.present else None
    except InputError as error:
        yield from error.problems
        return
    yield from _find_strangers(where, record, facts)
    yield from find_contradictions(record, target, where, facts)
    if estimate:
        yield from _find_strangers(estimated, estimate, facts)
        if estimate.windows != facts.data.parts.test.windows:
            yield Problem(f"{estimated}: windows", f"is {estimate.windows}, not the whole held-out part")
    archive = f"{target}/{ARCHIVE}"
    if archive in facts.present:
        try:
            bundle = unpack(folder / archive)
        except InputError as error:
            yield from error.problems
            return
        if bundle.get(BUNDLE) != files.read_bytes(folder / where):
            yield Problem(archive, f"holds another {BUNDLE} than lies beside it")
        elif bundle != _sealed_again(bundle, record):
            yield Problem(archive, f"does not hold what its {BUNDLE} and {registry.SUMS} state")
        else:
            yield from find_calibration_problems(bundle, record, archive)
            yield from _within(archive, bundled.find_file_problems(bundle, record))


def _sealed_again(bundle: Mapping[str, bytes], record: BundleRecord) -> dict[str, bytes]:
    """Return the bundle that bundle.json and sha256sum.txt would be right for."""
    return _sealed({name: data for name, data in bundle.items() if name not in (BUNDLE, registry.SUMS)}, record)


def find_contradictions(record: BundleRecord, target: Target, where: str, facts: Facts) -> Iterator[Problem]:
    """Yield where bundle.json says something else than the model and its data."""
    spec, (channels, rows, steps) = facts.spec, facts.spec.input.shape
    (window,), (projection,) = interface(spec)["encoder"]
    counts = facts.data.parts.train.class_windows
    shape = record.calibration.shape
    for key, stated, other in (
        ("version", record.version, facts.version),
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
        (f"files: {INT8}", record.files.get(INT8), facts.digests.get(f"{target}/{INT8}")),
        ("files: normalization.json", record.files.get(registry.NORMALIZATION), record.normalization_sha256),
        (f"files: {CALIBRATION}", record.files.get(CALIBRATION), _if_bundled(record, facts)),
    ):
        if stated != other:
            yield Problem(f"{where}: {key}", f"is {stated}, must be {other}")
    yield from _within(where, bundled.find_record_problems(record))
    for name, count in record.calibration.class_windows.items():
        if count > counts.get(name, 0):
            what = f"{count} windows of {name}, but the training part has {counts.get(name, 0)}"
            yield Problem(f"{where}: calibration.class_windows", what)
    for name in GRAPH_FILES:
        if record.files.get(name) != facts.digests.get(f"{ONNX}/{name}", record.files.get(name)):
            yield Problem(f"{where}: files", f"its {name} is not the version's")


def _if_bundled(record: BundleRecord, facts: Facts) -> str | None:
    """Return the digest of the version's calibration; None for a bundle that was exported before there was one."""
    return facts.digests.get(CALIBRATION) if CALIBRATION in record.files else None


def _within(place: str, problems: Iterable[Problem]) -> Iterator[Problem]:
    yield from (Problem(f"{place}: {where}", what) for where, what in problems)


def find_calibration_problems(bundle: Mapping[str, bytes], record: BundleRecord, where: str) -> Iterator[Problem]:
    """Yield where the calibration set is not what bundle.json says: its shape, its range, and who normalizes."""
    stated = record.calibration
    try:
        data = bundle["calibration.npy"]
        header = files.read_npy_header(io.BytesIO(data), len(data))
    except (KeyError, ValueError) as error:
        yield Problem(f"{where}: calibration.npy", f"cannot be read: {error}")
        return
    found: tuple[object, ...] = (header.shape, header.dtype)
    if found == (stated.shape, np.dtype("<f4")):
        values = np.load(io.BytesIO(data), allow_pickle=False)
        found += tuple(tuple(end.tolist()) for end in (values.min(axis=(0, 1, 2)), values.max(axis=(0, 1, 2))))
    if found != (stated.shape, np.dtype("<f4"), stated.low, stated.high):
        yield Problem(f"{where}: calibration.npy", f"has not the shape, the type or the range that {BUNDLE} states")
    on_chip = b"normalization(" in bundle.get("model_script.alls", b"")
    if on_chip != (record.normalization == "chip"):
        yield Problem(f"{where}: model_script.alls", f"contradicts normalization: {record.normalization}")
