"""A command that was killed at any of its changes to files never blocks the same line, run again."""

import shutil
import subprocess
from pathlib import Path

import pytest
from example_run import write_registry, write_run
from killing import Job, failed, rounds

from modelreg.cli.main import main

WHO = {f"GIT_{role}_{part}": "t@example.org" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}


@pytest.fixture(scope="module")
def templates(tmp_path_factory) -> dict[str, Path]:
    """The folders that commands start from: empty, with an evaluated run, with a released version and a key."""
    base = tmp_path_factory.mktemp("templates")
    (base / "empty").mkdir()
    root = write_registry(base / "run")
    write_run(root / "runs/conv2d_fsq-001")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in WHO.items():
            patch.setenv(name, value)
        for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "start"]):
            subprocess.run(["git", *command], cwd=root, check=True)
        shutil.copytree(root, base / "released")
        patch.chdir(base / "released")
        assert main(["release", "v0.1.0", "--tag"]) == 0
        assert main(["keygen", "--no-passphrase"]) == 0
    return {name: base / name for name in ("empty", "run", "released")}


MATRIX = [
    ("empty", ("init",), 15),
    ("run", ("release", "v0.1.0"), 30),
    ("run", ("release", "v0.1.0", "--tag"), 10),
    ("released", ("keygen", "--out", "other.pem", "--no-passphrase"), 6),
    ("released", ("sign", "v0.1.0", "--key", "key.pem"), 2),
    ("released", ("promote", "v0.1.0", "staging", "--why", "tested"), 2),
]


@pytest.mark.parametrize(("template", "command", "changes"), MATRIX, ids=[" ".join(each[1]) for each in MATRIX])
def test_a_killed_command_does_not_block_the_next(templates, tmp_path, template, command, changes) -> None:
    """At each change: killed as by SIGKILL, then the same line, which succeeds."""
    step = 4 if "--tag" in command else 1  # the changes before the commit are those of the release without a tag
    job = Job(str(templates[template]), str(tmp_path / "copy"), command, step=step)
    found = rounds(job, {**WHO, "MODELREG_CACHE": "off"})

    assert (failed(found), len(found) >= changes) == ([], True)
