"""What prevents a publication is reported before anything is sent: first what costs nothing, then the rest at once."""

import json
import shutil
from pathlib import Path

import pytest
from delivering import enter, git
from fake_github import FakeGitHub, contract

from modelreg.cli.main import main
from modelreg.release.github import plan
from modelreg.verification import integrity

pytest_plugins = ["delivery_fixtures"]
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
VERSION = "registry/conv2d_fsq/v0.1.0"
ASSET = "conv2d_fsq-v0.1.0"
COMMIT = "the commit"


@pytest.fixture
def fake(tmp_path, monkeypatch, made):
    """A fake of GitHub, and a copy of the repository as the working directory."""
    shutil.copytree(made, tmp_path / "copy")
    with FakeGitHub(tmp_path) as github:
        enter(monkeypatch, github, tmp_path / "copy")
        yield github
        contract.check_all(github.requests)


def refused(capsys, *options: str) -> tuple[int, str]:
    """Publish; return the exit code and what stderr shows."""
    code = main(["publish", "v0.1.0", *options])
    return code, capsys.readouterr().err


def problems_of(capsys, *options: str) -> tuple[int, list[tuple[str, str]], str]:
    """Publish with `--json`; return the exit code, the places and rules of the problems, and all that is shown."""
    code = main(["publish", "v0.1.0", "--json", *options])
    shown = capsys.readouterr()
    found = [(problem["where"], problem["rule"]) for problem in json.loads(shown.out)["problems"]]
    return code, found, shown.out + shown.err


def change(path: str, old: str = "", new: str = "") -> None:
    """Damage a file of the repository and commit it."""
    file = Path(path)
    file.write_text(file.read_text().replace(old, new) if old else new)
    git(".", "commit", "--quiet", "--all", "--message", "spoil")


def without_token(fake, patch) -> None:
    """Remove every source of a token."""
    patch.delenv("GITHUB_TOKEN")
    patch.setenv("PATH", "/usr/bin:/bin")


def test_a_sound_version_is_published(fake) -> None:
    """Nothing prevents it."""
    assert main(["publish", "v0.1.0"]) == 0


