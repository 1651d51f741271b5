"""The command line: results on stdout, errors on stderr, the exit code of each kind."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from example_run import write_registry, write_run

from modelreg import __version__, files
from modelreg.cli.main import main
from modelreg.config import ProjectConfig
from modelreg.data.cache import Reading
from modelreg.records.audit import AuditRecord, Finding
from modelreg.records.base import load
from modelreg.records.gates import Gate
from modelreg.records.metrics import EvalMetrics


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


@pytest.fixture
def two_versions(released, capsys):
    """The same, with v0.2.0 released too, of another run."""
    write_run(released / "runs" / "conv2d_fsq-002", seed=1)
    changelog = released / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("## [Unreleased]", "## [Unreleased]\n\n- Better.\n", 1))
    assert main(["release", "v0.2.0", "--roll-changelog"]) == 0
    capsys.readouterr()
    return released


def break_manifest(version: Path) -> None:
    """Make it no JSON."""
    (version / "manifest.json").write_text("{")


def drop_metrics(version: Path) -> None:
    """Lose eval_metrics.json."""
    (version / "eval_metrics.json").unlink()


def unlist_checkpoint(version: Path) -> None:
    """Leave a manifest that is valid, and silent about the weights."""
    manifest = json.loads((version / "manifest.json").read_bytes())
    manifest["files"] = [entry for entry in manifest["files"] if entry["path"] != "checkpoint.safetensors"]
    (version / "manifest.json").write_bytes(files.to_json(manifest))


def run_command(arguments, folder, stdout, *, stderr=subprocess.PIPE, buffered=True):
    """Run a command in a separate process; return its exit code and its stderr."""
    command = [sys.executable, "-m", "modelreg", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    done = subprocess.run(command, cwd=folder, env=environment, stdout=stdout, stderr=stderr, text=True, check=False)
    return done.returncode, done.stderr


@pytest.fixture
def nobody():
    """The end of a pipe whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


def git(folder, *arguments):
    """Run git with a test identity."""
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


def test_the_version_is_printed(capsys) -> None:
    """On stdout."""
    assert (main(["--version"]), capsys.readouterr().out) == (0, f"modelreg {__version__}\n")


@pytest.mark.parametrize("arguments", [["nothing"], ["release"], ["verify", "--nothing"], ["train", "--resume"]])
def test_wrong_usage_is_exit_2(arguments, capsys) -> None:
    """Typer's own errors."""
    assert main(arguments) == 2


def test_resume_takes_no_other_settings(registry, capsys) -> None:
    """A run is resumed with its own configuration."""
    assert main(["train", "--resume", "runs/conv2d_fsq-001", "--set", "training.epochs=3"]) == 2


def test_an_empty_registry_does_not_verify(tmp_path, monkeypatch, capsys) -> None:
    """Exit 5: a check of nothing must not pass in CI. `list` prints the next step."""
    main(["init", str(tmp_path / "new")])
    monkeypatch.chdir(tmp_path / "new")

    assert (main(["verify"]), main(["list"])) == (5, 0)
    assert "[registry.empty]" in capsys.readouterr().err


def test_a_second_init_finishes_one_that_failed(tmp_path, monkeypatch, capsys) -> None:
    """The second one writes the missing files."""
    write = files.write_atomic

    def full(path, data):
        if path.name == "RELEASES.md":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_atomic", full)
        failed = main(["init", str(tmp_path)])

    assert (failed, main(["init", str(tmp_path)]), (tmp_path / "registry" / ".gitkeep").exists()) == (3, 0, True)


def test_init_overwrites_nothing(tmp_path, capsys) -> None:
    """A file with other content stays as it is; the others are written."""
    (tmp_path / "CHANGELOG.md").write_text("mine")
    code = main(["init", str(tmp_path)])

    assert (code, (tmp_path / "CHANGELOG.md").read_text()) == (0, "mine")
    assert (tmp_path / "RELEASES.md").is_file()


