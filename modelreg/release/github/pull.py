"""Pulling: what a version lacks on this machine comes from its release.

Every byte is checked against the manifest before a file takes its name, and a folder that is not there yet appears
whole. It can be killed anywhere and run again: what had come is gone on with.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from modelreg import files
from modelreg.errors import Problem, RemoteError, VerificationFailed
from modelreg.records.base import parse
from modelreg.records.manifest import FileEntry, Manifest
from modelreg.registry import filenames, versions
from modelreg.release.github import plan
from modelreg.release.github.client import Client
from modelreg.release.github.http_client import Tell, tell_nobody
from modelreg.release.github.plan import UPLOADED, RemoteAsset

Part = Literal["all", "checkpoint", "bundle", "documents"]


class Wish(NamedTuple):
    """What is to be here."""

    model: str
    version: str
    tag: str
    folder: Path  # of the version
    part: Part = "all"

    def asset(self, path: str) -> str:
        """The flat name of a file of the version."""
        return plan.asset_name(self.model, self.version, path)


class Source(NamedTuple):
    """A published release and where its files come down to."""

    client: Client
    assets: Mapping[str, RemoteAsset]  # by their names
    scratch: Path
    tell: Tell

    def fetch(self, name: str) -> Path:
        """Download an asset, going on with what an earlier attempt left of the very same one."""
        return self.client.download(self.assets[name], self.scratch, self.tell)


def pull(client: Client, wish: Wish, tell: Tell = tell_nobody) -> list[str]:
    """Download what a version's folder lacks and return the paths that came; each is checked before it has its name.

    Raises VerificationFailed where bytes are not those of the manifest, RemoteError where the release lacks a file,
    InputError while another process pulls into the same folder.
    """
    assets = {asset.name: asset for asset in client.published(wish.tag).assets if asset.state == UPLOADED}
    scratch = wish.folder.with_name(f".{wish.folder.name}.pull")
    scratch.mkdir(parents=True, exist_ok=True)
    with files.sole_writer(scratch, wish.folder):
        place = wish.folder if wish.folder.exists() else scratch / "whole"
        place.mkdir(exist_ok=True)
        came = _fill(Source(client, assets, scratch, tell), wish, place)
        if place != wish.folder:
            place.rename(wish.folder)
        shutil.rmtree(scratch)
    return came


def _fill(source: Source, wish: Wish, place: Path) -> list[str]:
    """Bring what the version's folder lacks to its place."""
    data = _manifest_bytes(source, wish)
    manifest = parse(data, Manifest, filenames.MANIFEST)
    _refuse_other(manifest, wish)
    lacking = [entry for entry in manifest.files if _is_part(entry, wish.part) and not _is_here(place, entry)]
    if absent := [entry.path for entry in lacking if wish.asset(entry.path) not in source.assets]:
        raise RemoteError(
            f"{wish.tag} is not whole", [Problem(path, "todo.pull", "is not in the release") for path in absent]
        )
    for entry in lacking:
        came = source.fetch(wish.asset(entry.path))
        _check(came, entry.path, entry.sha256)
        (place / entry.path).parent.mkdir(parents=True, exist_ok=True)
        came.replace(place / entry.path)
    return [entry.path for entry in lacking] + _signature(source, wish, place) + _write_missing(place, manifest, data)


def _manifest_bytes(source: Source, wish: Wish) -> bytes:
    """Return the manifest: that of the folder where it has one, for git is nearer than the release."""
    if (wish.folder / filenames.MANIFEST).is_file():
        return files.read_bytes(wish.folder / filenames.MANIFEST)
    name = wish.asset(filenames.MANIFEST)
    if name not in source.assets:
        raise RemoteError("the release is not one of ours", [Problem(name, "todo.pull", "is not among its files")])
    return files.read_bytes(source.fetch(name))


def _refuse_other(manifest: Manifest, wish: Wish) -> None:
    if (manifest.model, manifest.version) != (wish.model, wish.version):
        what = f"is of {manifest.model} v{manifest.version}, asked for was {wish.model} v{wish.version}"
        raise VerificationFailed("not the version that was asked for", [Problem(filenames.MANIFEST, "todo.pull", what)])


def _signature(source: Source, wish: Wish, place: Path) -> list[str]:
    """Bring the signature where the release has one and the folder has none; it proves itself, `verify` looks."""
    name = wish.asset(filenames.SIGNATURE)
    wished = wish.part in ("all", "documents") and not (place / filenames.SIGNATURE).exists()
    if not wished or name not in source.assets:
        return []
    came = source.fetch(name)
    _check(came, filenames.SIGNATURE, source.assets[name].sha256)
    came.replace(place / filenames.SIGNATURE)
    return [filenames.SIGNATURE]


def _write_missing(place: Path, manifest: Manifest, data: bytes) -> list[str]:
    """Write the manifest and sha256sum.txt where they are missing, and return their names."""
    sums = versions.sums_text(manifest, files.sha256_bytes(data)).encode()
    missing = {
        name: d for name, d in ((filenames.MANIFEST, data), (filenames.SUMS, sums)) if not (place / name).exists()
    }
    for name, content in missing.items():
        files.write_atomic(place / name, content)
    return list(missing)


def _check(came: Path, path: str, sha256: str | None) -> None:
    """Refuse a download that has another digest than is known of it, and throw it away."""
    digest = files.sha256(came)
    if sha256 not in (None, digest):
        came.unlink()
        problem = Problem(path, "todo.pull", f"came with sha256 {digest}, expected was {sha256}; run it again")
        raise VerificationFailed("a download is not what it should be", [problem])


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
