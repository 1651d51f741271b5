"""Other clients read what modelreg published: gh and Octokit (`make clients`)."""

import json
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT
from delivering import TAG, enter, tree
from fake_github import FakeGitHub, contract

from modelreg import files
from modelreg.cli.main import main

pytest_plugins = ["delivery_fixtures"]
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
CLIENTS = ROOT / ".clients"
GH, OCTOKIT = CLIENTS / "gh/bin/gh", CLIENTS / "node_modules/@octokit/rest"
SUMS = "conv2d_fsq-v0.1.0-sha256sum.txt"


def needs(client: Path):
    """Skip if a client is not installed."""
    return pytest.mark.skipif(not client.exists(), reason=f"no {client.name} in .clients: make clients")


@pytest.fixture(scope="module")
def published(tmp_path_factory, made):
    """A fake that the command line has published to."""
    with FakeGitHub(tmp_path_factory.mktemp("read_back"), apart=True) as fake, pytest.MonkeyPatch.context() as patch:
        enter(patch, fake, made)
        assert main(["publish", TAG]) == 0
        yield fake
        contract.check_all(fake.requests)


@pytest.fixture
def gh(published, tmp_path):
    """A function that runs gh with the fake as its proxy: no name lookup, no TLS certificate."""
    names = {"GH_HOST": "github.localhost", "GH_TOKEN": published.token, "GH_ENTERPRISE_TOKEN": published.token}
    quiet = {"GH_PROMPT_DISABLED": "1", "GH_NO_UPDATE_NOTIFIER": "1", "DO_NOT_TRACK": "1"}
    places = {"GH_CONFIG_DIR": str(tmp_path / "config"), "HOME": str(tmp_path), "HTTP_PROXY": published.api_url}

    def run(*arguments: str) -> str:
        command = [str(GH), *arguments, "--repo", "acme/models"]
        done = subprocess.run(command, env=names | quiet | places, capture_output=True, text=True, check=True)
        return done.stdout

    return run


@needs(GH)
def test_gh_downloads_the_same_bytes(gh, published, tmp_path) -> None:
    """Every file, by name and SHA-256."""
    gh("release", "download", TAG, "--dir", str(tmp_path / "got"))
    got = {name: files.sha256_bytes(data) for name, data in tree(tmp_path / "got").items()}

    assert got == published.digests(published.published(TAG))


@needs(GH)
def test_sha256sum_accepts_what_gh_downloaded(gh, published, tmp_path) -> None:
    """Every file except the list itself, as the release notes show."""
    gh("release", "download", TAG, "--dir", str(tmp_path / "got"))
    done = subprocess.run(
        ["sha256sum", "--check", SUMS], cwd=tmp_path / "got", capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout.count(": OK\n")) == (0, len(published.digests(published.published(TAG))) - 1)


@needs(GH)
def test_gh_sees_the_release_as_the_latest(gh, published) -> None:
    """Public, with GitHub's digests."""
    shown = json.loads(gh("release", "view", TAG, "--json", "isDraft,isPrerelease,name,assets"))
    digests = {asset["name"]: asset["digest"].removeprefix("sha256:") for asset in shown["assets"]}
    listed = json.loads(gh("release", "list", "--json", "tagName,isLatest"))

    assert (shown["isDraft"], shown["isPrerelease"], listed) == (False, False, [{"tagName": TAG, "isLatest": True}])
    assert digests == published.digests(published.published(TAG))


@needs(OCTOKIT)
def test_octokit_downloads_the_same_bytes(published) -> None:
    """Every file, by name, GitHub's digest and SHA-256."""
    command = ["node", "--input-type=module", "-", published.api_url, published.token, "acme", "models", TAG]
    script = (ROOT / "tests/octokit/read_back.mjs").read_text()
    done = subprocess.run(command, input=script, cwd=CLIENTS, capture_output=True, text=True, check=True)
    right = published.digests(published.published(TAG))

    assert done.stdout.splitlines() == [f"{name} sha256:{digest} {digest}" for name, digest in right.items()]


@needs(GH)
def test_only_the_api_and_the_uploads_get_a_token(gh, published, tmp_path) -> None:
    """gh, too, is redirected without it."""
    gh("release", "download", TAG, "--dir", str(tmp_path / "got"))

    assert {e.origin for e in published.requests if e.authorization} == {"api", "uploads"}
