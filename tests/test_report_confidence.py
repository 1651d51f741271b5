"""The sections and pictures on temperature scaling, prediction sets and leakage."""

import re

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

from modelreg.documents.report import formatting, markdown, render
from modelreg.documents.report.html import PNG
from modelreg.evaluation import calibration
from modelreg.records.audit import AuditRecord, Finding

ORIGIN = calibration.Origin(CLASSES, "a" * 64, "b" * 64)


def worth(fitted_on=("v1", "v2"), *, scale=1.0, subjects=("s07", "s08", "s09", "s10", "s11", "s12")):
    """Fit on some subjects and measure on others, all logits multiplied by `scale`."""
    fitted = calibration.fit_calibration(example_predictions(subjects=fitted_on, seed=1), ORIGIN, level=0.95)
    tested = example_predictions(subjects=subjects)
    return calibration.measure_calibration(tested._replace(logits=tested.logits * scale), fitted, SETTINGS)


def text_of(found=None, *, findings=None):
    """Render a report with these numbers."""
    metrics = example_metrics().model_copy(update={"confidence": found})
    checks = formatting.Checks(audit=None if findings is None else audit(findings))
    pictures = {"temperature": "t.png", "coverage": "c.png"}
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

    assert ("## Calibration after temperature scaling" in text, "## Prediction sets" in text) == (False, False)


def test_temperature_errors_and_sets_are_shown() -> None:
    """With a picture of each."""
    text = text_of(worth())
    sections = ("## Calibration after temperature scaling", "## Prediction sets")

    assert [part in text for part in (*sections, "| RAPS |", "![", "t.png)", "c.png)")] == [True] * 6


def test_prediction_sets_are_summed_up() -> None:
    """Target, coverage and size of each method, in the order of the methods."""
    found = worth()
    shown = re.search(
        r"Prediction sets \(target 90 %\): LAC covers ([\d.]+) %, ([\d.]+) classes on average;", text_of(found)
    )

    assert shown
    assert shown.groups() == (f"{100 * found.sets['lac'].coverage:.3g}", f"{found.sets['lac'].mean_size:.2f}")


VERDICT = re.compile(r"\(after temperature scaling\), (within|above) the")


@pytest.mark.parametrize(("scale", "verdict"), [(1, "within"), (20, "above")])
def test_the_calibration_error_is_compared_with_chance(scale, verdict) -> None:
    """Confidences that are far too high remain miscalibrated."""
    assert VERDICT.findall(text_of(worth(scale=scale))) == [verdict]


def test_the_reason_for_missing_sets_is_shown() -> None:
    """One validation recording allows only a temperature."""
    assert "No prediction sets: the validation part has one recording" in text_of(worth(("v1",)))


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

    assert "| walk | 0 | - | - | - |" in text_of(found.model_copy(update={"sets": sets}))


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


@pytest.mark.parametrize("fitted_on", [("v1", "v2"), ("v1",)], ids=["with sets", "without"])
def test_the_documents_have_the_pictures(fitted_on) -> None:
    """The coverage is drawn only if there are sets."""
    metrics = example_metrics().model_copy(update={"confidence": worth(fitted_on)})
    found = render.documents(metrics, example_data_record(), example_run_record(), example_history())

    assert [found.get(name, b"").startswith(PNG) for name in ("temperature.png", "coverage.png")] == [
        True,
        len(fitted_on) > 1,
    ]
