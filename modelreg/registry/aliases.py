"""Aliases of a model's versions: promote, roll back, and check their history.

`registry/<model>/aliases.json` is append-only and kept in git. An alias refers to the last promoted version that was
not rolled back. Each rollback moves the alias one promotion back.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from modelreg import files
from modelreg.errors import InputError, Problem, RegistryError
from modelreg.records.aliases import AliasChange, AliasLog
from modelreg.records.base import load, validate
from modelreg.registry import filenames, versions


class Stamp(NamedTuple):
    """The author, time and reason of a change of an alias."""

    by: str
    at: str  # ISO 8601, UTC
    why: str | None


def promoted(log: AliasLog, alias: str, version: str, stamp: Stamp) -> AliasLog:
    """Return the log with an alias moved to a version, or the same log if it is already there. Raises InputError."""
    current = log.standing.get(alias, ())[-1:]
    if current == (version,):
        return log
    return _grown(log, alias, "promote", version, stamp)


def rolled_back(log: AliasLog, alias: str, stamp: Stamp) -> AliasLog:
    """Return the log with an alias moved back to its previous version. Raises RegistryError if there is none."""
    where, named = f"{log.model}@{alias}", log.standing.get(alias)
    if named is None:
        what = f"unknown alias; existing aliases: {', '.join(log.standing) or 'none'}"
        raise RegistryError("the alias was not moved", [Problem(where, "alias.unknown", what)])
    if len(named) < 2:
        what = f"the alias has no previous version; its only version is v{named[-1]}"
        raise RegistryError("the alias was not moved", [Problem(where, "alias.no-previous", what)])
    return _grown(log, alias, "rollback", named[-2], stamp)


def _grown(log: AliasLog, alias: str, action: Literal["promote", "rollback"], version: str, stamp: Stamp) -> AliasLog:
    current = log.standing.get(alias, ())[-1:]
    document = {
        "alias": alias,
        "action": action,
        "previous": current[0] if current else None,
        "version": version,
        **stamp._asdict(),
    }
    change = validate(files.to_json(document), AliasChange, f"alias {alias}")
    return log.model_copy(update={"changes": (*log.changes, change)})


def change(root: Path, model: str, move: Callable[[AliasLog], AliasLog]) -> tuple[AliasLog, bool]:
    """Read a model's log, move an alias and write the log, one process at a time.

    Return the log, and whether it changed. Raises RegistryError if the model or the version is not in the registry.
    """
    versions.refuse_unknown_model(root, model)
    path = root / filenames.REGISTRY / model / filenames.ALIASES
    with files.sole_writer(path.parent, path):
        before = versions.aliases(root, model)
        after = move(before)
        if missing := list(_missing(root, after.changes[len(before.changes) :], model)):
            raise RegistryError("the alias was not moved", missing)
        if after != before:
            files.write_atomic(path, after.to_bytes())
    return after, after != before


def find_alias_problems(root: Path) -> Iterator[Problem]:
    """Yield where a model's aliases.json is invalid, inconsistent, or refers to a missing version."""
    for path in sorted((root / filenames.REGISTRY).glob(f"*/{filenames.ALIASES}")):
        model = path.parent.name
        try:
            log = load(path, AliasLog)
        except InputError as error:
            yield from (problem._replace(where=f"{model}/{problem.where}") for problem in error.problems)
        else:
            if log.model != model:
                what = f"mismatch: aliases of model {log.model}, expected {model}"
                yield Problem(f"{model}/{path.name}", "alias.model-mismatch", what)
            yield from _missing(root, log.changes, model)


def _missing(root: Path, changes: tuple[AliasChange, ...], model: str) -> Iterator[Problem]:
    """Yield the versions of changes that are not in the registry."""
    present = {folder.name for folder in versions.version_folders(root, model)}
    for version in dict.fromkeys(change.version for change in changes):
        if f"v{version}" not in present:
            what = f"v{version} is not in the registry"
            yield Problem(f"{model}/{filenames.ALIASES}", "alias.version-missing", what)
