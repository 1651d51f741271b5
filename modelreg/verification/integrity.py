"""Integrity of a version: the checks that `verify` reports and that `release` requires to pass.

The checks, in order, with the rules that they report:

1. The folder contains only regular files (`verify.symlink`, `files.not-regular`).
2. manifest.json is valid, is sorted by path (`manifest.not-sorted`), names this model and version
   (`manifest.name-mismatch`), and lists every required file (`manifest.file-unlisted`), no other
   (`manifest.file-unexpected`), each once (`manifest.path-duplicate`). Documents are stored in git, not as assets
   (`manifest.stored-invalid`).
3. Every listed file exists (`verify.file-missing`) with its size (`verify.size-mismatch`) and digest
   (`verify.digest-mismatch`). A release asset may be missing from this machine, unless `--complete` is set
   (`version.asset-missing`).
4. The folder contains no other file (`verify.file-unexpected`) except the manifest, the signature and sha256sum.txt,
   whose digests are those of the manifest (`verify.sums-mismatch`).
5. Each document is valid by its schema and agrees with the other documents and the arrays (consistency.py). If a
   document cannot be read, the checks that do not need it still run, and a notice names the others.
"""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

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
from modelreg.registry import filenames, sealed_files, versions
from modelreg.verification import altered_bytes, consistency
from modelreg.verification.version_files import VersionFiles, unlisted

READ: dict[str, tuple[str, type[Record]]] = {  # the file and the record of each parameter of the checks
    "spec": (filenames.MODEL_CONFIG, ModelSpec),
    "normalization": (filenames.NORMALIZATION, Normalization),
    "metrics": (filenames.METRICS, EvalMetrics),
    "data": (filenames.DATA, DataRecord),
    "run": (filenames.RUN, RunRecord),
    "provenance": (filenames.PROVENANCE, Provenance),
    "gates": (filenames.GATES, GateReport),
}
OPTIONAL = {"gates"}

OTHER_LINE_ENDINGS = "differs from the released file only by its line endings"


@dataclass(frozen=True)
class Findings:
    """Problems and notices of a version, and the number of files whose bytes were compared."""

    problems: tuple[Problem, ...]
    notices: tuple[Notice, ...]
    files: int
    absent: tuple[str, ...] = ()  # release assets that are not on this machine


def inspect(folder: Path, *, named: tuple[str, str] | None = None, complete: bool = False) -> Findings:
    """Check a version's folder. With `complete`, a release asset that is not on this machine is a problem.

    `named` is the expected model and version. The default is that of the folder's path, `<model>/v<version>`.
    """
    model, version = named or (folder.parent.name, folder.name.removeprefix("v"))
    try:
        manifest = load(folder / filenames.MANIFEST, Manifest)
    except InputError as error:
        return Findings((*_irregular(folder), *error.problems), (), 0)
    absent = [entry for entry in manifest.files if entry.stored == "asset" and not (folder / entry.path).exists()]
    absences = tuple(Notice(entry.path, "missing on this machine; it is stored as a release asset") for entry in absent)
    missing = {entry.path for entry in absent}
    present = [entry for entry in manifest.files if entry.path not in missing]
    irregular = list(_irregular(folder))
    odd = {problem.where for problem in irregular}
    plain = [entry for entry in present if not files.lies_in(entry.path, odd)]
    broken = list(find_file_problems(folder, plain))
    problems = [
        *irregular,
        *_manifest_problems(manifest, model, version),
        *(Problem(each.where, "version.asset-missing", each.message) for each in absences if complete),
        *broken,
    ]
    problems += [*_unlisted(folder, manifest), *_sums_problems(folder, manifest)]
    usable = {entry.path for entry in plain} - {problem.where for problem in broken}
    listed = {entry.path: entry.sha256 for entry in manifest.files}
    here = VersionFiles(folder, manifest.version, listed, frozenset(usable), frozenset(missing))
    found = list(_document_problems(manifest, here))
    problems += [each for each in found if isinstance(each, Problem)]
    notices = () if complete else absences
    notices += tuple(each for each in found if isinstance(each, Notice))
    return Findings(tuple(problems), notices, len(present), tuple(entry.path for entry in absent))


def _irregular(folder: Path) -> Iterator[Problem]:
    """Yield everything in a folder that is not a regular file or a non-empty folder. Links are not followed."""
    for place in (folder, folder.parent):
        if place.is_symlink():
            yield _link(place.name)
    for path, mode in _walk(folder):
        if stat.S_ISLNK(mode):
            yield _link(path)
        elif not stat.S_ISREG(mode):
            yield Problem(path, "files.not-regular", "not a regular file")


def _link(place: str) -> Problem:
    return Problem(place, "verify.symlink", "a symbolic link, expected a regular file or folder")