@pytest.mark.parametrize("command", [["verify"], ["list"], ["show"], ["release", "v1.0.0"]])
def test_outside_a_registry_the_next_command_is_named(tmp_path, monkeypatch, capsys, command) -> None:
    """Exit 3: `modelreg init`."""
    monkeypatch.chdir(tmp_path)

    assert (main(command), "modelreg init" in capsys.readouterr().err) == (3, True)


def test_a_release_says_what_it_did_and_what_comes_next(registry, capsys) -> None:
    """One line for each step, on stdout."""
    main(["release", "v0.1.0", "--roll-changelog"])

    assert capsys.readouterr().out.splitlines() == [
        "write registry/conv2d_fsq/v0.1.0",
        "move [Unreleased] of CHANGELOG.md under [v0.1.0]",
        "write the table of RELEASES.md",
        "next: modelreg verify conv2d_fsq@v0.1.0",
    ]


def test_a_dry_run_prints_the_plan_and_writes_nothing(registry, capsys) -> None:
    """The same steps as the real run."""
    main(["release", "v0.1.0", "--roll-changelog", "--dry-run", "--json"])

    assert (json_of(capsys)["steps"], list(registry.glob("registry/*/v*"))) == (["version", "changelog", "table"], [])


def test_a_failed_gate_is_exit_9_with_a_table(registry, capsys) -> None:
    """Value, bound and verdict of every gate, also of those that are met."""
    gates = {"accuracy": Gate(min=0.999), "macro_f1": Gate(min=0.0)}
    (registry / "modelreg.yaml").write_bytes(ProjectConfig(gates=gates).to_bytes())
    code = main(["release", "v0.1.0", "--roll-changelog"])
    lines = capsys.readouterr().err.splitlines()
    verdicts = [line.split()[-1] for line in lines if line.startswith(("accuracy ", "macro_f1 "))]

    assert (code, verdicts) == (9, ["FAILS", "met"])


def test_an_existing_version_is_exit_5(released, capsys) -> None:
    """With the rule that versions never change."""
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

    assert (code, "notes.txt: not committed  [git.uncommitted]" in capsys.readouterr().err) == (5, True)


TAGGED = ["release", "v0.1.0", "--roll-changelog", "--tag"]


def refuse_commits(repository) -> Path:
    """Install a hook that lets no commit pass, and return it."""
    hook = repository / ".git" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\necho not today >&2\nexit 1\n")
    hook.chmod(0o755)
    return hook


def kill_at(folder, *words) -> None:
    """Run the tagged release in a separate process that ends, as by kill -9, when it calls git with these words."""
    code = f"""
import os, subprocess
from modelreg.cli.main import main
real = subprocess.run
last = {["git", *words]!r}
subprocess.run = lambda words, **more: os._exit(137) if words[:len(last)] == last else real(words, **more)
main({TAGGED!r})
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, check=False).returncode == 137


def test_the_message_of_a_failed_git_command_is_printed(repository, capsys) -> None:
    """Exit 5, with the output of the hook."""
    refuse_commits(repository)
    code = main(TAGGED)

    assert (code, "not today" in capsys.readouterr().err) == (5, True)


def test_a_refused_commit_is_finished_by_the_same_command(repository, capsys) -> None:
    """The version stays; after the cause is removed, the release is finished."""
    hook = refuse_commits(repository)
    main(TAGGED)
    hook.unlink()

    assert (main(TAGGED), git(repository, "tag").split()) == (0, ["v0.1.0"])


@pytest.mark.parametrize("words", [["add"], ["tag", "--annotate"]], ids=" ".join)
def test_a_release_that_was_killed_is_finished_by_the_same_command(repository, capsys, words) -> None:
    """Between renaming and committing, and between committing and tagging."""
    kill_at(repository, *words)

    assert (main(TAGGED), git(repository, "tag").split(), git(repository, "status", "--porcelain")) == (
        0,
        ["v0.1.0"],
        "",
    )


def test_a_commit_that_was_killed_half_way_is_finished(repository, capsys) -> None:
    """The files are in git's index, and no commit is made of them."""
    kill_at(repository, "commit")

    assert (main(TAGGED), git(repository, "status", "--porcelain")) == (0, "")


