"""The report of an evaluation in Markdown, from records alone. No sentence states what no record holds."""

from collections.abc import Mapping, Sequence

from modelreg.documents.report import calibration, crossval, durations, leakage
from modelreg.documents.report import quality as data_quality
from modelreg.documents.report.formatting import HEADLINE, NO_CHECKS, Checks, escape, listed, number, table
from modelreg.documents.report.recommendations import Advice, mean_confidence, recommendations, starved
from modelreg.documents.templates.card_v1 import UNKNOWN_TRAINING, cutting, imported
from modelreg.records.data import DataRecord
from modelreg.records.metrics import EvalMetrics, Interval
from modelreg.records.run import Epoch, ImportRecord, RunRecord

PICTURES = {  # with their alternative texts
    "confusion": "Confusion matrix",
    "curves": "Loss and accuracy over the epochs",
    "classes": "Precision, recall and F1 of each class",
    "reliability": "Reliability diagram",
    "subjects": "Accuracy and macro F1 of each subject",
    **calibration.PICTURES,
}
CURVES = """

The training loss is the one that was minimised, with label smoothing, class weights and drop-out where the
configuration has them; the validation loss is the plain cross-entropy. So the first may lie above the second."""
STOPPED = {"patience": "until patience ran out", "epochs": "as many as were asked for", None: "and not finished"}


