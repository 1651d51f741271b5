"""The paired comparison of two models: compared with scipy and definitions, and its refusals."""

import numpy as np
import pytest
from example_records import CLASSES, SUBJECTS, example_predictions
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as sklearn_metrics

from modelreg.evaluation.metrics import Predictions
from modelreg.evaluation.paired_comparison import Side, changes, compare, mcnemar_p
from modelreg.records.comparison import COMPARED, PairedComparison
from modelreg.records.metrics import EvaluationSettings, Interval, NoInterval, Reason

QUICK = EvaluationSettings(replicates=200)
ONE = example_predictions(subjects=SUBJECTS)


def altered(share: float, seed: int = 1) -> Predictions:
    """Return the same windows, some of them with new logits."""
    rng = np.random.default_rng(seed)
    logits = np.where(rng.random((len(ONE.y), 1)) < share, rng.normal(size=ONE.logits.shape), ONE.logits)
    return ONE._replace(logits=logits.astype(np.float32))


def compared(one: Predictions, other: Predictions) -> PairedComparison:
    """Return the comparison, which must be possible."""
    found = compare(Side(one, CLASSES), Side(other, CLASSES), QUICK)
    assert isinstance(found, PairedComparison)
    return found


# McNemar


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_equals_scipy(b, c) -> None:
    """The exact binomial test of b against b + c at 0.5; 1 if the models never differ."""
    expected = binomtest(b, b + c).pvalue if b + c else 1.0

    assert mcnemar_p(b, c) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_mcnemar_counts_windows_that_one_model_predicts_correctly() -> None:
    """Correct predictions of both do not count."""
    other = altered(0.3)
    right = [predictions.logits.argmax(axis=1) == ONE.y for predictions in (ONE, other)]
    found = compared(ONE, other).mcnemar

    assert (found.only_one, found.only_other) == ((right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum())


def test_mcnemar_of_many_windows_is_quick() -> None:
    """With a million discordant pairs, no number overflows."""
    assert mcnemar_p(500_000, 502_000) == pytest.approx(binomtest(500_000, 1_002_000).pvalue, rel=1e-5)


# Differences


def test_metrics_equal_scikit_learn() -> None:
    """Those of each model, and second minus first."""
    other = altered(0.3)
    found = compared(ONE, other).metrics["macro_f1"]
    one, two = (sklearn_metrics.f1_score(ONE.y, p.logits.argmax(axis=1), average="macro") for p in (ONE, other))

    assert (found.one, found.other, found.difference) == pytest.approx((one, two, two - one))


def test_the_interval_draws_the_same_subjects_for_both() -> None:
    """Differences of accuracy over the windows of drawn subjects."""
    other = altered(0.3)
    gain = (other.logits.argmax(axis=1) == ONE.y).astype(int) - (ONE.logits.argmax(axis=1) == ONE.y)
    drawn = (np.random.default_rng([0, 1]).random((200, 6)) * 6).astype(int)
    values = [np.concatenate([gain[40 * s : 40 * s + 40] for s in row]).mean() for row in drawn]
    interval = compared(ONE, other).metrics["accuracy"].interval

    assert isinstance(interval, Interval)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_a_model_does_not_differ_from_itself() -> None:
    """The difference is 0, the interval has width 0, p is 1."""
    found = compared(ONE, ONE)

    for name in COMPARED:
        interval = found.metrics[name].interval
        assert isinstance(interval, Interval)
        assert (found.metrics[name].difference, interval.low, interval.high) == (0, 0, 0)
    assert found.mcnemar.p_value == 1


@given(st.integers(0, 2**32))
def test_the_order_of_windows_changes_nothing(seed) -> None:
    """Windows are matched by recording and start."""
    other = altered(0.3)
    shuffled = other.rows(np.random.default_rng(seed).permutation(len(ONE.y)))

    assert compared(ONE, shuffled) == compared(ONE, other)


def test_only_shared_windows_count() -> None:
    """Windows that only one model predicted are counted and not compared."""
    found = compared(ONE.rows(np.arange(200)), altered(0.3).rows(np.arange(120, 240)))

    assert (found.windows, found.left_out_one, found.left_out_other, found.subjects) == (80, 120, 40, 2)
    assert isinstance(found.metrics["accuracy"].interval, NoInterval)
    assert PairedComparison.model_validate_json(found.to_bytes()) == found


# What cannot be compared


@pytest.mark.parametrize(
    ("other", "classes", "reason"),
    [
        (ONE, tuple(reversed(CLASSES)), "different classes"),
        (ONE._replace(start=ONE.start + 1), CLASSES, "no test windows in common"),
        (ONE._replace(y=(ONE.y + 1) % 4), CLASSES, "different labels"),
        (ONE._replace(subject=np.full(240, "x")), CLASSES, "or subjects"),
        (ONE.rows(np.zeros(3, int)), CLASSES, "two windows with the same recording"),
    ],
    ids=["classes", "windows", "labels", "subjects", "twice"],
)
def test_models_that_are_not_comparable_give_a_reason(other, classes, reason) -> None:
    """Instead of numbers."""
    found = compare(Side(ONE, CLASSES), Side(other, classes), QUICK)

    assert isinstance(found, Reason)
    assert reason in found.reason


# Documents


def test_changes_have_their_paths() -> None:
    """Values, missing values, and lists of different lengths as a whole."""
    one = {"a": {"b": 1, "same": 0}, "c": [1, 2], "d": [1, 2]}
    other = {"a": {"b": 2, "same": 0, "new": None, "e": 3}, "c": [1, 5], "d": [1]}
    found = {change.path: (change.one, change.other) for change in changes(one, other)}

    assert found == {"a.b": (1, 2), "a.e": (None, 3), "c.1": (2, 5), "d": ([1, 2], [1])}
