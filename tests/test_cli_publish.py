"""`modelreg publish`, `pull`, `verify --remote` and `release --publish`, against a fake of GitHub."""

import json
import shutil
import subprocess
import sys
import time

import pytest
from example_run import write_registry, write_run
from fake_github import FakeGitHub

from modelreg.cli import main
from modelreg.config import ProjectConfig

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def git(folder, *arguments: str) -> str:
    """Run git."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
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
def second(made, tmp_path, monkeypatch):
    """A copy with one more run and something to say of it; the working directory."""
    root = tmp_path / "copy"
    shutil.copytree(made, root)
    write_run(root / "runs" / "conv2d_fsq-002", seed=1)
    text = (root / "CHANGELOG.md").read_text().replace("## [Unreleased]\n", "## [Unreleased]\n\n- more\n")
    (root / "CHANGELOG.md").write_text(text)
    git(root, "commit", "--quiet", "--all", "--message", "more")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def fake(tmp_path, monkeypatch, made):
    """GitHub, as the environment names it, with the tag of the version."""
    with FakeGitHub(tmp_path) as github:
        github.repo.tags["v0.1.0"] = git(made, "rev-parse", "refs/tags/v0.1.0")
        monkeypatch.setenv("GITHUB_API_URL", github.api_url)
        monkeypatch.setenv("GITHUB_TOKEN", github.token)
        monkeypatch.chdir(made)
        yield github


def test_the_walk_of_a_release(fake, made, capsys, tmp_path) -> None:
    """Published, compared, pulled by somebody else, verified there."""
    codes = [main(["publish", "v0.1.0"]), main(["verify", "v0.1.0", "--remote", "--download"])]
    shutil.copytree(made, tmp_path / "clone", ignore=shutil.ignore_patterns("*.safetensors", "*.npz"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "clone")
        codes += [main(["pull", "v0.1.0"]), main(["verify", "v0.1.0", "--complete"])]

    assert codes == [0, 0, 0, 0]


def test_published_twice_nothing_is_sent(fake, capsys) -> None:
    """And it says so."""
    main(["publish", "v0.1.0"])
    capsys.readouterr()
    code = main(["publish", "v0.1.0"])

    assert (code, "0 files sent, 12 there" in capsys.readouterr().out) == (0, True)


def test_a_dry_run_prints_the_plan_and_changes_nothing(fake, capsys) -> None:
    """The one that a real run carries out."""
    code = main(["publish", "v0.1.0", "--dry-run"])
    lines = capsys.readouterr().out.splitlines()

    assert (code, lines[0], lines[-1], len(lines), fake.releases) == (
        0,
        "would create v0.1.0",
        "would publish v0.1.0",
        14,
        [],
    )


def test_a_dry_run_after_the_fact_says_that_all_is_done(fake, capsys) -> None:
    """No step is left."""
    main(["publish", "v0.1.0"])
    capsys.readouterr()
    main(["publish", "v0.1.0", "--dry-run"])

    assert capsys.readouterr().out == "v0.1.0 is published as it should be\n"


def test_a_dry_run_names_conflicts(fake, capsys) -> None:
    """Other bytes are there."""
    fake.add_release("v0.1.0", {"x": b"1"})
    main(["publish", "v0.1.0", "--dry-run"])

    assert "conflict: x: is there, but not part of the version" in capsys.readouterr().err


def test_plan_and_outcome_are_json(fake, capsys) -> None:
    """For machines."""
    main(["publish", "v0.1.0", "--dry-run", "--json"])
    plan = json.loads(capsys.readouterr().out)
    main(["publish", "v0.1.0", "--json"])

    assert (plan["steps"][0], len(json.loads(capsys.readouterr().out)["sent"])) == (["create", "v0.1.0"], 12)


def test_everything_that_forbids_a_publish_is_said_at_once(fake, made, capsys) -> None:
    """And nothing is sent."""
    fake.repo.archived = True
    fake.repo.tags.clear()
    (made / "stray").write_text("x")
    try:
        code = main(["publish", "v0.1.0"])
    finally:
        (made / "stray").unlink()
    told = capsys.readouterr().err

    assert (code, [part in told for part in ("stray: is not committed", "is archived", "git push origin v0.1.0")]) == (
        3,
        [True, True, True],
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda fake, patch: (
                patch.delenv("GITHUB_TOKEN"),
                patch.delenv("GH_TOKEN", raising=False),
                patch.setenv("PATH", "/usr/bin"),
            ),
            "set GITHUB_TOKEN",
        ),
        (
            lambda fake, patch: patch.setenv("GITHUB_TOKEN", fake.add_token("ghp_" + "B" * 36, push=False)),
            "may not push",
        ),
        (lambda fake, patch: fake.repo.tags.update({"v0.1.0": "d" * 40}), "is dddddddddddd on GitHub"),
    ],
)
def test_what_is_missing_is_named(fake, monkeypatch, capsys, change, words) -> None:
    """Before anything is sent."""
    change(fake, monkeypatch)

    assert (main(["publish", "v0.1.0"]), words in capsys.readouterr().err, fake.releases) == (3, True, [])


def test_a_refused_token_is_exit_7(fake, monkeypatch, capsys) -> None:
    """With GitHub's words, without the token."""
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_wrong")
    code, told = main(["publish", "v0.1.0"]), capsys.readouterr().err

    assert (code, "Bad credentials" in told, "ghp_wrong" in told) == (7, True, False)


