"""Recommendations follow from the metrics, and state them."""

import pytest
from example_records import (
    CLASSES,
    example_data_record,
    example_history,
    example_metrics,
    example_quality_report,
    example_run_record,
)
from hypothesis import given
from hypothesis import strategies as st

from modelreg.documents.report import formatting, markdown, recommendations
from modelreg.records.metrics import EvalMetrics, NoInterval, ReliabilityBin, SubjectMetrics


def calm() -> EvalMetrics:
    """Return metrics without a recommendation: nearly all windows are correct, with high confidence."""
    confusion = tuple(tuple(56 if i == j else 1 for j in range(4)) for i in range(4))
    metrics = example_metrics()
    right = {name: row.model_copy(update={"recall": 0.95, "support": 59}) for name, row in metrics.per_class.items()}
    subjects = dict.fromkeys(metrics.per_subject, SubjectMetrics(windows=40, accuracy=0.95, macro_f1=0.95))
    changes = {"accuracy": 0.95, "confusion": confusion, "per_class": right, "per_subject": subjects}
    return calibrated(metrics.model_copy(update=changes), ece=0.02, null_high=0.05)


def calibrated(metrics: EvalMetrics, **changes) -> EvalMetrics:
    """Return the metrics with another calibration."""
    return metrics.model_copy(update={"calibration": metrics.calibration.model_copy(update=changes)})


def confused(*rows: tuple[int, ...]) -> EvalMetrics:
    """Return calm metrics with the first rows of another confusion matrix, and the recall and support of those."""
    metrics = calm()
    per_class = dict(metrics.per_class)
    for index, (name, row) in enumerate(zip(CLASSES, rows, strict=False)):
        recall = row[index] / sum(row) if sum(row) else 0.0
        per_class[name] = per_class[name].model_copy(update={"recall": recall, "support": sum(row)})
    confusion = (*rows, *metrics.confusion[len(rows) :])
    return metrics.model_copy(update={"confusion": confusion, "per_class": per_class})


def advise(metrics=None, *, data=None, run=None, history=(), quality=None) -> list[recommendations.Advice]:
    """Return the recommendations for calm records, some of them replaced."""
    return recommendations.recommendations(
        metrics or calm(), data or example_data_record(), run or example_run_record(), history, quality
    )


def only(found: list[recommendations.Advice]) -> recommendations.Advice:
    """Return the only recommendation."""
    (one,) = found
    return one


def train_part(**windows: int):
    """Return a data record with these numbers of windows per class in the train split."""
    data = example_data_record()
    train = data.parts.train.model_copy(update={"class_windows": windows, "windows": sum(windows.values())})
    return data.model_copy(update={"parts": data.parts.model_copy(update={"train": train})})


def test_good_metrics_have_no_recommendation() -> None:
    """Every rule has a threshold."""
    assert advise(history=example_history(28, 28), quality=example_quality_report(broken=0)) == []


def test_a_report_without_recommendations_states_this() -> None:
    """An empty section would look like an error."""
    text = markdown.markdown(calm(), example_data_record(), example_run_record(), {})

    assert "## Recommendations\n\nNo recommendations.\n" in text


def test_the_section_lists_findings_with_their_advice() -> None:
    """The finding in bold, then the recommendation."""
    text = markdown.markdown(
        calm(), example_data_record(), example_run_record(), {}, checks=formatting.Checks(example_quality_report(3, 1))
    )

    assert "- **1 of 3 recordings violate a threshold of the quality check. The lowest score is" in text


def test_a_model_at_the_majority_class_baseline() -> None:
    """An equal accuracy is not better."""
    base = calm().baselines.model_copy(update={"majority_accuracy": 0.95})
    found = advise(calm().model_copy(update={"baselines": base}))

    assert only(found).finding.startswith("The accuracy of 0.9500 does not exceed the 0.9500 of the majority-class")


def test_several_test_set_evaluations() -> None:
    """Selection by test metrics biases them upwards."""
    protocol = calm().protocol.model_copy(update={"evaluations": 3})
    found = advise(calm().model_copy(update={"protocol": protocol}))

    assert only(found).finding == "The test split was evaluated 3 times with this run."


def test_too_few_subjects_for_an_interval() -> None:
    """The reason is that of the record, once."""
    none = NoInterval(reason="3 held-out subjects; an interval over subjects needs 5")
    found = advise(calm().model_copy(update={"intervals": {"accuracy": none, "macro_f1": none}}))

    assert only(found).finding == f"No interval: {none.reason}."


def test_a_class_without_a_test_window() -> None:
    """It is not evaluated; its recall of 0 is not an error."""
    found = advise(confused((0, 0, 0, 0)))

    assert only(found).finding == "Classes without a window in the test split: walk. They are not evaluated."


