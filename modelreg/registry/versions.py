"""Versions in `registry/<model>/v<X.Y.Z>/`: load, list, resolve a reference. A version never changes.

These readers check strict JSON and the record. Only `verify` also validates each document with the JSON Schema, which
takes ten times as long: a version was verified when it was created. Here, only large documents are: with the schema,
reading stops at the first errors.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import semver

from modelreg import files
from modelreg.errors import InputError, Notice, Problem, RegistryError
from modelreg.records.aliases import AliasLog
from modelreg.records.base import AnyRecord, parse, validate
from modelreg.records.manifest import Manifest
from modelreg.records.metrics import EvalMetrics
from modelreg.registry.filenames import ALIASES, CHECKPOINT, KEEP, MANIFEST, METRICS, MODEL_CONFIG, REGISTRY, SUMS

VERSION_LIMIT = 80  # characters, as records.base.VersionText has it
SMALL = 2**16  # bytes of a document; pydantic takes 5 kB of memory for each byte of one that has only errors

_MODEL = re.compile(r"[a-z][a-z0-9_]*")
_REFERENCE = re.compile(r"(?:(?P<model>[a-z][a-z0-9_]*)@)?(?P<which>latest|v?[0-9].*|[a-z][a-z0-9_-]*)")


class Version(NamedTuple):
    """A version's folder and manifest."""

    folder: Path
    manifest: Manifest

    @property
    def reference(self) -> str:
        """The reference on the command line."""
        return f"{self.manifest.model}@v{self.manifest.version}"

    def metrics(self) -> EvalMetrics:
        """Read the version's metrics."""
        return _read(self.folder / METRICS, EvalMetrics)


class Summary(NamedTuple):
    """One row of `modelreg list`, and the version's folder."""

    reference: str  # conv2d_fsq@v0.2.0
    model: str
    version: str  # 0.2.0
    created: str  # ISO 8601, UTC
    accuracy: float
    macro_f1: float
    parameters: int
    folder: Path


def summaries(root: Path, model: str | None = None) -> tuple[list[Summary], list[Problem]]:
    """Return a summary of every version, and the problems of versions that cannot be read.

    Raises RegistryError for an unknown model.
    """
    if model:
        refuse_unknown_model(root, model)
    found, broken = [], []
    for folder in version_folders(root, model):
        try:
            found.append(_summary(read_version(folder)))
        except InputError as error:
            broken += [problem.under(f"{folder.parent.name}@{folder.name}") for problem in error.problems]
    return found, broken


def _summary(version: Version) -> Summary:
    measured = version.metrics()
    return Summary(
        reference=version.reference,
        model=version.manifest.model,
        version=version.manifest.version,
        created=version.manifest.created,
        accuracy=measured.accuracy,
        macro_f1=measured.macro_f1,
        parameters=measured.parameters,
        folder=version.folder,
    )


def parse_version(text: str) -> semver.Version:
    """Parse a semantic version. The leading v is optional. Raises RegistryError."""
    if len(text.removeprefix("v")) > VERSION_LIMIT:
        what = f"longer than {VERSION_LIMIT} characters"
        raise _invalid(f"{text[:VERSION_LIMIT]}…", what)
    try:
        return semver.Version.parse(text.removeprefix("v"))
    except ValueError as error:
        raise _invalid(text, *_what_is_invalid(text.removeprefix("v"))) from error


def _what_is_invalid(number: str) -> tuple[str, str]:
    """Return what is wrong with a number that is not a semantic version, and the next step if it is certain."""
    rest, plus, build = number.partition("+")
    core, dash, prerelease = rest.partition("-")
    right = f"{_without_zeros(core)}{dash}{_without_zeros(prerelease)}{plus}{build}"
    if right != number and semver.Version.is_valid(right):
        return "invalid version: leading zero", f"write v{right}"
    return "invalid version: not MAJOR.MINOR.PATCH, or MAJOR.MINOR.PATCH-PRERELEASE", ""


