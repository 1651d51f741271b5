"""Smoothing over windows, online: each window's probabilities go in, a state comes out at once, memory is constant.

A smoother is a value without state of its own, so that one serves any number of sessions: `start` gives the state of
a new one, `step` the next state and the class that is shown. The filter of a hidden semi-Markov model has this form
too and goes in beside the two here.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from modelreg.runtime.postprocess import Doubles


class Smoother(Protocol):
    """Classes over time out of windows that stand alone."""

    def start(self) -> Any:
        """Return the state before the first window."""
        ...

    def step(self, state: Any, probabilities: Doubles) -> tuple[Any, int]:
        """Return the state after a window of these probabilities (K,), and the class that is shown."""
        ...


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

    def step(self, state: Votes, probabilities: Doubles) -> tuple[Votes, int]:
        """Return the next state and the class that is shown."""
        labels = (*state.labels, int(probabilities.argmax()))[-self.windows :]
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

    def step(self, state: Held, probabilities: Doubles) -> tuple[Held, int]:
        """Return the next state and the class that is shown."""
        label = int(np.argmax(probabilities))
        shown = state.shown
        if shown is None:
            return Held(label, 1), label
        stays = state.windows < self.dwell or probabilities[shown] >= self.leave or probabilities[label] < self.enter
        if stays or label == shown:
            return Held(shown, min(state.windows + 1, self.dwell)), shown
        return Held(label, 1), label
