"""Git under a hostile configuration, in a repository of another owner, in a shallow clone.

Every repository is a real one. HOME is a folder of the test, so that the configuration of the user has no part.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from delivering import git
from example_run import write_registry, write_run

from modelreg.cli import git as adapter
from modelreg.cli import host
from modelreg.cli.main import main
from modelreg.config import ProjectConfig, TrainingSettings
from modelreg.errors import RegistryError

TAGGED = ["release", "v0.1.0", "--tag"]
VERSION = "registry/conv2d_fsq/v0.1.0"
HOSTILE = """
[alias]
	status = !false
	rev-list = !false
	commit = !false
[core]
	pager = false
	quotePath = true
	fsmonitor = {monitor}
	commentChar = R
	editor = false
[color]
	ui = always
	advice = always
	push = always
	transport = always
[column]
	ui = always
[diff]
	external = false
[log]
	showSignature = true
	decorate = full
	follow = true
[push]
	followTags = true
[status]
	branch = true
	short = true
	showUntrackedFiles = no
	showStash = true
	relativePaths = true
[tag]
	sort = -version:refname
"""
IDENTITY = "[user]\n\tname = A\n\temail = a@b.c\n"


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    """A registry with one run, committed."""
    root = write_registry(tmp_path_factory.mktemp("git") / "r", ProjectConfig(assets="committed"))
    (root / ".gitignore").write_text("/runs/\n")
    write_run(root / "runs/conv2d_fsq-001")
    for words in (["init", "--quiet", "--initial-branch=main"], ["add", "--all"]):
        git(root, *words)
    git(root, "-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "--quiet", "--message", "start")
    return root


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """The home of a user with an identity; no other configuration of git is read."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    (tmp_path / "home").mkdir()
    configure(tmp_path / "home", "")
    return tmp_path / "home"


@pytest.fixture
def root(template, home, tmp_path, monkeypatch) -> Path:
    """A copy of the registry as the working directory."""
    shutil.copytree(template, tmp_path / "r")
    monkeypatch.chdir(tmp_path / "r")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795255200")
    return tmp_path / "r"


def configure(home: Path, text: str) -> None:
    """Write the user's configuration of git, with an identity."""
    (home / ".gitconfig").write_text(IDENTITY + text)


def program(path: Path, text: str) -> Path:
    """Write a program of the shell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def hostile(home: Path) -> None:
    """Write a configuration that changes all that git prints; a monitor reports that nothing changes from now on."""
    configure(home, HOSTILE.format(monitor=program(home / "monitor", "printf 'token\\0'")))
    git(Path.cwd(), "update-index", "--fsmonitor")
    git(Path.cwd(), "status")


def signing(home: Path) -> str:
    """Return the settings of commits and tags that are signed with an SSH key."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / "key")], check=True)
    settings = {"gpg": "format = ssh", "commit": "gpgSign = true", "tag": "gpgSign = true"}
    settings["user"] = f"signingKey = {home}/key"
    return "".join(f"[{section}]\n\t{setting}\n" for section, setting in settings.items())


def released_at(root: Path) -> str:
    """Return the subject of the tagged commit."""
    return git(root, "log", "--no-show-signature", "-1", "--format=%s", "v0.1.0")


# A hostile configuration


def test_a_hostile_configuration_changes_no_release(root, home, capsys) -> None:
    """One commit, one tag at it, a clean tree; what is tagged is the commit of the version."""
    hostile(home)
    code = main(TAGGED)
    configure(home, "")

    assert (code, released_at(root), git(root, "status", "--porcelain")) == (0, "Release conv2d_fsq v0.1.0", "")
    assert git(root, "tag", "--list", "--format=%(contents:subject)") == "Release conv2d_fsq v0.1.0"


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen signs the commits")
def test_signed_commits_whose_signature_is_shown_are_tagged(root, home, capsys) -> None:
    """`log.showSignature` prints a line about the signature before the commit's number."""
    configure(home, signing(home) + "[log]\n\tshowSignature = true\n")

    assert (main(TAGGED), released_at(root)) == (0, "Release conv2d_fsq v0.1.0")
    assert "BEGIN SSH SIGNATURE" in git(root, "cat-file", "commit", "v0.1.0^{commit}")


