"""The publishing plan: from a version and what GitHub already has to the steps that are left. Pure: no network.

A draft is made first and published last, so that nobody sees half a release. What a draft already holds with the right
name, size and digest is never sent twice; so a publish that was killed anywhere is finished by running it again, and a
finished one does nothing. A draft is ours if its text bears the digest of our manifest; others are never touched.

One file may come later: the signature, which no digest of the release covers. A published release that has all but it
takes it, unless it is immutable.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple

import semver

from modelreg import files
from modelreg.documents.model_card import headline
from modelreg.documents.report.formatting import escape
from modelreg.errors import Problem
from modelreg.records.manifest import Manifest
from modelreg.records.metrics import EvalMetrics
from modelreg.registry import filenames

SIZE_LIMIT = 2**31  # bytes, exclusive: GitHub's of one asset
ASSET_LIMIT = 1000  # GitHub's of one release
UPLOADED, STARTER = "uploaded", "starter"  # states of an asset; the second: an upload that never ended
SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.+")  # what GitHub surely keeps
CONTENT_TYPES = {
    ".json": "application/json",
    ".md": "text/markdown",
    ".txt": "text/plain",
    ".gz": "application/gzip",
    ".npz": "application/zip",
    ".sig": "application/vnd.dev.sigstore.bundle.v0.3+json",
}


class Asset(NamedTuple):
    """One file of a release."""

    name: str  # flat, as GitHub has it
    path: str | None  # in the version's folder; None: it is `content`
    size: int
    sha256: str
    content: bytes | None = None

    @property
    def content_type(self) -> str:
        """By the name's ending."""
        return CONTENT_TYPES.get(PurePosixPath(self.name).suffix, "application/octet-stream")

    @property
    def label(self) -> str:
        """What a release page shows: the place in the version."""
        return self.path or filenames.SUMS


class RemoteAsset(NamedTuple):
    """An asset as GitHub lists it."""

    id: int
    name: str
    size: int
    state: str  # UPLOADED, STARTER
    sha256: str | None  # None: a server that does not tell


class RemoteRelease(NamedTuple):
    """A release as GitHub lists it, draft or published."""

    id: int
    tag: str
    draft: bool
    immutable: bool
    body: str
    assets: tuple[RemoteAsset, ...]
    upload_url: str
    html_url: str


class Wanted(NamedTuple):
    """The release that is to be."""

    tag: str
    title: str
    body: str
    prerelease: bool
    latest: bool
    marker: str  # in the body: whose manifest it is of
    signature: str  # the name of the one asset that may come later
    assets: tuple[Asset, ...]


class Create(NamedTuple):
    """Make a draft."""


class Delete(NamedTuple):
    """Take an asset out of a draft: an upload that never ended, or other bytes."""

    asset: RemoteAsset


class Upload(NamedTuple):
    """Send a file."""

    asset: Asset


class Publish(NamedTuple):
    """Make the draft public, after every digest was compared."""


Step = Create | Delete | Upload | Publish


class Plan(NamedTuple):
    """What is left to do, or what stands against it."""

    release: RemoteRelease | None  # the draft to go on with, or the published release
    steps: tuple[Step, ...]
    conflicts: tuple[Problem, ...]  # other bytes under a published tag
    notices: tuple[Problem, ...]  # drafts of others for the same tag


def plan_publish(wanted: Wanted, releases: Sequence[RemoteRelease]) -> Plan:
    """Return the steps from what GitHub has for the tag to a complete public release."""
    ours = [release for release in releases if concerns(wanted, release)]
    published = [release for release in ours if not release.draft]
    if published:
        left = _alone(wanted.tag, [release for release in ours if release.draft])
        steps = tuple(_join(wanted, published[0]))
        late = {step.asset.name for step in steps}
        conflicts = [problem for problem in find_differences(wanted, published[0]) if problem.where not in late]
        return Plan(published[0], () if conflicts else steps, tuple(conflicts), left)
    drafts = sorted((r for r in ours if wanted.marker in r.body), key=lambda r: (-_right(wanted, r), r.id))
    others = [r for r in ours if wanted.marker not in r.body] + drafts[1:]
    notices = _alone(wanted.tag, others)
    if not drafts:
        return Plan(None, (Create(), *map(Upload, wanted.assets), Publish()), (), notices)
    return Plan(drafts[0], (*_mend(wanted, drafts[0]), Publish()), (), notices)


def concerns(wanted: Wanted, release: RemoteRelease) -> bool:
    """Say whether a release is of the tag, or a draft of ours that has lost its tag: GitHub then names it untagged-…"""
    return release.tag == wanted.tag or (release.draft and wanted.marker in release.body)


def _join(wanted: Wanted, release: RemoteRelease) -> Iterator[Delete | Upload]:
    """Yield the steps by which the signature joins a published release that has no whole one."""
    there = next((asset for asset in release.assets if asset.name == wanted.signature), None)
    for asset in wanted.assets:
        if asset.name == wanted.signature and not release.immutable and (not there or there.state == STARTER):
            yield from [Delete(there)] if there else []
            yield Upload(asset)


