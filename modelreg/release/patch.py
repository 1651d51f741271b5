"""Create a version from a released version: the same weights and documents, with a compiled network (HEF) in a bundle.

Everything that contains the version number is made again: the card, the metadata of the graphs, the bundles.
Provenance keeps its statements about the training and adds the version and the HEF as inputs. All other files are
copied, after the released version was verified.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import semver

from modelreg import files
from modelreg.artifacts import attach_hef, bundle_archive, exports, hef_file, onnx_file
from modelreg.artifacts.attach_hef import Bundle
from modelreg.artifacts.bundle_hef import file_name
from modelreg.artifacts.hef_file import HefFile
from modelreg.documents import model_card, provenance, template_versions
from modelreg.errors import (
    Failure,
    GateFailed,
    InputError,
    ModelregError,
    Problem,
    RegistryError,
    VerificationFailed,
)
from modelreg.evaluation import gates
from modelreg.records.base import load, parse
from modelreg.records.data import DataRecord
from modelreg.records.export import HAILO, BundleRecord
from modelreg.records.gates import GateReport
from modelreg.records.int8 import Int8Estimate
from modelreg.records.metrics import EvalMetrics
from modelreg.records.provenance import Provenance, ResourceDescriptor
from modelreg.records.run import RunRecord
from modelreg.registry import filenames, versions
from modelreg.registry.version_documents import VersionDocuments
from modelreg.verification import integrity


@dataclass(frozen=True)
class Addition:
    """What is added to the released version."""

    file: Path  # the HEF
    exports: Path  # where `modelreg export` writes bundles of the version, if it was released without one

    @cached_property
    def hef(self) -> HefFile:
        """The compiled network, read and hashed on first use. Raises InputError."""
        return hef_file.read_hef(self.file)


def changelog_entry(model: str, tag: str, base: str, addition: Addition) -> str:
    """Return a changelog entry for a version that is another one with a compiled network."""
    info = addition.hef.info
    compiled = f"its network compiled for {info.hw_arch} (HEF, SHA-256 `{info.sha256[:16]}…`)"
    return f"### Added\n\n- {model} {tag}: {base} with {compiled}."


def find_refusals(source: Path, number: semver.Version, addition: Addition) -> Iterator[Failure]:
    """Yield what prevents a patch of the version in `source`, by its manifest. Raises InputError for an invalid one."""
    if not addition.file.is_file():
        yield InputError, Problem(str(addition.file), "hef.file-missing", "file not found")
    old = versions.parse_version(versions.read_version(source).manifest.version)
    if (number.major, number.minor) != (old.major, old.minor) or number <= old:
        message = f"is not a patch of v{old}, whose weights it has"
        yield RegistryError, Problem(f"v{number}", "release.not-a-patch", message, f"release it as v{old.bump_patch()}")


def find_failures(source: Path, version: str, addition: Addition) -> Iterator[Failure]:
    """Yield what prevents a patch with this version number from the version in `source`, which is verified first."""
    found = integrity.inspect(source, complete=True).problems
    yield from ((VerificationFailed, problem.under(f"{source.parent.name}@{source.name}")) for problem in found)
    if found:
        return
    try:
        _documents(source, version, addition)
    except ModelregError as error:
        yield from ((type(error), problem) for problem in error.problems)


def is_made_of(folder: Path, source: Path, addition: Addition) -> bool:
    """Say whether the version in `folder` was made from this one and this HEF."""
    return base_of(folder) == _base(source) and addition.hef.info.sha256 in exports.hef_digests(folder).values()


def base_of(folder: Path) -> ResourceDescriptor | None:
    """Return the version that the one in `folder` was made from; None if it was made from a run."""
    return provenance.base_of(load(folder / filenames.PROVENANCE, Provenance))


def stage(staged: Path, source: Path, version: str, addition: Addition) -> VersionDocuments:
    """Write every file of the version except the SBOM, the manifest and the checksums; return the facts of its card.

    Raises ModelregError.
    """
    made = _documents(source, version, addition)
    # the SBOM is made again
    kept = [entry for entry in versions.read_version(source).manifest.files if entry.path != filenames.SBOM]
    for entry in kept:
        (staged / entry.path).parent.mkdir(exist_ok=True)
        if entry.path not in made:
            files.copy_atomic(source / entry.path, staged / entry.path)
    for path, data in made.items():
        (staged / path).parent.mkdir(exist_ok=True)
        files.write_atomic(staged / path, data)
    return _facts(source, version, made)


def _documents(source: Path, version: str, addition: Addition) -> dict[str, bytes]:
    """Return the files of the new version that are not copied from the old one, by path. Raises ModelregError."""
    old = versions.read_version(source).manifest.version
    bundles = {name: _packed(source / name) for name in HAILO if exports.has(source, name)}
    exported = [name for name in HAILO if exports.has(addition.exports, name)]
    target = attach_hef.choose(sorted({*bundles, *exported}), addition.hef.info, source.name)
    bundle = bundles.get(target) or attach_hef.open_bundle(addition.exports / target)
    bundles[target] = attach_hef.with_hef(bundle, addition.hef, f"the {target} bundle of {source.name}")
    documents = _graphs(source, old, version)
    for name, (record, found) in bundles.items():
        whole = bundle_archive.sealed(record, _unstamped(found, old), version)
        read = [document for document in (filenames.BUNDLE, filenames.INT8) if document in whole]
        documents |= {f"{name}/{document}": whole[document] for document in read}
        documents[f"{name}/{filenames.ARCHIVE}"] = bundle_archive.pack(whole)
    records = {name: record for name, (record, _) in bundles.items()}
    documents |= _judged_again(source, documents)
    hefs = {f"{name}/{file_name(each)}": each.hef.sha256 for name, each in records.items() if each.hef}
    origin = provenance.derived(load(source / filenames.PROVENANCE, Provenance), _base(source), hefs)
    return {
        **documents,
        filenames.PROVENANCE: origin.to_bytes(),
        filenames.CARD: model_card.render(_facts(source, version, documents)).encode(),
    }


def _judged_again(source: Path, made: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return gates.json if its sentences are those of an earlier template, or if the bundle changes its outcomes.

    Raises GateFailed; InputError if outcomes change and the estimate of the bundle depends on the processor.
    """
    if not (source / filenames.GATES).is_file():
        return {}
    stated = load(source / filenames.GATES, GateReport)
    documents = gates.read_documents(source)
    for estimate in _estimates(made)[:1]:
        documents["int8"] = files.parse_json(estimate, filenames.INT8)
    report = gates.check_again(stated, documents, template_versions.current().gate)
    if failures := list(gates.failures(report.outcomes)):
        raise GateFailed("a gate of the version fails with this bundle", failures)
    own = template_versions.named(versions.read_version(source).manifest.templates).gate
    changed = gates.check_again(stated, documents, own) != stated
    if changed and (unsteady := list(exports.find_unsteady(report.outcomes, _estimate(made)))):
        raise InputError("a gate of the version cannot be checked with this bundle", unsteady)
    return {} if report == stated else {filenames.GATES: report.to_bytes()}


