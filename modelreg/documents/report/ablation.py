"""The table of an ablation: what each variant reaches, and how its parts fare."""

from modelreg.documents.report.formatting import counted, escape, table
from modelreg.records.ablation import AblationRecord, Variant
from modelreg.records.metrics import Interval, NoInterval

Row = tuple[str, ...]

RESULTS: Row = ("variant", "accuracy", "interval", "macro F1", "interval of it", "seconds")
HEALTH: Row = ("variant", "parameters", "smoothed", "perplexity", "used", "clusters", "duration")


def ablation_tables(found: AblationRecord) -> tuple[tuple[Row, list[Row]], tuple[Row, list[Row]]]:
    """Return header and rows of both tables: what the variants reach, and how their parts fare."""
    return (RESULTS, [_result(variant) for variant in found.variants]), (HEALTH, [_health(v) for v in found.variants])


def ablation_markdown(found: AblationRecord) -> str:
    """Return ablation.md."""
    trials = [trial for variant in found.variants for trial in variant.trials]
    reasons = {i.reason for variant in found.variants for i in variant.intervals.values() if isinstance(i, NoInterval)}
    missing = "".join(f"\n\nNo interval: {escape(reason)}." for reason in sorted(reasons))
    tables = "\n\n".join(table(header, rows) for header, rows in ablation_tables(found))
    looks = sum(trial.evaluations for trial in trials)
    return f"""# Ablation of {escape(found.model)}

Means over {counted(len(found.seeds), "seed")} ({", ".join(map(str, found.seeds))}). An interval is over the tested
subjects, with the windows of all seeds pooled. Seconds are from the start of a run to the end of its training: the
first run reads the data, the others may find them kept.{missing}

{tables}

Smoothed is the accuracy with the model of durations, used the share of the codes, clusters the active ones, duration
the mean that the model of durations has learned, in windows.

{ablation_looks(len(trials), looks)}
"""


def ablation_looks(trials: int, looks: int) -> str:
    """Return what the table costs, in words."""
    return (
        f"The held-out part was looked at {counted(looks, 'time')} for {counted(trials, 'run')}: a variant that is "
        "chosen by these numbers looks better than it is. To choose, compare validation losses."
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
