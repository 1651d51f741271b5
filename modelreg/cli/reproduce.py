"""`modelreg verify --reproduce` and `--retrain`: a version's numbers made again."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from modelreg.cli import environment
from modelreg.cli.console import note

if TYPE_CHECKING:
    from modelreg.integrity import Findings
    from modelreg.reproduction import Outcome


def reproduced(folder: Path, findings: "Findings", data: Path | None, *, retrain: bool) -> "Findings":
    """Add what comes of making a version's numbers again; a version that does not verify is left at that."""
    if findings.problems:
        note("not reproduced: the version does not verify")
        return findings
    environment.need_extra("train", "torch", "safetensors", "tensorboard", "scipy", "pandas")
    from modelreg import reproduction

    with environment.reading(data) as reading:
        outcomes = [reproduction.reproduce(folder, reading)]
    if retrain:
        outcomes.append(_retrained(folder, data))
    problems = [problem for outcome in outcomes for problem in outcome.problems]
    notices = [notice for outcome in outcomes for notice in outcome.notices]
    return replace(findings, problems=(*findings.problems, *problems), notices=(*findings.notices, *notices))


def _retrained(folder: Path, data: Path | None) -> "Outcome":
    """Train again in a folder that is thrown away."""
    from modelreg import experiment, origins, reproduction
    from modelreg.cli.progress import show_training

    with TemporaryDirectory() as scratch:
        place = Path(scratch) / "run"
        with environment.reading(data) as reading:
            settings = origins.configuration(folder, reading).training
            here = environment.describe(settings)
            prepared = reproduction.restart(folder, place, reading, here, environment.now())
        environment.ready_to_train(settings)
        show_training(experiment.train(place, prepared, here, environment.now), settings, None)
        return reproduction.judge_training(folder, place, prepared, here)
