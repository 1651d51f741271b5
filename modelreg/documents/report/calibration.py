"""Render the sections of a report on temperature scaling and on prediction sets, from the metrics alone."""

from collections.abc import Mapping

from modelreg.documents.report.formatting import escape, number, percent, table
from modelreg.records.calibration import SETS, CalibrationError, ConfidenceMetrics, SetMetrics, SetName
from modelreg.records.intervals import Interval, NoInterval, Reason

PICTURES = {
    "temperature": "Reliability diagrams before and after temperature scaling",
    "coverage": "Coverage of the prediction sets by class and by subject",
}
ERRORS = {
    "equal_mass": "top class, equal-mass bins",
    "equal_width": "top class, equal-width bins",
    "class_wise": "every class, equal-width bins",
    "adaptive": "every class, equal-mass bins",
}


def section(found: ConfidenceMetrics, pictures: Mapping[str, str]) -> str:
    """Return both sections; `pictures` has the Markdown of each of PICTURES, empty if it is not shown."""
    return f"""## Calibration after temperature scaling

{_temperature(found)}

{_errors(found)}

{_brier(found)}{pictures["temperature"]}

## Prediction sets

{_sets(found, pictures["coverage"])}"""


def _temperature(found: ConfidenceMetrics) -> str:
    before, after = found.before, found.after
    change = "decreases" if after.log_loss < before.log_loss else "increases"
    losses = f"from {number(before.log_loss)} to {number(after.log_loss)}"
    temperature = f"**{number(after.temperature)}** (`calibration.json`)"
    return f"""Temperature scaling divides the logits by {temperature}. This value was fitted on the validation
split. On the test split, temperature scaling {change} the log loss {losses}.
{_verdict(after.equal_mass)}"""


def _verdict(error: CalibrationError) -> str:
    numbers = f"{number(error.error)} (after temperature scaling)"
    if error.error <= error.null_high:
        return (
            f"**The calibration error is {numbers}, within the {number(error.null_high)} expected by chance: no "
            "miscalibration detected.**"
        )
    return (
        f"**The calibration error is {numbers}, above the {number(error.null_high)} expected by chance: the model is "
        "miscalibrated.**"
    )


def _errors(found: ConfidenceMetrics) -> str:
    rows = []
    for name, text in ERRORS.items():
        before, after = getattr(found.before, name), getattr(found.after, name)
        rows.append((text, number(before.error), number(after.error), number(after.null_high), _span(after.interval)))
    header = ("calibration error", "before scaling", "after scaling", "expected by chance", "interval over subjects")
    return f"""{table(header, rows)}

The last two columns belong to the error after scaling. "Expected by chance" is the 95 % quantile of the error of a
perfectly calibrated model with the same confidences."""


def _span(interval: Interval | NoInterval) -> str:
    return f"{number(interval.low)} to {number(interval.high)}" if isinstance(interval, Interval) else "none"


def _brier(found: ConfidenceMetrics) -> str:
    rows = [
        (
            when,
            number(measured.brier),
            number(measured.parts.reliability.error),
            number(measured.parts.resolution),
            number(measured.parts.uncertainty),
            number(measured.parts.within_bins),
        )
        for when, measured in (("before scaling", found.before), ("after scaling", found.after))
    ]
    header = ("Brier score", "total", "= reliability", "- resolution", "+ uncertainty", "+ within bins")
    return table(header, rows)


def _sets(found: ConfidenceMetrics, picture: str) -> str:
    if isinstance(found.sets, Reason):
        return f"No prediction sets: {escape(found.sets.reason)}."
    rows = [
        (
            name.upper(),
            percent(each.coverage),
            f"{percent(each.expected.low)} to {percent(each.expected.high)}",
            _span(each.interval),
            number(each.mean_size),
            percent(each.singletons),
            percent(each.empty),
        )
        for name, each in ((name, found.sets[name]) for name in SETS)
    ]
    header = (
        "method",
        "coverage",
        "expected coverage",
        "interval over subjects",
        "classes on average",
        "one class",
        "empty",
    )
    return f"""{_summary(found.sets, found.alpha)}

The coverage is the share of windows whose set contains the true class. The expected coverage assumes that the test
windows are exchangeable with the windows that the thresholds were fitted on. Windows of new subjects are not: the
difference between coverage and expected coverage shows the effect.

{table(header, rows)}

{_coverages(found.sets, "per_class", "class")}

{_coverages(found.sets, "per_subject", "subject")}{picture}"""


def _summary(sets: Mapping[SetName, SetMetrics], alpha: float) -> str:
    """Return target, coverage and size of each method's sets, in a line."""
    each = "; ".join(
        f"{name.upper()} covers {percent(sets[name].coverage)}, {sets[name].mean_size:.2f} classes on average"
        for name in SETS
    )
    return f"Prediction sets (target {percent(1 - alpha)}): {each}."


def _coverages(sets: Mapping[SetName, SetMetrics], part: str, what: str) -> str:
    """Return the coverage and the mean set size of each method, by class or by subject."""
    found = {name: getattr(sets[name], part) for name in SETS}
    names = {row: of.windows for row, of in next(iter(found.values())).items()}
    rows = [
        (escape(row), windows, *(_cell(of[row].coverage, of[row].mean_size) for of in found.values()))
        for row, windows in names.items()
    ]
    return table((what, "windows", *(f"{name.upper()} coverage (mean size)" for name in found)), rows)


def _cell(coverage: float | None, size: float | None) -> str:
    return "-" if coverage is None or size is None else f"{percent(coverage)} ({number(size)})"
