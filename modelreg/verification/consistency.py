"""Consistency of a version's documents with each other and with its arrays.

integrity.py validates each document on its own. The checks here compare the documents: a value that two documents state
must be equal in both, and values that follow from the arrays are computed again. The parameters of a check are the
documents that it needs. If one of them cannot be read, the other checks still run, and a notice names the checks that
did not.

The checks, in order. A value that differs between two documents is reported as `verify.record-mismatch`; other rule ids
are named in parentheses.

1.  model_config.json: the quantizer constants follow from the levels.
2.  run.json has the same model, and the file digests of the manifest. The predictions are those of its latest test-set
    evaluation.
3.  normalization.json and data.json have the channels, devices, sampling rate and shape of the model.
4.  normalization.json was fitted on the training split, or was imported with the weights.
5.  eval_metrics.json has the model, classes, split and digests of the other documents. No test subject is in another
    split (`verify.test-subject-known`).
6.  provenance.json follows from the run, the data, the configuration and the base version.
7.  Graphs and bundles were exported from the checkpoint (exports.py: `export.*`, `hef.*`).
8.  eval_metrics.json has the 8-bit estimate of int8.json.
9.  checkpoint.safetensors has the tensors of model_config.json (`checkpoint.*`, `model.record-mismatch`).
10. eval_metrics.json follows from predictions.npz (`verify.value-mismatch`), which covers the whole test split.
11. latency.json was measured on this version's graphs (`bench.other-graphs`).
12. hsmm.json and encoder.safetensors follow from the checkpoint (`verify.derived-mismatch`), and the smoothed metrics
    from hsmm.json (derived_models.py).
13. calibration.json follows from the predictions that it was fitted on: validation.npz, or predictions.npz of a
    cross-fitted version (`verify.value-mismatch`); and its metrics from predictions.npz (calibration.py).
14. The folds of a cross-fitted version are those of data.json and run.json, test every subject once, and follow from
    predictions.npz (folds.py: `verify.test-subject-known`, `verify.value-mismatch`).
15. model_card.md, gates.json and bom.cdx.json are rendered from the records by the templates that the manifest names
    (rendered_texts.py).

These checks cannot show that the predictions come from the weights and the data. `verify --reproduce` predicts again.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from modelreg import files
from modelreg.artifacts import exports, npz, safetensors_file
from modelreg.documents import provenance as statements
from modelreg.errors import InputError, Notice, Problem
from modelreg.evaluation import fold_metrics, tolerance
from modelreg.evaluation import metrics as scores
from modelreg.records import fsq
from modelreg.records.base import load, paired_leaves
from modelreg.records.data import DataRecord, Normalization
from modelreg.records.int8 import Int8Estimate
from modelreg.records.manifest import Manifest
from modelreg.records.metrics import EvalMetrics
from modelreg.records.model import FsqSpec, ModelSpec
from modelreg.records.provenance import Provenance
from modelreg.records.run import RunRecord
from modelreg.registry import filenames
from modelreg.registry.version_documents import VersionDocuments
from modelreg.verification import calibration, derived_models, folds, rendered_texts
from modelreg.verification import exports as export_checks
from modelreg.verification.version_files import VersionFiles, equal

UNCHANGED = {*filenames.ASSETS, *filenames.DOCUMENTS} - {filenames.CARD, filenames.PROVENANCE}  # of a patch

FIELDS = ("spec", "metrics", "data", "run", "gates", "estimate", "license")  # of a VersionDocuments
Find = Callable[..., Iterator[Problem | Notice]]


class Rule(NamedTuple):
    """One check: its subject, as a notice names it, and the function that finds problems and what it cannot check."""

    subject: str
    find: Find
    reads: tuple[str, ...] = ()  # the files that the function reads itself

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the documents that the check needs: the parameters of its function."""
        return tuple(inspect.signature(self.find).parameters)

    def missing(self, found: Mapping[str, object]) -> tuple[str, ...]:
        """Return the files that the check needs and that could not be read; each part of `documents` counts."""
        names = [part for name in self.needs for part in (FIELDS if name == "documents" else (name,))]
        return tuple(dict.fromkeys(SOURCE[name] for name in names if name not in found))

    def unread(self, found: Mapping[str, object]) -> tuple[str, ...]:
        """Return the files that the check would read and cannot. It still checks the others."""
        here = found.get("here")
        return here.unusable(self.reads) if isinstance(here, VersionFiles) else ()


