"""The model card, template version 1. Versions were released with it: never edit it, write the next one.

The front matter follows Hugging Face's modelcard metadata, with a `model-index` of the metrics. Every phrase of the
card is in this module, and it imports records alone, so that a released card renders to the same bytes for good.
"""

import re
from typing import Any

import yaml

from modelreg.documents.templates.facts import Facts
from modelreg.records.data import DataRecord
from modelreg.records.export import PROJECTION
from modelreg.records.gates import Gate, Outcome
from modelreg.records.int8 import Int8Scheme
from modelreg.records.metrics import EvalMetrics, Interval, Metrics
from modelreg.records.model import (
    Conv2dFsqHsmmSettings,
    Conv2dVqHdpHsmmSettings,
    Conv2dVqTokensSettings,
    ConvSettings,
    FsqSpec,
    ModelSpec,
    TcnVaeSettings,
)
from modelreg.records.run import ImportRecord, RunRecord

UNKNOWN_TRAINING = "What they were trained on is not known here: whoever was tested may have been among it."

# our name -> the metric's type on Hugging Face
HEADLINE = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced_accuracy",
    "macro_f1": "f1",
    "weighted_f1": "f1",
    "log_loss": "log_loss",
    "brier": "brier_score",
    "ece": "ece",
}


def render(facts: Facts) -> str:
    """Return the card as Markdown."""
    front = yaml.safe_dump(_front_matter(facts), sort_keys=False, allow_unicode=True, width=100)
    sections = (
        _what_it_is,
        _intended_use,
        _data_and_protocol,
        _results,
        _smoothing,
        _estimate,
        _gates,
        _how_to_run,
        _how_it_was_made,
    )
    body = "\n\n".join(filter(None, (section(facts) for section in sections)))
    return f"---\n{front}---\n\n# {facts.model} v{facts.version}\n\n{body}\n"


def headline(metrics: Metrics) -> dict[str, float]:
    """Return the metrics that a card leads with, by our names."""
    return {name: _headline_value(metrics, name) for name in HEADLINE}


def escape(text: str) -> str:
    """Return `text` as Markdown that shows it literally, on one line, also in a table's cell."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", " ".join(text.split()))


def cutting(data: DataRecord) -> str:
    """Return how windows came to be and how they were divided, in sentences."""
    if data.sources[0].kind == "npy":
        came = f"Windows of {data.window} samples came ready cut from the source, so each counts as a recording."
        return f"{came} They were divided by subject{', as the source gives them' if data.split == 'given' else ''}."
    cut = f"Windows of {data.window} samples were cut every {data.hop} and labelled by {data.labels},"
    if data.split == "time":
        return f"{cut} after every recording had been divided in time, with gaps of {data.gap} samples."
    return f"{cut} after the recordings had been divided by {data.split}."


def imported(origin: ImportRecord) -> str:
    """Return where imported weights are from, in sentences."""
    notes = "".join(f" {escape(note)}." for note in origin.notes)
    return f"""The weights are those of {escape(origin.file)} (sha256 `{origin.sha256}`),
a checkpoint of older code in the layout {escape(origin.layout)}.{notes}"""


def _headline_value(metrics: Metrics, name: str) -> float:
    return metrics.calibration.ece if name == "ece" else float(getattr(metrics, name))


def _front_matter(facts: Facts) -> dict[str, Any]:
    source = facts.data.sources[0]
    metrics = [
        {"type": HEADLINE[name], "name": name, "value": value} for name, value in headline(facts.metrics).items()
    ]
    result = {
        "task": {"type": "time-series-classification", "name": "Behaviour recognition from inertial windows"},
        "dataset": {
            "type": source.name,
            "name": source.name,
            "split": facts.metrics.protocol.part,
            "revision": facts.metrics.protocol.tested.digest,
        },
        "metrics": metrics,
    }
    return {
        **({"license": facts.license} if facts.license else {}),
        "library_name": "modelreg",
        "tags": ["inertial", "imu", "time-series-classification", facts.model],
        "metrics": sorted(set(HEADLINE.values())),
        "model-index": [{"name": facts.model, "results": [result]}],
    }


def _what_it_is(facts: Facts) -> str:
    spec, (channels, rows, timesteps) = facts.spec, facts.spec.input.shape
    seconds = spec.input.timesteps / spec.input.rate_hz
    names = ", ".join(f"{escape(channel.name)} ({escape(channel.unit)})" for channel in spec.input.channels)
    fold = (
        "\n\nThe window's time axis is **folded into two rows** (`fold: 2`): the first half above the second."
        if spec.input.fold == 2
        else ""
    )
    return f"""## What it is

