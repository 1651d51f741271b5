"""Render the tables of an ablation study: the metrics of each variant, and the state of its components."""

from modelreg.documents.report.formatting import counted, escape, table
from modelreg.records.ablation import AblationRecord, Variant
from modelreg.records.metrics import Interval, NoInterval

Row = tuple[str, ...]

RESULTS: Row = ("variant", "accuracy", "accuracy interval", "macro F1", "macro F1 interval", "time (s)")
HEALTH: Row = (
    "variant",
    "parameters",
    "smoothed accuracy",
    "code perplexity",
    "codes used",
    "active clusters",
    "mean duration (windows)",
)


def ablation_tables(found: AblationRecord) -> tuple[tuple[Row, list[Row]], tuple[Row, list[Row]]]:
    """Return header and rows of both tables: metrics and components."""
    return (RESULTS, [_result(variant) for variant in found.variants]), (HEALTH, [_health(v) for v in found.variants])


def ablation_markdown(found: AblationRecord) -> str:
    """Return ablation.md."""
    trials = [trial for variant in found.variants for trial in variant.trials]
    reasons = {i.reason for variant in found.variants for i in variant.intervals.values() if isinstance(i, NoInterval)}
    missing = "".join(f"\n\nNo interval: {escape(reason)}." for reason in sorted(reasons))
    tables = "\n\n".join(
        table(header, [(escape(row[0]), *row[1:]) for row in rows]) for header, rows in ablation_tables(found)
    )
    evaluations = sum(trial.evaluations for trial in trials)
    return f"""# Ablation of {escape(found.model)}

Values are means over {counted(len(found.seeds), "seed")} ({", ".join(map(str, found.seeds))}). Intervals are over the
test subjects, with the windows of all seeds pooled. The time is from the start of a run to the end of its training. It
includes reading the data, which later runs may find in the cache.{missing}

{tables}

The smoothed accuracy uses the hidden semi-Markov model. The mean duration is the one that this model learned.

{ablation_looks(len(trials), evaluations)}
"""


def ablation_looks(trials: int, evaluations: int) -> str:
    """Return how often the test split was evaluated, and why variants should not be selected by these metrics."""
    return (
        f"The test split was evaluated {counted(evaluations, 'time')} in {counted(trials, 'run')}. The metrics of a "
        "variant that is selected by them are biased upwards. Select variants by their validation loss."
    )


def _span(interval: Interval | NoInterval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}" if isinstance(interval, Interval) else ""


def _result(variant: Variant) -> Row:
    return (
        variant.name,
        f"{variant.mean.accuracy:.4f}",
        _span(variant.intervals["accuracy"]),
        f"{variant.mean.macro_f1:.4f}",
        _span(variant.intervals["macro_f1"]),
        f"{variant.mean.seconds:.0f}",
    )


def _health(variant: Variant) -> Row:
    mean = variant.mean
    figures = (
        (mean.smoothed_accuracy, ".4f"),
        (mean.perplexity, ".1f"),
        (mean.used_share, ".1%"),
        (mean.active_clusters, ".1f"),
        (mean.mean_duration, ".1f"),
    )
    return (
        variant.name,
        f"{variant.parameters:,}",
        *("" if value is None else format(value, form) for value, form in figures),
    )
