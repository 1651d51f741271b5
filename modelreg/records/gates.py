"""gates.json: bounds on metrics that a release must meet, and their outcomes."""

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import model_validator

from modelreg.records.base import LEFT_OUT, Name, Record, Remark, setting

RuleName = Literal["above_baseline", "every_class_tested"]
RULES: tuple[RuleName, ...] = get_args(RuleName)


class Gate(Record):
    """A bound on a metric that a release must meet. Paths are dotted, like the path of the metric."""

    rule: Annotated[
        RuleName | None,
        setting("A rule in place of a bound.", "above_baseline", exclude_if=lambda value: value is None),
    ] = None
    min: Annotated[float | None, setting("Smallest value that passes.", 0.85)] = None
    max: Annotated[float | None, setting("Largest value that passes.", 0.03)] = None
    beyond: Annotated[
        Name | None,
        setting(
            "Path of a number that is subtracted before `min` and `max` apply.", "confidence.after.equal_mass.null_high"
        ),
    ] = None
    inside: Annotated[
        Name | None, setting("Path of an interval that must contain the number.", "confidence.sets.pooled.interval")
    ] = None
    contains: Annotated[float | None, setting("The path names an interval, which must contain this number.", 0.9)] = (
        None
    )
    not_below: Annotated[
        Name | None, setting("The number must reach that of `latest`, a version or an alias.", "latest")
    ] = None
    not_above: Annotated[
        Name | None, setting("The number must not exceed that of `latest`, a version or an alias.", "production")
    ] = None
    tolerance: Annotated[float, setting("Difference that `not_below` and `not_above` allow.", 0.01, ge=0)] = 0.0
    if_exported: Annotated[
        bool, setting("Judge the gate only where the version carries the export. For `parity.` and `int8.`.", True)
    ] = False

    @property
    def older(self) -> tuple[str, ...]:
        """Return the versions that the metric is compared with."""
        return tuple(dict.fromkeys(filter(None, (self.not_below, self.not_above))))

    @model_validator(mode="after")
    def _bounds(self) -> "Gate":
        if self.rule is not None:
            if self != Gate.model_construct(rule=self.rule):
                raise ValueError("a rule has no bounds: set it to true")
            return self
        if self.min is None and self.max is None and self.inside is None and self.contains is None and not self.older:
            raise ValueError("give min, max or both; or inside, contains, not_below, not_above")
        if self.beyond is not None and self.min is None and self.max is None:
            raise ValueError("beyond needs min or max")
        if self.contains is not None and (self.inside or self.older or self.min is not None or self.max is not None):
            raise ValueError("contains judges an interval; use a separate gate for it")
        if self.tolerance and not self.older:
            raise ValueError("tolerance needs not_below or not_above")
        return self


EXPORTED = ("parity", "int8")  # the first names of paths into documents of an export


def is_exported(path: str) -> bool:
    """Return whether a gate's path leads into a document of an export."""
    return document_of(path) in EXPORTED


def document_of(path: str) -> str:
    """Return the first name of a gate's path: the name of a document, or a key of eval_metrics.json."""
    return path.split(".", 1)[0]


class Waiver(Record):
    """A gate that may fail, and the reason. A release prints it, and the model card states it."""

    gate: Annotated[Name, setting("Path of the gate that may fail.", "accuracy")]
    reason: Annotated[
        Remark, setting("Why it may fail. The release prints it and the card carries it.", "demonstration only")
    ]


class Against(Record):
    """The value of an earlier version that a gate compares with."""

    version: Name | None  # null: the version does not exist
    value: float | None


class Outcome(Record):
    """The outcome of one gate."""

    path: Name
    gate: Gate
    value: float | None
    over: float | None  # the number at `beyond`
    interval: tuple[float, float] | None  # of a gate with `inside` or `contains`
    against: dict[Name, Against]  # by the reference in the gate
    baseline: Annotated[float | None, LEFT_OUT] = None  # of above_baseline: accuracy of the most frequent class
    subjects: Annotated[tuple[Name, ...] | None, LEFT_OUT] = None  # of above_baseline: those not above the baseline
    classes: Annotated[tuple[Name, ...] | None, LEFT_OUT] = None  # of every_class_tested: those without a test window
    failure: str | None  # null: the gate is met
    waived: Remark | None  # the reason of the waiver
    unjudged: Remark | None = None  # why the gate was not judged; null: it was judged
    notes: tuple[str, ...]

    @model_validator(mode="after")
    def _states_its_own_rule(self) -> "Outcome":
        if (self.gate.rule or self.path in RULES) and self.gate.rule != self.path:
            raise ValueError("a rule is stated under its own name")
        return self

    @property
    def reads(self) -> set[str]:
        """Return the first name of each path that the gate reads."""
        paths = (self.path, self.gate.beyond, self.gate.inside)
        return {document_of(path) for path in paths if path}

    @property
    def verdict(self) -> str:
        """Return the result of the gate: `met`, `waived`, `FAILS`, or `not judged` with the reason."""
        if self.unjudged:
            return f"not judged: {self.unjudged}"
        return "met" if self.failure is None else "waived" if self.waived else "FAILS"


class GateReport(Record):
    """gates.json of a version: the outcomes of the gates at its release."""

    schema_version: Literal[1] = 1
    outcomes: tuple[Outcome, ...]

    @model_validator(mode="after")
    def _states_each_gate_once(self) -> "GateReport":
        if len({outcome.path for outcome in self.outcomes}) < len(self.outcomes):
            raise ValueError("a gate is stated twice")
        return self


# Findings of a gate. The template of gates.json turns them into sentences.


@dataclass(frozen=True)
class AbsentNumber:
    """A number that the gate requires is missing."""

    places: tuple[str, ...]  # the documents that may contain it
    elsewhere: tuple[str, ...]  # dotted paths that end in the same name
    path: str  # of the missing number


@dataclass(frozen=True)
class AbsentInterval:
    """The interval that the gate requires is missing."""

    path: str
    places: tuple[str, ...]
    reason: str | None  # stated by the document


@dataclass(frozen=True)
class OutOfBounds:
    """The value, minus `over` if given, is below min or above max."""

    value: float
    over: float | None


@dataclass(frozen=True)
class OutsideInterval:
    """The value is outside an interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Worse:
    """An earlier version has a better value."""

    value: float
    old: float
    version: str | None
    direction: Literal["below", "above"]


@dataclass(frozen=True)
class NoOlder:
    """No earlier value: `version` has no such number, version `named` does not exist, or this is the first version."""

    version: str | None
    named: str | None


@dataclass(frozen=True)
class NoExport:
    """The gate requires an export that the version does not have."""


@dataclass(frozen=True)
class NotAboveBaseline:
    """The accuracy does not exceed that of the majority-class baseline."""

    value: float  # lower end of the interval, or the lowest accuracy of a test subject
    baseline: float
    subjects: tuple[str, ...]  # not above the baseline; empty: the interval was compared


@dataclass(frozen=True)
class UntestedClasses:
    """Classes have no window in the test split."""

    names: tuple[str, ...]


RuleFinding: TypeAlias = NotAboveBaseline | UntestedClasses  # not in template 1
Finding: TypeAlias = AbsentNumber | AbsentInterval | OutOfBounds | OutsideInterval | Worse | NoOlder | NoExport
