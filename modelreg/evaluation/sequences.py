"""Windows in temporal order: streams of consecutive windows, and their smoothing by a model of durations.

A model of durations works on streams of consecutive windows. A few dropped windows (without a label) do not end a
stream; a longer gap does.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import InputError, Problem
from modelreg.evaluation import metrics
from modelreg.evaluation.metrics import Floats, Ints, Predictions
from modelreg.hsmm import durations, model, segmentation
from modelreg.hsmm import online_filter as online
from modelreg.records.hsmm import HsmmSpec, PosteriorEmission
from modelreg.records.metrics import SegmentScores, TemporalMetrics

MAX_GAP = 4  # consecutive dropped windows that do not end a stream


def stream_lengths(recording: NDArray[np.int32], start: Ints, hop: int) -> tuple[int, ...]:
    """Return the number of windows of each stream.

    `recording` (N,) and `start` (N,), in samples, belong to windows sorted by recording and then by time.
    """
    if not len(start):
        return ()
    breaks = (np.diff(recording) != 0) | (np.diff(start) > (MAX_GAP + 1) * hop)
    ends = np.append(np.flatnonzero(breaks) + 1, len(start))
    return tuple(np.diff(ends, prepend=0).tolist())


def measure_smoothing(predictions: Predictions, spec: HsmmSpec, hop: int) -> TemporalMetrics:
    """Return the segment scores of single windows and of windows smoothed online."""
    order = np.lexsort((predictions.start, predictions.recording))
    recording = np.unique(predictions.recording[order], return_inverse=True)[1]
    lengths = stream_lengths(recording.astype(np.int32), predictions.start[order], hop)
    places = np.split(order, np.cumsum(lengths)[:-1])
    log_p = metrics.log_softmax(predictions.logits)
    states = [smooth(log_p[place], spec) for place in places]
    true = [predictions.y[place] for place in places]
    alone = [predictions.logits[place].argmax(axis=1) for place in places]
    return TemporalMetrics(
        streams=len(lengths),
        mean_duration=float(durations.mean(model.from_spec(spec).durations).mean()),
        alone=_scores(list(zip(true, alone, strict=True))),
        smoothed=_scores(list(zip(true, states, strict=True))),
    )


def smooth(log_posterior: Floats, spec: HsmmSpec) -> Ints:
    """Return the most likely state (T,) at each window of a stream, from log p(state | window) (T, S) up to it."""
    return np.array([posterior.argmax() for posterior in filtered(log_posterior, spec)], dtype=np.int64)


def filtered(log_posterior: Floats, spec: HsmmSpec) -> Iterator[Floats]:
    """Yield p(state | windows so far) (S,) for each window of a stream (T, S), in constant memory.

    Raises InputError if the emission is not that of a network's classes.
    """
    if not isinstance(spec.emission, PosteriorEmission):
        what = f"emission kind is {spec.emission.kind}, expected posterior"
        raise InputError("cannot smooth the predictions", [Problem("hsmm.json: emission", "hsmm.emission-kind", what)])
    log_b = model.of_posterior(log_posterior, np.array(spec.emission.prior), spec.emission.weight)
    state = online.filter_start(model.tables(model.from_spec(spec)))
    for row in log_b:
        state, posterior = online.filter_step(state, row)
        yield posterior


def _scores(pairs: segmentation.Pairs) -> SegmentScores:
    found = segmentation.score(pairs)
    return SegmentScores(
        accuracy=found.frame_accuracy,
        edit=found.edit,
        over_segmentation=found.over_segmentation,
        f1_at_50=found.overlap_f1[0.5],
    )