A `{spec.settings.name}` network of {spec.parameters:,} parameters that tells {len(spec.classes)} classes apart
({", ".join(map(escape, spec.classes))}) from windows of {seconds:g} s: {spec.input.timesteps} samples at
{spec.input.rate_hz:g} Hz of {names}, worn as: {", ".join(map(escape, spec.input.devices))}.

Input: float32 `({channels}, {rows}, {timesteps})` = channels, device rows, timesteps.{_architecture(spec)}{fold}"""


def _intended_use(facts: Facts) -> str:
    protocol = facts.metrics.protocol
    weakest = min(facts.metrics.per_class, key=lambda name: facts.metrics.per_class[name].recall)
    people = len(protocol.parts.train.subjects)
    unseen = (
        "Every window gets one of its classes: it has no class for anything else, and was never tested on other\n"
        "movements, other devices, other positions or other sampling rates."
    )
    shared = (
        " **The parts share subjects: these numbers say nothing about new ones.**" if protocol.known_subjects else ""
    )
    like = f"For recordings like those it was trained on ({people} subjects)"
    if facts.run.imported:
        like = f"**Its weights were imported. {UNKNOWN_TRAINING}**\nFor recordings like those it was tested on"
    return f"""## Intended use and limits

{like}: the same channels, units, rate and placement.
{unseen}
The class it misses most often is {escape(weakest)}.{shared} The tables below say how well it does, on whom."""


def _data_and_protocol(facts: Facts) -> str:
    data, protocol = facts.data, facts.metrics.protocol
    parts = "\n".join(
        f"| {name} | {', '.join(map(escape, part.subjects))} | {part.recordings} | {part.windows} | {part.dropped} "
        f"| `{part.digest[:16]}` |"
        for name, part in data.parts.items()
    )
    sources = "\n".join(
        f"- {escape(s.name)}: {escape(s.citation.rstrip('.'))}. Licence: {escape(s.license)}." for s in data.sources
    )
    times = f"{protocol.evaluations} {'time' if protocol.evaluations == 1 else 'times'}"
    return f"""## Data and protocol

{sources}

{cutting(data)} {_scale(facts.run)}
The {protocol.part} part was evaluated **{times}** with this run.

| part | subjects | recordings | windows | dropped | digest |
|---|---|---:|---:|---:|---|
{parts}"""


def _scale(run: RunRecord) -> str:
    if run.imported and run.imported.normalization_sha256:
        return "Normalization came with the imported weights."
    return "Normalization was fitted on the training part alone."


def _results(facts: Facts) -> str:
    metrics = facts.metrics
    rows = "\n".join(
        f"| {name} | {value:.4f} | {_interval(metrics, name)} |" for name, value in headline(metrics).items()
    )
    classes = "\n".join(
        f"| {escape(name)} | {row.precision:.4f} | {row.recall:.4f} | {row.f1:.4f} | {row.support} |"
        for name, row in ((name, metrics.per_class[name]) for name in metrics.classes)
    )
    subjects = "\n".join(
        f"| {escape(name)} | {row.accuracy:.4f} | {row.macro_f1:.4f} | {row.windows} |"
        for name, row in metrics.per_subject.items()
    )
    missing = next((i.reason for i in metrics.intervals.values() if not isinstance(i, Interval)), None)
    reason = f"\nNo interval: {missing}.\n" if missing else ""
    base, calibration = metrics.baselines, metrics.calibration
    return f"""## Results

On {metrics.windows} windows of the {metrics.protocol.part} part. Always answering the commonest class would reach an
accuracy of {base.majority_accuracy:.4f}, a uniform guess {base.uniform_accuracy:.4f}.

| metric | value | interval over subjects |
|---|---:|---|
{rows}
{reason}
A perfectly calibrated model would show an ECE of {calibration.null_mean:.4f} on average, and of up to
{calibration.null_high:.4f} in 95 % of cases, on as many windows ({calibration.bins} equal-mass bins).

| class | precision | recall | f1 | support |
|---|---:|---:|---:|---:|
{classes}

