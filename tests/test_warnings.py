"""Warnings of modelreg are errors in tests; warnings from compiling installed packages are not."""

import subprocess
import sys
from pathlib import Path

import pytest
import untraced

BAD_ESCAPE = 'PATTERN = "\\m"\n'  # SyntaxWarning, up to Python 3.11 DeprecationWarning
WARNS = "import warnings\nwarnings.warn('old', DeprecationWarning)\n"


def is_collected(root: Path, folder: Path, source: str) -> bool:
    """Return whether a test that imports a new module with this source passes."""
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
    """A package installed without bytecode is compiled when it is imported."""
    assert is_collected(root, tmp_path / folder, source) is passes
