"""`modelreg export`."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelreg.cli import host
from modelreg.cli.console import emit_json, note, say
from modelreg.registry import filenames

if TYPE_CHECKING:
    from modelreg.errors import Problem
    from modelreg.records.export import ParityRecord, Target
    from modelreg.records.int8 import Int8Estimate


def export(
    reference: Annotated[
        str | None, typer.Argument(help="A run's folder or a version. Default: the newest run.", metavar="[REF]")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="onnx, hailo8 or hailo8l; repeatable. ONNX graphs are always exported.", metavar="TARGET"),
    ] = None,
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", help="The output folder. Default: the run, or dist/ for a version.", metavar="DIR"),
    ] = None,
    data_folder: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="The folder of the recordings, or its parent folder; a version records only its name.",
            metavar="DIR",
        ),
    ] = None,
    opset: Annotated[int, typer.Option(help="The opset of the ONNX graphs: 16, 17 or 18.", metavar="OPSET")] = 17,
    normalize: Annotated[
        Literal["host", "chip"],
        typer.Option(help="Where windows are normalized on the device: on the host, or on the chip."),
    ] = "host",
    optimization_level: Annotated[
        int,
        typer.Option(min=0, max=4, help="The compiler's optimization level; 2 or more needs a GPU.", metavar="LEVEL"),
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the parity record as JSON.")] = False,
) -> None:
    """Export ONNX graphs and Hailo compile bundles.

    Writes three graphs: encoder (device part), head (host part) and the whole model. Each graph is first compared with
    the checkpoint on real windows; if a value differs by more than the tolerance, nothing is written.

    Example: modelreg export --target hailo8
    """
    host.need_extra("export", *host.EXPORT)
    from modelreg import files
    from modelreg.records.export import ExportSettings
    from modelreg.workflows import export_run

    targets = _targets(target or ["onnx"])
    if opset not in (16, 17, 18):
        message = "must be 16, 17 or 18; torch converts lower opsets unreliably, and higher ones are not tested"
        raise typer.BadParameter(message, param_hint="--opset")
    folder, place = _places(reference, out_folder)
    files.refuse_unwritable(place)
    settings = ExportSettings(opset=opset, normalization=normalize, optimization_level=optimization_level)
    with host.reading(data_folder) as reading:
        made = export_run.export(folder, place, targets, settings, reading)
    warn(made.warnings)
    if as_json:
        emit_json(made.parity.to_document())
        return
    show(made.parity)
    if made.estimate:
        show_estimate(made.estimate)
    for path in made.written:
        say(f"wrote {host.shown(path)}/" + (f" and {path.name}.tar.gz" if path.name != "onnx" else ""))
    if place == folder:
        say(f"next: {host.release_step(folder)}")


def warn(warnings: "Iterable[Problem]") -> None:
    """Print what may go wrong on a target."""
    for warning in warnings:
        note(f"warning: {warning}" + (f"; {warning.next}" if warning.next else ""))


def show(record: "ParityRecord") -> None:
    """Print the differences between the graphs and the checkpoint."""
    compared = f"{record.windows:,} real windows and {len(record.edge_cases)} edge cases"
    say(f"{record.model}: graphs equal to the checkpoint on {compared} (opset {record.opset})")
    for name, path in (("model.onnx", record.whole), ("encoder.onnx + head.onnx", record.split)):
        errors = f"{path.projection_error:.1e} (projection), {path.logits_error:.1e} (logits)"
        codes = f"; {path.codes_different} of {path.codes:,} code digits differ" if path.codes else ""
        say(f"  {name}: largest error {errors}{codes}")


def show_estimate(estimate: "Int8Estimate") -> None:
    """Print the estimated loss in 8 bits."""
    from modelreg.records import int8

    seen = "test windows" if estimate.part == "test" else "windows of its training, which show the loss alone"
    say(f"8-bit estimate by ONNX Runtime, without Hailo's compiler, on {estimate.windows:,} {seen}:")
    if estimate.arithmetic is None:
        say(f"  {int8.UNSTEADY}; export again")
    for name, scheme in (("per channel", estimate.per_channel), ("per tensor", estimate.per_tensor)):
        accuracy = f"accuracy {estimate.accuracy:.1%} -> {scheme.accuracy:.1%}"
        noise = f"projection SNR {scheme.snr_db['projection']:.1f} dB"
        if scheme.code_agreement is not None:
            noise += f", {scheme.code_agreement:.1%} of the codes unchanged"
        say(f"  weights {name}: {accuracy}; {noise}; noisiest layer {scheme.worst_layers[0].layer}")


def _targets(names: list[str]) -> "list[Target]":
    from modelreg.export import hailo
    from modelreg.records.export import TARGETS

    for name in names:
        hailo.refuse_architecture(name)
        if name not in TARGETS:
            raise typer.BadParameter(f"must be one of {', '.join(TARGETS)}, but is {name}", param_hint="--target")
    return [target for target in TARGETS if target in names]


def _places(reference: str | None, out_folder: Path | None) -> tuple[Path, Path]:
    """Return the run or version to export, and the output folder."""
    from modelreg.registry import runs

    if reference is None:
        folder = runs.newest_trained(host.workplace() / "runs", None, "modelreg export")
    elif (Path(reference) / filenames.CONFIG).exists():
        folder = Path(reference)
    else:
        folder = host.version_folder(reference)
    if out_folder or not (folder / filenames.MANIFEST).is_file():
        return folder, out_folder or folder
    return folder, host.exports_of(folder)
