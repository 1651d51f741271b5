"""Online smoothing gives, at each window, the result of the definition on all windows so far."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.runtime.postprocess import Answer
from modelreg.runtime.smoothing import Hysteresis, Majority

LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=40)


def one_hot(label: int) -> np.ndarray:
    """The probabilities of a certain window."""
    return np.eye(4)[label]


def answer(probabilities: np.ndarray) -> Answer:
    """An answer with these probabilities."""
    none = np.empty(0, np.float32)
    with np.errstate(divide="ignore"):
        logits = np.log(probabilities).astype(np.float32)
    return Answer(none, none, None, logits, probabilities, int(probabilities.argmax()), None)


def shown(smoother, probabilities) -> list[int]:
    """The smoothed class of each window."""
    state, found = smoother.start(), []
    for row in probabilities:
        state, label = smoother.step(state, answer(row))
        found.append(label)
    return found


@given(labels=LABELS, windows=st.integers(1, 7))
def test_the_majority_is_the_most_frequent_of_the_last_labels(labels, windows) -> None:
    """In a tie it is one of the most frequent labels."""
    for end, label in enumerate(shown(Majority(windows), map(one_hot, labels)), 1):
        counts = Counter(labels[max(0, end - windows) : end])
        assert counts[label] == max(counts.values())


@given(labels=LABELS)
def test_a_majority_of_one_is_the_label(labels) -> None:
    """Over one window nothing is smoothed."""
    assert shown(Majority(1), map(one_hot, labels)) == labels


def test_a_tie_changes_nothing() -> None:
    """The class stays until another label is more frequent."""
    assert shown(Majority(4), map(one_hot, [0, 0, 1, 1, 1])) == [0, 0, 0, 0, 1]


@given(labels=LABELS, dwell=st.integers(1, 6))
def test_hysteresis_stays_at_least_its_dwell_time(labels, dwell) -> None:
    """Each segment except the last has at least `dwell` windows."""
    found = shown(Hysteresis(dwell=dwell), map(one_hot, labels))
    edges = [0, *(n for n in range(1, len(found)) if found[n] != found[n - 1])]

    assert all(length >= dwell for length in np.diff(edges))


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([[0.9, 0.1], [0.45, 0.55]], [0, 0]),  # still above `leave`
        ([[0.9, 0.1], [0.35, 0.65]], [0, 1]),
        ([[0.9, 0.1], [0.3, 0.3]], [0, 0]),  # no class reaches `enter`
    ],
    ids=["stays", "changes", "none enters"],
)
def test_hysteresis_changes_between_two_thresholds(probabilities, expected) -> None:
    """As a Schmitt trigger does."""
    assert shown(Hysteresis(enter=0.6, leave=0.4, dwell=1), np.array(probabilities)) == expected


@pytest.mark.parametrize("smoother", [Majority(5), Hysteresis()], ids=["majority", "hysteresis"])
def test_memory_is_constant(smoother) -> None:
    """The state does not grow with the number of windows."""
    state = smoother.start()
    for number in range(1000):
        state, _ = smoother.step(state, answer(one_hot(number % 4)))

    assert len(str(state)) < 60
