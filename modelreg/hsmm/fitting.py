"""Fit parameters to labelled streams: count the segments, and maximize the likelihood of the counts.

Durations are truncated at D when they are fitted, as in inference. A segment censored after d has the probability
Σ_{u ≥ d} p(u).
"""

from collections.abc import Sequence

import numpy as np

from modelreg.errors import InputError, Problem
from modelreg.hsmm.duration_fit import fit_durations, moments
from modelreg.hsmm.durations import Floats, Kind, of_moments
from modelreg.hsmm.inference import Counts
from modelreg.hsmm.model import Hsmm, Ints
from modelreg.hsmm.segmentation import runs


def start(kind: Kind, states: int, longest: int, mean: float, *, random: np.random.Generator) -> Hsmm:
    """Return an initial model: uniform, with random mean durations between 0.75 and 1.25 times `mean`.

    The durations differ, because states with equal parameters would stay equal in training.
    """
    means = mean * (0.75 + 0.5 * random.random(states))
    return Hsmm(
        initial=np.full(states, 1 / states),
        transition=_anywhere(states) / (states - 1),
        durations=of_moments(kind, means, (means / 2) ** 2, longest),
    )


def count_labels(labels: Sequence[Ints], states: int, longest: int, *, censored: bool = True) -> Counts:
    """Count the segments of labelled streams (T,) with labels 0 … S − 1.

    A segment longer than `longest` counts as one of length `longest`. Raises InputError for a label out of range.
    Streams must therefore be split at windows without a label.
    """
    _require_below(states, labels)
    counts = _no_counts(states, longest)
    for stream in labels:
        order, _, lengths = runs(stream)
        places = np.minimum(lengths, longest) - 1
        whole = len(order) - 1 if censored else len(order)
        counts.initial[order[:1]] += 1
        np.add.at(counts.transition, (order[:-1], order[1:]), 1)
        np.add.at(counts.duration, (order[:whole], places[:whole]), 1)
        np.add.at(counts.cut, (order[whole:], places[whole:]), 1)
    return counts


def fit_counts(kind: Kind, counts: Counts, *, pseudo_count: float = 0.1) -> Hsmm:
    """Return the most likely model for counts; `maximise` describes `pseudo_count`.

    A state without segments gets the durations fitted to all states together.
    """
    states, longest = counts.duration.shape
    pooled = np.broadcast_to((counts.duration + counts.cut).sum(axis=0), (states, longest))
    model = Hsmm(
        initial=np.full(states, 1 / states),
        transition=_anywhere(states) / (states - 1),
        durations=of_moments(kind, *moments(pooled), longest),
    )
    return maximise(model, counts, pseudo_count=pseudo_count)


def maximise(model: Hsmm, counts: Counts, *, pseudo_count: float) -> Hsmm:
    """Return the most likely model for counts; parameters without counts are those of `model`.

    `pseudo_count` is added to the count of each first state and each transition. With 0, unseen ones are impossible.
    """
    return Hsmm(
        initial=_shares(counts.initial + pseudo_count, model.initial),
        transition=_shares(counts.transition + pseudo_count * _anywhere(len(model.initial)), model.transition),
        durations=fit_durations(model.durations, counts.duration, counts.cut),
    )


def _no_counts(states: int, longest: int) -> Counts:
    shapes = [(states,), (states, states), (states, longest), (states, longest)]
    return Counts(*map(np.zeros, shapes))


def _anywhere(states: int) -> Floats:
    """Return 1 where one state may follow another (S, S), 0 on the diagonal."""
    return 1 - np.eye(states)


def _require_below(end: int, streams: Sequence[Ints]) -> None:
    wrong = [i for i, stream in enumerate(streams) if len(stream) and not 0 <= stream.min() <= stream.max() < end]
    if wrong:
        what = f"labels must be from 0 to {end - 1}"
        fix = "split each stream at windows without a label"
        problems = [Problem(f"stream {i}", "train.label-out-of-range", what, fix) for i in wrong]
        raise InputError("cannot count the segments of the labels", problems)


def _shares(counts: Floats, own: Floats) -> Floats:
    """Return counts (…, n) divided by their sums; a row without counts is that of `own`."""
    total = counts.sum(axis=-1, keepdims=True)
    shares: Floats = np.divide(counts, total, out=own.copy(), where=total > 0)
    return shares
