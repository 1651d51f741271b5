"""Metrics compared with scikit-learn and with their definitions, and their invariances."""

import math
import re

import numpy as np
import pytest
from example_records import LEVELS, SETTINGS, SUBJECTS, example_metrics, example_predictions
from hypothesis import given
from hypothesis import strategies as st
from places import places
from sklearn import metrics as sklearn_metrics

from modelreg import files
from modelreg.artifacts import npz
from modelreg.errors import InputError
from modelreg.evaluation import metrics
from modelreg.evaluation.metrics import Predictions, compute, differences, from_arrays, log_softmax
from modelreg.records.metrics import EvaluationSettings, Interval, Metrics, NoInterval

QUICK = EvaluationSettings(replicates=100)
NAMES = tuple("abcdefgh")


@st.composite
def any_predictions(draw) -> Predictions:
    """Draw predictions of 1 to 60 windows; classes may be missing, logits equal, subjects few or many."""
    windows, classes = draw(st.integers(1, 60)), draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from([0.0, 1.0, 20.0]))
    logits = rng.normal(scale=spread, size=(windows, classes)).round(draw(st.sampled_from([0, 6])))
    subjects = rng.integers(draw(st.integers(1, 8)), size=windows)
    return Predictions(
        logits=logits.astype(np.float32),
        y=rng.integers(draw(st.integers(1, classes)), size=windows),
        subject=np.array([f"s{subject}" for subject in subjects]),
        recording=np.array([f"r{subject}" for subject in subjects]),
        start=np.arange(windows, dtype=np.int64),
        code=rng.integers(math.prod(LEVELS), size=windows),
    )


def measure(predictions: Predictions, settings: EvaluationSettings = QUICK) -> Metrics:
    """Compute every metric, with the right number of class names."""
    return compute(predictions, classes=NAMES[: predictions.logits.shape[1]], levels=LEVELS, settings=settings)


def constant_confidence(confidences: np.ndarray, correct: np.ndarray) -> Predictions:
    """Return predictions of two classes with these confidences (N,) in class 0, all above 0.5."""
    logits = np.stack([np.log(confidences), np.log1p(-confidences)], axis=1)
    names = np.array([f"s{i % 6}" for i in range(len(confidences))])
    start = np.arange(len(confidences), dtype=np.int64)
    return Predictions(logits.astype(np.float32), (~correct).astype(np.int64), names, names, start)


# Scores, held against scikit-learn


@given(any_predictions())
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_scores_equal_scikit_learn(predictions) -> None:
    """Accuracy, balanced accuracy and F1 scores, with zero_division 0."""
    y, predicted = predictions.y, predictions.logits.argmax(axis=1)
    labels = range(predictions.logits.shape[1])
    f1 = {
        average: sklearn_metrics.f1_score(y, predicted, labels=labels, average=average, zero_division=0)
        for average in ("macro", "weighted")
    }
    expected = (
        sklearn_metrics.accuracy_score(y, predicted),
        sklearn_metrics.balanced_accuracy_score(y, predicted),
        f1["macro"],
        f1["weighted"],
    )
    ours = measure(predictions)

    assert (ours.accuracy, ours.balanced_accuracy, ours.macro_f1, ours.weighted_f1) == pytest.approx(expected)


@given(any_predictions())
def test_each_class_equals_scikit_learn(predictions) -> None:
    """Precision, recall, F1 and support of each class, with or without windows."""
    labels = range(predictions.logits.shape[1])
    expected = sklearn_metrics.precision_recall_fscore_support(
        predictions.y, predictions.logits.argmax(axis=1), labels=labels, zero_division=0
    )
    rows = measure(predictions).per_class.values()

    ours = np.array([(row.precision, row.recall, row.f1, row.support) for row in rows])
    np.testing.assert_allclose(ours.T, np.array(expected))


@given(any_predictions())
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_confusion_equals_scikit_learn(predictions) -> None:
    """Rows are true classes, columns predicted classes."""
    labels = range(predictions.logits.shape[1])
    expected = sklearn_metrics.confusion_matrix(predictions.y, predictions.logits.argmax(axis=1), labels=labels)

    assert measure(predictions).confusion == tuple(map(tuple, expected.tolist()))


@given(any_predictions())
def test_each_subject_equals_scikit_learn(predictions) -> None:
    """Accuracy of the subject's windows, and macro F1 over the classes in them."""
    predicted = predictions.logits.argmax(axis=1)
    for name, row in measure(predictions).per_subject.items():
        mine = predictions.subject == name
        y, answers = predictions.y[mine], predicted[mine]
        f1 = sklearn_metrics.f1_score(y, answers, labels=np.unique(y), average="macro", zero_division=0)
        assert (row.windows, row.accuracy, row.macro_f1) == pytest.approx((mine.sum(), (y == answers).mean(), f1))


