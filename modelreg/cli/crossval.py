"""`modelreg evaluate --protocol`: cross-validation by subject."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from modelreg.cli import host
from modelreg.cli.console import draw, emit_json, note, say, table
from modelreg.cli.phrases import metric_name
from modelreg.registry import filenames

if TYPE_CHECKING:
    from modelreg.config import TrainingSettings
    from modelreg.data.cache import Reading
    from modelreg.records.crossval import CrossValidation
    from modelreg.records.metrics import ProtocolName
    from modelreg.workflows.cross_validation import Place


PARALLEL_FOLDS = "Number of folds to train in parallel, each in a process. Default: as many as fit on the cores."
COLUMNS = ("metric", "pooled", "mean ± deviation of folds", "lowest fold")


def cross_validate(folder: Path, protocol: "ProtocolName", folds: int, jobs: int | None, *, as_json: bool) -> None:
    """Train unfinished folds, pool all folds, write crossval.json and, if the run was evaluated, its report."""
    from modelreg import files
    from modelreg.config import TrainConfig
    from modelreg.records.base import load
    from modelreg.workflows import cross_validation, evaluation_run

    settings = load(folder / filenames.CONFIG, TrainConfig).training
    with host.reading() as reading:
        found = cross_validation.plan(folder, protocol, folds, reading)
        place = place_of(reading, settings)
    jobs = settle_jobs(jobs, settings, len(found))
    done = sum(map(cross_validation.is_finished, found))
    host.ready_to_train(settings)
    for number, fold in enumerate(cross_validation.train(found, place, jobs), done + 1):
        note(f"fold {number} of {len(found)} finished: {host.shown(fold.folder)}")
    pooled = cross_validation.pool(protocol, found)
    files.write_atomic(folder / filenames.CROSSVAL, pooled.to_bytes())
    if (folder / filenames.METRICS).is_file():
        evaluation_run.write_report(folder)
    if as_json:
        emit_json(pooled.to_document())
        return
    _show(pooled)
    say(f"saved: {host.shown(folder / filenames.CROSSVAL)} (the model card states test-split metrics instead)")


def place_of(reading: "Reading", settings: "TrainingSettings") -> "Place":
    """Return what the training of a fold needs, in this process or in another."""
    from modelreg.workflows.cross_validation import Place

    return Place(
        base=reading.base,
        cache=reading.cache,
        pseudonyms=reading.pseudonyms,
        training=host.describe(settings),
        evaluation=host.describe(settings.model_copy(update={"device": "cpu"})),
        clock=host.now,
    )


def settle_jobs(jobs: int | None, settings: "TrainingSettings", folds: int) -> int:
    """Return how many folds to train in parallel: as many as the cores have threads for, if no number is given.

    Warns of more threads than cores: each fold then waits for the others.
    """
    cores = host.usable_cores()
    if jobs is None:
        return fitting_jobs(settings, folds, cores)
    if jobs > (most := _most_jobs(settings.threads, cores)):
        note(
            f"warning: {jobs} jobs of {settings.threads} threads (training.threads) on {cores} cores are slower than "
            f"fewer jobs; use --jobs {most}"
        )
    return jobs


def fitting_jobs(settings: "TrainingSettings", folds: int, cores: int) -> int:
    """Return how many of `folds` can train in parallel on `cores`; one at a time on a GPU."""
    return 1 if settings.device == "cuda" else min(folds, _most_jobs(settings.threads, cores))


def _most_jobs(threads: int, cores: int) -> int:
    """Return how many jobs have a core for each of their threads; at least one."""
    return max(cores // threads, 1)


def _show(found: "CrossValidation") -> None:
    say(
        f"{found.model}, {found.protocol}: {found.pooled.windows:,} out-of-fold predictions of {len(found.folds)} folds"
    )
    pooled = found.pooled
    numbers = (pooled.accuracy, pooled.balanced_accuracy, pooled.macro_f1)
    errors = (pooled.calibration.ece, found.calibrated.equal_mass.error)
    rows = [
        (metric_name(name), f"{value:.4f}", f"{spread.mean:.4f} ± {spread.deviation:.4f}", f"{spread.lowest:.4f}")
        for (name, spread), value in zip(found.spread.items(), (*numbers, *errors), strict=True)
    ]
    draw(table(COLUMNS, rows, right=COLUMNS[1:]), sys.stdout)
