"""Conformal prediction sets: both thresholds compared with their definitions, and with their promises."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.evaluation import conformal
from modelreg.evaluation.conformal import hierarchical_threshold, sets_of, threshold
from modelreg.evaluation.metrics import Predictions
from modelreg.records.calibration import ABSTAIN_RULES, SetMetrics
from modelreg.records.metrics import EvaluationSettings, Interval, NoInterval

QUICK = EvaluationSettings(replicates=100)


# Thresholds


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.sampled_from([0.05, 0.1, 0.2, 1 / 3]))
def test_the_threshold_is_the_finite_sample_quantile(own, alpha) -> None:
    """The ceil((n + 1)(1 - alpha))-th smallest score, and None if this rank exceeds n."""
    rank = math.ceil(round((len(own) + 1) * (1 - alpha), 9))
    wanted = sorted(own)[rank - 1] if rank <= len(own) else None

    assert threshold(np.array(own), alpha) == wanted


@pytest.mark.parametrize(("windows", "rank"), [(8, None), (9, 9), (10, 10), (19, 18), (20, 19), (99, 90)])
def test_the_rank_at_ninety_percent(windows, rank) -> None:
    """Nine windows are the minimum; an integer (n + 1) alpha is not rounded away."""
    assert threshold(np.arange(1.0, windows + 1), 0.1) == rank


def test_without_a_threshold_every_set_is_full() -> None:
    """Too few windows allow no smaller sets."""
    assert sets_of(np.array([[0.1, 5.0]]), None).all()


@given(st.integers(0, 2**32), st.floats(0, 1), st.floats(0, 1))
def test_sets_grow_with_the_threshold(seed, one, other) -> None:
    """Sets are nested."""
    scored = 1 - np.random.default_rng(seed).dirichlet(np.ones(4), 20)
    small, large = (sets_of(scored, limit) for limit in sorted((one, other)))

    assert not (small & ~large).any()


@pytest.mark.parametrize("windows", [20, 100])
def test_the_coverage_of_exchangeable_windows_is_guaranteed(windows) -> None:
    """Over many fits, the mean coverage is ceil((n + 1)(1 - alpha)) / (n + 1), for scores without ties."""
    own = np.random.default_rng(1).random((400, windows))
    covered = [(own[(i + 1) % 400] <= threshold(row, 0.1)).mean() for i, row in enumerate(own)]
    promised = (windows + 1 - math.floor((windows + 1) * 0.1 + 1e-9)) / (windows + 1)

    assert np.mean(covered) == pytest.approx(promised, abs=0.01)


# A new subject


def by_definition(own: list[float], member: list[int], alpha: Fraction) -> float | None:
    """Return the smallest score whose exact weight, with all lower scores, reaches 1 - alpha; None if none does."""
    subjects = set(member)
    weight = {s: Fraction(1, (len(subjects) + 1) * member.count(s)) for s in subjects}
    for limit in sorted(own):
        if sum(weight[s] for score, s in zip(own, member, strict=True) if score <= limit) >= 1 - alpha:
            return limit
    return None


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]), st.integers(0, 14)), min_size=1, max_size=60),
    st.sampled_from([Fraction(1, 10), Fraction(1, 5), Fraction(1, 3), Fraction(1, 2)]),
)
def test_the_hierarchical_threshold_is_its_definition(rows, alpha) -> None:
    """By exact fractions over every score, with ties and with subjects of different sizes."""
    own, member = [score for score, _ in rows], [subject for _, subject in rows]

    assert hierarchical_threshold(np.array(own), np.array(member), float(alpha)) == by_definition(own, member, alpha)


@pytest.mark.parametrize(("subjects", "promised"), [(8, False), (9, True), (10, True)])
def test_ninety_percent_needs_nine_subjects(subjects, promised) -> None:
    """However many windows they have."""
    own, member = np.tile(np.linspace(0, 1, 500), subjects), np.repeat(np.arange(subjects), 500)

    assert (hierarchical_threshold(own, member, 0.1) is not None) == promised


@pytest.mark.parametrize(("alpha", "needed"), [(0.1, 9), (0.2, 4), (0.05, 19), (0.5, 1), (1 / 3, 2)])
def test_the_needed_units_are_the_fewest_that_reach_the_level(alpha, needed) -> None:
    """The level n / (n + 1) of n units."""
    reached = [conformal.highest_level(n) >= 1 - alpha - 1e-9 for n in (needed - 1, needed)]

    assert (conformal.units_needed(alpha), reached) == (needed, [False, True])


@given(st.integers(0, 2**32))
def test_the_order_of_windows_does_not_change_the_hierarchical_threshold(seed) -> None:
    """Nor do the numbers of the subjects."""
    rng = np.random.default_rng(seed)
    own, member = rng.random(80).round(1), rng.integers(12, size=80)
    order, names = rng.permutation(80), rng.permutation(12)

    assert hierarchical_threshold(own, member, 0.1) == hierarchical_threshold(own[order], names[member][order], 0.1)


def test_a_subject_with_more_windows_has_no_more_weight() -> None:
    """Ten copies of each window of one subject change nothing."""
    rng = np.random.default_rng(0)
    own, member = rng.random(60), np.arange(60) % 12
    copies = np.where(member == 3, 10, 1)

    assert hierarchical_threshold(np.repeat(own, copies), np.repeat(member, copies), 0.1) == hierarchical_threshold(
        own, member, 0.1
    )


def simulated(rng: np.random.Generator, subjects: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and subjects: a shift for each subject, and 5 to 60 windows."""
    sizes = rng.integers(5, 60, size=subjects)
    member = np.repeat(np.arange(subjects), sizes)
    return rng.normal(size=subjects)[member] + 0.5 * rng.normal(size=len(member)), member


