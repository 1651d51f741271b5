"""Render the section of a report on cross-validation, from crossval.json."""

from modelreg.documents.report.formatting import counted, escape, listed, number, percent, table
from modelreg.records.crossval import CrossValidation
from modelreg.records.intervals import Interval

PROTOCOLS = {"loso": "leave one subject out", "kfold-subject": "k-fold by subject"}
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
