"""The report of an evaluation: Markdown and pictures, from records alone.

Pictures are drawn by matplotlib's Figure, without pyplot and its global state, under matplotlib's own defaults:
the same records give the same bytes. Colours are those of Okabe and Ito, which colour-blind people tell apart.
"""

import io
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from modelreg.card import cutting, escape
from modelreg.records.data import DataRecord
from modelreg.records.metrics import CodeUsage, EvalMetrics, Interval
from modelreg.records.run import Epoch, RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "legend.frameon": False,
    "text.parse_math": False,  # a class may be called $1$
}
LABEL_LENGTH = 24  # characters of a name that a picture has room for
HEADLINE = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "log_loss": "log loss",
    "brier": "Brier score",
}
CURVES = """

The training loss is the one that was minimised, with label smoothing, class weights and drop-out where the
configuration has them; the validation loss is the plain cross-entropy. So the first may lie above the second."""
STOPPED = {"patience": "until patience ran out", "epochs": "as many as were asked for", None: "and not finished"}


def draw_confusion(metrics: EvalMetrics) -> bytes:
    """Draw the confusion matrix as PNG: counts in the cells, each row shaded by its shares."""
    size = len(metrics.classes)
    return _png(lambda figure: _confusion(figure.subplots(), metrics), 3 + 0.45 * size, 2 + 0.45 * size)


def draw_curves(history: Sequence[Epoch], best: int) -> bytes:
    """Draw loss and accuracy over the epochs as PNG, with the epoch whose weights were kept."""
    return _png(lambda figure: _curves(figure, history, best), 9, 3.4)


def draw_reliability(metrics: EvalMetrics) -> bytes:
    """Draw accuracy over confidence as PNG, one point for each bin."""
    return _png(lambda figure: _reliability(figure.subplots(), metrics), 4.8, 4.8)


def draw_subjects(metrics: EvalMetrics) -> bytes:
    """Draw accuracy and macro F1 of each subject as PNG."""
    return _png(lambda figure: _subjects(figure.subplots(), metrics), 6.4, 1.7 + 0.5 * len(metrics.per_subject))


def markdown(metrics: EvalMetrics, data: DataRecord, run: RunRecord, pictures: Mapping[str, str]) -> str:
    """Return the report. `pictures` has the paths of `confusion`, `curves`, `reliability`, `subjects`."""
    sections = (
        f"# Evaluation of {escape(metrics.model)}",
        _headline_section(metrics),
        _protocol_section(metrics, data),
        _classes_section(metrics) + _picture(pictures, "confusion", "Confusion matrix"),
        _subjects_section(metrics) + _picture(pictures, "subjects", "Accuracy and macro F1 of each subject"),
        _calibration_section(metrics) + _picture(pictures, "reliability", "Reliability diagram"),
        _codes_section(metrics, run),
        _training_section(run) + _picture(pictures, "curves", "Loss and accuracy over the epochs") + CURVES,
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def number(value: float) -> str:
    """Return a number with four significant digits; from a thousand on, whole."""
    return f"{value:,.0f}" if abs(value) >= 999.95 else f"{value:#.4g}"


# Markdown


def _headline_section(metrics: EvalMetrics) -> str:
    rows = [(text, number(getattr(metrics, name)), _interval(metrics, name)) for name, text in HEADLINE.items()]
    reasons = dict.fromkeys(i.reason for i in metrics.intervals.values() if not isinstance(i, Interval))
    missing = "".join(f"No interval: {escape(reason)}.\n\n" for reason in reasons)
    calibration, base = metrics.calibration, metrics.baselines
    rows.append(("expected calibration error", number(calibration.ece), ""))
    return f"""On {metrics.windows:,} windows of the {metrics.protocol.part} part, {len(metrics.per_subject)} subjects:

{_table(("metric", "value", "interval over subjects"), rows)}

{missing}Without looking at the input, the commonest class always reaches an accuracy of
{number(base.majority_accuracy)}, a uniform guess {number(base.uniform_accuracy)}."""


def _interval(metrics: EvalMetrics, name: str) -> str:
    found = {str(key): interval for key, interval in metrics.intervals.items()}.get(name)
    if isinstance(found, Interval):
        return f"{number(found.low)} to {number(found.high)} ({found.level * 100:.4g} %)"
    return "none" if found else ""


def _protocol_section(metrics: EvalMetrics, data: DataRecord) -> str:
    rows = [
        (name, _names(part.subjects), part.recordings, part.windows, part.dropped, f"`{part.digest[:12]}`")
        for name, part in data.parts.items()
    ]
    sources = ", ".join(f"{escape(source.name)} (`{source.digest[:12]}`)" for source in data.sources)
    return f"""## What was tested, on whom

{sources}, at {data.rate_hz:g} Hz. {cutting(data)} {_strangers(metrics)} {_looks(metrics)}

{_table(("part", "subjects", "recordings", "windows", "dropped", "digest"), rows)}

Weights `{metrics.checkpoint_sha256[:12]}`, predictions `{metrics.predictions_sha256[:12]}`."""


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(escape, names))


