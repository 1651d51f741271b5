"""A folder of text files and the source that describes it: made up, for tests only."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelreg.data.cache import Reading
from modelreg.data.recording import Dataset
from modelreg.data.sources import csv
from modelreg.errors import InputError, Problem
from modelreg.records.source import CsvSource

FILES = r"(?P<subject>\w+)_(?P<session>\w+)\.csv"
TEXT = "a,b,label\n1,2,walk\n3,4,rest\n5,6,walk\n"


def channels(a: str | int = "a", b: str | int = "b", scale: float = 1.0) -> dict[str, Any]:
    """Two channels."""
    return {"acc_x": {"column": a, "unit": "g", "scale": scale}, "acc_y": {"column": b, "unit": "g"}}


def device(**changes: Any) -> dict[str, Any]:
    """One device of two channels."""
    return {"files": FILES, "rate_hz": 50, "channels": channels()} | changes


def timed(unit: str, **changes: Any) -> dict[str, Any]:
    """The devices of a source that has time stamps."""
    return {"watch": device(time={"column": "t", "unit": unit}, **changes)}


def source(**changes: Any) -> CsvSource:
    """The settings of one device's files with a column of labels."""
    return CsvSource.model_validate_json(json.dumps(described(**changes)))


def described(**changes: Any) -> dict[str, Any]:
    """The same as a document."""
    document = {"kind": "csv", "path": ".", "name": "mine", "license": "CC0-1.0", "citation": "nobody, now"}
    document |= {"devices": {"watch": device()}, "label": "label"} | changes
    devices = [{**found, "channels": _listed(found.get("channels", {}))} for found in _listed(document["devices"])]
    return document | {"devices": devices}


def _listed(named: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a configuration lists: each thing with its name."""
    return [{"name": name, **found} for name, found in named.items()]


def write(folder: Path, texts: dict[str, str | bytes]) -> Path:
    """Write the files below a folder."""
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def read(folder: Path, texts: dict[str, str | bytes], **changes: Any) -> Dataset:
    """Write the files and read them, nothing kept."""
    return csv.read(source(**changes), Reading(write(folder, texts)))


def problems(folder: Path, texts: dict[str, str | bytes], **changes: Any) -> list[Problem]:
    """Write the files and return their problems, places relative to the folder."""
    with pytest.raises(InputError) as caught:
        read(folder, texts, **changes)
    return [
        problem._replace(where=problem.where.replace(f"{folder}/", "").replace(str(folder), "."))
        for problem in caught.value.problems
    ]
