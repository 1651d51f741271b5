"""`modelreg list` and `modelreg show`: reading the registry."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from modelreg.cli import environment
from modelreg.cli.console import draw, emit_json, say, table

if TYPE_CHECKING:
    from modelreg.registry import Version


def list_versions(
    model: Annotated[str | None, typer.Argument(help="Only versions of this model.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the versions of the registry with their numbers.

    Example: modelreg list conv2d_fsq
    """
    from modelreg import registry

    root, _ = environment.project()
    found = [_summary(version) for version in registry.versions(root, model)]
    if as_json:
        emit_json(found)
    elif not found:
        say("no version yet; make one with: modelreg release v0.1.0")
    else:
        columns = ("version", "released", "accuracy", "macro F1", "parameters")
        rows = [
            (
                s["reference"],
                str(s["created"])[:10],
                f"{s['accuracy']:.4f}",
                f"{s['macro_f1']:.4f}",
                s["parameters"],
            )
            for s in found
        ]
        draw(table(columns, rows, right=columns[2:]), sys.stdout)


def show(
    reference: Annotated[
        str | None,
        typer.Argument(
            help="v0.2.0, model@v0.2.0 or model@latest; left out: the default model's latest.",
            metavar="[REF]",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a version: its numbers, whom it was tested on, its files.

    Example: modelreg show conv2d_fsq@latest
    """
    from modelreg import card, registry
    from modelreg.records.base import load
    from modelreg.records.version import Manifest

    root, project = environment.project()
    folder = registry.resolve(reference or f"{project.default_model}@latest", root, project.default_model)
    version = registry.Version(folder, load(folder / registry.MANIFEST, Manifest))
    measured = version.metrics()
    if as_json:
        emit_json({"manifest": version.manifest.to_document(), "metrics": measured.to_document()})
        return
    say(f"{version.reference}, released {version.manifest.created}")
    say(f"tested on {measured.windows} windows of {', '.join(measured.per_subject)}")
    headline = [(name, f"{value:.4f}") for name, value in card.headline(measured).items()]
    draw(table(("metric", "value"), headline, right=("value",)), sys.stdout)
    files = [(entry.path, entry.size, entry.stored, entry.sha256[:16]) for entry in version.manifest.files]
    draw(table(("file", "bytes", "stored", "sha256"), files, right=("bytes",)), sys.stdout)
    say(f"card: {folder.relative_to(root) / registry.CARD}")


def _summary(version: "Version") -> dict[str, object]:
    measured = version.metrics()
    return {
        "reference": version.reference,
        "model": version.manifest.model,
        "version": version.manifest.version,
        "created": version.manifest.created,
        "accuracy": measured.accuracy,
        "macro_f1": measured.macro_f1,
        "parameters": measured.parameters,
    }
