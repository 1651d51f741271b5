"""The model card, template version 2. Once a modelreg is released with it, this module never changes.

The front matter follows Hugging Face's modelcard metadata, with a `model-index` of the metrics. Every phrase of the
card is in this module, in architecture_v2, calibration_v2 or gates_v2. They import records and each other only, so that
a released card renders to the same bytes forever. The code of "How to use" names only the public API of modelreg.
"""

from collections.abc import Sequence
from typing import Any

import yaml

from modelreg.documents.templates import architecture_v2, calibration_v2, gates_v2
from modelreg.documents.templates.facts import Facts
from modelreg.documents.templates.markdown_v2 import UNSAFE, escape, table
from modelreg.records.calibration import ConfidenceMetrics
from modelreg.records.data import DataRecord, RowCounts
from modelreg.records.export import PROJECTION
from modelreg.records.int8 import Int8Scheme
from modelreg.records.metrics import EvalMetrics, Interval, Metrics, Protocol
from modelreg.records.run import ImportRecord, RunRecord

UNKNOWN_TRAINING = "The training data is unknown: the test subjects may have been in it."
METRICS = {  # our name: the metric's type on Hugging Face, and its name in the card
    "accuracy": ("accuracy", "accuracy"),
    "balanced_accuracy": ("balanced_accuracy", "balanced accuracy"),
    "macro_f1": ("f1", "macro F1"),
    "weighted_f1": ("f1", "weighted F1"),
    "log_loss": ("log_loss", "log loss"),
    "brier": ("brier_score", "Brier score"),
    "ece": ("ece", "expected calibration error (ECE)"),
}
VERDICTS = {"met": "met", "waived": "failed, waived", "FAILS": "failed"}


def render(facts: Facts) -> str:
    """Return the card as Markdown."""
    sections = (
        _description,
        _intended_use,
        _protocol,
        _results,
        _calibration,
        _smoothing,
        _estimate,
        _gates,
        _how_to_use,
        _training,
    )
    body = "\n\n".join(filter(None, (section(facts) for section in sections)))
    return f"---\n{_yaml(_front_matter(facts))}---\n\n# {facts.model} v{facts.version}\n\n{body}\n"


COMPILER_RECOMMENDS = 1024  # calibration windows
KNOWN_WINDOWS = (
    "**The weights were trained on these windows**, because no subject was left out: the table shows the loss in 8 "
    "bits, and not the accuracy on new subjects."
)

NO_GIT = {  # why there is no commit; None: an older modelreg did not say
    "no commit": "in a git repository without a commit",
    "no repository": "not in a git repository",
    "git not installed": "commit unknown, git was not installed",
    None: "without a commit",
}


def cutting(data: DataRecord) -> str:
    """Return how windows were cut and split, in sentences."""
    if data.sources[0].kind == "npy":
        ready = f"The source provides windows of {data.window} samples; each window counts as one recording."
        how = "The source also provides the splits." if data.split == "given" else "Windows are split by subject."
        return f"{ready} {how}"
    labels = {"majority": "the most frequent label of its samples", "pure": "the label that all its samples share"}
    how = f"by {data.split}" if data.split != "time" else f"in time, with gaps of {data.gap} samples between the splits"
    return (
        f"Recordings are split {how}. Windows of {data.window} samples are then cut from each split, one every "
        f"{data.hop} samples. The label of a window is {labels[data.labels]}."
    )


PROTOCOLS = {"loso": "leave one subject out", "kfold-subject": "k-fold by subject"}
NEW_QUANTIZERS = "Every fold has another quantizer: codes are counted by fold."
FITTED = (
    "`fitted.npz` has the predictions of the released weights for the windows that they were trained on: "
    "`modelreg verify --reproduce` compares them, to show that the weights are these. They do not estimate the quality."
)


def evaluated_on(protocol: Protocol) -> str:
    """Return what the metrics were computed from."""
    return f"{protocol.part} split" if protocol.folds is None else "out-of-fold predictions"


