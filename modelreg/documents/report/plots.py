"""Draw the pictures of an evaluation as PNG, in light and dark colors.

They use matplotlib's Figure without pyplot and its global state, and matplotlib's default style: the same records give
the same bytes. The palette of Okabe and Ito is safe for color blindness.
"""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from modelreg.documents.report.formatting import HEADLINE, number
from modelreg.escaping import one_line
from modelreg.records.calibration import SETS, ConfidenceMetrics, SetKind, SetMetrics
from modelreg.records.calibration_parts import ReliabilityBin
from modelreg.records.comparison import Difference
from modelreg.records.intervals import Interval
from modelreg.records.metrics import EvalMetrics
from modelreg.records.run import Epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

DOTS = 120  # per inch
LABEL_LENGTH = 24  # characters of a name in a picture
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "legend.frameon": False,
    "text.parse_math": False,  # a class name may contain $
}


class Colours(NamedTuple):
    """The colors of a picture; text has a contrast of at least 4.5, thick marks of at least 3."""

    paper: str
    ink: str
    faint: str  # reference lines, counts of zero
    blue: str
    orange: str
    green: str
    full: str  # a share of 1 in the confusion matrix; 0.5 is blue, 0 is paper
    turn: float  # the share above which the second of `counts` has the better contrast
    counts: tuple[str, str]


LIGHT = Colours(
    "#ffffff", "#000000", "#6b6b6b", "#0072B2", "#D55E00", "#009E73", "#08306b", 0.46, ("#000000", "#ffffff")
)
DARK = Colours(
    "#15181d", "#e8eaed", "#9aa3ad", "#56B4E9", "#E69F00", "#00B386", "#7cc8f5", 0.32, ("#ffffff", "#000000")
)


def draw_confusion(metrics: EvalMetrics, *, dark: bool = False) -> bytes:
    """Draw the confusion matrix: counts in the cells, colors by the share of the row."""
    size = len(metrics.classes)
    return _png(lambda figure, use: _confusion(figure, metrics, use), 3 + 0.45 * size, 2 + 0.45 * size, dark=dark)


def draw_curves(history: Sequence[Epoch], best: int, *, dark: bool = False) -> bytes:
    """Draw loss and accuracy by epoch, and mark the best epoch."""
    return _png(lambda figure, use: _curves(figure, history, best, use), 9, 3.4, dark=dark)


def draw_classes(metrics: EvalMetrics, *, dark: bool = False) -> bytes:
    """Draw precision, recall and F1 by class, with the support next to the name."""
    rows = {name: metrics.per_class[name] for name in metrics.classes}

    def draw(figure: "Figure", use: Colours) -> None:
        labels = [f"{_label(name)} ({row.support:,})" for name, row in rows.items()]
        bars = {
            "precision": [row.precision for row in rows.values()],
            "recall": [row.recall for row in rows.values()],
            "F1": [row.f1 for row in rows.values()],
        }
        axes = figure.subplots()
        _bars(axes, labels, bars, use)
        axes.set(ylabel="class (support)", xlabel="score")
        axes.figure.legend(loc="outside upper center", ncols=3)

    return _png(draw, 6.4, 1.5 + 0.55 * len(rows), dark=dark)


def draw_reliability(metrics: EvalMetrics, *, dark: bool = False) -> bytes:
    """Draw the reliability diagram: accuracy against confidence, one point per bin."""
    return _png(lambda figure, use: _reliability(figure, metrics, use), 4.8, 4.8, dark=dark)


def draw_subjects(metrics: EvalMetrics, *, dark: bool = False) -> bytes:
    """Draw accuracy and macro F1 by subject."""
    rows = metrics.per_subject

    def draw(figure: "Figure", use: Colours) -> None:
        labels = [f"{_label(name)} ({row.windows:,})" for name, row in rows.items()]
        names = ("accuracy", "macro_f1")
        axes = figure.subplots()
        _bars(axes, labels, {HEADLINE[name]: [getattr(row, name) for row in rows.values()] for name in names}, use)
        text = f"overall accuracy: {metrics.accuracy:.3f}"
        axes.axvline(metrics.accuracy, color=use.ink, linestyle=":", label=text)
        axes.set(ylabel="subject (windows)", xlabel="score")
        axes.figure.legend(loc="outside upper center", ncols=3)

    return _png(draw, 6.4, 1.5 + 0.5 * len(rows), dark=dark)


