"""A small cross-fitted run on made-up recordings: trained with two epochs, evaluated, released."""

import shutil

import pytest
from test_training_run import TINY, make_registry

from modelreg.cli.main import main

RUN = "runs/conv2d_fsq-001"
VERSION = "registry/conv2d_fsq/v0.1.0"
CROSSED = (
    TINY.replace("epochs: 6", "epochs: 2")
    .replace("split: {by: subject, test: 2, validation: 1}", "split: {by: subject}")
    .replace("evaluation: {replicates: 100}", "evaluation: {replicates: 100, protocol: kfold-subject, folds: 3}")
)
NAMES = ("kfold3-01", "kfold3-02", "kfold3-03")
TRAIN = ["train", "crossed.yaml", "--jobs", "1"]  # in this process, where tests change what it does
RESUME = ["train", "--resume", RUN, "--jobs", "1"]


def make_crossed(root):
    """Write a registry with recordings and a configuration of a cross-fitted run."""
    make_registry(root)
    (root / "crossed.yaml").write_text(CROSSED)
    return root


@pytest.fixture(scope="session")
def crossed(tmp_path_factory):
    """A registry with a cross-fitted run: trained, evaluated, released."""
    root = make_crossed(tmp_path_factory.mktemp("crossed"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("SOURCE_DATE_EPOCH", "1795255200")
        release = ["release", "v0.1.0", "--roll-changelog"]
        assert [main(words) for words in (TRAIN, ["evaluate"], release)] == [0, 0, 0]
    return root


@pytest.fixture
def place(crossed, tmp_path, monkeypatch):
    """A copy of it; the working directory."""
    root = tmp_path / "copy"
    shutil.copytree(crossed, root)
    monkeypatch.chdir(root)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795255200")
    return root


def bytes_of(run):
    """Every file of a run and its folds, but for TensorBoard's, which have the time of day."""
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and "tensorboard" not in path.parts
    }
