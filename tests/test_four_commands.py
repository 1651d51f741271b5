"""The four commands as a user types them, in an empty folder: train, release, verify, export; and nothing else."""

import json
import subprocess

import pytest

from modelreg import config
from modelreg.cli.main import main
from modelreg.registry import filenames

pytestmark = [
    pytest.mark.no_cover,
    pytest.mark.needs("torch", "onnx", "onnxsim", "onnxruntime", "tensorboard", "matplotlib", "pandas"),
]
COMMANDS = (["train"], ["release", "v0.2.0"], ["verify"], ["export", "--target", "hailo8"])
VERSION = "registry/conv2d_fsq/v0.2.0"


@pytest.fixture(scope="module", params=["no repository", "no commit"])
def place(request, tmp_path_factory):
    """An empty folder in which they ran: without git, and after `git init`. The default is trained for fewer epochs."""
    root = tmp_path_factory.mktemp("empty")
    if request.param == "no commit":
        subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    short = config.default()
    short["training"] |= {"epochs": 6, "threads": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "default", lambda: short)
        patch.chdir(root)
        assert main(["init", "my-models"]) == 0
        patch.chdir(root / "my-models")
        codes = [main(command) for command in COMMANDS]
    return root / "my-models", request.param, codes


def test_each_succeeds(place) -> None:
    """In this order, without another command, flag or edit."""
    assert place[2] == [0, 0, 0, 0]


def test_the_run_is_shown_as_released(place, monkeypatch, capsys) -> None:
    """And the next command is not a release of the same weights, which would be refused."""
    monkeypatch.chdir(place[0])
    code = main(["show", "runs/conv2d_fsq-001"])
    lines = capsys.readouterr().out.splitlines()

    assert (code, lines[0].rpartition("; ")[2]) == (0, "released as conv2d_fsq@v0.2.0")
    assert lines[-1].startswith("next: modelreg verify conv2d_fsq@v0.2.0")


def test_the_gates_that_init_wrote_are_met(place) -> None:
    """None is waived; the drop in 8 bits and the parity are judged, too."""
    outcomes = json.loads((place[0] / VERSION / filenames.GATES).read_text())["outcomes"]

    assert {(each["failure"], each["waived"]) for each in outcomes} == {(None, None)}
    assert {each["path"] for each in outcomes} >= {"above_baseline", "every_class_tested", "int8.accuracy_drop"}


def test_the_version_carries_the_exports(place) -> None:
    """So it is used without torch."""
    assert (place[0] / VERSION / "onnx/model.onnx").is_file()
    assert (place[0] / VERSION / "hailo8/bundle.json").is_file()


def test_the_changelog_has_an_entry_from_facts(place) -> None:
    """Nobody wrote one: model, data, metric and digest."""
    text = (place[0] / "CHANGELOG.md").read_text()
    measured = json.loads((place[0] / VERSION / filenames.METRICS).read_text())

    assert "## [v0.2.0] - " in text
    assert f"accuracy {measured['accuracy']:.3f}" in text
    assert measured["checkpoint_sha256"][:16] in text


def test_the_run_says_why_it_has_no_commit(place) -> None:
    """No repository, or no commit yet; the version repeats it."""
    root, absent, _ = place
    recorded = json.loads((root / VERSION / filenames.RUN).read_text())["environment"]

    assert (recorded["git"], recorded["git_absent"]) == (None, absent)
    assert absent in (root / VERSION / filenames.PROVENANCE).read_text()