def test_a_new_file_is_a_change_though_the_user_does_not_want_to_see_it(root, home) -> None:
    """`status.showUntrackedFiles=no`, and a monitor of the file system that reports nothing."""
    hostile(home)
    (root / "CHANGELOG.md").write_text("changed")
    (root / "naïve\tname").write_text("new")

    assert set(adapter.changes(root)) == {"CHANGELOG.md", "naïve\tname"}
    assert adapter.state(root).dirty


@pytest.mark.parametrize("new", [True, False], ids=["new file", "changed file"])
def test_a_dirty_tree_is_dirty_under_a_hostile_configuration(root, home, new) -> None:
    """Either kind of change alone."""
    hostile(home)
    (root / ("new" if new else "CHANGELOG.md")).write_text("x")

    assert adapter.state(root).dirty


def test_a_clean_tree_is_clean_under_a_hostile_configuration(root, home) -> None:
    """With a stash, which the header lines of the status then mention."""
    (root / "CHANGELOG.md").write_text("changed")
    git(root, "stash", "--quiet")
    hostile(home)

    assert (adapter.state(root).dirty, adapter.changes(root)) == (False, ())


def test_names_and_tags_are_read_whole_under_a_hostile_configuration(root, home) -> None:
    """Columns, colours and quoted names are for people."""
    (root / "naïve name").write_text("")
    git(root, "add", "--all")
    for tag in ("v0.1.0", "a", "b/c"):
        git(root, "tag", tag)
    hostile(home)

    assert adapter.tags(root) == {"v0.1.0", "a", "b/c"}
    assert {"naïve name", "CHANGELOG.md"} <= set(adapter.tracked(root))


def test_an_ignored_name_is_found_whatever_is_in_it(root, home) -> None:
    """Git quotes unusual names where no NUL ends them."""
    hostile(home)
    (root / ".gitignore").write_text("*.npz\n")

    assert adapter.ignored(root, [root / "naïve.npz", root / "a b.npz", root / "c.txt"]) == {"naïve.npz", "a b.npz"}


def test_only_the_tag_is_pushed(root, home, tmp_path) -> None:
    """`push.followTags` would send every other tag too."""
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    git(root, "remote", "add", "origin", str(tmp_path / "origin.git"))
    git(root, "tag", "--annotate", "--message", "other", "other")
    main(TAGGED)
    hostile(home)
    adapter.push_tag(root, "v0.1.0")
    configure(home, "")

    assert git(tmp_path / "origin.git", "tag") == "v0.1.0"


def test_settings_of_the_environment_still_apply(root, home, monkeypatch) -> None:
    """GIT_CONFIG_COUNT is how CI passes settings; ours are added after them."""
    for name, value in (("COUNT", "1"), ("KEY_0", "core.excludesFile"), ("VALUE_0", str(root / "list"))):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    (root / "list").write_text("list\nunwanted\n")
    (root / "unwanted").write_text("")

    assert adapter.changes(root) == ()


def test_a_number_of_settings_that_git_refuses_is_an_error(root, home, monkeypatch) -> None:
    """With git's message."""
    monkeypatch.setenv("GIT_CONFIG_COUNT", "many")

    with pytest.raises(RegistryError) as caught:
        adapter.state(root)
    assert [problem.rule for problem in caught.value.problems] == ["git.command-failed"]


# What the user demands of a commit or a tag


def refuse_by_hook(home: Path) -> None:
    """Have every commit refused by a hook."""
    program(home / "hooks/pre-commit", "echo not today >&2; exit 1")
    configure(home, f"[core]\n\thooksPath = {home}/hooks\n")


def refuse_commit_signature(home: Path) -> None:
    """Demand signed commits without a program that signs."""
    configure(home, "[commit]\n\tgpgSign = true\n[gpg]\n\tprogram = false\n")


def refuse_tag_signature(home: Path) -> None:
    """Demand signed tags without a program that signs."""
    configure(home, "[tag]\n\tgpgSign = true\n[gpg]\n\tprogram = false\n")


