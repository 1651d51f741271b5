"""The model card: rendered from records, and read back so that `verify` can hold it against them.

The front matter follows Hugging Face's modelcard metadata, with a `model-index` of the real metrics. Below it
stand the human sections. No sentence states a number that is not in a record.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from modelreg import config
from modelreg.errors import InputError, Problem
from modelreg.records.base import Name
from modelreg.records.data import DataRecord
from modelreg.records.metrics import EvalMetrics, Interval, Metrics
from modelreg.records.model import ModelSpec
from modelreg.records.run import RunRecord

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
CLASS_COLUMNS = ("precision", "recall", "f1", "support")
TOLERANCE = 5.1e-5  # tables round to four decimals


class Facts(NamedTuple):
    """All that a card is made of."""

    model: str
    version: str
    license: Name | None
    metrics: EvalMetrics
    spec: ModelSpec
    data: DataRecord
    run: RunRecord


def render(facts: Facts) -> str:
    """Return the card as Markdown."""
    front = yaml.safe_dump(_front_matter(facts), sort_keys=False, allow_unicode=True, width=100)
    sections = (_what_it_is, _intended_use, _data_and_protocol, _results, _how_to_run, _how_it_was_made)
    body = "\n\n".join(section(facts) for section in sections)
    return f"---\n{front}---\n\n# {facts.model} v{facts.version}\n\n{body}\n"


def headline(metrics: Metrics) -> dict[str, float]:
    """Return the metrics that a card leads with, by our names."""
    return {name: _headline_value(metrics, name) for name in HEADLINE}


def find_differences(text: str, metrics: EvalMetrics) -> Iterator[Problem]:
    """Yield every number that the card states otherwise than the metrics, or does not state."""
    stated = stated_metrics(text)
    for name, value in headline(metrics).items():
        if stated.get(name) != value:
            yield Problem(f"model-index: {name}", f"the card says {stated.get(name)}, eval_metrics.json {value}")
    yield from _table_differences(text, "metric", {n: {"value": v} for n, v in headline(metrics).items()})
    classes = {
        escape(name): {column: float(getattr(row, column)) for column in CLASS_COLUMNS}
        for name, row in metrics.per_class.items()
    }
    yield from _table_differences(text, "class", classes)


def stated_metrics(text: str) -> dict[str, float]:
    """Return the metrics of the front matter's model-index by name. Raises InputError where there is none."""
    match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    front: Any = config.parse_yaml(match[1], "front matter") if match else None
    try:
        rows = front["model-index"][0]["results"][0]["metrics"]
        return {row["name"]: row["value"] for row in rows}
    except (KeyError, IndexError, TypeError) as error:
        what = "has no front matter with a model-index of one result"
        raise InputError("not a model card", [Problem("model_card.md", what)]) from error


def escape(text: str) -> str:
    """Return `text` as Markdown that shows it literally, also in a table's cell."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", text)


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
    names = ", ".join(f"{escape(channel.name)} ({channel.unit})" for channel in spec.input.channels)
    fold = (
        "\n\nThe window's time axis is **folded into two rows** (`fold: 2`): the first half above the second."
        if spec.input.fold == 2
        else ""
    )
    return f"""## What it is

A `{spec.settings.name}` network of {spec.parameters:,} parameters that tells {len(spec.classes)} classes apart
({", ".join(map(escape, spec.classes))}) from windows of {seconds:g} s: {spec.input.timesteps} samples at
{spec.input.rate_hz:g} Hz of {names}, worn as: {", ".join(map(escape, spec.input.devices))}.

