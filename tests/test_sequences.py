"""Streams of consecutive windows, and the effect of smoothing."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import InputError
from modelreg.evaluation import metrics, sequences
from modelreg.evaluation.metrics import Predictions
from modelreg.hsmm import durations, inference, model
from modelreg.records.hsmm import CategoricalEmission, HsmmSpec, Poisson, PosteriorEmission
from modelreg.records.metrics import SegmentScores

SPEC = HsmmSpec(
    states=("sit", "walk"),
    initial=(0.5, 0.5),
    transition=((0.0, 1.0), (1.0, 0.0)),
    longest=10,
    durations=Poisson(rate=(4.0, 4.0)),
    emission=PosteriorEmission(prior=(0.5, 0.5)),
)
SURE = np.log([0.7, 0.3])


def logits_of(states) -> np.ndarray:
    """Return logits of a network that is confident of these states."""
    return np.array([SURE if state == 0 else SURE[::-1] for state in states], dtype=np.float32)


def predictions(true, said, recording, start) -> Predictions:
    """Return predictions of windows in recordings."""
    names = np.array(recording)
    return Predictions(logits_of(said), np.array(true), names, names, np.array(start, dtype=np.int64))


TRUE = [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1]
SAID = [0, 0, 1, 0, 1, 1, 1, 1, 0, 0, 0, 1]  # the third flickers
NAMES = ["b"] * 8 + ["a"] * 4
START = [*range(0, 80, 10), *range(0, 40, 10)]


@pytest.mark.parametrize(
    ("recording", "start", "lengths"),
    [
        ([0, 0, 0], [0, 50, 100], (3,)),
        ([0, 0, 1], [0, 50, 100], (2, 1)),
        ([0, 0, 0], [0, 250, 300], (3,)),
        ([0, 0, 0], [0, 300, 350], (1, 2)),
        ([0], [7], (1,)),
        ([], [], ()),
    ],
    ids=["unbroken", "two recordings", "four left out", "five left out", "one window", "none"],
)
def test_a_stream_ends_with_its_recording_or_at_a_long_gap(recording, start, lengths) -> None:
    """Up to MAX_GAP dropped windows do not end it."""
    found = sequences.stream_lengths(np.array(recording, dtype=np.int32), np.array(start, dtype=np.int64), 50)

    assert found == lengths


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), min_size=1, max_size=40, unique=True).map(sorted))
def test_streams_contain_every_window(windows) -> None:
    """Their lengths sum to the number of windows; within a stream, recording and hop are consistent."""
    recording, start = (np.array(column) for column in zip(*windows, strict=True))
    lengths = sequences.stream_lengths(recording.astype(np.int32), start, 2)
    places = np.split(np.arange(len(start)), np.cumsum(lengths)[:-1])

    assert sum(lengths) == len(windows)
    for a, b in (pair for place in places for pair in pairwise(place)):
        assert (recording[a], start[b] - start[a] <= 10) == (recording[b], True)


def test_smoothing_is_the_filter_of_every_prefix() -> None:
    """p(state | windows so far) is the last marginal of the stream that ends there."""
    log_p = metrics.log_softmax(np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32))
    tables = model.tables(model.from_spec(SPEC))
    log_b = model.of_posterior(log_p, np.array([0.5, 0.5]))
    last = [inference.posterior(tables, log_b[: t + 1]).gamma[-1] for t in range(30)]

    np.testing.assert_allclose(list(sequences.filtered(log_p, SPEC)), last, atol=1e-9)
    assert sequences.smooth(log_p, SPEC).tolist() == np.argmax(last, axis=1).tolist()


def test_an_emission_of_codes_is_refused() -> None:
    """A hsmm.json with another emission is a mismatch, not a crash."""
    table = CategoricalEmission(table=((0.5, 0.5), (0.5, 0.5)))

    with pytest.raises(InputError):
        sequences.smooth(SURE[None], SPEC.model_copy(update={"emission": table}))


def test_a_flicker_is_smoothed_away() -> None:
    """A doubtful window among windows of one state gets this state."""
    found = sequences.smooth(metrics.log_softmax(logits_of([0, 0, 1, 0, 0])), SPEC)

    assert found.tolist() == [0, 0, 0, 0, 0]


def test_the_scores_of_smoothing_by_hand() -> None:
    """Two streams; unsmoothed, b has five segments for two true ones, and a has the true number."""
    found = sequences.measure_smoothing(predictions(TRUE, SAID, NAMES, START), SPEC, 10)

    assert (found.streams, found.mean_duration) == (2, durations.mean(model.from_spec(SPEC).durations).mean())
    assert found.alone == SegmentScores(
        accuracy=11 / 12,
        edit=(100 * (1 - 2 / 4) + 100) / 2,  # b: sit walk sit walk for sit walk
        over_segmentation=6 / 4,
        f1_at_50=2 * 4 / (2 * 4 + 2),  # the first sit of b reaches half of the true one
    )
    assert found.smoothed.over_segmentation < found.alone.over_segmentation


@given(st.permutations(range(12)))
def test_the_order_of_the_windows_does_not_matter(order) -> None:
    """Streams are sorted by recording and start."""
    whole = predictions(TRUE, SAID, NAMES, START)

    assert sequences.measure_smoothing(whole.rows(np.array(order)), SPEC, 10) == sequences.measure_smoothing(
        whole, SPEC, 10
    )