def markdown(
    metrics: EvalMetrics,
    data: DataRecord,
    run: RunRecord,
    pictures: Mapping[str, str],
    history: Sequence[Epoch] = (),
    checks: Checks = NO_CHECKS,
) -> str:
    """Return the report. `pictures` has the path of each that is to be shown, by the names of PICTURES."""
    sections = (
        f"# Evaluation of {escape(metrics.model)}",
        leakage.section(checks.audit, checks.random_split, metrics.accuracy) if checks.audit else "",
        _headline_section(metrics),
        _advice_section(recommendations(metrics, data, run, history, checks.quality)),
        _protocol_section(metrics, data),
        _classes_section(metrics) + _picture(pictures, "classes") + _picture(pictures, "confusion"),
        _subjects_section(metrics) + _picture(pictures, "subjects"),
        _calibration_section(metrics) + _picture(pictures, "reliability"),
        calibration.section(found, {name: _picture(pictures, name) for name in calibration.PICTURES})
        if (found := metrics.confidence)
        else "",
        crossval.section(checks.crossval) if checks.crossval else "",
        _codes_section(metrics, run),
        durations.section(metrics.temporal) if metrics.temporal else "",
        _import_section(run.imported)
        if run.imported
        else _training_section(run) + _picture(pictures, "curves") + CURVES + _terms(history, run.best_epoch),
        data_quality.section(checks.quality) if checks.quality else "",
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def _picture(pictures: Mapping[str, str], name: str) -> str:
    return f"\n\n![{PICTURES[name]}]({pictures[name]})" if name in pictures else ""


def _headline_section(metrics: EvalMetrics) -> str:
    rows = [(text, number(getattr(metrics, name)), _interval(metrics, name)) for name, text in HEADLINE.items()]
    reasons = dict.fromkeys(i.reason for i in metrics.intervals.values() if not isinstance(i, Interval))
    missing = "".join(f"No interval: {escape(reason)}.\n\n" for reason in reasons)
    calibration, base = metrics.calibration, metrics.baselines
    rows.append(("expected calibration error", number(calibration.ece), ""))
    return f"""## Results

On {metrics.windows:,} windows of the {metrics.protocol.part} part, {len(metrics.per_subject)} subjects:

{table(("metric", "value", "interval over subjects"), rows)}

{missing}Without looking at the input, the commonest class always reaches an accuracy of
{number(base.majority_accuracy)}, a uniform guess {number(base.uniform_accuracy)}."""


def _interval(metrics: EvalMetrics, name: str) -> str:
    found = metrics.interval(name)
    if isinstance(found, Interval):
        return f"{number(found.low)} to {number(found.high)} ({found.level * 100:.4g} %)"
    return "none" if found else ""


def _advice_section(found: Sequence[Advice]) -> str:
    if not found:
        return "## What to do next\n\nThe numbers call for nothing: no rule of the report found anything to change."
    items = "\n".join(f"- **{finding}** {advice}" for finding, advice in found)
    return f"""## What to do next

Each item follows from the numbers of this evaluation. Names such as `training.epochs` are settings of the training's
YAML file.

{items}"""


def _protocol_section(metrics: EvalMetrics, data: DataRecord) -> str:
    rows = [
        (name, listed(part.subjects), part.recordings, part.windows, part.dropped, f"`{part.digest[:12]}`")
        for name, part in data.parts.items()
    ]
    sources = ", ".join(f"{escape(source.name)} (`{source.digest[:12]}`)" for source in data.sources)
    header = ("part", "subjects", "recordings", "windows", "dropped", "digest")
    return f"""## What was tested, on whom

{sources}, at {data.rate_hz:g} Hz. {cutting(data)} {_strangers(metrics)} {_looks(metrics)}

{table(header, rows, words=("subjects", "digest"))}

Weights `{metrics.checkpoint_sha256[:12]}`, predictions `{metrics.predictions_sha256[:12]}`."""


def _strangers(metrics: EvalMetrics) -> str:
    """Return whether the tested subjects were seen before, in a sentence."""
    part = metrics.protocol.part
    if known := metrics.protocol.known_subjects:
        return f"**Also seen in another part: {listed(known)}. The numbers say nothing about new subjects.**"
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

{table(("class", "precision", "recall", "F1", "support"), rows)}"""


def _subjects_section(metrics: EvalMetrics) -> str:
    rows = [
        (escape(name), number(row.accuracy), number(row.macro_f1), row.windows)
        for name, row in metrics.per_subject.items()
    ]
    return f"""## Subjects

The macro F1 of a subject is over the classes that occur in that subject's windows.

{table(("subject", "accuracy", "macro F1", "windows"), rows)}"""


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
    confidence = mean_confidence(metrics)
    direction = "above" if confidence > metrics.accuracy else "below"
    return (
        f"The error lies above that band: **the confidences are off.** Their mean is {number(confidence)}, "
        f"{direction} the accuracy of {number(metrics.accuracy)}."
    )


def _codes_section(metrics: EvalMetrics, run: RunRecord) -> str:
    if (codes := metrics.codes) is None:
        return ""
    levels = run.model.grid
    rows = [(i, used, of) for i, (used, of) in enumerate(zip(codes.levels_used, levels, strict=False), 1)]
    dimensions = "\n\n" + table(("dimension", "levels used", "of"), rows) if rows else ""
    found = [f"{i} ({used} of {of})" for i, used, of in starved(codes, levels)]
    warning = f"\n\n**Under half of the levels used in dimension {', '.join(found)}.**" if found else ""
    return f"""## Codes

The {metrics.protocol.part} part used {codes.used:,} of {codes.total:,} codes (a share of {number(codes.used_share)}),
with a perplexity of {number(codes.perplexity)}.{warning}{dimensions}"""


def _import_section(origin: ImportRecord) -> str:
    return f"""## How it was made

{imported(origin)}

Nothing was trained. **{UNKNOWN_TRAINING}**"""


def _training_section(run: RunRecord) -> str:
    environment, settings = run.environment, run.model.settings
    git = environment.git
    dirty = " with uncommitted changes" if git and git.dirty else ""
    place = f"in a repository at commit `{git.commit[:12]}`{dirty}" if git else "outside of any git repository"
    packages = ", ".join(f"{escape(name)} {escape(version)}" for name, version in environment.packages.items())
    resumed = f", resumed by {', '.join(map(escape, run.resumed_by))}" if run.resumed_by else ""
    loss = run.best_validation_loss
    kept = "" if loss is None else f" The weights of epoch {run.best_epoch} were kept: validation loss {number(loss)}."
    return f"""## How it was trained

`{settings.name}`, {run.model.parameters:,} parameters, seed {run.seed}: {run.epochs} epochs,
{STOPPED[run.stopped]}.{kept}
From {run.started} to {run.finished or "now"}, by modelreg {escape(environment.modelreg)}{resumed} {place}, on
{escape(environment.device)} ({escape(environment.machine)}, {environment.threads} threads),
Python {escape(environment.python)}, {packages}."""


def _terms(history: Sequence[Epoch], best: int | None) -> str:
    """Return what the training loss is the sum of, where that is more than one term."""
    if not history or not history[-1].terms:
        return ""
    epochs = {epoch.number: epoch for epoch in history}
    shown = [
        epochs[number] for number in dict.fromkeys((history[0].number, best, history[-1].number)) if number in epochs
    ]
    names = dict.fromkeys(name for epoch in shown for name in epoch.terms)
    rows = [(escape(name), *(number(epoch.terms.get(name, 0.0)) for epoch in shown)) for name in names]
    header = ("term", *(f"epoch {epoch.number}{' (kept)' if epoch.number == best else ''}" for epoch in shown))
    return f"\n\nThe training loss is the sum of these terms, each with its weight:\n\n{table(header, rows)}"
