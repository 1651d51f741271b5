"""Publishing, pulling and comparing: a version and its release on GitHub, brought to the same bytes.

`publish` reads, plans and acts until nothing is left to do; after any failure it reads again, so that a lost answer is
found out by looking and nothing is repeated blindly. `pull` checks every byte against the manifest before a file takes
its name. Both can be killed anywhere and run again.
"""

import shutil
from pathlib import Path
from typing import Literal, NamedTuple

from modelreg import files, publishing, registry
from modelreg.errors import Problem, PublishConflict, RemoteError, VerificationFailed
from modelreg.github import Client, Retry, Tell, tell_nobody
from modelreg.publishing import (
    Create,
    Delete,
    RemoteAsset,
    RemoteRelease,
    Step,
    Upload,
    Wanted,
    find_differences,
    plan_publish,
)
from modelreg.records.base import parse
from modelreg.records.version import FileEntry, Manifest

Part = Literal["all", "checkpoint", "bundle", "documents"]


class Outcome(NamedTuple):
    """What publishing came to."""

    release: RemoteRelease
    sent: tuple[str, ...]  # names of the files that were uploaded
    notices: tuple[Problem, ...]


def publish(client: Client, wanted: Wanted, folder: Path, tell: Tell = tell_nobody) -> Outcome:
    """Bring a release to what is wanted, from wherever it stands; one that is there already is left as it is.

    Raises PublishConflict where other bytes are published, RemoteError where the server cannot be brought to it.
    """
    sent: list[str] = []
    mine: int | None = None  # a fresh draft may be missing from the list for a while
    failures = 0
    while True:
        plan = plan_publish(wanted, look(client, wanted.tag, mine))
        if plan.conflicts:
            summary = f"{wanted.tag} is published already, with other files; take a new version"
            raise PublishConflict(summary, plan.conflicts)
        if plan.release and not plan.steps:
            return Outcome(_read_back(client, plan.release, wanted), tuple(sent), plan.notices)
        release = plan.release
        try:
            for step in plan.steps:
                release = _act(client, release, step, wanted, folder, tell)
                mine = release.id
                failures = 0
                if isinstance(step, Upload):
                    sent.append(step.asset.name)
        except Retry as retry:
            client.wait(failures, retry)
            failures += 1


def look(client: Client, tag: str, mine: int | None = None) -> list[RemoteRelease]:
    """Return the releases of a tag with all of their assets: the list leaves out uploads that never ended.

    `mine` is the draft that this process made, which the list may lack for a while.
    """
    numbers = {release.id for release in client.releases() if release.tag == tag}
    return [client.release(number) for number in sorted(numbers | ({mine} if mine is not None else set()))]


def _act(
    client: Client, release: RemoteRelease | None, step: Step, wanted: Wanted, folder: Path, tell: Tell
) -> RemoteRelease:
    """Carry out one step and return the release that the next one is about."""
    if isinstance(step, Create) or release is None:
        return client.create(wanted)
    if isinstance(step, Delete):
        client.delete(step.asset)
    elif isinstance(step, Upload):
        client.upload(release, step.asset, folder, tell)
    else:
        if problems := list(find_differences(wanted, client.release(release.id))):
            raise Retry(problems[0])  # what is not right is planned anew
        return client.publish(release, wanted)
    return release


def _read_back(client: Client, release: RemoteRelease, wanted: Wanted) -> RemoteRelease:
    """Return the published release as anybody reads it. Raises PublishConflict where it is not what was wanted."""
    found = client.release(release.id)
    if problems := list(find_differences(wanted, found)):
        raise PublishConflict(f"{wanted.tag} is published with other files", problems)
    return found


def find_remote_problems(
    client: Client, wanted: Wanted, scratch: Path | None, tell: Tell = tell_nobody
) -> list[Problem]:
    """Return where the published release differs from the version; with `scratch`, also in the bytes themselves."""
    release = client.published(wanted.tag)
    problems = list(find_differences(wanted, release))
    there = {asset.name: asset for asset in release.assets}
    unproven = [a for a in wanted.assets if a.name in there and (scratch or there[a.name].sha256 is None)]
    if unproven and scratch is None:
        problems += [Problem(a.name, "the server tells no digest: compare the bytes with --download") for a in unproven]
        return problems
    for asset in unproven:
        target = _fetched(client, there[asset.name], scratch or Path(), tell)
        if (digest := files.sha256(target)) != asset.sha256:
            problems.append(Problem(asset.name, f"holds sha256 {digest}, not {asset.sha256}"))
        target.unlink()
    return problems


