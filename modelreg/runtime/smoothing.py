"""Smooth the labels of windows online: each answer yields a class immediately, in constant memory.

A smoother has no mutable state, so one smoother serves any number of sessions. `start` returns the state of a new
session; `step` returns the next state and the smoothed class. A model with durations (hsmm.json) has its own smoother.
Other models use a majority vote or hysteresis.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from modelreg.errors import InputError, Problem
from modelreg.hsmm import model
from modelreg.hsmm import online_filter as online
from modelreg.records.hsmm import HsmmSpec, PosteriorEmission
from modelreg.runtime.postprocess import Answer, log_softmax

SmootherName = Literal["durations", "majority", "hysteresis"]


class Smoother(Protocol):
    """Turns the answers to independent windows into a sequence of classes."""

    def start(self) -> Any:
        """Return the state before the first window."""
        ...

    def step(self, state: Any, answer: Answer) -> tuple[Any, int]:
        """Return the state after a window with this answer, and the smoothed class."""
        ...


def choose(durations: HsmmSpec | None, name: SmootherName | None = None) -> Smoother:
    """Return the smoother of this name; by default the model's durations, else a majority vote.

    Raises InputError for `durations` if the model has none.
    """
    if durations is not None and name in (None, "durations"):
        return Durations(durations)
    if name == "durations":
        problem = Problem("smoothing", "predict.no-durations", "the model has no hsmm.json")
        raise InputError("cannot smooth by durations", [problem])
    return Hysteresis() if name == "hysteresis" else Majority()


class Durations:
    """The most probable class under a hidden semi-Markov model, given all windows so far (its forward filter)."""

    def __init__(self, spec: HsmmSpec) -> None:
        """Raises InputError if the emissions of `spec` are not the class probabilities of a network."""
        if not isinstance(spec.emission, PosteriorEmission):
            message = f"must be `posterior`, but is `{spec.emission.kind}`"
            problem = Problem("hsmm.json: emission", "predict.emission-unsupported", message)
            raise InputError("cannot smooth by durations", [problem])
        self._prior, self._weight = np.array(spec.emission.prior), spec.emission.weight
        self._start = online.filter_start(model.tables(model.from_spec(spec)))  # the tables are shared by all sessions

    def start(self) -> online.FilterState:
        """Return the state before the first window."""
        return self._start

    def step(self, state: online.FilterState, answer: Answer) -> tuple[online.FilterState, int]:
        """Return the next state and the smoothed class, from the logits without temperature scaling."""
        log_b = model.of_posterior(log_softmax(answer.logits), self._prior, self._weight)
        state, posterior = online.filter_step(state, log_b)
        return state, int(posterior.argmax())


class Votes(NamedTuple):
    """The last labels, newest last, and the smoothed class."""

    labels: tuple[int, ...] = ()
    shown: int | None = None


@dataclass(frozen=True)
class Majority:
    """The most frequent label of the last windows; a tie keeps the previous class, else takes the newest label."""

    windows: int = 5

    def start(self) -> Votes:
        """Return the state before the first window."""
        return Votes()

    def step(self, state: Votes, answer: Answer) -> tuple[Votes, int]:
        """Return the next state and the smoothed class."""
        labels = (*state.labels, answer.label)[-self.windows :]
        counts = {label: labels.count(label) for label in labels}
        best = [label for label in labels if counts[label] == max(counts.values())]
        shown = state.shown if state.shown in best else best[-1]
        return Votes(labels, shown), shown


class Held(NamedTuple):
    """The smoothed class, and for how many windows it has been shown."""

    shown: int | None = None
    windows: int = 0


@dataclass(frozen=True)
class Hysteresis:
    """A Schmitt trigger with a minimum dwell time.

    A class stays for at least `dwell` windows and while its probability is at least `leave`. Another class replaces it
    with a probability of at least `enter`.
    """

    enter: float = 0.6
    leave: float = 0.4
    dwell: int = 3

    def start(self) -> Held:
        """Return the state before the first window."""
        return Held()

    def step(self, state: Held, answer: Answer) -> tuple[Held, int]:
        """Return the next state and the smoothed class."""
        label, probabilities = answer.label, answer.probabilities
        shown = state.shown
        if shown is None:
            return Held(label, 1), label
        stays = state.windows < self.dwell or probabilities[shown] >= self.leave or probabilities[label] < self.enter
        if stays or label == shown:
            return Held(shown, min(state.windows + 1, self.dwell)), shown
        return Held(label, 1), label
