"""Warnings are errors where our code causes them, and are not where a package of others does by being compiled."""

import subprocess
import sys
from pathlib import Path

import pytest
import untraced

BAD_ESCAPE = 'PATTERN = "\\m"\n'  # SyntaxWarning, up to Python 3.11 DeprecationWarning
WARNS = "import warnings\nwarnings.warn('old', DeprecationWarning)\n"


def is_collected(root: Path, folder: Path, source: str) -> bool:
    """Say whether a test that imports a module of this source passes; the module was never compiled before."""
    folder.mkdir(parents=True)
    (folder / "warned.py").write_text(source)
    (folder.parent / "test_it.py").write_text("import warned\n\n\ndef test_it():\n    assert warned\n")
    options = ["-c", str(root / "pyproject.toml"), "--rootdir", str(folder.parent), "-n", "0", "-q"]
    found = subprocess.run(
        [sys.executable, "-B", "-m", "pytest", *options, "test_it.py"],
        cwd=folder.parent,
        env={**untraced.environment(), "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode in (0, 2), found.stdout + found.stderr
    return found.returncode == 0


@pytest.mark.parametrize(
    ("folder", "source", "passes"),
    [
        ("site-packages", BAD_ESCAPE, True),
        ("dist-packages", BAD_ESCAPE, True),
        ("ours", BAD_ESCAPE, False),
        ("ours", WARNS, False),
    ],
    ids=["site-packages", "dist-packages", "ours, compiled", "ours, run"],
)
def test_warnings_of_our_code_are_errors(root, tmp_path, folder, source, passes) -> None:
    """A package that is installed without bytecode is compiled when it is imported."""
    assert is_collected(root, tmp_path / folder, source) is passes
