"""`modelreg list` and `modelreg show`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from modelreg.cli import host
from modelreg.cli.console import draw, emit_json, say, table
from modelreg.cli.phrases import NOT_NEW, counted_subjects, metric_name
from modelreg.errors import VerificationFailed
from modelreg.registry import filenames

if TYPE_CHECKING:
    from modelreg.records.int8 import Int8Summary


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
        emit_json([{name: value for name, value in each._asdict().items() if name != "folder"} for each in found])
    elif not found and not broken:
        say("no versions yet; release one with: modelreg release v0.1.0")
    else:
        columns = ("version", "released", "accuracy", "macro F1", "parameters")
        rows = [
            (each.reference, each.created[:10], f"{each.accuracy:.4f}", f"{each.macro_f1:.4f}", f"{each.parameters:,}")
            for each in found
        ]
        draw(table(columns, rows, right=columns[2:]), sys.stdout)
    if broken:
        raise VerificationFailed("cannot list every version", broken)


def show(
    reference: Annotated[
        str | None,
        typer.Argument(
            help="Version: v0.1.0, MODEL@v0.1.0, MODEL@latest, an alias, or a folder. Default: latest.",
            metavar="[REF]",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the metrics, the test subjects and the files of a version.

    Example: modelreg show conv2d_fsq@latest
    """
    from modelreg.documents import model_card
    from modelreg.registry import versions

    folder = host.version_folder(reference or "latest")
    version = versions.read_version(folder)
    measured = version.metrics()
    if as_json:
        emit_json({"manifest": version.manifest.to_document(), "metrics": measured.to_document()})
        return
    say(f"{version.reference}, released {version.manifest.created}")
    say(f"tested on {measured.windows:,} windows of {counted_subjects(tuple(measured.per_subject))}")
    if measured.protocol.known_subjects:
        say(f"these subjects were also in the training data: {NOT_NEW}")
    headline = [(metric_name(name), f"{value:.4f}") for name, value in model_card.headline(measured).items()]
    draw(table(("metric", "value"), headline, right=("value",)), sys.stdout)
    if measured.int8:
        _show_estimate(measured.int8)
    files = [(entry.path, f"{entry.size:,}", entry.stored, entry.sha256[:16]) for entry in version.manifest.files]
    draw(table(("file", "bytes", "stored", "sha256"), files, right=("bytes",)), sys.stdout)
    say(f"model card: {host.shown(folder / filenames.CARD)}")


def _show_estimate(found: "Int8Summary") -> None:
    """Print the estimated loss in 8 bits, and whether it depends on the processor."""
    from modelreg.records import int8

    kind = "8-bit estimate" if found.arithmetic else f"8-bit {int8.UNSTEADY}"
    losses = f"accuracy {-found.accuracy_drop:+.4f}, macro F1 {-found.macro_f1_drop:+.4f}"
    say(f"{kind}: {losses}, signal-to-noise ratio of the projection {found.snr_db:.1f} dB")
