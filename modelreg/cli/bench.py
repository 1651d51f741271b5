"""`modelreg bench`."""

from pathlib import Path
from time import perf_counter
from typing import Annotated, Literal

import typer

from modelreg.cli import host
from modelreg.cli.console import emit_json, say


def bench(
    reference: Annotated[
        str, typer.Argument(help="A version, or the path of a version, run or bundle.", metavar="REF")
    ],
    backend: Annotated[Literal["onnxruntime", "hailo"], typer.Option(help="The backend for the device part.")] = (
        "onnxruntime"
    ),
    threads: Annotated[int, typer.Option(min=1, help="Threads of ONNX Runtime.", metavar="N")] = 1,
    windows: Annotated[int, typer.Option(min=100, help="The number of windows to measure.", metavar="N")] = 2000,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the figures to this file as JSON.", metavar="FILE")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure the latency of a model on this machine.

    Times single windows, from raw samples to the result. Export a run first: modelreg export

    The figures are valid for this machine only. Write them with --out to latency.json in the run's folder to include
    them in its release. A gate on `latency.p95_ms` can then limit them.

    Example: modelreg bench runs/conv2d_fsq-001
    """
    host.need_extra("serve", "onnxruntime")
    from modelreg import files
    from modelreg.records.latency import LatencyRecord
    from modelreg.runtime import bench as benchmark
    from modelreg.runtime.pipeline import Pipeline

    if out:
        files.refuse_unwritable(out)
    with Pipeline.load(host.export_path(reference), backend, threads) as pipeline:
        measured = benchmark.measure_latency(pipeline, windows, perf_counter)
    record = LatencyRecord(
        model=pipeline.spec.settings.name,
        version=pipeline.package.version,
        backend=backend,
        sha256=pipeline.sha256,
        threads=threads,
        windows=windows,
        warm_up=benchmark.WARM_UP,
        measured=host.now(),
        hardware=host.hardware(),
        packages=host.runtime_packages(),
        **measured.latency.to_document(),
        device_part=measured.device_part,
        windows_per_s=measured.windows_per_s,
    )
    if out:
        files.write_atomic(out, record.to_bytes())
    if as_json:
        emit_json(record.to_document())
        return
    hardware = record.hardware
    say(f"{pipeline.name} on {backend}, {hardware.board or hardware.processor or hardware.machine}")
    for name, spread in (("whole window", record), ("device part", record.device_part)):
        figures = f"median {spread.p50_ms:.3f} ms, p95 {spread.p95_ms:.3f} ms, p99 {spread.p99_ms:.3f} ms"
        say(f"  {name}: {figures}, maximum {spread.max_ms:.3f} ms")
    say(f"  throughput: {record.windows_per_s:,.0f} windows/s (sequential, {windows:,} windows)")
