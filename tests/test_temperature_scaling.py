"""Calibration errors compared with netcal, with their definitions, and with metrics.compute."""

import math

import numpy as np
import pytest
from example_records import SUBJECTS, example_predictions
from hypothesis import given
from hypothesis import strategies as st
from netcal.metrics.confidence import ACE, ECE
from netcal.scaling import TemperatureScaling
from scipy.optimize import minimize_scalar

from modelreg.evaluation import metrics, temperature_scaling
from modelreg.evaluation.metrics import Predictions
from modelreg.evaluation.temperature_scaling import fit_temperature, measure_calibration_error
from modelreg.records.calibration import CalibrationMetrics
from modelreg.records.metrics import EvaluationSettings, Interval, NoInterval

QUICK = EvaluationSettings(replicates=100)
KINDS = ("equal_width", "equal_mass", "class_wise", "adaptive")


def drawn(windows: int, classes: int = 4, *, seed: int = 0, sharpness: float = 1.0, subjects: int = 6) -> Predictions:
    """Return windows whose labels follow softmax(logits / sharpness): calibrated at that temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=1.5, size=(windows, classes))
    p = np.exp(metrics.log_softmax(logits))
    y = (rng.random((windows, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)
    names = np.array([f"s{i % subjects}" for i in range(windows)])
    return Predictions((logits * sharpness).astype(np.float32), y, names, names, np.arange(windows, dtype=np.int64))


def probabilities(predictions: Predictions) -> np.ndarray:
    """Return the softmax (N, K)."""
    return np.exp(metrics.log_softmax(predictions.logits))


@st.composite
def any_predictions(draw) -> Predictions:
    """Draw 1 to 60 windows; logits may be equal, classes missing, subjects few or many."""
    windows, classes = draw(st.integers(1, 60)), draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = rng.normal(scale=draw(st.sampled_from([0.0, 1.0, 20.0])), size=(windows, classes))
    names = np.array([f"s{i}" for i in rng.integers(draw(st.integers(1, 8)), size=windows)])
    return Predictions(
        logits=logits.round(draw(st.sampled_from([0, 6]))).astype(np.float32),
        y=rng.integers(draw(st.integers(1, classes)), size=windows),
        subject=names,
        recording=names,
        start=np.arange(windows, dtype=np.int64),
    )


# Errors


@pytest.mark.parametrize(("kind", "equal_intervals"), [("equal_width", True), ("equal_mass", False)])
@pytest.mark.parametrize("seed", range(3))
def test_top_class_errors_equal_netcal(kind, equal_intervals, seed) -> None:
    """The ECE of the top class; netcal's bins are [low, high), which is the same for continuous confidences."""
    predictions = drawn(600, seed=seed)
    expected = ECE(15, equal_intervals=equal_intervals).measure(probabilities(predictions), predictions.y)

    assert getattr(measure_calibration_error(predictions, QUICK), kind).error == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kind", "oracle"), [("class_wise", ECE(15)), ("adaptive", ACE(15, equal_intervals=False))], ids=["ECE", "ACE"]
)
def test_class_errors_equal_netcal(kind, oracle) -> None:
    """The mean over classes of netcal's binary errors; 600 windows give 15 bins of exactly equal mass."""
    predictions = drawn(600)
    p = probabilities(predictions)
    expected = np.mean([oracle.measure(p[:, k], (predictions.y == k).astype(int)) for k in range(4)])

    assert getattr(measure_calibration_error(predictions, QUICK), kind).error == pytest.approx(expected)


@given(any_predictions())
def test_equal_mass_errors_equal_those_of_the_metrics(predictions) -> None:
    """At temperature 1, error and error expected by chance are those of eval_metrics.json."""
    classes = tuple("abcde")[: predictions.logits.shape[1]]
    known = metrics.compute(predictions, classes=classes, levels=None, settings=QUICK).calibration
    found = measure_calibration_error(predictions, QUICK).equal_mass

    assert (found.error, found.bins, found.null_mean, found.null_high) == pytest.approx(
        (known.ece, known.bins, known.null_mean, known.null_high), abs=1e-12
    )
    assert [row.count for row in found.table] == [row.count for row in known.table]