def estimates(protocol: Protocol) -> str:
    """Return what the metrics of a cross-fitted run estimate, in a sentence; empty for others."""
    if protocol.folds is None:
        return ""
    return (
        f"The metrics estimate how this training recipe does on a new subject, by {len(protocol.folds)} models that "
        f"never saw the subjects they predict ({PROTOCOLS[protocol.kind]}); the released weights were trained on all "
        f"{len(protocol.parts.train.subjects)} subjects and were not tested."
    )


def imported(origin: ImportRecord) -> str:
    """Return where imported weights are from, in sentences."""
    notes = "".join(f" {escape(note)}." for note in origin.notes)
    return (
        f"The weights were imported from the legacy checkpoint {escape(origin.file)} (SHA-256 `{origin.sha256}`, "
        f"layout {escape(origin.layout)}).{notes}"
    )


def _yaml(front: dict[str, Any]) -> str:
    """Return the front matter; in ASCII where a text holds an unsafe character, so that YAML escapes it."""
    texts = [yaml.safe_dump(front, sort_keys=False, allow_unicode=raw, width=100) for raw in (True, False)]
    return texts[1] if UNSAFE.search(texts[0].replace("\n", "")) else texts[0]


def _front_matter(facts: Facts) -> dict[str, Any]:
    source, metrics = facts.data.sources[0], facts.metrics
    result = {
        "task": {"type": "time-series-classification", "name": "Behaviour recognition from inertial windows"},
        "dataset": {
            "type": source.name,
            "name": source.name,
            "split": metrics.protocol.part if metrics.protocol.folds is None else "out-of-fold",
            "revision": metrics.protocol.tested.digest,
        },
        "metrics": [
            {"type": kind, "name": name, "value": _value(metrics, name)} for name, (kind, _) in METRICS.items()
        ],
    }
    return {
        **({"license": facts.license} if facts.license else {}),
        "library_name": "modelreg",
        "tags": ["inertial", "imu", "time-series-classification", facts.model],
        "metrics": sorted({kind for kind, _ in METRICS.values()}),
        "model-index": [{"name": facts.model, "results": [result]}],
    }


def _value(metrics: Metrics, name: str) -> float:
    return metrics.calibration.ece if name == "ece" else float(getattr(metrics, name))


def _description(facts: Facts) -> str:
    spec, (channels, rows, timesteps) = facts.spec, facts.spec.input.shape
    seconds = spec.input.timesteps / spec.input.rate_hz
    names = ", ".join(f"{escape(channel.name)} ({escape(channel.unit)})" for channel in spec.input.channels)
    fold = (
        "\n\nThe time axis of a window is **folded into two rows** (`fold: 2`): the first half above the second."
        if spec.input.fold == 2
        else ""
    )
    said = "\n\n" + text if (text := architecture_v2.describe(spec)) else ""
    return f"""## Model description

A `{spec.settings.name}` network with {spec.parameters:,} parameters. It assigns one of {len(spec.classes)} classes to
each window of {seconds:g} s.

- Classes: {", ".join(map(escape, spec.classes))}
- Channels: {names}
- Devices: {", ".join(map(escape, spec.input.devices))}
- Sampling rate: {spec.input.rate_hz:g} Hz, {spec.input.timesteps} samples per window
- Input: float32 of shape `({channels}, {rows}, {timesteps})` (channels, device rows, timesteps){said}{fold}"""


def _intended_use(facts: Facts) -> str:
    metrics, protocol = facts.metrics, facts.metrics.protocol
    tested = {name: row for name, row in metrics.per_class.items() if row.support}
    weakest = min(tested, key=lambda name: tested[name].recall)
    like = f"the training data ({len(protocol.parts.train.subjects)} subjects)"
    doubt = ""
    if facts.run.imported:
        doubt, like = f"**The weights were imported. {UNKNOWN_TRAINING}**\n\n", "the test data"
    shared = (
        "\n\n**The splits share subjects: these metrics do not estimate performance on new subjects.**"
        if protocol.known_subjects
        else ""
    )
    said = f"\n\n{text}" if (text := estimates(protocol)) else ""
    return f"""## Intended use and limitations

{doubt}For recordings with the same channels, units, sampling rate and sensor placement as {like}.

Every window gets one of the classes, also a window of other behaviour. The model was not tested on other movements,
devices, placements or sampling rates. The class with the lowest recall is {escape(weakest)}
({tested[weakest].recall:.4f}).{said}{shared}"""


