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
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, NoReturn

from modelreg import files
from modelreg.artifacts import bundle_hef, onnx_file
from modelreg.errors import InputError, Problem
from modelreg.records.base import load
from modelreg.records.export import (
    CODE,
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
from modelreg.records.gates import Outcome
from modelreg.records.int8 import UNSTEADY, Int8Estimate
from modelreg.records.latency import LatencyRecord
from modelreg.records.metrics import EvalMetrics
from modelreg.records.model import ModelSpec
from modelreg.registry.filenames import (
    ARCHIVE,
    BUNDLE,
    CHECKPOINT,
    GRAPH_FILES,
    INT8,
    LATENCY,
    NORMALIZATION,
    ONNX,
    PARITY,
    SUMS,
    VECTORS,
)

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


def estimate_of(folder: Path, usable: Container[str] | None = None) -> Int8Estimate | None:
    """Read the 8-bit estimate of a run or a version; only `usable` files, if given. Raises InputError."""
    places = [f"{target}/{INT8}" for target in HAILO if has(folder, target)]
    there = [place for place in places if (folder / place).is_file() and (usable is None or place in usable)]
    return load(folder / there[0], Int8Estimate) if there else None


def find_unsteady(
    judged: Iterable[Outcome], estimate: Int8Estimate | None, remedy: str = "export again"
) -> Iterator[Problem]:
    """Yield the gates that were judged on an estimate that depends on the processor."""
    if estimate is None or estimate.arithmetic:
        return
    for outcome in judged:
        paths = filter(None, (outcome.path, outcome.gate.beyond, outcome.gate.inside))
        if not outcome.unjudged and any(path.split(".", 1)[0] == "int8" for path in paths):
            yield Problem(f"gate {outcome.path}", f"is judged on an {UNSTEADY} ({INT8}); {remedy}")


def with_estimate(measured: EvalMetrics, estimate: Int8Estimate | None) -> EvalMetrics:
    """Return metrics that tell of the 8-bit estimate of their run or version, where it has one."""
    return measured.model_copy(update={"int8": estimate.summary if estimate else None})


def find_latency_problems(folder: Path, model: str) -> Iterator[Problem]:
    """Yield where the latency.json of a run or a version is not of its graphs. Raises InputError."""
    measured = load(folder / LATENCY, LatencyRecord)
    encoder = [graph.sha256 for graph in (parity_of(folder).graphs.get("encoder"),) if graph]
    if measured.model != model or measured.sha256 not in (*encoder, *hef_digests(folder).values()):
        yield Problem(LATENCY, "was measured on other graphs or another HEF; run `modelreg bench` again")


def hef_digests(folder: Path) -> dict[str, str]:
    """Return the digests of the HEFs in the bundles of a run or a version, by target and name. Raises InputError."""
    records = {target: load(folder / target / BUNDLE, BundleRecord) for target in HAILO if has(folder, target)}
    return {
        f"{target}/{bundle_hef.file_name(record)}": record.hef.sha256
        for target, record in records.items()
        if record.hef
    }


def for_version(run: Path, target: Target, version: str) -> dict[str, bytes]:
    """Return what a version keeps of a run's export, by path, its version written in."""
    if target == ONNX:
        names = sorted({*_sums_of(run, ONNX), *GRAPH_FILES, PARITY})
        found = {name: files.read_bytes(run / ONNX / name, onnx_file.GRAPH_LIMIT) for name in names}
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
    return {name: onnx_file.stamp(data, version) if name in GRAPH_FILES else data for name, data in found.items()}


def sealed(record: BundleRecord, found: Mapping[str, bytes], version: str | None) -> dict[str, bytes]:
    """Return a whole bundle: its files, bundle.json, which states their digests, and sha256sum.txt, which states all.

    With a version, it is written into the graphs' metadata and into bundle.json.
    """
    return reseal(stamped(found, version), record.model_copy(update={"version": version}))


def reseal(found: Mapping[str, bytes], record: BundleRecord) -> dict[str, bytes]:
    """Return files with bundle.json and sha256sum.txt made for them."""
    digests = {name: files.sha256_bytes(data) for name, data in sorted(found.items())}
    whole = {**found, BUNDLE: record.model_copy(update={"files": digests}).to_bytes()}
    sums = files.sums_text({name: files.sha256_bytes(data) for name, data in whole.items()})
    return {**whole, SUMS: sums.encode()}


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


def interface(spec: ModelSpec) -> dict[GraphName, tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]:
    """Return the inputs and outputs of each graph of a model."""
    windows = Tensor(name=WINDOWS, shape=(1, *spec.input.shape))
    projection = Tensor(name=PROJECTION, shape=(1, spec.projection))
    code = () if spec.levels is None else (Tensor(name=CODE, shape=(1, spec.code_width)),)
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
        "checkpoint_sha256": digests[CHECKPOINT],
        "normalization_sha256": digests[NORMALIZATION],
    }
