"""`modelreg release`."""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelreg.cli import git, github_session, host, sign
from modelreg.cli.console import draw, emit_json, note, note_all, say, table
from modelreg.cli.sign import PassphraseFile
from modelreg.errors import ModelregError
from modelreg.registry import filenames

if TYPE_CHECKING:
    from modelreg.config import ProjectConfig
    from modelreg.records.export import Target
    from modelreg.records.gates import Outcome
    from modelreg.release.patch import Addition
    from modelreg.release.plan import Plan, Step
    from modelreg.release.steps import Ports
    from modelreg.verification.keys import PrivateKey

WORDS: "dict[Step, str]" = {  # push and publish are one line
    "evaluate": "evaluate {run}",
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
    version: Annotated[str, typer.Argument(help="New version: v0.2.0 or v0.2.0-rc.1.", metavar="VERSION")],
    model: Annotated[str | None, typer.Option(help="Release the newest run of this model.", metavar="MODEL")] = None,
    run: Annotated[
        Path | None, typer.Option(help="Run to release.", metavar="RUN", show_default="the newest run")
    ] = None,
    origin: Annotated[
        str | None,
        typer.Option("--from", help="Create a patch of this version, with the same weights and --hef.", metavar="REF"),
    ] = None,
    hef_file: Annotated[
        Path | None,
        typer.Option("--hef", help="Compiled network to add to the bundle of --from.", metavar="FILE"),
    ] = None,
    evaluate_run: Annotated[
        bool, typer.Option("--evaluate/--no-evaluate", help="Evaluate a run that was not evaluated.")
    ] = True,
    export: Annotated[
        bool, typer.Option("--export/--no-export", help="Export the targets of modelreg.yaml that the run has not.")
    ] = True,
    roll_changelog: Annotated[
        bool,
        typer.Option(
            "--roll-changelog/--no-roll-changelog", help="Move the entries under [Unreleased] to this version."
        ),
    ] = True,
    changelog_entry: Annotated[
        bool,
        typer.Option(
            "--changelog-entry/--no-changelog-entry",
            help="If nothing is under [Unreleased], write an entry: model, data, metric, digest.",
        ),
    ] = True,
    commit: Annotated[bool, typer.Option("--commit", help="Commit the version. The tree must be clean.")] = False,
    tag: Annotated[bool, typer.Option("--tag", help="Commit the version and tag the commit.")] = False,
    publish: Annotated[
        bool, typer.Option("--publish", help="Commit, tag, push the tag and publish the version on GitHub.")
    ] = False,
    sign_key: Annotated[
        Path | None, typer.Option("--sign-key", help="Sign the version with this private key (PEM).", metavar="FILE")
    ] = None,
    passphrase_file: PassphraseFile = None,
    allow_older: Annotated[bool, typer.Option("--allow-older", help="Allow a version below the newest one.")] = False,
    with_folds: Annotated[
        bool, typer.Option("--with-folds", help="Add the weights of the folds of a cross-fitted run.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Allow weights that another version has.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the steps without taking them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the steps as JSON.")] = False,
) -> None:
    """Create a version from a run.

    What is missing is done first: the evaluation, the exports of modelreg.yaml, the changelog. The version appears as
    a whole or not at all. Run the command again to finish an interrupted release. With --from and --hef, a released
    version gets its compiled network as a patch with the same weights. If it was released without a bundle, the
    bundle that `modelreg export REF --target hailo8` wrote to dist/ is used.

    Example: modelreg release v0.1.0
    """
    from modelreg import files
    from modelreg.registry import runs, versions
    from modelreg.release import plan as releasing
    from modelreg.release import steps

    versions.parse_version(version)  # before a run is looked for
    addition = _addition(origin, hef_file, run_given=bool(run or model))
    root, project = host.project()
    command = f"modelreg release {version} --run"
    folder = host.version_folder(origin) if origin else run or runs.newest_trained(root / "runs", model, command)
    request = releasing.Request(
        version,
        folder,
        evaluate=evaluate_run,
        export=export,
        roll_changelog=roll_changelog,
        changelog_entry=changelog_entry,
        allow_older=allow_older,
        force=force,
        commit=commit,
        tag=tag,
        publish=publish,
        sign=bool(sign_key),
        with_folds=with_folds,
        addition=addition,
    )
    ports = _ports(root, project)
    draft = releasing.draft(root, request, project, steps.observe(root, request, ports))
    if not dry_run:
        files.refuse_unwritable(root, draft.folder, *([draft.run] if "evaluate" in draft.steps else []))
    if sign_key and not dry_run:  # after the refusals that cost nothing: it may prompt for a passphrase
        ports = replace(ports, sign=_signing(sign.read_key(sign_key, passphrase_file)))
    evaluates = "evaluate" in draft.steps
    plan = _completed(draft, ports, dry_run=dry_run)
    _warn_of_unchecked(addition)
    _warn_of_publication(root, folder)
    if dry_run:
        _show_plan(plan, as_json=as_json)
        return

    if as_json and not plan.local:
        _show_json(plan, dry_run=False, evaluated=evaluates)

    def show(step: "Step") -> None:
        _show_step(plan, step, dry_run=False, as_json=as_json)
        if as_json and step in plan.local[-1:]:  # before `publish`, which may fail
            _show_json(plan, dry_run=False, evaluated=evaluates)

    _carry_out(plan, ports, show)
    if not (publish or as_json):
        say(f"next: modelreg verify {plan.reference}")