def test_exchangeable_subjects_reach_the_level() -> None:
    """Over 600 draws of 12 subjects and a new one; the standard error of the mean is below 0.01."""
    rng = np.random.default_rng(5)
    covered = []
    for _ in range(600):
        own, member = simulated(rng, 13)
        new = member == 12
        limit = hierarchical_threshold(own[~new], member[~new], 0.1)
        covered.append((own[new] <= limit).mean())

    assert np.mean(covered) >= 0.9 - 0.02


def test_subjects_that_differ_are_covered_less_by_the_pooled_threshold() -> None:
    """It holds for the mean over subjects like the fitted ones only if there are many of them."""
    rng = np.random.default_rng(6)
    pooled, hierarchical = [], []
    for _ in range(300):
        own, member = simulated(rng, 13)
        new = member == 12
        pooled.append((own[new] <= threshold(own[~new], 0.1)).mean())
        hierarchical.append((own[new] <= hierarchical_threshold(own[~new], member[~new], 0.1)).mean())

    assert np.mean(pooled) < 0.9 - 0.02 < np.mean(hierarchical)


# Abstention


@pytest.mark.parametrize(("size", "expected"), [(0, [False, True, True]), (1, [False] * 3), (2, [False, False, True])])
def test_a_model_abstains_by_the_size_of_the_set(size, expected) -> None:
    """Never, if it is empty, or if it has not exactly one class."""
    assert [conformal.abstains(size, rule) for rule in ABSTAIN_RULES] == expected


# Measuring


def example(subjects: int) -> tuple[np.ndarray, Predictions]:
    """Return sets of 60 windows of three classes, the last without windows."""
    rng = np.random.default_rng(0)
    names = np.array([f"s{i % subjects}" for i in range(60)])
    y = rng.integers(2, size=60)
    return rng.random((60, 3)) < 0.7, Predictions(np.zeros((60, 3), np.float32), y, names, names, np.arange(60))


def test_coverage_is_counted() -> None:
    """Overall, by class and by subject; a class without windows has none."""
    sets, predictions = example(2)
    held = sets[np.arange(60), predictions.y]
    found = conformal.measure(sets, predictions, ("a", "b", "c"), QUICK)

    assert (found.coverage, found.mean_size) == pytest.approx((held.mean(), sets.sum() / 60))
    assert found.per_class["b"].coverage == pytest.approx(held[predictions.y == 1].mean())
    assert found.per_subject["s1"].mean_size == pytest.approx(sets[1::2].sum() / 30)
    assert (found.per_class["c"].windows, found.per_class["c"].coverage) == (0, None)


def test_sizes_are_counted() -> None:
    """The shares of empty sets and of sets with one class."""
    sets, predictions = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1]], bool), example(2)[1]
    four = Predictions(*(array[:4] for array in predictions[:5]))
    found = conformal.measure(sets, four, ("a", "b", "c"), QUICK)

    assert (found.empty, found.singletons, found.mean_size) == (0.25, 0.5, 1.25)


def test_the_accuracy_of_sets_with_one_class_is_counted() -> None:
    """The share of them that contain the true class; None if there are none."""
    sets, predictions = example(6)
    single = sets.sum(axis=1) == 1
    held = sets[np.arange(60), predictions.y]
    found = conformal.measure(sets, predictions, ("a", "b", "c"), QUICK)
    full = conformal.measure(np.ones_like(sets), predictions, ("a", "b", "c"), QUICK)

    assert (found.singleton_accuracy, full.singleton_accuracy) == (pytest.approx(held[single].mean()), None)


def test_every_subject_has_the_same_weight_in_the_mean() -> None:
    """And in its interval: the mean over resampled subjects."""
    sets, predictions = example(6)
    subject = predictions.subject.copy()
    subject[:20] = "s0"
    predictions = predictions._replace(subject=subject)
    held = sets[np.arange(60), predictions.y]
    means = np.array([held[subject == f"s{i}"].mean() for i in range(6)])
    times = (np.random.default_rng([0, 1]).random((100, 6)) * 6).astype(int)
    found = conformal.measure(sets, predictions, ("a", "b", "c"), QUICK)

    assert isinstance(found.interval, Interval)
    assert found.subject_mean == pytest.approx(means.mean())
    assert (found.interval.low, found.interval.high) == pytest.approx(
        tuple(np.quantile(means[times].mean(axis=1), [0.025, 0.975]))
    )


def test_few_subjects_have_no_interval() -> None:
    """The record is read back from its bytes."""
    found = conformal.measure(*example(2), ("a", "b", "c"), QUICK)

    assert isinstance(found.interval, NoInterval)
    assert SetMetrics.model_validate_json(found.to_bytes()) == found
