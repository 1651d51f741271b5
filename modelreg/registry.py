"""Where versions live: `registry/<model>/v<X.Y.Z>/`. Load, list, resolve a reference. A version never changes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import semver

from modelreg import files
from modelreg.errors import Problem, RegistryError
from modelreg.records.base import load
from modelreg.records.metrics import EvalMetrics
from modelreg.records.version import Manifest

FOLDER = "registry"
CHECKPOINT = "checkpoint.safetensors"
CARD = "model_card.md"
MODEL_CONFIG = "model_config.json"
NORMALIZATION = "normalization.json"
METRICS = "eval_metrics.json"
PROVENANCE = "provenance.json"
PREDICTIONS = "predictions.npz"
MANIFEST = "manifest.json"
SUMS = "sha256sum.txt"
SIGNATURE = "model.sig"
DOCUMENTS = (CARD, MODEL_CONFIG, NORMALIZATION, METRICS, PROVENANCE)
ASSETS = (CHECKPOINT, PREDICTIONS)

_REFERENCE = re.compile(r"(?:(?P<model>[a-z][a-z0-9_]*)@)?(?P<which>latest|v?[0-9].*)")


class Version(NamedTuple):
    """A version's place and what its manifest says."""

    folder: Path
    manifest: Manifest

    @property
    def number(self) -> semver.Version:
        """The semantic version."""
        return semver.Version.parse(self.manifest.version)

    @property
    def reference(self) -> str:
        """How the command line names it."""
        return f"{self.manifest.model}@v{self.manifest.version}"

    def metrics(self) -> EvalMetrics:
        """Read its metrics."""
        return load(self.folder / METRICS, EvalMetrics)


def parse_version(text: str) -> semver.Version:
    """Read a semantic version; the leading v is optional. Raises RegistryError."""
    try:
        return semver.Version.parse(text.removeprefix("v"))
    except ValueError as error:
        what = "not a semantic version; write it as v0.2.0 or v0.2.0-rc.1 (https://semver.org)"
        raise RegistryError("no such version can be", [Problem(text, what)]) from error


def version_folders(root: Path, model: str | None = None) -> Iterator[Path]:
    """Yield the folders of all versions, by model and then by precedence."""
    models = [root / FOLDER / model] if model else sorted((root / FOLDER).glob("[a-z]*"))
    for parent in models:
        found = [folder for folder in parent.glob("v*") if semver.Version.is_valid(folder.name[1:])]
        yield from sorted(found, key=lambda folder: semver.Version.parse(folder.name[1:]))


def versions(root: Path, model: str | None = None) -> list[Version]:
    """Load every version, by model and then by precedence. Raises InputError on a broken manifest."""
    return [Version(folder, load(folder / MANIFEST, Manifest)) for folder in version_folders(root, model)]


def resolve(reference: str, root: Path, default_model: str) -> Path:
    """Return the folder of `v0.2.0`, `model@v0.2.0`, `model@latest`. Raises RegistryError."""
    match = _REFERENCE.fullmatch(reference)
    if not match:
        what = "write v0.2.0, model@v0.2.0, model@latest, or the path of a run or version"
        raise RegistryError("no such reference", [Problem(reference, what)])
    model = match["model"] or default_model
    if match["which"] == "latest":
        return latest(root, model)
    folder = root / FOLDER / model / f"v{parse_version(match['which'])}"
    if not folder.is_dir():
        raise RegistryError("unknown version", [Problem(f"{model}@{folder.name}", _known(root, model))])
    return folder


def latest(root: Path, model: str) -> Path:
    """Return the folder of the highest stable version. Raises RegistryError."""
    folders = [f for f in version_folders(root, model) if not semver.Version.parse(f.name[1:]).prerelease]
    if not folders:
        raise RegistryError("unknown version", [Problem(f"{model}@latest", _known(root, model))])
    return folders[-1]


def sums_text(manifest: Manifest, manifest_sha256: str) -> str:
    """Render sha256sum.txt: what the manifest lists, and the manifest itself, for `sha256sum -c`."""
    digests = {entry.path: entry.sha256 for entry in manifest.files} | {MANIFEST: manifest_sha256}
    return "".join(f"{digests[path]}  {path}\n" for path in sorted(digests))


def same_weights(root: Path, model: str, checkpoint: Path) -> Iterator[Version]:
    """Yield the versions whose checkpoint has the very bytes of this one."""
    digest = files.sha256(checkpoint)
    for version in versions(root, model):
        if any(entry.path == CHECKPOINT and entry.sha256 == digest for entry in version.manifest.files):
            yield version


def _known(root: Path, model: str) -> str:
    names = [folder.name for folder in version_folders(root, model)]
    return f"{model} has {', '.join(names)}" if names else f"{model} has no version; make one with `modelreg release`"
