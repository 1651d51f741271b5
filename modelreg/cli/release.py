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

if TYPE_CHECKING:
    from modelreg.records.export import Target
    from modelreg.records.gates import Outcome
    from modelreg.release.patch import Addition
    from modelreg.release.plan import Plan, Step
    from modelreg.release.steps import Ports
    from modelreg.verification.keys import PrivateKey

WORDS: "dict[Step, str]" = {  # of push and publish in one line
    "export": "export {targets} into the run",
    "version": "write {folder}",
    "sign": "sign {folder}",
    "changelog": "move [Unreleased] of CHANGELOG.md under [{tag}]",
    "table": "write the table of RELEASES.md",
    "commit": "commit {paths}",
    "tag": "tag {tag}",
    "publish": "push {tag} and publish {reference}",
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
    from modelreg.release import steps

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
        commit=commit,
        tag=tag,
        publish=publish,
        sign=bool(sign_key),
        addition=addition,
    )
    ports = _ports(signer)
    situation = steps.observe(root, folder, project, ports)
    _show_gates(situation.outcomes)
    plan = releasing.plan(root, request, project, situation)

    def tell(step: "Step") -> None:
        _show_step(plan, step, dry_run=dry_run, as_json=as_json)

    if dry_run:
        for step in plan.steps:
            tell(step)
    else:
        _carry_out(plan, ports, tell)
        if not (publish or as_json):
            say(f"next: modelreg verify {plan.reference}")


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

    return Addition(hef_reader.read_hef(hef_file), host.exports_of(host.version_folder(origin)))


def _ports(signer: "PrivateKey | None") -> "Ports":
    """Return what a release needs from outside; a dry run has no key, and signs nothing."""
    from modelreg.cli import publish
    from modelreg.release.steps import Git, Ports

    return Ports(
        now=host.now,
        git=Git(
            state=git.state,
            changes=git.changes,
            tags=git.tags,
            ignored=git.ignored,
            identity_problem=git.identity_problem,
            commit=git.commit,
            tag=git.tag,
            push=git.push_tag,
        ),
        export=_export,
        sign=_signing(signer),
        publish=publish.publish,
    )


def _signing(signer: "PrivateKey | None") -> Callable[[Path], None] | None:
    if signer is None:
        return None

    def sign_version(folder: Path) -> None:
        sign.sign_folder(folder, signer)

    return sign_version


def _export(run: Path, targets: "tuple[Target, ...]") -> None:
    """Export what modelreg.yaml names and the run lacks, at the usual settings."""
    host.need_extra("export", *host.EXPORT)
    from modelreg.records.export import ExportSettings
    from modelreg.workflows import export_run

    with host.reading() as reading:
        export_run.export(run, run, targets, ExportSettings(), reading)


def _carry_out(plan: "Plan", ports: "Ports", tell: "Callable[[Step], None]") -> None:
    """Take the steps; where it fails after the last one on this machine, `modelreg publish` goes on."""
    from modelreg.release import steps

    done: list[Step] = []

    def count(step: "Step") -> None:
        done.append(step)
        tell(step)

    try:
        steps.run(plan, ports, count)
    except ModelregError:
        if len(done) >= len(plan.local):
            note(f"the version stands; go on with: git push origin {plan.tag} && modelreg publish {plan.reference}")
        raise


def _show_step(plan: "Plan", step: "Step", *, dry_run: bool, as_json: bool) -> None:
    """Print a step that is done, or would be; as JSON all together, after the last one on this machine.

    What a publish does, it prints itself.
    """
    from modelreg.release.plan import REMOTE

    if step in WORDS and (dry_run if step in REMOTE else not as_json):
        say(f"{'would ' if dry_run else ''}{_words(step, plan)}")
    if as_json and step == plan.local[-1]:
        verdicts = {outcome.path: outcome.verdict for outcome in plan.situation.outcomes}
        told = {"model": plan.model, "version": plan.version, "steps": plan.local, "dry_run": dry_run}
        emit_json({**told, "gates": verdicts})


def _show_gates(outcomes: "tuple[Outcome, ...]") -> None:
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
    return WORDS[step].format(
        folder=plan.folder.relative_to(plan.root),
        tag=plan.tag,
        paths=", ".join(plan.paths),
        targets=", ".join(plan.missing),
        reference=plan.reference,
    )