def find_differences(wanted: Wanted, release: RemoteRelease) -> Iterator[Problem]:
    """Yield where a release does not hold what it should; what a server tells no digest of is left to a download."""
    there = {asset.name: asset for asset in release.assets}
    for asset in wanted.assets:
        found = there.get(asset.name)
        if found is None:
            late = asset.name == wanted.signature and release.immutable
            yield Problem(
                asset.name, "todo.plan", "cannot join the release any more: it is immutable" if late else "is missing"
            )
        elif found.state == STARTER:
            yield Problem(asset.name, "todo.plan", "was never uploaded to its end")
        elif found.size != asset.size:
            yield Problem(asset.name, "todo.plan", f"has {found.size} bytes there, {asset.size} here")
        elif found.sha256 not in (None, asset.sha256):
            yield Problem(asset.name, "todo.plan", f"has sha256 {found.sha256} there, {asset.sha256} here")
    expected = {wanted.signature, *(asset.name for asset in wanted.assets)}
    for name in sorted(there.keys() - expected):
        yield Problem(name, "todo.plan", "is there, but not part of the version")


def _alone(tag: str, drafts: Iterable[RemoteRelease]) -> tuple[Problem, ...]:
    return tuple(
        Problem(draft.html_url, "todo.plan", f"is another draft for {tag}; it was left alone") for draft in drafts
    )


def _right(wanted: Wanted, release: RemoteRelease) -> int:
    return sum(_is_right(asset, there) for asset in wanted.assets for there in release.assets)


def _is_right(asset: Asset, there: RemoteAsset) -> bool:
    """Only a digest proves an asset; without one it is sent again while the release is a draft."""
    return (there.name, there.size, there.sha256, there.state) == (asset.name, asset.size, asset.sha256, UPLOADED)


def _mend(wanted: Wanted, draft: RemoteRelease) -> Iterator[Step]:
    wrong = [there for there in draft.assets if not any(_is_right(asset, there) for asset in wanted.assets)]
    yield from map(Delete, wrong)
    kept = {there.name for there in draft.assets if there not in wrong}
    yield from (Upload(asset) for asset in wanted.assets if asset.name not in kept)


# What is wanted


def assets_of(
    manifest: Manifest, manifest_sha256: str, manifest_size: int, signature: Asset | None
) -> tuple[Asset, ...]:
    """Return every file of a version under its flat name, with sha256sum.txt for those names.

    The signature is in neither: it may come after them.
    """
    name = partial(asset_name, manifest.model, manifest.version)
    found = [
        *(Asset(name(entry.path), entry.path, entry.size, entry.sha256) for entry in manifest.files),
        Asset(name(filenames.MANIFEST), filenames.MANIFEST, manifest_size, manifest_sha256),
    ]
    sums = files.sums_text({asset.name: asset.sha256 for asset in found}).encode()
    found.append(Asset(name(filenames.SUMS), None, len(sums), files.sha256_bytes(sums), sums))
    return (*found, signature._replace(name=name(filenames.SIGNATURE))) if signature else tuple(found)


def asset_name(model: str, version: str, path: str) -> str:
    """Return the flat name of a version's file: a release has no folders."""
    return f"{model}-v{version}-{path.replace('/', '-')}"


def find_unfit(assets: Iterable[Asset]) -> Iterator[Problem]:
    """Yield what GitHub would refuse or rename."""
    listed = list(assets)
    if len(listed) > ASSET_LIMIT:
        yield Problem("assets", "todo.plan", f"{len(listed)} files, but a release holds at most {ASSET_LIMIT}")
    names: dict[str, str] = {}
    for asset in listed:
        if not 0 < asset.size < SIZE_LIMIT:
            yield Problem(asset.name, "todo.plan", f"has {asset.size} bytes: a release takes 1 to {SIZE_LIMIT - 1}")
        if set(asset.name) - SAFE or ".." in asset.name or asset.name[:1] == "." or asset.name[-1:] == ".":
            yield Problem(asset.name, "todo.plan", "GitHub would rename it")
        twin = names.setdefault(asset.name.lower(), asset.label)
        if twin != asset.label:
            yield Problem(asset.name, "todo.plan", f"{asset.label} and {twin} would have one name in a flat list")


def wanted_release(
    manifest: Manifest, tag: str, changes: str, measured: EvalMetrics, assets: tuple[Asset, ...], *, highest: bool
) -> Wanted:
    """Return the release of a version; `highest`: no stable version is higher."""
    digest = next(asset.sha256 for asset in assets if asset.path == filenames.MANIFEST)
    marker = f"<!-- modelreg manifest sha256:{digest} -->"
    prerelease = bool(semver.Version.parse(manifest.version).prerelease)
    return Wanted(
        tag=tag,
        title=f"{manifest.model} v{manifest.version}",
        body=f"{changes}\n\n{_numbers(measured)}\n\n{_instructions(manifest, tag)}\n\n{marker}\n",
        prerelease=prerelease,
        latest=highest and not prerelease,
        marker=marker,
        signature=asset_name(manifest.model, manifest.version, filenames.SIGNATURE),
        assets=assets,
    )


def _numbers(measured: EvalMetrics) -> str:
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in headline(measured).items())
    protocol = measured.protocol
    people = ", ".join(map(escape, protocol.tested.subjects))
    known = ", ".join(map(escape, protocol.known_subjects))
    seen = f"; the model was trained on {known} too" if known else ", whom the model never saw"
    return f"On {measured.windows} windows of {people}{seen}:\n\n| metric | value |\n|---|---:|\n{rows}"


def _instructions(manifest: Manifest, tag: str) -> str:
    reference = f"{manifest.model}@v{manifest.version}"
    sums = asset_name(manifest.model, manifest.version, filenames.SUMS)
    return f"""Check the files: `gh release download {tag} && sha256sum -c {sums}`,
or `modelreg verify {reference} --remote` in a clone."""