def draw_sides(rows: Mapping[str, tuple[float, float]], sides: tuple[str, str], *, dark: bool = False) -> bytes:
    """Draw a score of two models as pairs of bars, one pair per row."""

    def draw(figure: "Figure", use: Colours) -> None:
        bars = {_label(side): [row[index] for row in rows.values()] for index, side in enumerate(sides)}
        axes = figure.subplots()
        _bars(axes, list(map(_label, rows)), bars, use)
        axes.figure.legend(loc="outside upper center", ncols=2)

    return _png(draw, 6.4, 1.5 + 0.45 * len(rows), dark=dark)


def draw_differences(found: Mapping[str, Difference], *, dark: bool = False) -> bytes:
    """Draw each difference with its interval and a line at zero."""

    def draw(figure: "Figure", use: Colours) -> None:
        axes = figure.subplots()
        for row, difference in enumerate(found.values()):
            if isinstance(span := difference.interval, Interval):
                axes.plot([span.low, span.high], [row, row], color=use.blue, linewidth=3, alpha=0.6)
            axes.plot(difference.difference, row, "o", color=use.orange)
        axes.axvline(0, color=use.ink, linestyle=":")
        axes.set_yticks(range(len(found)), [HEADLINE[name] for name in found])
        axes.set(ylim=(len(found) - 0.5, -0.5), xlabel="difference (B - A)")
        axes.margins(x=0.1)
        axes.grid(axis="x", alpha=0.3)

    return _png(draw, 6.4, 1.2 + 0.4 * len(found), dark=dark)


def draw_temperature(found: ConfidenceMetrics, *, dark: bool = False) -> bytes:
    """Draw the reliability diagrams before and after temperature scaling."""

    def draw(figure: "Figure", use: Colours) -> None:
        pairs = (("before scaling", found.before), ("after scaling", found.after))
        for axes, (when, measured) in zip(figure.subplots(1, 2), pairs, strict=True):
            _over_confidence(axes, measured.equal_mass.table, measured.equal_mass.bins, use)
            axes.set_title(f"{when} (T = {number(measured.temperature)}): ECE {number(measured.equal_mass.error)}")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)

    return _png(draw, 9, 4.8, dark=dark)


def draw_coverage(found: ConfidenceMetrics, *, dark: bool = False) -> bytes:
    """Draw the coverage of the prediction sets by class and by subject; `found` has sets of at least one kind."""
    sets: dict[SetKind, SetMetrics] = {kind: each for kind in SETS if isinstance(each := found.sets[kind], SetMetrics)}
    rows = {kind: {**each.per_class, **each.per_subject} for kind, each in sets.items()}
    places = [name for name, row in next(iter(rows.values())).items() if row.windows]

    def draw(figure: "Figure", use: Colours) -> None:
        axes = figure.subplots()
        bars = {kind.replace("_", " "): [of[place].coverage or 0.0 for place in places] for kind, of in rows.items()}
        _bars(axes, list(map(_label, places)), bars, use)
        axes.axvline(1 - found.alpha, color=use.ink, linestyle=":", label=f"target: {1 - found.alpha:g}")
        axes.set(ylabel="class, subject", xlabel="coverage (share of windows)", title="Coverage of the prediction sets")
        axes.figure.legend(loc="outside upper center", ncols=4)

    return _png(draw, 6.4, 1.8 + 0.5 * len(places), dark=dark)


def draw_risk(found: ConfidenceMetrics, *, dark: bool = False) -> bytes:
    """Draw the risk-coverage curve, and the pooled sets of one class as a point."""

    def draw(figure: "Figure", use: Colours) -> None:
        axes, curve = figure.subplots(), found.risk_coverage
        answered, error = [point.answered for point in curve.points], [point.error for point in curve.points]
        axes.plot(answered, error, color=use.blue, marker="o", markersize=4, label="by confidence")
        pooled = found.sets["pooled"]
        if isinstance(pooled, SetMetrics) and pooled.singleton_accuracy is not None:
            point = (pooled.singletons, 1 - pooled.singleton_accuracy)
            axes.plot(*point, "D", color=use.orange, label="pooled sets of one class")
        axes.set(xlabel="answered windows (share)", ylabel="error (share of answered windows)", xlim=(0, 1.02))
        axes.set(ylim=(0, None), title=f"Error of the most confident windows (area {curve.area:.3f})")
        axes.grid(alpha=0.3)
        figure.legend(loc="outside upper center", ncols=2)

    return _png(draw, 5.4, 4.4, dark=dark)


