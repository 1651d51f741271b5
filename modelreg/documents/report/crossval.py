"""The section of a report on cross-validation, from crossval.json."""

from modelreg.documents.report.formatting import counted, listed, number, percent, table
from modelreg.records.crossval import CrossValidation
from modelreg.records.intervals import Interval

PROTOCOLS = {"loso": "leave one subject out", "kfold-subject": "folds of subjects"}
NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "ece": "calibration error",
    "ece_after": "calibration error after the temperature",
}


def section(found: CrossValidation) -> str:
    """Return the pooled numbers, their spread over the folds, and each fold."""
    return f"""## Cross-validation: {PROTOCOLS[found.protocol]}

The same configuration, trained {counted(len(found.folds), "time")}: each time other subjects were held out, every
subject once. **The card quotes the hold-out**, because its numbers are of the weights that are released; these here
are of {counted(len(found.folds), "other model")}. Every subject was looked at, those of the hold-out too: what is
chosen by these numbers is chosen on them.

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
    header = ("metric", "pooled", "interval over subjects", "mean of the folds", "lowest", "highest")
    return f"Pooled over {counted(found.pooled.windows, 'out-of-fold window')}:\n\n{table(header, rows)}"


def _folds(found: CrossValidation) -> str:
    rows = [
        (
            fold.name,
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
    header = ("fold", "tested", "windows", "accuracy", "macro F1", "error", "after temperature", "coverage (lac)")
    return table(header, rows, words=("tested",))