def _walk(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the POSIX path and mode of everything below a folder except non-empty folders, sorted by path."""
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
        what = f"mismatch: manifest of {manifest.model} v{manifest.version}, folder of {model} v{version}"
        yield Problem(filenames.MANIFEST, "manifest.name-mismatch", what)
    if paths != sorted(paths):
        yield Problem(filenames.MANIFEST, "manifest.not-sorted", "files are not sorted by path")
    yield from find_unsafe_paths(manifest)
    yield from _listing_problems(manifest)


def find_unsafe_paths(manifest: Manifest) -> Iterator[Problem]:
    """Yield the paths of a manifest that could not all be files of one folder, or that must not be listed."""
    places = [entry.path.lower() for entry in manifest.files]
    for path, times in Counter(places).items():
        if times > 1:
            what = f"{path} is listed {times} times (upper and lower case compare equal)"
            yield Problem(filenames.MANIFEST, "manifest.path-duplicate", what)
    folders = {parent.as_posix() for path in places for parent in PurePosixPath(path).parents}
    for path in sorted(folders.intersection(places)):
        yield Problem(filenames.MANIFEST, "manifest.path-duplicate", f"{path} is listed as a file and as a folder")
    for name in sorted({filenames.MANIFEST, filenames.SUMS, filenames.SIGNATURE}.intersection(places)):
        yield Problem(filenames.MANIFEST, "manifest.file-unexpected", f"lists {name}, which must not be listed")


def _listing_problems(manifest: Manifest) -> Iterator[Problem]:
    """Yield the files that the manifest must list and does not, and documents that it does not store in git."""
    listed = {entry.path: entry for entry in manifest.files}
    for name in sorted({*filenames.DOCUMENTS, *filenames.ASSETS} - listed.keys()):
        yield unlisted(name)
    for name in sorted({*filenames.DOCUMENTS, filenames.SBOM} & listed.keys()):
        if listed[name].stored != "git":
            what = f"{name} is stored as {listed[name].stored}, expected git"
            yield Problem(filenames.MANIFEST, "manifest.stored-invalid", what)


def find_file_problems(folder: Path, entries: Iterable[FileEntry]) -> Iterator[Problem]:
    """Yield each file of a manifest that is missing or has other bytes."""
    for entry in entries:
        path = folder / entry.path
        if not path.is_file():
            yield sealed_files.missing(entry.path)
        elif problem := _find_difference(path, entry):
            cause = altered_bytes.cause_of(path, entry)
            yield _explained(problem, cause) if cause else problem


def _find_difference(path: Path, entry: FileEntry) -> Problem | None:
    if (size := path.stat().st_size) != entry.size:
        what = f"size mismatch: expected {entry.size:,} bytes, found {size:,}"
        return Problem(entry.path, "verify.size-mismatch", what)
    if (digest := files.sha256(path)) != entry.sha256:
        return sealed_files.digest_mismatch(entry.path, digest, entry.sha256)
    return None


def _explained(problem: Problem, cause: altered_bytes.Cause) -> Problem:
    """Return a problem of a file with what git's tools did to it."""
    if cause == "LFS pointer":
        return Problem(problem.where, "verify.lfs-pointer", "is a Git LFS pointer, not the file itself")
    return Problem(problem.where, "verify.line-endings", OTHER_LINE_ENDINGS)


def _unlisted(folder: Path, manifest: Manifest) -> Iterator[Problem]:
    listed = {entry.path for entry in manifest.files} | {filenames.MANIFEST, filenames.SUMS, filenames.SIGNATURE}
    for path, mode in _walk(folder):
        if path not in listed and stat.S_ISREG(mode):
            step = "an interrupted command may have left it; delete the file" if files.is_leftover(path) else ""
            yield Problem(path, "verify.file-unexpected", f"unexpected: not listed in {filenames.MANIFEST}", step)


def _sums_problems(folder: Path, manifest: Manifest) -> Iterator[Problem]:
    expected = versions.sums_text(manifest, files.sha256(folder / filenames.MANIFEST)).encode()
    path = folder / filenames.SUMS
    if not path.is_file():
        yield sealed_files.missing(filenames.SUMS)
    elif path.stat().st_size != len(expected) or files.read_bytes(path) != expected:
        if path.stat().st_size <= 2 * len(expected) and _has_other_line_endings(folder, manifest):
            yield Problem(filenames.SUMS, "verify.line-endings", OTHER_LINE_ENDINGS)
        else:
            yield Problem(filenames.SUMS, "verify.sums-mismatch", sealed_files.SUMS_MISMATCH)


def _has_other_line_endings(folder: Path, manifest: Manifest) -> bool:
    """Say whether manifest and checksums fit each other once their lines end as modelreg writes them."""
    stated, sums = (
        files.read_bytes(folder / name).replace(b"\r\n", b"\n") for name in (filenames.MANIFEST, filenames.SUMS)
    )
    return sums == versions.sums_text(manifest, files.sha256_bytes(stated)).encode()


def _document_problems(manifest: Manifest, here: VersionFiles) -> Iterator[Problem | Notice]:
    """Read the documents whose digests match the manifest, and compare them with each other."""
    folder, found = here.folder, dict[str, object](manifest=manifest)
    if here.digests.keys() >= {*filenames.DOCUMENTS, *filenames.ASSETS}:
        found["here"] = here
    for name, (path, record) in READ.items():
        if path not in here.digests and name in OPTIONAL:
            found[name] = None
        elif path in here.present:
            yield from _collect(found, name, partial(load, folder / path, record))
    if not here.unusable(f"{target}/{filenames.INT8}" for target in HAILO):
        yield from _collect(found, "estimate", lambda: exports.estimate_of(folder, here.present))
    yield from _collect(found, "templates", lambda: template_versions.named(manifest.templates))
    if filenames.CARD in here.present:
        yield from _collect(found, "license", lambda: model_card.stated_license(model_card.read_card(folder)))
    yield from consistency.find_problems(found)


def _collect(found: dict[str, object], name: str, read: Callable[[], object]) -> Iterator[Problem]:
    """Add the result of `read` to `found`, or yield the problems."""
    try:
        found[name] = read()
    except InputError as error:
        yield from error.problems
