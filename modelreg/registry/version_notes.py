"""The notes on a version: the aliases that point to it, and the gates that were waived."""

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

    @property
    def suffix(self) -> str:
        """The aliases as they stand behind the version's name: ` (production, staging)`, or nothing."""
        return f" ({', '.join(self.aliases)})" if self.aliases else ""

    def to_document(self) -> dict[str, object]:
        """Return the notes as JSON values."""
        return {"aliases": list(self.aliases), "waivers": [each._asdict() for each in self.waived]}


def read_notes(folder: Path) -> VersionNotes:
    """Return the notes on the version in a folder."""
    return VersionNotes(_aliases(folder), _waived_gates(folder))


def _aliases(folder: Path) -> tuple[str, ...]:
    log = _read(folder.parent / filenames.ALIASES, AliasLog)
    number = folder.name.removeprefix("v")
    return tuple(sorted(alias for alias, promoted in log.standing.items() if promoted[-1] == number)) if log else ()


def _read(path: Path, record: type[AnyRecord]) -> AnyRecord | None:
    try:
        return load(path, record) if path.is_file() else None
    except InputError:
        return None


def _waived_gates(folder: Path) -> tuple[Waived, ...]:
    report = _read(folder / filenames.GATES, GateReport)
    outcomes = report.outcomes if report else ()
    return tuple(Waived(each.path, each.waived, each.failure) for each in outcomes if each.waived and each.failure)