def find_problems(found: Mapping[str, object]) -> Iterator[Problem | Notice]:
    """Yield the contradictions between documents, and a notice for each check that could not run.

    `found` has the manifest, `here` (the files of the version), the license and the records, by the parameter names of
    the checks (`spec`, `metrics`, `gates`, …). Documents that cannot be read are left out. A document that the version
    does not have is None.
    """
    found = {**found, **_whole(found)}
    for rule in RULES:
        if missing := rule.missing(found):
            yield Notice(rule.subject, f"not checked: needs {', '.join(missing)}")
            continue
        if unread := rule.unread(found):
            yield Notice(rule.subject, f"partly checked: needs {', '.join(unread)}")
        try:
            yield from rule.find(**{name: found[name] for name in rule.needs})
        except InputError as error:  # in a file that the check itself reads
            yield from error.problems


def _whole(found: Mapping[str, Any]) -> dict[str, VersionDocuments]:
    """Return all documents as one record, or nothing if one of them could not be read."""
    if not found.keys() >= set(FIELDS):
        return {}
    manifest: Manifest = found["manifest"]
    parts = {name: found[name] for name in FIELDS}
    graphs = any(entry.path == f"{filenames.ONNX}/{filenames.PARITY}" for entry in manifest.files)
    return {"documents": VersionDocuments(model=manifest.model, version=manifest.version, graphs=graphs, **parts)}


def _quantizer_problems(spec: ModelSpec) -> Iterator[Problem]:
    """Check 1."""
    expected = fsq.quantizer(spec.settings)
    if not isinstance(spec.quantizer, FsqSpec) or not isinstance(expected, FsqSpec):
        yield from equal(filenames.MODEL_CONFIG, "quantizer", spec.quantizer, expected)
        return
    place = f"{filenames.MODEL_CONFIG}: quantizer"
    for name in ("levels", "epsilon", "offset", "half_width", "basis", "half_range"):
        yield from equal(place, name, getattr(spec.quantizer, name), getattr(expected, name))
    pairs = zip(spec.quantizer.shift, expected.shift, strict=False)
    same_length = len(spec.quantizer.shift) == len(expected.shift)
    if not same_length or any(abs(a - b) > tolerance.RECOMPUTED for a, b in pairs):
        what = "mismatch: expected atanh(offset / half_range)"
        yield Problem(f"{place}.shift", "verify.record-mismatch", what)


def _run_problems(here: VersionFiles, run: RunRecord, spec: ModelSpec, metrics: EvalMetrics) -> Iterator[Problem]:
    """Check 2."""
    yield from equal(filenames.RUN, "model", run.model, spec)
    for name in (filenames.CHECKPOINT, filenames.NORMALIZATION, filenames.DATA):
        yield from equal(filenames.RUN, f"files.{name}", run.files.get(name), here.digests.get(name))
    yield from equal(filenames.RUN, "status", run.status, "trained")
    evaluations = [each for each in run.evaluations if each.part == metrics.protocol.part]
    yield from equal(filenames.METRICS, "protocol.evaluations", metrics.protocol.evaluations, len(evaluations))
    if evaluations:
        latest, place = evaluations[-1], "predictions_sha256 of the latest test-set evaluation"
        yield from equal(filenames.RUN, place, latest.predictions_sha256, here.digests.get(filenames.PREDICTIONS))


def _input_problems(spec: ModelSpec, normalization: Normalization, data: DataRecord) -> Iterator[Problem]:
    """Check 3."""
    for name in ("layout", "channels", "devices", "rate_hz", "timesteps", "fold"):
        yield from equal(filenames.NORMALIZATION, name, getattr(normalization, name), getattr(spec.input, name))
    for name in ("channels", "devices", "rate_hz", "fold"):
        yield from equal(filenames.DATA, name, getattr(data, name), getattr(spec.input, name))
    yield from equal(filenames.DATA, "window", data.window, spec.input.timesteps)
    rows = len(spec.input.devices) if normalization.per == "device_channel" else 1
    for name in ("mean", "std"):
        lengths = [len(row) for row in getattr(normalization, name)]
        yield from equal(
            filenames.NORMALIZATION, f"channels in each row of {name}", lengths, [len(spec.input.channels)] * rows
        )


