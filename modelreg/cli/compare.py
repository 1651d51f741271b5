"""`modelreg compare`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelreg.cli import host
from modelreg.cli.console import draw, emit_json, say, table

if TYPE_CHECKING:
    from modelreg.records.comparison import Change, Comparison


def compare(
    one: Annotated[str, typer.Argument(help="A version, or the path of a version or a run.", metavar="A")],
    other: Annotated[str, typer.Argument(help="As A; or, if A is a run, a legacy ONNX file.", metavar="B")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, for example for a pull request.")
    ] = False,
    page: Annotated[
        Path | None, typer.Option("--html", help="Also write an HTML page with plots to this file.", metavar="FILE")
    ] = None,
) -> None:
    """Compare two versions or runs.

    Shows the differences of metrics, configuration, data, size and speed. If both predicted the same windows, the
    differences have intervals over subjects and McNemar's test. The speed comes from latency.json, which `modelreg
    bench --out` writes into a run.

    A legacy ONNX file is compared with a run on training windows. Each of its outputs is compared with every output of
    the run that has the same width: projection, code, logits.

    Example: modelreg compare v0.1.0 runs/conv2d_fsq-001 --html comparison.html
    """
    if as_json and as_markdown:
        raise typer.BadParameter("--json and --markdown exclude each other")
    if Path(other).suffix == ".onnx":
        if as_markdown or page:
            raise typer.BadParameter("a comparison with an ONNX file has neither --markdown nor --html")
        _compare_graph(Path(one), Path(other), as_json=as_json)
        return
    from modelreg import files
    from modelreg.workflows import compare as compare_workflow

    if page:
        host.need_extra("train", "matplotlib")
        files.refuse_unwritable(page)
    sides = [compare_workflow.read_candidate(host.export_path(reference)) for reference in (one, other)]
    _show(compare_workflow.compare(*sides), as_json=as_json, as_markdown=as_markdown, page=page)


def _show(found: "Comparison", *, as_json: bool, as_markdown: bool, page: Path | None) -> None:
    from modelreg import files
    from modelreg.documents.report import comparison

    if page:
        files.write_atomic(page, comparison.comparison_page(found).encode())
    if as_json:
        emit_json(found.to_document())
    elif as_markdown:
        sys.stdout.write(comparison.comparison_markdown(found))
    else:
        _show_table(found)
        if page:
            say(f"page: {host.shown(page)}")


def _show_table(found: "Comparison") -> None:
    from modelreg.documents.report import comparison

    say(f"A: {found.one.reference}")
    say(f"B: {found.other.reference}")
    columns = ("metric", "A", "B", "difference", "interval")
    draw(table(columns, comparison.comparison_rows(found), right=columns[1:]), sys.stdout)
    for verdict in comparison.comparison_verdicts(found):
        say(verdict)
    for name, changes in (("configuration", found.config), ("data", found.data)):
        _show_changes(name, changes)


def _show_changes(name: str, changes: "tuple[Change, ...]") -> None:
    if not changes:
        say(f"{name}: no difference")
        return
    rows = [
        (change.path, *(json.dumps(v, ensure_ascii=False) for v in (change.one, change.other))) for change in changes
    ]
    draw(table((name, "A", "B"), rows), sys.stdout)


def _compare_graph(run: Path, graph: Path, *, as_json: bool) -> None:
    """Show the similarity of a legacy ONNX file and a run."""
    host.need_extra("export", *host.EXPORT)
    from modelreg.workflows import compare_onnx

    with host.reading() as reading:
        found = compare_onnx.compare(run, graph, reading)
    if as_json:
        outputs = [row._asdict() for row in found.likenesses]
        emit_json({"onnx_sha256": found.sha256, "windows": found.windows, "outputs": outputs})
        return
    say(f"{graph.name} compared with {host.shown(run)} on {found.windows} training windows")
    columns = ("output", "output of the run", "max. difference", "min. cosine", "mean cosine")
    rows = [(*row[:2], f"{row[2]:.3g}", f"{row[3]:.6f}", f"{row[4]:.6f}") for row in found.likenesses]
    draw(table(columns, rows, right=columns[2:]), sys.stdout)