def test_log_loss_equals_scikit_learn() -> None:
    """Log loss of moderate logits, which scikit-learn does not clip."""
    predictions = example_predictions()
    probabilities = np.exp(log_softmax(predictions.logits))

    assert measure(predictions).log_loss == pytest.approx(
        sklearn_metrics.log_loss(predictions.y, probabilities / probabilities.sum(axis=1, keepdims=True))
    )


@given(any_predictions())
def test_brier_is_its_definition(predictions) -> None:
    """The squared error summed over classes, mean over windows."""
    wide = predictions.logits.astype(np.float64)
    total = 0.0
    for row, y in zip(wide, predictions.y, strict=True):
        p = [1 / sum(math.exp(other - logit) for other in row) for logit in row]
        total += sum((p[k] - (k == y)) ** 2 for k in range(len(p)))

    assert measure(predictions).brier == pytest.approx(total / len(wide))


def test_log_loss_of_huge_logits_is_finite() -> None:
    """Nothing is clipped, and nothing overflows."""
    most = np.finfo(np.float32).max
    names = np.array(["s"])
    sure = Predictions(
        np.array([[most, -most]], np.float32), np.array([1]), names, names, np.zeros(1, np.int64), np.zeros(1, np.int64)
    )

    assert measure(sure).log_loss == pytest.approx(2 * float(most))


def test_baselines() -> None:
    """The share of the majority class, and one over the number of classes."""
    right = np.array([True, True, True, False])
    baselines = measure(constant_confidence(np.full(4, 0.9), right)).baselines

    assert (baselines.majority_accuracy, baselines.uniform_accuracy) == (0.75, 0.5)


# Calibration


def naive_error(confidence: np.ndarray, correct: np.ndarray, bins: int) -> float:
    """Compute the definition bin by bin, for confidences that all differ."""
    order = sorted(range(len(confidence)), key=lambda i: confidence[i])
    error, begin = 0.0, 0
    for index in range(bins):
        size = len(order) // bins + (index < len(order) % bins)
        part = order[begin : begin + size]
        begin += size
        if part:
            gap = sum(correct[i] for i in part) / size - sum(confidence[i] for i in part) / size
            error += size / len(order) * abs(gap)
    return error


@given(st.integers(1, 200), st.integers(2, 20), st.integers(0, 2**32))
def test_calibration_error_equals_a_loop(windows, bins, seed) -> None:
    """Equal-mass bins of the sorted confidences, also with fewer windows than bins."""
    rng = np.random.default_rng(seed)
    predictions = constant_confidence(rng.uniform(0.51, 0.99, windows), rng.random(windows) < 0.8)
    confidence = np.exp(log_softmax(predictions.logits)).max(axis=1)
    calibration = measure(predictions, EvaluationSettings(ece_bins=bins, replicates=100)).calibration

    assert calibration.ece == pytest.approx(naive_error(confidence, predictions.y == 0, bins), abs=1e-9)


def test_reliability_table_counts_every_window() -> None:
    """Equal-mass bins differ by at most one window and are sorted by confidence."""
    table = example_metrics().calibration.table

    assert sum(row.count for row in table) == 240
    assert max(row.count for row in table) - min(row.count for row in table) <= 1
    assert [row.confidence for row in table] == sorted(row.confidence for row in table)


def test_equal_confidences_share_their_accuracy() -> None:
    """If all confidences are equal, every bin has the same accuracy, for any order of the windows."""
    predictions = constant_confidence(np.full(30, 0.8), np.arange(30) < 24)
    calibration = measure(predictions).calibration

    assert {round(row.accuracy, 12) for row in calibration.table} == {0.8}
    assert calibration.ece == pytest.approx(0, abs=1e-7)


def test_confidences_that_differ_in_the_last_bits_are_equal() -> None:
    """The order of a sum changes its last bit, which must not change the bins."""
    rng = np.random.default_rng(0)
    logits = rng.permuted(np.tile(rng.normal(size=8), (60, 1)), axis=1).astype(np.float32)
    names = np.full(60, "s")
    y = np.where(np.arange(60) < 45, logits.argmax(axis=1), logits.argmin(axis=1))
    predictions = Predictions(logits, y, names, names, np.arange(60))

    assert len(np.unique(np.exp(log_softmax(logits)).max(axis=1))) > 1
    assert {row.accuracy for row in measure(predictions).calibration.table} == {0.75}


