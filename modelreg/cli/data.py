"""`modelreg data check`: how good the recordings are, before anything is trained on them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelreg.cli import environment
from modelreg.cli.console import draw, emit_json, note, say, table
from modelreg.errors import InputError, Problem

if TYPE_CHECKING:
    from modelreg.config import TrainConfig
    from modelreg.records.data import QualityReport

app = typer.Typer(help="Look at recordings.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Look at recordings."""


@app.command()
def check(
    source: Annotated[
        str,
        typer.Argument(help="`sample`, the metadata JSON of .npy files, or a training configuration (YAML)."),
    ] = "sample",
    strict: Annotated[bool, typer.Option(help="Exit 3 where a threshold is broken.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
) -> None:
    """Report on the quality of recordings.

    Missing values, constant channels and ranges; what breaks a threshold.

    Example: modelreg data check configs/sample.yaml --strict
    """
    from modelreg.data import quality, sources

    settings = _settings(source)
    typed = source.endswith(".json")  # a path that is typed starts here, one in a configuration at the root
    dataset = sources.read(settings.data.sources[0], Path.cwd() if typed else environment.workplace())
    report = quality.check(dataset, settings.quality.limits)
    if as_json:
        emit_json(report.to_document())
    else:
        _show(report, problems=not strict)
    broken = [Problem(r.recording, problem) for r in report.recordings for problem in r.problems]
    if broken and strict:
        raise InputError("the data breaks thresholds", broken)


def _settings(source: str) -> "TrainConfig":
    """Return the configuration that reads a source."""
    from modelreg import config

    if source == "sample":
        return config.settle(None, config.TrainConfig, source)
    if source.endswith(".json"):
        npy = {"data": {"sources": [{"kind": "npy", "path": source}]}}
        return config.settle(npy, config.TrainConfig, source)
    return config.load(Path(source), config.TrainConfig)


def _show(report: "QualityReport", *, problems: bool) -> None:
    """Print one row per channel over all recordings, then what breaks a threshold."""
    for source in report.sources:
        say(f"{source.name}: {len(report.recordings)} recordings, digest {source.digest[:16]}")
    columns = ("device", "channel", "min", "max", "std, lowest", "std, highest", "NaN", "Inf", "constant")
    draw(table(columns, _rows(report), right=columns[2:]), sys.stdout)
    for recording in report.recordings if problems else ():
        for problem in recording.problems:
            note(f"{recording.recording}: {problem}")
    broken = sum(bool(recording.problems) for recording in report.recordings)
    say(f"{broken} of {len(report.recordings)} recordings break a threshold")


def _rows(report: "QualityReport") -> list[tuple[object, ...]]:
    keys = dict.fromkeys((c.device, c.channel) for r in report.recordings for c in r.channels)
    rows: list[tuple[object, ...]] = []
    for key in keys:
        found = [c for r in report.recordings for c in r.channels if (c.device, c.channel) == key]
        lows, highs = [c.min for c in found if c.min is not None], [c.max for c in found if c.max is not None]
        stds = [c.std for c in found if c.std is not None]
        numbers = [
            f"{value:.3g}" if value is not None else "-"
            for value in (
                min(lows, default=None),
                max(highs, default=None),
                min(stds, default=None),
                max(stds, default=None),
            )
        ]
        counts = (sum(c.nan for c in found), sum(c.inf for c in found), sum(c.constant for c in found))
        rows.append((*key, *numbers, *counts))
    return rows
