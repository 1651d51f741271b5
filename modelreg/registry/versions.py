"""Where versions live: `registry/<model>/v<X.Y.Z>/`. Load, list, resolve a reference. A version never changes.

What is read here was verified when the version was made, and `verify` does it again: so these readers check with
strict JSON and the record alone, and leave the second opinion of the JSON Schema (ten times as slow) to `verify`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import semver

from modelreg import files
from modelreg.errors import InputError, Notice, Problem, RegistryError
from modelreg.records.aliases import AliasLog
from modelreg.records.base import AnyRecord, validate
from modelreg.records.manifest import Manifest
from modelreg.records.metrics import EvalMetrics
from modelreg.registry.filenames import ALIASES, CHECKPOINT, KEEP, MANIFEST, METRICS, MODEL_CONFIG, REGISTRY, SUMS

VERSION_LIMIT = 80  # characters, as records.base.VersionText has it

_MODEL = re.compile(r"[a-z][a-z0-9_]*")
_REFERENCE = re.compile(r"(?:(?P<model>[a-z][a-z0-9_]*)@)?(?P<which>latest|v?[0-9].*|[a-z][a-z0-9_-]*)")


class Version(NamedTuple):
    """A version's place and what its manifest says."""

    folder: Path
    manifest: Manifest

    @property
    def reference(self) -> str:
        """How the command line names it."""
        return f"{self.manifest.model}@v{self.manifest.version}"

    def metrics(self) -> EvalMetrics:
        """Read its metrics."""
        return _read(self.folder / METRICS, EvalMetrics)


class Summary(NamedTuple):
    """A version in one line: what `modelreg list` shows, and its folder."""

    reference: str  # conv2d_fsq@v0.2.0
    model: str
    version: str  # 0.2.0
    created: str  # ISO 8601, UTC
    accuracy: float
    macro_f1: float
    parameters: int
    folder: Path


def summaries(root: Path, model: str | None = None) -> tuple[list[Summary], list[Problem]]:
    """Return a summary of every version, and why some cannot be read. Raises RegistryError on an unknown model."""
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
    """Read a semantic version; the leading v is optional. Raises RegistryError."""
    if len(text.removeprefix("v")) > VERSION_LIMIT:
        what = f"longer than {VERSION_LIMIT} characters"
        raise RegistryError("no such version can be", [Problem(f"{text[:VERSION_LIMIT]}…", "todo.versions", what)])
    try:
        return semver.Version.parse(text.removeprefix("v"))
    except ValueError as error:
        what = "not a semantic version; write it as v0.2.0 or v0.2.0-rc.1 (https://semver.org)"
        raise RegistryError("no such version can be", [Problem(text, "todo.versions", what)]) from error


def is_version_folder(folder: Path) -> bool:
    """Say whether a folder is a version's: it has a manifest, or lost it and has the other document of versions."""
    return any((folder / name).is_file() for name in (MANIFEST, MODEL_CONFIG))


def version_folders(root: Path, model: str | None = None) -> Iterator[Path]:
    """Yield the folders of all versions, by model and then by precedence."""
    models = [root / REGISTRY / model] if model else filter(_is_model, _entries(root / REGISTRY))
    for parent in models:
        found = [folder for folder in _entries(parent) if _is_version(folder)]
        yield from sorted(found, key=lambda folder: semver.Version.parse(folder.name[1:]))


def find_strays(root: Path) -> Iterator[Problem]:
    """Yield what lies under registry/ and is no version, so that no command would ever see it."""
    for parent in _entries(root / REGISTRY):
        if _is_model(parent):
            for path in _entries(parent):
                if not _is_version(path) and not _is_leftover(path) and path.name not in (KEEP, ALIASES):
                    yield Problem(
                        _place(path, root),
                        "todo.versions",
                        f"is no version: a version is a folder {parent.name}/v<X.Y.Z>",
                    )
        elif parent.name != KEEP:
            yield Problem(
                _place(parent, root),
                "todo.versions",
                "is no model: a model is a folder named in small letters, digits and _",
            )


def find_leftovers(root: Path) -> Iterator[Notice]:
    """Yield what an interrupted release or promotion left; it does no harm."""
    for parent in filter(_is_model, _entries(root / REGISTRY)):
        for path in filter(_is_leftover, _entries(parent)):
            yield Notice(_place(path, root), "left by an interrupted command; the next command removes it")


def read_version(folder: Path) -> Version:
    """Load a version. Raises InputError on a broken manifest."""
    return Version(folder, _read(folder / MANIFEST, Manifest))


def versions(root: Path, model: str | None = None) -> list[Version]:
    """Load every version, by model and then by precedence. Raises InputError on a broken manifest."""
    return [read_version(folder) for folder in version_folders(root, model)]


