"""Compare the runtime with bare ONNX Runtime on the same graphs: `python benchmarks/runtime.py [EXPORT]`.

Both answer the same windows alternately in one process, with one thread each, so that neither has a quieter machine.
Start-up and memory are those of a new process that has loaded an export and answered one window.
"""

import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numpy as np

from modelreg.artifacts import ort_session
from modelreg.records.export import CODE, LOGITS, PROJECTION, WINDOWS
from modelreg.runtime import self_test
from modelreg.runtime.pipeline import Pipeline

EXAMPLE = Path(__file__).parents[1] / "registry" / "conv2d_fsq" / "v0.2.0"
ROUNDS = 20_000
PROBE = """
import sys
from time import perf_counter
start = perf_counter()
from pathlib import Path
from modelreg.runtime import self_test
from modelreg.runtime.pipeline import Pipeline
imported = perf_counter()
pipeline = Pipeline.load(Path(sys.argv[1]))
pipeline.infer(self_test.windows_of(pipeline.package)[0])
done = perf_counter()
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
import json
print(json.dumps([imported - start, done - start, int(peak) / 1024]))
"""


def side_by_side(export: Path) -> None:
    """Print the quantiles of both, and the difference."""
    pipeline = Pipeline.load(export)
    encoder, head = (ort_session.session(pipeline.package.graphs[name]) for name in ("encoder", "head"))
    raw = self_test.windows_of(pipeline.package)
    fed = [pipeline.fed(window)[None] for window in raw]

    def bare(number: int) -> None:
        projection = encoder.run([PROJECTION], {WINDOWS: fed[number % len(fed)]})[0]
        head.run([CODE, LOGITS], {PROJECTION: projection})

    def ours(number: int) -> None:
        pipeline.infer(raw[number % len(raw)])

    taken = np.empty((ROUNDS, 2))
    for number in range(-500, ROUNDS):
        for column, work in enumerate((bare, ours)):
            start = perf_counter()
            work(number)
            taken[number, column] = perf_counter() - start
    quantiles = np.percentile(taken, (50, 95, 99), axis=0) * 1e6
    for name, row in zip(("p50", "p95", "p99"), quantiles, strict=True):
        print(f"{name}: onnxruntime {row[0]:.1f} µs, runtime {row[1]:.1f} µs, +{row[1] - row[0]:.1f} µs")


def fresh_processes(export: Path, count: int = 10) -> None:
    """Print the best and the median of start-ups, and the peak of memory."""
    runs = []
    for _ in range(count):
        start = perf_counter()
        done = subprocess.run([sys.executable, "-c", PROBE, str(export)], capture_output=True, check=True)
        runs.append([*json.loads(done.stdout), perf_counter() - start])
    best, middle = np.min(runs, axis=0), np.median(runs, axis=0)
    for name, place in (("imports", 0), ("ready, one window answered", 1), ("the whole process", 3)):
        print(f"{name}: best {best[place]:.3f} s, median {middle[place]:.3f} s of {count}")
    print(f"peak memory: {middle[2]:.0f} MiB")


if __name__ == "__main__":
    chosen = Path(sys.argv[1]) if len(sys.argv) > 1 else EXAMPLE
    side_by_side(chosen)
    fresh_processes(chosen)
