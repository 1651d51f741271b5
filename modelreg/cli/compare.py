"""`modelreg compare`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from modelreg.cli import environment
from modelreg.cli.console import draw, emit_json, say, table


def compare(
    run: Annotated[Path, typer.Argument(help="A run's folder.", metavar="RUN")],
    other: Annotated[Path, typer.Argument(help="An ONNX file of older code.", metavar="ONNX")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Show how near an ONNX file of older code comes to a run.

    Both answer the same windows of the training part, normalized as the run does. Each output of the file stands beside
    whatever the run has of the same width: its projection, its code, its logits.

    Example: modelreg compare runs/conv2d_fsq-001 old.onnx
    """
    if other.suffix != ".onnx":
        raise typer.BadParameter("must be an .onnx file", param_hint="ONNX")
    environment.need_extra("export", *environment.EXPORT)
    from modelreg import likeness

    with environment.reading() as reading:
        found = likeness.compare(run, other, reading)
    if as_json:
        outputs = [row._asdict() for row in found.likenesses]
        emit_json({"onnx_sha256": found.sha256, "windows": found.windows, "outputs": outputs})
        return
    say(f"{other.name} beside {environment.shown(run)}, on {found.windows} windows of the training part")
    columns = ("output", "beside", "largest difference", "least cosine", "mean cosine")
    rows = [(*row[:2], f"{row[2]:.3g}", f"{row[3]:.6f}", f"{row[4]:.6f}") for row in found.likenesses]
    draw(table(columns, rows, right=columns[2:]), sys.stdout)