@pytest.mark.parametrize(
    ("second", "times"),
    [((0, 56, 1, 1), "never predicted"), ((1, 56, 1, 1), "predicted 1 time, always incorrectly")],
)
def test_a_class_with_a_recall_of_zero(second, times) -> None:
    """Never predicted, or always incorrectly."""
    metrics = confused((0, 4, 4, 4), second)
    metrics = metrics.model_copy(update={"confusion": (*metrics.confusion[:2], (0, 1, 56, 1), (0, 1, 1, 56))})

    assert only(advise(metrics)).finding == (
        f"Class walk has a recall of 0 on 12 windows and is {times}. The train split has 30 windows of it."
    )


@pytest.mark.parametrize(
    ("trained", "split", "setting"),
    [
        (0, "subject", "see `split.test`."),
        (0, "time", "see `split.test` of a split with `split.by: subject`."),
        (0, "given", "see the splits in the source."),
        (30, "subject", "`training.class_weights: balanced`"),
    ],
)
def test_the_recommendation_for_a_class_that_was_not_learned(trained, split, setting) -> None:
    """Class weights if there are training windows, else another split."""
    assert setting in recommendations._teach(trained, split)


@pytest.mark.parametrize(
    ("kind", "words"), [("npy", "use longer windows in the source."), ("csv", "increase `data.window`.")]
)
def test_precut_windows_are_lengthened_in_the_source(kind, words) -> None:
    """`data.window` has no effect on them."""
    data = example_data_record()
    source = data.sources[0].model_copy(update={"kind": kind})
    found = advise(confused((70, 3, 2, 25)), data=data.model_copy(update={"sources": (source,)}))

    assert only(found).advice.endswith(words)


def test_a_class_predicted_as_another() -> None:
    """Most of its many errors are one class; names are escaped."""
    found = advise(confused((70, 3, 2, 25)))

    assert only(found).finding == (
        r"Class walk is predicted as a\|b \*c\* \<d\> in 25 of 100 windows (25 %), which are 83.3 % of its errors."
    )


@pytest.mark.parametrize(
    "row",
    [
        (81, 19, 0, 0),  # less than a fifth of the class
        (60, 20, 10, 10),  # half of the errors, not more
        (6, 4, 0, 0),  # four windows
    ],
)
def test_errors_without_a_dominant_class(row) -> None:
    """Few errors, or errors over several classes, do not give a recommendation."""
    assert advise(confused(row)) == []


@given(st.lists(st.lists(st.integers(0, 60), min_size=4, max_size=4), min_size=4, max_size=4))
def test_confusions_are_those_of_the_matrix(rows) -> None:
    """By definition: at least 5 windows, a fifth of the class, and more than half of its errors."""
    metrics = confused(*map(tuple, rows))
    expected = [
        f"Class {CLASSES[i]} is predicted as {CLASSES[j]} in {count:,}"
        for i, row in enumerate(rows)
        for j, count in enumerate(row)
        if i != j and count >= max(5, 0.2 * sum(row)) and 2 * count > sum(row) - row[i]
    ]
    found = [
        each.finding.replace("\\", "").split(" of ")[0]
        for each in recommendations._confused(metrics, example_data_record())
    ]

    assert found == expected


def with_subject(accuracy: float, windows: int = 40) -> EvalMetrics:
    """Return calm metrics with another first subject."""
    metrics = calm()
    rows = {**metrics.per_subject, "s07": SubjectMetrics(windows=windows, accuracy=accuracy, macro_f1=0.5)}
    return metrics.model_copy(update={"per_subject": rows, "windows": 200 + windows})


def test_a_subject_far_below_the_others() -> None:
    """Ten points and three standard errors."""
    found = advise(with_subject(0.7))

    assert only(found).finding == (
        "Subject s07 has an accuracy of 0.7000 on 40 windows. The pooled accuracy of all other subjects is 0.9500."
    )


@pytest.mark.parametrize(("accuracy", "windows"), [(0.86, 4000), (0.75, 8)])
def test_a_subject_near_the_others_or_of_few_windows(accuracy, windows) -> None:
    """Nine points are too few, and eight windows may be chance."""
    assert advise(with_subject(accuracy, windows)) == []


def test_a_single_subject_has_no_others() -> None:
    """There is nothing to compare with."""
    alone = {"s07": SubjectMetrics(windows=40, accuracy=0.1, macro_f1=0.1)}

    assert advise(calm().model_copy(update={"per_subject": alone, "windows": 40})) == []


@pytest.mark.parametrize(
    ("confidence", "words"),
    [
        (0.99, "over-confident (mean confidence 0.9900, accuracy 0.9500)."),
        (0.80, "under-confident (mean confidence 0.8000, accuracy 0.9500)."),
        (0.96, "miscalibrated: its confidence is too high for some windows and too low for others (mean"),
    ],
)
def test_miscalibration_has_a_direction(confidence, words) -> None:
    """Over, under, or both, if the means differ by less than half of the error."""
    table = (ReliabilityBin(count=240, confidence=confidence, accuracy=0.95),)
    found = advise(calibrated(calm(), ece=0.06, null_high=0.05, table=table))

    assert only(found).finding.startswith(f"The model is {words}")


