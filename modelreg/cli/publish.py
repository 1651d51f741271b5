"""`modelreg publish` and `modelreg pull`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelreg.cli import environment
from modelreg.cli.console import emit_json, note, say
from modelreg.cli.progress import show_transfer
from modelreg.errors import InputError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelreg.config import ProjectConfig
    from modelreg.github import Client
    from modelreg.publishing import Plan, Wanted

Reference = Annotated[
    str, typer.Argument(help="v0.2.0, model@v0.2.0, model@latest, or a version's folder.", metavar="REF")
]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds in all, after which nothing is tried again.")]


def publish(
    reference: Reference,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan, or what came of it, as JSON.")] = False,
    timeout: Timeout = 900.0,
) -> None:
    """Publish a version as a GitHub release.

    Everything is checked before the first byte is sent. The release is a draft until every file is there with its
    digest; killed anywhere, run it again. The token comes from GITHUB_TOKEN, GH_TOKEN or `gh auth token`.

    Example: modelreg publish v0.2.0 --dry-run
    """
    from modelreg import delivery, publishing

    root, project = environment.project()
    folder = environment.version_folder(reference)
    wanted = wanted_release(root, project, folder)
    with environment.github(root, project, timeout) as client:
        _refuse(list(_preflight(client, root, folder, wanted)))
        if dry_run:
            plan = publishing.plan_publish(wanted, delivery.look(client, wanted.tag))
            _show_plan(plan, wanted, as_json=as_json)
            return
        with show_transfer(sys.stderr) as tell:
            outcome = delivery.publish(client, wanted, folder, tell)
    for notice in outcome.notices:
        note(f"notice: {notice}")
    if as_json:
        emit_json({"url": outcome.release.html_url, "tag": wanted.tag, "sent": outcome.sent})
        return
    say(f"{wanted.title}: {len(outcome.sent)} files sent, {len(wanted.assets)} there; {outcome.release.html_url}")
    say(f"next: modelreg verify {reference} --remote")


def pull(
    reference: Annotated[str, typer.Argument(help="v0.2.0 or model@v0.2.0.", metavar="REF")],
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="The version's folder; left out: its place in the registry.")
    ] = None,
    only: Annotated[
        Literal["all", "checkpoint", "bundle", "documents"], typer.Option(help="What to download.")
    ] = "all",
    timeout: Timeout = 900.0,
) -> None:
    """Download what a version lacks here from its GitHub release.

    Each file is checked against the manifest before it takes its place; killed anywhere, run it again. A public
    repository needs no token.

    Example: modelreg pull v0.2.0 --only checkpoint
    """
    from modelreg import delivery, registry
    from modelreg.release import tag_of

    root, project = environment.project()
    model, _, number = reference.rpartition("@")
    model, version = model or project.default_model, str(registry.parse_version(number))
    folder = out_folder or root / registry.FOLDER / model / f"v{version}"
    wish = delivery.Wish(model, version, tag_of(project, model, version), folder, only)
    with environment.github(root, project, timeout) as client, show_transfer(sys.stderr) as tell:
        came = delivery.pull(client, wish, tell)
    say(f"{model}@v{version}: {len(came)} files came" if came else f"{model}@v{version}: nothing was missing")
    say(f"next: modelreg verify {environment.shown(folder)}")


def wanted_release(root: Path, project: "ProjectConfig", folder: Path) -> "Wanted":
    """Return the release that a version should have on GitHub."""
    from modelreg import changelog, files, publishing, registry
    from modelreg.release import tag_of

    version = registry.read(folder)
    manifest = version.manifest
    tag = tag_of(project, manifest.model, manifest.version)
    changes = changelog.section(files.read_text(root / changelog.NAME), tag)
    if changes is None:
        raise InputError("cannot publish", [Problem(changelog.NAME, f"has no section [{tag}]")])
    path = folder / registry.MANIFEST
    found = publishing.assets_of(manifest, files.sha256(path), path.stat().st_size, None)
    stable = not registry.parse_version(manifest.version).prerelease
    highest = stable and registry.latest(root, manifest.model).name == folder.name
    return publishing.wanted_release(manifest, tag, changes, version.metrics(), found, highest=highest)


def _preflight(client: "Client", root: Path, folder: Path, wanted: "Wanted") -> "Iterator[Problem]":
    """Yield everything that stands against a publish, before anything is sent."""
    from modelreg import integrity, publishing

    yield from integrity.inspect(folder, complete=True).problems
    yield from publishing.find_unfit(wanted.assets)
    yield from (Problem(path, "is not committed") for path in environment.git_changes(root))
    if client.server.token is None:
        yield Problem("token", "set GITHUB_TOKEN, or log in with `gh auth login`")
        return
    found = client.repository()
    if found.get("archived"):
        yield Problem(client.server.repository, "is archived: nothing can be published there")
    if not found.get("permissions", {}).get("push"):
        yield Problem(client.server.repository, "the token may not push there")
    yield from _tag_problems(client, root, wanted.tag)


def _tag_problems(client: "Client", root: Path, tag: str) -> "Iterator[Problem]":
    here, there = environment.git_tag_object(root, tag), client.has_tag(tag)
    if here is None:
        yield Problem(tag, "there is no such tag here; `modelreg release --tag` makes it")
    elif there is None:
        yield Problem(tag, f"is not on GitHub; push it: git push origin {tag}")
    elif here != there:
        yield Problem(tag, f"is {there[:12]} on GitHub, but {here[:12]} here")


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise InputError("cannot publish; nothing was sent", problems)


def _show_plan(plan: "Plan", wanted: "Wanted", *, as_json: bool) -> None:
    """Print what a publish would do."""
    steps = [
        (type(step).__name__.lower(), getattr(getattr(step, "asset", None), "name", wanted.tag)) for step in plan.steps
    ]
    if as_json:
        emit_json({"tag": wanted.tag, "steps": steps, "conflicts": [c._asdict() for c in plan.conflicts]})
        return
    for conflict in plan.conflicts:
        note(f"conflict: {conflict}")
    for kind, name in steps:
        say(f"would {kind} {name}")
    if not steps and not plan.conflicts:
        say(f"{wanted.tag} is published as it should be")
