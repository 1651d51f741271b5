"""The sentences of gates.json, template version 1. Versions were released with it: never edit it, write the next."""

from modelreg.records.gates import (
    AbsentInterval,
    AbsentNumber,
    Finding,
    Gate,
    NoExport,
    NoOlder,
    OutOfBounds,
    OutsideInterval,
    Worse,
)


def describe(gate: Gate, finding: Finding) -> str:
    """Return what a gate found, as gates.json states it."""
    match finding:
        case AbsentNumber(places, elsewhere):
            hint = f"; there is {', '.join(elsewhere)}" if elsewhere else ""
            return f"no such number in {' or '.join(places)}{hint}"
        case AbsentInterval(path, places, reason):
            return f"no interval: {reason}" if reason else f"no interval {path} in {' or '.join(places)}"
        case OutOfBounds(value, over):
            less = "" if over is None else f" ({value:.4f} less {over:.4f})"
            return f"{value - (over or 0.0):.4f}{less}, but must be {_ends(gate)}"
        case OutsideInterval(value, low, high):
            return f"{value:.4f} lies outside of {low:.4f} to {high:.4f}"
        case Worse(value, old, version, direction):
            slack = f" by more than {gate.tolerance:g}" if gate.tolerance else ""
            return f"{value:.4f} is {direction} the {old:.4f} of {version}{slack}"
        case _:
            return _nothing_to_judge(finding)


def _nothing_to_judge(finding: NoOlder | NoExport) -> str:
    if isinstance(finding, NoExport):
        return "no export"
    if finding.version is not None:
        return f"{finding.version} has no such number"
    return f"there is no version {finding.named}" if finding.named else "no older version to compare with"


def _ends(gate: Gate) -> str:
    low = "" if gate.min is None else f"at least {gate.min:g}"
    high = "" if gate.max is None else f"at most {gate.max:g}"
    return " and ".join(filter(None, (low, high))) + (f" above {gate.beyond}" if gate.beyond else "")
