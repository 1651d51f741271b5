"""Conformal prediction sets compared with mapie, with scipy's distributions, and with their guarantee."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapie.classification import SplitConformalClassifier
from mapie.conformity_scores import RAPSConformityScore
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin

from modelreg.evaluation import conformal
from modelreg.evaluation.conformal import (
    NO_PENALTY,
    Ranks,
    choose_ranks,
    coverage_band,
    scores,
    sets_of,
    threshold,
    true_scores,
)
from modelreg.evaluation.metrics import Predictions
from modelreg.records.calibration import SETS, CoverageBand, SetMetrics
from modelreg.records.metrics import EvaluationSettings, Interval, NoInterval

QUICK = EvaluationSettings(replicates=100)
BAND = CoverageBand(low=0.8, high=0.95, level=0.95)


def drawn(windows: int, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (N, K), and labels drawn from them."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, 0.7), windows)
    return p, (rng.random((windows, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)


class Recorded(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose features are its probabilities."""

    classes_ = np.arange(4)

    def __sklearn_is_fitted__(self) -> bool:
        """Return True."""
        return True

    def fit(self, x, y=None):
        """Do nothing."""
        return self

    def predict_proba(self, x):
        """Return the features."""
        return x

    def predict(self, x):
        """Return the most likely class."""
        return x.argmax(axis=1)


class Whole(np.random.RandomState):
    """A random share of p that is always 1, where the paper draws it."""

    def uniform(self, low=0.0, high=1.0, size=None):
        """Return ones."""
        return np.ones(size)


# Against mapie


@pytest.mark.parametrize(
    ("method", "rule"),
    [("lac", {}), ("aps", {"include_last_label": True}), ("aps", {"include_last_label": "randomized"})],
)
@pytest.mark.parametrize("seed", range(3))
def test_sets_equal_mapie(method, rule, seed) -> None:
    """Threshold and sets; in aps, the random share of mapie is fixed at one."""
    p, y = drawn(400, seed=seed)
    oracle = SplitConformalClassifier(
        Recorded(), confidence_level=0.9, conformity_score=method, prefit=True, random_state=Whole()
    )
    oracle.conformalize(p[:150], y[:150])
    theirs = oracle.predict_set(p[150:], conformity_score_params=rule)[1][:, :, 0]
    limit = threshold(true_scores(scores(p[:150], method), y[:150]), 0.1)

    np.testing.assert_array_equal(sets_of(scores(p[150:], method), limit), theirs)


def test_raps_scores_equal_mapie() -> None:
    """The regularized mass up to the class, minus the class's own."""
    p, y = drawn(200)
    mass, rank = RAPSConformityScore.get_true_label_cumsum_proba(y, p, np.arange(4))
    theirs = RAPSConformityScore._regularize_conformity_score(np.array([2]), 0.1, mass, rank)[:, 0, 0]
    own = p[np.arange(200), y]

    np.testing.assert_allclose(true_scores(scores(p, "raps", Ranks(0.1, 2)), y), theirs - own, atol=1e-12)


# Scores


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(0, 6))
def test_scores_are_their_definitions(seed, classes, free) -> None:
    """Class by class, also with equal probabilities."""
    p = np.random.default_rng(seed).dirichlet(np.ones(classes), 5).round(1)
    lac, aps, raps = (scores(p, method, Ranks(0.3, free)) for method in SETS)
    for i, row in enumerate(p):
        for k in range(classes):
            ahead = [j for j in range(classes) if row[j] > row[k] or (row[j] == row[k] and j < k)]
            mass = sum(row[j] for j in ahead)
            wanted = (1 - row[k], mass, mass + 0.3 * max(0, len(ahead) + 1 - free))
            assert (lac[i, k], aps[i, k], raps[i, k]) == pytest.approx(wanted, abs=1e-12)


@given(st.integers(0, 2**32), st.floats(0, 1))
def test_no_set_of_aps_is_empty(seed, limit) -> None:
    """The most likely class has score 0."""
    p = np.random.default_rng(seed).dirichlet(np.ones(5), 20)

    assert sets_of(scores(p, "aps"), limit).any(axis=1).all()


@given(st.integers(0, 2**32), st.floats(0, 1), st.floats(0, 1), st.sampled_from(SETS))
def test_sets_grow_with_the_threshold(seed, one, other, method) -> None:
    """Sets are nested."""
    scored = scores(np.random.default_rng(seed).dirichlet(np.ones(4), 20), method, Ranks(0.1, 1))
    small, large = (sets_of(scored, limit) for limit in sorted((one, other)))

    assert not (small & ~large).any()


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


