"""Check a publication before anything is sent: first what costs nothing, then digests and the server."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from modelreg.cli import git, github_session
from modelreg.errors import Failure, InputError, Problem, PublishConflict, RemoteError, VerificationFailed
from modelreg.registry import filenames

if TYPE_CHECKING:
    from modelreg.config import ProjectConfig
    from modelreg.release.github.client import Client
    from modelreg.release.github.plan import Asset, ExpectedRelease


def expected_release(root: Path, project: "ProjectConfig", folder: Path) -> "ExpectedRelease":
    """Return the release that a version should have on GitHub. Raises InputError if its manifest is not valid."""
    from modelreg import files
    from modelreg.registry import versions
    from modelreg.release.github import plan
    from modelreg.release.plan import tag_of

    version = versions.read_version(folder)
    manifest = version.manifest
    tag = tag_of(project, manifest.model, manifest.version)
    path = folder / filenames.MANIFEST
    found = plan.assets_of(manifest, files.sha256(path), path.stat().st_size, _signature(folder))
    stable = not versions.parse_version(manifest.version).prerelease
    eligible = stable and manifest.model == project.latest_model
    highest = eligible and versions.latest(root, manifest.model).name == folder.name
    changes = _changes(root, tag) or ""
    return plan.expected_release(manifest, tag, changes, version.metrics(), found, highest=highest)


def find_failures(client: "Client", root: Path, expected: "ExpectedRelease", folder: Path) -> Iterator[Failure]:
    """Yield what prevents a publication, as far as the digests of the version and the server show it."""
    from modelreg.verification import integrity

    yield from ((VerificationFailed, problem) for problem in integrity.inspect(folder, complete=True).problems)
    try:
        yield from _remote_failures(client, root, expected)
    except (InputError, RemoteError) as error:
        yield from ((type(error), problem) for problem in error.problems)


def find_refusals(client: "Client", root: Path, project: "ProjectConfig", folder: Path) -> Iterator[Problem]:
    """Yield what prevents a publication and costs nothing to find: the token, git, the changelog, names and sizes."""
    if client.server.token is None:
        yield github_session.no_token()
    yield from (Problem(path, "git.uncommitted", "not committed") for path in git.changes(root))
    try:
        yield from _unfit(root, expected_release(root, project, folder))
    except InputError as error:
        yield from error.problems


def _unfit(root: Path, expected: "ExpectedRelease") -> Iterator[Problem]:
    from modelreg.documents import changelog
    from modelreg.release.github import plan

    yield from plan.find_unfit(expected.assets)
    if _changes(root, expected.tag) is None:
        yield Problem(changelog.NAME, "changelog.section-missing", f"has no section [{expected.tag}]")
    if git.tag_commit(root, expected.tag) is None:
        yield Problem(expected.tag, "git.tag-missing", "this tag does not exist here")


def _remote_failures(client: "Client", root: Path, expected: "ExpectedRelease") -> Iterator[Failure]:
    """Yield what the server shows. Raises RemoteError if it cannot be read."""
    from modelreg.release.github import publish

    token, name = client.server.token, client.server.repository
    found = client.repository()
    if found.archived:
        message = "the repository is archived, so nothing can be published"
        yield InputError, Problem(name, "github.repository-archived", message)
    if not found.push and not (token and token.of_installation):  # GitHub does not list the rights of an installation
        yield InputError, Problem(name, "github.no-push-permission", "the token may not push to the repository")
    yield from ((InputError, problem) for problem in _tag_problems(client, root, expected.tag))
    yield from ((PublishConflict, problem) for problem in publish.View(client, expected).plan().conflicts)


def _tag_problems(client: "Client", root: Path, tag: str) -> Iterator[Problem]:
    """Yield where the tag does not name the same commit here and on GitHub."""
    here, there = git.tag_commit(root, tag) or "", client.commit(f"tags/{tag}")
    if there is None:
        yield Problem(tag, "publish.tag-not-pushed", "this tag is not on GitHub", f"run `git push origin {tag}`")
        if client.commit(here) is None:
            yield Problem(here[:12], "publish.commit-not-pushed", f"the commit of tag {tag} is not on GitHub")
    elif here != there:
        message = f"names commit {here[:12]} here, but {there[:12]} on GitHub"
        yield Problem(tag, "publish.tag-mismatch", message)


def _signature(folder: Path) -> "Asset | None":
    from modelreg import files
    from modelreg.release.github.plan import Asset

    path = folder / filenames.SIGNATURE
    return Asset("", filenames.SIGNATURE, path.stat().st_size, files.sha256(path)) if path.is_file() else None


def _changes(root: Path, tag: str) -> str | None:
    """Return the section of a tag in CHANGELOG.md; None if there is none."""
    from modelreg import files
    from modelreg.documents import changelog

    path = root / changelog.NAME
    return changelog.section(files.read_text(path), tag) if path.is_file() else None
