"""Measure the peak memory of preparing data, compared with the limit: twice the data of one subject plus the windows.

    python benchmarks/memory.py [DSADS] [HAPT]

DSADS and HAPT are folders as described in docs/data.md. Two more sets are generated in a temporary folder: many
subjects as CSV files, and the same as windows in .npy files. Each set is prepared twice in a new process: first
parsed, then from the cache. The result is the highest resident set (VmHWM) minus the one after all imports; pages of
mapped files count. Data are counted in float32 with all channels of the devices in use, twice for the largest
subject.
"""

import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

PEOPLE, SESSIONS, SAMPLES, RATE_HZ, WINDOW = 12, 4, 80_000, 50, 100
CHANNELS = [f"{sensor}_{axis}" for sensor in ("acc", "gyro") for axis in "xyz"]
MIB = 2**20


def status(name: str) -> int:
    """Return a line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def measure(document: dict[str, Any], folder: Path) -> dict[str, int]:
    """Prepare a configuration in this process; return the bytes that it took and the bytes allowed."""
    importlib.import_module("pandas")  # otherwise sources and clocks import it during the measurement
    importlib.import_module("scipy.signal")

    from modelreg import config
    from modelreg.config import TrainConfig
    from modelreg.data import preparation
    from modelreg.data.cache import Reading

    settings = config.settle(document, TrainConfig, "benchmark")
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    baseline = status("VmRSS")
    prepared = preparation.prepare(settings, Reading(folder, folder / "cache"))
    peak = status("VmHWM") - baseline
    row = 4 * len(prepared.input.channels) * len(prepared.input.devices)
    people: dict[str, int] = {}
    for recording in prepared.quality.recordings:
        people[recording.subject] = people.get(recording.subject, 0) + recording.samples * row
    windows = sum(part.x.nbytes for part in prepared.windows.values())
    return {"peak": peak, "subject": max(people.values()), "data": sum(people.values()), "windows": windows}


def in_a_fresh_process(document: dict[str, Any], folder: Path) -> dict[str, int]:
    """Return the result of `measure` in a new process."""
    command = [sys.executable, __file__, "--measure", json.dumps(document), str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found


def bound(found: dict[str, int]) -> int:
    """Return the bytes that preparing may take."""
    return 2 * found["subject"] + found["windows"]


def write_csv(folder: Path, people: int, samples: int) -> dict[str, Any]:
    """Write SESSIONS recordings of noise for each subject; return the configuration that reads them."""
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b"], samples // 2)
    for person in range(people):
        for session in range(SESSIONS):
            rows = rng.normal(size=(samples, len(CHANNELS))).astype(np.float32)
            lines = (f"{','.join(map(str, row))},{label}" for row, label in zip(rows.tolist(), labels, strict=True))
            text = "\n".join([",".join([*CHANNELS, "label"]), *lines])
            (folder / f"s{person:02d}-{session}.csv").write_text(text)
    source = {
        "kind": "csv",
        "path": ".",
        "name": "made-up",
        "license": "CC0-1.0",
        "citation": "none",
        "label": "label",
        "labels": {"a": "a", "b": "b"},
        "devices": [
            {
                "name": "watch",
                "files": r"(?P<subject>s\d+)-(?P<session>\d+)\.csv",
                "rate_hz": RATE_HZ,
                "channels": [{"name": name, "column": name, "unit": "1"} for name in CHANNELS],
            }
        ],
    }
    return {"data": {"sources": [source], "window": WINDOW, "hop": WINDOW}}


def write_npy(folder: Path, people: int, samples: int) -> dict[str, Any]:
    """Write the same number of noise windows as .npy files; return the configuration that reads them."""
    rng = np.random.default_rng(0)
    each = SESSIONS * samples // WINDOW
    np.save(folder / "x.npy", rng.normal(size=(people * each, len(CHANNELS), 1, WINDOW)).astype(np.float32))
    np.save(folder / "y.npy", np.tile([0, 1], people * each // 2))
    np.save(folder / "subject.npy", np.repeat(np.arange(people), each))
    declared = {
        "schema_version": 1,
        "name": "made-up",
        "license": "CC0-1.0",
        "citation": "none",
        "layout": "NCDT",
        "channels": [{"name": name, "unit": "1"} for name in CHANNELS],
        "devices": ["watch"],
        "classes": ["a", "b"],
        "rate_hz": float(RATE_HZ),
        "timesteps": WINDOW,
        "parts": {"all": {"x": "x.npy", "y": "y.npy", "subject": "subject.npy"}},
    }
    (folder / "set.json").write_text(json.dumps(declared))
    return {"data": {"sources": [{"kind": "npy", "path": "set.json"}], "window": WINDOW, "hop": WINDOW}}


def report(name: str, document: dict[str, Any], folder: Path) -> None:
    """Print the memory of preparing a set, parsed and from the cache."""
    for how in ("parsed", "from the cache"):
        found = in_a_fresh_process(document, folder)
        sizes = ", ".join(f"{part} {found[part] / MIB:.0f}" for part in ("data", "subject", "windows"))
        ratio = found["peak"] / bound(found)
        figures = f"peak {found['peak'] / MIB:.0f} of {bound(found) / MIB:.0f} MiB, ratio {ratio:.2f}"
        print(f"{name}, {how}: {figures} ({sizes})", flush=True)


def main(places: list[str]) -> None:
    """Measure every set."""
    for place, source in zip(
        places, ({"kind": "dsads", "units": ["T", "RA", "LA", "RL", "LL"]}, {"kind": "hapt"}), strict=False
    ):
        with tempfile.TemporaryDirectory() as folder:
            data = {"sources": [{**source, "path": str(Path(place).resolve())}]}
            report(source["kind"], {"data": data, "split": {"by": "subject", "test": 1, "validation": 1}}, Path(folder))
    for write in (write_csv, write_npy):
        with tempfile.TemporaryDirectory() as folder:
            report(write.__name__.removeprefix("write_"), write(Path(folder), PEOPLE, SAMPLES), Path(folder))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(json.loads(sys.argv[2]), Path(sys.argv[3]))))
    else:
        main(sys.argv[1:])
