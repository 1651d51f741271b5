"""Render the section of a report on temporal smoothing."""

from modelreg.documents.report.formatting import counted, number, table
from modelreg.records.metrics import TemporalMetrics

MEASURES = {  # of segmentation.score
    "accuracy": "accuracy of windows",
    "edit": "edit score of segments (0 to 100)",
    "over_segmentation": "predicted segments per true segment",
    "f1_at_50": "F1 of segments at 50 % overlap",
}


def section(found: TemporalMetrics) -> str:
    """Return the scores of single windows and of smoothed windows, and a comparison."""
    rows = [
        (words, number(getattr(found.alone, name)), number(getattr(found.smoothed, name)))
        for name, words in MEASURES.items()
    ]
    return f"""## Temporal smoothing

A hidden semi-Markov model smooths {counted(found.streams, "stream")} of consecutive windows online: each prediction
uses the window and the windows before it. A state lasts {number(found.mean_duration)} windows on average in the model.

{table(("score", "single windows", "smoothed"), rows)}

{_verdict(found)}"""


def _verdict(found: TemporalMetrics) -> str:
    accuracy = found.smoothed.accuracy - found.alone.accuracy
    edit = found.smoothed.edit - found.alone.edit
    if accuracy >= 0 and edit >= 0:
        return "Smoothing decreases neither the accuracy nor the edit score."
    if accuracy < 0 and edit < 0:
        return "**Smoothing decreases both scores: the learned durations do not fit the test split.**"
    worse, better = ("accuracy", "edit score") if accuracy < 0 else ("edit score", "accuracy")
    return f"**Smoothing decreases the {worse}** but not the {better}."