def _base(source: Path) -> ResourceDescriptor:
    return provenance.version_as_base(
        versions.read_version(source).reference, files.sha256(source / filenames.MANIFEST)
    )


def _packed(folder: Path) -> Bundle:
    """Read a version's bundle."""
    found = bundle_archive.unpack(folder / filenames.ARCHIVE)
    record = parse(found[filenames.BUNDLE], BundleRecord, filenames.BUNDLE)
    return record, {name: found[name] for name in record.files}


def _graphs(source: Path, old: str, version: str) -> dict[str, bytes]:
    """Return a version's graphs with the new version number in their metadata."""
    paths = [source / filenames.ONNX / name for name in filenames.GRAPH_FILES if exports.has(source, filenames.ONNX)]
    found = {path.name: files.read_bytes(path, onnx_file.GRAPH_LIMIT) for path in paths}
    stamped = bundle_archive.stamped(_unstamped(found, old), version)
    return {f"{filenames.ONNX}/{name}": data for name, data in stamped.items()}


def _unstamped(found: Mapping[str, bytes], version: str) -> dict[str, bytes]:
    """Return files, with the version number removed from the metadata of graphs. Raises InputError."""
    plain = {name: onnx_file.unstamp(found[name], version) for name in filenames.GRAPH_FILES if name in found}
    message = f"the version in the graph's metadata is not {version}"
    problems = [Problem(name, "export.version-mismatch", message) for name, data in plain.items() if data is None]
    if problems:
        raise InputError("cannot use these graphs", problems)
    return {**found, **{name: data for name, data in plain.items() if data is not None}}


def _estimates(made: Mapping[str, bytes]) -> list[bytes]:
    return [made[place] for name in HAILO if (place := f"{name}/{filenames.INT8}") in made]


def _estimate(made: Mapping[str, bytes]) -> Int8Estimate | None:
    """Return the 8-bit estimate of the new bundles; None without one. Raises InputError."""
    found = _estimates(made)
    return parse(found[0], Int8Estimate, filenames.INT8) if found else None


def _facts(source: Path, version: str, made: Mapping[str, bytes]) -> VersionDocuments:
    """Return the facts of a card; the license is read from the old card, the only document that states it."""
    run = load(source / filenames.RUN, RunRecord)
    report = made.get(filenames.GATES) or (
        files.read_bytes(path) if (path := source / filenames.GATES).is_file() else None
    )
    return VersionDocuments(
        model=run.model.settings.name,
        version=version,
        license=model_card.stated_license(model_card.read_card(source)),
        spec=run.model,
        metrics=load(source / filenames.METRICS, EvalMetrics),
        data=load(source / filenames.DATA, DataRecord),
        run=run,
        graphs=exports.has(source, filenames.ONNX),
        gates=parse(report, GateReport, filenames.GATES) if report else None,
        estimate=_estimate(made),
    )