def _without_zeros(identifiers: str) -> str:
    """Return dotted identifiers without the leading zeros of those that are numbers."""
    parts = identifiers.split(".")
    return ".".join(part.lstrip("0") or "0" if part.isascii() and part.isdecimal() else part for part in parts)


def is_number(text: str) -> bool:
    """Say whether a text is a version number, without a leading v."""
    return len(text) <= VERSION_LIMIT and semver.Version.is_valid(text)


def _invalid(where: str, what: str, step: str = "") -> RegistryError:
    return RegistryError("cannot read the version number", [Problem(where, "version.invalid", what, step)])


def is_version_folder(folder: Path) -> bool:
    """Return whether a folder is a version: it has a manifest or, if that was lost, a model_config.json."""
    return any((folder / name).is_file() for name in (MANIFEST, MODEL_CONFIG))


def version_folders(root: Path, model: str | None = None) -> Iterator[Path]:
    """Yield the folders of all versions, sorted by model and then by precedence."""
    models = [root / REGISTRY / model] if model else filter(_is_model, _entries(root / REGISTRY))
    for parent in models:
        found = [folder for folder in _entries(parent) if _is_version(folder)]
        yield from sorted(found, key=lambda folder: semver.Version.parse(folder.name[1:]))


def find_strays(root: Path) -> Iterator[Problem]:
    """Yield everything under registry/ that is not a version and that no command reads."""
    for parent in _entries(root / REGISTRY):
        if _is_model(parent):
            for path in _entries(parent):
                if not _is_version(path) and not _is_leftover(path) and path.name not in (KEEP, ALIASES):
                    what = f"unexpected: not a version, expected a folder {parent.name}/v<X.Y.Z>"
                    yield Problem(_place(path, root), "registry.file-unexpected", what)
        elif parent.name != KEEP:
            what = "unexpected: not a model, expected a folder named with lowercase letters, digits and _"
            yield Problem(_place(parent, root), "registry.file-unexpected", what)


def find_leftovers(root: Path) -> Iterator[Notice]:
    """Yield harmless leftovers of an interrupted release or promotion."""
    for parent in filter(_is_model, _entries(root / REGISTRY)):
        for path in filter(_is_leftover, _entries(parent)):
            yield Notice(_place(path, root), "left by an interrupted command; the next command removes it")


def read_version(folder: Path) -> Version:
    """Load a version. Raises InputError for an invalid manifest."""
    return Version(folder, _read(folder / MANIFEST, Manifest))


def versions(root: Path, model: str | None = None) -> list[Version]:
    """Load every version, sorted by model and then by precedence. Raises InputError for an invalid manifest."""
    return [read_version(folder) for folder in version_folders(root, model)]


def resolve(reference: str, root: Path, default_model: str) -> Path:
    """Return the folder of `v0.2.0`, `model@v0.2.0`, `model@latest`, `model@production`. Raises RegistryError."""
    match = _REFERENCE.fullmatch(reference)
    if not match:
        problem = Problem(reference, "reference.invalid", "neither a reference nor a path")
        raise RegistryError("cannot resolve the reference", [problem])
    model = match["model"] or default_model
    which = match["which"]
    if which == "latest":
        return latest(root, model)
    number = which if re.match("v?[0-9]", which) else _aliased(which, root, model)
    folder = root / REGISTRY / model / f"v{parse_version(number)}"
    if not folder.is_dir():
        raise _unknown(f"{model}@{folder.name}", root, model)
    return folder


def _unknown(where: str, root: Path, model: str) -> RegistryError:
    problem = Problem(where, "version.unknown", f"no such version; {_known(root, model)}")
    return RegistryError("no version found", [problem])


def aliases(root: Path, model: str) -> AliasLog:
    """Read the log of a model's aliases, empty if there is none. Raises InputError."""
    path = root / REGISTRY / model / ALIASES
    return _read(path, AliasLog) if path.exists() else AliasLog(model=model)


