"""Advice follows from the numbers, states them, and is silent where they call for nothing."""

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
    """Return metrics that call for nothing: right in every window but a few, and sure of it."""
    confusion = tuple(tuple(56 if i == j else 1 for j in range(4)) for i in range(4))
    metrics = example_metrics()
    right = {name: row.model_copy(update={"recall": 0.95, "support": 59}) for name, row in metrics.per_class.items()}
    people = dict.fromkeys(metrics.per_subject, SubjectMetrics(windows=40, accuracy=0.95, macro_f1=0.95))
    changes = {"accuracy": 0.95, "confusion": confusion, "per_class": right, "per_subject": people}
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
    """Return the advice on calm records, but for those that are given."""
    return recommendations.recommendations(
        metrics or calm(), data or example_data_record(), run or example_run_record(), history, quality
    )


def only(found: list[recommendations.Advice]) -> recommendations.Advice:
    """Return the one piece of advice that there is."""
    (one,) = found
    return one


def train_part(**windows: int):
    """Return a data record with other numbers of windows of each class in the training part."""
    data = example_data_record()
    train = data.parts.train.model_copy(update={"class_windows": windows, "windows": sum(windows.values())})
    return data.model_copy(update={"parts": data.parts.model_copy(update={"train": train})})


def test_calm_numbers_call_for_nothing() -> None:
    """No advice for its own sake."""
    assert advise(history=example_history(28, 28), quality=example_quality_report(broken=0)) == []


def test_the_section_says_that_there_is_nothing_to_do() -> None:
    """An empty section would look forgotten."""
    text = markdown.markdown(calm(), example_data_record(), example_run_record(), {})

    assert "## What to do next\n\nThe numbers call for nothing" in text


def test_the_section_lists_findings_with_their_advice() -> None:
    """What was found in bold, then what to do."""
    text = markdown.markdown(
        calm(), example_data_record(), example_run_record(), {}, checks=formatting.Checks(example_quality_report(3, 1))
    )

    assert "- **1 of 3 recordings break a threshold of the quality check, the worst s01-" in text


def test_a_model_no_better_than_the_commonest_class() -> None:
    """Learning nothing is said first."""
    base = calm().baselines.model_copy(update={"majority_accuracy": 0.95})
    found = advise(calm().model_copy(update={"baselines": base}))

    assert only(found).finding.startswith("The accuracy of 0.9500 is no better than the 0.9500 of a model")


def test_more_than_one_look() -> None:
    """What is chosen after a look looks better."""
    protocol = calm().protocol.model_copy(update={"evaluations": 3})
    found = advise(calm().model_copy(update={"protocol": protocol}))

    assert only(found).finding == "The test part of this run was evaluated 3 times."


def test_too_few_subjects_for_an_interval() -> None:
    """The reason is that of the record, once."""
    none = NoInterval(reason="3 held-out subjects; an interval over subjects needs 5")
    found = advise(calm().model_copy(update={"intervals": {"accuracy": none, "macro_f1": none}}))

    assert only(found).finding == f"There is no interval: {none.reason}."


def test_a_class_without_a_tested_window() -> None:
    """Nothing is known of it; it is not called untrained."""
    found = advise(confused((0, 0, 0, 0)))

    assert only(found).finding.startswith("The test part has no window of walk:")


@pytest.mark.parametrize(
    ("second", "times"),
    [((0, 56, 1, 1), "never predicted"), ((1, 56, 1, 1), "predicted 1 time, each time wrongly")],
)
def test_a_class_that_was_never_recognised(second, times) -> None:
    """An untrained class: never predicted, or always wrongly."""
    metrics = confused((0, 4, 4, 4), second)
    metrics = metrics.model_copy(update={"confusion": (*metrics.confusion[:2], (0, 1, 56, 1), (0, 1, 1, 56))})

    assert only(advise(metrics)).finding == (
        f"An untrained class: walk was {times}; none of its 12 windows was recognised. "
        "It has 30 windows in the training part."
    )


@pytest.mark.parametrize(
    ("trained", "split", "setting"),
    [
        (0, "subject", "see `split.test`."),
        (0, "time", "see `split.test` of a split with `split.by: subject`."),
        (0, "given", "see the parts that the source gives."),
        (30, "subject", "`training.class_weights: balanced`"),
    ],
)
def test_an_untrained_class_is_taught(trained, split, setting) -> None:
    """By weight where there is something to learn from, else by another split."""
    assert setting in recommendations._teach(trained, split)


