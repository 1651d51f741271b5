"""`modelreg list` and `modelreg show`: reading the registry."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from modelreg.cli import host
from modelreg.cli.console import draw, emit_json, say, table
from modelreg.errors import VerificationFailed
from modelreg.registry import filenames

if TYPE_CHECKING:
    from modelreg.records.int8 import Int8Summary


def list_versions(
    model: Annotated[str | None, typer.Argument(help="Only versions of this model.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the versions of the registry with their numbers.

    Exit 4 where one of them cannot be read.

    Example: modelreg list conv2d_fsq
    """
    from modelreg.registry import versions

    root, _ = host.project()
    found, broken = versions.summaries(root, model)
    if as_json:
        emit_json([{name: value for name, value in each._asdict().items() if name != "folder"} for each in found])
    elif not found and not broken:
        say("no version yet; make one with: modelreg release v0.1.0")
    else:
        columns = ("version", "released", "accuracy", "macro F1", "parameters")
        rows = [
            (each.reference, each.created[:10], f"{each.accuracy:.4f}", f"{each.macro_f1:.4f}", each.parameters)
            for each in found
        ]
        draw(table(columns, rows, right=columns[2:]), sys.stdout)
    if broken:
        raise VerificationFailed("not every version can be read; modelreg verify says more", broken)


def show(
    reference: Annotated[
        str | None,
        typer.Argument(
            help="v0.2.0, model@v0.2.0, model@latest or a folder; left out: the default model's latest.",
            metavar="[REF]",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a version: its numbers, whom it was tested on, its files.

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
    say(f"tested on {measured.windows} windows of {', '.join(measured.per_subject)}")
    if measured.protocol.known_subjects:
        say("these subjects were trained on too: the numbers say nothing about new ones")
    headline = [(name, f"{value:.4f}") for name, value in model_card.headline(measured).items()]
    draw(table(("metric", "value"), headline, right=("value",)), sys.stdout)
    if measured.int8:
        _show_estimate(measured.int8)
    files = [(entry.path, entry.size, entry.stored, entry.sha256[:16]) for entry in version.manifest.files]
    draw(table(("file", "bytes", "stored", "sha256"), files, right=("bytes",)), sys.stdout)
    say(f"card: {host.shown(folder / filenames.CARD)}")


def _show_estimate(found: "Int8Summary") -> None:
    """Print what 8 bits may cost, and whether that depends on the processor that the estimate was made on."""
    from modelreg.records import int8

    kind = "8-bit estimate" if found.arithmetic else f"8-bit {int8.UNSTEADY}"
    losses = f"accuracy {-found.accuracy_drop:+.4f}, macro F1 {-found.macro_f1_drop:+.4f}"
    say(f"{kind}: {losses}, projection {found.snr_db:.1f} dB")
