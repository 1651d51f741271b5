"""The sentences of gates.json and the names of gated metrics, template version 2.

Once a modelreg is released with it, this module never changes: write the next version.
"""

from modelreg.records.gates import (
    AbsentInterval,
    AbsentNumber,
    Finding,
    Gate,
    NoExport,
    NoOlder,
    Outcome,
    OutOfBounds,
    OutsideInterval,
    RuleFinding,
    UntestedClasses,
    Worse,
)

NAMES = {  # of the paths that projects usually gate; any other path is its own name
    "above_baseline": "accuracy above the majority-class baseline",
    "every_class_tested": "classes with test windows",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "log_loss": "log loss",
    "brier": "Brier score",
    "calibration.ece": "calibration error",
    "confidence.risk_coverage.area": "area under the risk-coverage curve",
    "confidence.before.equal_mass.error": "calibration error (before temperature scaling)",
    "confidence.after.equal_mass.error": "calibration error (after temperature scaling)",
    **{
        f"confidence.sets.{kind}.{field}": f"{words} of the {which}"
        for kind, which in (
            ("pooled", "pooled prediction sets"),
            ("new_subject", "prediction sets for a new subject"),
            ("lac", "LAC prediction sets"),
            ("aps", "APS prediction sets"),
            ("raps", "RAPS prediction sets"),
        )
        for field, words in (
            ("coverage", "coverage"),
            ("subject_mean", "mean coverage over subjects"),
            ("interval", "coverage interval"),
            ("expected", "expected coverage"),
            ("mean_size", "mean size"),
        )
    },
    "codes.perplexity": "perplexity of the codes",
    "codes.used_share": "share of codes used",
    "clusters.active": "active clusters",
    "temporal.mean_duration": "mean duration (windows)",
    "parity.whole.logits_error": "largest logit error of the ONNX graph",
    "parity.split.logits_error": "largest logit error of the split ONNX graphs",
    "int8.accuracy_drop": "estimated accuracy loss in 8 bits",
    "int8.macro_f1_drop": "estimated macro F1 loss in 8 bits",
    "int8.snr_db": "estimated SNR in 8 bits (dB)",
    "latency.p50_ms": "median latency (ms)",
    "latency.p95_ms": "95th percentile latency (ms)",
    "latency.p99_ms": "99th percentile latency (ms)",
}
CHANCE = (
    "null_high"  # the last name of a path: the error that a perfectly calibrated model stays below in 95 % of draws
)


def describe(path: str, gate: Gate, finding: Finding | RuleFinding) -> str:
    """Return what the gate on `path` found, as gates.json states it."""
    match finding:
        case AbsentNumber(places, elsewhere, missing):
            hint = f"; did you mean {' or '.join(elsewhere)}?" if elsewhere else ""
            return f"{missing} not found in {' or '.join(places)}{hint}"
        case AbsentInterval(interval, places, reason):
            return f"{name(interval)} is not available: {reason}" if reason else f"{interval} not found in {places[0]}"
        case OutOfBounds(value, over):
            return _out_of_bounds(path, gate, value, over)
        case OutsideInterval(value, low, high):
            return _outside(path, gate, value, (low, high))
        case Worse(value, old, version, direction):
            new, before = distinct(value, old)
            slack = f", more than the tolerance of {gate.tolerance:g}" if gate.tolerance else ""
            change = "decreased" if direction == "below" else "increased"
            return f"{name(path)} {change} from {before} ({version}) to {new}{slack}"
        case _:
            return _not_compared(path, finding)


def name(path: str) -> str:
    """Return the name of the number at a path."""
    return NAMES.get(path, path)