def _strangers(metrics: EvalMetrics) -> str:
    """Return whether the tested subjects were seen before, in a sentence."""
    part = metrics.protocol.part
    if known := metrics.protocol.known_subjects:
        names = ", ".join(map(escape, known))
        return f"**Also seen in another part: {names}. The numbers say nothing about new subjects.**"
    return f"No subject of the {part} part was in another part."


def _looks(metrics: EvalMetrics) -> str:
    part, times = metrics.protocol.part, metrics.protocol.evaluations
    if times == 1:
        return f"With this run the {part} part was evaluated **once**."
    return f"With this run the {part} part was evaluated **{times} times**: what is chosen after a look looks better."


def _classes_section(metrics: EvalMetrics) -> str:
    rows = [
        (escape(name), number(row.precision), number(row.recall), number(row.f1), row.support)
        for name, row in ((name, metrics.per_class[name]) for name in metrics.classes)
    ]
    return f"""## Classes

{_table(("class", "precision", "recall", "F1", "support"), rows)}"""


def _subjects_section(metrics: EvalMetrics) -> str:
    rows = [
        (escape(name), number(row.accuracy), number(row.macro_f1), row.windows)
        for name, row in metrics.per_subject.items()
    ]
    return f"""## Subjects

The macro F1 of a subject is over the classes that occur in that subject's windows.

{_table(("subject", "accuracy", "macro F1", "windows"), rows)}"""


def _calibration_section(metrics: EvalMetrics) -> str:
    calibration = metrics.calibration
    return f"""## Calibration

The expected calibration error is {number(calibration.ece)} ({calibration.bins} bins of equal mass). A perfectly
calibrated model with these confidences shows {number(calibration.null_mean)} on average on as many windows, and up to
{number(calibration.null_high)} in 95 % of draws. {_calibration_verdict(metrics)}
The draws take windows to be independent; windows that overlap are not, and the true band is likely wider."""


def _calibration_verdict(metrics: EvalMetrics) -> str:
    calibration = metrics.calibration
    if calibration.ece <= calibration.null_high:
        return "The error lies within that band: **it shows nothing against the confidences.**"
    confidence = sum(row.count * row.confidence for row in calibration.table) / metrics.windows
    direction = "above" if confidence > metrics.accuracy else "below"
    return (
        f"The error lies above that band: **the confidences are off.** Their mean is {number(confidence)}, "
        f"{direction} the accuracy of {number(metrics.accuracy)}."
    )


