"""`modelreg evaluate`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelreg.cli import host
from modelreg.cli.console import draw, emit_json, note, say, table
from modelreg.cli.crossval import PARALLEL_FOLDS, cross_validate
from modelreg.cli.phrases import NOT_NEW, counted_subjects, metric_name
from modelreg.cli.random_split import compare_with_chance
from modelreg.registry import filenames

if TYPE_CHECKING:
    from modelreg.records.calibration import ConfidenceMetrics
    from modelreg.records.metrics import EvalMetrics

EXTRA = ("torch", "safetensors", "matplotlib", "scipy", "pandas")  # what an evaluation needs of [train]


def evaluate(
    run: Annotated[
        Path | None, typer.Argument(help="Folder of a run. Default: the newest run.", metavar="[RUN]")
    ] = None,
    protocol: Annotated[
        Literal["holdout", "loso", "kfold-subject", "random"],
        typer.Option(
            help="holdout: the test split of the run. loso, kfold-subject: cross-validation by subject. "
            "random: a reference for the leakage audit.",
        ),
    ] = "holdout",
    folds: Annotated[int, typer.Option(min=2, help="Number of folds of kfold-subject.", metavar="N")] = 5,
    jobs: Annotated[int | None, typer.Option(min=1, help=PARALLEL_FOLDS, metavar="N")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the resulting document as JSON.")] = False,
) -> None:
    """Compute the metrics of a run on its test split.

    The predictions are saved with the run. The test subjects were not used for training, unless the split is by time.
    Each test-set evaluation is counted, and the model card states the count. The metrics of a cross-fitted run are
    those of its folds, for subjects that the predicting model never saw.

    --protocol loso (leave one subject out) and kfold-subject train the run's configuration once for each fold, in
    RUN/folds/. To resume an interrupted cross-validation, run the same command again.

    --protocol random trains the configuration once more on the same windows, split at random. Such a split leaks: its
    accuracy is what a leaky evaluation would claim. If it exceeds the run's accuracy by more than 5 percentage points,
    the report calls it suspicious. The number appears in the leakage audit only.

    Relative paths in the run's configuration start at the registry's root, or at the working directory outside a
    registry.

    Example: modelreg evaluate runs/conv2d_fsq-001
    """
    host.need_extra("train", *EXTRA)
    from modelreg import files
    from modelreg.registry import runs

    folder = run or runs.newest_trained(host.workplace() / "runs", None, "modelreg evaluate")
    if run is None:
        note(f"evaluating the newest run, {host.shown(folder)}")
    grid = runs.load_run(folder).model.grid  # raises the error of a folder that is not a run
    files.refuse_unwritable(folder)
    if protocol == "random":
        compare_with_chance(folder, as_json=as_json)
        warn_of_leaks(folder)
        return
    if protocol != "holdout":
        cross_validate(folder, protocol, folds, jobs, as_json=as_json)
        return
    measured = measure(folder)
    _warn_of_health(measured, grid)
    warn_of_leaks(folder)
    if as_json:
        emit_json(measured.to_document())
        return
    show(measured)
    say(f"report: {host.shown(folder / filenames.PAGE)}")
    say(f"next: modelreg export {host.shown(folder)} --target hailo8")
    say(f"or:   {host.release_step(folder)}")


def measure(folder: Path) -> "EvalMetrics":
    """Evaluate a run on its test split, and write its report."""
    from modelreg.config import TrainConfig
    from modelreg.records.base import load
    from modelreg.workflows import evaluation_run

    host.need_extra("train", *EXTRA)
    settings = load(folder / filenames.CONFIG, TrainConfig).training
    here = host.describe(settings.model_copy(update={"device": "cpu"}))
    with host.reading() as reading:
        return evaluation_run.evaluate(folder, reading, here, host.now)


def warn(folder: Path) -> None:
    """Print warnings about an evaluated run: its split, unused or dead parts of the model, leakage."""
    from modelreg.records.base import load
    from modelreg.records.metrics import EvalMetrics
    from modelreg.registry import runs

    _warn_of_health(load(folder / filenames.METRICS, EvalMetrics), runs.load_run(folder).model.grid)
    warn_of_leaks(folder)


def _warn_of_health(measured: "EvalMetrics", levels: Sequence[int]) -> None:
    from modelreg.documents.report import health, recommendations

    if known := measured.protocol.known_subjects:
        note(f"warning: {counted_subjects(known)} were also in the training data: {NOT_NEW}")
    for dimension, used, of in recommendations.starved(measured.codes, levels) if measured.codes else ():
        advice = "try --set model.batchnorm_before_fsq=true, or fewer levels"
        note(f"warning: dimension {dimension} of the quantizer uses {used} of {of} levels; {advice}")
    for found in health.ailments(measured):
        note(f"warning: {found.finding}")


def warn_of_leaks(folder: Path) -> None:
    """Print warnings about leakage between the splits and about implausible metrics."""
    from modelreg.documents.report import leakage
    from modelreg.records.audit import AuditRecord
    from modelreg.records.base import load

    for finding in load(folder / filenames.AUDIT, AuditRecord).findings:
        if finding.severity != "by_design":
            word = "LEAKAGE" if finding.severity == "leak" else finding.severity
            examples = f" ({'; '.join(finding.examples)})" if finding.examples else ""
            note(f"warning: {word}: {leakage.said(finding)}{examples}")


def show(measured: "EvalMetrics") -> None:
    """Print the main metrics of an evaluation."""
    from modelreg.documents.model_card import headline
    from modelreg.documents.templates import card_v2
    from modelreg.records.calibration import ConfidenceMetrics
    from modelreg.records.metrics import Interval

    protocol = measured.protocol
    kind = "test windows" if protocol.folds is None else "windows, predicted out of fold,"
    say(f"{measured.model}: {measured.windows:,} {kind} of {counted_subjects(protocol.tested.subjects)}")
    if protocol.folds is not None:
        say(card_v2.estimates(protocol))
    rows = []
    for name, value in headline(measured).items():
        interval = measured.interval(name)
        span = f"{interval.low:.4f} to {interval.high:.4f}" if isinstance(interval, Interval) else ""
        rows.append((metric_name(name), f"{value:.4f}", span))
    draw(table(("metric", "value", "95 % interval over subjects"), rows, right=("value",)), sys.stdout)
    reasons = {interval.reason for interval in measured.intervals.values() if not isinstance(interval, Interval)}
    for reason in sorted(reasons):
        say(f"no interval: {reason}")
    if isinstance(measured.confidence, ConfidenceMetrics):
        _show_confidence(measured.confidence)
    if protocol.folds is None:
        say(f"test-set evaluations so far: {protocol.evaluations}")


def _show_confidence(found: "ConfidenceMetrics") -> None:
    """Print whether temperature scaling is applied, and what the prediction sets did."""
    from modelreg.documents.templates import calibration_v2

    for sentence in calibration_v2.sentences(found):
        say(sentence)
