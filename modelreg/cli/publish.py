"""`modelreg publish` and `modelreg pull`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelreg.cli import github_session, host, publish_checks
from modelreg.cli.console import emit_json, note, say
from modelreg.cli.progress import show_transfer
from modelreg.errors import raise_all
from modelreg.registry import filenames

if TYPE_CHECKING:
    from modelreg.release.github.plan import Plan, Wanted

JOBS, MOST_JOBS = 2, 16  # GitHub limits who sends too much at once

Reference = Annotated[
    str, typer.Argument(help="v0.2.0, model@v0.2.0, model@latest, or a version's folder.", metavar="REF")
]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds in all, after which nothing is tried again.")]


def publish(
    reference: Reference,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan, or what came of it, as JSON.")] = False,
    jobs: Annotated[int, typer.Option(min=1, max=MOST_JOBS, help="Files on their way at once.")] = JOBS,
    timeout: Timeout = 900.0,
) -> None:
    """Publish a version as a GitHub release.

    Everything is checked before the first byte is sent. The release is a draft until every file is there with its
    digest; killed anywhere, run it again. The token comes from GITHUB_TOKEN, GH_TOKEN or `gh auth token`.

    Example: modelreg publish v0.2.0 --dry-run
    """
    from modelreg.release.github import publish as github_publish

    root, project = host.project()
    folder = host.version_folder(reference)
    with github_session.connect(root, project, timeout) as client:
        raise_all("cannot publish; nothing was sent", publish_checks.find_failures(client, root, project, folder))
        wanted = publish_checks.wanted_release(root, project, folder)
        if dry_run:
            _show_plan(github_publish.View(client, wanted).plan(), wanted, as_json=as_json)
            return
        with show_transfer(sys.stderr) as tell:
            outcome = github_publish.publish(client, wanted, folder, tell, jobs)
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
    from modelreg.registry import versions
    from modelreg.release.github import pull as github_pull
    from modelreg.release.plan import tag_of

    root, project = host.project()
    model, _, number = reference.rpartition("@")
    model, version = model or project.default_model, str(versions.parse_version(number))
    home = root / filenames.REGISTRY / model / f"v{version}"
    folder = out_folder.resolve() if out_folder else home
    wish = github_pull.Wish(model, version, tag_of(project, model, version), folder, only)
    with github_session.connect(root, project, timeout) as client, show_transfer(sys.stderr) as tell:
        came = github_pull.pull(client, wish, tell)
    say(f"{model}@v{version}: {len(came)} files came" if came else f"{model}@v{version}: nothing was missing")
    where = host.shown(folder)
    say(f"next: modelreg verify {where}" if folder == home else f"next: cd {where} && sha256sum -c {filenames.SUMS}")


def _show_plan(plan: "Plan", wanted: "Wanted", *, as_json: bool) -> None:
    """Print what a publish would do."""
    for notice in plan.notices:
        note(f"notice: {notice}")
    steps = [
        (type(step).__name__.lower(), getattr(getattr(step, "asset", None), "name", wanted.tag)) for step in plan.steps
    ]
    if as_json:
        emit_json({"tag": wanted.tag, "steps": steps, "notices": [notice._asdict() for notice in plan.notices]})
        return
    for kind, name in steps:
        say(f"would {kind} {name}")
    if not steps:
        say(f"{wanted.tag} is published as it should be")
