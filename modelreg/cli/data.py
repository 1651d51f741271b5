"""`modelreg data`: check recordings and list cross-validation folds, before anything is trained."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelreg.cli import data_init, host
from modelreg.cli.console import draw, emit_json, note, say, table
from modelreg.cli.options import Assignments
from modelreg.errors import InputError, Problem

if TYPE_CHECKING:
    from modelreg.config import TrainConfig
    from modelreg.records.data import Excerpt, QualityReport

SHOWN = 20  # findings printed; the page and the JSON have all
NAMED = 5  # recordings of a finding

app = typer.Typer(help="Check recordings and list folds.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Check recordings and list folds."""


app.command("init")(data_init.init)


@app.command()
def check(
    source: Annotated[
        str | None,
        typer.Argument(
            help="`sample` (the default), the metadata JSON of .npy files, or a training configuration (YAML).",
            metavar="[SOURCE]",
            show_default=False,
        ),
    ] = None,
    assignments: Assignments = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 3 if a problem was found.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", help="Write quality.json and the page quality.html to this folder.", metavar="DIR"),
    ] = None,
) -> None:
    """Check whether recordings are fit to train on.

    The first ten lines say what the recordings are, what is wrong, and what to do next. Then come the details: missing
    values, constant, frozen and saturated channels, units, gravity and offsets, clocks, classes and the split.

    Example: modelreg data check sample --out quality
    """
    from modelreg import files
    from modelreg.data import excerpts, preparation, quality

    if source is None:
        source = "sample"
        note("no recordings named: checking the embedded sample recordings")
    if out_folder:
        files.refuse_unwritable(out_folder)
    settings = host.with_pseudonyms(_settings(source, assignments or []))
    typed = source.endswith(".json")  # a typed path is relative to this folder, one in a configuration to the root
    _need(settings)
    with host.reading(Path.cwd() if typed else None, new_subjects=True) as reading:
        report, dataset = preparation.check(settings, reading)
        signals = excerpts.choose(dataset) if out_folder else ()
    command = _training(source, assignments or [])
    if out_folder:
        _write(report, signals, command, out_folder)
    if as_json:
        emit_json(report.to_document())
    else:
        _show(report, command)
        say(f"report: {host.shown(out_folder / 'quality.html')}" if out_folder else "for a page with plots: --out DIR")
    if strict:
        quality.refuse_broken(report)


