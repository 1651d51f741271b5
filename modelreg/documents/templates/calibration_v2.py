"""The sentences on temperature scaling and prediction sets, template version 2, of card, report and terminal.

Once a modelreg is released with it, this module never changes: write the next version. It imports records only.
"""

import math
from collections.abc import Iterator

from modelreg.records.calibration import SETS, ConfidenceMetrics, NoThreshold, SetKind, SetMetrics, TemperatureDecision
from modelreg.records.intervals import Interval

NAMES: dict[SetKind, str] = {"pooled": "Pooled prediction sets", "new_subject": "Prediction sets for a new subject"}

FOLDS = (
    "Temperature and prediction sets were fitted on the predictions of the models of the folds, and are applied to the "
    "released model, which was trained on all subjects: the numbers describe this recipe on a new subject."
)


def sentences(found: ConfidenceMetrics) -> Iterator[str]:
    """Yield what was done and what it did, in plain text: temperature, calibration error, sets, abstention."""
    yield temperature(found.temperature)
    if found.judged_on == "left_out_subjects":
        yield FOLDS
    yield calibration_error(found)
    for kind in SETS:
        yield sets(found, kind)
    if isinstance(pooled := found.sets["pooled"], SetMetrics):
        yield abstention(pooled)


def temperature(found: TemperatureDecision) -> str:
    """Return whether temperature scaling is applied, and why."""
    if found.outcome in ("too_few_subjects", "at_bound") or found.gain is None or found.error is None:
        return f"Temperature scaling is not applied: {found.reason}."
    applied = found.outcome == "applied"
    done = f"is applied: logits are divided by {found.value:.3f}" if applied else "is not applied"
    return (
        f"Temperature scaling {done}. With each of {found.subjects} subjects left out of the fit, the gain in log loss "
        f"is {with_error(found.gain, found.error)} (mean over subjects ± standard error), {'' if applied else 'not '}"
        f"more than {found.factor:g} standard errors."
    )


def with_error(value: float, error: float) -> str:
    """Return a value and its error, with two digits of the error."""
    digits = 4 if error <= 0 else max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def calibration_error(found: ConfidenceMetrics) -> str:
    """Return the calibration error before and after what is applied, and what chance would give."""
    before, after = found.before.equal_mass, found.after.equal_mass
    chance = f"(up to {after.null_high:.3f} expected by chance)"
    if found.temperature.outcome != "applied":
        return f"Calibration error: {before.error:.3f} {chance}."
    return f"Calibration error: {before.error:.3f} before temperature scaling, {after.error:.3f} after {chance}."


def sets(found: ConfidenceMetrics, kind: SetKind) -> str:
    """Return what prediction sets of a kind promise, and what they did."""
    each, level = found.sets[kind], _percent(1 - found.alpha)
    if isinstance(each, NoThreshold):
        return f"No {NAMES[kind].lower()}: {each.reason} (highest possible level: {_percent(each.highest_level)})."
    span = ""
    if isinstance(each.interval, Interval):
        ends = f"{_percent(each.interval.low)} to {_percent(each.interval.high)}"
        span = f" ({100 * each.interval.level:g} % interval {ends})"
    lowest = min(row.coverage for row in each.per_subject.values() if row.coverage is not None)
    promise = f"with a {'target' if kind == 'pooled' else 'promise'} of {level}"
    fitted = f"fitted on {_subjects(found.temperature.subjects)}"
    return (
        f"{NAMES[kind]}, {promise}, {fitted}: the true class is in {_percent(each.subject_mean)} of the sets{span}, on "
        f"average over {_judged(each, found)}; in {_percent(lowest)} for the worst subject. A set has "
        f"{each.mean_size:.2f} of {len(each.per_class)} classes on average."
    )


def _judged(each: SetMetrics, found: ConfidenceMetrics) -> str:
    subjects = _subjects(len(each.per_subject))
    return (
        f"{subjects} of the test split" if found.judged_on == "test_split" else f"{subjects}, each left out of the fit"
    )


def _subjects(count: int) -> str:
    return "1 subject" if count == 1 else f"{count} subjects"


def abstention(pooled: SetMetrics) -> str:
    """Return what abstaining from the windows whose set has not exactly one class gives."""
    if pooled.singleton_accuracy is None:
        return "No pooled set has exactly one class."
    return (
        f"{_percent(pooled.singletons)} of the pooled sets have exactly one class: it is right in "
        f"{_percent(pooled.singleton_accuracy)} of them. For the other windows, the model abstains by default."
    )


def _percent(share: float) -> str:
    """Return a share in percent, without the decimals of a whole number."""
    return f"{round(100 * share, 1):g} %"
