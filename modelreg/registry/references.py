"""What a user names: a reference such as `conv2d_fsq@v0.2.0`, or a path → the folder of a version or of an export.

Nothing here reads the working directory: the caller says where paths start, and finds the registry. It is asked for
the registry only where the text is no path, so that a path also works outside of a registry.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from modelreg.errors import Problem, RegistryError
from modelreg.registry import filenames, versions

LONGEST, LONGEST_NAME = 4000, 255  # characters of a path, bytes of a name in it


class Registry(NamedTuple):
    """Where references are looked up."""

    root: Path  # the folder that holds `registry/`
    default_model: str  # which `v0.2.0` and `latest` mean


def version_folder(text: str, start: Path, find_registry: Callable[[], Registry]) -> Path:
    """Return the folder of a version; a path keeps its links. Raises RegistryError."""
    _refuse_too_long(text)
    if "/" not in text and not (start / text).is_dir():
        return _resolved(text, find_registry())
    folder = Path(os.path.abspath(start / text))  # noqa: PTH100 Path.absolute() keeps `..`, resolve() follows links
    if not folder.is_dir():
        raise RegistryError("unknown version", [Problem(text, "todo.references", "no such folder")])
    if (folder / filenames.CONFIG).exists():  # a version states its configuration in its provenance
        what = "is a run, not a version; make a version of it with `modelreg release`"
        raise RegistryError("unknown version", [Problem(text, "todo.references", what)])
    return folder


def export_path(text: str, start: Path, find_registry: Callable[[], Registry]) -> Path:
    """Return the place of an export: a version by its reference, or the path of a version, a run or a bundle.

    Raises RegistryError.
    """
    _refuse_too_long(text)
    path = start / text
    if "/" not in text and not path.exists():
        return _resolved(text, find_registry())
    if not path.exists():
        raise RegistryError("nothing to run", [Problem(text, "todo.references", "no such file or folder")])
    return path.resolve()


def _refuse_too_long(text: str) -> None:
    """Raise RegistryError on what no file system takes as a path, and no reference is."""
    if len(text) > LONGEST or any(len(part.encode()) > LONGEST_NAME for part in text.split("/")):
        raise RegistryError(
            "no such reference", [Problem(f"{text[:40]}…", "todo.references", "is too long for a reference or a path")]
        )


def _resolved(reference: str, registry: Registry) -> Path:
    return versions.resolve(reference, registry.root, registry.default_model)
