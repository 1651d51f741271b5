"""Resolve a reference such as `conv2d_fsq@v0.2.0`, or a path, to the folder of a version or an export.

A tag that `release` wrote is a reference: `tag_of` and its inverse are both here. With some formats of tags a text is
the number of one version and the tag of another. The one that exists is meant; if both exist, the text is refused.

The working directory is an argument, and so is the function that finds the registry. It is called only if the text is
not a path, so that a path also works outside a registry.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from modelreg.errors import InputError, Problem, RegistryError
from modelreg.registry import filenames, versions

LONGEST, LONGEST_NAME = 4000, 255  # characters of a path, bytes of a name in it
TAG = "v{version}"  # of a version of the default model, if modelreg.yaml sets no other format
OTHER_TAG = "{model}-v{version}"  # of a version of another model

_NUMBER = re.compile(r"(?:(?P<model>[a-z][a-z0-9_]*)@)?v?(?P<number>[0-9].*)")
_OTHER_TAG = re.compile(r"(?P<model>[a-z][a-z0-9_]*)-v(?P<number>[0-9].*)")


class Identity(NamedTuple):
    """A version by its model and number. It may not be in the registry."""

    model: str
    version: str  # 0.2.0


class Registry(NamedTuple):
    """The registry that resolves references."""

    root: Path  # parent of the folder `registry/`
    default_model: str  # the model of `v0.2.0` and `latest`
    tag_format: str = TAG

    def has(self, identity: Identity) -> bool:
        """Say whether the registry has a version."""
        return (self.root / filenames.REGISTRY / identity.model / f"v{identity.version}").is_dir()


def tag_of(identity: Identity, default_model: str, tag_format: str) -> str:
    """Return the tag of a version: in the registry's format for the default model, else with the model before it."""
    form = tag_format if identity.model == default_model else OTHER_TAG
    return form.replace("{model}", identity.model).replace("{version}", identity.version)


def identify(reference: str, registry: Registry) -> Identity:
    """Return the version that a reference or a tag names. If it has a number, it need not be in the registry.

    Raises RegistryError for an invalid text, an unknown alias, and where two versions may be meant.
    """
    readings = list(dict.fromkeys(_readings(reference, registry)))
    valid = [identity for identity in readings if versions.is_number(identity.version)]
    meant = list(filter(registry.has, valid)) or valid
    if len(meant) > 1:
        what = f"may be {' or '.join(f'{model}@v{version}' for model, version in meant)}"
        raise RegistryError("cannot resolve the reference", [Problem(reference, "reference.ambiguous", what)])
    if meant:
        return meant[0]
    for identity in readings:
        versions.parse_version(identity.version)  # raises what is wrong with it
    folder = versions.resolve(reference, registry.root, registry.default_model)
    return Identity(folder.parent.name, folder.name.removeprefix("v"))


def _readings(text: str, registry: Registry) -> Iterator[Identity]:
    """Yield what a text names by its number, valid or not, and as a tag; nothing for an alias and `latest`."""
    if match := _NUMBER.fullmatch(text):
        yield Identity(match["model"] or registry.default_model, match["number"])
    yield from _tag_readings(text, registry)


def _tag_readings(text: str, registry: Registry) -> Iterator[Identity]:
    before, after = registry.tag_format.replace("{model}", registry.default_model).split("{version}")
    if match := re.fullmatch(rf"{re.escape(before)}(?P<number>[0-9].*){re.escape(after)}", text):
        yield Identity(registry.default_model, match["number"])
    if match := _OTHER_TAG.fullmatch(text):
        yield Identity(match["model"], match["number"])


def version_folder(text: str, start: Path, find_registry: Callable[[], Registry]) -> Path:
    """Return the folder of a version. Symbolic links in a path are kept. Raises RegistryError."""
    _refuse_too_long(text)
    if not (start / text).is_dir() and (named := _named(text, find_registry)):
        return named
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
    if not path.exists() and (named := _named(text, find_registry)):
        return named
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


def _named(text: str, find_registry: Callable[[], Registry]) -> Path | None:
    """Return the folder of a reference or a tag; None for a text with a slash that is not a tag: it is a path."""
    registry = _around(find_registry) if "/" in text else find_registry()
    if registry is None or ("/" in text and not any(_tag_readings(text, registry))):
        return None
    model, version = identify(text, registry)
    return versions.resolve(f"{model}@v{version}", registry.root, registry.default_model)


def _around(find_registry: Callable[[], Registry]) -> Registry | None:
    """Return the registry; None if there is none."""
    try:
        return find_registry()
    except InputError as error:
        if [problem.rule for problem in error.problems] == ["registry.not-found"]:
            return None
        raise