def _completed(draft: "Plan", ports: "Ports", *, dry_run: bool) -> "Plan":
    """Evaluate the run if that is one of the steps, and judge the gates; a dry run only outlines what would follow."""
    from modelreg.release import plan as releasing
    from modelreg.release import steps

    evaluates = "evaluate" in draft.steps
    if evaluates and dry_run:
        note("the gates are judged when the run is evaluated")
        return releasing.outline(draft)
    if evaluates:
        draft = steps.evaluate(draft, ports)
    elif not draft.addition:
        note(f"releasing {host.shown(draft.run)}")
    outcomes = releasing.gate_outcomes(draft.root, draft.run, draft.project)
    _show_gates(outcomes)
    if not evaluates and any(outcome.verdict == "FAILS" for outcome in outcomes):
        _warn_of_causes(draft.run)
    return releasing.complete(draft, outcomes)


def _show_plan(plan: "Plan", *, as_json: bool) -> None:
    for step in plan.steps:
        _show_step(plan, step, dry_run=True, as_json=as_json)
    if as_json:
        _show_json(plan, dry_run=True, evaluated=False)


def _addition(origin: str | None, hef_file: Path | None, *, run_given: bool) -> "Addition | None":
    """Return what is added to a version that is made from another one."""
    if bool(origin) != bool(hef_file):
        message = "--from and --hef must be given together; `modelreg hef attach` adds a HEF to the bundle of a run"
        raise typer.BadParameter(message, param_hint="--from, --hef")
    if origin and run_given:
        raise typer.BadParameter("give either a run or a version to start from", param_hint="--from")
    if not (origin and hef_file):
        return None
    from modelreg.release.patch import Addition

    return Addition(hef_file, host.exports_of(host.version_folder(origin)))


def _ports(root: Path, project: "ProjectConfig") -> "Ports":
    """Return what a release needs from outside; without a key it cannot sign."""
    from modelreg.cli import publish
    from modelreg.release.steps import Git, Ports

    return Ports(
        now=host.now,
        git=Git(
            state=git.state,
            changes=git.changes,
            tags=git.tags,
            ignored=git.ignored,
            is_cut_off=git.is_cut_off,
            identity_problem=git.identity_problem,
            commit=git.commit,
            tag=git.tag,
            push=git.push_tag,
        ),
        evaluate=_evaluate,
        export=_export,
        publish=publish.publish,
        find_publish_problems=partial(github_session.find_problems, root, project),
    )


def _signing(signer: "PrivateKey") -> Callable[[Path], None]:
    def sign_version(folder: Path) -> None:
        sign.sign_folder(folder, signer)

    return sign_version


def _evaluate(run: Path) -> None:
    """Evaluate a run on its test split, and print its main metrics to stderr: stdout has the steps."""
    from modelreg.cli import evaluate
    from modelreg.documents.templates import card_v2

    note(f"{host.shown(run)} is not evaluated yet; evaluating it")
    measured = evaluate.measure(run)
    evaluate.warn(run)
    judged = card_v2.evaluated_on(measured.protocol)
    note(f"accuracy {measured.accuracy:.4f}, macro F1 {measured.macro_f1:.4f} on the {judged}")


