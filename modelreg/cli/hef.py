"""`modelreg hef`: what a compiled network holds, and the way of one into a run's bundle."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelreg.cli import host
from modelreg.cli.console import draw, emit_json, say, table

if TYPE_CHECKING:
    from modelreg.records.hef import HefGroup, HefInfo, HefTensor

app = typer.Typer(help="Look at compiled networks (HEF), take one into a bundle.", no_args_is_help=True)

COLUMNS = ("", "name", "shape", "order", "type", "scale", "zero", "from", "to")


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A compiled network, .hef.", metavar="FILE")],
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
) -> None:
    """Say what a HEF holds, without Hailo's software.

    Its checksum is verified; a file that is damaged, or none, is exit 3.

    Example: modelreg hef inspect conv2d_fsq.hef
    """
    from modelreg.artifacts import hef_file

    info = hef_file.read_hef(file).info
    if as_json:
        emit_json(info.to_document())
    else:
        _show(file.name, info)


@app.command()
def attach(
    run: Annotated[Path, typer.Argument(help="The run that the bundle was exported from.", metavar="RUN")],
    file: Annotated[Path, typer.Argument(help="What the compiler made of the bundle, .hef.", metavar="FILE")],
    max_mb: Annotated[int, typer.Option("--max-mb", min=1, help="The largest file to take, in MiB.")] = 32,
) -> None:
    """Take a HEF into a run's bundle, if it fits.

    Chip, names, shapes and orders must be the bundle's, and the input must take the range of the calibration data;
    otherwise nothing is written, exit 4. A version that is released gets a HEF as a new version:
    modelreg release vX.Y.Z --from REF --hef FILE

    Example: modelreg hef attach runs/conv2d_fsq-001 conv2d_fsq.hef
    """
    from modelreg.artifacts import attach_hef, hef_file

    found = hef_file.read_hef(file)
    place = attach_hef.attach(run, found, max_mb * 2**20)
    say(f"{host.shown(place)}: compiled for {found.info.hw_arch}; it fits the bundle, and is in its archive too")
    model = found.info.network_groups[0].name
    say(f"next: modelreg release {host.next_version(model)} --run {host.shown(run)}")


def _show(name: str, info: "HefInfo") -> None:
    from modelreg.artifacts import hef_compatibility

    verified = f"{info.checksum} of {'its description' if info.checksum_of == 'description' else 'all'} verified"
    say(f"{name}: {info.size} bytes, header version {info.header_version}, {verified}")
    say(f"sha256 {info.sha256}")
    runs_on = " and ".join(hef_compatibility.RUNS_ON.get(info.hw_arch, ())) or "none of the Hailo-8 line"
    say(f"compiled for {info.hw_arch} (code {info.hw_arch_code}); runs on {runs_on}")
    say(f"by Dataflow Compiler {info.compiler or '(not stated)'}, {info.created or 'no date'}")
    for group in info.network_groups:
        _show_group(group)


def _show_group(group: "HefGroup") -> None:
    say()
    say(f"{group.name}: {group.contexts} context{'' if group.contexts == 1 else 's'}")
    if group.estimated_bottleneck_fps is not None:
        fps = f"{group.estimated_bottleneck_fps:,.0f} FPS"
        say(f"compiler's estimate, slowest layer: {fps}; not measured, not latency")
    if group.host_operations:
        say(f"HailoRT adds on the host: {', '.join(group.host_operations)}")
    tensors = [*(("in", each) for each in group.inputs), *(("out", each) for each in group.outputs)]
    rows = [(side, each.name.removeprefix(f"{group.name}/"), *_cells(each)) for side, each in tensors]
    draw(table(COLUMNS, rows, right=COLUMNS[5:]), sys.stdout)


def _cells(tensor: "HefTensor") -> tuple[str, ...]:
    shape = " x ".join(map(str, tensor.shape))
    numbers = (_span(tensor.scale), _span(tensor.zero_point), f"{tensor.low:.4g}", f"{tensor.high:.4g}")
    return (shape, tensor.order, tensor.type, *numbers)


def _span(values: tuple[float, ...]) -> str:
    """Return a number, or the ends of those of many features."""
    ends = dict.fromkeys((f"{min(values):.4g}", f"{max(values):.4g}"))
    return " to ".join(ends)