| subject | accuracy | macro F1 | windows |
|---|---:|---:|---:|
{subjects}"""


def _smoothing(facts: Facts) -> str:
    found = facts.metrics.temporal
    if found is None:
        return ""
    rows = "\n".join(
        f"| {name} | {own.accuracy:.4f} | {own.edit:.2f} | {own.over_segmentation:.2f} | {own.f1_at_50:.4f} |"
        for name, own in (("alone", found.alone), ("smoothed", found.smoothed))
    )
    return f"""## Smoothing

The results above are those of windows alone. On the same windows, in {found.streams} streams of consecutive ones, each
filtered with those before it by a model in which a class lasts {found.mean_duration:.2f} windows on average:

| windows | accuracy | edit score | segments predicted for each true one | F1 at half overlap |
|---|---:|---:|---:|---:|
{rows}"""


def _interval(metrics: EvalMetrics, name: str) -> str:
    interval = metrics.interval(name)
    if isinstance(interval, Interval):
        return f"{interval.low:.4f} to {interval.high:.4f} ({interval.level:.0%})"
    return "" if interval is None else "none"


def _estimate(facts: Facts) -> str:
    found = facts.estimate
    if found is None:
        return ""
    schemes = (("one per channel", found.per_channel), ("one per tensor", found.per_tensor))
    rows = "\n".join(_eight_bits(name, scheme) for name, scheme in schemes)
    clipped = "".join(
        f"\n- **{escape(channel.channel)}: the calibration set does not cover its usual values;"
        f" {channel.clipped:.2%} of all would clip.**"
        for channel in found.input
        if not channel.covered
    )
    return f"""## 8-bit estimate

What 8 bits may cost on a Hailo device. **An estimate: no compiler and no chip was asked.** ONNX Runtime quantized the
device part on {found.calibration_windows} windows of the training part. {found.windows} windows of the {found.part}
part, of which it gets a share of {found.accuracy:.4f} right in float32, then get:

| scales of the weights | accuracy | loss | macro F1 | codes kept | projection |
|---|---:|---:|---:|---:|---:|
{rows}""" + (f"\n{clipped}" if clipped else "")


def _eight_bits(name: str, scheme: Int8Scheme) -> str:
    kept = "-" if scheme.code_agreement is None else f"{scheme.code_agreement:.1%}"
    scores = f"{scheme.accuracy:.4f} | {scheme.accuracy_drop:+.4f} | {scheme.macro_f1:.4f}"
    return f"| {name} | {scores} | {kept} | {scheme.snr_db[PROJECTION]:.1f} dB |"


def _gates(facts: Facts) -> str:
    if facts.gates is None:
        return ""
    rows = "\n".join(
        f"| {escape(outcome.path)} | {_found(outcome)} | {escape(bounds(outcome.gate))} | {_verdict(outcome)} |"
        for outcome in facts.gates.outcomes
    )
    waived = "\n".join(
        f"- **{escape(outcome.path)} was waived:** {escape(outcome.waived)} ({escape(outcome.failure)})"
        for outcome in facts.gates.outcomes
        if outcome.waived and outcome.failure
    )
    return f"""## Gates

What the release had to meet:

| metric | value | must be | |
|---|---:|---|---|
{rows}""" + (f"\n\n{waived}" if waived else "")


def _how_to_run(facts: Facts) -> str:
    channels, rows, timesteps = facts.spec.input.shape
    return f"""## How to run it

From the registry's folder, with `pip install 'modelreg[train]'`:

```sh
modelreg verify {facts.model}@v{facts.version}
```

```python
from pathlib import Path

import numpy as np

from modelreg.experiment import classify

windows = np.zeros((1, {channels}, {rows}, {timesteps}), dtype=np.float32)  # yours: raw values in the units above
classes, probabilities = classify(Path("registry/{facts.model}/v{facts.version}"), windows)
```"""


def _how_it_was_made(facts: Facts) -> str:
    run = facts.run
    packages = ", ".join(f"{name} {version}" for name, version in run.environment.packages.items())
    git = run.environment.git
    place = f" in a repository at commit `{git.commit[:12]}`" if git else ", outside of any git repository,"
    dirty = " (with uncommitted changes)" if git and git.dirty else ""
    by = f"by modelreg {run.environment.modelreg}{place}{dirty}"
    if run.imported:
        made = f"{imported(run.imported)}\nImported {by.rstrip(',')}"
    else:
        made = f"""Trained {by} with seed {run.seed}, {run.epochs} epochs, the weights
