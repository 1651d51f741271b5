"""Download the files of a version that are missing on this machine from its release.

Every file is checked against the manifest before it gets its name, and a new folder appears whole. A download can be
interrupted at any moment and run again: it is resumed.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from modelreg import files
from modelreg.errors import InputError, Problem, RemoteError, VerificationFailed, raise_all
from modelreg.records.base import parse
from modelreg.records.manifest import FileEntry, Manifest
from modelreg.registry import filenames, versions
from modelreg.release.github import plan
from modelreg.release.github.client import Client
from modelreg.release.github.http_client import Progress, ignore_progress
from modelreg.release.github.plan import UPLOADED, RemoteAsset
from modelreg.verification.integrity import find_unsafe_paths
from modelreg.verification.signing import SIGNATURE_LIMIT

Part = Literal["all", "checkpoint", "bundle", "documents"]


class Wish(NamedTuple):
    """The version, or the part of it, to download."""

    model: str
    version: str
    tag: str
    folder: Path  # of the version
    part: Part = "all"

    def asset(self, path: str) -> str:
        """Return the flat name of a file of the version."""
        return plan.asset_name(self.model, self.version, path)


class Source(NamedTuple):
    """A published release, and the folder of unfinished downloads."""

    client: Client
    assets: Mapping[str, RemoteAsset]  # by their names
    scratch: Path
    progress: Progress

    def fetch(self, name: str) -> Path:
        """Download an asset, resuming an interrupted download of the same asset."""
        return self.client.download(self.assets[name], self.scratch, self.progress)

    def fetch_small(self, name: str, limit: int) -> Path:
        """Download a document that no manifest lists. Raises RemoteError if it is over `limit` bytes."""
        return self.client.download_small(self.assets[name], self.scratch, self.progress, limit)


def pull(client: Client, wish: Wish, progress: Progress = ignore_progress) -> list[str]:
    """Download the files that are missing in a version's folder, and return their paths.

    Raises VerificationFailed if a file differs from the manifest, RemoteError if the release does not have a file,
    InputError while another process pulls into the same folder.
    """
    assets = {asset.name: asset for asset in client.published(wish.tag).assets if asset.state == UPLOADED}
    scratch = wish.folder.with_name(f".{wish.folder.name}.pull")
    scratch.mkdir(parents=True, exist_ok=True)
    with files.sole_writer(scratch, wish.folder):
        place = wish.folder if wish.folder.exists() else scratch / "whole"
        place.mkdir(exist_ok=True)
        came = _fill(Source(client, assets, scratch, progress), wish, place)
        if place != wish.folder:
            place.rename(wish.folder)
        shutil.rmtree(scratch)
    return came


def _fill(source: Source, wish: Wish, place: Path) -> list[str]:
    """Download what is missing into `place`, and return the paths."""
    data = _manifest_bytes(source, wish)
    manifest = parse(data, Manifest, filenames.MANIFEST)
    _refuse_other(manifest, wish)
    raise_all("nothing was downloaded", ((VerificationFailed, each) for each in find_unsafe_paths(manifest)))
    missing = [entry for entry in manifest.files if _is_part(entry, wish.part) and not _is_here(place, entry)]
    if absent := [entry.path for entry in missing if wish.asset(entry.path) not in source.assets]:
        message = f"the release {wish.tag} does not have this file"
        problems = [Problem(path, "pull.file-missing", message) for path in absent]
        raise RemoteError(f"cannot pull {wish.model} v{wish.version}", problems)
    _refuse_other_bytes(source, wish, missing)
    _refuse_full_disk(place, missing)
    for entry in missing:
        came = source.fetch(wish.asset(entry.path))
        _check(came, entry.path, entry.sha256)
        (place / entry.path).parent.mkdir(parents=True, exist_ok=True)
        came.replace(place / entry.path)
    return [entry.path for entry in missing] + _signature(source, wish, place) + _write_missing(place, manifest, data)


def _manifest_bytes(source: Source, wish: Wish) -> bytes:
    """Return the manifest of the folder if it has one, else that of the release."""
    if (wish.folder / filenames.MANIFEST).is_file():
        return files.read_bytes(wish.folder / filenames.MANIFEST)
    name = wish.asset(filenames.MANIFEST)
    if name not in source.assets:
        message = f"the release {wish.tag} has no manifest of this version"
        problem = Problem(name, "pull.manifest-missing", message)
        raise RemoteError(f"cannot pull {wish.model} v{wish.version}", [problem])
    return files.read_bytes(source.fetch_small(name, Manifest.SIZE_LIMIT), Manifest.SIZE_LIMIT)


def _refuse_other_bytes(source: Source, wish: Wish, entries: list[FileEntry]) -> None:
    """Raise VerificationFailed where GitHub lists another size or digest than the manifest, which decides."""
    problems = []
    for entry in entries:
        listed = source.assets[wish.asset(entry.path)]
        if listed.size != entry.size:
            message = f"expected {entry.size:,} bytes, the release lists {listed.size:,}"
            problems.append(Problem(entry.path, "pull.size-mismatch", message))
        elif listed.sha256 not in (None, entry.sha256):
            message = f"expected SHA-256 {entry.sha256}, the release lists {listed.sha256}"
            problems.append(Problem(entry.path, "pull.digest-mismatch", message))
    if problems:
        raise VerificationFailed("nothing was downloaded", problems)


def _refuse_full_disk(place: Path, entries: list[FileEntry]) -> None:
    """Raise InputError if the disk has no space for the files."""
    needed, free = sum(entry.size for entry in entries), shutil.disk_usage(place).free
    if needed > free:
        problem = Problem(str(place), "pull.disk-full", f"needs {needed:,} bytes, the disk has {free:,} free")
        raise InputError("nothing was downloaded", [problem])


def _refuse_other(manifest: Manifest, wish: Wish) -> None:
    if (manifest.model, manifest.version) != (wish.model, wish.version):
        message = f"expected {wish.model} v{wish.version}, found {manifest.model} v{manifest.version}"
        problem = Problem(filenames.MANIFEST, "pull.version-mismatch", message)
        raise VerificationFailed("nothing was downloaded", [problem])


def _signature(source: Source, wish: Wish, place: Path) -> list[str]:
    """Download the signature if the release has one and the folder has none. `verify --key` checks it."""
    name = wish.asset(filenames.SIGNATURE)
    wished = wish.part in ("all", "documents") and not (place / filenames.SIGNATURE).exists()
    if not wished or name not in source.assets:
        return []
    came = source.fetch_small(name, SIGNATURE_LIMIT)
    _check(came, filenames.SIGNATURE, source.assets[name].sha256)
    came.replace(place / filenames.SIGNATURE)
    return [filenames.SIGNATURE]


def _write_missing(place: Path, manifest: Manifest, data: bytes) -> list[str]:
    """Write the manifest and sha256sum.txt if they are missing, and return the names of what was written."""
    sums = versions.sums_text(manifest, files.sha256_bytes(data)).encode()
    missing = {
        name: d for name, d in ((filenames.MANIFEST, data), (filenames.SUMS, sums)) if not (place / name).exists()
    }
    for name, content in missing.items():
        files.write_atomic(place / name, content)
    return list(missing)


def _check(came: Path, path: str, sha256: str | None) -> None:
    """Delete a download whose digest is not the expected one. Raises VerificationFailed."""
    digest = files.sha256(came)
    if sha256 not in (None, digest):
        came.unlink()
        problem = Problem(path, "pull.digest-mismatch", f"expected SHA-256 {sha256}, downloaded {digest}")
        raise VerificationFailed("a damaged download was deleted", [problem])


def _is_part(entry: FileEntry, part: Part) -> bool:
    match part:
        case "checkpoint":
            return entry.path == filenames.CHECKPOINT
        case "bundle":
            return entry.path.startswith("hailo8")
        case "documents":
            return entry.stored == "git"
        case _:
            return True


def _is_here(folder: Path, entry: FileEntry) -> bool:
    path = folder / entry.path
    return path.is_file() and path.stat().st_size == entry.size and files.sha256(path) == entry.sha256
