"""The command line: results on stdout, errors on stderr, the exit code of each kind."""

import json
import subprocess
import sys

import pytest
from example_run import write_registry, write_run

from modelreg import __version__
from modelreg.cli import app, main
from modelreg.config import Gate, ProjectConfig


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """The working directory: a registry with one evaluated run."""
    write_run(write_registry(tmp_path) / "runs" / "conv2d_fsq-001")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795255200")
    return tmp_path


@pytest.fixture
def released(registry, capsys):
    """The same, with v0.1.0 released."""
    assert main(["release", "v0.1.0", "--roll-changelog"]) == 0
    capsys.readouterr()
    return registry


def git(folder, *arguments):
    """Run git with an identity of its own."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(registry, monkeypatch):
    """The same registry under git, clean."""
    for name, value in {"NAME": "t", "EMAIL": "t@example.org"}.items():
        monkeypatch.setenv(f"GIT_AUTHOR_{name}", value)
        monkeypatch.setenv(f"GIT_COMMITTER_{name}", value)
    git(registry, "init", "--quiet")
    git(registry, "add", ".")
    git(registry, "commit", "--quiet", "--message", "start")
    return registry


def json_of(capsys):
    """What stands on stdout, as JSON."""
    return json.loads(capsys.readouterr().out)


def commands(group=None, prefix=()):
    """Yield the words of every command."""
    for info in (group or app).registered_commands:
        yield (*prefix, info.name or info.callback.__name__), info.callback
    for info in (group or app).registered_groups:
        yield from commands(info.typer_instance, (*prefix, info.name))


@pytest.mark.parametrize(("words", "callback"), list(commands()), ids=lambda value: str(value)[:20])
def test_every_command_has_help_with_an_example(words, callback, capsys) -> None:
    """Its help shows how it is typed."""
    assert main([*words, "--help"]) == 0
    assert f"Example: modelreg {' '.join(words)}" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "callback"), list(commands()), ids=lambda value: str(value)[:20])
def test_every_command_is_in_the_readme(words, callback, root) -> None:
    """A command that is not documented does not exist."""
    assert f"modelreg {' '.join(words)}" in (root / "README.md").read_text()


def test_the_version_is_printed(capsys) -> None:
    """On stdout."""
    assert (main(["--version"]), capsys.readouterr().out) == (0, f"modelreg {__version__}\n")


@pytest.mark.parametrize("arguments", [["nothing"], ["release"], ["verify", "--nothing"], ["train", "--resume"]])
def test_wrong_usage_is_exit_2(arguments, capsys) -> None:
    """Typer's own errors."""
    assert main(arguments) == 2


def test_resume_takes_no_other_settings(registry, capsys) -> None:
    """A run goes on with its own configuration."""
    assert main(["train", "--resume", "runs/conv2d_fsq-001", "--set", "training.epochs=3"]) == 2