def test_a_calibrated_model_has_an_error_expected_by_chance() -> None:
    """About one in twenty perfectly calibrated models exceeds the 95 % quantile."""
    rng = np.random.default_rng(0)
    above = 0
    for seed in range(300):
        confidence = rng.uniform(0.55, 0.98, 200)
        predictions = constant_confidence(confidence, rng.random(200) < confidence)
        calibration = measure(predictions, EvaluationSettings(replicates=200, seed=seed)).calibration
        above += calibration.ece > calibration.null_high

    assert above / 300 == pytest.approx(0.05, abs=0.03)


@pytest.mark.parametrize(
    ("windows", "mean"), [(96, 0.098), (500, 0.045), (1000, 0.032), (2250, 0.022), (10_000, 0.010)]
)
def test_the_error_expected_by_chance_falls_with_the_number_of_windows(windows, mean) -> None:
    """A perfectly calibrated model shows the errors that models.md C28 measured, for confidences around 0.87."""
    confidence = np.random.default_rng(1).uniform(0.74, 1, windows)
    calibration = measure(constant_confidence(confidence, np.ones(windows, bool))).calibration

    assert calibration.null_mean == pytest.approx(mean, rel=0.1)
    assert calibration.null_high > calibration.null_mean


# Codes


def test_code_usage_by_hand() -> None:
    """Codes 0, 1 and 7 of levels 3 and 4: digits (0, 0), (1, 0), (1, 2)."""
    predictions = example_predictions(subjects=["s"], windows=4)._replace(code=np.array([0, 1, 7, 7]))
    codes = compute(predictions, classes=NAMES[:4], levels=(3, 4), settings=QUICK).codes

    assert codes is not None
    assert (codes.total, codes.used, codes.used_share, codes.levels_used) == (12, 3, 0.25, (2, 2))
    assert codes.perplexity == pytest.approx(2**1.5)


def test_cluster_usage_by_hand() -> None:
    """Three clusters of 50, 49.5 and 0.5 % of the windows: one is below the share of an active one."""
    predictions = example_predictions(subjects=["s"], windows=200)._replace(cluster=np.repeat([0, 3, 5], [100, 99, 1]))
    usage = compute(predictions, classes=NAMES[:4], levels=LEVELS, settings=QUICK).clusters
    share = np.array([0.5, 0.495, 0.005])

    assert usage is not None
    assert (usage.active, usage.perplexity) == (2, pytest.approx(np.exp(-(share * np.log(share)).sum())))


def test_more_codes_than_int64_holds() -> None:
    """The number of codes and the digits are Python integers."""
    predictions = example_predictions()._replace(code=np.full(240, 2**63 - 1))
    codes = compute(predictions, classes=NAMES[:4], levels=(1000,) * 16, settings=QUICK).codes

    assert codes is not None
    assert (codes.total, codes.used, codes.levels_used) == (1000**16, 1, (1,) * 16)


@pytest.mark.parametrize(("codes", "levels"), [(None, LEVELS), (LEVELS, None)])
def test_no_code_usage_without_codes_or_levels(codes, levels) -> None:
    """A model without a quantizer has no code usage."""
    predictions = example_predictions(levels=codes)

    assert compute(predictions, classes=NAMES[:4], levels=levels, settings=QUICK).codes is None


def test_a_code_outside_the_quantizer_is_refused() -> None:
    """A code index must be less than the product of the levels."""
    with pytest.raises(InputError) as caught:
        compute(example_predictions(), classes=NAMES[:4], levels=(3, 2), settings=QUICK)

    assert places(caught.value.problems) == [("predictions.npz: code", "predictions.out-of-range")]


# Intervals


def test_equal_subjects_give_an_interval_of_width_zero() -> None:
    """If every subject has the same confusion, resampling changes nothing."""
    one = example_predictions(subjects=["s"], levels=None)
    six = Predictions(*(np.concatenate([array] * 6) for array in one[:5]))._replace(
        subject=np.repeat(np.array(SUBJECTS), 40)
    )
    found = measure(six)

    for name, interval in found.intervals.items():
        assert isinstance(interval, Interval)
        assert (interval.low, interval.high) == pytest.approx((getattr(found, name),) * 2)


