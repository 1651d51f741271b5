"""Write the inputs that scripts/make_fixtures.sh cannot get from a command, from the embedded recordings.

    python scripts/fixture_inputs.py csv FOLDER          recordings of s06 to s10 as text files, one side
    python scripts/fixture_inputs.py npy FOLDER          windows of three splits, two devices
    python scripts/fixture_inputs.py checkpoint RUN PTH  a run's weights under the names of legacy code, and the scale
    python scripts/fixture_inputs.py hef VERSION HEF     a HEF that fits a version's bundle, by tests/hef_builder.py

Hailo's compiler is not available: the HEF has the layout of a real one, and noise where only the chip reads.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hef_builder
import numpy as np
import torch
from safetensors.torch import load_file

from modelreg.data.recording import Recording
from modelreg.data.sources import sample

WINDOW, HOP = 32, 100  # samples
PARTS = {"train": ("s01", "s02", "s03", "s04"), "validation": ("s05", "s06"), "test": ("s07", "s08", "s09", "s10")}
OLD_NAMES = {  # modelreg.ml.factory -> the network in the README of the legacy code
    "device_part.projection": "fsq_projection",
    "device_part": "",
    "host_part.head": "classifier",
}


def write_csv(folder: Path) -> None:
    """Write a text file for each recording of the last five subjects, with the acceleration only."""
    folder.mkdir(parents=True)
    for recording in _right_hands():
        if recording.subject >= "s06":
            rows = (",".join(f"{value:.3f}" for value in row) for row in _values(recording)[:, :3])
            (folder / f"{recording.name}.csv").write_text("\n".join(("x,y,z", *rows, "")))


def write_npy(folder: Path) -> None:
    """Write windows (N, 3, 2, 32) in three splits, and the document that declares them."""
    folder.mkdir(parents=True)
    for part, subjects in PARTS.items():
        chosen = [recording for recording in _right_hands() if recording.subject in subjects]
        cut = [_windows(recording) for recording in chosen]
        counts = [len(windows) for windows in cut]
        np.save(folder / f"{part}_x.npy", np.concatenate(cut))
        np.save(folder / f"{part}_y.npy", np.repeat([int(each.labels[0]) for each in chosen], counts))
        np.save(folder / f"{part}_subject.npy", np.repeat([each.subject for each in chosen], counts))
    document = {
        "schema_version": 1,
        "name": "seglearn-watch-sensors",
        "license": "BSD-3-Clause",
        "citation": sample.CITATION,
        "layout": "NCDT",
        "channels": [{"name": axis, "unit": "g or rad/s"} for axis in "xyz"],
        "devices": ["accelerometer", "gyroscope"],
        "classes": list(sample.CLASSES),
        "rate_hz": sample.RATE_HZ,
        "timesteps": WINDOW,
        "parts": {part: {key: f"{part}_{key}.npy" for key in ("x", "y", "subject")} for part in PARTS},
    }
    (folder / "dataset.json").write_text(json.dumps(document))


def write_checkpoint(run: Path, target: Path) -> None:
    """Write the weights of a run under the names of legacy code, and a JSON with mean and deviation."""
    old = {_old_name(name): tensor for name, tensor in load_file(run / "checkpoint.safetensors").items()}
    torch.save({"epoch": 3, "model_state_dict": old}, target)
    scale = json.loads((run / "normalization.json").read_text())
    stated = {"normalization": {"zscore_mean": scale["mean"][0], "zscore_std": scale["std"][0]}}
    target.with_suffix(".json").write_text(json.dumps(stated))


def write_hef(version: Path, target: Path) -> None:
    """Write a HEF with the names, shapes and ranges of a version's Hailo-8 bundle."""
    bundle = json.loads((version / "hailo8" / "bundle.json").read_text())
    found = bundle["calibration"]
    span = (min(found["low"]), max(found["high"]))
    features = bundle["output"]["shape"][-1]
    group = hef_builder.network(bundle["network"], tuple(bundle["device_input"]), features, span)
    target.write_bytes(hef_builder.hef(group))


def _right_hands() -> Iterator[Recording]:
    return (recording for recording in sample.read().recordings if recording.session == "right")


def _values(recording: Recording) -> np.ndarray:
    return recording.signals[sample.DEVICE].values


def _windows(recording: Recording) -> np.ndarray:
    """Return the windows (N, 3, 2, 32) of a recording: channels, devices, timesteps."""
    values = _values(recording)
    starts = range(0, len(values) - WINDOW + 1, HOP)
    return np.stack([values[start : start + WINDOW].reshape(WINDOW, 2, 3).transpose(2, 1, 0) for start in starts])


def _old_name(name: str) -> str:
    new, old = next((new, old) for new, old in OLD_NAMES.items() if name.startswith(new))
    return f"{old}{name.removeprefix(new)}".removeprefix(".")


COMMANDS: dict[str, Callable[..., None]] = {
    "csv": write_csv,
    "npy": write_npy,
    "checkpoint": write_checkpoint,
    "hef": write_hef,
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*map(Path, sys.argv[2:]))
