"""Ctrl-C ends the program with 130 and no traceback, at any moment from the first line of our code on."""

import subprocess
import sys
from pathlib import Path

import pytest

# What happens when a module is imported or a file is opened: the signal comes just then.
PROGRAM = """
import os, signal, sys
def watch(event, arguments):
    if event == {event!r} and str(arguments[0]).startswith({name!r}):
        os.kill(os.getpid(), signal.SIGINT)
from modelreg.__main__ import run
sys.addaudithook(watch)
sys.argv = ["modelreg", *{arguments!r}]
run()
"""


def interrupted(folder: Path, event: str, name: str, *arguments: str) -> tuple[int, bool, bool]:
    """Return the exit code of a program that is interrupted at an event, whether it says so, and any traceback."""
    code = PROGRAM.format(event=event, name=name, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, "interrupted" in done.stderr, "Traceback" in done.stderr


@pytest.mark.parametrize("module", ["modelreg.cli.main", "typer", "modelreg.cli.verify", "modelreg.errors"])
def test_while_the_program_loads(tmp_path, module) -> None:
    """No command is known yet."""
    assert interrupted(tmp_path, "import", module, "doctor") == (130, True, False)


@pytest.mark.parametrize("module", ["modelreg.config", "yaml", "pydantic", "modelreg.registry.versions"])
def test_while_a_command_loads_its_modules(tmp_path, module) -> None:
    """What a command imports when it runs."""
    (tmp_path / "modelreg.yaml").write_text("")

    assert interrupted(tmp_path, "import", module, "list") == (130, True, False)


def test_while_a_file_is_read(tmp_path) -> None:
    """In the middle of the work."""
    (tmp_path / "modelreg.yaml").write_text("")

    assert interrupted(tmp_path, "open", str(tmp_path / "modelreg.yaml"), "list") == (130, True, False)