@pytest.mark.parametrize(
    ("spoil", "code", "place", "rule"),
    [
        (without_token, 3, "token", "github.token-missing"),
        (lambda fake, patch: patch.setenv("GITHUB_TOKEN", "ghp_wrong"), 7, "token", "github.token-refused"),
        (
            lambda fake, patch: patch.setenv("GITHUB_TOKEN", fake.add_token("ghp_" + "B" * 36, push=False)),
            3,
            "acme/models",
            "github.no-push-permission",
        ),
        (
            lambda fake, patch: setattr(fake.repo, "full_name", "acme/other"),
            7,
            "acme/models",
            "github.repository-not-found",
        ),
        (lambda fake, patch: setattr(fake.repo, "archived", True), 3, "acme/models", "github.repository-archived"),
        (lambda fake, patch: fake.add_tag("v0.1.0", "d" * 40), 3, "v0.1.0", "publish.tag-mismatch"),
        (lambda fake, patch: fake.repo.tags.clear(), 3, COMMIT, "publish.commit-not-pushed"),
        (lambda fake, patch: fake.repo.tags.clear(), 3, "v0.1.0", "publish.tag-not-pushed"),
        (lambda fake, patch: git(".", "tag", "--delete", "v0.1.0"), 3, "v0.1.0", "git.tag-missing"),
        (lambda fake, patch: fake.add_release("v0.1.0", {"x": b"1"}), 6, "x", "publish.file-unexpected"),
        (lambda fake, patch: patch.setattr(plan, "SIZE_LIMIT", 400), 3, f"{ASSET}-manifest.json", "publish.file-size"),
        (lambda fake, patch: patch.setattr(plan, "ASSET_LIMIT", 9), 3, "assets", "publish.too-many-files"),
        (
            lambda fake, patch: patch.setattr(plan, "SAFE", frozenset()),
            3,
            f"{ASSET}-manifest.json",
            "publish.file-name",
        ),
        (
            lambda fake, patch: patch.setattr(plan, "asset_name", lambda *_: "one"),
            3,
            "one",
            "publish.name-collision",
        ),
        (
            lambda fake, patch: change("CHANGELOG.md", "[v0.1.0]", "[v9.9.9]"),
            3,
            "CHANGELOG.md",
            "changelog.section-missing",
        ),
        (
            lambda fake, patch: git(".", "rm", "--quiet", "CHANGELOG.md"),
            3,
            "CHANGELOG.md",
            "changelog.section-missing",
        ),
        (lambda fake, patch: git(".", "rm", "--quiet", "RELEASES.md"), 3, "RELEASES.md", "git.uncommitted"),
        (
            lambda fake, patch: Path(VERSION, "predictions.npz").unlink(),
            3,
            f"{VERSION}/predictions.npz",
            "git.uncommitted",
        ),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_sent(fake, monkeypatch, capsys, *, spoil, code, place, rule) -> None:
    """Each with the exit code of its kind."""
    spoil(fake, monkeypatch)
    done, found, shown = problems_of(capsys)

    assert (done, (place.replace(COMMIT, git(".", "rev-parse", "HEAD")[:12]), rule) in found) == (code, True), found
    assert {e.method for e in fake.requests} <= {"GET"}
    assert "ghp_" not in shown


@pytest.mark.parametrize(("name", "code"), [("model_card.md", 4), ("manifest.json", 3)])
def test_a_version_that_does_not_verify_is_not_published(fake, capsys, name, code) -> None:
    """Though everything is committed."""
    change(f"{VERSION}/{name}", new="x")
    done, found, _ = problems_of(capsys)

    assert (done, name in [place for place, _ in found], {e.method for e in fake.requests} <= {"GET"}) == (
        code,
        True,
        True,
    )


def test_refusals_that_cost_nothing_come_before_digests_and_requests(fake, monkeypatch, capsys) -> None:
    """All of them at once, and the server is not asked."""
    change("CHANGELOG.md", "[v0.1.0]", "[v9.9.9]")
    git(".", "rm", "--quiet", "RELEASES.md")
    git(".", "tag", "--delete", "v0.1.0")
    without_token(fake, monkeypatch)
    monkeypatch.setattr(plan, "ASSET_LIMIT", 9)
    monkeypatch.setattr(integrity, "inspect", lambda *_args, **_settings: pytest.fail("hashed the version"))
    code, found, _ = problems_of(capsys)

    assert (code, [e.path for e in fake.requests]) == (3, [])
    assert found == [
        ("token", "github.token-missing"),
        ("RELEASES.md", "git.uncommitted"),
        ("assets", "publish.too-many-files"),
        ("CHANGELOG.md", "changelog.section-missing"),
        ("v0.1.0", "git.tag-missing"),
    ]


def test_digests_and_the_server_are_reported_at_once(fake, capsys) -> None:
    """Of several kinds the lowest exit code wins."""
    change(f"{VERSION}/model_card.md", new="x")
    fake.repo.archived = True
    fake.add_tag("v0.1.0", "d" * 40)
    fake.add_release("v0.1.0", {"x": b"1"})
    code, found, _ = problems_of(capsys)
    places = ["model_card.md", "acme/models", "v0.1.0", "x"]

    assert (code, [place for place in places if place not in dict(found)]) == (3, []), found


def test_a_tag_of_a_deleted_immutable_release_is_refused_by_the_last_step(fake, capsys) -> None:
    """GitHub reports it only when the draft becomes public: the draft stays, and the next step is named."""
    fake.repo.burnt.add("v0.1.0")
    code, shown = refused(capsys)

    assert (code, "[github.tag-used]" in shown, len(fake.drafts)) == (6, True, 1)


def test_an_immutable_release_of_other_files_is_a_conflict(fake, capsys) -> None:
    """As any published release."""
    fake.repo.immutable = True
    fake.add_release("v0.1.0", {"x": b"1"})

    assert refused(capsys, "--dry-run")[0] == 6


def test_the_rights_of_an_installation_token_are_not_checked(fake, monkeypatch) -> None:
    """GitHub reports that a token of Actions may not push, though it may."""
    monkeypatch.setenv("GITHUB_TOKEN", fake.add_token("ghs_" + "B" * 36, listed=False))

    assert main(["publish", "v0.1.0"]) == 0


def test_a_lightweight_tag_of_the_same_commit_is_accepted(fake) -> None:
    """The checkout of a CI makes one."""
    commit = git(".", "rev-parse", "v0.1.0^{commit}")
    git(".", "tag", "--force", "v0.1.0", commit)

    assert main(["publish", "v0.1.0"]) == 0
