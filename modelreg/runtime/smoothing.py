"""Smoothing over windows, online: each window's answer goes in, a class comes out at once, memory is constant.

A smoother is a value without state of its own, so that one serves any number of sessions: `start` gives the state of
a new one, `step` the next state and the class that is shown. A model of durations has its own (hsmm.json); any other
model's labels are smoothed by majority, or by hysteresis.
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
    """Classes over time out of windows that stand alone."""

    def start(self) -> Any:
        """Return the state before the first window."""
        ...

    def step(self, state: Any, answer: Answer) -> tuple[Any, int]:
        """Return the state after a window of this answer, and the class that is shown."""
        ...


def choose(durations: HsmmSpec | None, name: SmootherName | None = None) -> Smoother:
    """Return the smoother of this name; without one, the model's own durations or else a majority.

    Raises InputError where durations are asked for and the model has none.
    """
    if durations is not None and name in (None, "durations"):
        return Durations(durations)
    if name == "durations":
        what = "the model has no hsmm.json; choose majority or hysteresis"
        raise InputError("cannot smooth by durations", [Problem("smoothing", "todo.smoothing", what)])
    return Hysteresis() if name == "hysteresis" else Majority()


class Durations:
    """The likeliest class of a hidden semi-Markov model, given all windows so far: its forward filter."""

    def __init__(self, spec: HsmmSpec) -> None:
        """`spec` is of the classes of a network. Raises InputError where it is not."""
        if not isinstance(spec.emission, PosteriorEmission):
            what = "a code's probabilities smooth no network's answers; `posterior` does"
            raise InputError(
                "not a model of a network's classes", [Problem("hsmm.json: emission", "todo.smoothing", what)]
            )
        self._prior, self._weight = np.array(spec.emission.prior), spec.emission.weight
        self._start = online.filter_start(model.tables(model.from_spec(spec)))  # its tables serve every session

    def start(self) -> online.FilterState:
        """No window yet."""
        return self._start

    def step(self, state: online.FilterState, answer: Answer) -> tuple[online.FilterState, int]:
        """Return the next state and the class that is shown. The logits count as they are, without a temperature."""
        log_b = model.of_posterior(log_softmax(answer.logits), self._prior, self._weight)
        state, posterior = online.filter_step(state, log_b)
        return state, int(posterior.argmax())


class Votes(NamedTuple):
    """The last labels, newest last, and the class that is shown."""

    labels: tuple[int, ...] = ()
    shown: int | None = None


@dataclass(frozen=True)
class Majority:
    """The commonest label of the last windows; where several are, the one shown before, else the newest of them."""

    windows: int = 5

    def start(self) -> Votes:
        """No label yet."""
        return Votes()

    def step(self, state: Votes, answer: Answer) -> tuple[Votes, int]:
        """Return the next state and the class that is shown."""
        labels = (*state.labels, answer.label)[-self.windows :]
        counts = {label: labels.count(label) for label in labels}
        best = [label for label in labels if counts[label] == max(counts.values())]
        shown = state.shown if state.shown in best else best[-1]
        return Votes(labels, shown), shown


class Held(NamedTuple):
    """The class that is shown, and for how many windows it was."""

    shown: int | None = None
    windows: int = 0


@dataclass(frozen=True)
class Hysteresis:
    """A class stays while its probability is at least `leave`, and at least `dwell` windows; another one takes its
    place with a probability of at least `enter` (a Schmitt trigger with a minimum dwell time)."""

    enter: float = 0.6
    leave: float = 0.4
    dwell: int = 3

    def start(self) -> Held:
        """Nothing is shown yet."""
        return Held()

    def step(self, state: Held, answer: Answer) -> tuple[Held, int]:
        """Return the next state and the class that is shown."""
        label, probabilities = answer.label, answer.probabilities
        shown = state.shown
        if shown is None:
            return Held(label, 1), label
        stays = state.windows < self.dwell or probabilities[shown] >= self.leave or probabilities[label] < self.enter
        if stays or label == shown:
            return Held(shown, min(state.windows + 1, self.dwell)), shown
        return Held(label, 1), label