def starved(codes: CodeUsage, levels: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return dimension, levels used and levels of each dimension that uses under half of its levels."""
    pairs = enumerate(zip(codes.levels_used, levels, strict=True), 1)
    return [(i, used, of) for i, (used, of) in pairs if 2 * used < of]


def _codes_section(metrics: EvalMetrics, run: RunRecord) -> str:
    if (codes := metrics.codes) is None:
        return ""
    levels = run.model.quantizer.levels
    rows = [(i, used, of) for i, (used, of) in enumerate(zip(codes.levels_used, levels, strict=True), 1)]
    found = [f"{i} ({used} of {of})" for i, used, of in starved(codes, levels)]
    warning = f"\n\n**Under half of the levels used in dimension {', '.join(found)}.**" if found else ""
    return f"""## Codes

The {metrics.protocol.part} part used {codes.used:,} of {codes.total:,} codes (a share of {number(codes.used_share)}),
with a perplexity of {number(codes.perplexity)}.{warning}

{_table(("dimension", "levels used", "of"), rows)}"""


def _training_section(run: RunRecord) -> str:
    environment, settings = run.environment, run.model.settings
    git = environment.git
    dirty = " with uncommitted changes" if git and git.dirty else ""
    place = f"in a repository at commit `{git.commit[:12]}`{dirty}" if git else "outside of any git repository"
    packages = ", ".join(f"{escape(name)} {escape(version)}" for name, version in environment.packages.items())
    loss = run.best_validation_loss
    kept = "" if loss is None else f" The weights of epoch {run.best_epoch} were kept: validation loss {number(loss)}."
    return f"""## How it was trained

`{settings.name}`, {run.model.parameters:,} parameters, seed {run.seed}: {run.epochs} epochs,
{STOPPED[run.stopped]}.{kept}
From {run.started} to {run.finished or "now"}, by modelreg {escape(environment.modelreg)} {place}, on
{escape(environment.device)} ({escape(environment.machine)}, {environment.threads} threads),
Python {escape(environment.python)}, {packages}."""


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; every column but the first is aligned to the right."""
    lines = (header, ["---", *["---:"] * (len(header) - 1)], *rows)
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _picture(pictures: Mapping[str, str], name: str, text: str) -> str:
    return f"\n\n![{text}]({pictures[name]})" if name in pictures else ""


# Pictures


def _png(draw: Callable[["Figure"], None], width: float, height: float) -> bytes:
    """Return what `draw` draws on a figure of so many inches, as PNG of 120 dots per inch."""
    import matplotlib.style
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the tables have every name
        figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
        draw(figure)
        figure.savefig(buffer, format="png", bbox_inches="tight", metadata={"Software": None})
    return buffer.getvalue()


def _confusion(axes: "Axes", metrics: EvalMetrics) -> None:
    counts = np.array(metrics.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    points = 9 if counts.max() < 10_000 else 7
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        ink = _ink(shares[row, column], count)
        axes.text(column, row, str(count), ha="center", va="center", fontsize=points, color=ink)
    names = [_label(name) for name in metrics.classes]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted", ylabel="true", title=f"{metrics.windows:,} windows, {metrics.protocol.part} part")
    axes.figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.04, pad=0.02)


def _ink(share: float, count: int) -> str:
    """Return the colour of a count on its shade; zeros step back."""
    if count == 0:
        return "#AAAAAA"
    return "white" if share > 0.7 else "black"


def _curves(figure: "Figure", history: Sequence[Epoch], best: int) -> None:
    epochs = [epoch.number for epoch in history]
    for axes, what in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for part, colour, line in (("train", BLUE, "-"), ("validation", ORANGE, "--")):
            values = [getattr(epoch, f"{part}_{what}") for epoch in history]
            axes.plot(epochs, values, color=colour, linestyle=line, marker="o" if len(epochs) < 3 else "", label=part)
        axes.axvline(best, color=GREY, linestyle=":", label=f"weights kept: epoch {best}")
        axes.set(xlabel="epoch", title=what, xlim=(epochs[0] - 0.5, epochs[-1] + 0.5))
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)


def _reliability(axes: "Axes", metrics: EvalMetrics) -> None:
    calibration = metrics.calibration
    confidence = [row.confidence for row in calibration.table]
    accuracy = [row.accuracy for row in calibration.table]
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="perfectly calibrated")
    axes.vlines(confidence, confidence, accuracy, color=ORANGE, alpha=0.6, label="gap")
    axes.plot(confidence, accuracy, "o", color=BLUE, label=f"{calibration.bins} bins of equal mass")
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set_title(f"error {number(calibration.ece)}; a calibrated model's: up to {number(calibration.null_high)}")
    axes.grid(alpha=0.3)
    axes.figure.legend(loc="outside upper center", ncols=3, fontsize=8, columnspacing=1)


def _subjects(axes: "Axes", metrics: EvalMetrics) -> None:
    rows = list(metrics.per_subject.values())
    place = np.arange(len(rows))
    for offset, name, colour in ((-0.2, "accuracy", BLUE), (0.2, "macro_f1", ORANGE)):
        values = [getattr(row, name) for row in rows]
        axes.barh(place + offset, values, height=0.36, color=colour, label=HEADLINE[name])
        for row, value in zip(place, values, strict=True):
            axes.text(1.02, row + offset, f"{value:.3f}", va="center", fontsize=9)
    axes.axvline(metrics.accuracy, color="black", linestyle=":", label=f"accuracy of all: {metrics.accuracy:.3f}")
    labels = [f"{_label(name)} ({row.windows:,})" for name, row in metrics.per_subject.items()]
    axes.set_yticks(place, labels)
    axes.set(
        xlim=(0, 1.1),
        ylim=(len(rows) - 0.5, -0.5),
        xticks=np.linspace(0, 1, 6),
        xlabel="share",
        ylabel="subject (windows)",
    )
    axes.figure.legend(loc="outside upper center", ncols=3)


def _label(name: str) -> str:
    return name if len(name) <= LABEL_LENGTH else f"{name[: LABEL_LENGTH - 1]}…"
