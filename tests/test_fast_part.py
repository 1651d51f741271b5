"""`pytest --fast`: what is missing is the reason to skip, and nothing else is."""

import subprocess
import sys
from pathlib import Path

import fast_part
import pytest
import untraced

TESTS = """
import pytest

def test_runs(): pass
def test_imports(): import nothing_like_it
def test_imports_ours(): import modelreg.nothing_like_it
def test_fails(): assert 1 == 2
def test_breaks(): raise ImportError("cannot import name 'x' from 'json'")
@pytest.mark.needs("nothing-like-it")
def test_needs(): assert 1 == 2
@pytest.mark.needs("pytest")
def test_has(): assert 1 == 2
"""


def outcomes(root: Path, folder: Path, *options: str) -> dict[str, str]:
    """Run these tests in a process of their own; return what came of each."""
    (folder / "test_it.py").write_text(TESTS)
    (folder / "test_whole.py").write_text("import nothing_like_it\n\ndef test_whole(): pass\n")
    (folder / "conftest.py").write_text((root / "tests/conftest.py").read_text())
    where = ["-c", str(root / "pyproject.toml"), "--rootdir", ".", "-n", "0", "-rA"]
    alone = {name: value for name, value in untraced.environment().items() if not name.startswith("PYTEST_XDIST")}
    told = subprocess.run(
        [sys.executable, "-m", "pytest", *where, *options, "test_it.py", "test_whole.py"],
        cwd=folder,
        env={**alone, "PYTHONPATH": f"{root}:{root / 'tests'}"},
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    words = [line.split() for line in told.splitlines() if line.startswith(("PASSED", "FAILED"))]
    return {name.split("::")[1]: outcome for outcome, name, *_ in words}


def test_the_fast_part_skips_what_is_missing_alone(root, tmp_path) -> None:
    """A fault stays one."""
    failing = ("imports_ours", "fails", "breaks", "has")

    assert outcomes(root, tmp_path, "--fast") == {
        "test_runs": "PASSED",
        **{f"test_{name}": "FAILED" for name in failing},
    }


def test_the_whole_suite_skips_nothing(root, tmp_path) -> None:
    """A package that is missing there is a fault of the environment."""
    found = outcomes(root, tmp_path, "--continue-on-collection-errors")

    assert [found[f"test_{name}"] for name in ("imports", "needs")] == ["FAILED", "FAILED"]


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("ModuleNotFoundError: No module named 'nothing_like_it.sub'", ("nothing_like_it",)),
        ("error: torch_2, tensorboard_2: not installed  [install.extra-missing]", ("tensorboard_2", "torch_2")),
        ("E   InputError: cannot load a model\nE     torch_2: not installed, but required", ("torch_2",)),
        ("No module named 'modelreg.nothing'", ()),
        ("No module named 'example_nothing'; No module named 'example_run'", ("example_nothing",)),
        ("No module named 'json'", ()),
        ("AssertionError", ()),
    ],
)
def test_what_is_missing_is_read_from_the_failure(text, missing) -> None:
    """Neither ours, nor what is installed: that is broken, not missing."""
    assert fast_part.missing_in(text) == missing
