"""The parameters of a model, from and to hsmm.json, and its emissions from a network."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import InputError, Problem
from modelreg.hsmm.durations import PARAMETERS, Durations, Floats, log_pmf, log_survivor
from modelreg.records.hsmm import SUM_TOLERANCE, HsmmSpec, PosteriorEmission

Ints: TypeAlias = NDArray[np.int64]


class Hsmm(NamedTuple):
    """The parameters of a model with S states."""

    initial: Floats  # (S,) p(the first segment is of j)
    transition: Floats  # (S, S) p(a segment of i is followed by one of j); the diagonal is 0
    durations: Durations


class Tables(NamedTuple):
    """The log parameters of a model; −∞ for a probability of 0."""

    log_initial: Floats  # (S,)
    log_transition: Floats  # (S, S)
    log_duration: Floats  # (S, D) log p_j(d), d = 1 … D
    log_survivor: Floats  # (S, D) log Σ_{u ≥ d} p_j(u)


def tables(model: Hsmm) -> Tables:
    """Return the log parameters of a model. Raises InputError if the model is invalid."""
    if problems := list(find_problems(model)):
        raise InputError("cannot use the duration model", problems)
    log_p = log_pmf(model.durations)
    with np.errstate(divide="ignore"):
        return Tables(np.log(model.initial), np.log(model.transition), log_p, log_survivor(log_p))


def find_problems(model: Hsmm) -> Iterator[Problem]:
    """Yield the problems of a model: its shapes, or its values if the shapes are valid."""
    S, bounds = len(model.initial), PARAMETERS[model.durations.kind]
    if S < 2:
        yield Problem("initial", "hsmm.too-few-states", f"has {S} states, must have at least 2")
        return
    distributions = {"initial": model.initial, "transition": model.transition}
    shapes = {"initial": (S,), "transition": (S, S), "durations": (S, len(bounds))}
    arrays = {**distributions, "durations": model.durations.parameters}
    wrong = [name for name, shape in shapes.items() if arrays[name].shape != shape]
    yield from (
        Problem(name, "hsmm.shape-mismatch", f"has shape {arrays[name].shape}, must have {shapes[name]}")
        for name in wrong
    )
    if not wrong:
        yield from _distribution_problems(distributions)
        yield from _duration_problems(model.durations)


def _distribution_problems(distributions: Mapping[str, Floats]) -> Iterator[Problem]:
    if np.diagonal(distributions["transition"]).any():
        yield Problem("transition", "hsmm.self-transition", "the diagonal must be 0")
    for name, rows in distributions.items():
        if not ((rows >= 0).all() and (abs(rows.sum(axis=-1) - 1) <= SUM_TOLERANCE).all()):
            yield Problem(name, "hsmm.invalid-probability", "each row must be at least 0 and sum to 1")


def _duration_problems(durations: Durations) -> Iterator[Problem]:
    for (name, (low, high)), column in zip(PARAMETERS[durations.kind].items(), durations.parameters.T, strict=True):
        if not ((low < column) & (column < high)).all():
            yield Problem(f"durations.{name}", "hsmm.duration-out-of-range", f"must be between {low:g} and {high:g}")


def from_spec(spec: HsmmSpec) -> Hsmm:
    """Return the model of a document, without its emission."""
    kind = spec.durations.kind
    columns = [getattr(spec.durations, name) for name in PARAMETERS[kind]]
    durations = Durations(kind, np.column_stack(columns), spec.longest)
    return Hsmm(np.array(spec.initial), np.array(spec.transition), durations)


def to_spec(model: Hsmm, states: Sequence[str], emission: PosteriorEmission) -> HsmmSpec:
    """Return the document of a model.

    Raises pydantic's ValueError if states, parameters and emission do not fit together.
    """
    kind, parameters, longest = model.durations
    columns = zip(PARAMETERS[kind], map(tuple, parameters.T.tolist()), strict=True)
    document = {
        "states": tuple(states),
        "initial": tuple(model.initial.tolist()),
        "transition": tuple(map(tuple, model.transition.tolist())),
        "longest": longest,
        "durations": {"kind": kind, **dict(columns)},
        "emission": emission,
    }
    return HsmmSpec.model_validate(document)


def of_posterior(log_posterior: Floats, prior: Floats, weight: float = 1.0) -> Floats:
    """Return log b (…, S) from log p(state | window) (…, S) of a network and the class shares (S,) of its train split.

    log b = weight · (log p(state | window) − log prior), which is log p(window | state) up to a constant (Bourlard &
    Morgan 1994). A weight below 1 compensates for overlapping windows, which are not independent.
    """
    return weight * (log_posterior - np.log(prior))