def _protocol(facts: Facts) -> str:
    data, protocol = facts.data, facts.metrics.protocol
    rows = [
        (
            name,
            ", ".join(map(escape, part.subjects)),
            *(f"{count:,}" for count in (part.recordings, part.windows, part.dropped)),
            f"`{part.digest[:16]}`",
        )
        for name, part in data.parts.items()
    ]
    sources = "\n".join(
        f"- {escape(each.name)}: {escape(_joined(each.citation).rstrip('.'))}. License: {escape(each.license)}."
        f"{_rows(each.rows)}"
        for each in data.sources
    )
    times = "once" if protocol.evaluations == 1 else f"{protocol.evaluations} times"
    seen = f" The {protocol.part} split was evaluated **{times}** with this run." if protocol.folds is None else ""
    header = ("split", "subjects", "recordings", "windows", "dropped windows", "digest")
    return f"""## Data and evaluation protocol

{sources}

{cutting(data)} {_scale(facts.run)}{seen}

{table(header, "llrrrl", rows)}{_folds(protocol)}"""


def _folds(protocol: Protocol) -> str:
    if protocol.folds is None:
        return ""
    rows = [
        (
            escape(fold.name),
            ", ".join(map(escape, fold.tested)),
            ", ".join(map(escape, fold.validated)),
            f"{fold.windows:,}",
            f"{fold.accuracy:.4f}",
            f"{fold.macro_f1:.4f}",
            f"`{fold.checkpoint_sha256[:16]}`",
        )
        for fold in protocol.folds
    ]
    header = ("fold", "test subjects", "validation subjects", "windows", "accuracy", "macro F1", "weights")
    return f"""

The train split is that of the released weights. The metrics are those of the folds, of which each was trained on the
subjects that it neither tests nor validates with:

{table(header, "lllrrrl", rows)}"""


def _rows(counts: RowCounts | None) -> str:
    """Return what was done to the rows of text files, as one sentence with a blank before it."""
    if counts is None:
        return ""
    done = {
        f"{counts.bad:,} of {counts.rows + counts.bad:,} rows were bad and left out": counts.bad,
        f"a last line that was cut off was left out in {counts.cut:,} files": counts.cut,
        f"{counts.moved:,} rows out of order were sorted by time": counts.moved,
        f"{counts.late:,} rows were left out because their time was not after all rows before": counts.late,
        f"rows that share a time stamp were spread evenly in {counts.packets:,} files": counts.packets,
    }
    return f" Of its text files, {'; '.join(text for text, count in done.items() if count)}."


def _joined(text: str) -> str:
    """Return a text of several lines as one."""
    return " ".join(text.split())


def _scale(run: RunRecord) -> str:
    if run.imported and run.imported.normalization_sha256:
        return "The normalization was imported with the weights."
    return "The normalization was fitted on the train split."


