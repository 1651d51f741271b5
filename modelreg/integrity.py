"""Everything that can be wrong with a version: what `verify` reports and `release` demands to be empty.

The rules, in order:

1. The folder holds regular files only: no symlink, no device, nothing outside it.
2. manifest.json is valid, sorted, and names this model and version; no two paths differ only by case.
3. Every listed file is there, with its size and digest. A file that travels as an asset may be absent.
4. Nothing else is there but the manifest, sha256sum.txt (which says the same) and the signature.
5. The documents agree: with their schemas, with each other, with the checkpoint's shapes, and the metrics
   with what the recorded predictions give when computed again. The predictions are of the whole held-out part,
   whose subjects stand in no other part. The card states those metrics.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from modelreg import card, files, metrics, registry, weights
from modelreg.errors import InputError, Problem
from modelreg.records.base import AnyRecord, load
from modelreg.records.data import Normalization
from modelreg.records.metrics import EvalMetrics
from modelreg.records.model import ModelSpec
from modelreg.records.version import FileEntry, Manifest, Provenance


@dataclass(frozen=True)
class Findings:
    """What is wrong, what is merely worth knowing, and how many files were compared byte for byte."""

    problems: tuple[Problem, ...]
    notices: tuple[Problem, ...]
    files: int


def inspect(folder: Path, *, named: tuple[str, str] | None = None, complete: bool = False) -> Findings:
    """Check a version's folder. With `complete`, an asset that is not on this machine is a problem.

    `named` is the model and version that it must be; left out: those of its place, `<model>/v<version>`.
    """
    model, version = named or (folder.parent.name, folder.name.removeprefix("v"))
    try:
        manifest = load(folder / registry.MANIFEST, Manifest)
    except InputError as error:
        return Findings((*_irregular(folder), *error.problems), (), 0)
    absent = [entry for entry in manifest.files if entry.stored == "asset" and not (folder / entry.path).exists()]
    notices = tuple(Problem(entry.path, "is not on this machine: it travels as a release asset") for entry in absent)
    present = [entry for entry in manifest.files if entry not in absent]
    problems = [
        *_irregular(folder),
        *_manifest_problems(manifest, model, version),
        *(notices if complete else ()),
    ]
    broken = list(_file_problems(folder, present))
    problems += [*broken, *_unlisted(folder, manifest), *_sums_problems(folder, manifest)]
    usable = {entry.path for entry in present} - {problem.where for problem in broken}
    problems += _document_problems(folder, usable)
    return Findings(tuple(problems), () if complete else notices, len(present))


def _irregular(folder: Path) -> Iterator[Problem]:
    """Yield what is neither a regular file nor a folder; links are not followed."""
    for path, mode in _walk(folder):
        if not stat.S_ISREG(mode):
            yield Problem(path, "is a symbolic link" if stat.S_ISLNK(mode) else "is not a regular file")


def _walk(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the POSIX path and mode of everything below a folder but folders, sorted."""
    found = []
    for parent, names, leaves in os.walk(folder, followlinks=False):
        links = [name for name in names if (Path(parent) / name).is_symlink()]
        found += [Path(parent) / name for name in [*leaves, *links]]
    yield from sorted((path.relative_to(folder).as_posix(), path.lstat().st_mode) for path in found)


def _manifest_problems(manifest: Manifest, model: str, version: str) -> Iterator[Problem]:
    paths = [entry.path for entry in manifest.files]
    if (manifest.model, manifest.version) != (model, version):
        named = f"{manifest.model} v{manifest.version}"
        yield Problem(registry.MANIFEST, f"is of {named}, but the folder is that of {model} v{version}")
    if paths != sorted(paths):
        yield Problem(registry.MANIFEST, "files are not sorted by path")
    for path, times in Counter(path.lower() for path in paths).items():
        if times > 1:
            yield Problem(registry.MANIFEST, f"{path} is listed {times} times, or differs only by case")
    yield from _listing_problems(manifest)