@pytest.mark.parametrize("words", [["add"], ["tag", "--annotate"]], ids=" ".join)
def test_a_release_that_was_killed_leaves_a_version_that_verifies(repository, capsys, words) -> None:
    """Independent of git."""
    kill_at(repository, *words)

    assert main(["verify", "v0.1.0"]) == 0


def test_verify_names_what_it_verified(released, capsys) -> None:
    """One line for each version, with the number of listed files."""
    main(["verify"])
    listed = json.loads((released / "registry/conv2d_fsq/v0.1.0/manifest.json").read_bytes())["files"]

    assert capsys.readouterr().out == f"conv2d_fsq@v0.1.0: {len(listed)} files verified\n"


@pytest.mark.parametrize(
    "reference", ["v0.1.0", "conv2d_fsq@latest", "registry/conv2d_fsq/v0.1.0", "./registry/conv2d_fsq/v0.1.0/"]
)
def test_verify_takes_any_reference(released, capsys, reference) -> None:
    """Number, alias-like name or path."""
    assert main(["verify", reference]) == 0


def test_verify_takes_a_path_with_dots(two_versions, monkeypatch, capsys) -> None:
    """From inside another version."""
    monkeypatch.chdir(two_versions / "registry/conv2d_fsq/v0.2.0")
    main(["verify", "../v0.1.0"])

    assert capsys.readouterr().out.startswith("conv2d_fsq@v0.1.0: ")


def test_verify_of_no_folder_is_exit_5(registry, capsys) -> None:
    """An unknown version is not a failed verification."""
    assert main(["verify", "nowhere/v0.1.0"]) == 5
    said = capsys.readouterr().err.splitlines()
    assert (said[0].startswith("error: nowhere/v0.1.0: "), said[0].endswith("[reference.path-missing]")) == (True, True)


BREAKERS = [break_manifest, drop_metrics, unlist_checkpoint]


@pytest.mark.parametrize("break_it", BREAKERS)
def test_a_broken_version_does_not_hide_others(two_versions, capsys, break_it) -> None:
    """The line of the valid version is printed."""
    break_it(two_versions / "registry/conv2d_fsq/v0.1.0")
    code = main(["verify"])

    assert (code, capsys.readouterr().out.split(":")[0]) == (4, "conv2d_fsq@v0.2.0")


@pytest.mark.parametrize("break_it", BREAKERS)
def test_a_broken_version_leaves_the_json_whole(two_versions, capsys, break_it) -> None:
    """Both versions are in it; the problems are those of the broken one."""
    break_it(two_versions / "registry/conv2d_fsq/v0.1.0")
    main(["verify", "--json"])

    assert [bool(version["problems"]) for version in json_of(capsys)["versions"]] == [True, False]


@pytest.mark.parametrize("place", ["conv2d_fsq/v1.0/manifest.json", "Conv/v0.1.0/manifest.json", "stray.txt"])
def test_a_folder_that_is_not_a_version_is_exit_4(released, capsys, place) -> None:
    """A folder that no command reads is a problem, also in JSON."""
    files.write_atomic(make_room(released / "registry" / place), b"{}")
    code = main(["verify", "--json"])
    problem = json_of(capsys)["problems"][0]

    assert (code, f"registry/{place}".startswith(problem["where"])) == (4, True)


