"""Everything that can be wrong with a version: what `verify` reports and `release` demands to be empty.

The rules, in order:

1. The folder holds regular files only: no symlink, no device, nothing outside it.
2. manifest.json is valid, sorted, and names this model and version; no two paths differ only by case.
3. Every listed file is there, with its size and digest. A file that travels as an asset may be absent.
4. Nothing else is there but the manifest, sha256sum.txt (which says the same) and the signature.
5. Each document is valid by its schema, and they agree with each other and with the arrays (consistency.py). Where one
   cannot be read, what does not need it is still checked, and a notice names what was not.
"""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from modelreg import files
from modelreg.artifacts import exports
from modelreg.documents import model_card, template_versions
from modelreg.errors import InputError, Notice, Problem
from modelreg.records.base import Record, load
from modelreg.records.data import DataRecord, Normalization
from modelreg.records.export import HAILO
from modelreg.records.gates import GateReport
from modelreg.records.manifest import FileEntry, Manifest
from modelreg.records.metrics import EvalMetrics
from modelreg.records.model import ModelSpec
from modelreg.records.provenance import Provenance
from modelreg.records.run import RunRecord
from modelreg.registry import filenames, versions
from modelreg.verification import consistency
from modelreg.verification.version_files import VersionFiles

READ: dict[str, tuple[str, type[Record]]] = {  # by the names that rules use: the file and its record
    "spec": (filenames.MODEL_CONFIG, ModelSpec),
    "normalization": (filenames.NORMALIZATION, Normalization),
    "metrics": (filenames.METRICS, EvalMetrics),
    "data": (filenames.DATA, DataRecord),
    "run": (filenames.RUN, RunRecord),
    "provenance": (filenames.PROVENANCE, Provenance),
    "gates": (filenames.GATES, GateReport),
}
OPTIONAL = {"gates"}


@dataclass(frozen=True)
class Findings:
    """What is wrong, what is merely worth knowing, and how many files were compared byte for byte."""

    problems: tuple[Problem, ...]
    notices: tuple[Notice, ...]
    files: int
    absent: tuple[str, ...] = ()  # assets that are not on this machine


def inspect(folder: Path, *, named: tuple[str, str] | None = None, complete: bool = False) -> Findings:
    """Check a version's folder. With `complete`, an asset that is not on this machine is a problem.

    `named` is the model and version that it must be; left out: those of its place, `<model>/v<version>`.
    """
    model, version = named or (folder.parent.name, folder.name.removeprefix("v"))
    try:
        manifest = load(folder / filenames.MANIFEST, Manifest)
    except InputError as error:
        return Findings((*_irregular(folder), *error.problems), (), 0)
    absent = [entry for entry in manifest.files if entry.stored == "asset" and not (folder / entry.path).exists()]
    absences = tuple(Notice(entry.path, "is not on this machine: it travels as a release asset") for entry in absent)
    present = [entry for entry in manifest.files if entry not in absent]
    irregular = list(_irregular(folder))
    plain = [entry for entry in present if not _lies_behind(entry.path, {problem.where for problem in irregular})]
    broken = list(_file_problems(folder, plain))
    problems = [
        *irregular,
        *_manifest_problems(manifest, model, version),
        *(Problem(each.where, "todo.integrity", each.message) for each in absences if complete),
        *broken,
    ]
    problems += [*_unlisted(folder, manifest), *_sums_problems(folder, manifest)]
    usable = {entry.path for entry in plain} - {problem.where for problem in broken}
    listed = {entry.path: entry.sha256 for entry in manifest.files}
    here = VersionFiles(folder, manifest.version, listed, frozenset(usable), frozenset(entry.path for entry in absent))
    found = list(_document_problems(manifest, here))
    problems += [each for each in found if isinstance(each, Problem)]
    notices = () if complete else absences
    notices += tuple(each for each in found if isinstance(each, Notice))
    return Findings(tuple(problems), notices, len(present), tuple(entry.path for entry in absent))


def _irregular(folder: Path) -> Iterator[Problem]:
    """Yield what is neither a regular file nor a folder that holds one; links are not followed."""
    for place in (folder, folder.parent):
        if place.is_symlink():
            yield Problem(place.name, "todo.integrity", "is a symbolic link")
    for path, mode in _walk(folder):
        if not stat.S_ISREG(mode):
            yield Problem(
                path, "todo.integrity", "is a symbolic link" if stat.S_ISLNK(mode) else "is not a regular file"
            )


