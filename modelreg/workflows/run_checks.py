"""Checks before a workflow uses a run: its state, its files, its data and its environment."""

from collections.abc import Iterable, Iterator
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
    """Read a run that must be in this state. Raises InputError, also where a sealed file was changed."""
    run = runs.load_run(folder)
    if run.status != status:
        what = f"is not trained to its end; go on with `modelreg train --resume {folder}`"
        what = "is trained to its end" if status == "training" else what
        raise InputError(
            f"the run is {'already ' if status == 'training' else 'not yet '}trained",
            [Problem(str(folder), "todo.run-checks", what)],
        )
    refuse("the run is not what it was", runs.find_changed(folder, run))
    return run, load(folder / CONFIG, TrainConfig)


def repeatable(folder: Path, action: str) -> TrainConfig:
    """Return the configuration of a run that may be trained again. Raises InputError where it may not."""
    run = runs.load_run(folder)
    if run.imported:
        refuse(
            f"cannot {action}",
            [Problem(str(folder), "todo.run-checks", "was imported: there is no training to repeat")],
        )
    refuse("the run is not what it was", runs.find_changed(folder, run))
    return load(folder / CONFIG, TrainConfig)


def refuse(summary: str, problems: Iterable[Problem]) -> None:
    """Raise InputError where there is a problem."""
    if found := list(problems):
        raise InputError(summary, found)


def environment_differences(then: Environment, now: Environment) -> Iterator[Problem]:
    """Yield what a result may depend on and is not what it was; whether git's tree is dirty is no matter."""
    old, new = then.to_document(), now.to_document()
    for name in Environment.model_fields:
        if name != "git" and old[name] != new[name]:
            yield Problem(name, "todo.run-checks", f"is {new[name]}, but the run was started with {old[name]}")


def refuse_other_data(folder: Path, prepared: Prepared) -> None:
    """Raise InputError where data are not those that a run or a version recorded."""
    recorded, scale = load(folder / DATA, DataRecord), load(folder / NORMALIZATION, Normalization)
    now, then = prepared.record.to_document(), recorded.to_document()
    problems = [
        Problem(
            f"{DATA}: {name}", "todo.run-checks", "is not what the data give now: restore the recordings, or start anew"
        )
        for name in then
        if now[name] != then[name]
    ]
    if scale.fitted_on == "train" and prepared.normalization != scale:
        problems.append(Problem(NORMALIZATION, "todo.run-checks", "is not what the training part gives now"))
    refuse("the data have changed since the run was started", problems)
