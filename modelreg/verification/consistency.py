"""Whether the documents of a version tell one story: each is held against the others and against the arrays.

Every document is a record that stands for itself; what two of them state must be the same. The metrics are computed
again from the recorded predictions, the quantizer from its levels, the card from all of them. What cannot be seen
here: whether the predictions really are what the weights answer to the data.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from modelreg import files
from modelreg.artifacts import exports, npz, safetensors_file
from modelreg.config import TrainConfig
from modelreg.documents import model_card, provenance, template_versions
from modelreg.documents.template_versions import Templates
from modelreg.errors import InputError, Problem
from modelreg.evaluation import gates, metrics
from modelreg.records import fsq
from modelreg.records.base import load, paired_leaves
from modelreg.records.data import DataRecord, Normalization
from modelreg.records.gates import GateReport
from modelreg.records.manifest import Manifest
from modelreg.records.metrics import EvalMetrics
from modelreg.records.model import FsqSpec, ModelSpec
from modelreg.records.provenance import Provenance, ResourceDescriptor
from modelreg.records.run import RunRecord
from modelreg.registry import filenames
from modelreg.verification import calibration, derived_models
from modelreg.verification import exports as export_checks

CARD_LIMIT = 2**20  # bytes
UNCHANGED = {*filenames.ASSETS, *filenames.DOCUMENTS} - {
    filenames.CARD,
    filenames.PROVENANCE,
}  # from version to version


class Documents(NamedTuple):
    """The documents of a version, read."""

    manifest: Manifest
    spec: ModelSpec
    normalization: Normalization
    measured: EvalMetrics
    data: DataRecord
    run: RunRecord
    provenance: Provenance

    @property
    def digests(self) -> dict[str, str]:
        """The digest of every file, by its path."""
        return {entry.path: entry.sha256 for entry in self.manifest.files}


def find_problems(folder: Path, found: Documents, present: set[str]) -> Iterator[Problem]:
    """Yield where the documents contradict each other; of the assets, only those `present` are looked into."""
    yield from _network_problems(found.spec)
    yield from _equal(filenames.RUN, "model", found.run.model, found.spec)
    yield from _sealed(found)
    yield from _normalization_problems(found.spec, found.normalization, found.data)
    yield from _fitting_problems(found)
    yield from _protocol_problems(found)
    yield from _provenance_problems(folder, found)
    facts = export_checks.Facts(found.manifest.version, found.spec, found.data, found.digests, frozenset(present))
    yield from export_checks.find_problems(folder, facts)
    yield from _estimate_problems(folder, found, present)
    if filenames.CHECKPOINT in present:
        yield from _checkpoint_problems(folder / filenames.CHECKPOINT, found.spec)
    if filenames.PREDICTIONS in present:
        yield from _prediction_problems(folder / filenames.PREDICTIONS, found)
    if filenames.LATENCY in present:
        yield from _latency_problems(folder, found)
    yield from derived_models.find_problems(folder, facts, found.run.files, found.measured)
    yield from calibration.find_problems(folder, facts, found.measured)
    if filenames.CARD in present:
        yield from _rendered_problems(folder, found, present)


def _equal(document: str, place: str, stated: object, other: object) -> Iterator[Problem]:
    if stated != other:
        yield Problem(f"{document}: {place}", f"is {_short(stated)}, but another document has {_short(other)}")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _network_problems(spec: ModelSpec) -> Iterator[Problem]:
    expected = fsq.quantizer(spec.settings)
    if not isinstance(spec.quantizer, FsqSpec) or not isinstance(expected, FsqSpec):
        yield from _equal(filenames.MODEL_CONFIG, "quantizer", spec.quantizer, expected)
        return
    for name in ("levels", "epsilon", "offset", "half_width", "basis", "half_range"):
        yield from _equal(
            f"{filenames.MODEL_CONFIG}: quantizer", name, getattr(spec.quantizer, name), getattr(expected, name)
        )
    pairs = zip(spec.quantizer.shift, expected.shift, strict=False)
    if len(spec.quantizer.shift) != len(expected.shift) or any(abs(a - b) > 1e-9 for a, b in pairs):
        yield Problem(f"{filenames.MODEL_CONFIG}: quantizer.shift", "is not atanh(offset / half_range)")


def _sealed(found: Documents) -> Iterator[Problem]:
    """Hold the digests that the run took at its time against those of the manifest."""
    for name in (filenames.CHECKPOINT, filenames.NORMALIZATION, filenames.DATA):
        if found.run.files.get(name) != found.digests[name]:
            yield Problem(filenames.RUN, f"the run had another {name}")
    yield from _equal(filenames.RUN, "status", found.run.status, "trained")
    looks = [look for look in found.run.evaluations if look.part == found.measured.protocol.part]
    yield from _equal(filenames.METRICS, "protocol.evaluations", found.measured.protocol.evaluations, len(looks))
    if looks and looks[-1].predictions_sha256 != found.digests[filenames.PREDICTIONS]:
        yield Problem(filenames.RUN, "its last look at the test part gave other predictions")


def _normalization_problems(spec: ModelSpec, scale: Normalization, data: DataRecord) -> Iterator[Problem]:
    for name in ("layout", "channels", "devices", "rate_hz", "timesteps", "fold"):
        yield from _equal(filenames.NORMALIZATION, name, getattr(scale, name), getattr(spec.input, name))
    for name in ("channels", "devices", "rate_hz", "fold"):
        yield from _equal(filenames.DATA, name, getattr(data, name), getattr(spec.input, name))
    yield from _equal(filenames.DATA, "window", data.window, spec.input.timesteps)
    rows = len(spec.input.devices) if scale.per == "device_channel" else 1
    for name in ("mean", "std"):
        shape = [len(row) for row in getattr(scale, name)]
        if shape != [len(spec.input.channels)] * rows:
            what = f"must have {rows} rows of {len(spec.input.channels)} channels"
            yield Problem(f"{filenames.NORMALIZATION}: {name}", what)


def _fitting_problems(found: Documents) -> Iterator[Problem]:
    """Hold where the normalization says it is from against where the run says so."""
    stated = found.run.imported.normalization_sha256 if found.run.imported else None
    origin = ("elsewhere", stated) if stated else ("train", found.data.parts.train.digest)
    for name, expected in zip(("fitted_on", "data_digest"), origin, strict=True):
        yield from _equal(filenames.NORMALIZATION, name, getattr(found.normalization, name), expected)


def _protocol_problems(found: Documents) -> Iterator[Problem]:
    measured, spec, data = found.measured, found.spec, found.data
    for document, name, stated, other in (
        (filenames.METRICS, "model", measured.model, spec.settings.name),
        (filenames.METRICS, "classes", measured.classes, spec.classes),
        (filenames.METRICS, "parameters", measured.parameters, spec.parameters),
        (filenames.METRICS, "protocol.split", measured.protocol.split, data.split),
        (filenames.METRICS, "protocol.parts", measured.protocol.parts, data.parts),
        (filenames.METRICS, "checkpoint_sha256", measured.checkpoint_sha256, found.digests[filenames.CHECKPOINT]),
        (filenames.METRICS, "predictions_sha256", measured.predictions_sha256, found.digests[filenames.PREDICTIONS]),
        (filenames.DATA, "classes", data.classes, spec.classes),
        (filenames.MANIFEST, "model", found.manifest.model, spec.settings.name),
    ):
        yield from _equal(document, name, stated, other)
    if data.split != "time" and measured.protocol.known_subjects:
        names = ", ".join(measured.protocol.known_subjects)
        yield Problem(f"{filenames.METRICS}: protocol", f"{names} of the test part stand in another part too")


def _provenance_problems(folder: Path, found: Documents) -> Iterator[Problem]:
    """Make the statement again from the other documents, and the configuration that it states itself."""
    stated = found.provenance.predicate.build_definition.external_parameters.config
    try:
        config = provenance.config_of(found.provenance)
    except InputError as error:
        yield from error.problems
        return
    digests = {name: found.digests[name] for name in (*filenames.ASSETS, filenames.NORMALIZATION, filenames.METRICS)}
    digests[filenames.HISTORY] = found.run.files.get(filenames.HISTORY, "")
    expected = provenance.statement(stated, found.run, found.data, digests, filenames.CHECKPOINT)
    if base := provenance.base_of(found.provenance):
        with suppress(InputError):  # of a bundle.json; its own check says what is wrong with it
            expected = provenance.derived(expected, base, exports.hef_digests(folder))
        yield from _base_problems(folder, found, base)
    for place, theirs, ours in paired_leaves(found.provenance.to_document(), expected.to_document()):
        yield from _equal(filenames.PROVENANCE, place, theirs, ours)
    yield from _configuration_problems(found, config)
    if not any("path" in source for source in provenance.sources_of(stated)):  # a path was cut; without one it is whole
        sealed = found.run.files.get(filenames.CONFIG)
        yield from _equal(filenames.PROVENANCE, "config's sha256", files.sha256_bytes(files.to_json(stated)), sealed)


def _base_problems(folder: Path, found: Documents, base: ResourceDescriptor) -> Iterator[Problem]:
    """Hold a version against the one that it says it was made from, where that lies beside it."""
    model, _, version = base.name.removeprefix(provenance.BASE).partition("@")
    yield from _equal(filenames.PROVENANCE, base.name, model, found.manifest.model)
    manifest = folder.parent / version / filenames.MANIFEST
    if "/" in version or not manifest.is_file():
        return
    yield from _equal(filenames.PROVENANCE, base.name, base.digest.get("sha256"), files.sha256(manifest))
    try:
        entries = load(manifest, Manifest).files
    except InputError as error:
        yield from (Problem(f"{base.name}: {where}", what) for where, what in error.problems)
        return
    for entry in entries:
        if entry.path in UNCHANGED:
            yield from _equal(entry.path, f"sha256 as in {base.name}", found.digests[entry.path], entry.sha256)


def _configuration_problems(found: Documents, config: TrainConfig) -> Iterator[Problem]:
    for name, stated, made in (
        ("model", config.model, found.spec.settings),
        ("evaluation", config.evaluation, found.measured.settings),
        ("split", config.split.by, found.data.split),
        ("training.seed", config.training.seed, found.run.seed),
    ):
        yield from _equal(filenames.PROVENANCE, f"config.{name}", stated, made)


def _estimate_problems(folder: Path, found: Documents, present: set[str]) -> Iterator[Problem]:
    """Hold what the metrics repeat of the 8-bit estimate against it; older metrics repeat nothing."""
    with suppress(InputError):  # of an int8.json; its own check says what is wrong with it
        estimate = exports.estimate_of(folder, present)
        if found.measured.int8:
            yield from _equal(filenames.METRICS, "int8", found.measured.int8, estimate and estimate.summary)


def _checkpoint_problems(path: Path, spec: ModelSpec) -> Iterator[Problem]:
    try:
        arrays = safetensors_file.read(path)
    except InputError as error:
        yield from error.problems
    else:
        yield from (Problem(path.name, what) for what in safetensors_file.find_problems(arrays, spec))


def _prediction_problems(path: Path, found: Documents) -> Iterator[Problem]:
    """Compute the metrics again from the recorded predictions, and see that they are of the whole test part."""
    spec, measured = found.spec, found.measured
    try:
        predictions = metrics.from_arrays(npz.read(path), path.name, len(spec.classes))
        again = metrics.compute(predictions, classes=spec.classes, levels=spec.levels, settings=measured.settings)
    except InputError as error:
        yield from error.problems
        return
    for place, what in metrics.differences(measured, again):
        yield Problem(f"{filenames.METRICS}: {place}", what)
    if (predictions.code is None) != (spec.levels is None):
        yield Problem(path.name, "holds no codes" if spec.levels else "holds codes of a model that has none")
    tested = measured.protocol.tested
    windows = set(zip(predictions.recording.tolist(), predictions.start.tolist(), strict=True))
    yield from _equal(path.name, "subjects", sorted(again.per_subject), sorted(tested.subjects))
    yield from _equal(path.name, "recordings", len(set(predictions.recording.tolist())), tested.recordings)
    yield from _equal(path.name, "distinct windows", len(windows), tested.windows)
    supports = {name: row.support for name, row in again.per_class.items()}
    yield from _equal(path.name, "windows of each class", supports, tested.class_windows)


def _latency_problems(folder: Path, found: Documents) -> Iterator[Problem]:
    try:
        yield from exports.find_latency_problems(folder, found.spec.settings.name)
    except InputError as error:
        yield from error.problems


def _gate_report(folder: Path, present: set[str]) -> GateReport | None:
    """Read the gates that the release had to meet; None where it had none. Raises InputError."""
    return load(folder / filenames.GATES, GateReport) if filenames.GATES in present else None


def _rendered_problems(folder: Path, found: Documents, present: set[str]) -> Iterator[Problem]:
    """Make the card again, and the bill of materials where there is one, from the records that both are made of."""
    manifest, path = found.manifest, folder / filenames.CARD
    try:
        text = files.read_bytes(path, CARD_LIMIT).decode("utf-8")
        license_ = model_card.stated_license(text)
        templates = template_versions.named(manifest.templates)
        report = _gate_report(folder, present)
        estimate = exports.estimate_of(folder, present)
    except UnicodeDecodeError as error:
        yield Problem(path.name, f"not UTF-8 at byte {error.start}")
    except InputError as error:
        yield from error.problems
    else:
        measured, spec, data, run = found.measured, found.spec, found.data, found.run
        facts = model_card.Facts(
            manifest.model, manifest.version, license_, measured, spec, data, run, report, estimate
        )
        for place, what in model_card.find_differences(text, facts, templates):
            yield Problem(f"{path.name}: {place}", what)
        if report:
            yield from gates.find_problems(
                report, gates.read_documents(folder, present), filenames.GATES, templates.gate
            )
        if filenames.SBOM in present:
            yield from _bom_problems(folder / filenames.SBOM, found, facts, templates)


def _bom_problems(path: Path, found: Documents, facts: model_card.Facts, templates: Templates) -> Iterator[Problem]:
    manifest = found.manifest
    others = {name: digest for name, digest in found.digests.items() if name != filenames.SBOM}
    expected = templates.sbom(facts, manifest.created, manifest.tool.version, others)
    try:
        stated = files.read_bytes(path)
        document = files.parse_json(stated, path.name)
    except InputError as error:
        yield from error.problems
        return
    for place, theirs, ours in paired_leaves(document, files.parse_json(expected, path.name)):
        yield from _equal(path.name, place, theirs, ours)
    if stated != expected and document == files.parse_json(expected, path.name):
        yield Problem(path.name, "says the right things, but not in canonical JSON")
