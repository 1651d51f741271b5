"""A command that was killed at any of its changes to files never blocks the same line, run again."""

import shutil
from pathlib import Path

import hef_builder
import pytest
from delivering import git
from example_export import write_export
from example_run import write_registry, write_run
from killing import Job, failed, killer

from modelreg import files
from modelreg.cli.main import main
from modelreg.config import ProjectConfig

pytestmark = pytest.mark.no_cover  # a thousand times what other tests do once

WHO = {f"GIT_{role}_{part}": "t@example.org" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}


@pytest.fixture(scope="module")
def templates(tmp_path_factory) -> dict[str, Path]:
    """The folders that commands start from."""
    base = tmp_path_factory.mktemp("templates")
    (base / "empty").mkdir()
    root = write_registry(base / "run", ProjectConfig(repository="acme/models"))
    write_run(root / "runs/conv2d_fsq-001")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in WHO.items():
            patch.setenv(name, value)
        git(root, "init", "--quiet", "--initial-branch=main")
        git(root, "add", ".")
        git(root, "commit", "--quiet", "--message", "start")
        patch.chdir(shutil.copytree(root, base / "released"))
        assert main(["release", "v0.1.0", "--tag"]) == 0
        assert main(["keygen", "--no-passphrase"]) == 0
        patch.chdir(shutil.copytree(base / "released", base / "promoted"))
        write_run(base / "promoted/runs/conv2d_fsq-002", seed=1)
        assert main(["release", "v0.2.0"]) == 0
        assert [main(["promote", version, "staging", "--why", "tested"]) for version in ("v0.1.0", "v0.2.0")] == [0, 0]
    _with_remote(Path(shutil.copytree(base / "released", base / "remote")))
    _with_bundle(Path(shutil.copytree(root, base / "bundle")))
    return {path.name: path for path in base.iterdir()}


def _with_remote(root: Path) -> None:
    """Add a second run, and a remote that has the tag of the first version."""
    write_run(root / "runs/conv2d_fsq-002", seed=1)
    git(root, "init", "--quiet", "--bare", "origin.git")
    with (root / ".git/info/exclude").open("a") as excluded:
        excluded.write("/origin.git/\n/key.p*\n")
    git(root, "remote", "add", "origin", "./origin.git")
    git(root, "push", "--quiet", "origin", "main", "v0.1.0")


def _with_bundle(root: Path) -> None:
    """Add the graphs and the bundle of the run, and a HEF that fits."""
    run = root / "runs/conv2d_fsq-001"
    write_export(run, files.sha256(run / "checkpoint.safetensors"))
    (root / "fitting.hef").write_bytes(hef_builder.hef(hef_builder.network("conv2d_fsq", (1, 16, 2), 2, (-4.0, 4.0))))


@pytest.fixture(scope="module")
def kill():
    """Kill the command of a job."""
    with killer(**WHO, MODELREG_CACHE="off") as function:
        yield function


ALL: tuple[int, ...] = ()
MATRIX = [  # where a command starts, its line, the changes at which it is killed, and the fewest that it makes
    ("empty", ("init",), ALL, 15),
    ("run", ("release", "v0.1.0"), tuple(range(1, 39, 3)), 37),
    ("run", ("release", "v0.1.0", "--tag"), tuple(range(27, 44, 3)), 42),  # first the changes of one without a tag
    ("released", ("keygen", "--out", "other.pem", "--no-passphrase"), ALL, 6),
    ("released", ("sign", "v0.1.0", "--key", "key.pem"), ALL, 2),
    ("released", ("promote", "v0.1.0", "staging", "--why", "tested"), ALL, 2),
    ("promoted", ("rollback", "conv2d_fsq", "staging", "--why", "worse"), ALL, 2),
    ("bundle", ("hef", "attach", "runs/conv2d_fsq-001", "fitting.hef"), (3, 11, 20, 29, 36, 40), 40),
]


@pytest.mark.parametrize("case", MATRIX, ids=[" ".join(each[1][:3]) for each in MATRIX])
def test_a_killed_command_does_not_block_the_next(templates, kill, tmp_path, case) -> None:
    """At each change: killed as by SIGKILL, then the same line, which succeeds."""
    start, command, at, changes = case
    found = kill(Job(str(templates[start]), str(tmp_path / "copy"), command, at=at))

    assert (failed(found), found[-1].changes >= changes) == ([], True)


def test_a_killed_publish_is_finished(templates, kill, tmp_path) -> None:
    """At several requests."""
    job = Job(str(templates["remote"]), str(tmp_path / "copy"), ("publish", "v0.1.0"), origin="origin.git")
    found = kill(job._replace(at=(4, 14, 22, 40)))

    assert failed(found) == []


def test_a_killed_release_is_published(templates, kill, tmp_path) -> None:
    """From its tag to the last request."""
    command = ("release", "v0.2.0", "--run", "runs/conv2d_fsq-002", "--publish")
    job = Job(str(templates["remote"]), str(tmp_path / "copy"), command, at=(46, 55, 70, 80), origin="origin.git")

    assert failed(kill(job)) == []


def test_a_killed_pull_is_finished(templates, kill, tmp_path) -> None:
    """At files and requests, into a folder of its own."""
    job = Job(
        str(templates["remote"]),
        str(tmp_path / "copy"),
        ("pull", "v0.1.0", "--out", "pulled"),
        before=("publish", "v0.1.0"),
        at=(3, 11, 22, 39, 56),
        origin="origin.git",
    )

    assert failed(kill(job)) == []