def _listing_problems(manifest: Manifest) -> Iterator[Problem]:
    """Yield what the manifest must list and does not, or must not and does."""
    listed = {entry.path: entry for entry in manifest.files}
    for name in sorted({*registry.DOCUMENTS, *registry.ASSETS} - listed.keys()):
        yield Problem(registry.MANIFEST, f"does not list {name}")
    for name in sorted({registry.MANIFEST, registry.SUMS, registry.SIGNATURE} & listed.keys()):
        yield Problem(registry.MANIFEST, f"lists {name}, which it must not")
    for name in sorted(set(registry.DOCUMENTS) & listed.keys()):
        if listed[name].stored != "git":
            yield Problem(registry.MANIFEST, f"{name} must be stored in git, not as an asset")


def _file_problems(folder: Path, entries: Iterable[FileEntry]) -> Iterator[Problem]:
    for entry in entries:
        path = folder / entry.path
        if any(part.is_symlink() for part in (path, *path.parents) if part.is_relative_to(folder) and part != folder):
            yield Problem(entry.path, "is, or lies behind, a symbolic link")
        elif not path.is_file():
            yield Problem(entry.path, "is missing")
        elif (size := path.stat().st_size) != entry.size:
            yield Problem(entry.path, f"has {size} bytes, not {entry.size}")
        elif (digest := files.sha256(path)) != entry.sha256:
            yield Problem(entry.path, f"has sha256 {digest}, not {entry.sha256}")


def _unlisted(folder: Path, manifest: Manifest) -> Iterator[Problem]:
    listed = {entry.path for entry in manifest.files} | {registry.MANIFEST, registry.SUMS, registry.SIGNATURE}
    for path, mode in _walk(folder):
        if path not in listed and stat.S_ISREG(mode):
            yield Problem(path, "is not in the manifest")


def _sums_problems(folder: Path, manifest: Manifest) -> Iterator[Problem]:
    expected = registry.sums_text(manifest, files.sha256(folder / registry.MANIFEST)).encode()
    path = folder / registry.SUMS
    if not path.is_file():
        yield Problem(registry.SUMS, "is missing")
    elif files.read_bytes(path) != expected:
        yield Problem(registry.SUMS, "does not say what manifest.json says")


def _document_problems(folder: Path, usable: set[str]) -> Iterator[Problem]:
    """Check the documents, each as far as its bytes are what the manifest says."""
    problems: list[Problem] = []

    def read(name: str, record: type[AnyRecord]) -> AnyRecord | None:
        try:
            return load(folder / name, record) if name in usable else None
        except InputError as error:
            problems.extend(error.problems)
            return None

    spec = read(registry.MODEL_CONFIG, ModelSpec)
    normalization = read(registry.NORMALIZATION, Normalization)
    measured = read(registry.METRICS, EvalMetrics)
    provenance = read(registry.PROVENANCE, Provenance)
    yield from problems
    if spec and normalization:
        yield from _normalization_problems(spec, normalization)
    if spec and measured:
        yield from _metrics_problems(folder, spec, measured, usable)
    if spec and registry.CHECKPOINT in usable:
        yield from _checkpoint_problems(folder, spec)
    if measured and registry.CARD in usable:
        yield from _card_problems(folder, measured)
    if measured and normalization and provenance:
        yield from _provenance_problems(measured, normalization, provenance)


def _normalization_problems(spec: ModelSpec, normalization: Normalization) -> Iterator[Problem]:
    for name in ("layout", "channels", "devices", "rate_hz", "timesteps", "fold"):
        ours, theirs = getattr(normalization, name), getattr(spec.input, name)
        if ours != theirs:
            yield Problem(f"{registry.NORMALIZATION}: {name}", f"is {ours}, but model_config.json has {theirs}")
    rows = len(spec.input.devices) if normalization.per == "device_channel" else 1
    for name in ("mean", "std"):
        shape = [len(row) for row in getattr(normalization, name)]
        if shape != [len(spec.input.channels)] * rows:
            what = f"must have {rows} rows of {len(spec.input.channels)} channels"
            yield Problem(f"{registry.NORMALIZATION}: {name}", what)


