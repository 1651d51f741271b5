"""Segmentation scores equal their definitions and hand-computed cases."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import places

from modelreg.errors import InputError
from modelreg.hsmm import segmentation as seg

TRUE = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
PREDICTED = np.array([0, 0, 1, 1, 1, 1, 0, 1, 2, 2])

pairs = st.integers(1, 30).flatmap(
    lambda T: st.tuples(*[st.lists(st.integers(0, 2), min_size=T, max_size=T).map(np.array)] * 2)
)


def plain_runs(states: np.ndarray) -> list[tuple[int, int, int]]:
    """Return state, first window and end of each segment."""
    borders = [t for t in range(len(states)) if t == 0 or states[t] != states[t - 1]]
    return [(int(states[a]), a, b) for a, b in zip(borders, [*borders[1:], len(states)], strict=True)]


def plain_distance(a: list[int], b: list[int]) -> int:
    """Return the Levenshtein distance by its recursive definition."""

    @cache
    def of(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(of(i - 1, j) + 1, of(i, j - 1) + 1, of(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return of(len(a), len(b))


def plain_hits(true: np.ndarray, predicted: np.ndarray, overlap: float) -> int:
    """Count correct predicted segments, computed with sets of windows."""
    free = {run: set(range(*run[1:])) for run in plain_runs(true)}
    taken = set()
    for state, a, b in plain_runs(predicted):
        ratios = {
            run: len(w & set(range(a, b))) / len(w | set(range(a, b))) for run, w in free.items() if run[0] == state
        }
        best = max(ratios, key=ratios.__getitem__, default=None)
        if best is not None and ratios[best] >= overlap:
            taken.add(best)
    return len(taken)


@given(pairs)
def test_runs_are_the_segments(pair) -> None:
    """The runs cover the whole stream."""
    runs = seg.runs(pair[0])
    ours = zip(runs.states.tolist(), runs.starts.tolist(), (runs.starts + runs.lengths).tolist(), strict=True)

    assert list(ours) == plain_runs(pair[0])


def test_an_empty_stream_has_no_segment() -> None:
    """It is not an error."""
    assert [len(part) for part in seg.runs(np.zeros(0, dtype=np.int64))] == [0, 0, 0]


@given(st.lists(st.integers(0, 3), max_size=8), st.lists(st.integers(0, 3), max_size=8))
def test_the_distance_is_the_levenshtein_distance(a, b) -> None:
    """The rows give the same number as the recursive definition."""
    assert seg.distance(np.array(a, dtype=np.int64), np.array(b, dtype=np.int64)) == plain_distance(a, b)


@given(pairs)
def test_the_edit_score_is_the_distance_of_the_segments(pair) -> None:
    """The lengths of the segments do not matter."""
    a, b = ([run[0] for run in plain_runs(states)] for states in pair)

    assert seg.edit_score(*pair) == pytest.approx(100 * (1 - plain_distance(a, b) / max(len(a), len(b))))


@given(pairs, st.sampled_from([0.1, 0.25, 0.5, 0.9]))
def test_correct_segments_are_counted_by_the_definition(pair, overlap) -> None:
    """The definition is computed with sets of windows."""
    right = plain_hits(*pair, overlap)
    expected = (right, len(plain_runs(pair[1])) - right, len(plain_runs(pair[0])) - right)

    assert seg.hits(*pair, overlap) == expected


@given(pairs)
def test_a_perfect_prediction_has_every_best_score(pair) -> None:
    """This holds for any states."""
    scores = seg.score([(pair[0], pair[0]), (pair[1], pair[1])])

    assert scores == seg.Scores(1.0, 100.0, 1.0, {0.1: 1.0, 0.25: 1.0, 0.5: 1.0})


def test_a_flickering_prediction_by_hand() -> None:
    """7 of 10 windows are correct. 0 1 2 becomes 0 1 0 1 2 by two insertions."""
    scores = seg.score([(TRUE, PREDICTED)])

    assert scores.frame_accuracy == pytest.approx(0.7)
    assert scores.edit == pytest.approx(100 * (1 - 2 / 5))
    assert scores.over_segmentation == pytest.approx(5 / 3)
    assert scores.overlap_f1 == pytest.approx({0.1: 6 / 8, 0.25: 6 / 8, 0.5: 4 / 8})


def test_streams_are_scored_together() -> None:
    """Windows and segments are counted over all streams; the edit score is a mean over streams."""
    other = np.array([2, 2, 2, 2])
    scores = seg.score([(TRUE, PREDICTED), (other, other)])

    assert scores.frame_accuracy == pytest.approx(11 / 14)
    assert scores.edit == pytest.approx((60 + 100) / 2)
    assert scores.over_segmentation == pytest.approx(6 / 4)
    assert scores.overlap_f1[0.5] == pytest.approx(6 / 10)


@pytest.mark.parametrize(
    ("given_pairs", "expected"),
    [
        ([(TRUE, PREDICTED), (TRUE, TRUE[1:])], ("stream 1", "hsmm.streams-mismatch")),
        ([(TRUE[:0], TRUE[:0])], ("stream 0", "hsmm.no-windows")),
        ([(TRUE[None], TRUE[None])], ("stream 0", "hsmm.streams-mismatch")),
        ([], ("streams", "hsmm.no-windows")),
    ],
)
def test_streams_that_cannot_be_compared_are_refused(given_pairs, expected) -> None:
    """Both arrays of a stream must have the same length, at least 1."""
    with pytest.raises(InputError) as caught:
        seg.score(given_pairs)

    assert places(caught.value.problems) == [expected]
