"""`modelreg hef`: inspect a compiled network, or attach one to a run's bundle."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelreg.cli import host
from modelreg.cli.console import draw, emit_json, note_all, say, table

if TYPE_CHECKING:
    from modelreg.records.hef import HefGroup, HefInfo, HefTensor

app = typer.Typer(help="Inspect compiled networks (HEF) and attach them.", no_args_is_help=True)

UNSTATED = "-"
COLUMNS = ("", "name", "shape", "order", "type", "scale", "zero point", "min", "max")


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A compiled network (.hef).", metavar="FILE")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the description as JSON.")] = False,
) -> None:
    """Describe a HEF, without Hailo's software.

    Reads a file of any size, for any chip, and verifies its checksum. Exits with 3 if the file is damaged or not a HEF.

    Example: modelreg hef inspect conv2d_fsq.hef
    """
    from modelreg.artifacts import hef_file

    info = hef_file.describe_hef(file)
    if as_json:
        emit_json(info.to_document())
    else:
        _show(file.name, info)


@app.command()
def attach(
    run: Annotated[Path, typer.Argument(help="The run with the exported bundle.", metavar="RUN")],
    file: Annotated[Path, typer.Argument(help="The network compiled from the bundle (.hef).", metavar="FILE")],
    max_mb: Annotated[
        int, typer.Option("--max-mb", min=1, help="The largest accepted file size, in MiB.", metavar="MIB")
    ] = 32,
) -> None:
    """Attach a HEF to a run's bundle.

    The chip, names, shapes and memory orders must match the bundle, and the input range must cover the calibration
    data. Otherwise nothing is written and the exit code is 4. To add a HEF to a released version, make a new version:
    modelreg release vX.Y.Z --from REF --hef FILE

    Example: modelreg hef attach runs/conv2d_fsq-001 conv2d_fsq.hef
    """
    from modelreg.artifacts import attach_hef, hef_compatibility, hef_file

    found = hef_file.read_hef(file)
    place = attach_hef.attach(run, found, max_mb * 2**20)
    note_all(hef_compatibility.find_unchecked(found.info))
    say(f"attached {host.shown(place)} (compiled for {found.info.hw_arch}) and updated the bundle's archive")
    say(f"next: {_patch_step(run, file) or host.release_step(run)}")


def _patch_step(run: Path, file: Path) -> str | None:
    """Return the command that adds a HEF to the version with the weights of a run; None if they are not released."""
    from modelreg.registry import versions

    if (reference := host.released_as(run)) is None:
        return None
    number = versions.parse_version(reference.rpartition("@")[2]).bump_patch()
    return f"modelreg release v{number} --from {reference} --hef {host.shown(file)}"


def _show(name: str, info: "HefInfo") -> None:
    from modelreg.artifacts import hef_compatibility

    covered = "the network description" if info.checksum_of == "description" else "the whole file"
    say(f"{name}: {info.size:,} bytes, HEF header version {info.header_version}")
    say(f"checksum: {info.checksum} of {covered} verified")
    say(f"sha256: {info.sha256}")
    runs_on = " and ".join(hef_compatibility.RUNS_ON.get(info.hw_arch, ())) or "no Hailo-8 or Hailo-8L"
    say(f"chip: compiled for {info.hw_arch} (code {info.hw_arch_code}), runs on {runs_on}")
    say(f"compiler: Dataflow Compiler {info.compiler or '(version not stated)'}, {info.created or 'date unknown'}")
    for group in info.network_groups:
        _show_group(group)


def _show_group(group: "HefGroup") -> None:
    say()
    say(f"network {group.name or '(without a name)'}: {group.contexts} context{'' if group.contexts == 1 else 's'}")
    if group.estimated_bottleneck_fps is not None:
        fps = f"{group.estimated_bottleneck_fps:,.0f} frames/s"
        say(f"slowest layer: {fps} (estimate by the compiler, not measured)")
    if group.host_operations:
        say(f"computed on the host by HailoRT: {', '.join(group.host_operations)}")
    tensors = [*(("input", each) for each in group.inputs), *(("output", each) for each in group.outputs)]
    rows = [(side, each.name.removeprefix(f"{group.name}/"), *_cells(each)) for side, each in tensors]
    if rows:
        draw(table(COLUMNS, rows, right=COLUMNS[5:]), sys.stdout)
    if any(UNSTATED in row for row in rows):
        say(f"{UNSTATED}: the file does not state it")


def _cells(tensor: "HefTensor") -> tuple[str, ...]:
    shape = " x ".join(map(str, tensor.shape))
    scales = map(_span, tensor.quantization) if tensor.quantization else (UNSTATED, UNSTATED)
    limits = (f"{end:.4g}" if tensor.low or tensor.high else UNSTATED for end in (tensor.low, tensor.high))
    return (shape, tensor.order, tensor.type, *scales, *limits)


def _span(values: tuple[float, ...]) -> str:
    """Return a number, or the range of the numbers of several features."""
    ends = dict.fromkeys((f"{min(values):.4g}", f"{max(values):.4g}"))
    return " to ".join(ends)