of epoch {run.best_epoch} kept for their validation loss of {run.best_validation_loss:.4f}"""
    return f"""## How it was made

{made}; on {run.environment.device},
{run.environment.threads} threads, Python {run.environment.python}, {packages}.

`provenance.json` states the configuration and the digest of every part of the data; `manifest.json` the digest of
every file; `predictions.npz` holds the predictions that every number above was computed from. This card was
rendered from those records; no number in it was typed."""


def _verdict(outcome: Outcome) -> str:
    if outcome.unjudged:
        return f"not judged: {outcome.unjudged}"
    return "met" if outcome.failure is None else "waived" if outcome.waived else "FAILS"


def _found(outcome: Outcome) -> str:
    if outcome.gate.contains is not None and outcome.interval:
        return f"{outcome.interval[0]:.4f} to {outcome.interval[1]:.4f}"
    return "-" if outcome.value is None else f"{outcome.value - (outcome.over or 0.0):.4f}"


def bounds(gate: Gate) -> str:
    """Return the bounds in words."""
    slack = f" by more than {gate.tolerance:g}" if gate.tolerance else ""
    parts = [
        _ends(gate),
        f"inside {gate.inside}" if gate.inside else "",
        "" if gate.contains is None else f"an interval that holds {gate.contains:g}",
        f"not below {gate.not_below}{slack}" if gate.not_below else "",
        f"not above {gate.not_above}{slack}" if gate.not_above else "",
    ]
    return " and ".join(filter(None, parts))


def _ends(gate: Gate) -> str:
    ends = [
        "" if gate.min is None else f"at least {gate.min:g}",
        "" if gate.max is None else f"at most {gate.max:g}",
    ]
    return " and ".join(filter(None, ends)) + (f" above {gate.beyond}" if gate.beyond else "")


def _architecture(spec: ModelSpec) -> str:
    """Return what lies between the convolutions and the answer, if anything does, after a space."""
    match spec.settings:
        case TcnVaeSettings() as settings:
            said = _of_tcn_vae(spec, settings)
        case Conv2dVqTokensSettings() as settings:
            said = _of_tokens(settings)
        case settings:
            said = _of_conv2d(spec, settings)
    return f" {said}" if said else ""


def _of_tcn_vae(spec: ModelSpec, settings: TcnVaeSettings) -> str:
    domains = (
        f"\nIt was trained to say nothing of which of {len(spec.domains)} data sets a window is."
        if spec.domains
        else ""
    )
    return f"""Causal
convolutions over time, the first across all devices, end in the mean of a latent vector of {settings.latent}
numbers; the classifier on the host takes that mean.{domains}"""


def _of_tokens(settings: Conv2dVqTokensSettings) -> str:
    return f"""Convolutions
without pooling give a vector for each timestep; vector quantization replaces it by the nearest of {settings.vq.codes}
codes of {settings.embedding} numbers, and the classifier takes the mean of a window's codes. The index of a window is
its commonest code."""


def _of_conv2d(spec: ModelSpec, settings: ConvSettings) -> str:
    said = []
    if isinstance(spec.quantizer, FsqSpec):
        what = f"finite scalar quantization with levels {list(spec.quantizer.levels)}"
        said.append(f"Between its convolutions and\nits classifier stands {what}.")
    elif spec.quantizer is not None:
        what = (
            f"vector quantization,\nthe nearest of {spec.quantizer.codes} codes of {spec.quantizer.dimension} numbers"
        )
        said.append(f"Between its convolutions and\nits classifier stands {what}.")
    if isinstance(settings, Conv2dVqHdpHsmmSettings) and settings.hdp:
        said.append(f"A stick-breaking mixture of at most {settings.hdp.clusters} clusters joins them.")
    if isinstance(settings, Conv2dVqHdpHsmmSettings | Conv2dFsqHsmmSettings) and settings.hsmm:
        what = f"explicit durations of\nup to {settings.hsmm.max_duration} windows smooth the classes"
        said.append(f"On the host, {what} of consecutive windows (`hsmm.json`).")
    if len(spec.input.devices) > 1 and all(height == 1 for height, _ in settings.kernels):
        said.append("**Its kernels see one device at a time:\nit takes the devices as interchangeable.**")
    return " ".join(said)
