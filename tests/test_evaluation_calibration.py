"""calibration.json: its fit, the decision on the temperature, and how it is judged on subjects left out."""

import subprocess
import sys

import numpy as np
import pytest
from example_records import example_predictions
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from modelreg import errors
from modelreg.evaluation import calibration, calibration_v1
from modelreg.evaluation.calibration import Origin, apply, fit_calibration, limit_of, measure_calibration
from modelreg.evaluation.metrics import Predictions
from modelreg.records import base
from modelreg.records.calibration import (
    SETS,
    ConfidenceMetrics,
    ConfidenceRecord,
    NoThreshold,
    Threshold,
    kind_of,
)
from modelreg.records.calibration_v1 import ConfidenceMetricsV1, ConfidenceRecordV1
from modelreg.records.metrics import EvaluationSettings

QUICK = EvaluationSettings(replicates=100)
ORIGIN = Origin(("a", "b", "c", "d"), "a" * 64, "b" * 64)


def drawn(subjects: int = 12, *, sharpness: float = 1.0, windows: int = 80, seed: int = 0) -> Predictions:
    """Return windows whose labels follow softmax(logits / sharpness); subjects have different numbers of them."""
    rng = np.random.default_rng(seed)
    member = np.repeat(np.arange(subjects), windows + 3 * np.arange(subjects))
    logits = rng.normal(scale=1.5, size=(len(member), 4))
    p = np.exp(log_softmax(logits, axis=1))
    y = (rng.random((len(member), 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=3)
    names = np.array([f"s{i:02}" for i in member])
    return Predictions((logits * sharpness).astype(np.float32), y, names, names, np.arange(len(member)))


# Temperature


@pytest.mark.parametrize("sharpness", [0.4, 3.0])
def test_a_temperature_that_helps_every_subject_is_applied(sharpness) -> None:
    """It is the inverse of the error in the logits."""
    found = fit_calibration(drawn(sharpness=sharpness), ORIGIN).temperature

    assert (found.outcome, found.value) == ("applied", pytest.approx(sharpness, rel=0.1))


def test_a_temperature_without_an_effect_is_declined() -> None:
    """The fitted value is kept in the record, and 1 is applied."""
    found = fit_calibration(drawn(), ORIGIN).temperature

    assert (found.outcome, found.value, found.fitted != 1) == ("declined", 1.0, True)


def test_a_temperature_that_helps_few_subjects_is_declined() -> None:
    """Two of twelve are over-confident by far: the pooled log loss improves, that of most subjects does not."""
    predictions = drawn()
    odd = np.isin(predictions.subject, ["s00", "s01"])
    logits = np.where(odd[:, None], 6 * predictions.logits, predictions.logits)
    found = fit_calibration(predictions._replace(logits=logits), ORIGIN).temperature

    assert (found.outcome, found.fitted > 1.2) == ("declined", True)


@pytest.mark.parametrize(("subjects", "gains"), [(1, 0), (2, 2), (4, 4)])
def test_few_subjects_cannot_judge_a_temperature(subjects, gains) -> None:
    """However large the effect on them is."""
    found = fit_calibration(drawn(subjects, sharpness=5.0), ORIGIN).temperature

    assert (found.outcome, found.value, len(found.per_subject)) == ("too_few_subjects", 1.0, gains)


def test_a_fit_at_its_bound_is_refused() -> None:
    """Every window is right: the log loss decreases with the temperature until the bound."""
    predictions = drawn()
    logits = np.eye(4, dtype=np.float32)[predictions.y]
    found = fit_calibration(predictions._replace(logits=logits), ORIGIN).temperature

    assert (found.outcome, found.value, found.at_bound) == ("at_bound", 1.0, True)


def test_a_fit_at_its_bound_without_one_subject_is_refused() -> None:
    """Only one subject has wrong windows: the fit that leaves it out ends at the bound."""
    predictions = drawn()
    right = predictions.subject != "s00"
    chosen = np.where(right, predictions.y, np.arange(len(right)) % 4)
    found = fit_calibration(predictions._replace(logits=np.eye(4, dtype=np.float32)[chosen]), ORIGIN).temperature

    assert (found.at_bound, found.outcome, found.value) == (False, "at_bound", 1.0)


def loss(predictions: Predictions, temperature: float) -> float:
    """Return scipy's mean log loss."""
    log_p = log_softmax(predictions.logits.astype(np.float64) / temperature, axis=1)
    return float(-log_p[np.arange(len(log_p)), predictions.y].mean())


def test_gains_equal_those_of_another_minimizer() -> None:
    """Each subject's, at the temperature that scipy finds for all others; mean and standard error are over subjects."""
    predictions = drawn(6, sharpness=1.5)
    found = fit_calibration(predictions, ORIGIN).temperature
    expected = []
    for name in np.unique(predictions.subject):
        mine, others = (
            predictions.rows(chosen) for chosen in (predictions.subject == name, predictions.subject != name)
        )
        best = minimize_scalar(lambda log_t, fit=others: loss(fit, np.exp(log_t)), bounds=(-3, 3), method="bounded")
        expected.append(loss(mine, 1.0) - loss(mine, np.exp(best.x)))
    gains = [row.log_loss_before - row.log_loss_after for row in found.per_subject.values()]

    assert gains == pytest.approx(expected, abs=1e-6)
    assert (found.gain, found.error) == pytest.approx((np.mean(expected), np.std(expected, ddof=1) / 6**0.5), abs=1e-6)


@settings(max_examples=10)
@given(st.integers(0, 2**32))
def test_more_miscalibration_gives_a_larger_gain(seed) -> None:
    """Of the same windows, with logits that are too large by 1.5, 3 and 6."""
    gains = [
        fit_calibration(drawn(6, sharpness=s, windows=40, seed=seed), ORIGIN).temperature.gain for s in (1.5, 3.0, 6.0)
    ]

    assert gains == sorted(gains)


@settings(max_examples=10)
@given(st.integers(0, 2**32))
def test_the_order_of_windows_and_the_names_of_subjects_change_nothing(seed) -> None:
    """Temperature, gains and thresholds, but for the last bits of sums."""
    rng = np.random.default_rng(seed)
    predictions = drawn(10, sharpness=2.0, windows=20)
    order, names = (
        rng.permutation(len(predictions.y)),
        {f"s{i:02}": f"t{n:02}" for i, n in enumerate(rng.permutation(10))},
    )
    renamed = np.array([names[name] for name in predictions.subject])
    one = fit_calibration(predictions, ORIGIN)
    other = fit_calibration(predictions._replace(subject=renamed).rows(order), ORIGIN)

    assert (other.temperature.value, other.temperature.gain, other.temperature.error) == pytest.approx(
        (one.temperature.value, one.temperature.gain, one.temperature.error), abs=1e-12
    )
    assert [limit_of(other, kind) for kind in SETS] == pytest.approx([limit_of(one, kind) for kind in SETS], abs=1e-12)


def test_the_order_of_windows_does_not_change_what_is_judged() -> None:
    """Fitted windows in another order are still judged by leaving their subjects out."""
    predictions = drawn(10, sharpness=2.0, windows=20)
    record = fit_calibration(predictions, ORIGIN)
    shuffled = predictions.rows(np.random.default_rng(0).permutation(len(predictions.y)))

    assert measure_calibration(shuffled, record, QUICK) == measure_calibration(predictions, record, QUICK)
    assert fit_calibration(shuffled, ORIGIN) == record


def test_a_value_that_contradicts_its_outcome_is_refused() -> None:
    """In any document."""
    document = fit_calibration(drawn(), ORIGIN).to_document()
    document["temperature"]["value"] = document["temperature"]["fitted"]

    with pytest.raises(ValidationError, match="value must be that of"):
        ConfidenceRecord.model_validate(document, strict=False)


# Thresholds


def test_thresholds_use_every_window() -> None:
    """Also those that the temperature was fitted on: the judgement leaves each subject out of both."""
    predictions = drawn()
    record = fit_calibration(predictions, ORIGIN)
    own = np.sort(1 - apply(predictions.logits, record).probabilities[np.arange(len(predictions.y)), predictions.y])

    assert limit_of(record) == pytest.approx(own[int(np.ceil((len(own) + 1) * 0.9)) - 1] + 1e-5, abs=1e-12)
    assert record.fitted_on.windows == len(predictions.y)


@pytest.mark.parametrize(("subjects", "highest"), [(1, 0.5), (3, 0.75), (8, 8 / 9)])
def test_few_subjects_promise_nothing_to_a_new_one(subjects, highest) -> None:
    """The record says what they could promise; a set of every class is never returned."""
    record = fit_calibration(drawn(subjects), ORIGIN)
    found = record.sets.new_subject

    assert isinstance(found, NoThreshold)
    assert (found.count, found.needed, found.highest_level) == (subjects, 9, pytest.approx(highest))
    assert "90 %" in found.reason
    assert apply(drawn(1).logits, record, "new_subject").sets is None


def test_few_windows_give_no_pooled_threshold() -> None:
    """Six windows promise at most 6/7."""
    found = fit_calibration(example_predictions(subjects=("v",), windows=6), ORIGIN).sets.pooled

    assert isinstance(found, NoThreshold)
    assert (found.units, found.highest_level) == ("windows", pytest.approx(6 / 7))


def test_the_record_is_read_back_from_its_bytes() -> None:
    """Schema and record agree, with and without gains and thresholds."""
    for found in (drawn(), drawn(1), example_predictions(subjects=("v",), windows=6)):
        record = fit_calibration(found, ORIGIN)
        assert base.parse(record.to_bytes(), kind_of(record.to_bytes(), "x"), "x") == record


def test_the_last_bits_of_another_runtime_change_no_set() -> None:
    """Many windows have exactly the score of the threshold."""
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(5, 4)).astype(np.float32)
    found = example_predictions(windows=200)
    found = found._replace(logits=codes[rng.integers(5, size=len(found.y))])
    record = fit_calibration(found, ORIGIN)
    noisy = found.logits + rng.normal(scale=1e-6, size=found.logits.shape).astype(np.float32)

    np.testing.assert_array_equal(apply(noisy, record).sets, apply(found.logits, record).sets)


# Judged on other predictions


def test_other_predictions_are_judged_as_a_test_split() -> None:
    """With the temperature and the thresholds of the record."""
    record = fit_calibration(drawn(sharpness=3.0), ORIGIN)
    tested = drawn(6, sharpness=3.0, seed=1)
    found = measure_calibration(tested, record, QUICK)
    sets = apply(tested.logits, record).sets

    assert sets is not None
    assert (found.judged_on, found.after.temperature) == ("test_split", record.temperature.value)
    assert found.sets["pooled"].coverage == pytest.approx(sets[np.arange(len(sets)), tested.y].mean())
    assert found.after.equal_mass.error < found.before.equal_mass.error
    assert ConfidenceMetrics.model_validate_json(found.to_bytes()) == found


def test_a_declined_temperature_changes_no_metric() -> None:
    """Nothing is scaled, so that before and after are equal."""
    found = measure_calibration(drawn(6, seed=1), fit_calibration(drawn(), ORIGIN), QUICK)

    assert found.after == found.before


# Judged by leaving subjects out


def test_fitted_predictions_are_judged_by_leaving_each_subject_out() -> None:
    """Fit on all others and apply to each subject: temperature, thresholds, coverage and calibration error."""
    predictions = drawn(11, sharpness=2.0)
    record = fit_calibration(predictions, ORIGIN)
    found = measure_calibration(predictions, record, QUICK)
    scaled, covered = np.zeros(predictions.logits.shape), dict.fromkeys(SETS, 0)
    for name in np.unique(predictions.subject):
        mine = predictions.subject == name
        others = fit_calibration(predictions.rows(~mine), ORIGIN)
        scaled[mine] = predictions.logits[mine].astype(np.float64) / others.temperature.fitted
        for kind in SETS:
            sets = apply(predictions.logits[mine], others, kind).sets
            covered[kind] += sets[np.arange(mine.sum()), predictions.y[mine]].sum()

    assert (record.temperature.outcome, found.judged_on) == ("applied", "left_out_subjects")
    assert {kind: found.sets[kind].coverage for kind in SETS} == pytest.approx(
        {kind: count / len(predictions.y) for kind, count in covered.items()}
    )
    assert found.after.log_loss == pytest.approx(loss(predictions._replace(logits=scaled), 1.0))


def test_leaving_one_of_nine_subjects_out_leaves_no_promise() -> None:
    """Nine can promise 90 % to a new subject, but the eight others cannot show it on one of them."""
    predictions = drawn(9)
    record = fit_calibration(predictions, ORIGIN)
    found = measure_calibration(predictions, record, QUICK).sets["new_subject"]

    assert isinstance(record.sets.new_subject, Threshold)
    assert isinstance(found, NoThreshold)
    assert (found.count, "left out" in found.reason) == (8, True)


def test_one_subject_alone_is_judged_without_sets() -> None:
    """No other subject is left to fit on."""
    predictions = drawn(1)
    found = measure_calibration(predictions, fit_calibration(predictions, ORIGIN), QUICK)

    assert [type(found.sets[kind]) for kind in SETS] == [NoThreshold] * 2


def test_exchangeable_subjects_are_covered_on_average() -> None:
    """By both kinds, over 20 draws; the sets for a new subject cover at least as many and are larger."""
    measured = []
    for seed in range(20):
        predictions = drawn(11, windows=30, seed=seed)
        found = measure_calibration(predictions, fit_calibration(predictions, ORIGIN), QUICK).sets
        measured.append([(found[kind].subject_mean, found[kind].mean_size) for kind in SETS])
    (pooled, size), (new, larger) = np.mean(measured, axis=0)

    assert pooled == pytest.approx(0.9, abs=0.02)
    assert (new >= 0.9, larger > size) == (True, True)


# Schema version 1, and devices


def test_a_document_of_modelreg_0_2_is_applied_and_measured() -> None:
    """By its own rules: the LAC threshold, and metrics of its version."""
    first = calibration_v1.fit_calibration(example_predictions(subjects=("v1", "v2")), ORIGIN, level=0.95)
    logits = example_predictions().logits
    sets = apply(logits, first).sets
    found = measure_calibration(example_predictions(), first, QUICK)

    assert (kind_of(first.to_bytes(), "x"), type(found)) == (ConfidenceRecordV1, ConfidenceMetricsV1)
    np.testing.assert_array_equal(sets, calibration_v1.apply(logits, first).sets["lac"])
    assert isinstance(limit_of(first, "new_subject"), str)


def test_a_document_that_is_not_json_is_refused() -> None:
    """As any other document."""
    with pytest.raises(errors.InputError):
        kind_of(b"{", "calibration.json")


def test_a_document_over_its_limit_is_not_parsed_for_its_version() -> None:
    """The record refuses it by its size."""
    assert kind_of(b"{" * (ConfidenceRecord.SIZE_LIMIT + 1), "calibration.json") is ConfidenceRecord


def test_apply_needs_numpy_only() -> None:
    """A device has no scipy and no torch."""
    probe = (
        "import sys, modelreg.evaluation.calibration; "
        "print([m for m in ('scipy', 'torch', 'jsonschema') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_the_constants_are_those_of_the_documentation() -> None:
    """Target 90 %, two standard errors, five subjects."""
    assert (calibration.ALPHA, calibration.FACTOR, calibration.SUBJECTS) == (0.1, 2.0, 5)
