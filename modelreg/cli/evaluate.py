"""`modelreg evaluate`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelreg.cli import environment
from modelreg.cli.console import draw, emit_json, say, table

if TYPE_CHECKING:
    from modelreg.records.metrics import EvalMetrics


def evaluate(
    run: Annotated[
        Path | None, typer.Argument(help="A run's folder; left out: the newest run.", metavar="[RUN]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print eval_metrics.json.")] = False,
) -> None:
    """Compute a run's metrics on subjects it never saw, from predictions that are kept.

    Each look at the held-out part is counted, and the model card states how many there were.

    Example: modelreg evaluate runs/conv2d_fsq-001
    """
    environment.need_extra("train", "torch", "safetensors", "matplotlib", "scipy")
    from modelreg import experiment, runs

    folder = run or runs.newest(environment.workplace() / "runs")
    measured = experiment.evaluate(folder, Path.cwd(), environment.now)
    if as_json:
        emit_json(measured.to_document())
        return
    _show(measured)
    say(f"report: {environment.shown(folder / runs.REPORT)}")
    say(f"next: modelreg release v0.1.0 --run {environment.shown(folder)}")


def _show(measured: "EvalMetrics") -> None:
    from modelreg.card import headline
    from modelreg.records.metrics import Interval

    protocol = measured.protocol
    say(f"{measured.model}: {measured.windows} windows of {', '.join(protocol.tested.subjects)}")
    rows = []
    for name, value in headline(measured).items():
        interval = {str(key): found for key, found in measured.intervals.items()}.get(name)
        span = f"{interval.low:.4f} to {interval.high:.4f}" if isinstance(interval, Interval) else ""
        rows.append((name, f"{value:.4f}", span))
    draw(table(("metric", "value", "95 % over subjects"), rows, right=("value",)), sys.stdout)
    reasons = {interval.reason for interval in measured.intervals.values() if not isinstance(interval, Interval)}
    for reason in sorted(reasons):
        say(f"no interval: {reason}")
    say(f"looks at the held-out part so far: {protocol.evaluations}")
