"""A training, an evaluation or an export that was killed never blocks the same line, run again."""

import shutil
from pathlib import Path

import pytest
import torch
from cross_fitted import CROSSED
from killing import Job, failed, killer
from legacy_networks import PooledFsq, seeded
from test_ablation import TINY as ABLATION
from test_training_run import TINY, make_registry

from modelreg.cli.main import main

pytestmark = [pytest.mark.no_cover, pytest.mark.needs("torch", "matplotlib", "onnx")]
RUN = "runs/conv2d_fsq-001"
TRAIN = ("train", "tiny.yaml")
STAGES = {  # each starts from the one before, with one more command
    "start": (),
    "trained": TRAIN,
    "evaluated": ("evaluate",),
    "exported": ("export", "--target", "hailo8"),
}
LEGACY = TINY[: TINY.index("model:")] + "model: {levels: [8, 8, 8, 8, 8, 8, 8, 8]}\nevaluation: {replicates: 100}\n"
MATRIX = [  # where a command starts, its line, and the changes at which it is killed: a sample, for it takes long
    ("trained", ("evaluate",), (12,)),
    ("evaluated", ("evaluate", RUN, "--protocol", "kfold-subject", "--folds", "2", "--jobs", "1"), (90,)),
    ("evaluated", ("evaluate", RUN, "--protocol", "random"), (55,)),
    ("start", ("ablate", "ablation.yaml", "--seeds", "0"), (60,)),
    ("evaluated", ("export", "--target", "hailo8"), (44,)),
    ("start", ("import", "old.pth", "--as", "conv2d_fsq", "--config", "old.yaml"), (12,)),
    ("exported", ("bench", RUN, "--windows", "100", "--out", f"{RUN}/latency.json"), (1, 2)),
    ("start", ("data", "check", "tiny.yaml", "--out", "quality"), (2, 5)),
    ("evaluated", ("compare", RUN, RUN, "--html", "comparison.html"), (2,)),
]
TRAINED = (2, 30, 44)  # of 50 changes
CROSS_FITTED = (60, 230)  # of fewer than 300


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """Return a function that makes the folder of a stage, and those before it, once."""
    base = tmp_path_factory.mktemp("stages")

    def make(name: str) -> Path:
        if not (base / name).exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("MODELREG_CACHE", "off")
                _grow(base, name, patch)
        return base / name

    def _grow(base: Path, name: str, patch: pytest.MonkeyPatch) -> None:
        if name == "start":
            _start(base / name)
            return
        names = list(STAGES)
        shutil.copytree(make(names[names.index(name) - 1]), base / name)
        patch.chdir(base / name)
        assert main(list(STAGES[name])) == 0

    return make


def _start(root: Path) -> None:
    make_registry(root)
    (root / "tiny.yaml").write_text(TINY.replace("epochs: 6", "epochs: 2"))
    (root / "ablation.yaml").write_text(ABLATION.replace("epochs: 2", "epochs: 1"))
    (root / "old.yaml").write_text(LEGACY)
    (root / "crossed.yaml").write_text(CROSSED)
    torch.save(seeded(PooledFsq, classes=3).state_dict(), root / "old.pth")


@pytest.fixture(scope="module")
def kill():
    """Kill the command of a job. The cache lies in the working directory: what it keeps counts as a change too."""
    with killer(torch=True, MODELREG_CACHE="cache") as function:
        yield function


@pytest.mark.parametrize(("start", "command", "at"), MATRIX, ids=[" ".join(each[1][:4]) for each in MATRIX])
def test_a_killed_command_does_not_block_the_next(stage, kill, tmp_path, start, command, at) -> None:
    """Killed as by SIGKILL, then the same line, which succeeds."""
    assert failed(kill(Job(str(stage(start)), str(tmp_path / "copy"), command, at=at))) == []


def test_a_killed_training_is_left_and_a_new_run_started(stage, kill, tmp_path) -> None:
    """The same line succeeds; where a run was begun, it prints the line that resumes it."""
    found = kill(Job(str(stage("start")), str(tmp_path / "copy"), TRAIN, at=TRAINED))
    named = [f"modelreg train --resume {RUN}" in each.output for each in found]

    assert (failed(found), named[0], named[-1]) == ([], False, True)


def test_a_killed_training_is_resumed(stage, kill, tmp_path) -> None:
    """Wherever a run exists, and is not finished."""
    again = ("train", "--resume", RUN)
    found = kill(Job(str(stage("start")), str(tmp_path / "copy"), TRAIN, again=again, at=TRAINED))
    others = [each.output for each in failed(found)]

    assert (found[0].code, found[-1].code) == (3, 0)
    assert all("[run.not-a-run]" in output or "[run.already-trained]" in output for output in others)


def test_a_killed_cross_fitted_training_is_resumed(stage, kill, tmp_path) -> None:
    """Killed in its first fold, and near its end."""
    command, again = ("train", "crossed.yaml", "--jobs", "1"), ("train", "--resume", RUN, "--jobs", "1")
    found = kill(Job(str(stage("start")), str(tmp_path / "copy"), command, again=again, at=CROSS_FITTED))

    others = [each.output for each in failed(found)]

    assert found[len(found) // 2].code == 0
    assert all("[run.not-a-run]" in output or "[run.already-trained]" in output for output in others)
