"""Print one interpreter for each Python that pyproject.toml names, but the one that runs this.

Looked for are those on PATH (python3.12) and those of pyenv. The newest patch of a version is taken.
"""

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

CLASSIFIER = "Programming Language :: Python :: "
ASK = "import sys; print(*sys.version_info[:3])"
Version = tuple[int, ...]


def supported(pyproject: Path) -> list[str]:
    """Return the versions that a project names, as 3.12."""
    found = tomllib.loads(pyproject.read_text())["project"]["classifiers"]
    return [each.removeprefix(CLASSIFIER) for each in found if each.startswith(CLASSIFIER)]


def candidates(names: Iterable[str], path: str, pyenv: Path) -> Iterator[Path]:
    """Yield what may be an interpreter of one of these versions."""
    for name in names:
        yield from (Path(folder) / f"python{name}" for folder in path.split(os.pathsep) if folder)
        yield from sorted(pyenv.glob(f"versions/{name}.*/bin/python"))


def newest(found: Iterable[Path]) -> dict[str, Path]:
    """Return the newest interpreter that runs of each version."""
    best: dict[str, tuple[Version, Path]] = {}
    for path in found:
        version = _version_of(path)
        name = ".".join(map(str, version[:2]))
        if version and (name not in best or version > best[name][0]):
            best[name] = (version, path)
    return {name: path for name, (_, path) in best.items()}


def _version_of(path: Path) -> Version:
    """Return what an interpreter says; empty where it does not run, as a shim of pyenv's for a version not chosen."""
    if not os.access(path, os.X_OK):
        return ()
    told = subprocess.run([path, "-c", ASK], capture_output=True, text=True, check=False)
    return tuple(map(int, told.stdout.split())) if told.returncode == 0 else ()


def main() -> None:
    """Print a path a line."""
    here = "{}.{}".format(*sys.version_info)
    others = [name for name in supported(Path(__file__).parents[1] / "pyproject.toml") if name != here]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = newest(candidates(others, os.environ.get("PATH", ""), pyenv))
    for name in others:
        if name in found:
            print(found[name])
        else:
            print(f"Python {name} is not here: its tests are not run", file=sys.stderr)


if __name__ == "__main__":
    main()
