"""Render the report of an evaluation in Markdown, from records alone."""

from collections.abc import Mapping, Sequence

from modelreg.documents.report import calibration, crossval, durations, leakage
from modelreg.documents.report import quality as data_quality
from modelreg.documents.report.formatting import (
    HEADLINE,
    NO_CHECKS,
    Checks,
    counted,
    escape,
    listed,
    number,
    percent,
    table,
)
from modelreg.documents.report.recommendations import Advice, mean_confidence, recommendations, starved
from modelreg.documents.templates.card_v2 import (
    FITTED,
    NEW_QUANTIZERS,
    NO_GIT,
    UNKNOWN_TRAINING,
    cutting,
    estimates,
    evaluated_on,
    imported,
)
from modelreg.records.data import DataRecord
from modelreg.records.metrics import EvalMetrics, Interval
from modelreg.records.run import Epoch, ImportRecord, RunRecord

PICTURES = {  # alternative texts by name
    "confusion": "Confusion matrix",
    "curves": "Loss and accuracy by epoch",
    "classes": "Precision, recall and F1 by class",
    "reliability": "Reliability diagram",
    "subjects": "Accuracy and macro F1 by subject",
    **calibration.PICTURES,
}
CURVES = """

The training loss is the optimized loss, including label smoothing, class weights and dropout if they are configured.
The validation loss is the plain cross-entropy. Therefore the training loss can be higher than the validation loss."""
FINAL_CURVES = """

The curves are those of the final model, which has no validation split: the folds chose the number of epochs. The
training loss is the optimized loss, including label smoothing, class weights and dropout if they are configured."""
STOPPED = {
    "patience": "Early stopping ended the training.",
    "epochs": "All configured epochs were trained.",
    None: "Training has not finished.",
}


def markdown(
    metrics: EvalMetrics,
    data: DataRecord,
    run: RunRecord,
    pictures: Mapping[str, str],
    history: Sequence[Epoch] = (),
    checks: Checks = NO_CHECKS,
) -> str:
    """Return the report. `pictures` has the path of each picture to show, by the names of PICTURES."""
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
        else _training_section(run)
        + _picture(pictures, "curves")
        + (CURVES if run.folds is None else FINAL_CURVES)
        + _terms(history, run.best_epoch),
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
    rows.append(("expected calibration error (ECE)", number(calibration.ece), ""))
    subjects = counted(len(metrics.per_subject), "subject")
    said = f"{text}\n\n" if (text := estimates(metrics.protocol)) else ""
    return f"""## Results

{said}Metrics on {counted(metrics.windows, "window")} of {subjects} ({evaluated_on(metrics.protocol)}):

{table(("metric", "value", "interval over subjects"), rows)}

{missing}Baselines: the majority class has an accuracy of {number(base.majority_accuracy)}, a uniform random guess has
{number(base.uniform_accuracy)}."""


def _interval(metrics: EvalMetrics, name: str) -> str:
    found = metrics.interval(name)
    if isinstance(found, Interval):
        return f"{number(found.low)} to {number(found.high)} ({found.level * 100:.4g} %)"
    return "none" if found else ""


def _advice_section(found: Sequence[Advice]) -> str:
    if not found:
        return "## Recommendations\n\nNo recommendations."
    items = "\n".join(f"- **{finding}** {advice}" for finding, advice in found)
    return f"""## Recommendations

Names such as `training.epochs` are keys of the training configuration.

{items}"""


def _protocol_section(metrics: EvalMetrics, data: DataRecord) -> str:
    rows = [
        (
            name,
            listed(part.subjects),
            *(f"{count:,}" for count in (part.recordings, part.windows, part.dropped)),
            f"`{part.digest[:12]}`",
        )
        for name, part in data.parts.items()
    ]
    sources = ", ".join(f"{escape(source.name)} (`{source.digest[:12]}`)" for source in data.sources)
    notes = "".join(f" {escape(s.name)}: {note}." for s in data.sources if s.rows for note in s.rows.notes())
    header = ("split", "subjects", "recordings", "windows", "dropped windows", "digest")
    return f"""## Data and evaluation protocol

Data: {sources}, at {data.rate_hz:g} Hz.{notes} {cutting(data)} {_shared_subjects(metrics)} {_evaluations(metrics)}

{table(header, rows, words=("subjects", "digest"))}{crossval.folds(metrics.protocol.folds)}

Digests: weights `{metrics.checkpoint_sha256[:12]}`, predictions `{metrics.predictions_sha256[:12]}`."""


def _shared_subjects(metrics: EvalMetrics) -> str:
    """Return whether the test subjects are in another split, in a sentence."""
    part = metrics.protocol.part
    if metrics.protocol.folds is not None:
        return "No subject is in the test split of two folds, or in two splits of one fold."
    if known := metrics.protocol.known_subjects:
        return (
            f"**Subjects of the {part} split that are also in another split: {listed(known)}. These metrics do not "
            "estimate performance on new subjects.**"
        )
    return f"No subject of the {part} split is in another split."


def _evaluations(metrics: EvalMetrics) -> str:
    part, times = metrics.protocol.part, metrics.protocol.evaluations
    if metrics.protocol.folds is not None:
        return "Every fold was evaluated **once**, right after its training."
    if times == 1:
        return f"The {part} split was evaluated **once** with this run."
    return (
        f"The {part} split was evaluated **{times} times** with this run. The metrics of a model that is selected by "
        "them are biased upwards."
    )


