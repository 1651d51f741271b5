"""`modelreg doctor`: what is there is told, what is secret is not."""

import json
import subprocess
from importlib import metadata

import pytest
from example_run import write_registry
from fake_github import FakeGitHub

from modelreg import __version__
from modelreg.cli import github_session
from modelreg.cli.main import main
from modelreg.config import ProjectConfig
from modelreg.release.github.client import Repository

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
SECRET = "ghp_s3cr3t"  # noqa: S105 nobody's


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No token, no server, no gh but those of a test."""
    for name in ("GITHUB_TOKEN", "GH_TOKEN", "GITHUB_API_URL", "MODELREG_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(github_session, "which", lambda _: None)


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry with a version's folder and what an interrupted release left; the working directory."""
    root = write_registry(tmp_path / "registry", ProjectConfig(repository="acme/models"))
    for name in ("v0.1.0", "v0.10.0", ".v0.2.0.staged"):
        (root / "registry" / "conv2d_fsq" / name).mkdir(parents=True)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def fake(tmp_path, monkeypatch, registry):
    """GitHub, as the environment names it."""
    with FakeGitHub(tmp_path) as github:
        monkeypatch.setenv("GITHUB_API_URL", github.api_url)
        monkeypatch.setenv("GITHUB_TOKEN", github.token)
        yield github


def told(capsys, *options: str) -> dict:
    """What the command tells machines."""
    assert main(["doctor", "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_it_tells_versions(tmp_path, monkeypatch, capsys) -> None:
    """Of modelreg, and of what it works with; no registry is needed."""
    monkeypatch.chdir(tmp_path)
    report = told(capsys)

    assert (report["installed"]["modelreg"], report["registry"]) == (__version__, {"root": None})
    assert report["installed"]["numpy"] == metadata.version("numpy")


def test_it_tells_the_registry(registry, capsys) -> None:
    """Its place, its versions in their order, and what was left lying."""
    report = told(capsys)["registry"]

    assert (report["root"], report["versions of conv2d_fsq"]) == (str(registry), ["v0.1.0", "v0.10.0"])
    assert report["interrupted releases"] == ["registry/conv2d_fsq/.v0.2.0.staged"]


def test_people_read_the_same(registry, capsys) -> None:
    """As a table."""
    assert main(["doctor"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]

    assert ["github", "token", "none"] in lines
    assert ["registry", "versions", "of", "conv2d_fsq", "v0.1.0,", "v0.10.0"] in lines


NAMED = [
    "numpy>=1.26",
    'pyyaml>=6; extra == "train"',
    "nothing-like-it; extra == 'train'",
    'modelreg[train]; extra == "export"',
    'numpy; extra == "serve"',
]


def test_an_extra_lacks_what_those_inside_it_lack(registry, monkeypatch, capsys) -> None:
    """One that takes in another one is complete only with it."""
    monkeypatch.setattr(metadata, "requires", lambda _: NAMED)

    assert told(capsys)["extras"] == {
        "train": "lacks nothing-like-it",
        "export": "lacks nothing-like-it",
        "serve": "complete",
    }


def test_it_runs_without_being_installed(registry, monkeypatch, capsys) -> None:
    """From a folder on the path: it knows its version, and of no extra."""

    def unknown(name: str):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", unknown)
    report = told(capsys)

    assert (report["installed"]["modelreg"], report["extras"]) == (__version__, {})


def test_broken_settings_are_told_with_the_rest(registry, capsys) -> None:
    """Exit 3, after everything that could be found out."""
    (registry / "modelreg.yaml").write_text("surprise: 1\n")

    assert main(["doctor", "--json"]) == 3
    output = capsys.readouterr()
    assert "surprise" in output.err
    assert [problem["rule"] for problem in json.loads(output.out)["problems"]] == ["config.unknown-key"]


@pytest.mark.parametrize(("value", "cache"), [("off", None), ("/x", "/x")])
def test_it_tells_the_cache(registry, monkeypatch, capsys, value, cache) -> None:
    """Or that there is none."""
    monkeypatch.setenv("MODELREG_CACHE", value)

    assert told(capsys)["machine"]["cache"] == cache


def test_without_git_it_says_so(registry, monkeypatch, capsys) -> None:
    """And goes on."""
    monkeypatch.setenv("PATH", str(registry))

    assert told(capsys)["machine"]["git"] is None


# What is secret


@pytest.mark.parametrize("name", ["GITHUB_TOKEN", "GH_TOKEN"])
def test_it_tells_where_a_token_is_and_not_which(registry, monkeypatch, capsys, name) -> None:
    """The name of the variable."""
    monkeypatch.setenv(name, SECRET)

    assert told(capsys)["github"]["token"] == name


def test_the_token_of_gh_is_found(registry, tmp_path, monkeypatch, capsys) -> None:
    """Where it is logged in."""
    gh = tmp_path / "gh"
    gh.write_text(f"#!/bin/sh\necho {SECRET}\n")
    gh.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(github_session, "which", lambda _: str(gh))

    assert told(capsys)["github"]["token"] == "gh auth token"  # noqa: S105


@pytest.mark.parametrize("options", [[], ["--json"], ["--online"], ["--online", "--json"]], ids=" ".join)
def test_no_secret_is_told(registry, monkeypatch, capsys, options) -> None:
    """Not the token, and not what stands before a host in an address; on stdout as on stderr."""
    (registry / "modelreg.yaml").write_bytes(ProjectConfig().to_bytes())
    for arguments in (
        ["init", "--quiet"],
        ["remote", "add", "origin", f"https://u:{SECRET}@github.com/acme/models.git"],
    ):
        subprocess.run(["git", *arguments], check=True)
    monkeypatch.setenv("GITHUB_TOKEN", SECRET)
    monkeypatch.setenv("GITHUB_API_URL", f"http://u:{SECRET}@127.0.0.1:9/")
    monkeypatch.setenv("HTTPS_PROXY", f"http://u:{SECRET}@127.0.0.1:9/")
    monkeypatch.setattr(github_session, "sleep", lambda _: None)
    main(["doctor", *options])
    output = capsys.readouterr()

    assert "acme/models" in output.out
    assert SECRET not in output.out + output.err


# --online


def test_online_it_tells_what_the_token_may_do(fake, capsys) -> None:
    """As the server says it, in one request."""
    before = len(fake.requests)

    found = told(capsys, "--online")["github"]

    assert (found["the token may push"], found["token scopes"]) == (True, "repo")
    assert [request.method for request in fake.requests[before:]] == ["GET"]


def test_a_token_without_scopes_is_said_to_have_none(fake, monkeypatch, capsys) -> None:
    """A fine-grained one."""
    monkeypatch.setattr(
        "modelreg.release.github.client.Client.repository", lambda _: Repository(archived=False, push=True)
    )

    assert told(capsys, "--online")["github"]["token scopes"].startswith("not told")


def test_offline_nobody_is_asked(fake, capsys) -> None:
    """Not even where a server is named."""
    told(capsys)

    assert list(fake.requests) == []


def test_a_server_that_refuses_is_a_problem(fake, monkeypatch, capsys) -> None:
    """Exit 7, after everything else was told."""
    monkeypatch.setenv("GITHUB_TOKEN", "wrong")

    assert main(["doctor", "--online", "--json"]) == 7
    assert json.loads(capsys.readouterr().out)["github"]["repository"] == "acme/models"
