"""hsmm.json: durations, transitions and emissions of a hidden semi-Markov model (Yu 2010)."""

from math import fsum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from modelreg.records.base import Name, Record, Share

SUM_TOLERANCE = 1e-6


def _is_distribution(shares: tuple[float, ...]) -> tuple[float, ...]:
    if abs(fsum(shares) - 1) > SUM_TOLERANCE:
        raise ValueError(f"sums to {fsum(shares):.9g}, must sum to 1")
    return shares


Positive = Annotated[float, Field(gt=0)]
Inner = Annotated[float, Field(gt=0, lt=1)]
Many = Field(min_length=2, max_length=1000)  # states: a single state would have no successor
Distribution = Annotated[tuple[Share, ...], Many, AfterValidator(_is_distribution)]
# Without zeros: every code and class remains possible.
Seen = Annotated[float, Field(gt=0, le=1)]
Spread = Annotated[tuple[Seen, ...], Field(min_length=1), AfterValidator(_is_distribution)]


class NegativeBinomial(Record):
    """d − 1 is negative binomial: the weight of d is Γ(d − 1 + r) / (d − 1)! · (1 − p)^(d − 1). One r, p per state."""

    kind: Literal["negative_binomial"] = "negative_binomial"
    r: Annotated[tuple[Positive, ...], Many]
    p: Annotated[tuple[Inner, ...], Many]


class Poisson(Record):
    """d − 1 is Poisson: the weight of d is rate^(d − 1) / (d − 1)!. One rate per state."""

    kind: Literal["poisson"] = "poisson"
    rate: Annotated[tuple[Positive, ...], Many]


class Gaussian(Record):
    """A discretized Gaussian: the weight of d is exp(−(d − mean)² / 2 sd²). One mean and sd per state."""

    kind: Literal["gaussian"] = "gaussian"
    mean: Annotated[tuple[float, ...], Many]
    sd: Annotated[tuple[Positive, ...], Many]


class PosteriorEmission(Record):
    """log b = weight · (log p(state | window) − log prior), from a network with one output per state."""

    kind: Literal["posterior"] = "posterior"
    prior: Annotated[Spread, Many]
    weight: Positive = 1.0


class CategoricalEmission(Record):
    """log b = log table[state][code], from the index of the window's code."""

    kind: Literal["categorical"] = "categorical"
    table: Annotated[tuple[Spread, ...], Many]

    @model_validator(mode="after")
    def _is_rectangular(self) -> "CategoricalEmission":
        if len(set(map(len, self.table))) > 1:
            raise ValueError("the rows of table differ in length")
        return self


class HsmmSpec(Record):
    """hsmm.json: a hidden semi-Markov model; its lists are in the order of `states`.

    Durations are in windows, 1 to `longest`; their weights are normalized over this range. No state follows itself.
    """

    schema_version: Literal[1] = 1
    states: Annotated[tuple[Name, ...], Many]
    initial: Distribution
    transition: Annotated[tuple[Distribution, ...], Many]  # from the state of the row to the state of the column
    longest: Annotated[int, Field(ge=1, le=1000)] = 50
    durations: Annotated[NegativeBinomial | Poisson | Gaussian, Field(discriminator="kind")]
    emission: Annotated[PosteriorEmission | CategoricalEmission, Field(discriminator="kind")]

    @model_validator(mode="after")
    def _agrees(self) -> "HsmmSpec":
        durations = [value for value in dict(self.durations).values() if isinstance(value, tuple)]
        emission = self.emission.prior if isinstance(self.emission, PosteriorEmission) else self.emission.table
        lists = [self.states, self.initial, self.transition, *self.transition, *durations, emission]
        if len(set(map(len, lists))) > 1:
            raise ValueError(f"every list must have {len(self.states)} entries, one per state")
        if any(row[i] for i, row in enumerate(self.transition)):
            raise ValueError("transition: no state may follow itself")
        if len(set(self.states)) < len(self.states):
            raise ValueError("a name occurs twice in states")
        return self
