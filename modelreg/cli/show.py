"""`modelreg list` and `modelreg show`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelreg.cli import host
from modelreg.cli.console import draw, emit_json, say, table
from modelreg.cli.phrases import NOT_NEW, counted_subjects, metric_name
from modelreg.errors import InputError, VerificationFailed
from modelreg.registry import filenames

if TYPE_CHECKING:
    from modelreg.records.int8 import Int8Summary
    from modelreg.records.metrics import EvalMetrics
    from modelreg.registry.versions import Summary, Version

COLUMNS = ("version", "released", "accuracy", "macro F1", "parameters", "aliases, waived gates")


def list_versions(
    model: Annotated[str | None, typer.Argument(help="Only list versions of this model.", metavar="[MODEL]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the versions of the registry with their main metrics.

    Exits with code 4 if a version cannot be read.

    Example: modelreg list conv2d_fsq
    """
    from modelreg.registry import versions

    root, _ = host.project()
    found, broken = versions.summaries(root, model)
    if as_json:
        emit_json([_document(each) for each in found])
    elif not found and not broken:
        say("no versions yet; release one with: modelreg release v0.1.0")
    else:
        unreadable = dict.fromkeys(problem.where.partition(":")[0] for problem in broken)
        rows = [*map(_row, found), *((reference, "cannot be read", "", "", "", "") for reference in unreadable)]
        draw(table(COLUMNS, rows, right=COLUMNS[2:5]), sys.stdout)
    if broken:
        raise VerificationFailed("cannot list every version; `modelreg verify` checks the others", broken)


def _row(summary: "Summary") -> tuple[str, ...]:
    from modelreg.registry.version_notes import read_notes

    notes = read_notes(summary.folder)
    marks = [*notes.aliases, *(f"{waived.gate} waived" for waived in notes.waived)]
    numbers = (f"{summary.accuracy:.4f}", f"{summary.macro_f1:.4f}", f"{summary.parameters:,}")
    return (summary.reference, summary.created[:10], *numbers, ", ".join(marks))


def _document(summary: "Summary") -> dict[str, object]:
    from modelreg.registry.version_notes import read_notes

    stated = {name: value for name, value in summary._asdict().items() if name != "folder"}
    return {**stated, **read_notes(summary.folder).to_document()}


def show(
    reference: Annotated[
        str | None,
        typer.Argument(
            help="Version: v0.1.0, MODEL@v0.1.0, MODEL@latest, an alias, a tag or a folder; or a run. Default: latest.",
            metavar="[REF]",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the metrics and files of a version, or the metrics of a run.

    The documents are compared with the manifest; `modelreg verify` checks the rest.

    Example: modelreg show conv2d_fsq@latest
    """
    from modelreg.registry import versions
    from modelreg.registry.version_notes import read_notes

    place = Path(reference or ".")
    if reference and (place / filenames.RUN).is_file() and not (place / filenames.MANIFEST).exists():
        _show_run(place, as_json=as_json)
        return
    folder = host.version_folder(reference or "latest")
    version = versions.read_version(folder)
    measured = version.metrics()
    if as_json:
        emit_json({"manifest": version.manifest.to_document(), "metrics": measured.to_document()})
        _refuse_changed(version)
        return
    notes = read_notes(folder)
    say(f"{version.reference}{notes.suffix}, released {version.manifest.created}")
    for waived in notes.waived:
        say(str(waived))
    _show_metrics(measured)
    files = [(entry.path, f"{entry.size:,}", entry.stored, entry.sha256[:16]) for entry in version.manifest.files]
    draw(table(("file", "bytes", "stored", "sha256"), files, right=("bytes",)), sys.stdout)
    say(f"model card: {host.shown(folder / filenames.CARD)}")
    say(f"next: modelreg verify {version.reference}")
    _refuse_changed(version)


def _refuse_changed(version: "Version") -> None:
    """Raise VerificationFailed if a document differs from the manifest; binaries are left to `verify`."""
    from modelreg.verification import integrity

    documents = [entry for entry in version.manifest.files if entry.path in filenames.DOCUMENTS]
    if problems := list(integrity.find_file_problems(version.folder, documents)):
        message = f"the numbers above are not those of the release; `modelreg verify {version.reference}` checks all"
        raise VerificationFailed(message, problems)


def _show_run(folder: Path, *, as_json: bool) -> None:
    from modelreg.records.base import load
    from modelreg.records.metrics import EvalMetrics
    from modelreg.registry import runs

    run = runs.load_run(folder)
    if not (folder / filenames.METRICS).is_file():
        raise InputError("nothing to show", [runs.not_evaluated(folder)])
    measured = load(folder / filenames.METRICS, EvalMetrics)
    if as_json:
        emit_json({"run": run.to_document(), "metrics": measured.to_document()})
        return
    version = host.released_as(folder)
    state = f"released as {version}" if version else "not released"
    say(f"{host.shown(folder)}, a run of {run.model.settings.name}, started {run.started}; {state}")
    _show_metrics(measured)
    say(f"next: {host.release_step(folder)}")


def _show_metrics(measured: "EvalMetrics") -> None:
    from modelreg.documents import model_card
    from modelreg.documents.templates import card_v2

    say(f"tested on {measured.windows:,} windows of {counted_subjects(tuple(measured.per_subject))}")
    if said := card_v2.estimates(measured.protocol):
        say(said)
    if measured.protocol.known_subjects:
        say(f"these subjects were also in the training data: {NOT_NEW}")
    headline = [(metric_name(name), f"{value:.4f}") for name, value in model_card.headline(measured).items()]
    draw(table(("metric", "value"), headline, right=("value",)), sys.stdout)
    if measured.int8:
        _show_estimate(measured.int8)


def _show_estimate(found: "Int8Summary") -> None:
    """Print the estimated loss in 8 bits, and whether it depends on the processor."""
    from modelreg.records import int8

    kind = "8-bit estimate" if found.arithmetic else f"8-bit {int8.UNSTEADY}"
    losses = f"accuracy {-found.accuracy_drop:+.4f}, macro F1 {-found.macro_f1_drop:+.4f}"
    say(f"{kind}: {losses}, signal-to-noise ratio of the projection {found.snr_db:.1f} dB")