def test_no_command_shows_the_help(capsys) -> None:
    """As every command line does."""
    main([])

    assert "Commands:" in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_is_offered(name) -> None:
    """For the shells that people use."""
    script = "from modelreg.cli import run; run()"
    environment = {"_MODELREG_COMPLETE": f"source_{name}", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", f"import sys; sys.argv = ['modelreg']; {script}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert "modelreg" in done.stdout


def test_init_makes_a_registry_that_verifies(tmp_path, monkeypatch, capsys) -> None:
    """Empty, and valid."""
    main(["init", str(tmp_path / "new")])
    monkeypatch.chdir(tmp_path / "new")

    assert (main(["verify"]), main(["list"])) == (0, 0)


def test_init_overwrites_nothing(tmp_path, capsys) -> None:
    """Every file in the way is named, and none is written."""
    (tmp_path / "CHANGELOG.md").write_text("mine")
    code = main(["init", str(tmp_path)])

    assert (code, [p.name for p in tmp_path.iterdir()]) == (3, ["CHANGELOG.md"])


@pytest.mark.parametrize("command", [["verify"], ["list"], ["show"], ["release", "v1.0.0"]])
def test_outside_a_registry_the_next_command_is_named(tmp_path, monkeypatch, capsys, command) -> None:
    """Exit 3: `modelreg init`."""
    monkeypatch.chdir(tmp_path)

    assert (main(command), "modelreg init" in capsys.readouterr().err) == (3, True)


def test_a_release_says_what_it_did_and_what_comes_next(registry, capsys) -> None:
    """A line a step, on stdout."""
    main(["release", "v0.1.0", "--roll-changelog"])

    assert capsys.readouterr().out.splitlines() == [
        "write registry/conv2d_fsq/v0.1.0",
        "move [Unreleased] of CHANGELOG.md under [v0.1.0]",
        "write the table of RELEASES.md",
        "next: modelreg verify conv2d_fsq@v0.1.0",
    ]


def test_a_dry_run_prints_the_plan_and_writes_nothing(registry, capsys) -> None:
    """The very steps that the real run takes."""
    main(["release", "v0.1.0", "--roll-changelog", "--dry-run", "--json"])

    assert (json_of(capsys)["steps"], list(registry.glob("registry/*/v*"))) == (["version", "changelog", "table"], [])


def test_a_failed_gate_is_exit_9_with_a_table(registry, capsys) -> None:
    """Value, bound and verdict of every gate, also of those that are met."""
    gates = {"accuracy": Gate(min=0.999), "macro_f1": Gate(min=0.0)}
    (registry / "modelreg.yaml").write_bytes(ProjectConfig(gates=gates).to_bytes())
    code = main(["release", "v0.1.0", "--roll-changelog"])
    verdicts = [line.split()[-1] for line in capsys.readouterr().err.splitlines()[1:3]]

    assert (code, verdicts) == (9, ["FAILS", "met"])


def test_an_existing_version_is_exit_5(released, capsys) -> None:
    """And says so."""
    assert (main(["release", "v0.1.0"]), "a version never changes" in capsys.readouterr().err) == (5, True)


def test_a_release_is_committed_and_tagged(repository, capsys) -> None:
    """The tag's commit holds the documents, the changelog and the table; binaries stay out of git."""
    assert main(["release", "v0.1.0", "--roll-changelog", "--tag"]) == 0
    names = {line.rsplit("/", 1)[-1] for line in git(repository, "show", "--name-only", "--format=", "v0.1.0").split()}

    assert ("manifest.json" in names, "CHANGELOG.md" in names, "checkpoint.safetensors" in names) == (True, True, False)


def test_after_a_tagged_release_the_tree_is_clean(repository, capsys) -> None:
    """Nothing is left to commit."""
    main(["release", "v0.1.0", "--roll-changelog", "--tag"])

    assert git(repository, "status", "--porcelain") == ""


def test_a_clone_of_a_release_verifies(repository, tmp_path_factory, monkeypatch, capsys) -> None:
    """Without its assets: they are notices."""
    main(["release", "v0.1.0", "--roll-changelog", "--tag"])
    clone = tmp_path_factory.mktemp("clone") / "c"
    git(repository, "clone", "--quiet", str(repository), str(clone))
    monkeypatch.chdir(clone)

    assert (main(["verify"]), main(["verify", "--complete"])) == (0, 4)


def test_a_dirty_tree_is_refused(repository, capsys) -> None:
    """Exit 5, naming the file, before anything is staged."""
    (repository / "notes.txt").write_text("x")
    code = main(["release", "v0.1.0", "--roll-changelog", "--commit"])

    assert (code, "notes.txt: is not committed" in capsys.readouterr().err) == (5, True)


def test_what_git_refuses_is_told_in_its_words_and_finished_later(repository, monkeypatch, capsys) -> None:
    """A commit that fails leaves the version; the same command goes on once the cause is gone."""
    hook = repository / ".git" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\necho not today >&2\nexit 1\n")
    hook.chmod(0o755)
    refused = main(["release", "v0.1.0", "--roll-changelog", "--tag"])
    hook.unlink()

    assert (
        refused,
        "not today" in capsys.readouterr().err,
        main(["release", "v0.1.0", "--roll-changelog", "--tag"]),
    ) == (
        5,
        True,
        0,
    )


def test_verify_names_what_it_verified(released, capsys) -> None:
    """One line a version."""
    assert (main(["verify"]), capsys.readouterr().out) == (0, "conv2d_fsq@v0.1.0: 7 files verified\n")


@pytest.mark.parametrize(
    "reference", ["v0.1.0", "conv2d_fsq@latest", "registry/conv2d_fsq/v0.1.0", "./registry/conv2d_fsq/v0.1.0/"]
)
def test_verify_takes_any_reference(released, capsys, reference) -> None:
    """Number, alias-like name or path."""
    assert main(["verify", reference]) == 0


def test_a_broken_version_is_exit_4_with_every_problem(released, capsys) -> None:
    """Each with version, file and rule; as JSON too."""
    (released / "registry/conv2d_fsq/v0.1.0/model_card.md").write_text("x")
    (released / "registry/conv2d_fsq/v0.1.0/extra").write_text("x")
    code = main(["verify", "--json"])
    places = [problem["where"] for problem in json_of(capsys)["versions"][0]["problems"]]

    assert (code, places) == (4, ["model_card.md", "extra"])


def test_an_edited_table_is_exit_4(released, capsys) -> None:
    """A number in RELEASES.md that is not the registry's."""
    text = (released / "RELEASES.md").read_text()
    (released / "RELEASES.md").write_text(text.replace("| 0.", "| 1.", 1))

    assert (main(["verify"]), "its table is not that of the registry" in capsys.readouterr().err) == (4, True)


def test_a_missing_table_is_exit_4(released, capsys) -> None:
    """RELEASES.md belongs to a registry."""
    (released / "RELEASES.md").write_text("# no table\n")

    assert main(["verify"]) == 4


def test_notices_go_to_stderr(released, capsys) -> None:
    """An absent asset is worth a word and exit 0."""
    (released / "registry/conv2d_fsq/v0.1.0/checkpoint.safetensors").unlink()
    code = main(["verify"])

    assert (code, "notice: conv2d_fsq@v0.1.0: checkpoint.safetensors" in capsys.readouterr().err) == (0, True)


def test_list_shows_the_versions(released, capsys) -> None:
    """As a table and as JSON."""
    main(["list"])
    text = capsys.readouterr().out
    main(["list", "conv2d_fsq", "--json"])

    assert json_of(capsys)[0]["reference"] in text


def test_show_shows_the_files(released, capsys) -> None:
    """With their digests; the latest of the default model where nothing is said."""
    main(["show"])
    text = capsys.readouterr().out
    main(["show", "v0.1.0", "--json"])

    assert all(entry["sha256"][:16] in text for entry in json_of(capsys)["manifest"]["files"])


@pytest.mark.parametrize("reference", ["v9.0.0", "nobody@latest", "nonsense"])
def test_an_unknown_reference_is_exit_5(released, capsys, reference) -> None:
    """And names what there is."""
    assert main(["show", reference]) == 5


def test_the_time_can_be_given(released, capsys) -> None:
    """SOURCE_DATE_EPOCH is the time."""
    main(["show", "--json"])

    assert json_of(capsys)["manifest"]["created"] == "2026-11-21T10:00:00Z"


@pytest.mark.parametrize("value", ["now", "1e9", "99999999999999999999"])
def test_a_time_that_is_none_is_refused(registry, monkeypatch, capsys, value) -> None:
    """Exit 3."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)

    assert (main(["release", "v0.1.0"]), "SOURCE_DATE_EPOCH" in capsys.readouterr().err) == (3, True)


def test_ctrl_c_is_exit_130(registry, monkeypatch, capsys) -> None:
    """In the middle of a release, which leaves nothing."""

    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("modelreg.release.integrity.inspect", interrupted)
    code = main(["release", "v0.1.0", "--roll-changelog"])

    assert (code, list((registry / "registry" / "conv2d_fsq").iterdir())) == (130, [])


def test_a_reader_that_leaves_early_is_no_error(tmp_path) -> None:
    """`modelreg data check --json | head -1` ends in silence."""
    command = f"{sys.executable} -m modelreg data check --json | head -n 1"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S602

    assert (done.stdout, done.stderr) == ("{\n", "")


def test_a_bug_is_not_hidden(registry, monkeypatch) -> None:
    """What we did not foresee ends in a traceback."""

    def broken(*_args, **_kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr("modelreg.registry.versions", broken)
    with pytest.raises(ZeroDivisionError):
        main(["list"])


def test_data_check_prints_a_row_a_channel(capsys) -> None:
    """Of the embedded sample."""
    main(["data", "check"])
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[2:8]]

    assert rows == [["watch", name] for name in ("ax", "ay", "az", "wx", "wy", "wz")]


def test_data_check_writes_json(capsys) -> None:
    """Every recording and channel."""
    main(["data", "check", "--json"])

    assert len(json_of(capsys)["recordings"]) == 140


def test_data_check_in_strict_mode_fails(tmp_path, capsys) -> None:
    """Where a threshold of the configuration is broken: exit 3, recording and rule."""
    (tmp_path / "c.yaml").write_text("quality: {limits: {std_min: 0.2}}\n")
    codes = (
        main(["data", "check", str(tmp_path / "c.yaml")]),
        main(["data", "check", str(tmp_path / "c.yaml"), "--strict"]),
    )

    assert codes == (0, 3)


def test_data_check_reads_npy_files(tmp_path, capsys) -> None:
    """By their metadata JSON."""
    from two_device import write_two_device

    metadata = write_two_device(tmp_path)

    assert main(["data", "check", str(metadata)]) == 0


@pytest.mark.parametrize("source", ["missing.yaml", "missing.json"])
def test_a_missing_source_is_exit_3(tmp_path, monkeypatch, capsys, source) -> None:
    """With its name."""
    monkeypatch.chdir(tmp_path)

    assert (main(["data", "check", source]), source in capsys.readouterr().err) == (3, True)
