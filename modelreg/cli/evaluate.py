"""`modelreg evaluate`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelreg.cli import host
from modelreg.cli.console import draw, emit_json, note, say, table
from modelreg.cli.crossval import cross_validate
from modelreg.cli.random_split import compare_with_chance
from modelreg.registry import filenames

if TYPE_CHECKING:
    from modelreg.records.calibration import ConfidenceMetrics
    from modelreg.records.metrics import EvalMetrics


def evaluate(
    run: Annotated[
        Path | None, typer.Argument(help="A run's folder; left out: the newest run.", metavar="[RUN]")
    ] = None,
    protocol: Annotated[
        Literal["holdout", "loso", "kfold-subject", "random"],
        typer.Option(
            help="holdout: this run. loso, kfold-subject: its configuration, trained again for each fold of subjects. "
            "random: for the leak audit alone."
        ),
    ] = "holdout",
    folds: Annotated[int, typer.Option(min=2, help="Of kfold-subject.")] = 5,
    jobs: Annotated[int, typer.Option(min=1, help="Folds that are trained at a time, each a process.")] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print eval_metrics.json; else crossval.json, or random_split.json.")
    ] = False,
) -> None:
    """Compute the metrics of a run's held-out part.

    They come from predictions that are kept: on subjects it never saw, unless the split is by time.

    With --protocol loso (leave one subject out) or kfold-subject, folds are runs under RUN/folds/: an interrupted
    cross-validation goes on when it is called again.

    With --protocol random, the configuration is trained once more on the same windows, dealt out by chance. Such a
    split leaks, and its accuracy is what a leaky evaluation would have claimed: more than five points above the run's,
    and the report calls it suspicious. It stands in the audit and nowhere else.

    Each look at the held-out part is counted, and the model card states how many there were. Paths inside the run's
    configuration start at the registry's root, or at the working directory where there is none.

    Example: modelreg evaluate runs/conv2d_fsq-001
    """
    host.need_extra("train", "torch", "safetensors", "matplotlib", "scipy", "pandas")
    from modelreg.config import TrainConfig
    from modelreg.records.base import load
    from modelreg.registry import runs
    from modelreg.workflows import evaluation_run

    folder = run or runs.newest(host.workplace() / "runs")
    if protocol == "random":
        compare_with_chance(folder, as_json=as_json)
        warn_of_leaks(folder)
        return
    if protocol != "holdout":
        cross_validate(folder, protocol, folds, jobs, as_json=as_json)
        return
    settings = load(folder / filenames.CONFIG, TrainConfig).training
    here = host.describe(settings.model_copy(update={"device": "cpu"}))
    with host.reading() as reading:
        measured = evaluation_run.evaluate(folder, reading, here, host.now)
    _warn(measured, runs.load_run(folder).model.grid)
    warn_of_leaks(folder)
    if as_json:
        emit_json(measured.to_document())
        return
    _show(measured)
    say(f"report: {host.shown(folder / filenames.PAGE)}")
    say(f"next: modelreg export {host.shown(folder)} --target hailo8")
    say(f"or:   modelreg release {host.next_version(measured.model)} --run {host.shown(folder)}")


def _warn(measured: "EvalMetrics", levels: Sequence[int]) -> None:
    """Note what the numbers are not worth, and which parts of the model do not fare as they should."""
    from modelreg.documents.report import health, recommendations

    if known := measured.protocol.known_subjects:
        note(f"warning: {', '.join(known)} were trained on too: the numbers say nothing about new subjects")
    for dimension, used, of in recommendations.starved(measured.codes, levels) if measured.codes else ():
        advice = "try --set model.batchnorm_before_fsq=true, or fewer levels"
        note(f"warning: dimension {dimension} uses {used} of {of} levels; {advice}")
    for found in health.ailments(measured):
        note(f"warning: {found.finding}")


def warn_of_leaks(folder: Path) -> None:
    """Note what the parts share, and what is too good; not what the split is meant to share."""
    from modelreg.documents.report import leakage
    from modelreg.records.audit import AuditRecord
    from modelreg.records.base import load

    for finding in load(folder / filenames.AUDIT, AuditRecord).findings:
        if finding.severity != "by_design":
            word = "LEAK" if finding.severity == "leak" else finding.severity
            examples = f" ({'; '.join(finding.examples)})" if finding.examples else ""
            note(f"warning: {word}: {leakage.said(finding)}{examples}")


def _show(measured: "EvalMetrics") -> None:
    from modelreg.documents.model_card import headline
    from modelreg.records.metrics import Interval

    protocol = measured.protocol
    say(f"{measured.model}: {measured.windows} windows of {', '.join(protocol.tested.subjects)}")
    rows = []
    for name, value in headline(measured).items():
        interval = measured.interval(name)
        span = f"{interval.low:.4f} to {interval.high:.4f}" if isinstance(interval, Interval) else ""
        rows.append((name, f"{value:.4f}", span))
    draw(table(("metric", "value", "95 % over subjects"), rows, right=("value",)), sys.stdout)
    reasons = {interval.reason for interval in measured.intervals.values() if not isinstance(interval, Interval)}
    for reason in sorted(reasons):
        say(f"no interval: {reason}")
    if measured.confidence:
        _show_confidence(measured.confidence)
    say(f"looks at the held-out part so far: {protocol.evaluations}")


def _show_confidence(found: "ConfidenceMetrics") -> None:
    """Say what calibration.json does, in two lines."""
    from modelreg.records.intervals import Reason

    before, after = found.before.equal_mass, found.after.equal_mass
    say(
        f"temperature {found.after.temperature:.3f}: calibration error {before.error:.4f} before, {after.error:.4f} "
        f"after (null band up to {after.null_high:.4f})"
    )
    if isinstance(found.sets, Reason):
        say(f"no conformal sets: {found.sets.reason}")
        return
    shown = [f"{name} {each.coverage:.1%} with {each.mean_size:.2f} classes" for name, each in found.sets.items()]
    say(f"sets for {1 - found.alpha:.0%}: {', '.join(shown)}")
