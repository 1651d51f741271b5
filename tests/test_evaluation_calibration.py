"""calibration.json: its fit, its contents, and its effect."""

import numpy as np
import pytest
from example_records import SUBJECTS, example_predictions
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from modelreg.evaluation import calibration
from modelreg.evaluation.calibration import Division, Origin, apply, divide, fit_calibration, measure_calibration
from modelreg.evaluation.metrics import Predictions
from modelreg.records import base
from modelreg.records.calibration import SETS, ConfidenceMetrics, ConfidenceRecord, ThresholdsRecord
from modelreg.records.metrics import EvaluationSettings, Reason

QUICK = EvaluationSettings(replicates=100)
ORIGIN = Origin(("a", "b", "c", "d"), "a" * 64, "b" * 64)


def validation(subjects: int = 2, recordings: int = 2, windows: int = 60, seed: int = 0) -> Predictions:
    """Return predictions of a fair model; each subject has the same number of recordings."""
    names = [f"v{i}" for i in range(subjects)]
    found = example_predictions(subjects=names, windows=windows, seed=seed)
    number = np.arange(len(found.y)) % recordings
    labels = [f"{name}-r{n}" for name, n in zip(found.subject, number, strict=True)]
    return found._replace(recording=np.array(labels))


def thresholds(record: ConfidenceRecord) -> ThresholdsRecord:
    """Return the thresholds, which must exist."""
    assert isinstance(record.conformal, ThresholdsRecord)
    return record.conformal


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
        assert base.parse(record.to_bytes(), ConfidenceRecord, "x") == record


def test_halves_that_share_a_recording_are_refused() -> None:
    """In any document."""
    document = fit_calibration(validation(), ORIGIN, level=0.95).to_document()
    document["conformal"]["fitted_on"] = document["temperature"]["fitted_on"]

    with pytest.raises(ValidationError, match="fitted on the same recordings: v"):
        ConfidenceRecord.model_validate(document, strict=False)


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
    assert ConfidenceMetrics.model_validate_json(found.to_bytes()) == found


def test_without_thresholds_the_reason_is_kept() -> None:
    """In place of the sets."""
    record = fit_calibration(validation(1, 1), ORIGIN, level=0.95)

    assert measure_calibration(example_predictions(), record, QUICK).sets == record.conformal
    assert apply(example_predictions().logits, record).sets == {}


def test_apply_needs_numpy_only() -> None:
    """A device has no scipy and no torch."""
    import subprocess
    import sys

    probe = (
        "import sys, modelreg.evaluation.calibration; "
        "print([m for m in ('scipy', 'torch', 'jsonschema') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_alpha_is_ten_percent() -> None:
    """The default target of the coverage is 90 %."""
    assert fit_calibration(validation(), ORIGIN, level=0.95).alpha == calibration.ALPHA == 0.1
