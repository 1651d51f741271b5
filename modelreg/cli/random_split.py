"""`modelreg evaluate --protocol random`: the accuracy that a leaky evaluation would claim."""

from pathlib import Path

from modelreg.cli import host
from modelreg.cli.console import emit_json, note, say
from modelreg.registry import filenames


def compare_with_chance(folder: Path, *, as_json: bool) -> None:
    """Train or resume on a random split; write random_split.json, the audit and the report."""
    from modelreg.config import TrainConfig
    from modelreg.documents.report import leakage
    from modelreg.records.base import load
    from modelreg.records.metrics import EvalMetrics
    from modelreg.workflows import random_split

    settings = load(folder / filenames.CONFIG, TrainConfig).training
    host.ready_to_train(settings)
    with host.reading() as reading:
        found = random_split.measure_random_split(folder, reading, host.describe(settings), host.now)
    accuracy = load(folder / filenames.METRICS, EvalMetrics).accuracy
    if as_json:
        emit_json({**found.to_document(), "compared_with": accuracy})
        return
    say(leakage.leaky(found, accuracy))
    note(
        f"saved: {host.shown(folder / filenames.RANDOM_SPLIT)} and the report; the run's accuracy stays {accuracy:.4f}"
    )