def _metrics_problems(folder: Path, spec: ModelSpec, measured: EvalMetrics, usable: set[str]) -> Iterator[Problem]:
    for name, theirs in (("classes", spec.classes), ("parameters", spec.parameters)):
        if getattr(measured, name) != theirs:
            what = f"is {getattr(measured, name)}, but model_config.json has {theirs}"
            yield Problem(f"{registry.METRICS}: {name}", what)
    protocol = measured.protocol
    if protocol.split != "time" and protocol.known_subjects:
        names = ", ".join(protocol.known_subjects)
        yield Problem(f"{registry.METRICS}: protocol", f"{names} of the {protocol.part} part stand in another part too")
    for name, stated in (
        (registry.CHECKPOINT, measured.checkpoint_sha256),
        (registry.PREDICTIONS, measured.predictions_sha256),
    ):
        if name in usable and files.sha256(folder / name) != stated:
            yield Problem(registry.METRICS, f"was computed from another {name}")
    if registry.PREDICTIONS in usable and measured.classes == spec.classes:
        yield from _recomputed(folder / registry.PREDICTIONS, spec, measured)


def _recomputed(path: Path, spec: ModelSpec, measured: EvalMetrics) -> Iterator[Problem]:
    """Compute the metrics again from the recorded predictions and yield what differs."""
    try:
        predictions = metrics.from_arrays(files.read_npz(path), path.name, len(spec.classes))
        again = metrics.compute(
            predictions, classes=spec.classes, levels=spec.quantizer.levels, settings=measured.settings
        )
    except InputError as error:
        yield from error.problems
        return
    for place, what in metrics.differences(measured, again):
        yield Problem(f"{registry.METRICS}: {place}", what)
    part, tested = measured.protocol.part, measured.protocol.tested
    for name in sorted(set(again.per_subject) ^ set(tested.subjects)):
        yield Problem(registry.PREDICTIONS, f"subject {name} is either not in the {part} part, or was not predicted")
    for name, row in again.per_class.items():
        if row.support != tested.class_windows.get(name, 0):
            what = f"has {row.support} windows of {name}, but the {part} part {tested.class_windows.get(name, 0)}"
            yield Problem(registry.PREDICTIONS, what)


def _checkpoint_problems(folder: Path, spec: ModelSpec) -> Iterator[Problem]:
    try:
        tensors = weights.read_header(folder / registry.CHECKPOINT)
    except InputError as error:
        yield from error.problems
        return
    if (count := weights.parameter_count(tensors)) != spec.parameters:
        yield Problem(registry.CHECKPOINT, f"holds {count} parameters, but model_config.json has {spec.parameters}")
    shapes = [entry.shape for name, entry in tensors.items() if name.endswith("weight")]
    inputs = {shape[1] for shape in shapes if len(shape) == 4 and shape[1] == len(spec.input.channels)}
    if not inputs:
        yield Problem(registry.CHECKPOINT, f"has no convolution of {len(spec.input.channels)} input channels")
    if not any(len(shape) == 2 and shape[0] == len(spec.classes) for shape in shapes):
        yield Problem(registry.CHECKPOINT, f"has no head of {len(spec.classes)} classes")


def _card_problems(folder: Path, measured: EvalMetrics) -> Iterator[Problem]:
    try:
        text = files.read_bytes(folder / registry.CARD).decode("utf-8")
        differences = list(card.find_differences(text, measured))
    except UnicodeDecodeError as error:
        yield Problem(registry.CARD, f"not UTF-8 at byte {error.start}")
    except InputError as error:
        yield from error.problems
    else:
        yield from (Problem(f"{registry.CARD}: {place}", what) for place, what in differences)


def _provenance_problems(
    measured: EvalMetrics, normalization: Normalization, provenance: Provenance
) -> Iterator[Problem]:
    if provenance.subject[0].digest.get("sha256") != measured.checkpoint_sha256:
        yield Problem(registry.PROVENANCE, "its subject is another checkpoint")
    stated = {r.name: r.digest.get("sha256") for r in provenance.predicate.build_definition.resolved_dependencies}
    for name, part in measured.protocol.parts.items():
        if stated.get(f"data/{name}") != part.digest:
            yield Problem(registry.PROVENANCE, f"the {name} part is not the one of {registry.METRICS}")
    if normalization.data_digest != measured.protocol.parts.train.digest:
        yield Problem(registry.NORMALIZATION, f"was not fitted on the training part of {registry.METRICS}")
