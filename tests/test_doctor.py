"""`modelreg doctor` reports the installation, without secrets."""

import json
import subprocess
from importlib import metadata

import pytest
from example_run import write_registry
from fake_github import FakeGitHub
from hypothesis import given
from hypothesis import strategies as st

from modelreg import __version__
from modelreg.cli import github_session
from modelreg.cli.main import main
from modelreg.config import ProjectConfig
from modelreg.release.github.client import Repository

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
SECRET = "ghp_s3cr3t"  # noqa: S105 not a real token


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Remove the token, server and gh of the machine."""
    for name in ("GITHUB_TOKEN", "GH_TOKEN", "GITHUB_API_URL", "MODELREG_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(github_session, "which", lambda _: None)


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """The working directory: a registry with two versions and the rest of an interrupted release."""
    root = write_registry(tmp_path / "registry", ProjectConfig(repository="acme/models"))
    for name in ("v0.1.0", "v0.10.0", ".v0.2.0.staged"):
        (root / "registry" / "conv2d_fsq" / name).mkdir(parents=True)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def fake(tmp_path, monkeypatch, registry):
    """A fake GitHub, set in the environment."""
    with FakeGitHub(tmp_path) as github:
        monkeypatch.setenv("GITHUB_API_URL", github.api_url)
        monkeypatch.setenv("GITHUB_TOKEN", github.token)
        yield github


def reported(capsys, *options: str) -> dict:
    """The report as JSON."""
    assert main(["doctor", "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_it_reports_versions(tmp_path, monkeypatch, capsys) -> None:
    """Of modelreg and its packages; it needs no registry."""
    monkeypatch.chdir(tmp_path)
    report = reported(capsys)

    assert (report["installed"]["modelreg"], report["registry"]) == (__version__, {"root": None})
    assert report["installed"]["numpy"] == metadata.version("numpy")


def test_it_reports_the_registry(registry, capsys) -> None:
    """Its root, its versions in order, and interrupted releases."""
    report = reported(capsys)["registry"]

    assert (report["root"], report["versions of conv2d_fsq"]) == (str(registry), ["v0.1.0", "v0.10.0"])
    assert report["interrupted releases"] == ["registry/conv2d_fsq/.v0.2.0.staged"]


def test_the_default_output_is_a_table(registry, capsys) -> None:
    """With the same content."""
    assert main(["doctor"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]

    assert ["github", "token", "none"] in lines
    assert ["registry", "versions", "of", "conv2d_fsq", "v0.1.0,", "v0.10.0"] in lines
    assert any(line[:4] == ["machine", "free", "disk", "space"] and line[-1] == "GiB" for line in lines)


NAMED = [
    "numpy>=1.26",
    'pyyaml>=6; extra == "train"',
    "nothing-like-it; extra == 'train'",
    'modelreg[train]; extra == "export"',
    'numpy; extra == "serve"',
]


def test_an_extra_includes_the_packages_of_nested_extras(registry, monkeypatch, capsys) -> None:
    """It is complete only if they are."""
    monkeypatch.setattr(metadata, "requires", lambda _: NAMED)

    assert reported(capsys)["extras"] == {
        "train": "missing: nothing-like-it",
        "export": "missing: nothing-like-it",
        "serve": "complete",
    }


def test_it_runs_without_being_installed(registry, monkeypatch, capsys) -> None:
    """From a folder on the path: the version is known, the extras are not."""

    def unknown(name: str):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", unknown)
    report = reported(capsys)

    assert (report["installed"]["modelreg"], report["extras"]) == (__version__, {})


def test_invalid_settings_are_reported_with_the_rest(registry, capsys) -> None:
    """Exit 3, after the rest of the report."""
    (registry / "modelreg.yaml").write_text("surprise: 1\n")

    assert main(["doctor", "--json"]) == 3
    output = capsys.readouterr()
    assert "surprise" in output.err
    assert [problem["rule"] for problem in json.loads(output.out)["problems"]] == ["config.unknown-key"]


@pytest.mark.parametrize(("value", "cache"), [("off", None), ("/x", "/x")])
def test_it_reports_the_cache(registry, monkeypatch, capsys, value, cache) -> None:
    """None if it is off."""
    monkeypatch.setenv("MODELREG_CACHE", value)

    assert reported(capsys)["machine"]["cache"] == cache


def test_it_runs_without_git(registry, monkeypatch, capsys) -> None:
    """And reports that git is missing."""
    monkeypatch.setenv("PATH", str(registry))

    assert reported(capsys)["machine"]["git"] is None


# Secrets


@pytest.mark.parametrize("name", ["GITHUB_TOKEN", "GH_TOKEN"])
def test_it_reports_the_source_of_the_token(registry, monkeypatch, capsys, name) -> None:
    """The name of the variable, not its value."""
    monkeypatch.setenv(name, SECRET)

    assert reported(capsys)["github"]["token"] == name


def test_the_token_of_gh_is_found(registry, tmp_path, monkeypatch, capsys) -> None:
    """If gh is logged in."""
    gh = tmp_path / "gh"
    gh.write_text(f"#!/bin/sh\necho {SECRET}\n")
    gh.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(github_session, "which", lambda _: str(gh))

    assert reported(capsys)["github"]["token"] == "gh auth token"  # noqa: S105


@pytest.mark.parametrize("options", [[], ["--json"], ["--online"], ["--online", "--json"]], ids=" ".join)
def test_no_secret_is_printed(registry, monkeypatch, capsys, options) -> None:
    """Neither the token nor the credentials in an address, on stdout and stderr."""
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


@given(st.text() | st.text().map("http://{}".format) | st.sampled_from(["http://[::1", "//[", "https://u:p@[x]y"]))
def test_any_address_has_a_host_or_none(url) -> None:
    """An invalid one is reported, too."""
    assert isinstance(github_session.hostname(url), str)


# --online


def test_online_it_reports_the_permissions_of_the_token(fake, capsys) -> None:
    """With one request to the server."""
    before = len(fake.requests)

    found = reported(capsys, "--online")["github"]

    assert (found["the token may push"], found["token scopes"]) == (True, "repo")
    assert [request.method for request in fake.requests[before:]] == ["GET"]


def test_a_fine_grained_token_has_no_scopes(fake, monkeypatch, capsys) -> None:
    """The report says why."""
    monkeypatch.setattr(
        "modelreg.release.github.client.Client.repository", lambda _: Repository(archived=False, push=True)
    )

    assert reported(capsys, "--online")["github"]["token scopes"].startswith("not reported")


def test_without_online_no_request_is_made(fake, capsys) -> None:
    """Even if a server is configured."""
    reported(capsys)

    assert list(fake.requests) == []


def test_a_server_that_refuses_is_a_problem(fake, monkeypatch, capsys) -> None:
    """Exit 7, after the rest of the report."""
    monkeypatch.setenv("GITHUB_TOKEN", "wrong")

    assert main(["doctor", "--online", "--json"]) == 7
    assert json.loads(capsys.readouterr().out)["github"]["repository"] == "acme/models"