@given(any_predictions(), st.integers(2, 20))
def test_equal_width_is_its_definition(predictions, bins) -> None:
    """Bins (low, high], the first closed, weighted by their windows."""
    p = probabilities(predictions).max(axis=1)
    right = predictions.logits.argmax(axis=1) == predictions.y
    expected = 0.0
    for b in range(bins):
        held = (p.round(12) > round(b / bins, 12)) & (p.round(12) <= round((b + 1) / bins, 12))
        expected += abs(float((p[held] - right[held]).sum())) / len(p)
    found = measure_calibration_error(predictions, EvaluationSettings(replicates=100, ece_bins=bins)).equal_width

    assert found.error == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("value", "index"), [(0.0, 0), (0.2, 0), (0.2000001, 1), (0.6, 2), (1.0, 4)])
def test_an_edge_belongs_to_the_bin_below(value, index) -> None:
    """Bins are (low, high], and 0 is in the first."""
    assert temperature_scaling.equal_width(np.array([value]), 5)[0].tolist() == [index]


@given(st.lists(st.sampled_from([0.1, 0.2, 0.5, 0.9]), min_size=1, max_size=40), st.integers(1, 12))
def test_pieces_divide_windows_into_equal_masses(values, wanted) -> None:
    """With any ties, every bin has its number of windows, and the shares of a window sum to 1."""
    piece, spread = temperature_scaling.equal_mass(np.array(values), wanted)
    masses = np.bincount(piece, minlength=len(spread)) @ spread

    assert np.ptp(masses.round(9)) <= 1
    np.testing.assert_allclose(spread[piece].sum(axis=1), 1)


def test_confident_and_correct_predictions_have_no_error() -> None:
    """The confidence is 1, and so is the accuracy."""
    predictions = example_predictions()
    sure = (200 * np.eye(4)[predictions.y]).astype(np.float32)
    found = measure_calibration_error(predictions._replace(logits=sure), QUICK)

    assert [getattr(found, kind).error for kind in KINDS] == [0, 0, 0, 0]
    assert (found.parts.reliability.error, found.parts.within_bins) == (0, 0)


# Null bands and intervals


def test_a_calibrated_model_has_errors_expected_by_chance() -> None:
    """For every error, about one in twenty exceeds the 95 % quantile."""
    above = [
        [getattr(found, kind).error > getattr(found, kind).null_high for kind in KINDS]
        for found in (measure_calibration_error(drawn(150, seed=seed), QUICK) for seed in range(100))
    ]

    np.testing.assert_allclose(np.mean(above, axis=0), 0.05, atol=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_an_over_confident_model_exceeds_the_error_expected_by_chance(kind) -> None:
    """Its logits are three times too large."""
    found = getattr(measure_calibration_error(drawn(600, sharpness=3), QUICK), kind)

    assert found.error > found.null_high


def test_intervals_equal_resampling_windows() -> None:
    """Sums of bins and recomputation from the drawn subjects' windows give the same interval, for fixed bins."""
    predictions = drawn(240)
    times = np.random.default_rng([0, 1]).random((100, 6))
    by_subject = [np.flatnonzero(predictions.subject == f"s{i}") for i in range(6)]
    errors = []
    for row in (times * 6).astype(int):
        rows = np.concatenate([by_subject[i] for i in row])
        pooled = Predictions(*(array[rows] for array in predictions[:5]))
        errors.append(ECE(15).measure(probabilities(pooled), pooled.y))
    interval = measure_calibration_error(predictions, QUICK).equal_width.interval

    assert isinstance(interval, Interval)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(errors, [0.025, 0.975])))


def test_few_subjects_have_no_interval() -> None:
    """The reason is the same as for every other interval."""
    found = measure_calibration_error(drawn(60, subjects=2), QUICK)
    reason = NoInterval(reason="2 held-out subjects; an interval over subjects needs 5")

    assert [getattr(found, kind).interval for kind in KINDS] == [reason] * 4
    assert found.parts.resolution_interval == reason


# Brier


@given(any_predictions())
def test_the_parts_sum_to_the_brier_score(predictions) -> None:
    """reliability - resolution + uncertainty + within_bins."""
    found = measure_calibration_error(predictions, QUICK)
    parts = found.parts
    whole = parts.reliability.error - parts.resolution + parts.uncertainty + parts.within_bins

    assert whole == pytest.approx(found.brier, abs=1e-9)