def _warn_of_publication(root: Path, run: Path) -> None:
    """Note tracked recordings, subject ids that look like names, and data whose licence or origin is not stated."""
    from modelreg.records.base import load
    from modelreg.records.data import DataRecord
    from modelreg.release import from_run, privacy

    note_all(privacy.find_recordings(git.tracked(root)))
    data = load(run / filenames.DATA, DataRecord)
    note_all(privacy.find_names(subject for _, part in data.parts.items() for subject in part.subjects))
    note_all(from_run.find_unstated(data.sources))


def _warn_of_unchecked(addition: "Addition | None") -> None:
    """Note what could not be compared with the bundle, because the compiled network does not state it."""
    from modelreg.artifacts import hef_compatibility

    if addition:
        note_all(hef_compatibility.find_unchecked(addition.hef.info))


def _export(run: Path, targets: "tuple[Target, ...]") -> None:
    """Export the targets of modelreg.yaml that are missing in the run, with default settings."""
    host.need_extra("export", *host.EXPORT)
    from modelreg.cli import export
    from modelreg.records.export import ExportSettings
    from modelreg.workflows import export_run

    with host.reading() as reading:
        export.warn(export_run.export(run, run, targets, ExportSettings(), reading).warnings)


def _carry_out(plan: "Plan", ports: "Ports", show: "Callable[[Step], None]") -> None:
    """Take the steps. If one fails after those on this machine, print the commands that finish the release."""
    from modelreg.release import steps

    done: list[Step] = []

    def count(step: "Step") -> None:
        done.append(step)
        show(step)

    try:
        steps.run(plan, ports, count)
    except ModelregError:
        if len(done) >= len(plan.local):
            finish = f"git push origin {plan.tag} && modelreg publish {plan.reference}"
            note(f"the version is complete on this machine; to publish it: {finish}")
        raise


def _show_step(plan: "Plan", step: "Step", *, dry_run: bool, as_json: bool) -> None:
    """Print a step that is done, or would be. The steps of a publication are printed by `modelreg publish`."""
    from modelreg.release.plan import REMOTE

    if not as_json and step in WORDS and (dry_run or step not in REMOTE):
        say(f"{'would ' if dry_run else ''}{_words(step, plan)}")


def _show_json(plan: "Plan", *, dry_run: bool, evaluated: bool) -> None:
    verdicts = {outcome.path: outcome.verdict for outcome in plan.outcomes}
    names = {"schema_version": 1, "model": plan.model, "version": plan.version}
    done = ["evaluate"] if evaluated else []
    emit_json({**names, "steps": [*done, *plan.local], "dry_run": dry_run, "gates": verdicts})


def _warn_of_causes(run: Path) -> None:
    """Print what `evaluate` warned of: it may be why a gate fails."""
    from modelreg.cli import evaluate

    if (run / filenames.AUDIT).is_file():
        evaluate.warn(run)


def _show_gates(outcomes: "tuple[Outcome, ...]") -> None:
    """Print every gate with its value if one of them fails.

    Gates that are waived, not checked or compared with nothing are always named.
    """
    from modelreg.documents.templates.gates_v2 import judged, requirement

    if any(outcome.failure for outcome in outcomes):
        rows = [(o.path, judged(o), requirement(o.gate, o.over), o.verdict) for o in outcomes]
        header = ("gate", "value", "requirement", "verdict")
        draw(table(header, rows, right=("value",), whole=("gate", "value", "verdict")), sys.stderr)
    for outcome in outcomes:
        if outcome.verdict == "waived":
            note(f"gate {outcome.path} is waived: {outcome.waived} ({outcome.failure})")
        if outcome.unjudged:
            note(f"gate {outcome.path} is {outcome.verdict}")
        for what in outcome.notes:
            note(f"gate {outcome.path} is {outcome.verdict}: {what}")


def _words(step: "Step", plan: "Plan") -> str:
    return WORDS[step].format(
        run=host.shown(plan.run),
        folder=plan.folder.relative_to(plan.root),
        tag=plan.tag,
        paths=", ".join(plan.paths),
        targets=", ".join(plan.missing),
        reference=plan.reference,
    )
