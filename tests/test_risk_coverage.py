"""The risk-coverage curve is its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.evaluation import risk_coverage


def by_definition(confidence: np.ndarray, correct: np.ndarray) -> list[float]:
    """Return the error of the k most confident windows for each k; windows of equal confidence share their errors."""
    wrong = [1 - correct[confidence == level].mean() for level in confidence]
    ordered = [wrong[i] for i in np.argsort(-confidence, kind="stable")]
    return [float(np.mean(ordered[: k + 1])) for k in range(len(ordered))]


@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.7, 0.9, 1.0]), st.booleans()), min_size=1, max_size=70))
def test_the_curve_is_its_definition(rows) -> None:
    """Its area is the mean error over every number of answered windows, and its points lie on it."""
    confidence, correct = np.array([c for c, _ in rows]), np.array([r for _, r in rows])
    expected = by_definition(confidence, correct)
    found = risk_coverage.measure(confidence, correct)
    counts = [round(point.answered * len(rows)) for point in found.points]

    assert found.area == pytest.approx(np.mean(expected), abs=1e-12)
    assert [point.error for point in found.points] == pytest.approx([expected[k - 1] for k in counts], abs=1e-12)
    assert [point.confidence for point in found.points] == [np.sort(confidence)[-k] for k in counts]


@given(st.integers(0, 2**32))
def test_the_order_of_windows_changes_nothing(seed) -> None:
    """With many equal confidences, as a quantizer gives."""
    rng = np.random.default_rng(seed)
    confidence, correct = rng.random(60).round(1), rng.random(60) < 0.7
    order = rng.permutation(60)

    assert risk_coverage.measure(confidence[order], correct[order]) == risk_coverage.measure(confidence, correct)


def test_the_last_point_answers_every_window() -> None:
    """Its error is that of all windows."""
    correct = np.random.default_rng(0).random(200) < 0.8
    last = risk_coverage.measure(np.linspace(0, 1, 200), correct).points[-1]

    assert (last.answered, last.error) == (1.0, pytest.approx(1 - correct.mean()))


def test_confidence_that_ranks_errors_last_has_a_smaller_area() -> None:
    """Than confidence that ranks them first."""
    correct = np.arange(100) >= 20
    areas = [risk_coverage.measure(c, correct).area for c in (np.arange(100) / 100, 1 - np.arange(100) / 100)]

    assert (areas[0] < 0.05, areas[1] > 0.2) == (True, True)