def test_the_parts_by_hand() -> None:
    """Two forecasts, each in its own bin: Murphy's example has no remainder."""
    p, right = np.repeat([0.9, 0.6], 10), np.array([1] * 8 + [0] * 2 + [1] * 5 + [0] * 5)
    logits = np.stack([np.log(p), np.log(1 - p)], axis=1).astype(np.float32)
    names = np.full(20, "s")
    parts = measure_calibration_error(Predictions(logits, 1 - right, names, names, np.arange(20)), QUICK).parts

    assert parts.reliability.error == pytest.approx(2 * 0.1**2, abs=1e-6)
    assert parts.resolution == pytest.approx(2 * 0.15**2)
    assert (parts.uncertainty, parts.within_bins) == pytest.approx((2 * 0.65 * 0.35, 0), abs=1e-6)


# What must not change anything


@given(any_predictions(), st.integers(0, 2**32))
def test_the_order_of_windows_changes_nothing(predictions, seed) -> None:
    """Also if windows have equal probabilities."""
    order = np.random.default_rng(seed).permutation(len(predictions.y))
    permuted = Predictions(*(array[order] for array in predictions[:5]))
    ours, theirs = (numbers(measure_calibration_error(each, QUICK).to_document()) for each in (predictions, permuted))

    assert ours == pytest.approx(theirs, abs=1e-9)


def numbers(document: object) -> list[float]:
    """Yield every number of a document, in order."""
    if isinstance(document, dict | list):
        parts = document.values() if isinstance(document, dict) else document
        return [number for part in parts for number in numbers(part)]
    return [float(document)] if isinstance(document, int | float) else []


@given(any_predictions())
def test_every_record_is_a_valid_document(predictions) -> None:
    """The record is read back from its bytes."""
    found = measure_calibration_error(predictions, QUICK)

    assert CalibrationMetrics.model_validate_json(found.to_bytes()) == found


# Temperature


@given(any_predictions())
def test_the_temperature_minimizes_the_log_loss(predictions) -> None:
    """Compared with scipy's bounded search."""

    def loss(log_t: float) -> float:
        return metrics.log_loss(
            temperature_scaling.log_probabilities(predictions.logits, math.exp(log_t)), predictions.y
        )

    found = fit_temperature(predictions.logits, predictions.y)
    other = minimize_scalar(loss, bounds=(-3, 3), method="bounded")

    assert found.after <= other.fun + 1e-9
    assert found.after <= found.before + 1e-12


@pytest.mark.filterwarnings("ignore:independent is deprecated")
def test_the_temperature_equals_netcal() -> None:
    """netcal fits a weight, which is 1/T."""
    predictions = drawn(500, sharpness=2)
    oracle = TemperatureScaling()
    oracle.fit(probabilities(predictions), predictions.y)

    assert fit_temperature(predictions.logits, predictions.y).value == pytest.approx(
        1 / float(np.squeeze(oracle.temperature)), rel=1e-3
    )


@given(st.floats(0.2, 5))
def test_scaled_logits_scale_the_temperature(factor) -> None:
    """Logits c times as large give a T c times as large."""
    predictions = drawn(300)
    one = fit_temperature(predictions.logits, predictions.y).value
    other = fit_temperature((predictions.logits * np.float32(factor)), predictions.y).value

    assert other == pytest.approx(one * factor, rel=1e-4)


@pytest.mark.parametrize(
    ("logits", "y", "value", "at_bound"),
    [
        ([[0.0, 0.0]], [1], 1.0, False),
        ([[800.0, 0.0]], [0], 1.0, False),
        ([[1.0, 0.0]], [0], math.exp(-3), True),
        ([[1.0, 0.0]], [1], math.exp(3), True),
    ],
    ids=["nothing to tell apart", "sure and right", "right", "wrong"],
)
def test_logits_without_a_best_temperature(logits, y, value, at_bound) -> None:
    """A constant loss gives 1; a loss that decreases without end gives the bound and at_bound."""
    found = fit_temperature(np.array(logits, np.float32), np.array(y))

    assert (found.value, found.at_bound) == (pytest.approx(value), at_bound)


def test_temperature_scaling_calibrates_an_over_confident_model() -> None:
    """The error decreases to what is expected by chance."""
    predictions = drawn(2000, sharpness=2.5)
    mended = measure_calibration_error(predictions, QUICK, fit_temperature(predictions.logits, predictions.y).value)

    assert (
        mended.equal_mass.error
        < mended.equal_mass.null_high
        < measure_calibration_error(predictions, QUICK).equal_mass.error
    )


def test_subjects_of_the_example_are_enough() -> None:
    """Six subjects give intervals."""
    found = measure_calibration_error(example_predictions(subjects=SUBJECTS), QUICK)

    assert all(isinstance(getattr(found, kind).interval, Interval) for kind in KINDS)
