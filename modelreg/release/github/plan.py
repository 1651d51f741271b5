"""Plan a publication: from a version and the releases on GitHub to the steps that are left. No network.

A draft is created first and made public last, so that an incomplete release is never visible. A file that a draft has
with the right name, size and digest is not sent again. So an interrupted publication is finished by running it again,
and a finished one has no steps left. A draft is ours if its text contains the digest of our manifest; other drafts are
never changed.

Two machines may publish the same version at once. Both then fill the draft with the lowest number. The process that
created another one deletes it again. An incomplete upload may be in progress on the other machine, and the file then
be complete, and published, a moment later: it is replaced only after it has been there for a while.

The signature may be added later, because no digest of the release covers it: a published release that has every other
file gets it, unless the release is immutable.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple

import semver

from modelreg import files
from modelreg.documents.model_card import headline
from modelreg.documents.report.formatting import escape
from modelreg.errors import Notice, Problem
from modelreg.records.manifest import Manifest
from modelreg.records.metrics import EvalMetrics
from modelreg.registry import filenames

SIZE_LIMIT = 2**31  # bytes of an asset on GitHub, exclusive
ASSET_LIMIT = 1000  # assets of a release on GitHub
UPLOADED, STARTER = "uploaded", "starter"  # states of an asset; the second: an incomplete upload
SAFE = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.+"
)  # characters that GitHub does not replace
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

    name: str  # flat: a release has no folders
    path: str | None  # in the version's folder; None: its bytes are `content`
    size: int
    sha256: str
    content: bytes | None = None

    @property
    def content_type(self) -> str:
        """The media type, by the suffix of the name."""
        return CONTENT_TYPES.get(PurePosixPath(self.name).suffix, "application/octet-stream")

    @property
    def label(self) -> str:
        """The text on the release page: the path in the version."""
        return self.path or filenames.SUMS


class RemoteAsset(NamedTuple):
    """An asset as GitHub lists it."""

    id: int
    name: str
    size: int
    state: str  # UPLOADED, STARTER
    sha256: str | None  # None: the server lists no digest


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


class ExpectedRelease(NamedTuple):
    """The release that a version should have."""

    tag: str
    title: str
    body: str
    prerelease: bool
    latest: bool
    marker: str  # in the body: the digest of the manifest
    signature: str  # name of the asset that may be added later
    assets: tuple[Asset, ...]


class Create(NamedTuple):
    """Create a draft."""


class Withdraw(NamedTuple):
    """Delete the draft that this process created: the version has an older draft, or is published."""

    release: RemoteRelease


class Delete(NamedTuple):
    """Delete an asset of a draft: an incomplete upload, or other bytes."""

    asset: RemoteAsset


class Upload(NamedTuple):
    """Upload a file."""

    asset: Asset


class Publish(NamedTuple):
    """Make the draft public, after every digest was compared."""


Step = Create | Withdraw | Delete | Upload | Publish


class Plan(NamedTuple):
    """The steps that are left, or the conflicts that prevent them: then only a draft of this process is deleted."""

    release: RemoteRelease | None  # the draft to complete, or the published release
    steps: tuple[Step, ...]
    conflicts: tuple[Problem, ...] = ()  # a published release with other files
    notices: tuple[Notice, ...] = ()  # other drafts for the same tag
    busy: tuple[RemoteAsset, ...] = ()  # uploads that another process may be making


def plan_publish(
    expected: ExpectedRelease,
    releases: Sequence[RemoteRelease],
    created: int | None = None,
    fresh: Collection[int] = (),
) -> Plan:
    """Return the steps from the releases that GitHub has for the tag to a complete public release.

    `created`: the number of the draft that this process created. `fresh`: the numbers of incomplete uploads that are
    not replaced yet.
    """
    ours = sorted((release for release in releases if concerns(expected, release)), key=lambda release: release.id)
    published = next((release for release in ours if not release.draft), None)
    drafts = [release for release in ours if release.draft and expected.marker in release.body]
    chosen = published or next(iter(drafts), None)
    withdrawn = [release for release in drafts if release.id == created and _is_copy(expected, release, chosen)]
    left = [release for release in ours if release.draft and release not in (chosen, *withdrawn)]
    notices = tuple(
        Notice(draft.html_url, f"another draft for {expected.tag} exists and was not changed") for draft in left
    )
    if chosen is None:
        return Plan(None, (Create(), *map(Upload, expected.assets), Publish()), notices=notices)
    busy = tuple(asset for asset in chosen.assets if asset.state == STARTER and asset.id in fresh)
    names = {asset.name for asset in busy}
    missing = [asset for asset in expected.assets if asset.name not in names]
    steps: list[Step] = list(map(Withdraw, withdrawn))
    if chosen.draft:
        steps += [*_repair(missing, chosen, busy), *([] if busy else [Publish()])]
        return Plan(chosen, tuple(steps), notices=notices, busy=busy)
    joined = list(_join(expected, chosen))
    late = {step.asset.name for step in joined}
    conflicts = tuple(problem for problem in find_differences(expected, chosen) if problem.where not in late)
    steps += [] if conflicts or names & late else joined
    return Plan(chosen, tuple(steps), conflicts, notices, busy=() if conflicts or not names & late else busy)


def _is_copy(expected: ExpectedRelease, draft: RemoteRelease, chosen: RemoteRelease | None) -> bool:
    """Return whether a draft is not the chosen release and has no file of anybody else."""
    names = {asset.name for asset in expected.assets}
    return draft != chosen and all(asset.name in names for asset in draft.assets)


def concerns(expected: ExpectedRelease, release: RemoteRelease) -> bool:
    """Say whether a release has the tag, or is our draft and has lost it: GitHub then names the tag untagged-…"""
    return release.tag == expected.tag or (release.draft and expected.marker in release.body)


def _join(expected: ExpectedRelease, release: RemoteRelease) -> Iterator[Delete | Upload]:
    """Yield the steps that add the signature to a published release without a complete one."""
    there = next((asset for asset in release.assets if asset.name == expected.signature), None)
    for asset in expected.assets:
        if asset.name == expected.signature and not release.immutable and (not there or there.state == STARTER):
            yield from [Delete(there)] if there else []
            yield Upload(asset)


def find_differences(expected: ExpectedRelease, release: RemoteRelease) -> Iterator[Problem]:
    """Yield where a release differs from the expected one. A file without a digest is compared by its size only."""
    there = {asset.name: asset for asset in release.assets}
    for asset in expected.assets:
        found = there.get(asset.name)
        if found is None:
            yield _absent(asset, expected, release)
        elif found.state == STARTER:
            yield Problem(asset.name, "publish.upload-incomplete", "the upload of this file is incomplete")
        elif found.size != asset.size:
            message = f"expected {asset.size} bytes, found {found.size} in the release"
            yield Problem(asset.name, "publish.size-mismatch", message)
        elif found.sha256 not in (None, asset.sha256):
            message = f"expected SHA-256 {asset.sha256}, found {found.sha256} in the release"
            yield Problem(asset.name, "publish.digest-mismatch", message)
    names = {expected.signature, *(asset.name for asset in expected.assets)}
    for name in sorted(there.keys() - names):
        yield Problem(name, "publish.file-unexpected", "the release has this file, but the version does not")


def _absent(asset: Asset, expected: ExpectedRelease, release: RemoteRelease) -> Problem:
    if asset.name == expected.signature and release.immutable:
        message = "the signature cannot be added: the release is immutable"
        return Problem(asset.name, "publish.release-immutable", message)
    return Problem(asset.name, "publish.file-missing", "the release does not have this file")


def _is_right(asset: Asset, there: RemoteAsset) -> bool:
    """Say whether an asset is proven by its digest; without one it is sent again while the release is a draft."""
    return (there.name, there.size, there.sha256, there.state) == (asset.name, asset.size, asset.sha256, UPLOADED)


def _repair(missing: Sequence[Asset], draft: RemoteRelease, busy: Collection[RemoteAsset]) -> Iterator[Delete | Upload]:
    right = [there for there in draft.assets if any(_is_right(asset, there) for asset in missing)]
    yield from (Delete(there) for there in draft.assets if there not in right and there not in busy)
    kept = {there.name for there in right}
    yield from (Upload(asset) for asset in missing if asset.name not in kept)


# The expected release


def assets_of(
    manifest: Manifest, manifest_sha256: str, manifest_size: int, signature: Asset | None
) -> tuple[Asset, ...]:
    """Return every file of a version under its flat name, with a sha256sum.txt of those names.

    The sums do not list the signature, which may be added later.
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
    """Yield the files that GitHub would refuse or rename."""
    listed = list(assets)
    if len(listed) > ASSET_LIMIT:
        message = f"the version has {len(listed)} files, but a release has at most {ASSET_LIMIT}"
        yield Problem("assets", "publish.too-many-files", message)
    names: dict[str, str] = {}
    for asset in listed:
        if not 0 < asset.size < SIZE_LIMIT:
            message = f"has {asset.size} bytes; GitHub accepts 1 to {SIZE_LIMIT - 1} bytes"
            yield Problem(asset.name, "publish.file-size", message)
        if set(asset.name) - SAFE or ".." in asset.name or asset.name[:1] == "." or asset.name[-1:] == ".":
            yield Problem(asset.name, "publish.file-name", "GitHub would change this name")
        twin = names.setdefault(asset.name.lower(), asset.label)
        if twin != asset.label:
            message = f"{asset.label} and {twin} would have the same name in the release"
            yield Problem(asset.name, "publish.name-collision", message)


