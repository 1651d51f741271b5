"""Render the sections of a report on temperature scaling, prediction sets and abstention, from the metrics alone."""

from collections.abc import Iterator, Mapping

from modelreg.documents.report.formatting import escape, number, percent, table
from modelreg.documents.templates import calibration_v2 as words
from modelreg.records.calibration import SETS, ConfidenceMetrics, SetKind, SetMetrics
from modelreg.records.calibration_parts import CalibrationError
from modelreg.records.calibration_v1 import ConfidenceMetricsV1
from modelreg.records.intervals import Interval, NoInterval

PICTURES = {
    "temperature": "Reliability diagrams before and after temperature scaling",
    "coverage": "Coverage of the prediction sets by class and by subject",
    "risk": "Error against the share of answered windows",
}
ERRORS = {
    "equal_mass": "top class, equal-mass bins",
    "equal_width": "top class, equal-width bins",
    "class_wise": "every class, equal-width bins",
    "adaptive": "every class, equal-mass bins",
}
SHOWN: dict[SetKind, str] = {"pooled": "pooled", "new_subject": "for a new subject"}
OUTDATED = """## Temperature scaling

modelreg 0.2 fitted the temperature and the prediction sets of this run, and did not judge whether they help a new
subject. Run `modelreg evaluate` again to judge them."""


def section(found: ConfidenceMetrics | ConfidenceMetricsV1, pictures: Mapping[str, str]) -> str:
    """Return the sections; `pictures` has the Markdown of each of PICTURES, empty if it is not shown."""
    if isinstance(found, ConfidenceMetricsV1):
        return OUTDATED
    return f"""## Temperature scaling

{words.temperature(found.temperature)}{_verdict(found)}

{_errors(found)}

{_brier(found)}{pictures["temperature"]}

## Prediction sets

{_sets(found)}{pictures["coverage"]}

## Abstention

{_abstention(found)}{pictures["risk"]}"""


def is_applied(found: ConfidenceMetrics | ConfidenceMetricsV1 | None) -> bool:
    """Return whether temperature scaling is applied, with evidence that it helps."""
    return isinstance(found, ConfidenceMetrics) and found.temperature.outcome == "applied"


def _verdict(found: ConfidenceMetrics) -> str:
    """Return the verdict on the scaled probabilities; that on the unscaled ones is in the section on calibration."""
    if not is_applied(found):
        return ""
    error = found.after.equal_mass
    numbers = f"\n**The calibration error is {number(error.error)} (after temperature scaling)"
    if error.error <= error.null_high:
        return f"{numbers}, within the {number(error.null_high)} expected by chance: no miscalibration detected.**"
    return f"{numbers}, above the {number(error.null_high)} expected by chance: the model is miscalibrated.**"


def _errors(found: ConfidenceMetrics) -> str:
    errors = {text: (getattr(found.before, name), getattr(found.after, name)) for name, text in ERRORS.items()}
    chance = """"Expected by chance" is the 95 % quantile of the error of a perfectly calibrated model with the same
confidences."""
    if not is_applied(found):
        header = ("calibration error", "without scaling", "expected by chance", "interval over subjects")
        plain = [(text, number(before.error), *_around(before)) for text, (before, _) in errors.items()]
        return f"{table(header, plain)}\n\n{chance}"
    scaled_header = (
        "calibration error",
        "before scaling",
        "after scaling",
        "expected by chance",
        "interval over subjects",
    )
    scaled = [
        (text, number(before.error), number(after.error), *_around(after)) for text, (before, after) in errors.items()
    ]
    return f"""{table(scaled_header, scaled)}

The last two columns belong to the error after scaling. {chance}"""


def _around(error: CalibrationError) -> tuple[str, str]:
    return number(error.null_high), _span(error.interval)


def _span(interval: Interval | NoInterval) -> str:
    return f"{number(interval.low)} to {number(interval.high)}" if isinstance(interval, Interval) else "none"


def _brier(found: ConfidenceMetrics) -> str:
    both = (("before scaling", found.before), ("after scaling", found.after))
    shown = both if is_applied(found) else (("without scaling", found.before),)
    rows = [
        (
            when,
            number(measured.brier),
            number(measured.parts.reliability.error),
            number(measured.parts.resolution),
            number(measured.parts.uncertainty),
            number(measured.parts.within_bins),
        )
        for when, measured in shown
    ]
    header = ("Brier score", "total", "= reliability", "- resolution", "+ uncertainty", "+ within bins")
    return table(header, rows)


def _sets(found: ConfidenceMetrics) -> str:
    lines = "\n".join(f"- {escape(words.sets(found, kind))}" for kind in SETS)
    measured = dict(_measured(found))
    if not measured:
        return lines
    rows = [
        (
            SHOWN[kind],
            percent(each.subject_mean),
            _span(each.interval),
            percent(each.coverage),
            number(each.mean_size),
            percent(each.singletons),
            percent(each.empty),
        )
        for kind, each in measured.items()
    ]
    header = (
        "prediction sets",
        "coverage, mean over subjects",
        "interval over subjects",
        "coverage of windows",
        "classes on average",
        "one class",
        "empty",
    )
    return f"""{lines}

The coverage is the share of windows whose set contains the true class. Pooled sets hold their target on average over
subjects like the fitted ones; a single subject can be far below. Sets for a new subject take the difference between
subjects into account (hierarchical conformal prediction), and are larger.

{table(header, rows)}

{_coverages(measured, "per_class", "class")}

{_coverages(measured, "per_subject", "subject")}"""


def _measured(found: ConfidenceMetrics) -> Iterator[tuple[SetKind, SetMetrics]]:
    """Yield the prediction sets that have a threshold."""
    for kind in SETS:
        if isinstance(each := found.sets[kind], SetMetrics):
            yield kind, each


def _coverages(sets: Mapping[SetKind, SetMetrics], part: str, what: str) -> str:
    """Return the coverage and the mean set size of each kind, by class or by subject."""
    found = {kind: getattr(each, part) for kind, each in sets.items()}
    names = {row: of.windows for row, of in next(iter(found.values())).items()}
    rows = [
        (escape(row), windows, *(_cell(of[row].coverage, of[row].mean_size) for of in found.values()))
        for row, windows in names.items()
    ]
    return table((what, "windows", *(f"{SHOWN[kind]}: coverage (mean size)" for kind in found)), rows)


def _cell(coverage: float | None, size: float | None) -> str:
    return "-" if coverage is None or size is None else f"{percent(coverage)} ({number(size)})"


def _abstention(found: ConfidenceMetrics) -> str:
    curve, pooled = found.risk_coverage, found.sets["pooled"]
    by_sets = f"{words.abstention(pooled)}\n\n" if isinstance(pooled, SetMetrics) else ""
    rows = [(percent(point.answered), number(point.confidence), percent(point.error)) for point in curve.points[1::2]]
    return f"""{by_sets}If only the most confident windows are answered, the error among them decreases. The area under
this risk-coverage curve is {curve.area:.3f}: the error averaged over all shares of answered windows, best if low.

{table(("answered windows", "lowest confidence", "error"), rows)}"""