def resolve(reference: str, root: Path, default_model: str) -> Path:
    """Return the folder of `v0.2.0`, `model@v0.2.0`, `model@latest`, `model@production`. Raises RegistryError."""
    match = _REFERENCE.fullmatch(reference)
    if not match:
        what = "write v0.2.0, model@v0.2.0, model@latest, model@alias, or the path of a run or version"
        raise RegistryError("no such reference", [Problem(reference, "todo.versions", what)])
    model = match["model"] or default_model
    which = match["which"]
    if which == "latest":
        return latest(root, model)
    number = which if re.match("v?[0-9]", which) else _aliased(which, root, model)
    folder = root / REGISTRY / model / f"v{parse_version(number)}"
    if not folder.is_dir():
        raise RegistryError(
            "unknown version", [Problem(f"{model}@{folder.name}", "todo.versions", _known(root, model))]
        )
    return folder


def aliases(root: Path, model: str) -> AliasLog:
    """Read the changes of a model's aliases; none where there are none. Raises InputError."""
    path = root / REGISTRY / model / ALIASES
    return _read(path, AliasLog) if path.exists() else AliasLog(model=model)


def _aliased(alias: str, root: Path, model: str) -> str:
    """Return the version that an alias names. Raises RegistryError."""
    standing = aliases(root, model).standing
    if alias == model or (root / REGISTRY / alias).is_dir():
        what = f"is a model; name a version of it: {alias}@latest"
        raise RegistryError("unknown alias", [Problem(alias, "todo.versions", what)])
    if alias not in standing:
        known = f"its aliases are {', '.join(standing)}" if standing else "it has no alias"
        raise RegistryError(
            "unknown alias", [Problem(f"{model}@{alias}", "todo.versions", f"{_known(root, model)}; {known}")]
        )
    return standing[alias][-1]


def refuse_unknown_model(root: Path, model: str) -> None:
    """Raise RegistryError where no version of a model is, naming the models that there are."""
    known = dict.fromkeys(folder.parent.name for folder in version_folders(root))
    if model not in known:
        what = f"there is {', '.join(known)}" if known else "the registry is empty"
        raise RegistryError("unknown model", [Problem(model, "todo.versions", what)])


def latest(root: Path, model: str) -> Path:
    """Return the folder of the highest stable version. Raises RegistryError."""
    folders = [f for f in version_folders(root, model) if not semver.Version.parse(f.name[1:]).prerelease]
    if not folders:
        raise RegistryError("unknown version", [Problem(f"{model}@latest", "todo.versions", _known(root, model))])
    return folders[-1]


def sums_text(manifest: Manifest, manifest_sha256: str) -> str:
    """Render sha256sum.txt: what the manifest lists, and the manifest itself, for `sha256sum -c`."""
    return files.sums_text(_summed(manifest, manifest_sha256))


def digests(manifest: Manifest, manifest_sha256: str) -> dict[str, str]:
    """Return the digest of every file of a version but its signature, by path."""
    sums = sums_text(manifest, manifest_sha256).encode()
    return {**_summed(manifest, manifest_sha256), SUMS: files.sha256_bytes(sums)}


def _summed(manifest: Manifest, manifest_sha256: str) -> dict[str, str]:
    return {**{entry.path: entry.sha256 for entry in manifest.files}, MANIFEST: manifest_sha256}


def same_weights(root: Path, model: str, checkpoint: Path) -> Iterator[Version]:
    """Yield the versions whose checkpoint has the very bytes of this one; a broken manifest is not asked."""
    digest = files.sha256(checkpoint)
    for folder in version_folders(root, model):
        try:
            version = read_version(folder)
        except InputError:  # what is wrong with it, `verify` says
            continue
        if any(entry.path == CHECKPOINT and entry.sha256 == digest for entry in version.manifest.files):
            yield version


def parse_document(data: bytes, record: type[AnyRecord], where: str) -> AnyRecord:
    """Read a document that passed its JSON Schema when it was made: strict JSON and the record are enough."""
    files.parse_json(data, where)  # pydantic alone would take a key that is there twice
    return validate(data, record, where)


def _read(path: Path, record: type[AnyRecord]) -> AnyRecord:
    return parse_document(files.read_bytes(path), record, path.name)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _is_model(path: Path) -> bool:
    return path.is_dir() and _MODEL.fullmatch(path.name) is not None


def _is_version(path: Path) -> bool:
    number = path.name.removeprefix("v")
    named = number != path.name and len(number) <= VERSION_LIMIT and semver.Version.is_valid(number)
    return named and path.is_dir()


def _is_leftover(path: Path) -> bool:
    staged = path.name.startswith(".v") and path.suffix == ".staged" and path.is_dir()
    return staged or path.name == f".{ALIASES}.tmp"


def _place(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _known(root: Path, model: str) -> str:
    names = [folder.name for folder in version_folders(root, model)]
    if names:
        return f"{model} has {', '.join(names)}"
    others = dict.fromkeys(folder.parent.name for folder in version_folders(root))
    if others:
        return f"{model} has no version; the registry has versions of {', '.join(others)}"
    return f"{model} has no version; make one with `modelreg release`"