def requirement(gate: Gate, over: float | None) -> str:
    """Return what a gate demands; `over` is the number at its `beyond`, if that is known."""
    if gate.rule == "above_baseline":
        return "above the majority-class baseline"
    if gate.rule == "every_class_tested":
        return "every class"
    slack = f" (tolerance {gate.tolerance:g})" if gate.tolerance else ""
    parts = [
        "" if gate.min is None else f"at least {_limit(gate, gate.min, over)}",
        "" if gate.max is None else f"at most {_limit(gate, gate.max, over)}",
        f"within {name(gate.inside)}" if gate.inside else "",
        "" if gate.contains is None else f"interval contains {gate.contains:g}",
        f"not below {gate.not_below}{slack}" if gate.not_below else "",
        f"not above {gate.not_above}{slack}" if gate.not_above else "",
    ]
    return " and ".join(filter(None, parts))


def judged(outcome: Outcome) -> str:
    """Return the number or the interval that a gate judged; a dash if it does not exist."""
    if outcome.gate.contains is not None and outcome.interval:
        return " to ".join(text(end, 4) for end in outcome.interval)
    if outcome.gate.rule == "every_class_tested" and outcome.value is not None:
        return f"{outcome.value:.0f} classes"
    return "-" if outcome.value is None else text(outcome.value, 4)


def distinct(one: float, other: float) -> tuple[str, str]:
    """Return two numbers with three significant digits, or with as many as it takes to tell them apart."""
    pairs = ((text(one, digits), text(other, digits)) for digits in range(3, 18))
    return next((pair for pair in pairs if pair[0] != pair[1]), (text(one), text(other)))


def text(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits; whole digits are never rounded away."""
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def _listed(names: tuple[str, ...]) -> str:
    """Return the first names, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _limit(gate: Gate, bound: float, over: float | None) -> str:
    """Return a bound; with `beyond`, as the sum of the number there and the bound."""
    if gate.beyond is None:
        return f"{bound:g}"
    if over is None:
        return f"the value {_base(gate)}{_signed(bound)}"
    return f"{text(over + bound)}{_terms(gate, bound, over)}"


def _terms(gate: Gate, bound: float, over: float | None) -> str:
    """Return what a limit is the sum of, in parentheses after a blank; empty for a plain bound."""
    return "" if over is None else f" ({text(over)} {_base(gate)}{_signed(bound)})"


def _base(gate: Gate) -> str:
    beyond = gate.beyond or ""
    return "expected by chance" if beyond.rsplit(".", 1)[-1] == CHANCE else f"of {name(beyond)}"


def _signed(bound: float) -> str:
    return f" - {-bound:g}" if bound < 0 else f" + {bound:g}"


def _out_of_bounds(path: str, gate: Gate, value: float, over: float | None) -> str:
    base = over or 0.0
    if gate.max is not None and value - base > gate.max:
        shown, limit = distinct(value, base + gate.max)
        return f"{name(path)} {shown} exceeds the limit {limit}{_terms(gate, gate.max, over)}"
    least = gate.min or 0.0
    shown, limit = distinct(value, base + least)
    return f"{name(path)} {shown} is below the minimum {limit}{_terms(gate, least, over)}"


def _outside(path: str, gate: Gate, value: float, interval: tuple[float, float]) -> str:
    low, high = map(text, interval)
    if gate.contains is not None:
        return f"{name(path)} ({low} to {high}) does not contain {gate.contains:g}"
    shown = distinct(value, interval[0] if value < interval[0] else interval[1])[0]
    return f"{name(path)} {shown} is outside {low} to {high} ({name(gate.inside or '')})"


def _rule_broken(finding: RuleFinding) -> str:
    if isinstance(finding, UntestedClasses):
        return f"no window in the test split: {_listed(finding.names)}"
    shown, limit = distinct(finding.value, finding.baseline)
    subjects = finding.subjects
    which = f"lowest of {_listed(subjects)}" if subjects else "lower end of the interval over subjects"
    return f"accuracy {shown} ({which}) does not exceed the majority-class baseline {limit}"


def _not_compared(path: str, finding: NoOlder | NoExport | RuleFinding) -> str:
    if isinstance(finding, RuleFinding):
        return _rule_broken(finding)
    if isinstance(finding, NoExport):
        return "no export"
    if finding.version is not None:
        return f"{finding.version} has no value for {path}"
    return f"version {finding.named} not found" if finding.named else "no earlier version to compare with"
