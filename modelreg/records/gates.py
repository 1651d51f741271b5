"""gates.json: bounds on metrics that a release must meet, and what each of them found."""

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from modelreg.records.base import Name, Record, Remark


class Gate(Record):
    """A bound on a metric that a release must meet. Paths are dotted ones, as that of the metric itself."""

    min: float | None = None
    max: float | None = None
    beyond: Name | None = None  # path of a number that is taken off before min and max: of an error, its null band
    inside: Name | None = None  # path of an interval {low, high} that must hold the metric
    contains: float | None = None  # the metric is an interval {low, high}, which must hold this
    not_below: Name | None = None  # `latest`, a version or an alias, whose metric this one must reach
    not_above: Name | None = None
    tolerance: Annotated[float, Field(ge=0)] = 0.0  # of not_below and not_above
    if_exported: bool = False  # of a number of an export: judged only where the version carries that export

    @property
    def older(self) -> tuple[str, ...]:
        """The versions that it is held against."""
        return tuple(dict.fromkeys(filter(None, (self.not_below, self.not_above))))

    @model_validator(mode="after")
    def _bounds(self) -> "Gate":
        if self.min is None and self.max is None and self.inside is None and self.contains is None and not self.older:
            raise ValueError("give min, max or both; or inside, contains, not_below, not_above")
        if self.beyond is not None and self.min is None and self.max is None:
            raise ValueError("beyond needs min or max")
        if self.contains is not None and (self.inside or self.older or self.min is not None or self.max is not None):
            raise ValueError("contains judges an interval; give it a gate of its own")
        if self.tolerance and not self.older:
            raise ValueError("tolerance needs not_below or not_above")
        return self


EXPORTED = ("parity", "int8")  # the first words of paths that lead into what an export leaves


def is_exported(path: str) -> bool:
    """Say whether a gate's path leads into what an export leaves."""
    return path.split(".", 1)[0] in EXPORTED


class Waiver(Record):
    """A gate that may fail, and why. Releases print it, and their cards carry it."""

    gate: Name
    reason: Remark


class Against(Record):
    """What an older version had where a gate looks."""

    version: Name | None  # null: there is no such version
    value: float | None


class Outcome(Record):
    """One gate, what it found, and why it fails."""

    path: Name
    gate: Gate
    value: float | None
    over: float | None  # the number at `beyond`
    interval: tuple[float, float] | None  # of a gate that has `inside` or `contains`
    against: dict[Name, Against]  # by the reference that the gate names
    failure: str | None  # null: it is met
    waived: Remark | None  # why it may fail
    unjudged: Remark | None = None  # why it was not judged; null: it was
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """In a word; a gate that was not judged is never said to be met."""
        if self.unjudged:
            return f"not judged: {self.unjudged}"
        return "met" if self.failure is None else "waived" if self.waived else "FAILS"

    @property
    def found(self) -> str:
        """The value or the interval that is judged."""
        if self.gate.contains is not None and self.interval:
            return f"{self.interval[0]:.4f} to {self.interval[1]:.4f}"
        return "-" if self.value is None else f"{self.value - (self.over or 0.0):.4f}"


class GateReport(Record):
    """gates.json of a version: the gates that its release had to meet."""

    schema_version: Literal[1] = 1
    outcomes: tuple[Outcome, ...]


# What a gate can find: numbers and places. The template of gates.json has the sentences.


@dataclass(frozen=True)
class AbsentNumber:
    """A number that the gate needs is missing."""

    places: tuple[str, ...]  # the documents that could hold it
    elsewhere: tuple[str, ...]  # dotted paths that end in the same name
    path: str  # of the missing number


@dataclass(frozen=True)
class AbsentInterval:
    """The interval that the gate needs is missing."""

    path: str
    places: tuple[str, ...]
    reason: str | None  # why the document has none


@dataclass(frozen=True)
class OutOfBounds:
    """The value, less `over` if it is given, is below min or above max."""

    value: float
    over: float | None


@dataclass(frozen=True)
class OutsideInterval:
    """The value lies outside of an interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Worse:
    """An older version has a better value."""

    value: float
    old: float
    version: str | None
    direction: Literal["below", "above"]


@dataclass(frozen=True)
class NoOlder:
    """There is nothing to compare with: `version` lacks the number, or no version is `named` so, or is the latest."""

    version: str | None
    named: str | None


@dataclass(frozen=True)
class NoExport:
    """The gate is of an export that the version does not carry."""


Finding: TypeAlias = AbsentNumber | AbsentInterval | OutOfBounds | OutsideInterval | Worse | NoOlder | NoExport