def test_a_missing_file_here_is_no_release(fake, made, capsys) -> None:
    """Local verification comes first."""
    path = made / "registry/conv2d_fsq/v0.1.0/predictions.npz"
    data = path.read_bytes()
    path.unlink()
    try:
        code = main(["publish", "v0.1.0"])
    finally:
        path.write_bytes(data)

    assert (code, "predictions.npz" in capsys.readouterr().err) == (3, True)


def test_a_version_without_a_section_is_not_published(fake, made, capsys, tmp_path, monkeypatch) -> None:
    """The notes come from there."""
    shutil.copytree(made, tmp_path / "copy")
    (tmp_path / "copy/CHANGELOG.md").write_text("# Changelog\n")
    monkeypatch.chdir(tmp_path / "copy")

    assert (main(["publish", "v0.1.0"]), "has no section [v0.1.0]" in capsys.readouterr().err) == (3, True)


def test_own_certificates_are_honoured(fake, monkeypatch, tmp_path) -> None:
    """requests alone knows one of the two variables."""
    from modelreg.cli import environment

    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with environment.github(tmp_path, ProjectConfig(repository="a/b"), 1) as client:
        assert client.session.verify == str(tmp_path / "ca.pem")


def test_remote_needs_a_version(fake) -> None:
    """Usage."""
    assert main(["verify", "--remote"]) == 2


def test_a_differing_release_fails_verification(fake, capsys) -> None:
    """Exit 4, with both digests."""
    main(["publish", "v0.1.0"])
    release = fake.published("v0.1.0")
    next(iter(release.assets.values())).sha256 = "0" * 64

    assert (main(["verify", "v0.1.0", "--remote"]), "has sha256 0000" in capsys.readouterr().err) == (4, True)


def test_an_unknown_release_is_exit_7(fake) -> None:
    """Nobody published it."""
    assert main(["pull", "v0.9.0"]) == 7


def test_pull_says_when_nothing_was_missing(fake, capsys) -> None:
    """The folder is whole."""
    main(["publish", "v0.1.0"])
    main(["pull", "v0.1.0"])

    assert "nothing was missing" in capsys.readouterr().out


def test_without_a_repository_nothing_can_be_asked(made, tmp_path, monkeypatch, capsys) -> None:
    """It says where to name it."""
    shutil.copytree(made, tmp_path / "copy")
    (tmp_path / "copy/modelreg.yaml").write_text("assets: committed\n")
    monkeypatch.chdir(tmp_path / "copy")

    assert (main(["pull", "v0.1.0"]), "name it in modelreg.yaml" in capsys.readouterr().err) == (3, True)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://github.com/acme/models.git", "acme/models"),
        ("git@github.com:acme/models.git", "acme/models"),
        ("https://github.com/acme/models", "acme/models"),
        ("/srv/models.git", None),
    ],
)
def test_the_repository_comes_from_origin(tmp_path, url, name) -> None:
    """Where modelreg.yaml says nothing."""
    from modelreg.cli import environment

    git(tmp_path, "init", "--quiet")
    git(tmp_path, "remote", "add", "origin", url)

    assert environment._origin(tmp_path) == name


def test_release_and_publish_in_one(fake, second, tmp_path, monkeypatch, capsys) -> None:
    """Commit, tag, push of the tag, and the release; GitHub knows the tag as soon as it is pushed."""
    from modelreg.cli import environment

    push = environment.git_push_tag

    def push_and_tell(place, tag):
        push(place, tag)
        fake.repo.tags[tag] = git(second, "rev-parse", f"refs/tags/{tag}")

    monkeypatch.setattr(environment, "git_push_tag", push_and_tell)
    code = main(["release", "v0.2.0", "--roll-changelog", "--publish"])

    assert (code, fake.published("v0.2.0") is not None) == (0, True)


def test_a_publish_that_fails_leaves_the_version(fake, second, tmp_path, monkeypatch, capsys) -> None:
    """And says how to go on."""
    git(second, "remote", "set-url", "origin", str(tmp_path / "nowhere"))
    code = main(["release", "v0.2.0", "--roll-changelog", "--publish"])

    assert (
        code,
        (second / "registry/conv2d_fsq/v0.2.0").is_dir(),
        "go on with: git push origin v0.2.0" in capsys.readouterr().err,
    ) == (
        5,
        True,
        True,
    )


def test_a_dry_run_of_both_says_both(fake, second, tmp_path, monkeypatch, capsys) -> None:
    """And does nothing."""
    main(["release", "v0.2.0", "--roll-changelog", "--publish", "--dry-run"])

    assert "would push v0.2.0 and publish conv2d_fsq@v0.2.0" in capsys.readouterr().out


def test_a_publish_that_is_killed_is_finished_by_running_it_again(fake, made, monkeypatch) -> None:
    """SIGKILL in the middle of an upload: afterwards one whole release, and no file was stored twice."""
    fake.fail("POST", "/assets", "slow", after=3, seconds=3)
    running = subprocess.Popen(
        [sys.executable, "-m", "modelreg", "publish", "v0.1.0"], cwd=made, stderr=subprocess.DEVNULL
    )
    while sum(e.origin == "uploads" for e in fake.requests) < 4:
        time.sleep(0.05)
    running.kill()
    running.wait()
    half = fake.published("v0.1.0")
    code = main(["publish", "v0.1.0"])
    stored = [
        e.request.target for e in fake.requests if e.origin == "uploads" and e.response and e.response.status == 201
    ]

    assert (half, code, len(stored), len(set(stored))) == (None, 0, 12, 12)
