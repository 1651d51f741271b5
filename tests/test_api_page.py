"""docs/api.md: its code runs as it stands, prints what the page shows, and is typed."""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
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
    assert len(blocks) == 7


WRONG = {
    "name": "import modelreg\nmodelreg.lod('v0.2.0')\n",
    "argument": "import modelreg\nmodelreg.load(3)\n",
    "recording": "import modelreg\nmodelreg.load('v0.2.0').predict_recording('run.csv')\n",
    "result": "import modelreg\nx: int = modelreg.load('v0.2.0').shape\n",
}


@pytest.fixture(scope="module")
def found_by_mypy(blocks, root, tmp_path_factory) -> dict[str, int]:
    """The errors that mypy --strict finds in the page and in wrong uses, by file. One run, for the first is slow."""
    folder = tmp_path_factory.mktemp("typed")
    codes = {"page": "\n".join(code for code, _ in blocks), **WRONG}
    for name, code in codes.items():
        (folder / f"{name}.py").write_text(code)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=cache"]
    environment = {**os.environ, "PYTHONPATH": str(root)}  # this checkout, not that of an editable install
    paths = [f"{name}.py" for name in codes]
    done = subprocess.run([*command, *paths], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return dict(
        Counter(line.split(":")[0].removesuffix(".py") for line in done.stdout.splitlines() if ": error: " in line)
    )


@pytest.mark.needs("mypy", "pandas-stubs")
def test_the_page_is_typed(found_by_mypy) -> None:
    """As it is installed: py.typed and the stub are found. Wrong uses of a name, an argument, a result are errors."""
    assert found_by_mypy == dict.fromkeys(WRONG, 1)
