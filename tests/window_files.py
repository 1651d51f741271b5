"""Text files of windows and the source that describes them: made up, for tests only."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from places import places

from modelreg.data.cache import Reading
from modelreg.data.recording import Dataset
from modelreg.data.sources import registry as sources
from modelreg.errors import InputError, Notice
from modelreg.records.source import WindowsSource

NAMES = ("acc_x", "gyro_x")


def described(window: int, overlap: float, **changes: Any) -> dict[str, Any]:
    """The settings of one device with two channels."""
    units = ("g", "rad/s")
    channels = [
        {"name": name, "unit": unit, "files": rf"(?P<part>\w+)/{name}\.txt"}
        for name, unit in zip(NAMES, units, strict=True)
    ]
    return {
        "kind": "windows",
        "path": ".",
        "name": "cut",
        "license": "CC0-1.0",
        "citation": "nobody, now",
        "rate_hz": 50,
        "window": window,
        "overlap": overlap,
        "devices": [{"name": "waist", "channels": channels}],
        "subject_files": r"(?P<part>\w+)/subject\.txt",
        "label_files": r"(?P<part>\w+)/y\.txt",
    } | changes


def source(window: int, overlap: float, **changes: Any) -> WindowsSource:
    """The same as a record."""
    return WindowsSource.model_validate_json(json.dumps(described(window, overlap, **changes)))


def cut(signal: np.ndarray, window: int, hop: int) -> np.ndarray:
    """Return the windows (N, C, W) of a signal (samples, C)."""
    starts = range(0, len(signal) - window + 1, hop)
    return np.array([signal[start : start + window].T for start in starts])


def texts(
    windows: np.ndarray, subjects: Sequence[str], labels: Sequence[str], part: str = "train", separator: str = " "
) -> dict[str, str]:
    """Return the files of one part, by path: windows (N, 2, W), and a subject and a label for each."""
    found = {
        f"{part}/{name}.txt": "".join(separator.join(map(repr, row)) + "\n" for row in windows[:, number].tolist())
        for number, name in enumerate(NAMES)
    }
    ids = {"subject": subjects, "y": labels}
    return found | {f"{part}/{name}.txt": "".join(f"{text}\n" for text in rows) for name, rows in ids.items()}


def write(folder: Path, found: dict[str, str]) -> Path:
    """Write files below a folder."""
    for name, text in found.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def read(folder: Path, described: WindowsSource) -> tuple[Dataset, list[str]]:
    """Read a folder without a cache; return also the notices."""
    notices: list[Notice] = []
    return sources.read(described, Reading(folder, remark=notices.append)), list(map(str, notices))


def faults(folder: Path, described: WindowsSource) -> list[tuple[str, str]]:
    """Return `(where, rule)` of each problem of a folder."""
    try:
        read(folder, described)
    except InputError as error:
        return places(error.problems)
    return []
