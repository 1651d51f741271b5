"""Release gates: bounds on metrics that a release must meet. Documents in, outcomes out.

A gate names a number by its dotted path in eval_metrics.json, or in another document after that document's name
(`parity.whole.logits_error`). A missing number fails. A gate of an export with `if_exported` is not judged if the
version has no export. gates.json stores every outcome with all its inputs, so that `verify` computes the same verdicts.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from modelreg import files
from modelreg.errors import Problem
from modelreg.evaluation import bootstrap, tolerance
from modelreg.records.gates import (
    AbsentInterval,
    AbsentNumber,
    Against,
    Finding,
    Gate,
    GateReport,
    NoExport,
    NoOlder,
    NotAboveBaseline,
    Outcome,
    OutOfBounds,
    OutsideInterval,
    RuleFinding,
    UntestedClasses,
    Waiver,
    Worse,
    document_of,
    is_exported,
)
from modelreg.registry import filenames

LATEST = "latest"
DIRECTIONS: tuple[tuple[str, int, Literal["below", "above"]], ...] = (
    ("not_below", 1, "below"),
    ("not_above", -1, "above"),
)
OTHERS = {  # the documents by the first name of a path; of several, the first that exists
    "parity": ("onnx/parity.json",),
    "int8": ("hailo8/int8.json", "hailo8l/int8.json"),
    "latency": ("latency.json",),
}


Describe: TypeAlias = Callable[
    [str, Gate, Finding | RuleFinding], str
]  # path, gate, finding: the sentence that gates.json states


class Older(NamedTuple):
    """The documents of an earlier version that gates compare with."""

    version: str
    documents: Mapping[str, Any]


UNKNOWN = Against(version=None, value=None)


def judgeable(folder: Path, gates: Mapping[str, Gate], coming: Container[str]) -> dict[str, Gate]:
    """Return the gates except those whose document will be written later, into one of the folders `coming`."""
    return {path: gate for path, gate in gates.items() if not _is_coming(folder, _places(path), coming)}


def _is_coming(folder: Path, places: tuple[str, ...], coming: Container[str]) -> bool:
    here = any((folder / place).is_file() for place in places)
    return not here and any(place.split("/")[0] in coming for place in places)


def _places(path: str) -> tuple[str, ...]:
    return OTHERS.get(document_of(path), (filenames.METRICS,))


def read_documents(folder: Path, usable: Container[str] | None = None) -> dict[str, Any]:
    """Read the documents that gates may name; only `usable` files of the folder, if given. Raises InputError."""
    read: dict[str, Any] = {}
    for name, places in {"": (filenames.METRICS,), **OTHERS}.items():
        there = [place for place in places if (folder / place).is_file() and (usable is None or place in usable)]
        if there:
            read[name] = files.parse_json(files.read_bytes(folder / there[0]), there[0])
    metrics = {
        name: value for name, value in read.pop("", {}).items() if name not in OTHERS
    }  # drop copies of the other documents
    return {**metrics, **read}


def check_gates(
    documents: Mapping[str, Any],
    gates: Mapping[str, Gate],
    older: Mapping[str, Older | None] | None = None,
    waivers: Iterable[Waiver] = (),
    *,
    describe: Describe,
) -> list[Outcome]:
    """Judge every gate on the documents. A missing number fails.

    `older` has the documents of each version that gates name, None if the version does not exist. `describe` is the
    template of the sentences.
    """
    reasons = {waiver.gate: waiver.reason for waiver in waivers}
    return [
        _outcome(path, gate, documents, _against(path, gate, older or {}), reasons.get(path), describe)
        for path, gate in gates.items()
    ]


def check_again(report: GateReport, documents: Mapping[str, Any], describe: Describe) -> GateReport:
    """Judge the gates of a version on the documents of another version with the same weights."""
    return GateReport(outcomes=tuple(_again(outcome, documents, describe) for outcome in report.outcomes))


def failures(outcomes: Iterable[Outcome]) -> Iterator[Problem]:
    """Yield the gates that fail and are not waived."""
    yield from (problem for problem, _ in failed(outcomes))


def failed(outcomes: Iterable[Outcome]) -> Iterator[tuple[Problem, Outcome]]:
    """Yield the gates that fail and are not waived, each with its outcome."""
    for outcome in outcomes:
        if outcome.verdict == "FAILS":
            yield Problem(f"gate {outcome.path}", "gates.failed", str(outcome.failure)), outcome


def find_gate_problems(
    report: GateReport, documents: Mapping[str, Any], where: str, describe: Describe
) -> Iterator[Problem]:
    """Yield the outcomes that differ from those recomputed from the documents, and the failed gates."""
    for stated in report.outcomes:
        if _again(stated, documents, describe) != stated:
            what = "the stated outcome differs from the outcome recomputed from the version's documents"
            yield Problem(f"{where}: {stated.path}", "gates.outcome-mismatch", what)
    yield from (problem.under(where) for problem in failures(report.outcomes))


def named_versions(gates: Mapping[str, Gate]) -> tuple[str, ...]:
    """Return the versions that gates compare with, as they name them."""
    return tuple(dict.fromkeys(name for gate in gates.values() for name in gate.older))


def value_at(document: Mapping[str, Any], path: str) -> float | None:
    """Return the number at a dotted path, or None."""
    value = _at(document, path)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _at(document: Mapping[str, Any], path: str) -> Any:
    value: Any = document
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _interval_at(document: Mapping[str, Any], path: str) -> tuple[float, float] | None:
    low, high = (value_at(document, f"{path}.{end}") for end in ("low", "high"))
    return None if low is None or high is None else (low, high)


def _against(path: str, gate: Gate, older: Mapping[str, Older | None]) -> dict[str, Against]:
    found = {name: older.get(name) for name in gate.older}
    return {
        name: Against(version=version.version, value=value_at(version.documents, path)) if version else UNKNOWN
        for name, version in found.items()
    }


def _again(stated: Outcome, documents: Mapping[str, Any], describe: Describe) -> Outcome:
    return _outcome(stated.path, stated.gate, documents, stated.against, stated.waived, describe)


def _outcome(
    path: str,
    gate: Gate,
    documents: Mapping[str, Any],
    against: Mapping[str, Against],
    waived: str | None,
    describe: Describe,
) -> Outcome:
    if gate.if_exported and is_exported(path) and document_of(path) not in documents:
        return _unjudged(path, gate, against, waived, describe(path, gate, NoExport()))
    if gate.rule:
        return _rule_outcome(path, gate, documents, waived, describe)
    absent = list(_absences(documents, path, gate))
    value = value_at(documents, path)
    over = value_at(documents, gate.beyond) if gate.beyond else None
    interval = _interval_at(documents, _interval_path(path, gate))
    misses = absent or [*_bound_misses(gate, value, over), *_interval_misses(gate, value, interval)]
    losses = [] if absent else list(_losses(gate, value, against))
    return Outcome(
        path=path,
        gate=gate,
        value=value,
        over=over,
        interval=interval,
        against=dict(against),
        failure="; ".join(describe(path, gate, found) for found in (*misses, *losses)) or None,
        waived=waived,
        notes=tuple(describe(path, gate, found) for found in _notes(against)),
    )


def _rule_outcome(
    path: str, gate: Gate, documents: Mapping[str, Any], waived: str | None, describe: Describe
) -> Outcome:
    """Judge a rule about the whole evaluation on eval_metrics.json."""
    judged = (_above_baseline if gate.rule == "above_baseline" else _every_class_tested)(documents)
    return Outcome(
        path=path,
        gate=gate,
        value=judged.value,
        over=None,
        interval=judged.interval,
        against={},
        baseline=judged.baseline,
        subjects=judged.subjects,
        classes=judged.classes,
        failure=describe(path, gate, judged.finding) if judged.finding else None,
        waived=waived,
        notes=(),
    )


class _Judged(NamedTuple):
    """What a rule found."""

    finding: Finding | RuleFinding | None
    value: float | None = None
    interval: tuple[float, float] | None = None
    baseline: float | None = None
    subjects: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None


def _above_baseline(documents: Mapping[str, Any]) -> _Judged:
    """Compare the accuracy with that of always predicting the most frequent class of the test split.

    With `bootstrap.MIN_SUBJECTS` test subjects or more, the lower end of the interval over subjects must be above it;
    with fewer, for which no interval is drawn, every test subject.
    """
    baseline = value_at(documents, "baselines.majority_accuracy")
    rows = _at(documents, "per_subject")
    if baseline is None or not isinstance(rows, Mapping) or not rows:
        return _Judged(AbsentNumber((filenames.METRICS,), (), "baselines.majority_accuracy"))
    if len(rows) < bootstrap.MIN_SUBJECTS:
        accuracies = {name: value_at(row, "accuracy") or 0.0 for name, row in rows.items()}
        lowest = min(accuracies.values())
        below = tuple(sorted(name for name, accuracy in accuracies.items() if accuracy <= baseline))
        found = NotAboveBaseline(lowest, baseline, below) if below else None
        return _Judged(found, value=lowest, baseline=baseline, subjects=below or None)
    interval = _interval_at(documents, "intervals.accuracy")
    if interval is None:
        return _Judged(_absent_interval(documents, "intervals.accuracy"), baseline=baseline)
    found = NotAboveBaseline(interval[0], baseline, ()) if interval[0] <= baseline else None
    return _Judged(found, value=interval[0], interval=interval, baseline=baseline)


def _every_class_tested(documents: Mapping[str, Any]) -> _Judged:
    """Look for classes without a window in the test split: no metric says anything about them."""
    rows = _at(documents, "per_class")
    if not isinstance(rows, Mapping):
        return _Judged(AbsentNumber((filenames.METRICS,), (), "per_class"))
    untested = tuple(sorted(name for name, row in rows.items() if not value_at(row, "support")))
    found = UntestedClasses(untested) if untested else None
    return _Judged(found, value=float(len(rows) - len(untested)), classes=untested or None)


def _unjudged(path: str, gate: Gate, against: Mapping[str, Against], waived: str | None, reason: str) -> Outcome:
    return Outcome(
        path=path,
        gate=gate,
        value=None,
        over=None,
        interval=None,
        against=dict(against),
        failure=None,
        waived=waived,
        unjudged=reason,
        notes=(),
    )


def _interval_path(path: str, gate: Gate) -> str:
    """Return the path of the interval that a gate reads; empty if it reads none."""
    return path if gate.contains is not None else gate.inside or ""


def _absences(documents: Mapping[str, Any], path: str, gate: Gate) -> Iterator[Finding]:
    """Yield the numbers and intervals that a gate reads and that are missing."""
    numbers = [path] if gate.contains is None else []
    for name in [*numbers, *filter(None, [gate.beyond])]:
        if value_at(documents, name) is None:
            yield AbsentNumber(_places(name), _elsewhere(documents, name), name)
    interval = _interval_path(path, gate)
    if interval and _interval_at(documents, interval) is None:
        yield _absent_interval(documents, interval)


def _absent_interval(documents: Mapping[str, Any], path: str) -> AbsentInterval:
    reason = _at(documents, f"{path}.reason")
    return AbsentInterval(path, _places(path), str(reason) if reason else None)


def _elsewhere(documents: Mapping[str, Any], path: str) -> tuple[str, ...]:
    """Return the dotted paths that end in `path`, one level down."""
    parts = ((part, inner) for part, inner in documents.items() if isinstance(inner, Mapping))
    return tuple(f"{part}.{path}" for part, inner in parts if path in inner)


def _bound_misses(gate: Gate, value: float | None, over: float | None) -> Iterator[Finding]:
    """Yield the value if it violates min or max."""
    if value is None:
        return
    excess = value - (over or 0.0)
    if (gate.min is not None and excess < gate.min) or (gate.max is not None and excess > gate.max):
        yield OutOfBounds(value, over)


def _interval_misses(gate: Gate, value: float | None, interval: tuple[float, float] | None) -> Iterator[Finding]:
    if interval is None:
        return
    held = value if gate.contains is None else gate.contains
    if held is not None and not interval[0] <= held <= interval[1]:
        yield OutsideInterval(held, *interval)


def _losses(gate: Gate, value: float | None, against: Mapping[str, Against]) -> Iterator[Finding]:
    """Yield the earlier versions whose value is better, or missing."""
    for name, sign, direction in DIRECTIONS:
        reference = getattr(gate, name)
        if reference is None or value is None:
            continue
        old = against.get(reference, UNKNOWN)
        if old.value is not None and sign * (old.value - value) > gate.tolerance + tolerance.GATE:
            yield Worse(value, old.value, old.version, direction)
        elif old.value is None and reference != LATEST:
            yield NoOlder(old.version, reference)


def _notes(against: Mapping[str, Against]) -> Iterator[Finding]:
    """Yield why the latest version sets no bound: this is the first release, or the metric is new."""
    for name, old in against.items():
        if name == LATEST and old.value is None:
            yield NoOlder(old.version, None)