def make_room(path: Path) -> Path:
    """Make the folder of a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_what_an_interrupted_release_left_is_a_notice(released, capsys) -> None:
    """Exit 0."""
    (released / "registry/conv2d_fsq/.v0.2.0.staged").mkdir()
    code = main(["verify"])
    stderr = capsys.readouterr().err

    assert (code, stderr.startswith("notice: registry/conv2d_fsq/.v0.2.0.staged: "), stderr.count("\n")) == (0, True, 1)


def test_a_broken_version_is_exit_4_with_every_problem(released, capsys) -> None:
    """Each with version, file and rule, also in JSON."""
    (released / "registry/conv2d_fsq/v0.1.0/model_card.md").write_text("x")
    (released / "registry/conv2d_fsq/v0.1.0/extra").write_text("x")
    code = main(["verify", "--json"])
    places = [problem["where"] for problem in json_of(capsys)["versions"][0]["problems"]]

    assert (code, places) == (4, ["model_card.md", "extra"])


def test_an_edited_table_is_exit_4(released, capsys) -> None:
    """A number in RELEASES.md that is not the registry's."""
    text = (released / "RELEASES.md").read_text()
    (released / "RELEASES.md").write_text(text.replace("| 0.", "| 1.", 1))

    assert (main(["verify"]), "[releases-table.outdated]" in capsys.readouterr().err) == (4, True)


def test_a_missing_table_is_exit_4(released, capsys) -> None:
    """RELEASES.md belongs to a registry."""
    (released / "RELEASES.md").write_text("# no table\n")

    assert main(["verify"]) == 4


def test_notices_go_to_stderr(released, capsys) -> None:
    """A missing asset is a notice, with exit 0."""
    (released / "registry/conv2d_fsq/v0.1.0/checkpoint.safetensors").unlink()
    code = main(["verify"])

    assert (code, "notice: conv2d_fsq@v0.1.0: checkpoint.safetensors" in capsys.readouterr().err) == (0, True)


def test_list_shows_the_versions(released, capsys) -> None:
    """As a table and as JSON."""
    main(["list"])
    text = capsys.readouterr().out
    main(["list", "conv2d_fsq", "--json"])

    assert json_of(capsys)[0]["reference"] in text


@pytest.mark.parametrize("break_it", [break_manifest, drop_metrics])
def test_list_shows_the_rest_where_a_version_is_broken(two_versions, capsys, break_it) -> None:
    """On stdout, whole."""
    break_it(two_versions / "registry/conv2d_fsq/v0.1.0")
    main(["list", "--json"])

    assert [version["version"] for version in json_of(capsys)] == ["0.2.0"]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_list_names_a_broken_version(released, capsys, options) -> None:
    """Exit 4: machines must notice."""
    break_manifest(released / "registry/conv2d_fsq/v0.1.0")
    code = main(["list", *options])

    assert (code, "conv2d_fsq@v0.1.0: manifest.json: line 1" in capsys.readouterr().err) == (4, True)


def test_list_of_broken_versions_does_not_say_that_there_is_none(released, capsys) -> None:
    """There is one, and it is broken."""
    break_manifest(released / "registry/conv2d_fsq/v0.1.0")
    main(["list"])

    assert "no version yet" not in capsys.readouterr().out


def test_show_shows_the_files(released, capsys) -> None:
    """With their digests; the default is the latest version of the default model."""
    main(["show"])
    text = capsys.readouterr().out
    main(["show", "v0.1.0", "--json"])

    assert all(entry["sha256"][:16] in text for entry in json_of(capsys)["manifest"]["files"])


@pytest.mark.parametrize("reference", ["v9.0.0", "nobody@latest", "nonsense"])
def test_an_unknown_reference_is_exit_5(released, capsys, reference) -> None:
    """The error lists the known names."""
    assert main(["show", reference]) == 5


def test_the_time_can_be_given(released, capsys) -> None:
    """SOURCE_DATE_EPOCH is the time."""
    main(["show", "--json"])

    assert json_of(capsys)["manifest"]["created"] == "2026-11-21T10:00:00Z"


