"""Helpers of the tests of publish and pull: a small version, its release, and a session with a fake of GitHub."""

import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fake_github import Exchange, FakeGitHub

from modelreg import files
from modelreg.records.manifest import FileEntry, Manifest, Tool
from modelreg.registry import filenames, versions
from modelreg.release.github import plan
from modelreg.release.github import publish as github_publish
from modelreg.release.github import pull as github_pull
from modelreg.release.github.client import Client
from modelreg.release.github.http_client import Secret, Server
from modelreg.release.github.plan import Asset, ExpectedRelease

MODEL, TAG = "conv2d_fsq", "v0.1.0"
CONTENT = {
    filenames.CHECKPOINT: (b"weights" * 400, "asset"),
    "hailo8/bundle.json": (b"{}\n", "git"),
    filenames.CARD: (b"# A card\n", "git"),
}


class Parcel(NamedTuple):
    """A version's folder and the release it should have."""

    folder: Path
    expected: ExpectedRelease

    @property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of each file of the release."""
        return {asset.name: asset.sha256 for asset in self.expected.assets}

    @property
    def tree(self) -> dict[str, bytes]:
        """Every file of the folder."""
        return tree(self.folder)


def make_parcel(
    folder: Path, signature: bytes | None = None, content: dict[str, tuple[bytes, str]] = CONTENT
) -> Parcel:
    """Write a version of a few files. Their contents are not valid: delivery does not read them."""
    for path, (data, _) in content.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    entries = [
        FileEntry(path=path, sha256=files.sha256_bytes(data), size=len(data), stored=stored)
        for path, (data, stored) in sorted(content.items())
    ]
    manifest = Manifest(
        model=MODEL,
        version=TAG[1:],
        created="2026-11-21T10:00:00Z",
        tool=Tool(version="0.2.0"),
        git=None,
        files=tuple(entries),
    )
    data = manifest.to_bytes()
    (folder / filenames.MANIFEST).write_bytes(data)
    (folder / filenames.SUMS).write_text(versions.sums_text(manifest, files.sha256_bytes(data)))
    return Parcel(folder, expected_of(manifest, data, sign(folder, signature)))


def sign(folder: Path, signature: bytes | None) -> Asset | None:
    """Write a signature into a folder."""
    if signature is None:
        return None
    (folder / filenames.SIGNATURE).write_bytes(signature)
    return Asset("", filenames.SIGNATURE, len(signature), files.sha256_bytes(signature))


def expected_of(manifest: Manifest, data: bytes, signature: Asset | None) -> ExpectedRelease:
    """Return the release of a manifest, without metrics."""
    digest = files.sha256_bytes(data)
    marker = f"<!-- modelreg manifest sha256:{digest} -->"
    return ExpectedRelease(
        tag=TAG,
        title=f"{MODEL} {TAG}",
        body=f"notes\n\n{marker}\n",
        prerelease=False,
        latest=True,
        marker=marker,
        signature=plan.asset_name(MODEL, TAG[1:], filenames.SIGNATURE),
        assets=plan.assets_of(manifest, digest, len(data), signature),
    )


class Time:
    """A clock that only `sleep` advances."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, []

    def sleep(self, seconds: float) -> None:
        """Record a pause."""
        self.now += seconds
        self.slept.append(seconds)


def session(fake: FakeGitHub, *, signed: bool = True, time: Time | None = None, **settings: Any) -> Client:
    """Return a session with the fake."""
    time = time or Time()
    secret = Secret(fake.token) if signed else None
    return Client(Server("acme/models", secret, lambda: time.now, time.sleep, fake.api_url, jitter=max, **settings))


def publish(fake: FakeGitHub, parcel: Parcel, jobs: int = 2, **settings: Any) -> github_publish.Outcome:
    """Publish once."""
    with session(fake, **settings) as client:
        return github_publish.publish(client, parcel.expected, parcel.folder, jobs=jobs)


def pull(fake: FakeGitHub, folder: Path, part: github_pull.Part = "all") -> list[str]:
    """Pull without a token."""
    with session(fake, signed=False) as client:
        return github_pull.pull(client, github_pull.Wish(MODEL, TAG[1:], TAG, folder, part))


def stored(exchanges: list[Exchange]) -> Counter[str]:
    """Count how often each upload was stored completely."""
    uploads = [e for e in exchanges if e.origin == "uploads" and e.response and e.response.status == 201]
    return Counter(e.request.query["name"] for e in uploads)


def git(folder: Path, *arguments: str) -> str:
    """Run git."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def enter(patch: pytest.MonkeyPatch, fake: FakeGitHub, root: Path) -> None:
    """Make a fake the GitHub of the environment, push the tag of a repository, and change into the repository."""
    fake.add_tag(TAG, git(root, "rev-parse", f"refs/tags/{TAG}^{{commit}}"), annotated=True)
    for name in ("GH_TOKEN", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        patch.delenv(name, raising=False)
    patch.setenv("GITHUB_API_URL", fake.api_url)
    patch.setenv("GITHUB_TOKEN", fake.token)
    patch.chdir(root)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