def test_interval_equals_resampling_windows_of_subjects() -> None:
    """Pooled confusion matrices and recomputation from the drawn subjects' windows give the same interval."""
    predictions = example_predictions(windows=15)
    settings = EvaluationSettings(replicates=200, seed=3)
    drawn = (np.random.default_rng([3, 1]).random((200, 6)) * 6).astype(int)
    correct = predictions.logits.argmax(axis=1) == predictions.y
    values = [np.concatenate([correct[15 * s : 15 * s + 15] for s in draw]).mean() for draw in drawn]
    interval = measure(predictions, settings).intervals["accuracy"]

    assert isinstance(interval, Interval)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))
    assert (interval.subjects, interval.replicates, interval.level) == (6, 200, 0.95)


@given(any_predictions())
def test_the_number_of_subjects_decides_on_intervals(predictions) -> None:
    """Five subjects or more give intervals; fewer give the reason."""
    subjects = len(set(predictions.subject.tolist()))
    kind = Interval if subjects >= 5 else NoInterval

    assert all(isinstance(interval, kind) for interval in measure(predictions).intervals.values())


def test_the_reason_counts_the_subjects() -> None:
    """It states how many subjects there are."""
    interval = measure(example_predictions(subjects=SUBJECTS[:3])).intervals["macro_f1"]

    assert interval == NoInterval(reason="3 held-out subjects; an interval over subjects needs 5")


def test_the_draws_do_not_depend_on_each_other() -> None:
    """Fewer bins change the calibration and not the intervals; another seed changes both."""
    predictions = example_predictions()
    first, bins, seed = (
        measure(predictions, EvaluationSettings(replicates=100, **changes))
        for changes in ({}, {"ece_bins": 5}, {"seed": 1})
    )

    assert first.intervals == bins.intervals
    assert first.intervals != seed.intervals
    assert first.calibration.null_mean != seed.calibration.null_mean


# What must not change anything


@given(any_predictions())
def test_the_same_predictions_give_the_same_bytes(predictions) -> None:
    """Every draw is seeded."""
    assert measure(predictions).to_bytes() == measure(predictions).to_bytes()


@given(any_predictions(), st.integers(0, 2**32))
def test_the_order_of_windows_changes_nothing(predictions, seed) -> None:
    """Also if many windows have equal confidences."""
    order = np.random.default_rng(seed).permutation(len(predictions.y))
    permuted = predictions.rows(order)

    assert list(differences(measure(permuted), measure(predictions))) == []


@given(any_predictions(), st.integers(-8, 8))
def test_a_shift_of_all_logits_changes_nothing(predictions, shift) -> None:
    """Only differences of logits matter. They are rounded here so that float32 represents the shifted ones exactly."""
    logits = predictions.logits.round()
    shifted = predictions._replace(logits=logits + np.float32(shift))

    assert list(differences(measure(shifted), measure(predictions._replace(logits=logits)))) == []


@given(any_predictions())
def test_every_record_is_a_valid_document(predictions) -> None:
    """The record is read back from its bytes."""
    found = measure(predictions)

    assert Metrics.model_validate_json(found.to_bytes()) == found


# Reading predictions


@pytest.mark.parametrize("levels", [LEVELS, None])
def test_arrays_are_read_back_from_their_bytes(tmp_path, levels) -> None:
    """From the bytes of an .npz, with and without codes."""
    predictions = example_predictions(levels=levels)
    path = tmp_path / "predictions.npz"
    path.write_bytes(npz.npz_bytes(predictions.arrays()))
    again = from_arrays(npz.read_npz(path), path.name, 4)

    assert again.arrays().keys() == predictions.arrays().keys()
    assert files.sha256_arrays(again.arrays()) == files.sha256_arrays(predictions.arrays())


def _beyond_unicode() -> np.ndarray:
    """Return strings with a code point that does not exist, as in a damaged file."""
    return np.full((4, 2), 0x7FFFFFFF, np.uint32).view("U2").ravel()