@pytest.mark.parametrize("value", ["now", "1e9", "99999999999999999999"])
def test_an_invalid_time_is_refused(registry, monkeypatch, capsys, value) -> None:
    """Exit 3."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)

    assert (main(["release", "v0.1.0"]), "SOURCE_DATE_EPOCH" in capsys.readouterr().err) == (3, True)


def test_ctrl_c_is_exit_130(registry, monkeypatch, capsys) -> None:
    """In the middle of a release, which leaves nothing."""

    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("modelreg.release.steps.integrity.inspect", interrupted)
    code = main(["release", "v0.1.0", "--roll-changelog"])

    assert (code, list((registry / "registry" / "conv2d_fsq").iterdir())) == (130, [])


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["--version"],
        ["list"],
        ["list", "--json"],
        ["show"],
        ["verify"],
        ["data", "check", "sample", "--json"],
    ],
    ids=" ".join,
)
def test_a_closed_pipe_is_not_an_error(released, nobody, command) -> None:
    """No message, and the exit code of a program that SIGPIPE ended: for a table, few lines and many lines."""
    assert run_command(command, released, nobody) == (141, "")


def test_a_closed_pipe_is_not_an_error_without_a_buffer(released, nobody) -> None:
    """The same if the write fails, not the flush at the end."""
    assert run_command(["list", "--json"], released, nobody, buffered=False) == (141, "")


def test_an_error_keeps_its_code_with_a_closed_pipe(registry, nobody) -> None:
    """`modelreg show v9.0.0 2>&1 | true`."""
    assert run_command(["show", "v9.0.0"], registry, nobody, stderr=nobody) == (5, None)


def test_a_failed_verification_keeps_its_code_with_a_closed_pipe(two_versions, nobody) -> None:
    """`modelreg verify | true`: the problems are on stderr."""
    break_manifest(two_versions / "registry/conv2d_fsq/v0.1.0")

    assert run_command(["verify"], two_versions, nobody)[0] == 4


def test_a_full_disk_at_stdout_is_exit_3(released) -> None:
    """`modelreg list > /dev/full`: the output is lost, and there is one error."""
    with Path("/dev/full").open("w") as full:
        code, stderr = run_command(["list", "--json"], released, full)

    first = f"error: output: {os.strerror(errno.ENOSPC)}  [files.unavailable]"
    assert (code, stderr.splitlines()[0], stderr.count("error: ")) == (3, first, 1)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["init", "/dev/null/x"], f"/dev/null/x: {os.strerror(errno.ENOTDIR)}"),
        (["init", "/proc/x"], f"/proc/x: {os.strerror(errno.ENOENT)}"),
    ],
)
def test_a_place_that_cannot_be_written_is_exit_3(command, message, capsys) -> None:
    """The path, and the operating system's message."""
    assert (main(command), capsys.readouterr().err.startswith(f"error: {message}")) == (3, True)


def test_a_full_disk_is_exit_3_and_leaves_no_version(registry, monkeypatch, capsys) -> None:
    """In the middle of a release."""

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    code = main(["release", "v0.1.0", "--roll-changelog"])

    assert (code, list(registry.glob("registry/*/*"))) == (3, [])


def test_a_version_too_long_for_a_record_is_exit_5(registry, capsys) -> None:
    """Before anything is staged."""
    version = f"v1.0.0-{'a' * 80}"

    assert (main(["release", version, "--roll-changelog"]), "[version.invalid]" in capsys.readouterr().err) == (5, True)


def test_a_bug_is_not_hidden(registry, monkeypatch) -> None:
    """An unexpected exception ends in a traceback."""

    def broken(*_args, **_kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr("modelreg.registry.versions.version_folders", broken)
    with pytest.raises(ZeroDivisionError):
        main(["list"])


def test_data_check_prints_a_row_for_each_channel(capsys) -> None:
    """Of the embedded sample."""
    main(["data", "check"])
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines() if line.startswith("watch ")]

    assert rows == [["watch", name] for name in ("ax", "ay", "az", "wx", "wy", "wz")]


def test_data_check_writes_json(capsys) -> None:
    """Every recording and channel."""
    main(["data", "check", "--json"])

    assert len(json_of(capsys)["recordings"]) == 140


def test_data_check_in_strict_mode_fails(tmp_path, capsys) -> None:
    """If a threshold of the configuration is exceeded: exit 3."""
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