def _aliased(alias: str, root: Path, model: str) -> str:
    """Return the version of an alias. Raises RegistryError."""
    standing = aliases(root, model).standing
    if alias == model or (root / REGISTRY / alias).is_dir():
        what, fix = "the name of a model, expected a version or an alias", f"use `{alias}@latest` or `{alias}@vX.Y.Z`"
        raise RegistryError("no version found", [Problem(alias, "reference.model-only", what, next=fix)])
    if alias not in standing:
        what = f"no such alias; {_known(root, model)}; aliases: {', '.join(standing) or 'none'}"
        raise RegistryError("no version found", [Problem(f"{model}@{alias}", "alias.unknown", what)])
    return standing[alias][-1]


def refuse_unknown_model(root: Path, model: str) -> None:
    """Raise RegistryError if the registry has no version of a model."""
    known = dict.fromkeys(folder.parent.name for folder in version_folders(root))
    if model not in known:
        what = f"no version of this model; models in the registry: {', '.join(known) or 'none'}"
        raise RegistryError("no model found", [Problem(model, "model.unknown", what)])


def latest(root: Path, model: str) -> Path:
    """Return the folder of the highest stable version. Raises RegistryError."""
    folders = [f for f in version_folders(root, model) if not semver.Version.parse(f.name[1:]).prerelease]
    if not folders:
        raise _unknown(f"{model}@latest", root, model)
    return folders[-1]


def sums_text(manifest: Manifest, manifest_sha256: str) -> str:
    """Render sha256sum.txt for `sha256sum -c`: the files of the manifest, and the manifest."""
    return files.sums_text(_summed(manifest, manifest_sha256))


def digests(manifest: Manifest, manifest_sha256: str) -> dict[str, str]:
    """Return the digest of every file of a version except its signature, by path."""
    sums = sums_text(manifest, manifest_sha256).encode()
    return {**_summed(manifest, manifest_sha256), SUMS: files.sha256_bytes(sums)}


def _summed(manifest: Manifest, manifest_sha256: str) -> dict[str, str]:
    return {**{entry.path: entry.sha256 for entry in manifest.files}, MANIFEST: manifest_sha256}


def same_weights(root: Path, model: str, digest: str) -> Iterator[Version]:
    """Yield the versions whose checkpoint has this SHA-256. Versions with an invalid manifest are skipped."""
    for folder in version_folders(root, model):
        try:
            version = read_version(folder)
        except InputError:  # `verify` reports it
            continue
        if any(entry.path == CHECKPOINT and entry.sha256 == digest for entry in version.manifest.files):
            yield version


def parse_document(data: bytes, record: type[AnyRecord], where: str) -> AnyRecord:
    """Parse a document as strict JSON and as its record; a small one without the JSON Schema."""
    if len(data) > SMALL:
        return parse(data, record, where)
    files.parse_json(data, where)  # pydantic accepts duplicate keys
    return validate(data, record, where)


def _read(path: Path, record: type[AnyRecord]) -> AnyRecord:
    return parse_document(files.read_bytes(path, record.SIZE_LIMIT), record, path.name)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _is_model(path: Path) -> bool:
    return path.is_dir() and _MODEL.fullmatch(path.name) is not None


def _is_version(path: Path) -> bool:
    number = path.name.removeprefix("v")
    return number != path.name and is_number(number) and path.is_dir()


def _is_leftover(path: Path) -> bool:
    staged = path.name.startswith(".v") and path.suffix in {".staged", ".pull"} and path.is_dir()
    return staged or path.name == f".{ALIASES}.tmp"


def _place(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _known(root: Path, model: str) -> str:
    names = [folder.name for folder in version_folders(root, model)]
    if names:
        return f"versions of {model}: {', '.join(names)}"
    others = dict.fromkeys(folder.parent.name for folder in version_folders(root))
    if others:
        return f"versions of {model}: none; models in the registry: {', '.join(others)}"
    return "the registry is empty"
