"""`modelreg bench`."""

from pathlib import Path
from time import perf_counter
from typing import Annotated, Literal

import typer

from modelreg.cli import host
from modelreg.cli.console import emit_json, say


def bench(
    reference: Annotated[
        str, typer.Argument(help="A version, or the path of a version, a run or a bundle.", metavar="REF")
    ],
    backend: Annotated[Literal["onnxruntime", "hailo"], typer.Option(help="What computes the device part.")] = (
        "onnxruntime"
    ),
    threads: Annotated[int, typer.Option(min=1, help="Of ONNX Runtime, for one window.")] = 1,
    windows: Annotated[int, typer.Option(min=100, help="How many are measured.")] = 2000,
    out: Annotated[Path | None, typer.Option("--out", help="Write the record here, such as latency.json.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record.")] = False,
) -> None:
    """Measure how long a window takes on this machine, from raw samples to the answer.

    The figures hold for this machine alone. As latency.json in a run's folder, they travel with its release and gates
    may bound them: `latency.p95_ms`.

    Example: modelreg bench v0.2.0 --out latency.json
    """
    host.need_extra("serve", "onnxruntime")
    from modelreg import files
    from modelreg.records.latency import LatencyRecord
    from modelreg.runtime import bench as benchmark
    from modelreg.runtime.pipeline import Pipeline

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
    for name, spread in (("a window", record), ("device part", record.device_part)):
        figures = f"p50 {spread.p50_ms:.3f} ms, p95 {spread.p95_ms:.3f} ms, p99 {spread.p99_ms:.3f} ms"
        say(f"  {name}: {figures}, at most {spread.max_ms:.3f} ms")
    say(f"  {record.windows_per_s:.0f} windows/s, one after another, {windows} of them")