def _walk(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the POSIX path and mode of everything below a folder but folders that hold something, sorted."""
    found = []
    for parent, names, leaves in os.walk(folder, followlinks=False):
        links = [name for name in names if (Path(parent) / name).is_symlink()]
        found += [Path(parent) / name for name in [*leaves, *links]]
        if not names and not leaves and Path(parent) != folder:
            found.append(Path(parent))  # an empty folder
    yield from sorted((path.relative_to(folder).as_posix(), path.lstat().st_mode) for path in found)


def _manifest_problems(manifest: Manifest, model: str, version: str) -> Iterator[Problem]:
    paths = [entry.path for entry in manifest.files]
    if (manifest.model, manifest.version) != (model, version):
        named = f"{manifest.model} v{manifest.version}"
        yield Problem(
            filenames.MANIFEST, "todo.integrity", f"is of {named}, but the folder is that of {model} v{version}"
        )
    if paths != sorted(paths):
        yield Problem(filenames.MANIFEST, "todo.integrity", "files are not sorted by path")
    for path, times in Counter(path.lower() for path in paths).items():
        if times > 1:
            yield Problem(
                filenames.MANIFEST, "todo.integrity", f"{path} is listed {times} times, or differs only by case"
            )
    yield from _listing_problems(manifest)


def _listing_problems(manifest: Manifest) -> Iterator[Problem]:
    """Yield what the manifest must list and does not, or must not and does."""
    listed = {entry.path: entry for entry in manifest.files}
    for name in sorted({*filenames.DOCUMENTS, *filenames.ASSETS} - listed.keys()):
        yield Problem(filenames.MANIFEST, "todo.integrity", f"does not list {name}")
    for name in sorted({filenames.MANIFEST, filenames.SUMS, filenames.SIGNATURE} & listed.keys()):
        yield Problem(filenames.MANIFEST, "todo.integrity", f"lists {name}, which it must not")
    for name in sorted({*filenames.DOCUMENTS, filenames.SBOM} & listed.keys()):
        if listed[name].stored != "git":
            yield Problem(filenames.MANIFEST, "todo.integrity", f"{name} must be stored in git, not as an asset")


def _lies_behind(path: str, places: set[str]) -> bool:
    """Say whether a path is one of these places or lies below one."""
    return any(path == place or path.startswith(f"{place}/") for place in places)


def _file_problems(folder: Path, entries: Iterable[FileEntry]) -> Iterator[Problem]:
    for entry in entries:
        path = folder / entry.path
        if not path.is_file():
            yield Problem(entry.path, "todo.integrity", "is missing")
        elif (size := path.stat().st_size) != entry.size:
            yield Problem(entry.path, "todo.integrity", f"has {size} bytes, not {entry.size}")
        elif (digest := files.sha256(path)) != entry.sha256:
            yield Problem(entry.path, "todo.integrity", f"has sha256 {digest}, not {entry.sha256}")


def _unlisted(folder: Path, manifest: Manifest) -> Iterator[Problem]:
    listed = {entry.path for entry in manifest.files} | {filenames.MANIFEST, filenames.SUMS, filenames.SIGNATURE}
    for path, mode in _walk(folder):
        if path not in listed and stat.S_ISREG(mode):
            yield Problem(path, "todo.integrity", "is not in the manifest")


def _sums_problems(folder: Path, manifest: Manifest) -> Iterator[Problem]:
    expected = versions.sums_text(manifest, files.sha256(folder / filenames.MANIFEST)).encode()
    path = folder / filenames.SUMS
    if not path.is_file():
        yield Problem(filenames.SUMS, "todo.integrity", "is missing")
    elif path.stat().st_size != len(expected) or files.read_bytes(path) != expected:
        yield Problem(filenames.SUMS, "todo.integrity", "does not say what manifest.json says")


def _document_problems(manifest: Manifest, here: VersionFiles) -> Iterator[Problem | Notice]:
    """Read the documents whose bytes are those of the manifest, and hold them against each other."""
    folder, found = here.folder, dict[str, object](manifest=manifest)
    if here.digests.keys() >= {*filenames.DOCUMENTS, *filenames.ASSETS}:
        found["here"] = here
    for name, (path, record) in READ.items():
        if path not in here.digests and name in OPTIONAL:
            found[name] = None
        elif path in here.present:
            yield from _taken(found, name, partial(load, folder / path, record))
    if not here.unusable(f"{target}/{filenames.INT8}" for target in HAILO):
        yield from _taken(found, "estimate", lambda: exports.estimate_of(folder, here.present))
    yield from _taken(found, "templates", lambda: template_versions.named(manifest.templates))
    if filenames.CARD in here.present:
        yield from _taken(found, "license", lambda: model_card.stated_license(model_card.read_card(folder)))
    yield from consistency.find_problems(found)


def _taken(found: dict[str, object], name: str, read: Callable[[], object]) -> Iterator[Problem]:
    """Add what is read to `found`, or yield why it cannot be."""
    try:
        found[name] = read()
    except InputError as error:
        yield from error.problems