BAD = {  # changed arrays, the broken rules with their place, and values that the messages state
    "no logits": ({"logits": None}, [("logits", "array-missing")], ""),
    "no y": ({"y": None}, [("y", "array-missing")], ""),
    "more": ({"weights": np.zeros(4)}, [("weights", "array-unexpected")], ""),
    "other classes": ({"logits": np.zeros((4, 2), np.float32)}, [("logits", "shape-mismatch")], "(4, 2) (4, 3)"),
    "float64": ({"logits": np.zeros((4, 3))}, [("logits", "dtype-mismatch")], "<f8 <f4"),
    "NaN and Inf": ({"logits": np.array([[np.nan, np.inf, 0]] * 4, np.float32)}, [("logits", "not-finite")], "8"),
    "int32": ({"y": np.zeros(4, np.int32)}, [("y", "dtype-mismatch")], "<i4 <i8"),
    "a class too many": ({"y": np.array([0, 1, 2, 3])}, [("y", "out-of-range")], "3 2"),
    "before the start": ({"start": np.array([0, 1, 2, -3])}, [("start", "out-of-range")], "-3"),
    "a negative code": ({"code": np.array([0, 1, 2, -1])}, [("code", "out-of-range")], "-1"),
    "bytes": ({"subject": np.array([b"a"] * 4)}, [("subject", "dtype-mismatch")], "|S1"),
    "foreign order": ({"subject": np.array(["a"] * 4).astype(">U1")}, [("subject", "dtype-mismatch")], ">U1"),
    "no name": ({"subject": np.array(["a", "b", "", "d"])}, [("subject", "invalid-name")], ""),
    "a control character": ({"recording": np.array(["a", "b", "c\n", "d"])}, [("recording", "invalid-name")], ""),
    "no Unicode": ({"recording": _beyond_unicode()}, [("recording", "invalid-name")], ""),
    "too few": ({"start": np.zeros(3, np.int64)}, [("start", "shape-mismatch")], "(3,) (4,)"),
    "two at once": (
        {"y": np.array([0, 1, 2, 9]), "start": np.array([-1.0])},
        [("y", "out-of-range"), ("start", "shape-mismatch"), ("start", "dtype-mismatch")],
        "9 (1,) <f8",
    ),
}


@pytest.mark.parametrize(("changes", "expected", "values"), BAD.values(), ids=BAD.keys())
def test_every_problem_of_the_arrays_is_listed(changes, expected, values) -> None:
    """All in one error, each with its place and rule, and with the values found and expected."""
    arrays = {**example_predictions(3, subjects=["s"], windows=4).arrays(), **changes}
    with pytest.raises(InputError) as caught:
        from_arrays({name: array for name, array in arrays.items() if array is not None}, "p.npz", 3)
    found = caught.value.problems
    said = " ".join(problem.message for problem in found)

    assert places(found) == [(f"p.npz: {array}", f"predictions.{rule}") for array, rule in expected]
    assert all(value in said for value in re.findall(r"\(.*?\)|[^ ]+", values))


def test_no_windows_are_refused() -> None:
    """Metrics need at least one window."""
    arrays = {name: array[:0] for name, array in example_predictions(3).arrays().items()}

    with pytest.raises(InputError) as caught:
        from_arrays(arrays, "p.npz", 3)

    assert places(caught.value.problems) == [("p.npz", "predictions.no-windows")]


def test_a_single_number_is_not_an_array_of_windows() -> None:
    """An array without a dimension is a problem, not a crash."""
    with pytest.raises(InputError) as caught:
        from_arrays({**example_predictions(3).arrays(), "y": np.array(1)}, "p.npz", 3)

    assert places(caught.value.problems) == [("p.npz: y", "predictions.shape-mismatch")]


# Comparing


def test_equal_metrics_do_not_differ() -> None:
    """An EvalMetrics has additional fields, which are not compared."""
    recorded = example_metrics()
    computed = compute(example_predictions(), classes=recorded.classes, levels=LEVELS, settings=SETTINGS)

    assert list(differences(recorded, computed)) == []


def test_every_difference_has_its_path_and_both_values() -> None:
    """Nested or not, numbers beyond the tolerance, counts by one, missing and unexpected values."""
    computed = example_metrics()
    table = computed.calibration.table
    recorded = computed.model_copy(
        update={
            "windows": 241,
            "accuracy": computed.accuracy + 1e-6,
            "brier": computed.brier + 1e-12,
            "calibration": computed.calibration.model_copy(update={"table": table[:-1]}),
            "per_subject": {**computed.per_subject, "ghost": computed.per_subject["s07"]},
            "codes": None,
        }
    )
    found = {problem.where: problem.message for problem in differences(recorded, computed)}

    assert set(found) == {"windows", "accuracy", "calibration.table.14", "per_subject.ghost", "codes"}
    assert ("241" in found["windows"], "240" in found["windows"]) == (True, True)
    assert found["per_subject.ghost"].endswith("recomputed no value")


@given(st.floats(1e-6, 0.1))
def test_every_changed_metric_is_found(amount) -> None:
    """A change of more than the tolerance in any headline metric."""
    computed = example_metrics()
    for name in ("balanced_accuracy", "macro_f1", "weighted_f1", "log_loss"):
        recorded = computed.model_copy(update={name: getattr(computed, name) - amount})
        assert [problem.where for problem in metrics.differences(recorded, computed)] == [name]