def _results(facts: Facts) -> str:
    metrics, base, calibration = facts.metrics, facts.metrics.baselines, facts.metrics.calibration
    values = [(words, f"{_value(metrics, name):.4f}", _interval(metrics, name)) for name, (_, words) in METRICS.items()]
    classes = [
        (escape(name), f"{row.precision:.4f}", f"{row.recall:.4f}", f"{row.f1:.4f}", f"{row.support:,}")
        for name, row in ((name, metrics.per_class[name]) for name in metrics.classes)
    ]
    subjects = [
        (escape(name), f"{row.accuracy:.4f}", f"{row.macro_f1:.4f}", f"{row.windows:,}")
        for name, row in metrics.per_subject.items()
    ]
    missing = next((i.reason for i in metrics.intervals.values() if not isinstance(i, Interval)), None)
    reason = f"\n\nNo interval: {escape(missing)}." if missing else ""
    return f"""## Results

Metrics on {_windows(metrics)}. Baselines: the majority class has an
accuracy of {base.majority_accuracy:.4f}, a uniform random guess of {base.uniform_accuracy:.4f}.

{table(("metric", "value", "interval over subjects"), "lrl", values)}{reason}

On as many windows, a perfectly calibrated model has an ECE of {calibration.null_mean:.4f} on average, and of at most
{calibration.null_high:.4f} in 95 % of simulations ({calibration.bins} equal-mass bins).

{table(("class", "precision", "recall", "F1", "support"), "lrrrr", classes)}

{table(("subject", "accuracy", "macro F1", "windows"), "lrrr", subjects)}"""


def _windows(metrics: EvalMetrics) -> str:
    """Return how many windows were evaluated, and of what."""
    protocol = metrics.protocol
    if protocol.folds is None:
        return f"{metrics.windows:,} windows of the {protocol.part} split"
    return f"{metrics.windows:,} windows of {len(protocol.tested.subjects)} subjects, by {evaluated_on(protocol)}"


def _interval(metrics: EvalMetrics, name: str) -> str:
    interval = metrics.interval(name)
    if isinstance(interval, Interval):
        return f"{interval.low:.4f} to {interval.high:.4f} ({100 * interval.level:g} %)"
    return "" if interval is None else "none"


def _calibration(facts: Facts) -> str:
    found = facts.metrics.confidence
    if not isinstance(found, ConfidenceMetrics):
        return ""
    lines = "\n".join(f"- {escape(sentence)}" for sentence in calibration_v2.sentences(found))
    return f"## Confidence and prediction sets\n\n{lines}"


def _smoothing(facts: Facts) -> str:
    found = facts.metrics.temporal
    if found is None:
        return ""
    rows = [
        (name, f"{own.accuracy:.4f}", f"{own.edit:.2f}", f"{own.over_segmentation:.2f}", f"{own.f1_at_50:.4f}")
        for name, own in (("single windows", found.alone), ("smoothed", found.smoothed))
    ]
    header = ("predictions", "accuracy", "edit score", "predicted segments per true segment", "F1 at 50 % overlap")
    return f"""## Temporal smoothing

The metrics above are those of single windows. The hidden semi-Markov model filters the same windows online, in
{found.streams} streams of consecutive windows. A class lasts {found.mean_duration:.2f} windows on average in the model.

{table(header, "lrrrr", rows)}"""


def _estimate(facts: Facts) -> str:
    found = facts.estimate
    if found is None:
        return ""
    rows = [_scheme("per channel", found.per_channel), _scheme("per tensor", found.per_tensor)]
    clipped = "".join(
        f"\n- **{escape(channel.channel)}: the calibration set does not cover the usual values; {channel.clipped:.2%} "
        "of all values would be clipped.**"
        for channel in found.input
        if not channel.covered
    )
    intro = f"""**This is an estimate: neither Hailo's compiler nor a chip was used.** ONNX Runtime quantized the device
part, calibrated on {found.calibration_windows:,} windows of the train split. On {found.windows:,} windows of the
{found.part} split, the float32 model has an accuracy of {found.accuracy:.4f}. In 8 bits:"""
    unsteady = (
        "**This estimate depends on the processor that computed it**: integer kernels of some processors saturate."
    )
    few = (
        f"**The calibration set has {found.calibration_windows:,} windows; Hailo's compiler recommends at least "
        f"{COMPILER_RECOMMENDS:,}.** The loss on the chip can be larger than estimated."
    )
    header = ("weight scales", "accuracy", "accuracy loss", "macro F1", "unchanged codes", "projection SNR")
    enough = found.calibration_windows >= COMPILER_RECOMMENDS
    parts = (
        table(header, "lrrrrr", rows),
        "" if enough else few,
        clipped.strip(),
        "" if found.arithmetic else unsteady,
    )
    known = KNOWN_WINDOWS if found.part == "train" else ""
    return "\n\n".join(filter(None, ("## Accuracy in 8 bits (estimate)", intro, parts[0], known, *parts[1:])))


