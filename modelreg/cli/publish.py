"""`modelreg publish` and `modelreg pull`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelreg import files
from modelreg.cli import github_session, host, publish_checks
from modelreg.cli.console import emit_json, listed, note_all, say
from modelreg.cli.progress import show_transfer
from modelreg.errors import InputError, Problem, raise_all
from modelreg.registry import filenames

if TYPE_CHECKING:
    from modelreg.release.github.plan import ExpectedRelease, Plan

JOBS, MOST_JOBS = 2, 16  # GitHub limits the rate of uploads

Reference = Annotated[
    str, typer.Argument(help="Version: v0.2.0, MODEL@v0.2.0, MODEL@latest, a tag or a version folder.", metavar="REF")
]
Timeout = Annotated[
    float | None,
    typer.Option(
        min=1,
        help="Time for the whole command. Default: 900 s of API calls; a transfer may take longer while it moves.",
        metavar="SECONDS",
        show_default=False,
    ),
]


def publish(
    reference: Reference,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the steps without taking them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the steps, or the result, as JSON.")] = False,
    jobs: Annotated[
        int, typer.Option(min=1, max=MOST_JOBS, help="Number of simultaneous uploads.", metavar="N")
    ] = JOBS,
    timeout: Timeout = None,
) -> None:
    """Publish a version as a GitHub release.

    Everything is checked before the first byte is sent. The release stays a draft until it has every file with the
    right digest. Run the command again to finish an interrupted publication. The token is read from GITHUB_TOKEN,
    GH_TOKEN or `gh auth token`.

    Example: modelreg publish v0.1.0 --dry-run
    """
    from modelreg.release.github import publish as github_publish

    root, project = host.project()
    folder = host.version_folder(reference)
    with github_session.connect(root, project, timeout) as client:
        if refusals := list(publish_checks.find_refusals(client, root, project, folder)):
            raise InputError("cannot publish; nothing was sent", refusals)
        expected = publish_checks.expected_release(root, project, folder)
        raise_all("cannot publish; nothing was sent", publish_checks.find_failures(client, root, expected, folder))
        if dry_run:
            _show_plan(github_publish.View(client, expected).plan(), expected, as_json=as_json)
            return
        running = Problem(reference, "publish.running", "another process on this machine is publishing it")
        alone = files.exclusive(folder, "nothing was sent", running)
        with alone, show_transfer(sys.stderr) as progress:
            outcome = github_publish.publish(client, expected, folder, progress, jobs)
    note_all(outcome.notices)
    if as_json:
        emit_json({"url": outcome.release.html_url, "tag": expected.tag, "sent": outcome.sent})
        return
    complete = f"the release is complete with {len(expected.assets)} files"
    say(f"{expected.title}: {len(outcome.sent)} files sent, {complete}: {outcome.release.html_url}")
    say(f"next: modelreg verify {reference} --remote")


def pull(
    reference: Annotated[str, typer.Argument(help="Version: v0.2.0, MODEL@v0.2.0 or a tag.", metavar="REF")],
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to write.", metavar="DIR", show_default="the version's in the registry"),
    ] = None,
    only: Annotated[
        Literal["all", "checkpoint", "bundle", "documents"], typer.Option(help="Part to download.")
    ] = "all",
    timeout: Timeout = None,
) -> None:
    """Download a version from its GitHub release.

    Only files that are missing here are downloaded. Each is checked against the manifest before it gets its name.
    Run the command again to resume an interrupted download. A public repository needs no token.

    Example: modelreg pull v0.1.0 --only checkpoint
    """
    from modelreg.release.github import pull as github_pull
    from modelreg.release.plan import tag_of

    root, project = host.project()
    model, version = host.identify(reference)
    home = root / filenames.REGISTRY / model / f"v{version}"
    folder = out_folder.resolve() if out_folder else home
    wish = github_pull.Wish(model, version, tag_of(project, model, version), folder, only)
    with github_session.connect(root, project, timeout) as client, show_transfer(sys.stderr) as progress:
        came = github_pull.pull(client, wish, progress)
    say(f"{model}@v{version}: {len(came)} files downloaded" if came else f"{model}@v{version}: no file was missing")
    where = host.shown(folder)
    say(f"next: modelreg verify {where}" if folder == home else f"next: cd {where} && sha256sum -c {filenames.SUMS}")


def _show_plan(plan: "Plan", expected: "ExpectedRelease", *, as_json: bool) -> None:
    """Print the steps that are left."""
    note_all(plan.notices)
    steps = [
        (type(step).__name__.lower(), getattr(getattr(step, "asset", None), "name", expected.tag))
        for step in plan.steps
    ]
    if as_json:
        emit_json({"tag": expected.tag, "steps": steps, "notices": listed(plan.notices)})
        return
    for kind, name in steps:
        say(f"would {kind} {name}")
    if not steps:
        say(f"{expected.tag} is published and complete")