# Pull


class Wish(NamedTuple):
    """What is to be here."""

    model: str
    version: str
    tag: str
    folder: Path  # of the version
    part: Part = "all"

    def asset(self, path: str) -> str:
        """The flat name of a file of the version."""
        return publishing.asset_name(self.model, self.version, path)


def pull(client: Client, wish: Wish, tell: Tell = tell_nobody) -> list[str]:
    """Download what a version's folder lacks and return the paths that came; each is checked before it has its name.

    A folder that is not there yet appears whole. Raises VerificationFailed where bytes are not those of the manifest,
    RemoteError where the release lacks a file.
    """
    there = {asset.name: asset for asset in client.published(wish.tag).assets}
    scratch = wish.folder.with_name(f".{wish.folder.name}.pull")
    place = wish.folder if wish.folder.exists() else scratch / "whole"
    for folder in (scratch, place):
        folder.mkdir(parents=True, exist_ok=True)
    data = _manifest_bytes(client, there, wish, scratch, tell)
    manifest = parse(data, Manifest, registry.MANIFEST)
    _refuse_other(manifest, wish)
    lacking = [entry for entry in manifest.files if _is_part(entry, wish.part) and not _is_here(place, entry)]
    if absent := [
        Problem(entry.path, "is not in the release") for entry in lacking if wish.asset(entry.path) not in there
    ]:
        raise RemoteError(f"{wish.tag} is not whole", absent)
    for entry in lacking:
        target = _fetched(client, there[wish.asset(entry.path)], scratch, tell)
        _check(target, entry)
        (place / entry.path).parent.mkdir(parents=True, exist_ok=True)
        target.replace(place / entry.path)
    came = [entry.path for entry in lacking] + _write_missing(place, manifest, data)
    if place != wish.folder:
        place.rename(wish.folder)
    shutil.rmtree(scratch)
    return came


def _refuse_other(manifest: Manifest, wish: Wish) -> None:
    if (manifest.model, manifest.version) != (wish.model, wish.version):
        what = f"is of {manifest.model} v{manifest.version}, asked for was {wish.model} v{wish.version}"
        raise VerificationFailed("not the version that was asked for", [Problem(registry.MANIFEST, what)])


def _write_missing(place: Path, manifest: Manifest, data: bytes) -> list[str]:
    """Write the manifest and sha256sum.txt where they are missing, and return their names."""
    sums = registry.sums_text(manifest, files.sha256_bytes(data)).encode()
    missing = {name: d for name, d in ((registry.MANIFEST, data), (registry.SUMS, sums)) if not (place / name).exists()}
    for name, content in missing.items():
        files.write_atomic(place / name, content)
    return list(missing)


def _manifest_bytes(client: Client, there: dict[str, RemoteAsset], wish: Wish, scratch: Path, tell: Tell) -> bytes:
    """Return the manifest: that of the folder where it has one, for git is nearer than the release."""
    if (wish.folder / registry.MANIFEST).is_file():
        return files.read_bytes(wish.folder / registry.MANIFEST)
    name = wish.asset(registry.MANIFEST)
    if name not in there:
        raise RemoteError("the release is not one of ours", [Problem(name, "is not among its files")])
    return files.read_bytes(_fetched(client, there[name], scratch, tell))


def _fetched(client: Client, asset: RemoteAsset, scratch: Path, tell: Tell) -> Path:
    """Download an asset, going on with what an earlier attempt left of the very same one."""
    target = scratch / f"{asset.id}.part"
    client.download(asset, target, tell)
    return target


def _check(path: Path, entry: FileEntry) -> None:
    size, digest = path.stat().st_size, files.sha256(path)
    if (size, digest) != (entry.size, entry.sha256):
        path.unlink()
        what = f"came with {size} bytes of sha256 {digest}, the manifest says {entry.size} of {entry.sha256}"
        raise VerificationFailed("the download is not what the manifest says", [Problem(entry.path, what)])


def _is_part(entry: FileEntry, part: Part) -> bool:
    match part:
        case "checkpoint":
            return entry.path == registry.CHECKPOINT
        case "bundle":
            return entry.path.startswith("hailo8")
        case "documents":
            return entry.stored == "git"
        case _:
            return True


def _is_here(folder: Path, entry: FileEntry) -> bool:
    path = folder / entry.path
    return path.is_file() and path.stat().st_size == entry.size and files.sha256(path) == entry.sha256