def test_an_imbalanced_train_split() -> None:
    """Largest over smallest above ten."""
    windows = {"walk": 201, "trot": 20, "lie_down": 100, CLASSES[3]: 100}
    found = advise(data=train_part(**windows))

    assert only(found) == (
        "The classes are imbalanced: the train split has 201 windows of walk and 20 of trot.",
        recommendations._teach(20, "subject"),
    )


def test_ten_to_one_is_not_imbalanced() -> None:
    """The threshold is inclusive."""
    assert advise(data=train_part(**{"walk": 200, "trot": 20, "lie_down": 100, CLASSES[3]: 100})) == []


def test_a_class_that_is_not_trained_on() -> None:
    """Without a window, class weights have no effect."""
    found = advise(data=train_part(**{"walk": 200, "trot": 100, CLASSES[3]: 100}))

    assert only(found) == (
        "The classes are imbalanced: the train split has 200 windows of walk and 0 of lie\\_down.",
        "Keep subjects with windows of this class in the train split: see `split.test`.",
    )


@pytest.mark.parametrize(("labels", "named"), [("pure", True), ("majority", False)])
def test_many_dropped_windows(labels, named) -> None:
    """More than a tenth of a split; `data.labels` is named if it may be the cause."""
    data = example_data_record()
    validation = data.parts.validation.model_copy(update={"dropped": 10})
    parts = data.parts.model_copy(update={"validation": validation})
    found = only(advise(data=data.model_copy(update={"parts": parts, "labels": labels})))

    assert found.finding == "In the validation split, 10 of 50 windows (20 %) were dropped."
    assert ("`data.labels: majority`" in found.advice) == named


def test_a_training_that_was_still_improving() -> None:
    """The last epoch was the best, without early stopping."""
    run = example_run_record().model_copy(update={"stopped": "epochs", "best_epoch": 40})

    assert only(advise(run=run)) == (
        "The last of 40 epochs was the best: the validation loss was still decreasing.",
        "Train longer: set `training.epochs: 80`.",
    )


@pytest.mark.parametrize(("stopped", "best"), [("epochs", 39), ("patience", 40), (None, None)])
def test_a_training_that_had_ended(stopped, best) -> None:
    """An earlier best epoch, early stopping, or an unfinished training."""
    run = example_run_record().model_copy(update={"stopped": stopped, "best_epoch": best})

    assert advise(run=run) == []


def test_overfitting() -> None:
    """The validation loss rises by more than a fifth while the training loss falls."""
    assert only(advise(history=example_history(40, 28))).finding == (
        "Overfitting: from epoch 28 to epoch 40, the validation loss rose from 0.6000 to 0.7440 "
        "while the training loss fell from 0.2476 to 0.1178."
    )


def test_a_small_rise_is_not_overfitting() -> None:
    """Losses fluctuate."""
    assert advise(history=example_history(38, 28)) == []


def test_a_diverged_training_is_not_overfitting() -> None:
    """If the training loss rises, too, the cause is another."""
    history = example_history(40, 28)
    worse = history[-1].model_copy(update={"train_loss": 9.0})

    assert advise(history=[*history[:-1], worse]) == []


@pytest.mark.parametrize(
    ("normalized", "words"),
    [(False, "Set `model.batchnorm_before_fsq: true`, or reduce `model.levels`."), (True, "Reduce `model.levels`.")],
)
def test_starved_dimensions(normalized, words) -> None:
    """Fewer than half of the levels; a setting that is already true is not recommended."""
    metrics, run = calm(), example_run_record()
    assert metrics.codes is not None
    codes = metrics.codes.model_copy(update={"levels_used": (4, 2, 5, 5, 1)})
    settings = run.model.settings.model_copy(update={"batchnorm_before_fsq": normalized})
    run = run.model_copy(update={"model": run.model.model_copy(update={"settings": settings})})

    assert only(advise(metrics.model_copy(update={"codes": codes}), run=run)) == (
        "Fewer than half of the levels are used in dimension 2 (2 of 6), 5 (1 of 4) of the codes.",
        words,
    )


def test_a_model_without_codes_has_no_starved_dimension() -> None:
    """Without a quantizer, nothing is checked."""
    assert advise(calm().model_copy(update={"codes": None})) == []


def test_recordings_that_break_thresholds() -> None:
    """Their number, and the lowest score."""
    assert only(advise(quality=example_quality_report(30, 25))).finding == (
        r"25 of 30 recordings violate a threshold of the quality check. The lowest score is 55.00 of 100 (s04-\<r24\>)."
    )


def test_every_setting_that_is_named_exists() -> None:
    """The advice must not lead to an unknown key."""
    import inspect
    import re

    from modelreg.config import TrainConfig
    from modelreg.config_errors import keys_of

    known = set(keys_of(TrainConfig))
    named = set(re.findall(r"`([a-z_]+\.[a-z_]+)", inspect.getsource(recommendations)))

    assert named - known == set()