def _png(draw: Callable[["Figure", Colours], None], width: float, height: float, *, dark: bool) -> bytes:
    """Return the PNG of what `draw` draws on a figure of this size in inches."""
    import matplotlib.style
    from matplotlib.figure import Figure

    use, buffer = DARK if dark else LIGHT, io.BytesIO()
    paper = dict.fromkeys(("figure.facecolor", "axes.facecolor"), use.paper)
    ink = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), use.ink)
    style = {**STYLE, **paper, **ink, "grid.color": use.faint}
    with matplotlib.style.context(["default", style]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the tables show every name
        figure = Figure(figsize=(width, height), dpi=DOTS, layout="constrained")
        draw(figure, use)
        figure.savefig(buffer, format="png", bbox_inches="tight", metadata={"Software": None})
    return buffer.getvalue()


def _confusion(figure: "Figure", metrics: EvalMetrics, use: Colours) -> None:
    axes, counts = figure.subplots(), np.array(metrics.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    points = 9 if counts.max() < 10_000 else 7
    image = axes.imshow(shares, cmap=_shades(use), vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        ink = _ink(shares[row, column], count, use)
        axes.text(column, row, str(count), ha="center", va="center", fontsize=points, color=ink)
    names = [_label(name) for name in metrics.classes]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    title = f"Confusion matrix ({metrics.windows:,} {_kind(metrics)} windows)"
    axes.set(xlabel="predicted class", ylabel="true class", title=title)
    figure.colorbar(image, ax=axes, label="share of true class", fraction=0.04, pad=0.02)


def _kind(metrics: EvalMetrics) -> str:
    return metrics.protocol.part if metrics.protocol.folds is None else "out-of-fold"


def _shades(use: Colours) -> "Colormap":
    """Return the colormap of shares from 0 to 1."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("shares", (use.paper, use.blue, use.full))


def _ink(share: float, count: int, use: Colours) -> str:
    """Return the color of a count on its background; zeros are faint."""
    if count == 0:
        return use.faint
    return use.counts[int(share > use.turn)]


def _curves(figure: "Figure", history: Sequence[Epoch], best: int, use: Colours) -> None:
    epochs = [epoch.number for epoch in history]
    for axes, what in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for part, colour, line in (("train", use.blue, "-"), ("validation", use.orange, "--")):
            values = [getattr(epoch, f"{part}_{what}") for epoch in history]
            if None in values:
                continue  # there is no validation split
            axes.plot(epochs, values, color=colour, linestyle=line, marker="o" if len(epochs) < 3 else "", label=part)
        if best:
            axes.axvline(best, color=use.faint, linestyle=":", label=f"best epoch: {best}")
        axes.set(xlabel="epoch", ylabel=what, xlim=(epochs[0] - 0.5, epochs[-1] + 0.5))
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)


def _reliability(figure: "Figure", metrics: EvalMetrics, use: Colours) -> None:
    axes, calibration = figure.subplots(), metrics.calibration
    _over_confidence(axes, calibration.table, calibration.bins, use)
    axes.set_title(f"ECE {number(calibration.ece)} (expected by chance: up to {number(calibration.null_high)})")
    figure.legend(loc="outside upper center", ncols=3, fontsize=8, columnspacing=1)


def _over_confidence(axes: "Axes", table: Sequence[ReliabilityBin], bins: int, use: Colours) -> None:
    confidence, accuracy = [row.confidence for row in table], [row.accuracy for row in table]
    axes.plot([0, 1], [0, 1], color=use.faint, linestyle=":", label="perfect calibration")
    axes.vlines(confidence, confidence, accuracy, color=use.orange, alpha=0.6, label="gap")
    axes.plot(confidence, accuracy, "o", color=use.blue, label=f"{bins} equal-mass bins")
    axes.set(xlabel="mean confidence", ylabel="accuracy", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.grid(alpha=0.3)


def _bars(axes: "Axes", labels: Sequence[str], bars: Mapping[str, Sequence[float]], use: Colours) -> None:
    """Draw a group of horizontal bars per label, the first label on top, each value at the right edge."""
    place, height = np.arange(len(labels)), 0.8 / len(bars)
    for index, ((name, values), colour) in enumerate(
        zip(bars.items(), (use.blue, use.orange, use.green), strict=False)
    ):
        offset = (index - (len(bars) - 1) / 2) * height
        axes.barh(place + offset, values, height=0.9 * height, color=colour, label=name)
        for row, value in zip(place, values, strict=True):
            axes.text(1.02, row + offset, f"{value:.3f}", va="center", fontsize=8)
    axes.set_yticks(place, labels)
    axes.set(xlim=(0, 1.1), ylim=(len(labels) - 0.5, -0.5), xticks=np.linspace(0, 1, 6), xlabel="score")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def _label(name: str) -> str:
    name = one_line(name)
    return name if len(name) <= LABEL_LENGTH else f"{name[: LABEL_LENGTH - 1]}…"
