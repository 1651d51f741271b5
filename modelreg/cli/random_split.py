"""`modelreg evaluate --protocol random`: what a leaky evaluation would have claimed."""

from pathlib import Path

from modelreg.cli import environment
from modelreg.cli.console import emit_json, note, say


def compare_with_chance(folder: Path, *, as_json: bool) -> None:
    """Train on a random split from where it stands; write random_split.json, the audit and the report."""
    from modelreg import random_split, report, runs
    from modelreg.config import TrainConfig
    from modelreg.records.base import load
    from modelreg.records.metrics import EvalMetrics

    settings = load(folder / runs.CONFIG, TrainConfig).training
    environment.ready_to_train(settings)
    with environment.reading() as reading:
        found = random_split.measure(folder, reading, environment.describe(settings), environment.now)
    accuracy = load(folder / runs.METRICS, EvalMetrics).accuracy
    if as_json:
        emit_json({**found.to_document(), "compared_with": accuracy})
        return
    say(report.leaky(found, accuracy))
    note(f"in {environment.shown(folder / runs.RANDOM_SPLIT)} and the report; the run's number stays {accuracy:.4f}")
