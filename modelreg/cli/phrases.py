"""Phrases that several commands print."""

from collections.abc import Sequence

SHOWN = 12  # subjects listed by name
NOT_NEW = "the metrics do not estimate the accuracy on new subjects"


def counted(count: int, noun: str) -> str:
    """Return `1 epoch` or `1,200 epochs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def counted_subjects(subjects: Sequence[str]) -> str:
    """Return `1 subject (s07)`, `3 subjects (s08, s09, s10)`, or the number alone if there are many."""
    count = counted(len(subjects), "subject")
    return f"{count} ({', '.join(subjects)})" if len(subjects) <= SHOWN else count


def metric_name(field: str) -> str:
    """Return the name that a metric has in the reports, by its field in eval_metrics.json."""
    from modelreg.documents.report.formatting import HEADLINE

    names = {**HEADLINE, "ece": "calibration error", "calibrated_ece": "calibration error"}
    return names.get(field, field.replace("_", " "))
