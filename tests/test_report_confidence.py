"""The sections and pictures on temperature, conformal sets and the leak audit."""

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


def worth(people=("v1", "v2"), *, scale=1.0, subjects=("s07", "s08", "s09", "s10", "s11", "s12")):
    """Fit on made-up people, and judge on others, all logits `scale` times as large."""
    fitted = calibration.fit_calibration(example_predictions(subjects=people, seed=1), ORIGIN, level=0.95)
    tested = example_predictions(subjects=subjects)
    return calibration.measure_calibration(tested._replace(logits=tested.logits * scale), fitted, SETTINGS)


def text_of(found=None, *, findings=None):
    """Render a report with these numbers."""
    metrics = example_metrics().model_copy(update={"confidence": found})
    checks = formatting.Checks(audit=None if findings is None else audit(findings))
    pictures = {"temperature": "t.png", "coverage": "c.png"}
    return markdown.markdown(metrics, example_data_record(), example_run_record(), pictures, (), checks)


def audit(findings):
    """Return an audit that found this."""
    return AuditRecord(near=0.99, windows={"train": 100, "test": 20}, compared={"train": 9}, findings=tuple(findings))


def finding(severity="leak", **changes):
    """Return a finding."""
    plain = {"kind": "near_copy", "parts": ("train", "test"), "count": 3, "what": "windows correlate", "examples": ()}
    return Finding(severity=severity, **{**plain, **changes})


def test_without_calibration_nothing_is_said() -> None:
    """A run that an older modelreg evaluated."""
    assert "## Confidence after the temperature" not in text_of()


def test_temperature_errors_and_sets_are_told() -> None:
    """With the picture of each."""
    text = text_of(worth())

    assert [part in text for part in ("divides the logits", "| raps |", "![", "t.png)", "c.png)")] == [True] * 5


def test_an_error_within_its_band_shows_nothing() -> None:
    """The verdict follows the null band, not the bare number."""
    assert "**it shows nothing against the confidences.**" in text_of(worth())


def test_an_error_above_its_band_is_said() -> None:
    """Confidences that are far too high stay so."""
    assert "**the confidences are still off.**" in text_of(worth(scale=20))


def test_why_there_are_no_sets() -> None:
    """One recording validates: the temperature alone is there."""
    assert "There are none: the validation part has one recording" in text_of(worth(("v1",)))


def test_too_few_subjects_have_no_interval() -> None:
    """A word in its place."""
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


def test_parts_that_share_nothing() -> None:
    """Said in a sentence, with what was looked at."""
    assert "**The parts share nothing.** Held against each other: 120 windows" in text_of(findings=[])


def test_a_leak_comes_before_the_results() -> None:
    """And devalues them."""
    text = text_of(findings=[finding("by_design"), finding(examples=("a|b from sample 0",))])

    assert text.index("The numbers below are worth nothing") < text.index("- **A leak** (train and test: 3 windows")
    assert text.index("a\\|b from sample 0") < text.index("- **By design of the split**") < text.index("## Results")


def test_a_suspicion_has_no_count() -> None:
    """It is of the whole result."""
    text = text_of(findings=[finding("suspicious", kind="too_good", parts=("test",), count=0, what="too good")])

    assert "- **Suspicious** (test: too good)." in text


@pytest.mark.parametrize("people", [("v1", "v2"), ("v1",)], ids=["with sets", "without"])
def test_the_documents_have_the_pictures(people) -> None:
    """Coverage is drawn where there are sets."""
    metrics = example_metrics().model_copy(update={"confidence": worth(people)})
    found = render.documents(metrics, example_data_record(), example_run_record(), example_history())

    assert [found.get(name, b"").startswith(PNG) for name in ("temperature.png", "coverage.png")] == [
        True,
        len(people) > 1,
    ]