def expected_release(
    manifest: Manifest, tag: str, changes: str, measured: EvalMetrics, assets: tuple[Asset, ...], *, highest: bool
) -> ExpectedRelease:
    """Return the release that a version should have.

    `highest`: it is the highest stable version of the model that may have the latest release.
    """
    digest = next(asset.sha256 for asset in assets if asset.path == filenames.MANIFEST)
    marker = f"<!-- modelreg manifest sha256:{digest} -->"
    prerelease = bool(semver.Version.parse(manifest.version).prerelease)
    return ExpectedRelease(
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
    tested = ", ".join(map(escape, protocol.tested.subjects))
    known = ", ".join(map(escape, protocol.known_subjects))
    trained = f"the model was also trained on {known}" if known else "the model was trained on none of them"
    if protocol.folds is not None:
        trained = f"each predicted by one of {len(protocol.folds)} models that never saw the subject"
    head = f"Metrics on {measured.windows} windows of {tested} ({trained}):"
    return f"{head}\n\n| metric | value |\n|---|---:|\n{rows}"


def _instructions(manifest: Manifest, tag: str) -> str:
    reference = f"{manifest.model}@v{manifest.version}"
    sums = asset_name(manifest.model, manifest.version, filenames.SUMS)
    return f"""Verify the files: `gh release download {tag} && sha256sum -c {sums}`,
or `modelreg verify {reference} --remote` in a clone of the repository."""
