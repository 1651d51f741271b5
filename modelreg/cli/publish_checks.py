"""Before anything is sent: the release that a version should have, and everything that stands against it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from modelreg.cli import git
from modelreg.errors import Failure, InputError, Problem, PublishConflict, RemoteError, VerificationFailed
from modelreg.registry import filenames

if TYPE_CHECKING:
    from modelreg.config import ProjectConfig
    from modelreg.release.github.client import Client
    from modelreg.release.github.plan import Asset, Wanted


def wanted_release(root: Path, project: "ProjectConfig", folder: Path) -> "Wanted":
    """Return the release that a version should have on GitHub. Raises InputError where its manifest is broken."""
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
    highest = stable and versions.latest(root, manifest.model).name == folder.name
    changes = _changes(root, tag) or ""
    return plan.wanted_release(manifest, tag, changes, version.metrics(), found, highest=highest)


def find_failures(client: "Client", root: Path, project: "ProjectConfig", folder: Path) -> Iterator[Failure]:
    """Yield everything that stands against a publish, here and on GitHub; what cannot be asked is part of it."""
    from modelreg.verification import integrity

    yield from ((VerificationFailed, problem) for problem in integrity.inspect(folder, complete=True).problems)
    yield from ((InputError, Problem(path, "todo.publish-checks", "is not committed")) for path in git.changes(root))
    wanted = None
    try:
        wanted = wanted_release(root, project, folder)
        yield from ((InputError, problem) for problem in _unfit(root, wanted))
    except InputError as error:
        yield from ((InputError, problem) for problem in error.problems)
    try:
        yield from _remote_failures(client, root, wanted)
    except RemoteError as error:
        yield from ((RemoteError, problem) for problem in error.problems)


def _unfit(root: Path, wanted: "Wanted") -> Iterator[Problem]:
    from modelreg.documents import changelog
    from modelreg.release.github import plan

    yield from plan.find_unfit(wanted.assets)
    if _changes(root, wanted.tag) is None:
        yield Problem(
            changelog.NAME, "todo.publish-checks", f"has no section [{wanted.tag}], which the notes are made of"
        )


def _remote_failures(client: "Client", root: Path, wanted: "Wanted | None") -> Iterator[Failure]:
    """Yield what GitHub tells. Raises RemoteError where it tells nothing."""
    from modelreg.release.github import publish

    token, name = client.server.token, client.server.repository
    if token is None:
        yield InputError, Problem("token", "todo.publish-checks", "set GITHUB_TOKEN, or log in with `gh auth login`")
        return
    found = client.repository()
    if found.archived:
        yield InputError, Problem(name, "todo.publish-checks", "is archived: nothing can be published there")
    if not found.push and not token.of_installation:  # of those GitHub tells no rights
        yield InputError, Problem(name, "todo.publish-checks", "the token may not push there")
    if wanted is not None:
        yield from ((InputError, problem) for problem in _tag_problems(client, root, wanted.tag))
        yield from ((PublishConflict, problem) for problem in publish.View(client, wanted).plan().conflicts)


def _tag_problems(client: "Client", root: Path, tag: str) -> Iterator[Problem]:
    """Yield why the tag does not name the same commit here and on GitHub."""
    here, there = git.tag_commit(root, tag), client.commit(f"tags/{tag}")
    if here is None:
        yield Problem(tag, "todo.publish-checks", "there is no such tag here; `modelreg release --tag` makes it")
    elif there is None:
        yield Problem(tag, "todo.publish-checks", f"is not on GitHub; push it: git push origin {tag}")
        if client.commit(here) is None:
            yield Problem(here[:12], "todo.publish-checks", f"the commit of {tag} is not on GitHub; push it: git push")
    elif here != there:
        yield Problem(
            tag, "todo.publish-checks", f"is commit {there[:12]} on GitHub, but {here[:12]} here; take a new version"
        )


def _signature(folder: Path) -> "Asset | None":
    from modelreg import files
    from modelreg.release.github.plan import Asset

    path = folder / filenames.SIGNATURE
    return Asset("", filenames.SIGNATURE, path.stat().st_size, files.sha256(path)) if path.is_file() else None


def _changes(root: Path, tag: str) -> str | None:
    """Return what CHANGELOG.md says of a tag; None where it says nothing."""
    from modelreg import files
    from modelreg.documents import changelog

    path = root / changelog.NAME
    return changelog.section(files.read_text(path), tag) if path.is_file() else None
