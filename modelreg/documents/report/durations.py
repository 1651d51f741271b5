"""The section on what the model of durations is worth."""

from modelreg.documents.report.formatting import counted, number, table
from modelreg.records.metrics import TemporalMetrics

MEASURES = {  # of segmentation.score
    "accuracy": "accuracy of windows",
    "edit": "edit score of segments (100 is best)",
    "over_segmentation": "predicted segments for each true one",
    "f1_at_50": "F1 of segments that overlap by half",
}


def section(found: TemporalMetrics) -> str:
    """Return the scores of windows alone and smoothed, and which of the two is better."""
    rows = [
        (words, number(getattr(found.alone, name)), number(getattr(found.smoothed, name)))
        for name, words in MEASURES.items()
    ]
    return f"""## Durations

Over {counted(found.streams, "stream")} of consecutive windows; the states of the model of durations last
{number(found.mean_duration)} windows on average. Smoothed, each window is seen with those before it (online).

{table(("", "each window alone", "smoothed"), rows)}

{_verdict(found)}"""


def _verdict(found: TemporalMetrics) -> str:
    accuracy = found.smoothed.accuracy - found.alone.accuracy
    edit = found.smoothed.edit - found.alone.edit
    if accuracy >= 0 and edit >= 0:
        return "Smoothing costs no accuracy and no edit score."
    if accuracy < 0 and edit < 0:
        return "**Smoothing makes both worse: the durations that it learned do not fit the held-out part.**"
    lost, won = ("accuracy", "the segments") if accuracy < 0 else ("edit score", "the windows")
    return f"**Smoothing costs {lost}** and gains on {won}."
