"""Parameters from labelled streams, by counting; from streams without labels, by expectation maximisation (Yu 2010).

Both end in one step: counts, or what is expected of them, become the parameters under which they are most likely.
Durations are fitted as they are used, truncated at D; a segment cut off after d counts as Σ_{u ≥ d} p(u).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import InputError, Problem
from modelreg.hsmm.duration_fit import fit_durations, moments
from modelreg.hsmm.durations import Floats, Kind, of_moments
from modelreg.hsmm.inference import Counts, posterior
from modelreg.hsmm.model import Hsmm, Ints, of_codes, tables
from modelreg.segmentation import runs

Stream: TypeAlias = NDArray[Any]  # codes (T,) where the model has a table, else log b (T, S)


class Fit(NamedTuple):
    """What expectation maximisation found, and how it came there."""

    model: Hsmm
    log_likelihood: tuple[float, ...]  # of all streams: of the first model, then after each step
    objective: tuple[float, ...]  # the same with the log prior that the pseudo-count stands for; it never falls


def start(kind: Kind, states: int, longest: int, mean: float, *, codes: int = 0, random: np.random.Generator) -> Hsmm:
    """Return a model to begin `fit` with: uniform, but for mean durations within a quarter of `mean` and the table.

    Both are random: states that differ in nothing would stay alike. `codes`: how many there are; 0 for no table.
    """
    means = mean * (0.75 + 0.5 * random.random(states))
    table = 0.5 + random.random((states, codes))
    return Hsmm(
        initial=np.full(states, 1 / states),
        transition=_anywhere(states) / (states - 1),
        durations=of_moments(kind, means, (means / 2) ** 2, longest),
        table=table / table.sum(axis=1, keepdims=True) if codes else None,
    )


def fit(
    model: Hsmm,
    streams: Sequence[Stream],
    *,
    censored: bool = True,
    steps: int = 50,
    tolerance: float = 1e-6,
    pseudo_count: float = 0.1,
) -> Fit:
    """Fit initial, transitions and durations, and the table where the model has one, to streams without labels.

    Ends after `steps`, or when one gains less than `tolerance` for each window. `pseudo_count` is as in `maximise`.
    Raises InputError where a stream is impossible under `model`.
    """
    least = tolerance * sum(map(len, streams))
    found: list[tuple[float, float]] = []
    while True:
        log_likelihood, counts = _expect(model, streams, censored)
        found.append((log_likelihood, log_likelihood + _log_prior(model, pseudo_count)))
        if len(found) > steps or (len(found) > 1 and found[-1][1] - found[-2][1] < least):
            return Fit(model, *zip(*found, strict=True))
        model = maximise(model, counts, pseudo_count=pseudo_count)


def count_labels(labels: Sequence[Ints], states: int, longest: int, *, censored: bool = True) -> Counts:
    """Count the segments of labelled streams, each (T,) of 0 … S − 1.

    A segment longer than `longest` counts as one of `longest`, as no state can last longer; `longer` says how many are.
    Raises InputError for a label out of range, as one of a window without a label is: cut streams there.
    """
    _require_below(states, "labels", labels)
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


def longer(labels: Sequence[Ints], longest: int) -> int:
    """Return how many segments of labelled streams last longer than a model of this longest duration can express."""
    return sum(int((runs(stream).lengths > longest).sum()) for stream in labels)


def count_codes(labels: Sequence[Ints], codes: Sequence[Ints], states: int, total: int) -> Floats:
    """Return how often each state showed each of `total` codes (S, K), of labels and codes of streams, each (T,).

    Raises InputError for a label or a code out of range.
    """
    _require_below(states, "labels", labels)
    _require_below(total, "codes", codes)
    counts = np.zeros((states, total))
    for pair in zip(labels, codes, strict=True):
        np.add.at(counts, pair, 1)
    return counts


def fit_counts(kind: Kind, counts: Counts, *, pseudo_count: float = 0.1) -> Hsmm:
    """Return the most likely model of counts, with a table where these have codes; `pseudo_count` is as in `maximise`.

    A state without a segment gets the durations of all states together.
    """
    states, longest = counts.duration.shape
    pooled = np.broadcast_to((counts.duration + counts.cut).sum(axis=0), (states, longest))
    model = Hsmm(
        initial=np.full(states, 1 / states),
        transition=_anywhere(states) / (states - 1),
        durations=of_moments(kind, *moments(pooled), longest),
        table=None if counts.codes is None else np.full(counts.codes.shape, 1 / counts.codes.shape[1]),
    )
    return maximise(model, counts, pseudo_count=pseudo_count)


def maximise(model: Hsmm, counts: Counts, *, pseudo_count: float) -> Hsmm:
    """Return the model under which counts are most likely; what has no count stays as it is in `model`.

    `pseudo_count` is added to every start, transition and code: with 0, what was not seen is impossible.
    """
    table = model.table
    if table is not None and counts.codes is not None:
        table = _shares(counts.codes + pseudo_count, table)
    return Hsmm(
        initial=_shares(counts.initial + pseudo_count, model.initial),
        transition=_shares(counts.transition + pseudo_count * _anywhere(len(model.initial)), model.transition),
        durations=fit_durations(model.durations, counts.duration, counts.cut),
        table=table,
    )


def _expect(model: Hsmm, streams: Sequence[Stream], censored: bool) -> tuple[float, Counts]:
    """Return the log likelihood of all streams, and the counts that the model expects of them."""
    logs = tables(model)
    total, log_likelihood = _no_counts(*logs.log_duration.shape), 0.0
    codes = None if model.table is None else np.zeros(model.table.shape)
    for stream in streams:
        log_b = stream if logs.log_table is None else of_codes(logs.log_table, stream)
        found = posterior(logs, log_b, censored=censored)
        log_likelihood += found.log_likelihood
        total = Counts(*map(np.add, total[:4], found.counts[:4]))
        if codes is not None:
            np.add.at(codes.T, stream, found.gamma)
    return log_likelihood, total._replace(codes=codes)


def _log_prior(model: Hsmm, pseudo_count: float) -> float:
    """Return the log of the Dirichlet densities that pseudo-counts stand for, but for a constant."""
    if not pseudo_count:
        return 0.0
    others = model.transition[_anywhere(len(model.initial)) > 0]
    parts = [model.initial, others, *([] if model.table is None else [model.table])]
    with np.errstate(divide="ignore"):
        return pseudo_count * float(sum(np.log(part).sum() for part in parts))


def _no_counts(states: int, longest: int) -> Counts:
    shapes = [(states,), (states, states), (states, longest), (states, longest)]
    return Counts(*map(np.zeros, shapes))


def _anywhere(states: int) -> Floats:
    """Return 1 where one state may follow another (S, S), 0 on the diagonal."""
    return 1 - np.eye(states)


def _require_below(end: int, what: str, streams: Sequence[Ints]) -> None:
    wrong = [i for i, stream in enumerate(streams) if len(stream) and not 0 <= stream.min() <= stream.max() < end]
    if wrong:
        rule = f"{what} must be from 0 to {end - 1}; cut streams at windows that have none"
        raise InputError("not labelled streams", [Problem(f"stream {i}", rule) for i in wrong])


def _shares(counts: Floats, own: Floats) -> Floats:
    """Return counts (…, n) divided by their sums; where there is none, the row of `own`."""
    total = counts.sum(axis=-1, keepdims=True)
    shares: Floats = np.divide(counts, total, out=own.copy(), where=total > 0)
    return shares
