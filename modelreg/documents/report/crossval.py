"""Render the section of a report on cross-validation, from crossval.json, and the folds of a cross-fitted run."""

from collections.abc import Sequence

from modelreg.documents.report.formatting import counted, escape, listed, number, percent, table
from modelreg.documents.templates.card_v2 import PROTOCOLS
from modelreg.records.crossval import CrossValidation
from modelreg.records.intervals import Interval
from modelreg.records.metrics import FoldMetrics

NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "ece": "calibration error",
    "ece_after": "calibration error (after temperature scaling)",
}


def section(found: CrossValidation) -> str:
    """Return the pooled metrics, their mean and standard deviation over the folds, and each fold."""
    folds = counted(len(found.folds), "fold")
    return f"""## Cross-validation: {PROTOCOLS[found.protocol]}

The same configuration was trained for {folds}. Every subject is in the test set of one fold. **The model card states
the metrics of the test split**, because they belong to the released weights. The metrics below belong to the models of
the folds. They use every subject, also those of the test split: a model selected by them needs other test subjects.

{_pooled(found)}

{_folds(found)}"""


def _pooled(found: CrossValidation) -> str:
    pooled = {
        "accuracy": found.pooled.accuracy,
        "balanced_accuracy": found.pooled.balanced_accuracy,
        "macro_f1": found.pooled.macro_f1,
        "ece": found.pooled.calibration.ece,
        "ece_after": found.calibrated.equal_mass.error,
    }
    rows = []
    for name, spread in found.spread.items():
        interval = found.pooled.interval(name)
        span = f"{number(interval.low)} to {number(interval.high)}" if isinstance(interval, Interval) else ""
        each = f"{number(spread.mean)} ± {number(spread.deviation)}"
        rows.append((NAMES[name], number(pooled[name]), span, each, number(spread.lowest), number(spread.highest)))
    header = ("metric", "pooled", "interval over subjects", "mean ± std over folds", "minimum", "maximum")
    return f"Pooled over {counted(found.pooled.windows, 'out-of-fold prediction')}:\n\n{table(header, rows)}"


def _folds(found: CrossValidation) -> str:
    rows = [
        (
            escape(fold.name),
            listed(fold.tested),
            fold.windows,
            number(fold.accuracy),
            number(fold.macro_f1),
            number(fold.ece),
            number(fold.ece_after),
            "-" if fold.coverage is None else percent(fold.coverage),
        )
        for fold in found.folds
    ]
    header = (
        "fold",
        "test subjects",
        "windows",
        "accuracy",
        "macro F1",
        "calibration error",
        "after temperature scaling",
        "LAC coverage",
    )
    return table(header, rows, words=("test subjects",))


def folds(found: Sequence[FoldMetrics] | None) -> str:
    """Return the folds of a cross-fitted run as a table; empty for other runs."""
    if found is None:
        return ""
    rows = [
        (
            escape(fold.name),
            listed(fold.tested),
            listed(fold.validated),
            f"{fold.windows:,}",
            number(fold.accuracy),
            number(fold.balanced_accuracy),
            number(fold.macro_f1),
            f"`{fold.checkpoint_sha256[:12]}`",
        )
        for fold in found
    ]
    names = ("fold", "test subjects", "validation subjects", "windows")
    header = (*names, "accuracy", "balanced accuracy", "macro F1", "weights")
    return f"\n\n{table(header, rows, words=(*names[1:3], 'weights'))}"


def codes(found: Sequence[FoldMetrics]) -> str:
    """Return the use of the codes in each fold as a table; empty without a quantizer."""
    rows = [
        (
            escape(fold.name),
            f"{fold.codes.used:,} of {fold.codes.total:,} ({percent(fold.codes.used_share)})",
            number(fold.codes.perplexity),
            ", ".join(map(str, fold.codes.levels_used)),
        )
        for fold in found
        if fold.codes
    ]
    return table(("fold", "codes used", "perplexity", "levels used by dimension"), rows) if rows else ""
