"""Errors of the command line: one entry for each rule, the next step, and with --json a document on stdout."""

import errno
import json
import os

import pytest

from modelreg.cli import error_text
from modelreg.cli.main import main
from modelreg.errors import InputError, Problem

RULE = "files.unavailable"


def json_of(capsys):
    """Return stdout as one JSON document."""
    return json.loads(capsys.readouterr().out)


def interrupted(*_args, **_kwargs):
    """Press Ctrl-C."""
    raise KeyboardInterrupt


def full(*_args, **_kwargs):
    """Fill the disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "quality.json")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMANDS = [
    ["list"],
    ["show"],
    ["verify"],
    ["history"],
    ["release", "v0.1.0"],
    ["evaluate", "runs/none"],
    ["compare", "v0.1.0", "v0.2.0"],
    ["data", "check", "sampel"],
    ["data", "folds", "none.yaml"],
    ["ablate", "none.yaml"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_with_json_an_error_is_a_document(here, capsys, command) -> None:
    """With the exit code and every problem: the same as without."""
    code = main(command)
    stderr = capsys.readouterr().err
    as_json = main([*command, "--json"])
    document = json_of(capsys)

    assert (as_json, document["exit_code"], document["schema_version"]) == (code, code, 1)
    assert all(f"[{problem['rule']}]" in stderr and problem["next"] for problem in document["problems"])
    assert document["problems"]


def test_a_result_in_json_is_not_followed_by_a_document(here, capsys) -> None:
    """`data check --strict` prints its report, then fails."""
    (here / "c.yaml").write_text("quality: {limits: {std_max: 3.0}}\n")

    assert main(["data", "check", "c.yaml", "--strict", "--json"]) == 3
    assert "recordings" in json_of(capsys)


def test_a_full_disk_has_its_rule(here, monkeypatch, capsys) -> None:
    """Exit 3, the file and what to do."""
    monkeypatch.setattr("modelreg.files.write_atomic", full)
    code = main(["data", "check", "--out", "quality", "--json"])
    [problem] = json_of(capsys)["problems"]

    assert (code, problem["where"], problem["rule"]) == (3, "quality.json", "files.unavailable")
    assert problem["next"].startswith("free disk space")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_ctrl_c_has_its_rule(here, monkeypatch, capsys, options) -> None:
    """Exit 130, on stderr and as a document."""
    monkeypatch.setattr("modelreg.cli.host.project", interrupted)
    code = main(["list", *options])
    printed = capsys.readouterr()
    rules = [problem["rule"] for problem in json.loads(printed.out)["problems"]] if options else []

    assert (code, "[cli.interrupted]" in printed.err) == (130, True)
    assert rules == (["cli.interrupted"] if options else [])


def test_an_unknown_run_is_refused_before_anything_else(here, capsys) -> None:
    """`evaluate` and `train --resume` name the folder, whatever the protocol."""
    commands = (["evaluate", "runs/x"], ["evaluate", "runs/x", "--protocol", "loso"], ["train", "--resume", "runs/x"])

    assert [main(command) for command in commands] == [3, 3, 3]
    assert capsys.readouterr().err.count("error: runs/x: ") == 3


# The text of an error


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_word_of_an_error_is_broken(width) -> None:
    """A path stays whole, even if it is longer than a line."""
    path = f"registry/{'long-folder/' * 12}manifest.json"
    error = InputError("nothing was read", [Problem(path, RULE, "is missing, expected a file-like thing")] * 2)
    whole, wrapped = error_text.lines_of(error), error_text.lines_of(error, width)

    assert " ".join(wrapped).split() == " ".join(whole).split()
    assert all(len(line) <= width or path in line for line in wrapped)
