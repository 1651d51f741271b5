"""What can go wrong, and the exit code of each kind (README.md lists the exit codes).

An error carries the whole list of problems, never just the first one. Only `cli.main` turns an error
into an exit code; 1 is kept for bugs, 2 for Typer's usage errors, 130 for Ctrl-C.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes:
        where: the place: a file, a key, a column, an option.
        rule: the id of the broken rule (`csv.column-missing`), which `modelreg/rules/` explains. Stable: tests and
            scripts may rely on it.
        message: what is wrong there, what was expected and what was found.
        next: what to do about it, where the rule's own next step can be more precise.
    """

    where: str
    rule: str
    message: str
    next: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"

    def under(self, place: str) -> "Problem":
        """Return the problem with `place` before its own: `manifest.json` under `v0.2.0` is `v0.2.0: manifest.json`."""
        return self._replace(where=f"{place}: {self.where}")


class Notice(NamedTuple):
    """One thing that is worth knowing and breaks no rule: where, and a sentence."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"

    def under(self, place: str) -> "Notice":
        """Return the notice with `place` before its own."""
        return self._replace(where=f"{place}: {self.where}")


class ModelregError(Exception):
    """The base of every error that a user can cause and mend."""

    exit_code: ClassVar[int] = 1

    def __init__(self, summary: str, problems: Iterable[Problem] = ()) -> None:
        self.summary = summary
        self.problems: Sequence[Problem] = tuple(problems)
        super().__init__("\n".join([summary, *(f"  {problem}" for problem in self.problems)]))


class InputError(ModelregError):
    """A configuration, a document or data that breaks a rule."""

    exit_code = 3


class VerificationFailed(ModelregError):
    """A version is not what its manifest says."""

    exit_code = 4


class RegistryError(ModelregError):
    """A version that exists, is unknown, or may not be made."""

    exit_code = 5


class PublishConflict(ModelregError):
    """A published release that holds other bytes."""

    exit_code = 6


class RemoteError(ModelregError):
    """A server that cannot be reached, or refuses, or limits."""

    exit_code = 7


class ExportError(ModelregError):
    """A graph that is not the checkpoint's, or that the target cannot compute."""

    exit_code = 8


class GateFailed(ModelregError):
    """A metric misses its bound."""

    exit_code = 9


Failure = tuple[type[ModelregError], Problem]


def raise_all(summary: str, failures: Iterable[Failure]) -> None:
    """Raise one error that lists every failure; where kinds meet, the one of the lowest exit code."""
    found = list(failures)
    if found:
        kind = min((kind for kind, _ in found), key=lambda kind: kind.exit_code)
        raise kind(summary, [problem for _, problem in found])