def _classes_section(metrics: EvalMetrics) -> str:
    rows = [
        (escape(name), number(row.precision), number(row.recall), number(row.f1), f"{row.support:,}")
        for name, row in ((name, metrics.per_class[name]) for name in metrics.classes)
    ]
    return f"""## Classes

{table(("class", "precision", "recall", "F1", "support"), rows)}"""


def _subjects_section(metrics: EvalMetrics) -> str:
    rows = [
        (escape(name), number(row.accuracy), number(row.macro_f1), f"{row.windows:,}")
        for name, row in metrics.per_subject.items()
    ]
    return f"""## Subjects

The macro F1 of a subject is the mean over the classes in the subject's windows.

{table(("subject", "accuracy", "macro F1", "windows"), rows)}"""


def _calibration_section(metrics: EvalMetrics) -> str:
    calibration = metrics.calibration
    return f"""## Calibration

{_calibration_verdict(metrics)}

The expected calibration error (ECE) uses {calibration.bins} equal-mass bins. A perfectly calibrated model with these
confidences has an ECE of {number(calibration.null_mean)} on average and of at most {number(calibration.null_high)} in
95 % of simulations ("expected by chance"). The simulations assume independent windows. Overlapping windows are not
independent, so the error expected by chance is probably larger."""


def _calibration_verdict(metrics: EvalMetrics) -> str:
    ece, high = metrics.calibration.ece, metrics.calibration.null_high
    when = " before temperature scaling" if calibration.is_applied(metrics.confidence) else ""
    if ece <= high:
        return (
            f"**The calibration error is {number(ece)}{when}, within the {number(high)} expected by chance: no "
            "miscalibration detected.**"
        )
    confidence = mean_confidence(metrics)
    direction = "above" if confidence > metrics.accuracy else "below"
    return (
        f"**The calibration error is {number(ece)}{when}, above the {number(high)} expected by chance: the model is "
        f"miscalibrated.** The mean confidence is {number(confidence)}, {direction} the accuracy of "
        f"{number(metrics.accuracy)}."
    )


def _codes_section(metrics: EvalMetrics, run: RunRecord) -> str:
    if metrics.protocol.folds is not None:
        table_ = crossval.codes(metrics.protocol.folds)
        return f"## Codes\n\n{NEW_QUANTIZERS}\n\n{table_}" if table_ else ""
    if (codes := metrics.codes) is None:
        return ""
    levels = run.model.grid
    rows = [(i, used, of) for i, (used, of) in enumerate(zip(codes.levels_used, levels, strict=False), 1)]
    dimensions = "\n\n" + table(("dimension", "levels used", "levels"), rows) if rows else ""
    found = [f"{i} ({used} of {of})" for i, used, of in starved(codes, levels)]
    warning = f"\n\n**Fewer than half of the levels are used in dimension {', '.join(found)}.**" if found else ""
    return f"""## Codes

The {metrics.protocol.part} split uses {codes.used:,} of {codes.total:,} codes ({percent(codes.used_share)}). The
perplexity is {number(codes.perplexity)}.{warning}{dimensions}"""


def _import_section(origin: ImportRecord) -> str:
    return f"""## Imported weights

{imported(origin)}

The weights were not trained in this run. **{UNKNOWN_TRAINING}**"""


def _training_section(run: RunRecord) -> str:
    environment, settings = run.environment, run.model.settings
    git = environment.git
    dirty = " with uncommitted changes" if git and git.dirty else ""
    commit = f"commit `{git.commit[:12]}`{dirty}" if git else NO_GIT[environment.git_absent]
    packages = ", ".join(f"{escape(name)} {escape(version)}" for name, version in environment.packages.items())
    resumed = f"; resumed by modelreg {', '.join(map(escape, run.resumed_by))}" if run.resumed_by else ""
    loss = run.best_validation_loss
    best = (
        ""
        if loss is None
        else f"\n- Best epoch: {run.best_epoch} (validation loss {number(loss)}); its weights are used"
    )
    return f"""## Training

- Model: `{settings.name}`, {run.model.parameters:,} parameters
- Epochs: {run.epochs}, seed {run.seed}. {_stopped(run)}{best}
- Time: {run.started} to {run.finished or "now"}
- Software: modelreg {escape(environment.modelreg)}{resumed}; Python {escape(environment.python)}; {packages}
- Hardware: {escape(environment.device)} ({escape(environment.machine)}, {environment.threads} threads)
- Working directory: {commit}"""


def _stopped(run: RunRecord) -> str:
    if run.folds is None:
        return STOPPED[run.stopped]
    return f"Trained on all subjects, for the median of the best epochs of {len(run.folds)} folds. {FITTED}"


def _terms(history: Sequence[Epoch], best: int | None) -> str:
    """Return the terms of the training loss, if it has more than one."""
    if not history or not history[-1].terms:
        return ""
    epochs = {epoch.number: epoch for epoch in history}
    shown = [
        epochs[number] for number in dict.fromkeys((history[0].number, best, history[-1].number)) if number in epochs
    ]
    names = dict.fromkeys(name for epoch in shown for name in epoch.terms)
    rows = [(escape(name), *(number(epoch.terms.get(name, 0.0)) for epoch in shown)) for name in names]
    header = ("term", *(f"epoch {epoch.number}{' (best)' if epoch.number == best else ''}" for epoch in shown))
    return f"\n\nThe training loss is the sum of these weighted terms:\n\n{table(header, rows)}"
