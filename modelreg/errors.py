"""Exceptions and their exit codes (README.md lists the exit codes), and the problems that they report.

An exception carries every problem that was found, not only the first. Only `cli.main` maps an exception to an exit
code. Exit code 1 is reserved for bugs, 2 for Typer's usage errors, 130 for Ctrl-C.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple


class Problem(NamedTuple):
    """One fault.

    Attributes:
        where: the place: a file, a key, a column or an option.
        rule: the id of the broken rule, such as `csv.column-missing`. `modelreg/rules/` describes each rule. Ids are
            stable: tests and scripts may rely on them.
        message: what is wrong, what was expected and what was found.
        next: the next step, if it is more precise than the rule's own; empty otherwise.
    """

    where: str
    rule: str
    message: str
    next: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"

    def under(self, place: str) -> "Problem":
        """Return the problem with a prefix to its place: `v0.2.0: manifest.json`."""
        return self._replace(where=f"{place}: {self.where}")


class Notice(NamedTuple):
    """One remark that does not break a rule: the place and a sentence."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"

    def under(self, place: str) -> "Notice":
        """Return the notice with a prefix to its place."""
        return self._replace(where=f"{place}: {self.where}")


class ModelregError(Exception):
    """The base class of every error that a user can cause and fix.

    `summary` is the consequence of the problems, such as "nothing was released".
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, summary: str, problems: Iterable[Problem] = ()) -> None:
        self.summary = summary
        self.problems: Sequence[Problem] = tuple(problems)
        steps = [f"  {problem}" + (f"\n  next: {problem.next}" if problem.next else "") for problem in self.problems]
        super().__init__("\n".join([summary, *steps]))


class InputError(ModelregError):
    """Invalid configuration, document or data."""

    exit_code = 3


class VerificationFailed(ModelregError):
    """A version that does not match its manifest."""

    exit_code = 4


class RegistryError(ModelregError):
    """A version that already exists, is unknown, or cannot be created."""

    exit_code = 5


class PublishConflict(ModelregError):
    """A published release whose files differ from the version's."""

    exit_code = 6


class RemoteError(ModelregError):
    """A server that cannot be reached, refuses a request, or limits the rate."""

    exit_code = 7


class ExportError(ModelregError):
    """A graph that does not match its checkpoint, or that the target cannot run."""

    exit_code = 8


class GateFailed(ModelregError):
    """A metric outside the limit of its gate."""

    exit_code = 9


Failure = tuple[type[ModelregError], Problem]


def raise_all(summary: str, failures: Iterable[Failure]) -> None:
    """Raise one error that lists every failure. Its class is the one with the lowest exit code."""
    found = list(failures)
    if found:
        kind = min((kind for kind, _ in found), key=lambda kind: kind.exit_code)
        raise kind(summary, [problem for _, problem in found])