@pytest.mark.parametrize("method", SETS)
@pytest.mark.parametrize("windows", [20, 100])
def test_the_coverage_is_guaranteed(method, windows) -> None:
    """Over many fits, the mean coverage is ceil((n + 1)(1 - alpha)) / (n + 1), for scores with few ties."""
    p, y = drawn(windows * 300, classes=8)
    rng = np.random.default_rng(1)
    scored = scores(p, method, Ranks(0.01, 2)) + rng.random(p.shape) * 1e-9
    own = true_scores(scored, y).reshape(300, windows)
    covered = [(own[(i + 1) % 300] <= threshold(row, 0.1)).mean() for i, row in enumerate(own)]
    promised = (windows + 1 - math.floor((windows + 1) * 0.1 + 1e-9)) / (windows + 1)

    assert np.mean(covered) == pytest.approx(promised, abs=0.01)


def test_ranks_are_chosen_by_size() -> None:
    """The chosen penalty gives the smallest sets; too few windows give no penalty."""
    p, y = drawn(400, classes=10)
    chosen = choose_ranks(p, y, 0.1)
    sizes = {
        penalty: conformal._mean_size(scores(p, "raps", Ranks(penalty, chosen.free)), y, 0.1)
        for penalty in (0.001, 0.01, 0.1, 0.2, 0.5)  # of Angelopoulos 2021
    }

    assert (conformal.PENALTIES, sizes[chosen.penalty]) == (tuple(sizes), min(sizes.values()))
    assert choose_ranks(p[:8], y[:8], 0.1) == NO_PENALTY


@given(st.integers(0, 2**32), st.integers(20, 60))
def test_free_ranks_are_the_quantile_of_the_rank_of_the_true_class(seed, windows) -> None:
    """By its definition: one more than the classes that are likelier."""
    p, y = drawn(windows, classes=7, seed=seed)
    ranks = sorted(1 + sum(other > row[true] for other in row) for row, true in zip(p, y, strict=True))
    index = windows + 1 - math.floor((windows + 1) * 0.1 + 1e-9)

    assert choose_ranks(p, y, 0.1).free == ranks[index - 1]


def test_free_ranks_contain_the_true_class() -> None:
    """In nine of ten windows."""
    p, y = drawn(2000, classes=10)
    within = scores(p, "raps", Ranks(1.0, choose_ranks(p, y, 0.1).free)) < 1

    assert within[np.arange(2000), y].mean() >= 0.9


# Bands


@pytest.mark.parametrize("windows", [9, 20, 100, 2000])
def test_the_band_is_the_beta_distribution(windows) -> None:
    """Compared with scipy."""
    missed = math.floor((windows + 1) * 0.1 + 1e-9)
    low, high = stats.beta(windows + 1 - missed, missed).ppf([0.025, 0.975])
    band = coverage_band(windows, 0.1, 0.95)

    assert (band.low, band.high) == pytest.approx((low, high), abs=1e-10)


@pytest.mark.parametrize(("windows", "tested"), [(9, 2), (9, 4), (20, 50), (100, 1), (250, 1002), (2000, 30_000)])
def test_the_band_of_tested_windows_is_beta_binomial(windows, tested) -> None:
    """Compared with two quantiles of scipy."""
    missed = math.floor((windows + 1) * 0.1 + 1e-9)
    low, high = stats.betabinom(tested, windows + 1 - missed, missed).ppf([0.025, 0.975]) / tested
    band = coverage_band(windows, 0.1, 0.95, tested)

    assert (band.low, band.high) == pytest.approx((low, high), abs=1e-12)


def test_full_sets_cover_all() -> None:
    """Eight windows give no threshold."""
    assert coverage_band(8, 0.1, 0.95, 50) == CoverageBand(low=1, high=1, level=0.95)


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
    found = conformal.measure(sets, predictions, ("a", "b", "c"), BAND, QUICK)

    assert (found.coverage, found.mean_size) == pytest.approx((held.mean(), sets.sum() / 60))
    assert found.per_class["b"].coverage == pytest.approx(held[predictions.y == 1].mean())
    assert found.per_subject["s1"].mean_size == pytest.approx(sets[1::2].sum() / 30)
    assert (found.per_class["c"].windows, found.per_class["c"].coverage) == (0, None)


def test_sizes_are_counted() -> None:
    """The shares of empty sets and of sets with one class."""
    sets, predictions = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1]], bool), example(2)[1]
    four = Predictions(*(array[:4] for array in predictions[:5]))
    found = conformal.measure(sets, four, ("a", "b", "c"), BAND, QUICK)

    assert (found.empty, found.singletons, found.mean_size) == (0.25, 0.5, 1.25)


def test_the_interval_equals_resampling_windows() -> None:
    """Of complete subjects."""
    sets, predictions = example(6)
    held = sets[np.arange(60), predictions.y]
    times = (np.random.default_rng([0, 1]).random((100, 6)) * 6).astype(int)
    values = [np.concatenate([held[i::6] for i in row]).mean() for row in times]
    interval = conformal.measure(sets, predictions, ("a", "b", "c"), BAND, QUICK).interval

    assert isinstance(interval, Interval)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_few_subjects_have_no_interval() -> None:
    """The record is read back from its bytes."""
    found = conformal.measure(*example(2), ("a", "b", "c"), BAND, QUICK)

    assert isinstance(found.interval, NoInterval)
    assert SetMetrics.model_validate_json(found.to_bytes()) == found
