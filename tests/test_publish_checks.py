"""Everything that stands against a publish is said at once, before anything is sent."""

import shutil
from pathlib import Path

import pytest
from delivering import enter, git
from fake_github import FakeGitHub, contract

from modelreg.cli.main import main
from modelreg.release.github import plan

pytest_plugins = ["delivery_fixtures"]
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
VERSION = "registry/conv2d_fsq/v0.1.0"


@pytest.fixture
def fake(tmp_path, monkeypatch, made):
    """GitHub, and a copy of the repository to spoil, which is the working directory."""
    shutil.copytree(made, tmp_path / "copy")
    with FakeGitHub(tmp_path) as github:
        enter(monkeypatch, github, tmp_path / "copy")
        yield github
        contract.check_all(github.requests)


def refused(capsys, *options: str) -> tuple[int, str]:
    """Publish; the exit code and what is said."""
    code = main(["publish", "v0.1.0", *options])
    return code, capsys.readouterr().err


def change(path: str, old: str = "", new: str = "") -> None:
    """Spoil a file of the repository and commit that."""
    file = Path(path)
    file.write_text(file.read_text().replace(old, new) if old else new)
    git(".", "commit", "--quiet", "--all", "--message", "spoil")


def nobody(fake, patch) -> None:
    """No token anywhere."""
    patch.delenv("GITHUB_TOKEN")
    patch.setenv("PATH", "/usr/bin:/bin")


def test_nothing_stands_against_a_version_as_it_should_be(fake) -> None:
    """It is published."""
    assert main(["publish", "v0.1.0"]) == 0


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (nobody, 3, "token: set GITHUB_TOKEN"),
        (lambda fake, patch: patch.setenv("GITHUB_TOKEN", "ghp_wrong"), 7, "token: was refused (401)"),
        (
            lambda fake, patch: patch.setenv("GITHUB_TOKEN", fake.add_token("ghp_" + "B" * 36, push=False)),
            3,
            "acme/models: the token may not push there",
        ),
        (lambda fake, patch: setattr(fake.repo, "full_name", "acme/other"), 7, "acme/models: is unknown to"),
        (lambda fake, patch: setattr(fake.repo, "archived", True), 3, "acme/models: is archived"),
        (lambda fake, patch: fake.add_tag("v0.1.0", "d" * 40), 3, "v0.1.0: is commit dddddddddddd on GitHub, but"),
        (lambda fake, patch: fake.repo.tags.clear(), 3, "the commit of v0.1.0 is not on GitHub; push it: git push"),
        (lambda fake, patch: fake.repo.tags.clear(), 3, "v0.1.0: is not on GitHub; push it: git push origin v0.1.0"),
        (lambda fake, patch: git(".", "tag", "--delete", "v0.1.0"), 3, "v0.1.0: there is no such tag here"),
        (lambda fake, patch: fake.add_release("v0.1.0", {"x": b"1"}), 6, "x: is there, but not part of the version"),
        (lambda fake, patch: patch.setattr(plan, "SIZE_LIMIT", 400), 3, "a release takes 1 to 399"),
        (lambda fake, patch: patch.setattr(plan, "ASSET_LIMIT", 9), 3, "12 files, but a release holds at most 9"),
        (lambda fake, patch: patch.setattr(plan, "SAFE", frozenset()), 3, "GitHub would rename it"),
        (
            lambda fake, patch: patch.setattr(plan, "asset_name", lambda *_: "one"),
            3,
            "and bom.cdx.json would have one name in a flat list",
        ),
        (
            lambda fake, patch: change("CHANGELOG.md", "[v0.1.0]", "[v9.9.9]"),
            3,
            "CHANGELOG.md: has no section [v0.1.0]",
        ),
        (lambda fake, patch: git(".", "rm", "--quiet", "CHANGELOG.md"), 3, "CHANGELOG.md: has no section [v0.1.0]"),
        (lambda fake, patch: git(".", "rm", "--quiet", "RELEASES.md"), 3, "RELEASES.md: is not committed"),
        (lambda fake, patch: change(f"{VERSION}/model_card.md", new="x"), 4, "model_card.md: has 1 bytes"),
        (lambda fake, patch: change(f"{VERSION}/manifest.json", new="x"), 3, "manifest.json: line 1"),
        (lambda fake, patch: Path(VERSION, "predictions.npz").unlink(), 3, "predictions.npz: is not committed"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_sent(fake, monkeypatch, capsys, spoil, code, words) -> None:
    """Each with the exit code of its kind."""
    spoil(fake, monkeypatch)
    done, told = refused(capsys)

    assert (done, words in told, {e.method for e in fake.requests} <= {"GET"}) == (code, True, True), told
    assert "ghp_" not in told


def test_everything_is_said_at_once(fake, monkeypatch, capsys) -> None:
    """Of here and of GitHub; of several kinds the lowest exit code wins."""
    change("CHANGELOG.md", "[v0.1.0]", "[v9.9.9]")
    git(".", "rm", "--quiet", "RELEASES.md")
    change(f"{VERSION}/model_card.md", new="x")
    fake.repo.archived = True
    fake.add_tag("v0.1.0", "d" * 40)
    fake.add_release("v0.1.0", {"x": b"1"})
    monkeypatch.setattr(plan, "ASSET_LIMIT", 9)
    code, told = refused(capsys)
    places = ["model_card.md", "CHANGELOG.md", "assets", "acme/models", "v0.1.0", "x"]

    assert (code, [place for place in places if f"  {place}: " not in told]) == (3, []), told


def test_a_burnt_tag_is_found_by_the_last_step(fake, capsys) -> None:
    """GitHub tells nothing of it before: the draft stays, and the message says what to do."""
    fake.repo.burnt.add("v0.1.0")
    code, told = refused(capsys)

    assert (code, "take a new version" in told, len(fake.drafts)) == (6, True, 1)


def test_an_immutable_release_of_other_files_stands_against_it(fake, capsys) -> None:
    """As any published one."""
    fake.repo.immutable = True
    fake.add_release("v0.1.0", {"x": b"1"})

    assert refused(capsys, "--dry-run")[0] == 6


def test_the_token_of_an_installation_is_not_asked_for_its_rights(fake, monkeypatch) -> None:
    """GitHub tells that of Actions that it may not push, though it may."""
    monkeypatch.setenv("GITHUB_TOKEN", fake.add_token("ghs_" + "B" * 36, told=False))

    assert main(["publish", "v0.1.0"]) == 0


def test_a_checkout_that_made_the_tag_a_light_one_is_no_other_commit(fake) -> None:
    """As a CI's does: it is the commit that counts."""
    commit = git(".", "rev-parse", "v0.1.0^{commit}")
    git(".", "tag", "--force", "v0.1.0", commit)

    assert main(["publish", "v0.1.0"]) == 0