def test_data_check_starts_a_configured_path_at_the_root(registry, monkeypatch, capsys) -> None:
    """As training does, from any folder."""
    from two_device import write_two_device

    (registry / "data").mkdir()
    write_two_device(registry / "data")
    (registry / "c.yaml").write_text("data: {sources: [{kind: npy, path: data/dataset.json}]}\n")
    monkeypatch.chdir(registry / "runs")

    assert main(["data", "check", "../c.yaml"]) == 0


def test_data_check_of_a_binary_file_is_exit_3(tmp_path, capsys) -> None:
    """Naming the byte."""
    (tmp_path / "bad.yaml").write_bytes(b"model: {\xff}\n")

    assert (
        main(["data", "check", str(tmp_path / "bad.yaml")]),
        "byte 8  [files.not-utf8]" in capsys.readouterr().err,
    ) == (
        3,
        True,
    )


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_data_is_looked_for_at_the_root(registry, monkeypatch, command) -> None:
    """From any folder: `evaluate` finds the data that `train` has read."""
    seen = []

    def record(*arguments):
        seen.extend(argument.base for argument in arguments if isinstance(argument, Reading))
        raise KeyboardInterrupt

    monkeypatch.setattr("modelreg.workflows.training_run.start", record)
    monkeypatch.setattr("modelreg.workflows.evaluation_run.evaluate", record)
    monkeypatch.chdir(registry / "runs")
    main([command])

    assert seen == [registry]


def evaluated(registry, monkeypatch, measured, *findings) -> None:
    """Let `evaluate` find these metrics, and an audit with these findings."""
    audit = AuditRecord(near=0.99, windows={"test": 1}, compared={"test": 1}, findings=findings)
    (registry / "runs/conv2d_fsq-001/audit.json").write_bytes(audit.to_bytes())
    monkeypatch.setattr("modelreg.workflows.evaluation_run.evaluate", lambda *_: measured)


def test_evaluate_warns_of_leakage(registry, monkeypatch, capsys) -> None:
    """On stderr, with an example; what the split shares by design has no warning."""
    measured = load(registry / "runs/conv2d_fsq-001/eval_metrics.json", EvalMetrics)
    plain = {"kind": "session", "parts": ("train", "test"), "count": 2, "what": "sessions are in both parts"}
    found = [Finding(severity=severity, **plain, examples=("s1",)) for severity in ("leak", "by_design")]
    evaluated(registry, monkeypatch, measured, *found)
    main(["evaluate", "runs/conv2d_fsq-001"])

    assert capsys.readouterr().err == "warning: LEAKAGE: train and test: 2 sessions are in both parts (s1)\n"


@pytest.mark.needs("torch", "matplotlib")
@pytest.mark.parametrize(
    ("used", "warnings"),
    [((3, 2), []), ((2, 1), []), ((1, 2), ["warning: dimension 1 of the quantizer uses 1 of 3 levels; try "])],
)
def test_evaluate_warns_where_levels_are_not_used(registry, monkeypatch, capsys, used, warnings) -> None:
    """If fewer than half are used, with a step to try; half is enough."""
    measured = load(registry / "runs/conv2d_fsq-001/eval_metrics.json", EvalMetrics)
    codes = measured.codes.model_copy(update={"levels_used": used})
    measured = measured.model_copy(update={"codes": codes})
    monkeypatch.setattr("modelreg.workflows.evaluation_run.evaluate", lambda *_: measured)
    monkeypatch.setattr("modelreg.cli.evaluate.warn_of_leaks", lambda _: None)
    main(["evaluate"])
    found = [line for line in capsys.readouterr().err.splitlines() if "dimension" in line]

    assert [line[: line.index("try") + 4] for line in found] == warnings


