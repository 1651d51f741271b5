"""Print one interpreter for each Python version of pyproject.toml, except the one that runs this script.

Searches PATH (python3.12) and pyenv. The newest patch release of a version wins.
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
    """Return the supported versions of a project, as 3.12."""
    found = tomllib.loads(pyproject.read_text())["project"]["classifiers"]
    return [each.removeprefix(CLASSIFIER) for each in found if each.startswith(CLASSIFIER)]


def candidates(names: Iterable[str], path: str, pyenv: Path) -> Iterator[Path]:
    """Yield paths that may be interpreters of these versions."""
    for name in names:
        yield from (Path(folder) / f"python{name}" for folder in path.split(os.pathsep) if folder)
        yield from sorted(pyenv.glob(f"versions/{name}.*/bin/python"))


def newest(found: Iterable[Path]) -> dict[str, Path]:
    """Return the newest working interpreter of each version."""
    best: dict[str, tuple[Version, Path]] = {}
    for path in found:
        version = _version_of(path)
        name = ".".join(map(str, version[:2]))
        if version and (name not in best or version > best[name][0]):
            best[name] = (version, path)
    return {name: path for name, (_, path) in best.items()}


def _version_of(path: Path) -> Version:
    """Return the version of an interpreter; empty if it does not run, for example a pyenv shim of another version."""
    if not os.access(path, os.X_OK):
        return ()
    done = subprocess.run([path, "-c", ASK], capture_output=True, text=True, check=False)
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 else ()


def main() -> None:
    """Print one path a line."""
    here = "{}.{}".format(*sys.version_info)
    others = [name for name in supported(Path(__file__).parents[1] / "pyproject.toml") if name != here]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = newest(candidates(others, os.environ.get("PATH", ""), pyenv))
    for name in others:
        if name in found:
            print(found[name])
        else:
            print(f"Python {name} is not installed: its tests do not run", file=sys.stderr)


if __name__ == "__main__":
    main()