REFUSALS = [
    (refuse_by_hook, "git commit: not today"),
    (refuse_commit_signature, "git commit: error: gpg failed to sign the data"),
    (refuse_tag_signature, "git tag: error: gpg failed to sign the data"),
]


@pytest.mark.parametrize(("refuse", "message"), REFUSALS, ids=[refuse.__name__ for refuse, _ in REFUSALS])
def test_what_the_user_demands_of_git_is_honoured_and_can_be_corrected(root, home, capsys, refuse, message) -> None:
    """The command fails with git's words. After a correction, the same command finishes: also after the commit."""
    refuse(home)
    failed, shown = main(TAGGED), capsys.readouterr().err
    configure(home, "")

    assert (failed, message in " ".join(shown.split()), "[git.command-failed]" in shown) == (5, True, True)
    assert (main(TAGGED), released_at(root)) == (0, "Release conv2d_fsq v0.1.0")


def test_a_message_of_git_has_no_colours(root, home, capsys) -> None:
    """The settings `always` are for terminals."""
    git(root, "remote", "add", "origin", str(home / "nowhere"))
    hostile(home)
    with pytest.raises(RegistryError) as caught:
        adapter.push_tag(root, "v0.1.0")

    assert "\x1b" not in str(caught.value)


# A repository that git refuses


@pytest.fixture
def foreign(root, monkeypatch) -> Path:
    """The registry, in a repository of another owner."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    return root


READS = [
    adapter.state,
    adapter.is_repository,
    adapter.changes,
    adapter.tags,
    adapter.tracked,
    adapter.origin_repository,
    lambda root: adapter.tag_commit(root, "v0.1.0"),
    lambda root: adapter.ignored(root, [root / "x"]),
    lambda root: adapter.is_cut_off(root, VERSION),
    lambda root: host.describe(TrainingSettings()),
]


@pytest.mark.parametrize("read", READS)
def test_a_repository_of_another_owner_is_not_taken_for_none(foreign, read) -> None:
    """Every reading call stops, also where its answer would be empty."""
    with pytest.raises(RegistryError) as caught:
        read(foreign)

    assert [problem.rule for problem in caught.value.problems] == ["git.unsafe-repository"]


@pytest.mark.parametrize("command", [TAGGED, ["verify", "--changed"], ["pull", "v0.1.0"]])
def test_a_command_in_a_repository_of_another_owner_names_the_line_that_helps(foreign, capsys, command) -> None:
    """That of git, which can be pasted."""
    code, shown = main(command), " ".join(capsys.readouterr().err.split())

    assert (code, "[git.unsafe-repository]" in shown) == (5, True)
    assert f"run `git config --global --add safe.directory {foreign}`" in shown
    assert not (foreign / VERSION).exists()


def test_the_line_that_git_prints_helps(foreign, capsys) -> None:
    """Then the release is made."""
    with pytest.raises(RegistryError) as caught:
        adapter.state(foreign)
    line = caught.value.problems[0].next.partition("`")[2].rstrip("`")
    subprocess.run(line, shell=True, check=True)  # noqa: S602 as a user pastes it

    assert (main(TAGGED), released_at(foreign)) == (0, "Release conv2d_fsq v0.1.0")


def test_doctor_reports_a_repository_of_another_owner(foreign, capsys) -> None:
    """With all else that it shows."""
    code, shown = main(["doctor"]), capsys.readouterr()

    assert (code, "[git.unsafe-repository]" in shown.err, "default model" in shown.out) == (5, True, True)


def test_a_broken_repository_is_not_taken_for_none(tmp_path, home) -> None:
    """A worktree whose repository was moved away."""
    (tmp_path / ".git").write_text("gitdir: /nowhere\n")

    with pytest.raises(RegistryError) as caught:
        adapter.state(tmp_path)
    assert [problem.rule for problem in caught.value.problems] == ["git.command-failed"]


def absent(folder: Path) -> str | None:
    """Return what a training records in place of a commit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return host.describe(TrainingSettings()).git_absent


