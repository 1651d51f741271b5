"""Calibration of schema version 1: its sets compared with mapie, its bands with scipy, its fit and its effect."""

import math

import numpy as np
import pytest
from example_records import SUBJECTS, example_predictions
from hypothesis import given
from hypothesis import strategies as st
from mapie.classification import SplitConformalClassifier
from mapie.conformity_scores import RAPSConformityScore
from pydantic import ValidationError
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin

from modelreg.evaluation import calibration_v1
from modelreg.evaluation.calibration_parts import Origin
from modelreg.evaluation.calibration_v1 import (
    NO_PENALTY,
    Division,
    Ranks,
    apply,
    choose_ranks,
    coverage_band,
    divide,
    fit_calibration,
    measure_calibration,
    scores,
)
from modelreg.evaluation.conformal import sets_of, threshold, true_scores
from modelreg.evaluation.metrics import Predictions
from modelreg.records import base
from modelreg.records.calibration_v1 import (
    SETS,
    ConfidenceMetricsV1,
    ConfidenceRecordV1,
    CoverageBand,
    ThresholdsRecord,
)
from modelreg.records.metrics import EvaluationSettings, Reason

QUICK = EvaluationSettings(replicates=100)
ORIGIN = Origin(("a", "b", "c", "d"), "a" * 64, "b" * 64)


