"""The exports of a run or a version: which exist, their records, and whether they are complete.

A run has `onnx/`, a folder for each Hailo target, and the same folder as `<target>.tar.gz`. A version has `onnx/` and,
for each bundle, bundle.json and int8.json (stored in git) and bundle.tar.gz (a release asset).
"""

from collections.abc import Container, Iterable, Iterator
from pathlib import Path

from modelreg import files
from modelreg.artifacts import bundle_archive, bundle_hef, onnx_file
from modelreg.errors import InputError, Problem
from modelreg.records.base import load
from modelreg.records.export import HAILO, TARGETS, BundleRecord, ParityRecord, Target
from modelreg.records.gates import Outcome
from modelreg.records.int8 import UNSTEADY, Int8Estimate
from modelreg.records.latency import LatencyRecord
from modelreg.records.metrics import EvalMetrics
from modelreg.registry.filenames import (
    ARCHIVE,
    BUNDLE,
    GRAPH_FILES,
    INT8,
    LATENCY,
    ONNX,
    PARITY,
    VECTORS,
)


def has(run: Path, target: Target) -> bool:
    """Return whether a run has an export for a target."""
    return (run / target / (PARITY if target == ONNX else BUNDLE)).is_file()


def exported(run: Path) -> tuple[Target, ...]:
    """Return the targets that a run has exports for."""
    return tuple(target for target in TARGETS if has(run, target))


def checkpoint_of(run: Path, target: Target) -> str:
    """Return the digest of the exported weights. Raises InputError."""
    return (parity_of(run) if target == ONNX else load(run / target / BUNDLE, BundleRecord)).checkpoint_sha256


def parity_of(folder: Path) -> ParityRecord:
    """Read the parity record of a run or a version. Raises InputError."""
    return load(folder / ONNX / PARITY, ParityRecord)


def find_changed(run: Path, target: Target) -> Iterator[Problem]:
    """Yield the files of a run's export that are missing or changed."""
    try:
        sums = _sums_of(run, target)
    except InputError as error:
        yield from error.problems
        return
    if target != ONNX and has(run, ONNX) and not sums.items() >= _sums_of(run, ONNX).items():
        fix = f"run `modelreg export --target {target}` again"
        what = f"the bundle's graphs are not those of {ONNX}/{PARITY}"
        yield Problem(f"{target}/{BUNDLE}", "export.other-graphs", what, next=fix)
    for name, digest in sums.items():
        path = run / target / name
        if not path.is_file() or path.is_symlink():
            yield Problem(f"{target}/{name}", "export.file-missing", "missing, or not a regular file")
        elif files.sha256(path) != digest:
            yield changed(f"{target}/{name}")


def changed(where: str) -> Problem:
    """Return the problem of an exported file that changed."""
    return Problem(where, "export.file-changed", "sha256 mismatch: changed since the export")


def _sums_of(run: Path, target: Target) -> dict[str, str]:
    """Return the digests that an export records for its files."""
    if target == ONNX:
        parity = parity_of(run)
        vectors = {VECTORS: parity.vectors_sha256} if parity.vectors_sha256 else {}
        return {f"{name}.onnx": graph.sha256 for name, graph in parity.graphs.items()} | vectors
    return dict(load(run / target / BUNDLE, BundleRecord).files)


def estimate_of(folder: Path, usable: Container[str] | None = None) -> Int8Estimate | None:
    """Read the 8-bit estimate of a run or a version, from `usable` files only if given. Raises InputError."""
    places = [f"{target}/{INT8}" for target in HAILO if has(folder, target)]
    there = [place for place in places if (folder / place).is_file() and (usable is None or place in usable)]
    return load(folder / there[0], Int8Estimate) if there else None


def find_unsteady(
    judged: Iterable[Outcome], estimate: Int8Estimate | None, remedy: str = "export again"
) -> Iterator[Problem]:
    """Yield the gates that were evaluated on an estimate that depends on the processor. `remedy` is the next step."""
    if estimate is None or estimate.arithmetic:
        return
    for outcome in judged:
        if not outcome.unjudged and "int8" in outcome.reads:
            what = f"the gate reads an {UNSTEADY} ({INT8})"
            yield Problem(f"gate {outcome.path}", "gates.estimate-not-reproducible", what, next=remedy)


def with_estimate(measured: EvalMetrics, estimate: Int8Estimate | None) -> EvalMetrics:
    """Return metrics with the 8-bit estimate of their run or version, if it has one."""
    return measured.model_copy(update={"int8": estimate.summary if estimate else None})


def find_latency_problems(folder: Path, model: str) -> Iterator[Problem]:
    """Yield a problem if the latency.json of a run or a version was measured on other graphs. Raises InputError."""
    measured = load(folder / LATENCY, LatencyRecord)
    encoder = [graph.sha256 for graph in (parity_of(folder).graphs.get("encoder"),) if graph]
    if measured.model != model or measured.sha256 not in (*encoder, *hef_digests(folder).values()):
        yield Problem(LATENCY, "bench.other-graphs", "measured on other graphs or another HEF")


def hef_digests(folder: Path) -> dict[str, str]:
    """Return the digests of the HEFs in the bundles of a run or a version, by target and name. Raises InputError."""
    records = {target: load(folder / target / BUNDLE, BundleRecord) for target in HAILO if has(folder, target)}
    return {
        f"{target}/{bundle_hef.file_name(record)}": record.hef.sha256
        for target, record in records.items()
        if record.hef
    }


def for_version(run: Path, target: Target, version: str) -> dict[str, bytes]:
    """Return the files of a run's export that a version contains, by path, with the version in their metadata."""
    if target == ONNX:
        names = sorted({*_sums_of(run, ONNX), *GRAPH_FILES, PARITY})
        found = {name: files.read_bytes(run / ONNX / name, onnx_file.GRAPH_LIMIT) for name in names}
        return {f"{ONNX}/{name}": data for name, data in bundle_archive.stamped(found, version).items()}
    record = load(run / target / BUNDLE, BundleRecord)
    found = {name: files.read_bytes(run / target / name, bundle_archive.BUNDLE_LIMIT) for name in record.files}
    bundle = bundle_archive.sealed(record, found, version)
    read = {f"{target}/{name}": bundle[name] for name in (BUNDLE, INT8) if name in bundle}
    return {**read, f"{target}/{ARCHIVE}": bundle_archive.pack(bundle)}
