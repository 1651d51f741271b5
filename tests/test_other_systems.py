"""Windows and macOS: the light commands start and work without what only POSIX has.

`make lint` runs mypy for the three systems: it finds names that one of them does not have. These tests hide the modules
and names from a running process.
"""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import untraced
from delivering import TAG, tree

from modelreg.cli.main import app, main

pytest_plugins = ["delivery_fixtures"]
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
TESTS = Path(__file__).parent
ROOT = TESTS.parent
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
TORCH_FREE = next(each["source_modules"] for each in CONTRACTS if "where torch is not installed" in each["name"])
IMPORT_ALL = """
import importlib, pkgutil, sys
import without_posix
without_posix.hide()
packages = [importlib.import_module(name) for name in sys.argv[1:]]
inner = [m for p in packages if hasattr(p, "__path__") for m in pkgutil.walk_packages(p.__path__, f"{p.__name__}.")]
print(len([importlib.import_module(module.name) for module in inner]))
"""
SHOW_HELP = """
import json, sys
import without_posix
without_posix.hide()
from modelreg.cli.main import main
codes = [main([*name, "--help"]) for name in json.loads(sys.argv[1])]
print(json.dumps(codes))
"""
PREDICT = """
import numpy as np
import without_posix
without_posix.hide()
import modelreg
model = modelreg.load("conv2d_fsq@v0.2.0")
print(model.predict(np.zeros((1, *model.shape), np.float32)).probabilities.shape[1])
"""


def run(*command: str, cwd: Path = ROOT, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    """Run Python in a folder."""
    path = os.pathsep.join([str(TESTS), str(ROOT)])
    everything = {**untraced.environment(), "PYTHONPATH": path, **environment}
    return subprocess.run([sys.executable, *command], cwd=cwd, env=everything, capture_output=True, check=False)


def without_posix(*command: str, cwd: Path = ROOT) -> tuple[int, str]:
    """Return the exit code and the last line of a command of modelreg without what only POSIX has."""
    done = run(str(TESTS / "without_posix.py"), *command, cwd=cwd)
    return done.returncode, (done.stderr if done.returncode else done.stdout).decode().strip().splitlines()[-1]


def test_every_module_that_needs_no_torch_is_imported() -> None:
    """No `fcntl`, no `os.O_NOFOLLOW`, at import time."""
    done = run("-c", IMPORT_ALL, *TORCH_FREE, "modelreg.cli")

    assert (done.returncode, done.stderr) == (0, b"")
    assert int(done.stdout) > 100


def test_every_command_shows_its_help() -> None:
    """In one process: the commands are in one program."""
    groups = [("", app), *((group.name, group.typer_instance) for group in app.registered_groups)]
    names = [
        [*filter(None, [group]), command.name or command.callback.__name__]
        for group, typer in groups
        for command in typer.registered_commands
    ]
    done = run("-c", SHOW_HELP, json.dumps(names))

    assert (json.loads(done.stdout.splitlines()[-1]), len(names) > 20) == ([0] * len(names), True)


@pytest.mark.parametrize(
    ("command", "last"),
    [
        (["list"], "conv2d_fsq@v0.2.0 "),
        (["show", "v0.1.0"], "next: modelreg verify conv2d_fsq@v0.1.0"),
        (["verify"], "conv2d_fsq@v0.2.0: 13 files verified"),
        (["data", "check"], "for a page with plots: "),
        (["history"], "next: modelreg promote "),
    ],
)
def test_a_light_command_works(command, last) -> None:
    """On the registry of this project."""
    code, line = without_posix(*command)

    assert (code, line[: len(last)]) == (0, last)


def test_a_registry_is_created(tmp_path) -> None:
    """It has the same bytes as on this system."""
    without_posix("init", "there", cwd=tmp_path)
    run("-m", "modelreg", "init", "here", cwd=tmp_path)

    assert tree(tmp_path / "there") == tree(tmp_path / "here") != {}


def test_a_version_is_pulled(hub, made, tmp_path) -> None:
    """Through the fake of GitHub."""
    main(["publish", TAG])
    code, _ = without_posix("pull", TAG, "--out", str(tmp_path / "got"), cwd=made)

    assert (code, tree(tmp_path / "got")) == (0, tree(made / "registry/conv2d_fsq" / TAG))


def test_a_released_model_predicts() -> None:
    """By ONNX Runtime."""
    done = run("-c", PREDICT)

    assert done.stdout == b"7\n", done.stderr


# Text in the encoding of the country, which Windows gives pipes and files


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_character_that_the_output_does_not_have_is_escaped(tmp_path, encoding) -> None:
    """A folder's name here; a class or a subject elsewhere."""
    done = run("-m", "modelreg", "init", "größe≥1", cwd=tmp_path, PYTHONIOENCODING=encoding)
    wanted = "größe≥1".encode(encoding, "backslashreplace")

    assert (done.returncode, wanted in done.stdout) == (0, True)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_json_can_be_read_in_any_encoding(tmp_path, encoding) -> None:
    """A backslash and an x are no JSON."""
    done = run("-m", "modelreg", "doctor", "--json", PYTHONIOENCODING=encoding, MODELREG_CACHE=str(tmp_path / "ü≥😀"))

    assert json.loads(done.stdout.decode(encoding))["machine"]["cache"] == str(tmp_path / "ü≥😀")
