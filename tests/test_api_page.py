"""docs/api.md: its code runs as it stands, prints what the page shows, and is typed."""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BLOCKS = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)
RELEASED = ("v0.1.0", "v0.2.0")  # what the page lists


@pytest.fixture(scope="module")
def blocks(root) -> list[tuple[str, str]]:
    """Each piece of the page's code, with the output that the page shows."""
    return BLOCKS.findall((root / "docs" / "api.md").read_text())


@pytest.fixture
def registry(root, tmp_path) -> Path:
    """A copy of this repository's registry."""
    for version in RELEASED:
        shutil.copytree(root / "registry/conv2d_fsq" / version, tmp_path / "registry/conv2d_fsq" / version)
    shutil.copy(root / "modelreg.yaml", tmp_path)
    return tmp_path


@pytest.mark.needs("pandas", "onnxruntime")
def test_the_page_prints_what_it_shows(blocks, registry, monkeypatch) -> None:
    """Block after block, in one session."""
    monkeypatch.chdir(registry)
    space: dict[str, object] = {}
    printed = []
    for code, _ in blocks:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(code, space)  # noqa: S102 that is the test
        printed.append(out.getvalue())

    assert printed == [shown for _, shown in blocks]
    assert len(blocks) == 6


@pytest.mark.needs("mypy", "pandas-stubs")
def test_the_page_is_typed(blocks, root, tmp_path) -> None:
    """mypy --strict accepts it against the package as it is installed: py.typed and the stub are found."""
    (tmp_path / "page.py").write_text("\n".join(code for code, _ in blocks))
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(tmp_path), "page.py"]
    environment = {**os.environ, "PYTHONPATH": str(root)}  # of this checkout, wherever an editable install points
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert (done.stdout, done.returncode) == ("Success: no issues found in 1 source file\n", 0)


@pytest.mark.needs("mypy")
@pytest.mark.parametrize(
    "code",
    [
        "import modelreg\nmodelreg.lod('v0.2.0')\n",
        "import modelreg\nmodelreg.load(3)\n",
        "import modelreg\nx: int = modelreg.load('v0.2.0').rate_hz\n",
    ],
)
def test_a_wrong_use_is_found_by_a_type_checker(code, root, tmp_path) -> None:
    """A misspelt name, an argument and a result of another type."""
    (tmp_path / "page.py").write_text(code)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(tmp_path), "page.py"]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert "Found 1 error in 1 file" in done.stdout