Input: float32 `({channels}, {rows}, {timesteps})` = channels, device rows, timesteps. Between its convolutions and
its classifier stands finite scalar quantization with levels {list(spec.quantizer.levels)}.{fold}"""


def _intended_use(facts: Facts) -> str:
    protocol = facts.metrics.protocol
    weakest = min(facts.metrics.per_class, key=lambda name: facts.metrics.per_class[name].recall)
    people = len(protocol.parts.train.subjects)
    unseen = (
        "Every window gets one of its classes: it has no class for anything else, and was never tested on other\n"
        "movements, other devices, other positions or other sampling rates."
    )
    shared = " The parts share subjects: these numbers say nothing about new ones." if protocol.split == "time" else ""
    return f"""## Intended use and limits

For recordings like those it was trained on ({people} subjects): the same channels, units, rate and placement.
{unseen}
The class it misses most often is {escape(weakest)}.{shared} The tables below say how well it does, on whom."""


def _data_and_protocol(facts: Facts) -> str:
    data, protocol = facts.data, facts.metrics.protocol
    parts = "\n".join(
        f"| {name} | {', '.join(map(escape, part.subjects))} | {part.recordings} | {part.windows} | {part.dropped} "
        f"| `{part.digest[:16]}` |"
        for name, part in data.parts.items()
    )
    sources = "\n".join(f"- {escape(s.name)}: {s.citation.rstrip('.')}. Licence: {s.license}." for s in data.sources)
    gap = f", with a gap of {data.gap} samples" if data.split == "time" else ""
    times = f"{protocol.evaluations} {'time' if protocol.evaluations == 1 else 'times'}"
    return f"""## Data and protocol

{sources}

Windows of {data.window} samples every {data.hop}, labelled by {data.labels}; recordings were divided by
{data.split}{gap} before any window was cut. Normalization was fitted on the training part alone.
The {protocol.part} part was evaluated **{times}** with this run.

| part | subjects | recordings | windows | dropped | digest |
|---|---|---:|---:|---:|---|
{parts}"""


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


def _interval(metrics: EvalMetrics, name: str) -> str:
    interval = metrics.intervals.get(name)  # type: ignore[call-overload]
    if isinstance(interval, Interval):
        return f"{interval.low:.4f} to {interval.high:.4f} ({interval.level:.0%})"
    return "" if interval is None else "none"


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
    commit = f"commit `{run.environment.git.commit[:12]}`" if run.environment.git else "no git commit"
    dirty = " (with uncommitted changes)" if run.environment.git and run.environment.git.dirty else ""
    return f"""## How it was made

Trained by modelreg {run.environment.modelreg} at {commit}{dirty} with seed {run.seed}, {run.epochs} epochs, the weights
of epoch {run.best_epoch} kept for their validation loss of {run.best_validation_loss:.4f}; on {run.environment.device},
{run.environment.threads} threads, Python {run.environment.python}, {packages}.

`provenance.json` states the configuration and the digest of every part of the data; `manifest.json` the digest of
every file; `predictions.npz` holds the predictions that every number above was computed from. This card was
rendered from those records; no number in it was typed."""


def _table_differences(text: str, key: str, expected: dict[str, dict[str, float]]) -> Iterator[Problem]:
    stated = _table(text, key)
    for name, columns in expected.items():
        for column, value in columns.items():
            cell = stated.get(name, {}).get(column)
            if not _is_close(cell, value):
                yield Problem(
                    f"table of each {key}: {name}",
                    f"the card says {column} {cell}, eval_metrics.json {value}",
                )


def _is_close(cell: str | None, value: float) -> bool:
    try:
        return abs(float(cell or "nan") - value) <= TOLERANCE
    except ValueError:
        return False


def _table(text: str, key: str) -> dict[str, dict[str, str]]:
    """Return the rows of the Markdown table whose first column is `key`: first cell -> column -> cell."""
    lines = text.splitlines()
    start = next((n for n, line in enumerate(lines) if line.startswith(f"| {key} |")), len(lines))
    rows: dict[str, dict[str, str]] = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        first, *cells = _cells(line)
        rows[first] = dict(zip(_cells(lines[start])[1:], cells, strict=False))
    return rows


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