def _fitting_problems(run: RunRecord, normalization: Normalization, data: DataRecord) -> Iterator[Problem]:
    """Check 4."""
    stated = run.imported.normalization_sha256 if run.imported else None
    origin = ("elsewhere", stated) if stated else ("train", data.parts.train.digest)
    for name, expected in zip(("fitted_on", "data_digest"), origin, strict=True):
        yield from equal(filenames.NORMALIZATION, name, getattr(normalization, name), expected)


def _protocol_problems(
    here: VersionFiles, manifest: Manifest, spec: ModelSpec, metrics: EvalMetrics, data: DataRecord
) -> Iterator[Problem]:
    """Check 5."""
    for document, name, stated, other in (
        (filenames.METRICS, "model", metrics.model, spec.settings.name),
        (filenames.METRICS, "classes", metrics.classes, spec.classes),
        (filenames.METRICS, "parameters", metrics.parameters, spec.parameters),
        (filenames.METRICS, "protocol.split", metrics.protocol.split, data.split),
        (filenames.METRICS, "protocol.parts", metrics.protocol.parts, data.parts),
        (filenames.METRICS, "checkpoint_sha256", metrics.checkpoint_sha256, here.digests[filenames.CHECKPOINT]),
        (filenames.METRICS, "predictions_sha256", metrics.predictions_sha256, here.digests[filenames.PREDICTIONS]),
        (filenames.DATA, "classes", data.classes, spec.classes),
        (filenames.MANIFEST, "model", manifest.model, spec.settings.name),
    ):
        yield from equal(document, name, stated, other)
    if data.split != "time" and metrics.protocol.known_subjects:
        names = ", ".join(metrics.protocol.known_subjects)
        what = f"test subjects {names} are also in the training or validation split"
        yield Problem(f"{filenames.METRICS}: protocol.known_subjects", "verify.test-subject-known", what)


def _provenance_problems(
    here: VersionFiles, provenance: Provenance, run: RunRecord, data: DataRecord
) -> Iterator[Problem]:
    """Check 6: make the statement again from the other documents and from the configuration that it contains."""
    stated = provenance.predicate.build_definition.external_parameters.config
    subjects = (*filenames.ASSETS, filenames.NORMALIZATION, filenames.METRICS)
    digests = {name: here.digests[name] for name in subjects if name in here.digests}
    digests |= {name: digest for name, digest in run.files.items() if name == filenames.HISTORY}
    expected = statements.statement(stated, run, data, digests, filenames.CHECKPOINT)
    if base := statements.base_of(provenance):
        with suppress(InputError):  # of a bundle.json; check 7 reports it
            expected = statements.derived(expected, base, exports.hef_digests(here.folder))
    for place, theirs, ours in paired_leaves(provenance.to_document(), expected.to_document()):
        yield from equal(filenames.PROVENANCE, place, theirs, ours)
    if not any(
        "path" in source for source in statements.sources_of(stated)
    ):  # paths are shortened in the statement, which changes its digest
        sealed = run.files.get(filenames.CONFIG)
        yield from equal(filenames.PROVENANCE, "config's sha256", files.sha256_bytes(files.to_json(stated)), sealed)


def _base_problems(here: VersionFiles, manifest: Manifest, provenance: Provenance) -> Iterator[Problem]:
    """Check 6 of a patch: compare it with its base version, if that is in the same folder."""
    base = statements.base_of(provenance)
    if base is None:
        return
    model, _, version = base.name.removeprefix(statements.BASE).partition("@")
    yield from equal(filenames.PROVENANCE, base.name, model, manifest.model)
    path = here.folder.parent / version / filenames.MANIFEST
    if "/" in version or not path.is_file():
        return
    yield from equal(filenames.PROVENANCE, base.name, base.digest.get("sha256"), files.sha256(path))
    try:
        entries = load(path, Manifest).files
    except InputError as error:
        yield from (problem.under(base.name) for problem in error.problems)
        return
    for entry in entries:
        if entry.path in UNCHANGED:
            place = f"sha256 as in {base.name}"
            yield from equal(entry.path, place, here.digests.get(entry.path), entry.sha256)


def _configuration_problems(
    provenance: Provenance, spec: ModelSpec, metrics: EvalMetrics, data: DataRecord, run: RunRecord
) -> Iterator[Problem]:
    """Check 6, the configuration."""
    config = statements.config_of(provenance)
    for name, stated, made in (
        ("model", config.model, spec.settings),
        ("evaluation", config.evaluation, metrics.settings),
        ("split", config.split.by, data.split),
        ("training.seed", config.training.seed, run.seed),
    ):
        yield from equal(filenames.PROVENANCE, f"config.{name}", stated, made)


