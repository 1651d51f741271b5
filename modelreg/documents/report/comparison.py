"""The comparison of two models: the rows of its table, its verdicts in words, Markdown, and a page with pictures."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from modelreg.documents.report import plots
from modelreg.documents.report.formatting import HEADLINE, counted, escape, table
from modelreg.documents.report.html import html
from modelreg.records.comparison import COMPARED, Change, Comparison, Contender, Difference, PairedComparison
from modelreg.records.metrics import Interval

PICTURES = {
    "differences": "Differences of the metrics with their intervals over subjects",
    "classes": "F1 of each class",
    "subjects": "Accuracy of each subject",
}
INDEPENDENT = "It takes windows for independent, which those of one recording are not: p is too small."

Row = tuple[str, ...]  # a name, the first, the second, their difference, its interval


def comparison_rows(found: Comparison) -> list[Row]:
    """Return what differs in numbers: name, A (the first), B, B less A, and its interval where there is one."""
    one, other = found.one, found.other
    sizes = {
        "parameters": (one.metrics.parameters, other.metrics.parameters),
        "checkpoint bytes": (one.checkpoint_bytes, other.checkpoint_bytes),
        "tested windows": (one.metrics.windows, other.metrics.windows),
        "looks at the held-out part": (one.metrics.protocol.evaluations, other.metrics.protocol.evaluations),
    }
    return [
        *_metric_rows(found),
        *((name, f"{a:,}", f"{b:,}", f"{b - a:+,}" if b != a else "0", "") for name, (a, b) in sizes.items()),
        *_speed_rows(one, other),
    ]


def comparison_verdicts(found: Comparison) -> list[str]:
    """Return what the comparison shows and what it does not, in sentences."""
    return [*_paired_verdicts(found), *_latency_verdicts(found)]


def comparison_markdown(found: Comparison, shown: Mapping[str, str] | None = None) -> str:
    """Return the comparison as the comment of a pull request; `shown` has the path of each picture of PICTURES."""
    one, other = (
        f"{letter}: {escape(side.reference)}" for letter, side in zip("AB", (found.one, found.other), strict=True)
    )
    drawn = "\n\n".join(f"![{PICTURES[name]}]({path})" for name, path in (shown or {}).items())
    verdicts = "\n".join(f"- {escape(verdict)}" for verdict in comparison_verdicts(found))
    sections = (
        f"# {escape(found.one.reference)} and {escape(found.other.reference)}",
        table(("", one, other, "difference", "interval"), comparison_rows(found)),
        verdicts,
        f"## Pictures\n\n{drawn}" if drawn else "",
        f"## Configuration\n\n{_changes_table(found.config, one, other)}",
        f"## Data\n\n{_changes_table(found.data, one, other)}",
    )
    return "\n\n".join(filter(None, sections)) + "\n"


def comparison_page(found: Comparison) -> str:
    """Return the comparison as one HTML file with its pictures."""
    draw = dict(_drawings(found))
    drawn = {f"{name}.png": (of(False), of(True)) for name, of in draw.items()}
    text = comparison_markdown(found, {name: f"{name}.png" for name in draw})
    return html(text, f"{found.one.reference} and {found.other.reference}", drawn)


def _metric_rows(found: Comparison) -> Iterator[Row]:
    """Yield the metrics: those that are compared in pairs on the shared windows, the others on all that each tested."""
    paired = found.paired.metrics if isinstance(found.paired, PairedComparison) else {}
    pairs = {str(name): difference for name, difference in paired.items()}
    one, other = found.one.metrics, found.other.metrics
    for name, text in HEADLINE.items():
        pair = pairs.get(name)
        first, second = (pair.one, pair.other) if pair else (getattr(one, name), getattr(other, name))
        yield _metric_row(text, first, second, pair)
    yield _metric_row("calibration error", one.calibration.ece, other.calibration.ece)


def _metric_row(name: str, one: float, other: float, pair: Difference | None = None) -> Row:
    return name, f"{one:.4f}", f"{other:.4f}", f"{other - one:+.4f}" if other != one else "0", _span(pair)


def _span(difference: Difference | None) -> str:
    interval = difference.interval if difference else None
    return f"{interval.low:+.4f} to {interval.high:+.4f}" if isinstance(interval, Interval) else ""


def _speed_rows(one: Contender, other: Contender) -> Iterator[Row]:
    """Yield the times of a window, where one of the two was measured."""
    for name, of in _SPEEDS.items():
        first, second = (of(side) for side in (one, other))
        if first is None and second is None:
            continue
        difference = "" if first is None or second is None else f"{second - first:+.3f}"
        yield name, *("" if value is None else f"{value:.3f}" for value in (first, second)), difference, ""


_SPEEDS: dict[str, Callable[[Contender], float | None]] = {
    "p50 of a window, ms": lambda side: side.latency.p50_ms if side.latency else None,
    "p99 of a window, ms": lambda side: side.latency.p99_ms if side.latency else None,
    "windows per second": lambda side: side.latency.windows_per_s if side.latency else None,
}


def _paired_verdicts(found: Comparison) -> Iterator[str]:
    paired = found.paired
    if not isinstance(paired, PairedComparison):
        yield f"Not compared window by window: {paired.reason}. A difference of two tests of their own may be chance."
        return
    people = counted(paired.subjects, "subject")
    left = paired.left_out_one + paired.left_out_other
    rest = f"; {counted(left, 'window')} that only one of them predicted are left out" if left else ""
    names = ", ".join(HEADLINE[name] for name in COMPARED)
    yield f"Compared on {counted(paired.windows, 'window')} of {people} that both predicted: {names}{rest}."
    yield from _difference_verdicts(paired)
    test = paired.mcnemar
    yield (
        f"McNemar's test: {counted(test.only_one, 'window')} only A has right, {test.only_other:,} "
        f"only B; p = {test.p_value:.3g}. {INDEPENDENT}"
    )


def _difference_verdicts(paired: PairedComparison) -> Iterator[str]:
    """Yield of each metric whether its interval shows a difference; once, why there is none."""
    for reason in dict.fromkeys(
        d.interval.reason for d in paired.metrics.values() if not isinstance(d.interval, Interval)
    ):
        yield f"No interval: {reason}. Nothing says how far other subjects would differ."
    for name, difference in paired.metrics.items():
        if isinstance(span := difference.interval, Interval):
            yield f"{HEADLINE[name]}: {_judged(difference.difference, span)}."


def _judged(difference: float, span: Interval) -> str:
    interval = f"{span.low:+.4f} to {span.high:+.4f}, {span.level * 100:.4g} % over {span.subjects} subjects"
    if span.low <= 0 <= span.high:
        return f"no difference is shown ({interval})"
    return f"B is {'higher' if difference > 0 else 'lower'} by {abs(difference):.4f} ({interval})"


def _latency_verdicts(found: Comparison) -> Iterator[str]:
    one, other = found.one.latency, found.other.latency
    if one is None or other is None:
        return
    settings = [(record.backend, record.threads, record.hardware) for record in (one, other)]
    if settings[0] != settings[1]:
        yield "The times are of different machines, backends or thread counts: they do not compare the models."


def _changes_table(changes: Sequence[Change], one: str, other: str) -> str:
    if not changes:
        return "No difference."
    rows = [(f"`{change.path}`", _value(change.one), _value(change.other)) for change in changes]
    return table(("setting", one, other), rows, words=(one, other))


def _value(value: object) -> str:
    return escape(json.dumps(value, ensure_ascii=False))


def _drawings(found: Comparison) -> Iterator[tuple[str, Callable[[bool], bytes]]]:
    """Yield what draws each picture that there is something for, by the names of PICTURES."""
    sides = (f"A: {found.one.reference}", f"B: {found.other.reference}")
    if isinstance(found.paired, PairedComparison):
        differences = {str(name): row for name, row in found.paired.metrics.items()}
        yield "differences", lambda dark: plots.draw_differences(differences, dark=dark)
    one, other = found.one.metrics, found.other.metrics
    classes = {
        name: (one.per_class[name].f1, other.per_class[name].f1) for name in one.classes if name in other.per_class
    }
    people = {
        name: (row.accuracy, other.per_subject[name].accuracy)
        for name, row in one.per_subject.items()
        if name in other.per_subject
    }
    for name, rows in (("classes", classes), ("subjects", people)):
        if rows:
            yield name, partial(_draw_sides, rows, sides)


def _draw_sides(rows: Mapping[str, tuple[float, float]], sides: tuple[str, str], dark: bool) -> bytes:
    return plots.draw_sides(rows, sides, dark=dark)
