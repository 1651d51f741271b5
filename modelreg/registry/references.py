"""Resolve a reference such as `conv2d_fsq@v0.2.0`, or a path, to the folder of a version or an export.

The working directory is an argument, and so is the function that finds the registry. It is called only if the text is
not a path, so that a path also works outside a registry.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from modelreg.errors import Problem, RegistryError
from modelreg.registry import filenames, versions

LONGEST, LONGEST_NAME = 4000, 255  # characters of a path, bytes of a name in it


class Registry(NamedTuple):
    """The registry that resolves references."""

    root: Path  # parent of the folder `registry/`
    default_model: str  # the model of `v0.2.0` and `latest`


def version_folder(text: str, start: Path, find_registry: Callable[[], Registry]) -> Path:
    """Return the folder of a version. Symbolic links in a path are kept. Raises RegistryError."""
    _refuse_too_long(text)
    if "/" not in text and not (start / text).is_dir():
        return _resolved(text, find_registry())
    folder = Path(os.path.abspath(start / text))  # noqa: PTH100 Path.absolute() keeps `..`, resolve() follows links
    if not folder.is_dir():
        raise RegistryError("no version found", [Problem(text, "reference.path-missing", "no such folder")])
    if (folder / filenames.CONFIG).exists():  # a version has its configuration in provenance.json
        problem = Problem(text, "reference.run-not-version", "the folder is a run, expected a version")
        raise RegistryError("no version found", [problem])
    return folder


def export_path(text: str, start: Path, find_registry: Callable[[], Registry]) -> Path:
    """Return the path of an export: a version by its reference, or the path of a version, a run or a bundle.

    Raises RegistryError.
    """
    _refuse_too_long(text)
    path = start / text
    if "/" not in text and not path.exists():
        return _resolved(text, find_registry())
    if not path.exists():
        raise RegistryError("no export found", [Problem(text, "reference.path-missing", "no such file or folder")])
    return path.resolve()


def _refuse_too_long(text: str) -> None:
    """Raise RegistryError for a text that is too long for a path and for a reference."""
    if len(text) > LONGEST or any(
        len(part.encode("utf-8", "surrogatepass")) > LONGEST_NAME for part in text.split("/")
    ):
        problem = Problem(f"{text[:40]}…", "reference.invalid", "too long for a reference or a path")
        raise RegistryError("cannot resolve the reference", [problem])


def _resolved(reference: str, registry: Registry) -> Path:
    return versions.resolve(reference, registry.root, registry.default_model)