@pytest.mark.needs("torch", "matplotlib")
def test_evaluate_writes_json(registry, monkeypatch, capsys) -> None:
    """The document itself."""
    measured = load(registry / "runs/conv2d_fsq-001/eval_metrics.json", EvalMetrics)
    monkeypatch.setattr("modelreg.workflows.evaluation_run.evaluate", lambda *_: measured)
    monkeypatch.setattr("modelreg.cli.evaluate.warn_of_leaks", lambda _: None)
    main(["evaluate", "--json"])

    assert json_of(capsys) == measured.to_document()


@pytest.mark.parametrize("source", ["missing.yaml", "missing.json"])
def test_a_missing_source_is_exit_3(tmp_path, monkeypatch, capsys, source) -> None:
    """With its name."""
    monkeypatch.chdir(tmp_path)

    assert (main(["data", "check", source]), source in capsys.readouterr().err) == (3, True)


def test_an_unknown_model_is_exit_5(released, capsys) -> None:
    """The error lists the models."""
    assert (main(["list", "nope"]), "conv2d_fsq  [model.unknown]" in capsys.readouterr().err) == (5, True)


def test_show_takes_a_path(released, capsys) -> None:
    """As verify does."""
    assert main(["show", "registry/conv2d_fsq/v0.1.0"]) == 0


def test_a_run_is_not_verified_as_a_version(released, capsys) -> None:
    """The message names the command that makes a version of it."""
    (released / "runs/conv2d_fsq-001/last.safetensors").write_bytes(b"")

    assert (main(["verify", "runs/conv2d_fsq-001"]), "[reference.run-not-version]" in capsys.readouterr().err) == (
        5,
        True,
    )


def test_assets_that_git_would_ignore_cannot_be_committed(repository, capsys) -> None:
    """`assets: committed` with the .gitignore of `init`: refused before anything is written."""
    (repository / "modelreg.yaml").write_bytes(ProjectConfig(assets="committed").to_bytes())
    git(repository, "commit", "--all", "--quiet", "--message", "commit the binaries")
    code = main(["release", "v0.1.0", "--roll-changelog", "--tag"])

    shown = capsys.readouterr().err
    assert (code, "checkpoint.safetensors" in shown, "[git.asset-ignored]" in shown) == (5, True, True)


def test_without_an_identity_nothing_is_written(repository, monkeypatch, capsys) -> None:
    """Git reports before staging that it cannot commit."""
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(repository))
    git(repository, "config", "user.useConfigOnly", "true")
    code = main(["release", "v0.1.0", "--roll-changelog", "--tag"])

    assert (code, "git: " in capsys.readouterr().err, list(repository.glob("registry/*/v*"))) == (5, True, [])


def test_a_late_tag_points_to_the_commit_of_its_version(repository, capsys) -> None:
    """Not on whatever came after it."""
    main(["release", "v0.1.0", "--roll-changelog", "--commit"])
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "later")
    main(["release", "v0.1.0", "--roll-changelog", "--tag"])

    assert git(repository, "log", "-1", "--format=%s", "v0.1.0") == "Release conv2d_fsq v0.1.0\n"


def test_a_path_is_quoted_for_the_shell(tmp_path, monkeypatch) -> None:
    """A printed path can be pasted."""
    from modelreg.cli import host

    monkeypatch.chdir(tmp_path)

    assert host.shown(tmp_path / "runs [x]" / "a b") == "'runs [x]/a b'"


def test_a_gate_without_its_path_is_corrected(registry, capsys) -> None:
    """`ece` is `calibration.ece`."""
    (registry / "modelreg.yaml").write_bytes(ProjectConfig(gates={"ece": Gate(max=0.5)}).to_bytes())
    main(["release", "v0.1.0", "--roll-changelog"])

    assert "calibration.ece" in capsys.readouterr().err


def test_strict_names_every_problem_once(tmp_path, capsys) -> None:
    """Not in the table's notes and again in the error."""
    (tmp_path / "c.yaml").write_text("quality: {limits: {std_max: 3.0}}\n")
    main(["data", "check", str(tmp_path / "c.yaml"), "--strict"])
    lines = capsys.readouterr().err.splitlines()

    assert len(lines) == len(set(lines))
