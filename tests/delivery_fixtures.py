"""Fixtures of the tests of publish and pull (pytest_plugins = ["delivery_fixtures"])."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from delivering import TAG, Parcel, enter, git, make_parcel
from example_run import write_registry, write_run
from fake_github import FakeGitHub, contract

from modelreg.cli.main import main
from modelreg.config import ProjectConfig


@pytest.fixture(scope="session")
def parcel(tmp_path_factory: pytest.TempPathFactory) -> Parcel:
    """A version that no test changes."""
    return make_parcel(tmp_path_factory.mktemp("parcel") / TAG)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with a released version and a remote to push to."""
    root = write_registry(
        tmp_path_factory.mktemp("publish"), ProjectConfig(repository="acme/models", assets="committed")
    )
    (root / ".gitignore").write_text("/runs/\n")
    write_run(root / "runs" / "conv2d_fsq-001")
    git(root, "init", "--quiet", "--initial-branch=main")
    for key, value in (("user.name", "A"), ("user.email", "a@b.c")):
        git(root, "config", key, value)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "start")
    git(root.parent, "init", "--quiet", "--bare", "origin.git")
    git(root, "remote", "add", "origin", str(root.parent / "origin.git"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert main(["release", "v0.1.0", "--roll-changelog", "--tag"]) == 0
    return root


@pytest.fixture
def github(tmp_path: Path) -> Iterator[FakeGitHub]:
    """A fake with the tag; every exchange is checked against the OpenAPI description of GitHub."""
    with FakeGitHub(tmp_path) as fake:
        fake.add_tag(TAG, "c" * 40)
        yield fake
        contract.check_all(fake.requests)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Path) -> Iterator[FakeGitHub]:
    """A fake for the command line, with the repository as the working directory."""
    with FakeGitHub(tmp_path) as fake:
        enter(monkeypatch, fake, made)
        yield fake
        contract.check_all(fake.requests)
