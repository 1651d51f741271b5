"""A release is made and verified where users work: clones of Windows, monorepos, worktrees, bare environments."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import untraced
from delivering import git
from example_run import write_registry, write_run

from modelreg.cli.main import main
from modelreg.config import ProjectConfig

VERSION = "registry/conv2d_fsq/v0.1.0"
IDENTITY = {f"GIT_{role}_{part}": "t@example.org" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
LEFT = {name: value for name, value in untraced.environment().items() if not name.startswith("GIT_")}


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A registry with one run; its assets are in git, as a clone needs them."""
    root = write_registry(tmp_path_factory.mktemp("template") / "r", ProjectConfig(assets="committed"))
    (root / ".gitignore").write_text("/runs/\n")
    write_run(root / "runs/conv2d_fsq-001")
    return root


def commit(root: Path) -> None:
    """Commit a folder in a new repository."""
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", "--all")
    git(root, "-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "--quiet", "--message", "start")


def modelreg(root: Path, *command: str, environment: dict[str, str], options: tuple[str, ...] = ()) -> tuple[int, str]:
    """Return the exit code of the program, and its last line."""
    line = [sys.executable, *options, "-m", "modelreg", *command]
    done = subprocess.run(line, cwd=root, env=environment, capture_output=True, check=False)
    return done.returncode, (done.stderr if done.returncode else done.stdout).decode().strip().splitlines()[-1]


def in_a_repository(template: Path, folder: Path) -> Path:
    """The registry is a repository."""
    shutil.copytree(template, folder / "r")
    commit(folder / "r")
    return folder / "r"


def in_a_monorepo(template: Path, folder: Path) -> Path:
    """The registry is deep in a repository, next to changes that are nobody's business."""
    root = Path(shutil.copytree(template, folder / "mono/teams/gait/models"))
    commit(folder / "mono")
    (folder / "mono/other.txt").write_text("not committed")
    return root


def in_a_worktree(template: Path, folder: Path) -> Path:
    """The registry is a worktree of a repository elsewhere."""
    root = in_a_repository(template, folder)
    git(root, "worktree", "add", "--quiet", "-b", "topic", str(folder / "tree"))
    shutil.copytree(root / "runs", folder / "tree/runs", dirs_exist_ok=True)
    return folder / "tree"


PLACES = [in_a_repository, in_a_monorepo, in_a_worktree]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_a_version_is_released_and_verified_in_any_repository(template, tmp_path, place) -> None:
    """The tag names the commit that adds the version, and that commit has nothing else."""
    root = place(template, tmp_path)
    environment = {**LEFT, **IDENTITY}
    codes = [modelreg(root, *line, environment=environment)[0] for line in (["release", "v0.1.0", "--tag"], ["verify"])]
    changed = git(root, "show", "--relative", "--name-only", "--format=", "v0.1.0^{commit}").splitlines()

    assert (codes, {path.partition("/v0.1.0/")[0] for path in changed}) == (
        [0, 0],
        {"registry/conv2d_fsq", "CHANGELOG.md", "RELEASES.md"},
    )


NOWHERE = {"PATH": "/nowhere"}
ENVIRONMENTS = {
    "no HOME": ({name: value for name, value in LEFT.items() if name != "HOME"}, ()),
    "no git": ({**LEFT, **NOWHERE}, ()),
    "python -O": (LEFT, ("-O",)),
    "C locale": ({**LEFT, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, ()),
    "empty": (NOWHERE, ()),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_version_is_released_and_verified_in_any_environment(template, tmp_path, name) -> None:
    """In a folder whose name is not ASCII."""
    root = Path(shutil.copytree(template, tmp_path / "größe"))
    environment, options = ENVIRONMENTS[name]
    ends = [
        modelreg(root, *line, environment=environment, options=options)
        for line in (["release", "v0.1.0"], ["verify"], ["show", "v0.1.0"])
    ]

    assert [code for code, _ in ends] == [0, 0, 0], ends


def test_a_version_is_released_and_verified_under_any_umask(template, tmp_path, monkeypatch) -> None:
    """077, as on shared machines: the files are for their owner alone, and git stores no more than that."""
    monkeypatch.chdir(shutil.copytree(template, tmp_path / "r"))
    before = os.umask(0o077)
    try:
        codes = [main(["release", "v0.1.0"]), main(["verify"])]
    finally:
        os.umask(before)

    assert codes == [0, 0]


# Clones in which git changes line endings


@pytest.fixture
def released(template, tmp_path, monkeypatch) -> Path:
    """A repository with a version."""
    root = in_a_repository(template, tmp_path)
    monkeypatch.chdir(root)
    assert main(["release", "v0.1.0"]) == 0
    return root


def windows_clone(root: Path, folder: Path) -> Path:
    """Commit everything and clone it as git for Windows does by default."""
    git(root, "add", "--all")
    git(root, "-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "--quiet", "--message", "release")
    git(folder, "-c", "core.autocrlf=true", "clone", "--quiet", "-c", "core.autocrlf=true", str(root), "clone")
    return folder / "clone"


def test_a_clone_with_changed_line_endings_verifies(released, tmp_path, monkeypatch) -> None:
    """The attributes that `init` writes keep the bytes of every version."""
    monkeypatch.chdir(windows_clone(released, tmp_path))

    assert main(["verify"]) == 0


@pytest.fixture
def changed(released, tmp_path, monkeypatch) -> Path:
    """Such a clone of a registry that was made before `init` wrote attributes."""
    (released / ".gitattributes").unlink()
    monkeypatch.chdir(clone := windows_clone(released, tmp_path))
    return clone


def test_without_attributes_the_cause_is_named(changed, capsys) -> None:
    """Not only that sizes differ."""
    assert (b"\r\n" in (changed / VERSION / "run.json").read_bytes(), main(["verify"])) == (True, 4)
    assert "verify.line-endings" in capsys.readouterr().err


def test_the_printed_step_restores_the_line_endings(changed, capsys) -> None:
    """The attributes, then the commands."""
    main(["verify"])
    attributes, commands = re.search(r"with `(.*?)`, then .*: `(.*?)`", capsys.readouterr().err).groups()
    (changed / ".gitattributes").write_text(f"{attributes}\n")
    subprocess.run(["sh", "-c", commands], cwd=changed, check=True)

    assert main(["verify"]) == 0
