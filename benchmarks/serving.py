"""Measure requests per second of the HTTP server on loopback: `python benchmarks/serving.py [EXPORT] [SECONDS]`.

Needs wrk. Prints for 1, 8 and 64 connections the rate, the quantiles, the server's CPU time per request, the share of
the inference in it (ONNX Runtime and the host part, from /metrics), and the server's memory before and after. wrk
uses the same cores.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from modelreg.runtime import bundle_loader, self_test

EXAMPLE = Path(__file__).parents[1] / "registry" / "conv2d_fsq" / "v0.2.0"
CONNECTIONS = (1, 8, 64)
TICKS = os.sysconf("SC_CLK_TCK")
SCRIPT = """
wrk.method, wrk.body = "POST", io.open("{body}", "rb"):read("*all")
wrk.headers["Content-Type"] = "application/json"
done = function(summary, latency)
  local p50, p95, p99 = latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3
  local rate, refused = summary.requests / summary.duration * 1e6, summary.errors.status
  io.write(string.format("%.0f requests/s, p50 %.2f p95 %.2f p99 %.2f ms, %d refused", rate, p50, p95, p99, refused))
end
"""


def main(export: Path, seconds: int) -> None:
    """Serve, measure and print."""
    loaded = bundle_loader.read_export(export)
    window = self_test.windows_of(loaded)[0].transpose(1, 2, 0)  # (D, T, C)
    x = window[0] if len(window) == 1 else window
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        body, script = Path(folder, "body.json"), Path(folder, "post.lua")
        body.write_text(json.dumps({"x": [[round(v, 6) for v in row] for row in x.tolist()]}))
        script.write_text(SCRIPT.format(body=body))
        free.close()
        command = [sys.executable, "-m", "modelreg", "serve", str(export), "--port", str(port)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            print(server.stdout.readline().strip(), f"{body.stat().st_size} bytes a request, {memory(server.pid)}")
            for connections in CONNECTIONS:
                print(f"{connections} connections:", asked(port, server.pid, connections, seconds, script))
            print(memory(server.pid))
            server.terminate()


def asked(port: int, pid: int, connections: int, seconds: int, script: Path) -> str:
    """Run wrk and return its results and the CPU time of the server."""
    before = (cpu_s(pid), *inference(port))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script, f"http://127.0.0.1:{port}/infer"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    cpu, spent, count = (now - then for now, then in zip((cpu_s(pid), *inference(port)), before, strict=True))
    return f"{found}; {cpu / count * 1e6:.0f} µs of CPU a request; inference {spent / count * 1e6:.0f} µs of wall time"


def inference(port: int) -> tuple[float, float]:
    """Return seconds and count of the answered windows."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    total, count = (re.search(rf"^modelreg_inference_seconds_{n} (\S+)", text, re.MULTILINE) for n in ("sum", "count"))
    return float(total[1]), float(count[1])


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid: int) -> str:
    """Return the resident memory of a process."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return f"{int(found[1]) / 1024:.1f} MiB resident"


if __name__ == "__main__":
    chosen = Path(sys.argv[1]) if len(sys.argv) > 1 else EXAMPLE
    main(chosen, int(sys.argv[2]) if len(sys.argv) > 2 else 6)