def test_provenance_says_why_there_is_no_commit(tmp_path, home, monkeypatch) -> None:
    """No repository, one without a commit, or no git."""
    found = [absent(tmp_path)]
    git(tmp_path, "init", "--quiet")
    found.append(absent(tmp_path))
    monkeypatch.setenv("PATH", str(home))

    assert [*found, absent(tmp_path)] == ["no repository", "no commit", "git not installed"]


# A shallow clone


@pytest.fixture
def shallow(root, tmp_path, monkeypatch, capsys) -> Path:
    """A clone of depth 1 without tags, in which a version was released one commit ago; the working directory."""
    assert main(TAGGED) == 0
    git(root, "commit", "--quiet", "--allow-empty", "--message", "later")
    git(tmp_path, "clone", "--quiet", "--depth=1", "--no-tags", f"file://{root}", "shallow")
    shutil.copytree(root / "runs", tmp_path / "shallow/runs")
    monkeypatch.chdir(tmp_path / "shallow")
    capsys.readouterr()
    return tmp_path / "shallow"


@pytest.mark.parametrize("options", [[], ["--dry-run"]], ids=["", "dry run"])
def test_a_shallow_clone_does_not_tag_a_commit_that_it_cannot_know(shallow, capsys, options) -> None:
    """Its only commit seems to add every file."""
    code, shown = main([*TAGGED, *options]), capsys.readouterr().err

    assert (code, "[git.shallow-clone]" in shown, "git fetch --unshallow --tags" in shown) == (5, True, True)
    assert git(shallow, "tag") == ""


def test_after_the_printed_line_the_tag_names_the_commit_of_the_version(shallow, capsys) -> None:
    """Here the tag was never pushed: it is made, at the right commit."""
    git(shallow, "remote", "set-branches", "origin", "main")
    git(shallow.parent / "r", "tag", "--delete", "v0.1.0")
    git(shallow, "fetch", "--quiet", "--unshallow", "--tags")

    assert (main(TAGGED), released_at(shallow)) == (0, "Release conv2d_fsq v0.1.0")


def test_a_shallow_clone_with_the_commit_of_the_version_is_enough(root, tmp_path, monkeypatch, capsys) -> None:
    """Its parent shows that this commit added the version."""
    main(TAGGED)
    git(root, "commit", "--quiet", "--allow-empty", "--message", "later")
    git(tmp_path, "clone", "--quiet", "--depth=3", "--no-tags", f"file://{root}", "deep")
    shutil.copytree(root / "runs", tmp_path / "deep/runs")
    monkeypatch.chdir(tmp_path / "deep")

    assert (main(TAGGED), released_at(tmp_path / "deep")) == (0, "Release conv2d_fsq v0.1.0")


def test_a_new_version_can_be_released_in_a_shallow_clone(root, tmp_path, monkeypatch, capsys) -> None:
    """Its commit is made here."""
    git(root, "commit", "--quiet", "--allow-empty", "--message", "later")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{root}", "shallow")
    shutil.copytree(root / "runs", tmp_path / "shallow/runs")
    monkeypatch.chdir(tmp_path / "shallow")

    assert (main(TAGGED), released_at(tmp_path / "shallow")) == (0, "Release conv2d_fsq v0.1.0")


def test_a_version_that_is_signed_in_a_shallow_clone_is_tagged_there(shallow, tmp_path, capsys) -> None:
    """The commit that adds the signature is made here, and is the one to verify."""
    key = str(tmp_path / "key.pem")
    main(["keygen", "--out", key, "--no-passphrase"])

    assert main([*TAGGED, "--sign-key", key]) == 0
    assert git(shallow, "rev-parse", "v0.1.0^{commit}") == git(shallow, "rev-parse", "HEAD")


def test_a_version_that_no_commit_contains_is_not_tagged(root) -> None:
    """The tag would name a commit without it."""
    with pytest.raises(RegistryError) as caught:
        adapter.tag(root, "v0.1.0", "x", VERSION)

    assert [(p.where, p.rule) for p in caught.value.problems] == [(VERSION, "git.uncommitted")]