def drawn(windows: int, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (N, K), and labels drawn from them."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, 0.7), windows)
    return p, (rng.random((windows, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)


def validation(subjects: int = 2, recordings: int = 2, windows: int = 60, seed: int = 0) -> Predictions:
    """Return predictions of a fair model; each subject has the same number of recordings."""
    names = [f"v{i}" for i in range(subjects)]
    found = example_predictions(subjects=names, windows=windows, seed=seed)
    number = np.arange(len(found.y)) % recordings
    labels = [f"{name}-r{n}" for name, n in zip(found.subject, number, strict=True)]
    return found._replace(recording=np.array(labels))


def thresholds(record: ConfidenceRecordV1) -> ThresholdsRecord:
    """Return the thresholds, which must exist."""
    assert isinstance(record.conformal, ThresholdsRecord)
    return record.conformal


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
        penalty: calibration_v1._mean_size(scores(p, "raps", Ranks(penalty, chosen.free)), y, 0.1)
        for penalty in (0.001, 0.01, 0.1, 0.2, 0.5)  # of Angelopoulos 2021
    }

    assert (calibration_v1.PENALTIES, sizes[chosen.penalty]) == (tuple(sizes), min(sizes.values()))
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
    misses = math.floor((windows + 1) * 0.1 + 1e-9)
    low, high = stats.beta(windows + 1 - misses, misses).ppf([0.025, 0.975])
    band = coverage_band(windows, 0.1, 0.95)

    assert (band.low, band.high) == pytest.approx((low, high), abs=1e-10)


@pytest.mark.parametrize(("windows", "tested"), [(9, 2), (9, 4), (20, 50), (100, 1), (250, 1002), (2000, 30_000)])
def test_the_band_of_tested_windows_is_beta_binomial(windows, tested) -> None:
    """Compared with two quantiles of scipy."""
    misses = math.floor((windows + 1) * 0.1 + 1e-9)
    low, high = stats.betabinom(tested, windows + 1 - misses, misses).ppf([0.025, 0.975]) / tested
    band = coverage_band(windows, 0.1, 0.95, tested)

    assert (band.low, band.high) == pytest.approx((low, high), abs=1e-12)


def test_full_sets_cover_all() -> None:
    """Eight windows give no threshold."""
    assert coverage_band(8, 0.1, 0.95, 50) == CoverageBand(low=1, high=1, level=0.95)


# Dividing


@pytest.mark.parametrize(("subjects", "by"), [(1, "recording"), (2, "subject"), (5, "subject")])
def test_several_subjects_are_divided(subjects, by) -> None:
    """Else recordings are; every name and every window is in exactly one half."""
    found = validation(subjects)
    division = divide(found)

    assert isinstance(division, Division)
    assert division.by == by
    names = getattr(found, by)
    assert not set(names[division.temperature]) & set(names[division.conformal])
    assert (division.temperature ^ division.conformal).all()


@given(st.integers(2, 9), st.integers(0, 2**32))
def test_halves_have_similar_sizes(recordings, seed) -> None:
    """Of equal recordings, each half has at least a third."""
    division = divide(validation(1, recordings, windows=10 * recordings, seed=seed))

    assert isinstance(division, Division)
    assert 1 / 3 <= division.conformal.mean() <= 2 / 3


def test_recordings_of_one_class_each_are_paired() -> None:
    """With two recordings of every class, each half gets one of each."""
    y = np.repeat([0, 1, 2], 20)
    names = np.array([f"{k}-{side}" for k in range(3) for side in ("left", "right") for _ in range(10)])
    found = Predictions(np.zeros((60, 3), np.float32), y, np.full(60, "s"), names, np.arange(60))
    division = divide(found)

    assert isinstance(division, Division)
    assert [np.bincount(y[half]).tolist() for half in division[1:]] == [[10, 10, 10]] * 2


@given(st.integers(0, 2**32))
def test_the_order_of_windows_does_not_change_the_division(seed) -> None:
    """Names decide, not positions."""
    found = validation(3, 3)
    order = np.random.default_rng(seed).permutation(len(found.y))
    one, other = divide(found), divide(found.rows(order))

    assert isinstance(one, Division)
    assert isinstance(other, Division)
    np.testing.assert_array_equal(one.conformal[order], other.conformal)


def test_one_recording_cannot_be_divided() -> None:
    """There is a reason."""
    assert divide(validation(1, 1)) == Reason(
        reason="the validation part has one recording; temperature and thresholds need two"
    )


def test_one_recording_of_each_class_cannot_be_divided() -> None:
    """Each half would miss classes."""
    y = np.repeat([0, 1], 10)
    names = np.array([f"r{k}" for k in y])
    found = divide(Predictions(np.zeros((20, 2), np.float32), y, np.full(20, "s"), names, np.arange(20)))

    assert isinstance(found, Reason)
    assert "validate on two subjects" in found.reason


# Fitting


def test_the_fitted_windows_are_recorded() -> None:
    """Names, counts and digests of each half."""
    record = fit_calibration(validation(), ORIGIN, level=0.95)
    one, other = record.temperature.fitted_on, thresholds(record).fitted_on

    assert {*one.subjects, *other.subjects} == {"v0", "v1"}
    assert one.windows == sum(one.class_windows.values()) == 60
    assert one.predictions_sha256 != other.predictions_sha256


def test_thresholds_do_not_depend_on_the_temperature_half() -> None:
    """Other logits in that half change only the temperature."""
    found = validation()
    division = divide(found)
    assert isinstance(division, Division)
    logits = found.logits.copy()
    logits[division.conformal] = logits[division.conformal][::-1]
    one, other = (
        fit_calibration(found, ORIGIN, level=0.95),
        fit_calibration(found._replace(logits=logits), ORIGIN, level=0.95),
    )

    assert one.temperature == other.temperature
    assert thresholds(one).lac != thresholds(other).lac


def test_without_division_the_temperature_has_all_windows() -> None:
    """The record has a reason instead of thresholds."""
    record = fit_calibration(validation(1, 1), ORIGIN, level=0.95)

    assert isinstance(record.conformal, Reason)
    assert (record.temperature.fitted_on.windows, record.divided_by) == (60, None)


def test_few_windows_give_full_sets() -> None:
    """Six windows guarantee nothing at 90 %: no threshold, and every class in every set."""
    found = validation(windows=6)
    record = fit_calibration(found, ORIGIN, level=0.95)

    assert (thresholds(record).lac, thresholds(record).aps) == (None, None)
    assert all(sets.all() for sets in apply(found.logits, record).sets.values())


def test_the_record_is_read_back_from_its_bytes() -> None:
    """Schema and record agree."""
    for found in (validation(), validation(1, 1), validation(windows=6)):
        record = fit_calibration(found, ORIGIN, level=0.95)
        assert base.parse(record.to_bytes(), ConfidenceRecordV1, "x") == record


def test_halves_that_share_a_recording_are_refused() -> None:
    """In any document."""
    document = fit_calibration(validation(), ORIGIN, level=0.95).to_document()
    document["conformal"]["fitted_on"] = document["temperature"]["fitted_on"]

    with pytest.raises(ValidationError, match="fitted on the same recordings: v"):
        ConfidenceRecordV1.model_validate(document, strict=False)


# Applying and measuring


def test_fitted_windows_are_covered() -> None:
    """At least 90 % of the windows that the thresholds were fitted on, for every method."""
    found = validation(windows=200)
    record = fit_calibration(found, ORIGIN, level=0.95)
    division = divide(found)
    assert isinstance(division, Division)
    rows = np.flatnonzero(division.conformal)
    answers = apply(found.logits[rows], record)

    assert set(answers.sets) == set(SETS)
    assert all(sets[np.arange(len(rows)), found.y[rows]].mean() >= 0.9 for sets in answers.sets.values())


def test_the_last_bits_of_another_runtime_change_no_set() -> None:
    """Many windows have exactly the score of the threshold."""
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(5, 4)).astype(np.float32)
    found = validation(windows=200)
    found = found._replace(logits=codes[rng.integers(5, size=400)])
    record = fit_calibration(found, ORIGIN, level=0.95)
    noisy = found.logits + rng.normal(scale=1e-6, size=(400, 4)).astype(np.float32)

    for method, sets in apply(found.logits, record).sets.items():
        np.testing.assert_array_equal(apply(noisy, record).sets[method], sets)


def test_probabilities_are_those_of_the_temperature() -> None:
    """They are softmax(logits / T)."""
    found = validation()
    record = fit_calibration(found, ORIGIN, level=0.95)
    odds = np.exp(found.logits.astype(np.float64) / record.temperature.value)

    np.testing.assert_allclose(apply(found.logits, record).probabilities, odds / odds.sum(axis=1, keepdims=True))


def test_calibration_is_measured_before_and_after() -> None:
    """With both temperatures, and the coverage of every method."""
    record = fit_calibration(validation(), ORIGIN, level=0.95)
    found = measure_calibration(example_predictions(subjects=SUBJECTS), record, QUICK)

    assert (found.before.temperature, found.after.temperature) == (1.0, record.temperature.value)
    assert not isinstance(found.sets, Reason)
    assert list(found.sets) == list(SETS)
    assert ConfidenceMetricsV1.model_validate_json(found.to_bytes()) == found


def test_without_thresholds_the_reason_is_kept() -> None:
    """In place of the sets."""
    record = fit_calibration(validation(1, 1), ORIGIN, level=0.95)

    assert measure_calibration(example_predictions(), record, QUICK).sets == record.conformal
    assert apply(example_predictions().logits, record).sets == {}
