"""The notes on a version: the aliases that point to it, and the gates that were waived."""

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from modelreg.errors import InputError
from modelreg.records.aliases import AliasLog
from modelreg.records.base import AnyRecord, load
from modelreg.records.gates import GateReport
from modelreg.registry import filenames


class Waived(NamedTuple):
    """A gate that failed and was waived."""

    gate: str
    reason: str
    failure: str

    def __str__(self) -> str:
        return f"gate {self.gate} was waived: {self.reason} ({self.failure})"


class VersionNotes(NamedTuple):
    """The notes on a version. What cannot be read is left out: `modelreg verify` names it."""

    aliases: tuple[str, ...]
    waived: tuple[Waived, ...]


def read_notes(folder: Path) -> VersionNotes:
    """Return the notes on the version in a folder."""
    return VersionNotes(aliases_of(folder.parent).get(folder.name.removeprefix("v"), ()), _waived_gates(folder))


def aliases_of(model: Path) -> dict[str, tuple[str, ...]]:
    """Return the aliases of each version in a model's folder, by the version's number."""
    found: dict[str, list[str]] = defaultdict(list)
    log = _read(model / filenames.ALIASES, AliasLog)
    for alias, promoted in log.standing.items() if log else ():
        found[promoted[-1]].append(alias)
    return {version: tuple(sorted(names)) for version, names in found.items()}


def _read(path: Path, record: type[AnyRecord]) -> AnyRecord | None:
    try:
        return load(path, record) if path.is_file() else None
    except InputError:
        return None


def _waived_gates(folder: Path) -> tuple[Waived, ...]:
    report = _read(folder / filenames.GATES, GateReport)
    outcomes = report.outcomes if report else ()
    return tuple(Waived(each.path, each.waived, each.failure) for each in outcomes if each.waived and each.failure)