def _estimate_problems(metrics: EvalMetrics, estimate: Int8Estimate | None) -> Iterator[Problem]:
    """Check 8. Metrics of earlier versions do not have the estimate."""
    if metrics.int8:
        yield from equal(filenames.METRICS, "int8", metrics.int8, estimate and estimate.summary)


def _checkpoint_problems(here: VersionFiles, spec: ModelSpec) -> Iterator[Problem]:
    """Check 9."""
    if filenames.CHECKPOINT in here.present:
        arrays = safetensors_file.read_safetensors(here.folder / filenames.CHECKPOINT)
        yield from safetensors_file.find_tensor_problems(arrays, spec, filenames.CHECKPOINT)


def _prediction_problems(here: VersionFiles, spec: ModelSpec, metrics: EvalMetrics) -> Iterator[Problem]:
    """Check 10."""
    name = filenames.PREDICTIONS
    if name not in here.present:
        return
    predictions = scores.from_arrays(npz.read_npz(here.folder / name), name, len(spec.classes))
    again = (
        fold_metrics.compute_pooled(predictions, spec.classes, metrics.settings)
        if metrics.protocol.folds
        else scores.compute(predictions, classes=spec.classes, levels=spec.levels, settings=metrics.settings)
    )
    yield from (problem.under(filenames.METRICS) for problem in scores.differences(metrics, again))
    stated, expected = ("none" if codes is None else "one for each window" for codes in (predictions.code, spec.levels))
    yield from equal(name, "codes", stated, expected)
    tested = metrics.protocol.tested
    windows = set(zip(predictions.recording.tolist(), predictions.start.tolist(), strict=True))
    yield from equal(name, "subjects", sorted(again.per_subject), sorted(tested.subjects))
    yield from equal(name, "recordings", len(set(predictions.recording.tolist())), tested.recordings)
    yield from equal(name, "distinct windows", len(windows), tested.windows)
    supports = {label: row.support for label, row in again.per_class.items()}
    yield from equal(name, "windows of each class", supports, tested.class_windows)


def _latency_problems(here: VersionFiles, spec: ModelSpec) -> Iterator[Problem]:
    """Check 11."""
    if filenames.LATENCY in here.present:
        yield from exports.find_latency_problems(here.folder, spec.settings.name)


RULES = (
    Rule("the quantizer", _quantizer_problems),
    Rule("run.json and the other documents", _run_problems),
    Rule("channels, devices and rate", _input_problems),
    Rule("the data that the normalization was fitted on", _fitting_problems),
    Rule("the evaluation protocol", _protocol_problems),
    Rule("provenance.json", _provenance_problems),
    Rule("the base version of a patch", _base_problems),
    Rule("the configuration in provenance.json", _configuration_problems),
    Rule("the graphs", export_checks.find_graph_problems, export_checks.GRAPHS_READ),
    Rule("the bundles", export_checks.find_bundle_problems, export_checks.BUNDLES_READ),
    Rule("the 8-bit estimate in the metrics", _estimate_problems),
    Rule("the tensors of the checkpoint", _checkpoint_problems, (filenames.CHECKPOINT,)),
    Rule("the metrics computed from the predictions", _prediction_problems, (filenames.PREDICTIONS,)),
    Rule("latency.json", _latency_problems, (filenames.LATENCY,)),
    Rule("hsmm.json and encoder.safetensors", derived_models.find_problems, derived_models.READ),
    Rule("the calibration", calibration.find_problems, calibration.READ),
    Rule("the folds", folds.find_problems, folds.READ),
    Rule("the model card", rendered_texts.find_card_problems),
    Rule("the gates", rendered_texts.find_gate_problems, rendered_texts.GATES_READ),
    Rule("the software bill of materials", rendered_texts.find_sbom_problems, (filenames.SBOM,)),
)
SOURCE = {  # where each parameter of a check comes from, for the notice
    "manifest": filenames.MANIFEST,
    "here": f"a {filenames.MANIFEST} that lists every document",
    "spec": filenames.MODEL_CONFIG,
    "normalization": filenames.NORMALIZATION,
    "metrics": filenames.METRICS,
    "data": filenames.DATA,
    "run": filenames.RUN,
    "provenance": filenames.PROVENANCE,
    "gates": filenames.GATES,
    "estimate": filenames.INT8,
    "license": filenames.CARD,
    "templates": f"the templates that {filenames.MANIFEST} names",
}