@pytest.mark.parametrize(("kind", "words"), [("npy", "cut longer windows."), ("csv", "enlarge `data.window`.")])
def test_windows_that_came_ready_cut_are_not_enlarged(kind, words) -> None:
    """The setting that is named does something."""
    data = example_data_record()
    source = data.sources[0].model_copy(update={"kind": kind})
    found = advise(confused((70, 3, 2, 25)), data=data.model_copy(update={"sources": (source,)}))

    assert only(found).advice.endswith(words)


def test_a_class_taken_for_another() -> None:
    """Most of its misses go to one class, and they are many; names are escaped."""
    found = advise(confused((70, 3, 2, 25)))

    assert only(found).finding == (
        r"walk is taken for a\|b \*c\* \<d\> in 25 of its 100 windows (25 %), which is 83.3 % of its misses."
    )


@pytest.mark.parametrize(
    "row",
    [
        (81, 19, 0, 0),  # under a fifth of the class
        (60, 20, 10, 10),  # half of the misses, not more
        (6, 4, 0, 0),  # four windows
    ],
)
def test_a_class_that_is_not_taken_for_one_other(row) -> None:
    """A few misses, or misses that go everywhere, do not point at a pair of classes."""
    assert advise(confused(row)) == []


@given(st.lists(st.lists(st.integers(0, 60), min_size=4, max_size=4), min_size=4, max_size=4))
def test_confusions_are_those_of_the_matrix(rows) -> None:
    """By definition: at least 5 windows, a fifth of the class, and more than half of its misses."""
    metrics = confused(*map(tuple, rows))
    expected = [
        f"{CLASSES[i]} is taken for {CLASSES[j]} in {count:,}"
        for i, row in enumerate(rows)
        for j, count in enumerate(row)
        if i != j and count >= max(5, 0.2 * sum(row)) and 2 * count > sum(row) - row[i]
    ]
    found = [
        each.finding.replace("\\", "").split(" of its ")[0]
        for each in recommendations._confused(metrics, example_data_record())
    ]

    assert found == expected


def with_subject(accuracy: float, windows: int = 40) -> EvalMetrics:
    """Return calm metrics, but for the first subject."""
    metrics = calm()
    people = {**metrics.per_subject, "s07": SubjectMetrics(windows=windows, accuracy=accuracy, macro_f1=0.5)}
    return metrics.model_copy(update={"per_subject": people, "windows": 200 + windows})


def test_a_subject_far_below_the_others() -> None:
    """Ten points and three standard errors."""
    found = advise(with_subject(0.7))

    assert only(found).finding == ("Subject s07 has an accuracy of 0.7000 on 40 windows, all others together 0.9500.")


@pytest.mark.parametrize(("accuracy", "windows"), [(0.86, 4000), (0.75, 8)])
def test_a_subject_near_the_others_or_of_few_windows(accuracy, windows) -> None:
    """Nine points are no matter, and eight windows are chance."""
    assert advise(with_subject(accuracy, windows)) == []


def test_a_single_subject_has_no_others() -> None:
    """There is nothing to compare with."""
    alone = {"s07": SubjectMetrics(windows=40, accuracy=0.1, macro_f1=0.1)}

    assert advise(calm().model_copy(update={"per_subject": alone, "windows": 40})) == []


@pytest.mark.parametrize(
    ("confidence", "words"),
    [
        (0.99, "over-confident: mean confidence 0.9900, accuracy 0.9500."),
        (0.80, "under-confident: mean confidence 0.8000, accuracy 0.9500."),
        (0.96, "too high in some places and too low in others: mean confidence 0.9600, accuracy 0.9500."),
    ],
)
def test_confidences_that_are_off_have_a_direction(confidence, words) -> None:
    """Over, under, or both: where the means differ by less than half of the error."""
    table = (ReliabilityBin(count=240, confidence=confidence, accuracy=0.95),)
    found = advise(calibrated(calm(), ece=0.06, null_high=0.05, table=table))

    assert only(found).finding.startswith(f"The confidences are {words}")


