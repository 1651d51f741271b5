"""`modelreg verify --reproduce` and `--retrain`: a version's numbers made again."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from modelreg.cli import host
from modelreg.cli.console import note

if TYPE_CHECKING:
    from modelreg.verification.integrity import Findings
    from modelreg.workflows.reproduce import Outcome


def reproduced(folder: Path, findings: "Findings", data: Path | None, *, retrain: bool) -> "Findings":
    """Add what comes of making a version's numbers again; a version that does not verify is left at that."""
    if findings.problems:
        note("not reproduced: the version does not verify")
        return findings
    host.need_extra("train", "torch", "safetensors", "tensorboard", "scipy", "pandas")
    from modelreg.workflows import reproduce

    with host.reading(data) as reading:
        outcomes = [reproduce.reproduce(folder, reading)]
    if retrain:
        outcomes.append(_retrained(folder, data))
    problems = [problem for outcome in outcomes for problem in outcome.problems]
    notices = [notice for outcome in outcomes for notice in outcome.notices]
    return replace(findings, problems=(*findings.problems, *problems), notices=(*findings.notices, *notices))


def _retrained(folder: Path, data: Path | None) -> "Outcome":
    """Train again in a folder that is thrown away."""
    from modelreg.cli.progress import show_training
    from modelreg.workflows import reproduce, sources, training_run

    with TemporaryDirectory() as scratch:
        place = Path(scratch) / "run"
        with host.reading(data) as reading:
            settings = sources.configuration(folder, reading).training
            here = host.describe(settings)
            prepared = reproduce.restart(folder, place, reading, here, host.now())
        host.ready_to_train(settings)
        show_training(training_run.train(place, prepared, here, host.now), settings, None)
        return reproduce.judge_training(folder, place, prepared, here)
