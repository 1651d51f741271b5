"""Aliases: names such as `production` that point to a version, and the log of their changes."""

import re
from typing import Annotated, Literal

from pydantic import StringConstraints, model_validator

from modelreg.records.base import ModelName, Record, Remark, Timestamp, VersionText

AliasName = Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9_-]*$", max_length=60)]


class AliasChange(Record):
    """One change of an alias. A rollback undoes the newest promotion that is not undone yet."""

    alias: AliasName
    action: Literal["promote", "rollback"]
    previous: VersionText | None  # null: the alias is new
    version: VersionText
    by: Remark
    at: Timestamp
    why: Remark | None

    @model_validator(mode="after")
    def _does_not_name_a_version(self) -> "AliasChange":
        if self.alias == "latest" or re.match("v?[0-9]", self.alias):
            raise ValueError(f"{self.alias} cannot be an alias: it is reserved for versions")
        return self


class AliasLog(Record):
    """aliases.json of a model: every change of its aliases, oldest first. Entries are only appended."""

    schema_version: Literal[1] = 1
    model: ModelName
    changes: tuple[AliasChange, ...] = ()

    @property
    def standing(self) -> dict[str, tuple[str, ...]]:
        """Return for each alias the versions promoted to it and not rolled back since; the last one is current."""
        found: dict[str, tuple[str, ...]] = {}
        for change in self.changes:
            found[change.alias] = _moved(found.get(change.alias, ()), change)
        return found

    @model_validator(mode="after")
    def _is_consistent(self) -> "AliasLog":
        found: dict[str, tuple[str, ...]] = {}
        for number, change in enumerate(self.changes):
            before = found.get(change.alias, ())
            after = found[change.alias] = _moved(before, change)
            current = before[-1] if before else None
            if after[-1:] != (change.version,) or change.previous != current or change.version == current:
                raise ValueError(f"changes.{number} contradicts the earlier changes: {change.alias} was {current}")
        return self


def _moved(versions: tuple[str, ...], change: AliasChange) -> tuple[str, ...]:
    return (*versions, change.version) if change.action == "promote" else versions[:-1]
