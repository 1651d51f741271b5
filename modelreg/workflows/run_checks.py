"""Checks before a workflow uses a run: its state, its files, its data and its environment."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from modelreg.config import TrainConfig
from modelreg.data.preparation import Prepared
from modelreg.errors import InputError, Problem
from modelreg.records.base import load
from modelreg.records.data import DataRecord, Normalization
from modelreg.records.run import Environment, RunRecord
from modelreg.registry import runs
from modelreg.registry.filenames import CONFIG, DATA, NORMALIZATION


def load_checked(folder: Path, *, status: Literal["training", "trained"]) -> tuple[RunRecord, TrainConfig]:
    """Read a run that must have this status. Raises InputError if it has another, or if a sealed file was changed."""
    run = runs.load_run(folder)
    if run.status != status and status == "trained":
        step = f"run `modelreg train --resume {folder}`"
        problem = Problem(str(folder), "run.not-trained", "its training is not finished", step)
        raise InputError("cannot use this run", [problem])
    if run.status != status:
        what = f"finished its training after {run.epochs} epochs"
        raise InputError("cannot resume this run", [Problem(str(folder), "run.already-trained", what)])
    refuse("cannot use this run", runs.find_changed(folder, run))
    return run, load(folder / CONFIG, TrainConfig)


def repeatable(folder: Path, action: str) -> TrainConfig:
    """Return the configuration of a run that can be trained again. Raises InputError if it cannot."""
    run = runs.load_run(folder)
    if run.imported:
        what = f"was imported from {run.imported.file}"
        refuse(f"cannot {action}", [Problem(str(folder), "run.imported", what)])
    refuse(f"cannot {action}", runs.find_changed(folder, run))
    return load(folder / CONFIG, TrainConfig)


def refuse_crossfitted(folder: Path, config: TrainConfig, summary: str) -> None:
    """Raise InputError if a run is cross-fitted: it has no test split."""
    if config.evaluation.crossfitted:
        what = f"its protocol is {config.evaluation.protocol}: every subject is tested by a fold"
        raise InputError(summary, [Problem(str(folder), "evaluate.cross-fitted", what)])


def refuse_existing(folder: Path) -> None:
    """Raise InputError if the folder of a new run exists already."""
    if folder.exists():
        raise InputError("no run was created", [Problem(str(folder), "run.folder-exists", "exists already")])


def refuse_others(planned: Mapping[Path, TrainConfig], summary: str, what: str) -> None:
    """Raise InputError if the folder of a planned run has a run of another configuration; `what` differs."""
    others = [
        folder for folder, config in planned.items() if folder.exists() and load(folder / CONFIG, TrainConfig) != config
    ]
    refuse(summary, [Problem(str(folder), "run.other-configuration", what) for folder in others])


def refuse(summary: str, problems: Iterable[Problem]) -> None:
    """Raise InputError if there is a problem."""
    if found := list(problems):
        raise InputError(summary, found)


def environment_differences(then: Environment, now: Environment) -> Iterator[Problem]:
    """Yield each difference of two environments that a result may depend on; the state of git is left out."""
    old, new = then.to_document(), now.to_document()
    for name in Environment.model_fields:
        if name not in ("git", "git_absent") and old[name] != new[name]:
            what = f"is {new[name]}, but the run was started with {old[name]}"
            yield Problem(name, "train.environment-mismatch", what)


def refuse_other_data(folder: Path, prepared: Prepared) -> None:
    """Raise InputError if the data differ from those that a run or a version recorded."""
    recorded, scale = load(folder / DATA, DataRecord), load(folder / NORMALIZATION, Normalization)
    now, then = prepared.record.to_document(), recorded.to_document()
    what = "the recordings now give another value than the recorded one"
    places = [f"{DATA}: {name}" for name in then if now.get(name) != then[name]]
    if scale.fitted_on == "train" and prepared.normalization != scale:
        places.append(NORMALIZATION)
    refuse("the data have changed", [Problem(place, "run.data-changed", what) for place in places])
