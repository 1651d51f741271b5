"""Every command that takes a version also takes the tag that `release --tag` wrote, here of a second model."""

import shutil
from pathlib import Path

import pytest
from delivering import git
from example_run import write_registry, write_run
from fake_github import FakeGitHub, contract

import modelreg
from modelreg.cli.main import main
from modelreg.config import ProjectConfig

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
TAG, VERSION = "conv2d_fsq-v0.1.0", "registry/conv2d_fsq/v0.1.0"


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A repository with a version that is not of the default model, and a key."""
    project = ProjectConfig(default_model="conv2d_vq", repository="acme/models", assets="committed")
    root = write_registry(tmp_path_factory.mktemp("tags") / "r", project)
    (root / ".gitignore").write_text("/runs/\n/*.pem\n")
    write_run(root / "runs/conv2d_fsq-001")
    git(root, "init", "--quiet", "--initial-branch=main")
    for key, value in (("user.name", "A"), ("user.email", "a@b.c")):
        git(root, "config", key, value)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "start")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert main(["release", "v0.1.0", "--tag"]) == 0
        assert main(["keygen", "--out", "key.pem", "--no-passphrase"]) == 0
    return root


@pytest.fixture
def root(template, tmp_path, monkeypatch) -> Path:
    """A copy of it as the working directory."""
    monkeypatch.chdir(shutil.copytree(template, tmp_path / "r"))
    return tmp_path / "r"


def test_the_tag_has_the_name_of_the_model(root) -> None:
    """The bare number is a tag of the default model."""
    assert git(root, "tag") == TAG


COMMANDS = [
    (["verify", TAG], "conv2d_fsq@v0.1.0"),
    (["show", TAG], "conv2d_fsq@v0.1.0, released "),
    (["compare", TAG, TAG], "A: conv2d_fsq@v0.1.0"),
    (["promote", TAG, "production", "--why", "x"], "conv2d_fsq@production is v0.1.0"),
    (["sign", TAG, "--key", "key.pem"], f"{TAG}: signed"),
]


@pytest.mark.parametrize(("command", "start"), COMMANDS, ids=[command[0] for command, _ in COMMANDS])
def test_a_command_reads_the_tag_of_a_release(root, capsys, command, start) -> None:
    """As it reads MODEL@vX.Y.Z."""
    assert (main(command), capsys.readouterr().out[: len(start)]) == (0, start)


def test_the_python_api_reads_the_tag_of_a_release(root) -> None:
    """The version verifies."""
    assert modelreg.verify(TAG).reference == "conv2d_fsq@v0.1.0"


def test_a_version_is_published_pulled_and_compared_with_its_release_by_its_tag(root, tmp_path, monkeypatch) -> None:
    """The workflow of docs/ci.md passes the name of the tag."""
    with FakeGitHub(tmp_path) as fake:
        fake.add_tag(TAG, git(root, "rev-parse", f"refs/tags/{TAG}^{{commit}}"), annotated=True)
        monkeypatch.setenv("GITHUB_API_URL", fake.api_url)
        monkeypatch.setenv("GITHUB_TOKEN", fake.token)
        codes = [main(["publish", TAG]), main(["verify", TAG, "--remote"])]
        shutil.rmtree(root / VERSION)
        codes += [main(["pull", TAG]), main(["verify", TAG, "--complete"])]
        contract.check_all(fake.requests)

    assert (codes, fake.published(TAG) is not None) == ([0, 0, 0, 0], True)
