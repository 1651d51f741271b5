"""Aliases of a model's versions: promote, roll back, and whether their history holds.

`registry/<model>/aliases.json` only grows, and git keeps it: nothing here takes a change out. An alias names the
newest version promoted to it that was not rolled back; a rollback goes to the one before, the next one further back.
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
    """Who moves an alias, when, and why."""

    by: str
    at: str  # ISO 8601, UTC
    why: str | None


def promoted(log: AliasLog, alias: str, version: str, stamp: Stamp) -> AliasLog:
    """Return the log with an alias moved to a version, unchanged where it is there. Raises InputError."""
    current = log.standing.get(alias, ())[-1:]
    if current == (version,):
        return log
    return _grown(log, alias, "promote", version, stamp)


def rolled_back(log: AliasLog, alias: str, stamp: Stamp) -> AliasLog:
    """Return the log with an alias moved to what it named before. Raises RegistryError where there is nothing."""
    versions = log.standing.get(alias)
    if versions is None:
        known = ", ".join(log.standing) or "none"
        raise RegistryError(
            "unknown alias", [Problem(f"{log.model}@{alias}", "todo.aliases", f"the aliases are: {known}")]
        )
    if len(versions) < 2:
        what = f"named nothing before v{versions[-1]}"
        raise RegistryError("cannot roll back", [Problem(f"{log.model}@{alias}", "todo.aliases", what)])
    return _grown(log, alias, "rollback", versions[-2], stamp)


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
    """Read a model's log, move an alias, write the log; one process at a time. Return it, and whether it grew.

    Raises RegistryError where the model is unknown, or the alias would name a version that is not there.
    """
    versions.refuse_unknown_model(root, model)
    path = root / filenames.REGISTRY / model / filenames.ALIASES
    with files.sole_writer(path.parent, path):
        before = versions.aliases(root, model)
        after = move(before)
        if missing := list(_missing(root, after.changes[len(before.changes) :], model)):
            raise RegistryError("cannot move the alias", missing)
        if after != before:
            files.write_atomic(path, after.to_bytes())
    return after, after != before


def find_alias_problems(root: Path) -> Iterator[Problem]:
    """Yield where a model's aliases.json is not valid, tells no one story, or names a version that is not there."""
    for path in sorted((root / filenames.REGISTRY).glob(f"*/{filenames.ALIASES}")):
        model = path.parent.name
        try:
            log = load(path, AliasLog)
        except InputError as error:
            yield from (problem._replace(where=f"{model}/{problem.where}") for problem in error.problems)
        else:
            if log.model != model:
                yield Problem(f"{model}/{path.name}", "todo.aliases", f"is of {log.model}")
            yield from _missing(root, log.changes, model)


def _missing(root: Path, changes: tuple[AliasChange, ...], model: str) -> Iterator[Problem]:
    """Yield the versions that changes name and the registry lacks."""
    present = {folder.name for folder in versions.version_folders(root, model)}
    for version in dict.fromkeys(change.version for change in changes):
        if f"v{version}" not in present:
            yield Problem(
                f"{model}/{filenames.ALIASES}", "todo.aliases", f"names v{version}, which is not in the registry"
            )