def test_an_imbalanced_training_part() -> None:
    """Largest over smallest above ten."""
    windows = {"walk": 201, "trot": 20, "lie_down": 100, CLASSES[3]: 100}
    found = advise(data=train_part(**windows))

    assert only(found) == (
        "The training part has 201 windows of walk and 20 of trot.",
        recommendations._teach(20, "subject"),
    )


def test_ten_to_one_is_not_imbalanced() -> None:
    """The threshold itself is allowed."""
    assert advise(data=train_part(**{"walk": 200, "trot": 20, "lie_down": 100, CLASSES[3]: 100})) == []


def test_a_class_that_is_not_trained_on() -> None:
    """No weight helps where there is no window."""
    found = advise(data=train_part(**{"walk": 200, "trot": 100, CLASSES[3]: 100}))

    assert only(found) == (
        "The training part has 200 windows of walk and 0 of lie\\_down.",
        "Leave subjects who show it in the training part: see `split.test`.",
    )


@pytest.mark.parametrize(("labels", "named"), [("pure", True), ("majority", False)])
def test_many_dropped_windows(labels, named) -> None:
    """More than a tenth of a part; the rule of labels is named where it may be the cause."""
    data = example_data_record()
    validation = data.parts.validation.model_copy(update={"dropped": 10})
    parts = data.parts.model_copy(update={"validation": validation})
    found = only(advise(data=data.model_copy(update={"parts": parts, "labels": labels})))

    assert found.finding == "Of the validation part, 10 of 50 windows were dropped (20 %)."
    assert ("`data.labels: majority`" in found.advice) == named


def test_a_training_that_was_still_improving() -> None:
    """Its last epoch was the best, and no patience ran out."""
    run = example_run_record().model_copy(update={"stopped": "epochs", "best_epoch": 40})

    assert only(advise(run=run)) == (
        "The last of 40 epochs was the best: the model was still improving.",
        "Train longer: `training.epochs: 80`.",
    )


@pytest.mark.parametrize(("stopped", "best"), [("epochs", 39), ("patience", 40), (None, None)])
def test_a_training_that_had_ended(stopped, best) -> None:
    """An earlier best, patience, or no end yet."""
    run = example_run_record().model_copy(update={"stopped": stopped, "best_epoch": best})

    assert advise(run=run) == []


def test_overfitting() -> None:
    """The validation loss rises by more than a fifth while the training loss falls."""
    assert only(advise(history=example_history(40, 28))).finding == (
        "Overfitting: the validation loss was 0.6000 in epoch 28 and 0.7440 in epoch 40, "
        "while the training loss fell from 0.2476 to 0.1178."
    )


def test_a_small_rise_is_no_overfitting() -> None:
    """Losses are restless."""
    assert advise(history=example_history(38, 28)) == []


def test_a_training_that_fell_apart_is_no_overfitting() -> None:
    """Where the training loss rises too, something else is wrong."""
    history = example_history(40, 28)
    worse = history[-1].model_copy(update={"train_loss": 9.0})

    assert advise(history=[*history[:-1], worse]) == []


@pytest.mark.parametrize(
    ("normalized", "words"),
    [(False, "Try `model.batchnorm_before_fsq: true`, or fewer `model.levels`."), (True, "Try fewer `model.levels`.")],
)
def test_starved_dimensions(normalized, words) -> None:
    """Under half of the levels; what is set already is not advised."""
    metrics, run = calm(), example_run_record()
    assert metrics.codes is not None
    codes = metrics.codes.model_copy(update={"levels_used": (4, 2, 5, 5, 1)})
    settings = run.model.settings.model_copy(update={"batchnorm_before_fsq": normalized})
    run = run.model_copy(update={"model": run.model.model_copy(update={"settings": settings})})

    assert only(advise(metrics.model_copy(update={"codes": codes}), run=run)) == (
        "Under half of the levels are used in dimension 2 (2 of 6), 5 (1 of 4) of the codes.",
        words,
    )


def test_a_model_without_codes_has_no_starved_dimension() -> None:
    """There is no quantizer to look at."""
    assert advise(calm().model_copy(update={"codes": None})) == []


def test_recordings_that_break_thresholds() -> None:
    """How many, and the worst of them."""
    assert only(advise(quality=example_quality_report(30, 25))).finding == (
        r"25 of 30 recordings break a threshold of the quality check, the worst s04-\<r24\> "
        "with a score of 55.00 of 100."
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
