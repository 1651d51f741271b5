"""Draw the pictures of the page of `modelreg data check` as SVG, in light and dark colors. Needs no matplotlib."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from math import ceil, floor, log10, sqrt
from statistics import fmean
from typing import NamedTuple

from modelreg.documents.report.html import Picture
from modelreg.escaping import one_line
from modelreg.records.data import Excerpt

ROWS = 40  # of a chart: subjects
COLUMNS = 20  # of a heat map: classes or channels
LABEL_LENGTH = 14  # characters of a name at a row
NAME_LENGTH = 40  # characters of a name above a panel
WIDTH = 320  # pixels of a scale
BINS = 160  # places of dots along a scale
PANEL = (560, 56)  # pixels of an excerpt


class Colors(NamedTuple):
    """The colors of html.STYLE and of plots."""

    paper: str
    ink: str
    line: str
    dot: str
    axes: tuple[str, str, str]  # of x, y and z
    full: str  # a share of 1 in a heat map; 0 is paper


LIGHT = Colors("#ffffff", "#1b1f24", "#d0d7de", "#0072B2", ("#0072B2", "#D55E00", "#007a59"), "#9ecae8")
DARK = Colors("#15181d", "#e8eaed", "#3a424b", "#56B4E9", ("#56B4E9", "#E69F00", "#00B386"), "#1c5a80")


class Scale(NamedTuple):
    """A horizontal scale: its ends, its ticks, and marked values."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    marks: tuple[float, ...] = ()
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Return the share of the width at which a value is; values beyond an end are at the end."""
        low, high, value = ((_log(x) if self.logarithmic else x) for x in (self.low, self.high, value))
        return min(max((value - low) / (high - low), 0.0), 1.0)


def linear(title: str, low: float, high: float, marks: tuple[float, ...] = ()) -> Scale:
    """Return a scale with about five ticks at round values; the ends are rounded outwards."""
    span = max(high - low, 1e-9 * max(abs(low), abs(high)), 1e-12)
    rough = span / 5
    power = 10.0 ** floor(log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    last = max(last, first + 1)
    ticks = tuple((n * step, f"{n * step:.6g}") for n in range(first, last + 1))
    return Scale(title, first * step, last * step, ticks, marks)


def decades(title: str, low: float, high: float, marks: tuple[float, ...] = ()) -> Scale:
    """Return a logarithmic scale with ticks at powers of ten, or at 1, 2 and 5 if they are few."""
    first, last = floor(_log(low)), ceil(_log(high))
    last = max(last, first + 1)
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    values = [factor * 10.0**n for n in range(first, last) for factor in factors] + [10.0**last]
    return Scale(title, 10.0**first, 10.0**last, tuple((v, f"{v:g}") for v in values), marks, logarithmic=True)


def _log(value: float) -> float:
    return log10(max(value, 1e-6))


def both(draw: Callable[[Colors], bytes]) -> Picture:
    """Return a picture in light and in dark colors."""
    return draw(LIGHT), draw(DARK)


def strip(rows: Mapping[str, Sequence[float]], scale: Scale, use: Colors) -> bytes:
    """Draw a dot for each value, one row for each name, at most ROWS of them. Equal dots are one larger dot."""
    shown = list(rows.items())[:ROWS]
    height, left = 24, _left(name for name, _ in shown)
    bottom, right = 20 + height * len(shown), left + WIDTH
    marks = []
    for tick, text in scale.ticks:
        x = left + WIDTH * scale.at(tick)
        marks.append(f'<line x1="{x:.1f}" y1="20" x2="{x:.1f}" y2="{bottom}" stroke="{use.line}"/>')
        marks.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{text}</text>')
    for value in scale.marks:
        x = left + WIDTH * scale.at(value)
        marks.append(
            f'<line x1="{x:.1f}" y1="20" x2="{x:.1f}" y2="{bottom}" stroke="{use.ink}" stroke-dasharray="4 3"/>'
        )
    binned = [(name, Counter(round(BINS * scale.at(value)) for value in values)) for name, values in shown]
    most = max((count for _, counts in binned for count in counts.values()), default=1)
    for row, (name, counts) in enumerate(binned):
        y = 20 + height * row + height / 2
        marks.append(f'<text x="{left - 14}" y="{y + 4:g}" text-anchor="end">{escape(label(name))}</text>')
        for place, count in sorted(counts.items()):
            radius = 3 + 6 * sqrt(count / most) if most > 1 else 5
            marks.append(
                f'<circle cx="{left + WIDTH * place / BINS:.1f}" cy="{y:g}" r="{radius:.1f}" fill="{use.dot}" '
                f'fill-opacity="0.75" stroke="{use.paper}"/>'
            )
    title = escape(one_line(scale.title))
    marks.append(f'<text x="{(left + right) / 2:g}" y="{bottom + 38}" text-anchor="middle">{title}</text>')
    return _svg(right + 20, bottom + 46, marks, use)


def heat_map(
    rows: Mapping[str, Sequence[float]], columns: Sequence[str], shown: Callable[[float], str], use: Colors
) -> bytes:
    """Draw a cell for each name and column with its value, shaded by its share of the largest value."""
    named, heads = list(rows.items())[:ROWS], columns[:COLUMNS]
    width, height, left = 52, 24, _left(name for name, _ in named)
    top = 24 + round(5.2 * max((len(label(name)) for name in heads), default=0))
    most = max((value for _, values in named for value in values), default=0.0) or 1.0
    marks = []
    for column, name in enumerate(heads):
        x, y = left + width * column + width / 2, top - 10
        turned = f'transform="rotate(-40 {x:g} {y})"'
        marks.append(f'<text x="{x:g}" y="{y}" {turned}>{escape(label(name))}</text>')
    for row, (name, values) in enumerate(named):
        y = top + height * row
        marks.append(f'<text x="{left - 14}" y="{y + 17}" text-anchor="end">{escape(label(name))}</text>')
        for column, value in enumerate(values[:COLUMNS]):
            x = left + width * column
            share = sqrt(value / most)
            box = f'x="{x + 1}" y="{y + 1}" width="{width - 2}" height="{height - 2}"'
            marks.append(f'<rect {box} fill="{use.full}" fill-opacity="{share:.2f}" stroke="{use.line}"/>')
            marks.append(
                f'<text x="{x + width / 2:g}" y="{y + 17}" text-anchor="middle" font-size="11">{shown(value)}</text>'
            )
    slope = 8 * max((len(label(name)) for name in heads[-1:]), default=0)
    return _svg(left + width * len(heads) + max(20, slope - width // 2), top + height * len(named) + 12, marks, use)


def signals(excerpts: Sequence[Excerpt], use: Colors) -> bytes:
    """Draw the excerpts of one group of channels, one panel for each class, all with the same scales."""
    shown = excerpts[:COLUMNS]
    width, height = PANEL
    left, step = 64, height + 34
    known = [x for excerpt in shown for column in excerpt.values for x in column if x is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    low, high = (low, high) if high > low else (low - 1, high + 1)
    longest = max((excerpt.seconds for excerpt in shown), default=0.0) or 1.0
    marks = [_legend(shown[0].channels, left, use)]
    for row, excerpt in enumerate(shown):
        top = 48 + step * row
        marks.append(f'<text x="{left}" y="{top - 7}" font-size="12">{escape(_heading(excerpt))}</text>')
        box = f'x="{left}" y="{top}" width="{width}" height="{height}"'
        marks.append(f'<rect {box} fill="none" stroke="{use.line}"/>')
        for value, y in ((high, top + 9), (low, top + height)):
            marks.append(f'<text x="{left - 6}" y="{y}" text-anchor="end" font-size="11">{value:.3g}</text>')
        for column, color in zip(excerpt.values, use.axes, strict=False):
            path = _path(column, (left, top), width * excerpt.seconds / longest, (low, high))
            marks.append(f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.3"/>')
    bottom = 48 + step * len(shown) - 34
    for second in range(int(longest) + 1):
        x = left + width * second / longest
        marks.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle" font-size="11">{second}</text>')
    marks.append(f'<text x="{left + width / 2:g}" y="{bottom + 34}" text-anchor="middle">seconds</text>')
    return _svg(left + width + 16, bottom + 42, marks, use)


def _legend(channels: Sequence[str], left: int, use: Colors) -> str:
    spans = (
        f'<tspan fill="{color}" dx="{14 if number else 0}">{escape(label(name))}</tspan>'
        for number, (name, color) in enumerate(zip(channels, use.axes, strict=False))
    )
    return f'<text x="{left}" y="16" font-weight="600">{"".join(spans)}</text>'


def _heading(excerpt: Excerpt) -> str:
    return f"{label(excerpt.name, NAME_LENGTH)}: {label(excerpt.recording, NAME_LENGTH)} from {excerpt.start_s:.1f} s"


def _path(column: Sequence[float | None], corner: tuple[int, int], width: float, ends: tuple[float, float]) -> str:
    """Return the path of one channel; it is interrupted where values are missing."""
    (left, top), (low, high), height = corner, ends, PANEL[1]
    step = width / max(len(column) - 1, 1)
    pieces, pen = [], "M"
    for number, value in enumerate(column):
        if value is None:
            pen = "M"
            continue
        pieces.append(f"{pen}{left + step * number:.1f} {top + height * (high - value) / (high - low):.1f}")
        pen = "L"
    return "".join(pieces)


def by_subject(pairs: Sequence[tuple[str, float]]) -> dict[str, list[float]]:
    """Return the sorted values of each subject, lowest mean first."""
    found: dict[str, list[float]] = {}
    for subject, value in pairs:
        found.setdefault(subject, []).append(value)
    ordered = sorted(found.items(), key=lambda item: (fmean(item[1]), item[0]))
    return {name: sorted(values) for name, values in ordered}


def label(name: str, most: int = LABEL_LENGTH) -> str:
    """Return a name shortened for a picture, without characters that XML does not allow."""
    name = one_line(name)
    short = name if len(name) <= most else f"{name[: most - 1]}…"
    return short.translate({0xFFFE: "\ufffd", 0xFFFF: "\ufffd"})


def _left(names: Iterable[str]) -> int:
    """Return the width of the names of rows in pixels."""
    return 30 + 8 * max((len(label(name)) for name in names), default=0)


def _svg(width: float, height: float, marks: Sequence[str], use: Colors) -> bytes:
    size = f'width="{ceil(width)}" height="{ceil(height)}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif" font-size="13" '
        f'fill="{use.ink}">{"".join(marks)}</svg>'
    ).encode()
