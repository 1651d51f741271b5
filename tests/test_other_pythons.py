"""Which interpreters the gate runs the fast part on."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture
def script(root):
    """scripts/other_pythons.py."""
    spec = importlib.util.spec_from_file_location("other_pythons", root / "scripts/other_pythons.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def interpreter(path: Path, says: str, code: int = 0) -> Path:
    """Write a program that answers as an interpreter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {says}\nexit {code}\n")
    path.chmod(0o755)
    return path


def test_the_newest_that_runs_is_taken(script, tmp_path) -> None:
    """Of each version; a shim that fails is none, nor is a file that cannot be run."""
    interpreter(tmp_path / "shims/python3.12", "3 12 9", 127)
    interpreter(tmp_path / "pyenv/versions/3.12.1/bin/python", "3 12 1")
    best = interpreter(tmp_path / "pyenv/versions/3.12.10/bin/python", "3 12 10")
    interpreter(tmp_path / "pyenv/versions/3.6.1/bin/python", "3 6 1")
    other = interpreter(tmp_path / "bin/python3.13", "3 13 0")
    interpreter(tmp_path / "pyenv/versions/3.13.4/bin/python", "3 13 4").chmod(0o644)
    path = f"{tmp_path / 'shims'}:{tmp_path / 'bin'}:"
    found = script.newest(script.candidates(["3.12", "3.13", "3.14"], path, tmp_path / "pyenv"))

    assert found == {"3.12": best, "3.13": other}


def test_the_supported_versions_are_those_of_the_project(script, root) -> None:
    """The one that runs this is among them."""
    assert "{}.{}".format(*sys.version_info) in script.supported(root / "pyproject.toml")
