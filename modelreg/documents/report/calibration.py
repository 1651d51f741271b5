"""The section of a report on the temperature and the conformal sets, from the metrics alone."""

from collections.abc import Mapping

from modelreg.documents.report.formatting import escape, number, percent, table
from modelreg.records.calibration import CalibrationError, ConfidenceMetrics, SetMetrics, SetName
from modelreg.records.intervals import Interval, NoInterval, Reason

PICTURES = {
    "temperature": "Reliability diagrams before and after the temperature",
    "coverage": "Coverage of the sets by class and by subject",
}
ERRORS = {
    "equal_mass": "top class, bins of equal mass",
    "equal_width": "top class, bins of equal width",
    "class_wise": "every class, bins of equal width",
    "adaptive": "every class, bins of equal mass",
}


def section(found: ConfidenceMetrics, pictures: Mapping[str, str]) -> str:
    """Return the section; `pictures` has the Markdown of each of PICTURES, empty where it is not shown."""
    return f"""## Confidence after the temperature

{_temperature(found)}

{_errors(found)}

{_brier(found)}{pictures["temperature"]}

### Sets of classes

{_sets(found, pictures["coverage"])}"""


def _temperature(found: ConfidenceMetrics) -> str:
    after = found.after
    verdict = _verdict(after.equal_mass)
    return f"""`calibration.json` divides the logits by a temperature of **{number(after.temperature)}**, fitted on the
validation part. On the part tested here, that takes the log loss from {number(found.before.log_loss)} to
{number(after.log_loss)}. {verdict}"""


def _verdict(error: CalibrationError) -> str:
    if error.error <= error.null_high:
        return "The error that is left lies within its null band: **it shows nothing against the confidences.**"
    return "The error that is left lies above its null band: **the confidences are still off.**"


def _errors(found: ConfidenceMetrics) -> str:
    rows = []
    for name, text in ERRORS.items():
        before, after = getattr(found.before, name), getattr(found.after, name)
        rows.append((text, number(before.error), number(after.error), number(after.null_high), _span(after.interval)))
    header = ("calibration error", "before", "after", "null band after, up to", "interval after")
    return f"""{table(header, rows)}

A perfectly calibrated model with these confidences stays within the null band in 95 % of draws."""


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
        for when, measured in (("before", found.before), ("after", found.after))
    ]
    header = ("Brier score", "in all", "= reliability", "- resolution", "+ uncertainty", "+ within bins")
    return table(header, rows)


def _sets(found: ConfidenceMetrics, picture: str) -> str:
    if isinstance(found.sets, Reason):
        return f"There are none: {escape(found.sets.reason)}."
    rows = [
        (
            name,
            percent(each.coverage),
            f"{percent(each.expected.low)} to {percent(each.expected.high)}",
            _span(each.interval),
            number(each.mean_size),
            percent(each.singletons),
            percent(each.empty),
        )
        for name, each in found.sets.items()
    ]
    header = ("method", "coverage", "expected", "interval over subjects", "classes in a set", "one class", "none")
    return f"""Sets that are to hold the true class in {percent(1 - found.alpha)} of windows. The expected band is that
of windows exchangeable with those that the thresholds were fitted on; new people are not, and the coverage says what
that costs.

{table(header, rows)}

{_coverages(found.sets, "per_class", "class")}

{_coverages(found.sets, "per_subject", "subject")}{picture}"""


def _coverages(sets: Mapping[SetName, SetMetrics], part: str, what: str) -> str:
    """Return the coverage of each method, by class or by subject, with the mean size of its sets."""
    found = {name: getattr(each, part) for name, each in sets.items()}
    names = {row: counted.windows for row, counted in next(iter(found.values())).items()}
    rows = [
        (escape(row), windows, *(_cell(of[row].coverage, of[row].mean_size) for of in found.values()))
        for row, windows in names.items()
    ]
    return table((what, "windows", *(f"{name}: coverage (size)" for name in found)), rows)


def _cell(coverage: float | None, size: float | None) -> str:
    return "-" if coverage is None or size is None else f"{percent(coverage)} ({number(size)})"