def _scheme(name: str, scheme: Int8Scheme) -> Sequence[str]:
    kept = "-" if scheme.code_agreement is None else f"{scheme.code_agreement:.1%}"
    snr = f"{scheme.snr_db[PROJECTION]:.1f} dB"
    return name, f"{scheme.accuracy:.4f}", f"{scheme.accuracy_drop:+.4f}", f"{scheme.macro_f1:.4f}", kept, snr


def _gates(facts: Facts) -> str:
    if facts.gates is None:
        return ""
    rows = [
        (
            escape(gates_v2.name(each.path)),
            gates_v2.judged(each),
            escape(gates_v2.requirement(each.gate, each.over)),
            VERDICTS.get(each.verdict, f"not evaluated: {escape(each.unjudged or '')}"),
        )
        for each in facts.gates.outcomes
    ]
    waived = "\n".join(
        f"- **{escape(gates_v2.name(each.path))} was waived:** {escape(each.waived)} ({escape(each.failure)})"
        for each in facts.gates.outcomes
        if each.waived and each.failure
    )
    text = f"""## Release gates

Requirements on this release:

{table(("metric", "value", "requirement", "result"), "lrll", rows)}"""
    return text + (f"\n\n{waived}" if waived else "")


def _how_to_use(facts: Facts) -> str:
    channels, rows, timesteps = facts.spec.input.shape
    reference = f"{facts.model}@v{facts.version}"
    extra = "predict" if facts.graphs else "train"
    return f"""## How to use

Install modelreg from a checkout of its repository:

```sh
pip install '.[{extra}]'  # in the checkout of modelreg
```

Then run in the folder of this registry:

```sh
modelreg verify {reference}
```

```python
import modelreg
import numpy as np

windows = np.zeros((1, {channels}, {rows}, {timesteps}), dtype=np.float32)  # your windows, in the units above
predictions = modelreg.load("{reference}").predict(windows)
classes, probabilities = predictions.classes, predictions.probabilities
```"""


def _training(facts: Facts) -> str:
    run, here = facts.run, facts.run.environment
    packages = ", ".join(f"{escape(name)} {escape(version)}" for name, version in here.packages.items())
    dirty = " with uncommitted changes" if here.git and here.git.dirty else ""
    commit = f"commit `{here.git.commit[:12]}`{dirty}" if here.git else NO_GIT[here.git_absent]
    verb = "Imported" if run.imported else "Trained"
    return f"""## Training

{_how(run)}

- {verb} with modelreg {escape(here.modelreg)}; working directory: {commit}
- Environment: {here.device}, {here.threads} threads, Python {escape(here.python)}, {packages}

`provenance.json` records the configuration and the digests of the data, `manifest.json` the digest of every file, and
`predictions.npz` the predictions that the metrics were computed from. This card was rendered from them."""


def _how(run: RunRecord) -> str:
    if run.imported:
        return imported(run.imported)
    resumed = (
        f" Training was interrupted and resumed by modelreg {', '.join(map(escape, run.resumed_by))}."
        if run.resumed_by
        else ""
    )
    epochs = "1 epoch" if run.epochs == 1 else f"{run.epochs} epochs"
    if run.folds is not None:
        return (
            f"Trained on all subjects for {epochs} with seed {run.seed}: the median of the best epochs of "
            f"{len(run.folds)} folds. The weights are those of the last epoch. {FITTED}{resumed}"
        )
    return (
        f"Trained for {epochs} with seed {run.seed}. The weights are those of epoch {run.best_epoch}, which "
        f"had the lowest validation loss ({run.best_validation_loss:.4f}).{resumed}"
    )
