"""Render the comparison of two models: the rows of its table, its conclusions, Markdown, and a page with pictures."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from modelreg.documents.report import plots
from modelreg.documents.report.formatting import HEADLINE, counted, escape, table
from modelreg.documents.report.html import html
from modelreg.records.comparison import COMPARED, Change, Comparison, Contender, Difference, PairedComparison
from modelreg.records.metrics import Interval

PICTURES = {
    "differences": "Differences of the metrics with intervals over subjects",
    "classes": "F1 by class",
    "subjects": "Accuracy by subject",
}
INDEPENDENT = "The test assumes independent windows. Windows of one recording are not independent, so p is too small."

Row = tuple[str, ...]  # name, A, B, difference, interval of the difference


def comparison_rows(found: Comparison) -> list[Row]:
    """Return the rows of numbers: name, A, B, B - A, and the interval of the difference if there is one."""
    one, other = found.one, found.other
    sizes = {
        "parameters": (one.metrics.parameters, other.metrics.parameters),
        "checkpoint size (bytes)": (one.checkpoint_bytes, other.checkpoint_bytes),
        "test windows": (one.metrics.windows, other.metrics.windows),
        "test-set evaluations": (one.metrics.protocol.evaluations, other.metrics.protocol.evaluations),
    }
    return [
        *_metric_rows(found),
        *((name, f"{a:,}", f"{b:,}", f"{b - a:+,}" if b != a else "0", "") for name, (a, b) in sizes.items()),
        *_speed_rows(one, other),
    ]


def comparison_verdicts(found: Comparison) -> list[str]:
    """Return the conclusions of the comparison, in sentences."""
    return [*_paired_verdicts(found), *_latency_verdicts(found)]


def comparison_markdown(found: Comparison, shown: Mapping[str, str] | None = None) -> str:
    """Return the comparison in Markdown; `shown` has the path of each picture to show, by the names of PICTURES."""
    one, other = (
        f"{letter}: {escape(side.reference)}" for letter, side in zip("AB", (found.one, found.other), strict=True)
    )
    drawn = "\n\n".join(f"![{PICTURES[name]}]({path})" for name, path in (shown or {}).items())
    verdicts = "\n".join(f"- {escape(verdict)}" for verdict in comparison_verdicts(found))
    sections = (
        f"# {escape(found.one.reference)} and {escape(found.other.reference)}",
        table(("metric", one, other, "difference (B - A)", "interval"), comparison_rows(found)),
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
    """Yield the metrics: paired ones on the shared windows, the others on all test windows of each model."""
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
    """Yield the latencies of a window, if one of the two models was measured."""
    for name, of in _SPEEDS.items():
        first, second = (of(side) for side in (one, other))
        if first is None and second is None:
            continue
        difference = "" if first is None or second is None else f"{second - first:+.3f}"
        yield name, *("" if value is None else f"{value:.3f}" for value in (first, second)), difference, ""


_SPEEDS: dict[str, Callable[[Contender], float | None]] = {
    "median latency (ms)": lambda side: side.latency.p50_ms if side.latency else None,
    "99th percentile latency (ms)": lambda side: side.latency.p99_ms if side.latency else None,
    "throughput (windows/s)": lambda side: side.latency.windows_per_s if side.latency else None,
}


def _paired_verdicts(found: Comparison) -> Iterator[str]:
    paired = found.paired
    if not isinstance(paired, PairedComparison):
        yield f"No paired comparison: {paired.reason}. Differences between separate tests may be due to chance."
        return
    subjects = counted(paired.subjects, "subject")
    left = paired.left_out_one + paired.left_out_other
    rest = f" Windows predicted by one model only are not compared: {left:,}." if left else ""
    names = ", ".join(HEADLINE[name] for name in COMPARED)
    yield f"Paired comparison of {names} on {counted(paired.windows, 'window')} of {subjects}.{rest}"
    yield from _difference_verdicts(paired)
    test = paired.mcnemar
    yield (
        f"McNemar's test: {counted(test.only_one, 'window')} correct in A only, {test.only_other:,} in B only; "
        f"p = {test.p_value:.3g}. {INDEPENDENT}"
    )


def _difference_verdicts(paired: PairedComparison) -> Iterator[str]:
    """Yield for each metric whether its interval shows a difference; once, the reason for a missing interval."""
    for reason in dict.fromkeys(
        d.interval.reason for d in paired.metrics.values() if not isinstance(d.interval, Interval)
    ):
        yield f"No interval: {reason}. The difference on other subjects cannot be estimated."
    for name, difference in paired.metrics.items():
        if isinstance(span := difference.interval, Interval):
            yield f"{HEADLINE[name]}: {_judged(difference.difference, span)}."


def _judged(difference: float, span: Interval) -> str:
    interval = f"{span.low:+.4f} to {span.high:+.4f}, {span.level * 100:.4g} % over {span.subjects} subjects"
    if span.low <= 0 <= span.high:
        return f"no significant difference ({interval})"
    return f"B is {abs(difference):.4f} {'higher' if difference > 0 else 'lower'} ({interval})"


def _latency_verdicts(found: Comparison) -> Iterator[str]:
    one, other = found.one.latency, found.other.latency
    if one is None or other is None:
        return
    settings = [(record.backend, record.threads, record.hardware) for record in (one, other)]
    if settings[0] != settings[1]:
        yield "The latencies were measured on different machines, backends or thread counts and are not comparable."


def _changes_table(changes: Sequence[Change], one: str, other: str) -> str:
    if not changes:
        return "No differences."
    rows = [(escape(change.path), _value(change.one), _value(change.other)) for change in changes]
    return table(("setting", one, other), rows, words=(one, other))


def _value(value: object) -> str:
    return escape(json.dumps(value, ensure_ascii=False))


def _drawings(found: Comparison) -> Iterator[tuple[str, Callable[[bool], bytes]]]:
    """Yield a function for each picture that has data, by the names of PICTURES."""
    sides = (f"A: {found.one.reference}", f"B: {found.other.reference}")
    if isinstance(found.paired, PairedComparison):
        differences = {str(name): row for name, row in found.paired.metrics.items()}
        yield "differences", lambda dark: plots.draw_differences(differences, dark=dark)
    one, other = found.one.metrics, found.other.metrics
    classes = {
        name: (one.per_class[name].f1, other.per_class[name].f1) for name in one.classes if name in other.per_class
    }
    subjects = {
        name: (row.accuracy, other.per_subject[name].accuracy)
        for name, row in one.per_subject.items()
        if name in other.per_subject
    }
    for name, rows in (("classes", classes), ("subjects", subjects)):
        if rows:
            yield name, partial(_draw_sides, rows, sides)


def _draw_sides(rows: Mapping[str, tuple[float, float]], sides: tuple[str, str], dark: bool) -> bytes:
    return plots.draw_sides(rows, sides, dark=dark)
