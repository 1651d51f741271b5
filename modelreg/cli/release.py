"""`modelreg release`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelreg.cli import git, host, sign
from modelreg.cli.console import draw, emit_json, note, say, table
from modelreg.cli.sign import PassphraseFile
from modelreg.errors import ModelregError
from modelreg.registry import filenames

if TYPE_CHECKING:
    from modelreg.records.gates import Outcome
    from modelreg.release.patch import Addition
    from modelreg.release.plan import Plan, Step
    from modelreg.verification.keys import PrivateKey

WORDS: "dict[Step, str]" = {
    "export": "export {targets} into the run",
    "version": "write {folder}",
    "sign": "sign {folder}",
    "changelog": "move [Unreleased] of CHANGELOG.md under [{tag}]",
    "table": "write the table of RELEASES.md",
    "commit": "commit {paths}",
    "tag": "tag {tag}",
}


def release(
    version: Annotated[str, typer.Argument(help="The new version: v0.2.0, or v0.2.0-rc.1.")],
    model: Annotated[str | None, typer.Option(help="Take the newest run of this model.")] = None,
    run: Annotated[Path | None, typer.Option(help="The run to release; left out: the newest.")] = None,
    origin: Annotated[
        str | None,
        typer.Option("--from", help="Make a patch of this version, with --hef: the same weights.", metavar="REF"),
    ] = None,
    hef_file: Annotated[
        Path | None, typer.Option("--hef", help="The compiled network to take into the version's bundle, with --from.")
    ] = None,
    roll_changelog: Annotated[
        bool,
        typer.Option("--roll-changelog", help="Move what stands under [Unreleased] under the new heading."),
    ] = False,
    commit: Annotated[bool, typer.Option("--commit", help="Commit the version; the tree must be clean.")] = False,
    tag: Annotated[bool, typer.Option("--tag", help="Commit the version and tag the commit.")] = False,
    publish: Annotated[
        bool, typer.Option("--publish", help="Commit, tag, push the tag, and publish the version on GitHub.")
    ] = False,
    sign_key: Annotated[
        Path | None, typer.Option("--sign-key", help="Sign the version with this private key (PEM).")
    ] = None,
    passphrase_file: PassphraseFile = None,
    allow_older: Annotated[bool, typer.Option("--allow-older", help="Allow a version lower than the newest.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Allow weights that an older version already has.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the steps and take none.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the steps as JSON.")] = False,
) -> None:
    """Make a version out of an evaluated run, all or nothing.

    Killed at any moment, it is finished by running it again. With --from and --hef a version that is released gets
    its compiled network: as a patch, with the same weights and documents. Where it was released without a bundle, the
    one that `modelreg export REF --target hailo8` left in dist/ is taken.

    Example: modelreg release v0.2.0 --roll-changelog --tag
    """
    from modelreg.registry import runs
    from modelreg.release import plan as releasing

    addition = _addition(origin, hef_file, run_given=bool(run or model))
    root, project = host.project()
    folder = host.version_folder(origin) if origin else run or runs.newest(root / "runs", model)
    signer = sign.read_key(sign_key, passphrase_file) if sign_key and not dry_run else None
    request = releasing.Request(
        version,
        folder,
        roll_changelog=roll_changelog,
        allow_older=allow_older,
        force=force,
        commit=commit or publish,
        tag=tag or publish,
        sign=bool(sign_key),
        addition=addition,
    )
    situation = releasing.Situation(
        now=host.now(),
        git=git.state(root),
        changed=git.changes(root),
        tags=git.tags(root),
        identity=git.identity_problem(root),
        ignored=git.ignored(root, _assets(root)),
    )
    outcomes = releasing.gate_outcomes(root, folder, project)
    _show_gates(outcomes)
    plan = releasing.plan(root, request, project, situation)
    message = f"Release {plan.model} v{plan.version}"
    actions: dict[Step, Callable[[], None]] = {
        "export": lambda: _export(plan),
        "version": lambda: releasing.make_version(plan, project, situation),
        "sign": lambda: _sign(plan, signer),
        "changelog": lambda: releasing.roll_changelog(plan, situation),
        "table": lambda: releasing.write_table(root),
        "commit": lambda: git.commit(root, plan.paths, message),
        "tag": lambda: git.tag(root, plan.tag, message, plan.paths[0]),
    }
    for step in plan.steps:
        if not dry_run:
            actions[step]()
        if not as_json:
            say(f"{'would ' if dry_run else ''}{_words(step, plan)}")
    if as_json:
        verdicts = {outcome.path: outcome.verdict for outcome in outcomes}
        told = {"model": plan.model, "version": plan.version, "steps": plan.steps, "dry_run": dry_run}
        emit_json({**told, "gates": verdicts})
    elif not dry_run and not publish:
        say(f"next: modelreg verify {plan.model}@v{plan.version}")
    if publish:
        _publish(plan, dry_run=dry_run)


def _addition(origin: str | None, hef_file: Path | None, *, run_given: bool) -> "Addition | None":
    """Return what comes to a version that is made from another one."""
    if bool(origin) != bool(hef_file):
        what = "--from and --hef go together; to a run's bundle a HEF comes by `modelreg hef attach`"
        raise typer.BadParameter(what, param_hint="--from, --hef")
    if origin and run_given:
        raise typer.BadParameter("a version comes from a run or from a version", param_hint="--from")
    if not (origin and hef_file):
        return None
    from modelreg.artifacts import hef_file as hef_reader
    from modelreg.release.patch import Addition

    return Addition(hef_reader.load(hef_file), host.exports_of(host.version_folder(origin)))


def _publish(plan: "Plan", *, dry_run: bool) -> None:
    """Push the tag and publish; what fails here is gone on with by `modelreg publish`."""
    from modelreg.cli import publish

    reference = f"{plan.model}@v{plan.version}"
    if dry_run:
        say(f"would push {plan.tag} and publish {reference}")
        return
    try:
        git.push_tag(plan.root, plan.tag)
        publish.publish(reference)
    except ModelregError:
        note(f"the version stands; go on with: git push origin {plan.tag} && modelreg publish {reference}")
        raise


def _sign(plan: "Plan", signer: "PrivateKey | None") -> None:
    if signer:
        sign.sign_folder(plan.folder, signer)


def _export(plan: "Plan") -> None:
    """Export what modelreg.yaml names and the run lacks, at the usual settings."""
    host.need_extra("export", *host.EXPORT)
    from modelreg.records.export import ExportSettings
    from modelreg.workflows import export_run

    with host.reading() as reading:
        export_run.export(plan.run, plan.run, plan.missing, ExportSettings(), reading)


def _assets(root: Path) -> list[Path]:
    """Return where the binaries of a version would lie, for git to say whether it would take them."""

    names = [*filenames.ASSETS, filenames.VALIDATION, *(f"{filenames.ONNX}/{name}" for name in filenames.GRAPH_FILES)]
    return [root / filenames.REGISTRY / "model" / "v0.0.0" / name for name in names]


def _show_gates(outcomes: "list[Outcome]") -> None:
    """Print every gate with what it found where one of them fails.

    What is waived, not judged or compares nothing is always said.
    """
    from modelreg.documents.templates.card_v1 import bounds

    if any(outcome.failure for outcome in outcomes):
        rows = [(o.path, o.found, bounds(o.gate), o.verdict) for o in outcomes]
        draw(table(("gate", "value", "must be", ""), rows, right=("value",), whole=("gate", "value", "")), sys.stderr)
    for outcome in outcomes:
        if outcome.verdict == "waived":
            note(f"gate {outcome.path} is waived: {outcome.waived} ({outcome.failure})")
        if outcome.unjudged:
            note(f"gate {outcome.path} is {outcome.verdict}")
        for what in outcome.notes:
            note(f"gate {outcome.path}: {what}")


def _words(step: "Step", plan: "Plan") -> str:
    folder = plan.folder.relative_to(plan.root)
    names = {"folder": folder, "tag": plan.tag, "paths": ", ".join(plan.paths), "targets": ", ".join(plan.missing)}
    return WORDS[step].format(**names)
