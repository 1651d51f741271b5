"""The sections and pictures on temperature scaling, prediction sets and leakage."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from example_records import (
    CLASSES,
    SETTINGS,
    example_data_record,
    example_history,
    example_metrics,
    example_predictions,
    example_run_record,
)

from modelreg.documents.report import calibration as calibration_section
from modelreg.documents.report import formatting, markdown, recommendations, render
from modelreg.documents.report.calibration import PICTURES
from modelreg.documents.report.html import PNG
from modelreg.documents.templates import calibration_v2, card_v2
from modelreg.documents.templates.markdown_v2 import escape
from modelreg.evaluation import calibration, calibration_v1
from modelreg.records.audit import AuditRecord, Finding

ORIGIN = calibration.Origin(CLASSES, "a" * 64, "b" * 64)


FITTED_ON = tuple(f"v{number}" for number in range(10))


def worth(fitted_on=FITTED_ON, *, scale=1.0, fitted=1.0, subjects=("s07", "s08", "s09", "s10", "s11", "s12")):
    """Fit on some subjects and measure on others; logits are multiplied by `scale`, those of the fit by `fitted`.

    The labels follow softmax(2 * logits), so that nothing is to be scaled if `fitted` is 2.
    """
    fair = example_predictions(subjects=fitted_on, seed=1)
    fitted = calibration.fit_calibration(fair._replace(logits=fair.logits * fitted), ORIGIN)
    tested = example_predictions(subjects=subjects)
    return calibration.measure_calibration(tested._replace(logits=tested.logits * scale), fitted, SETTINGS)


def text_of(found=None, *, findings=None):
    """Render a report with these numbers."""
    metrics = example_metrics().model_copy(update={"confidence": found})
    checks = formatting.Checks(audit=None if findings is None else audit(findings))
    pictures = {"temperature": "t.png", "coverage": "c.png", "risk": "r.png"}
    return markdown.markdown(metrics, example_data_record(), example_run_record(), pictures, (), checks)


def audit(findings):
    """Return an audit with these findings."""
    return AuditRecord(near=0.99, windows={"train": 100, "test": 20}, compared={"train": 9}, findings=tuple(findings))


def finding(severity="leak", **changes):
    """Return a finding."""
    plain = {"kind": "near_copy", "parts": ("train", "test"), "count": 3, "what": "windows correlate", "examples": ()}
    return Finding(severity=severity, **{**plain, **changes})


def test_without_calibration_there_is_no_section() -> None:
    """As for a run that an earlier modelreg evaluated."""
    text = text_of()

    assert ("## Temperature scaling" in text, "## Prediction sets" in text) == (False, False)


def test_a_calibration_of_version_1_is_to_be_made_again() -> None:
    """Its numbers do not say whether it helps a new subject."""
    fair = example_predictions(subjects=("v1", "v2"))
    first = calibration_v1.fit_calibration(fair, ORIGIN, level=0.95)
    text = text_of(calibration.measure_calibration(example_predictions(), first, SETTINGS))

    assert ("modelreg evaluate" in text, "## Prediction sets" in text) == (True, False)


def test_temperature_errors_and_sets_are_shown() -> None:
    """With a picture of each."""
    text = text_of(worth())
    sections = ("## Temperature scaling", "## Prediction sets", "## Abstention")

    assert [part in text for part in (*sections, "| for a new subject |", "t.png)", "c.png)", "r.png)")] == [True] * 7


@pytest.mark.parametrize(
    ("fitted", "fitted_on", "outcome"),
    [(2.0, FITTED_ON, "declined"), (1.0, FITTED_ON, "applied"), (1.0, ("v1",), "too_few_subjects")],
)
def test_the_report_says_whether_temperature_scaling_is_applied(fitted, fitted_on, outcome) -> None:
    """With its gain and its error, or with the reason; what is not applied has no column after scaling."""
    found = worth(fitted_on, fitted=fitted)
    text = text_of(found)
    applied = outcome == "applied"

    assert found.temperature.outcome == outcome
    assert calibration_v2.temperature(found.temperature) in text
    assert ("scaling is applied" in text, "scaling is not applied" in text) == (applied, not applied)
    assert [word in text for word in ("after scaling", "(after temperature scaling)")] == [applied] * 2


def test_a_declined_temperature_is_never_called_calibrated() -> None:
    """In the sentences of terminal, report and card."""
    assert not re.search(r"\bcalibrated\b", " ".join(calibration_v2.sentences(worth(fitted=2.0))))


def test_prediction_sets_say_what_they_promise_and_what_they_did() -> None:
    """Level, mean over subjects, lowest subject and size, of both kinds."""
    found = worth()
    said = r"target of 90 %, fitted on 10 subjects: the true class is in ([\d.]+) % .* A set has ([\d.]+) of 4 classes"
    pooled = re.search(said, text_of(found))

    assert pooled
    assert pooled.groups() == (
        f"{round(100 * found.sets['pooled'].subject_mean, 1):g}",
        f"{found.sets['pooled'].mean_size:.2f}",
    )
    assert "promise of 90 %" in text_of(found)


def without_thresholds():
    """Return a calibration that was fitted on too few windows for a threshold of either kind."""
    fair = example_predictions(subjects=("v1",), seed=1)
    few = fair.rows(np.arange(len(fair.y)) < 5)
    return calibration.measure_calibration(example_predictions(), calibration.fit_calibration(few, ORIGIN), SETTINGS)


def test_without_a_threshold_the_report_has_the_reasons_and_no_table() -> None:
    """Five windows of one subject promise nothing at 90 %."""
    section = text_of(without_thresholds()).partition("## Prediction sets")[2]

    assert "needs at least 9 windows; available: 5" in section
    assert "| prediction sets |" not in section


def test_without_a_threshold_nothing_is_said_of_abstention() -> None:
    """The sets decide when the model abstains."""
    said = list(calibration_v2.sentences(without_thresholds()))

    assert not any("abstains" in sentence for sentence in said)


def advice(found):
    """Return the recommendations on calibration and prediction sets."""
    metrics = example_metrics().model_copy(update={"confidence": found})
    named = recommendations.recommendations(metrics, example_data_record(), example_run_record(), (), None)
    return [each.finding for each in named if "scaling is" in each.finding or "rediction sets" in each.finding]


@pytest.mark.parametrize("fitted", [1.0, 2.0])
def test_the_recommendations_say_whether_temperature_scaling_is_applied(fitted) -> None:
    """With the sentence of the report."""
    found = worth(fitted=fitted)

    assert calibration_v2.temperature(found.temperature) in advice(found)


def test_sets_that_miss_their_level_have_a_recommendation() -> None:
    """Of both kinds: a model that is wrong on the test split, unlike on the fitted subjects."""
    fine, missed = worth(), worth(scale=-1.0)

    assert [len(advice(found)) for found in (fine, missed)] == [1, 3]


def test_remaining_miscalibration_is_that_of_what_is_applied() -> None:
    """Without scaling the model is under-confident; with it, nothing is left to recommend."""
    found = worth()
    metrics = example_metrics().model_copy(update={"confidence": found})
    plain = metrics.model_copy(update={"confidence": None})
    named = [
        [each.finding for each in recommendations._calibration(evaluated) if "confident" in each.finding]
        for evaluated in (plain, metrics)
    ]

    assert [len(each) for each in named] == [1, 0]


@pytest.mark.parametrize("fitted", [1.0, 2.0])
def test_the_card_has_the_sentences(fitted) -> None:
    """Of temperature scaling, prediction sets and abstention."""
    found = worth(fitted=fitted)
    facts = SimpleNamespace(metrics=example_metrics().model_copy(update={"confidence": found}))
    text = card_v2._calibration(facts)

    assert all(escape(sentence) in text for sentence in calibration_v2.sentences(found))


def test_the_card_of_a_run_without_this_calibration_has_no_section() -> None:
    """As for a run that modelreg 0.2 evaluated."""
    assert card_v2._calibration(SimpleNamespace(metrics=example_metrics())) == ""


def test_a_promise_that_is_not_possible_is_stated_with_the_highest_level() -> None:
    """Two subjects can promise two thirds."""
    found = text_of(worth(("v1", "v2")))

    assert "needs at least 9 subjects; available: 2 (highest possible level: 66.7 %)" in found


@pytest.mark.parametrize(
    ("value", "error", "shown"), [(0.00041, 0.009, "0.0004 ± 0.0090"), (1.234, 0.56, "1.23 ± 0.56")]
)
def test_errors_have_two_digits(value, error, shown) -> None:
    """And the value as many decimals."""
    assert calibration_v2.with_error(value, error) == shown


VERDICT = re.compile(r"\*\*The calibration error is [\d.]+ \(after temperature scaling\), (within|above) the")


@pytest.mark.parametrize(("scale", "verdict"), [(1, "within"), (20, "above")])
def test_the_calibration_error_is_compared_with_chance(scale, verdict) -> None:
    """Confidences that are far too high are miscalibrated."""
    assert VERDICT.findall(calibration_section.section(worth(scale=scale), dict.fromkeys(PICTURES, ""))) == [verdict]


def test_too_few_subjects_have_no_interval() -> None:
    """The cell says none."""
    assert "| none |" in text_of(worth(subjects=("s07", "s08")))


def test_a_class_without_windows_has_no_coverage() -> None:
    """A dash, not a zero."""
    found = worth()
    rows = {name: each.per_class for name, each in found.sets.items()}
    empty = {"windows": 0, "coverage": None, "mean_size": None}
    sets = {
        name: found.sets[name].model_copy(update={"per_class": {**of, "walk": of["walk"].model_copy(update=empty)}})
        for name, of in rows.items()
    }

    assert "| walk | 0 | - | - |" in text_of(found.model_copy(update={"sets": sets}))


def test_no_leakage_is_stated_with_the_compared_windows() -> None:
    """In the first sentence of the section."""
    assert "**No leakage found between train, validation and test** (120 windows compared)" in text_of(findings=[])


def test_leakage_is_shown_before_the_results() -> None:
    """The metrics are not valid."""
    text = text_of(findings=[finding("by_design"), finding(examples=("a|b from sample 0",))])

    assert text.index("metrics below are not valid") < text.index("- **Leakage** (train and test: 3 windows")
    assert text.index("a\\|b from sample 0") < text.index("- **By design of the split**") < text.index("## Results")


def test_a_suspicion_has_no_count() -> None:
    """It is about the whole result."""
    text = text_of(findings=[finding("suspicious", kind="too_good", parts=("test",), count=0, what="too good")])

    assert "- **Suspicious** (test: too good)." in text


@pytest.mark.parametrize(
    ("found", "pictures"),
    [
        (worth(fitted=2.0), {"coverage.png", "risk.png"}),
        (worth(), {"coverage.png", "risk.png", "temperature.png"}),
        (worth(("v1",)), {"coverage.png", "risk.png"}),
    ],
    ids=["declined", "applied", "pooled sets only"],
)
def test_the_documents_have_the_pictures(found, pictures) -> None:
    """Scaling is drawn only if it is applied, and sets if there is a threshold."""
    metrics = example_metrics().model_copy(update={"confidence": found})
    drawn = render.documents(metrics, example_data_record(), example_run_record(), example_history())
    shown = {name for name in ("coverage.png", "risk.png", "temperature.png") if drawn.get(name, b"").startswith(PNG)}

    assert shown == pictures