@app.command()
def folds(
    configuration: Annotated[Path, typer.Argument(help="Training configuration (YAML).", metavar="CONFIG")],
    validation: Annotated[
        int, typer.Option(min=1, help="Number of validation subjects in each fold.", metavar="N")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the splits as JSON.")] = False,
) -> None:
    """List the folds of leave-one-subject-out cross-validation.

    Prints one training command for each fold. Each fold tests one subject on a model trained without that subject.

    Example: modelreg data folds runs/conv2d_fsq-001/config.json
    """
    from modelreg import config
    from modelreg.data import preparation, splits

    settings = host.with_pseudonyms(config.load(configuration, config.TrainConfig))
    _need(settings)
    with host.reading(new_subjects=True) as reading:
        subjects = {recording.subject for recording in preparation.read_dataset(settings, reading).recordings}
    found = splits.leave_one_out(subjects, validation)
    if as_json:
        emit_json([fold.to_document() for fold in found])
        return
    alone = " --protocol holdout" if settings.evaluation.crossfitted else ""
    for fold in found:
        parts = json.dumps(fold.to_document())  # JSON is YAML
        say(f"modelreg train {shlex.quote(configuration.as_posix())}{alone} --set {shlex.quote(f'split={parts}')}")


def _settings(source: str, assignments: Sequence[str]) -> "TrainConfig":
    """Return the configuration that reads a source."""
    from modelreg import config

    if source == "sample":
        return config.settle(None, config.TrainConfig, source, assignments)
    if source.endswith(".json"):
        npy = {"data": {"sources": [{"kind": "npy", "path": source}]}}
        return config.settle(npy, config.TrainConfig, source, assignments)
    if not source.endswith((".yaml", ".yml")):
        what = "expected `sample`, a .json file (metadata of .npy files) or a .yaml file (training configuration)"
        raise InputError("nothing was checked", [Problem(source, "recordings.source-unknown", what)])
    return config.load(Path(source), config.TrainConfig, assignments)


def _training(source: str, assignments: Sequence[str]) -> str:
    """Return the command that trains on the checked recordings."""
    words = ["modelreg", "train"]
    if source.endswith(".json"):
        words += ["--set", f"data.sources={json.dumps([{'kind': 'npy', 'path': source}], separators=(',', ':'))}"]
    elif source != "sample":
        words.append(source)
    words += [word for assignment in assignments for word in ("--set", assignment)]
    return " ".join(map(shlex.quote, words))


def _need(settings: "TrainConfig") -> None:
    """Raise InputError if a source is text and its parser is not installed."""
    from modelreg.records.source import TextSource

    if any(isinstance(source, TextSource) for source in settings.data.sources):
        host.need_extra("train", "pandas")


def _write(report: "QualityReport", signals: Sequence["Excerpt"], command: str, folder: Path) -> None:
    """Write the report's documents, each atomically."""
    from modelreg import files
    from modelreg.documents.report.quality_page import quality_documents

    folder.mkdir(parents=True, exist_ok=True)
    title = f"Quality of {', '.join(source.name for source in report.sources)}"
    for name, data in quality_documents(report, title, signals, command).items():
        files.write_atomic(folder / name, data)


def _show(report: "QualityReport", command: str) -> None:
    """Print the overview, then the details: findings, classes, channels and clocks over all recordings."""
    from modelreg.documents.report import overview

    for line in overview.lines(overview.rows(report, command)):
        say(line)
    _show_findings(report)
    if classes := _class_rows(report):
        say()
        names = ("class", "duration", "subjects", "stretches", "shortest", "median", "longest")
        draw(table(names, classes, right=names[1:]), sys.stdout)
    say()
    columns = ("device", "channel", "min", "max", "min. std", "max. std", "missing", "saturated", "constant")
    draw(table(columns, _channel_rows(report), right=columns[2:]), sys.stdout)
    if rows := _clock_rows(report):
        say()
        header = ("clock", "rate (Hz)", "declared", "max. jitter", "gaps", "longest gap", "latest start")
        draw(table(header, rows, right=header[1:]), sys.stdout)
    say()
    _show_scores(report)


def _show_findings(report: "QualityReport") -> None:
    """Print each finding with its recordings and the next step."""
    from modelreg.documents.report import overview

    wrong = [finding for finding in report.findings or () if finding.level != "information"]
    for finding in wrong[:SHOWN]:
        say()
        say(f"{finding.where}: {finding.message}  [{finding.rule}]")
        if where := overview.found_in(finding, len(report.recordings), NAMED):
            say(f"  in {where}")
        say(f"  next: {overview.next_step(finding)}")
    if len(wrong) > SHOWN:
        say(f"and {len(wrong) - SHOWN:,} more; list all with --json or --out DIR")


def _show_scores(report: "QualityReport") -> None:
    for source in report.sources:
        say(f"{source.name}: digest {source.digest[:16]}")
    worst = min(report.recordings, key=lambda recording: recording.score)
    say(f"score {report.score:.1f} of 100; lowest of a recording {worst.score:.1f} ({worst.recording})")
    broken = sum(bool(recording.problems) for recording in report.recordings)
    say(f"{broken} of {len(report.recordings)} recordings have a problem")
    for advice in ("interpolate", "drop"):
        if count := sum(recording.recommendation == advice for recording in report.recordings):
            say(f"missing values: `{advice}` is recommended for {count} recordings")


def _class_rows(report: "QualityReport") -> list[tuple[object, ...]]:
    from modelreg.documents.report.overview import duration

    return [
        (
            found.name,
            duration(found.seconds),
            found.subjects,
            found.stretches,
            *("-" if x is None else duration(x) for x in (found.shortest_s, found.median_s, found.longest_s)),
        )
        for found in report.classes or ()
    ]


def _channel_rows(report: "QualityReport") -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for key, found in report.by_channel().items():
        lows, highs = [c.min for c in found if c.min is not None], [c.max for c in found if c.max is not None]
        stds = [c.std for c in found if c.std is not None]
        ends = (
            min(lows, default=None),
            max(highs, default=None),
            min(stds, default=None),
            max(stds, default=None),
        )
        numbers = ["-" if value is None else f"{value:.3g}" for value in ends]
        saturated = f"{max(c.saturated_rate for c in found):.1%}"
        rows.append((*key, *numbers, sum(c.nan + c.inf for c in found), saturated, sum(c.constant for c in found)))
    return rows


def _clock_rows(report: "QualityReport") -> list[tuple[object, ...]]:
    """Return a row for each device with the worst values of its clocks over all recordings."""
    rows: list[tuple[object, ...]] = []
    for device, found in report.by_clock().items():
        rates = sorted(clock.rate_hz for clock in found)
        rows.append(
            (
                device,
                " to ".join(dict.fromkeys(f"{rate:.1f}" for rate in (rates[0], rates[-1]))),
                f"{found[0].nominal_hz:g}",
                f"{max(clock.jitter for clock in found):.3f}",
                sum(clock.gaps for clock in found),
                f"{max(clock.longest_gap_s for clock in found):.3g} s",
                f"{max(clock.offset_s for clock in found):.3g} s",
            )
        )
    return rows
