"""Miniatures of formats that people have, each read by a mapping: values, clock and labels are the right ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from csv_folder import described

from modelreg.data.cache import Reading
from modelreg.data.recording import Dataset
from modelreg.data.sources import csv
from modelreg.errors import Notice
from modelreg.records.source import CsvSource

LAYOUTS = Path(__file__).parent / "layouts"
SUBJECTS, LABELS, G = ("anna", "ben"), ("walk", "rest"), 9.80665
DATES = "%d.%m.%Y %H:%M:%S.%f"


def signal(subject: str, label: str, n: int, rate: float = 50.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return what the miniatures hold: acceleration with gravity (n, 3) in m/s², angular rate (n, 3) in rad/s."""
    r = np.random.default_rng([SUBJECTS.index(subject), LABELS.index(label), seed])
    t = np.arange(n) / rate
    amplitude = 3.0 if label == "walk" else 0.02
    moving = amplitude * np.stack([np.sin(2 * np.pi * f * t + p) for f, p in ((1.8, 0.0), (3.6, 0.5), (1.8, 1.0))], 1)
    noise = r.normal(0, 0.02, (n, 3))
    return np.array([0.0, 0.6, 0.8]) * G + moving + noise, 0.3 * moving + r.normal(0, 0.01, (n, 3))


def three(names: tuple[str | int, ...], scale: float = 1.0, unit: str = "m/s2") -> dict[str, Any]:
    """Return three axes of an accelerometer by their columns."""
    return {
        f"acc_{axis}": {"column": name, "unit": unit, "scale": scale} for axis, name in zip("xyz", names, strict=True)
    }


def read(layout: str, device: dict[str, Any], **changes: Any) -> tuple[Dataset, list[Notice]]:
    """Read a miniature with one device."""
    return read_all(layout, {"phone": device}, **changes)


def read_all(layout: str, devices: dict[str, Any], **changes: Any) -> tuple[Dataset, list[Notice]]:
    """Read a miniature."""
    notices: list[Notice] = []
    document = described(path=layout, devices=devices, **changes)
    return csv.read(CsvSource.model_validate(document, strict=False), Reading(LAYOUTS, remark=notices.append)), notices


def values_of(dataset: Dataset, name: str, device: str = "phone") -> np.ndarray:
    """Return the values of a recording."""
    return next(found for found in dataset.recordings if found.name == name).signals[device].values


def time_of(dataset: Dataset, name: str) -> np.ndarray:
    """Return the time of a recording from its beginning."""
    time = next(found for found in dataset.recordings if found.name == name).signals["phone"].time
    assert time is not None
    return time - time[0]


def test_androsensor() -> None:
    """Semicolons, units and blanks in names, integer milliseconds, an empty column."""
    axes = three(tuple(f"ACCELEROMETER {axis} (m/s²)" for axis in "XYZ"))
    dataset, _ = read(
        "androsensor",
        {
            "files": r"(?P<label>\w+)/(?P<subject>[a-z]+)(?P<session>\d+)\.csv",
            "rate_hz": 50,
            "time": {"column": "Time since start in ms", "unit": "ms"},
            "channels": axes,
        },
        label=None,
        separator=";",
    )

    assert [found.name for found in dataset.recordings] == ["anna-1-rest", "anna-1-walk", "ben-1-rest", "ben-1-walk"]
    assert np.allclose(values_of(dataset, "ben-1-walk"), signal("ben", "walk", 300)[0], atol=1e-4)
    assert np.allclose(time_of(dataset, "ben-1-walk"), np.arange(300) / 50, atol=2e-3)


def test_androsensor_by_its_date() -> None:
    """Milliseconds follow a colon."""
    dataset, _ = read(
        "androsensor",
        {
            "files": r"(?P<label>\w+)/(?P<subject>[a-z]+)\d\.csv",
            "rate_hz": 50,
            "time": {"column": "YYYY-MO-DD HH-MI-SS_SSS", "unit": "strptime", "format": "%Y-%m-%d %H:%M:%S:%f"},
            "channels": three(tuple(f"ACCELEROMETER {axis} (m/s²)" for axis in "XYZ")),
        },
        label=None,
        separator=";",
    )

    assert np.allclose(time_of(dataset, "anna-1-rest"), np.arange(300) / 50, atol=2e-3)


def test_phyphox_single() -> None:
    """Quoted names, exponents, no gravity; the fifth column is derived and left out."""
    dataset, _ = read(
        "phyphox_single",
        {
            "files": r"(?P<subject>\w+)/(?P<label>\w+)FrontPocket\.csv",
            "rate_hz": 50,
            "time": {"column": "Time (s)", "unit": "s"},
            "channels": three(tuple(f"Linear Acceleration {axis} (m/s^2)" for axis in "xyz")),
        },
        label=None,
    )
    gravity = np.array([0.0, 0.6, 0.8]) * G

    assert dataset.classes == ("Rest", "Walk")
    assert np.allclose(values_of(dataset, "Anna-1-Walk"), signal("anna", "walk", 300)[0] - gravity, atol=1e-5)


def test_physics_toolbox() -> None:
    """In g, with a time of day and a separator at the end of rows."""
    dataset, _ = read(
        "physics_toolbox",
        {
            "files": r"(?P<subject>\w+)-(?P<label>\w+)\.csv",
            "rate_hz": 50,
            "time": {"column": "time", "unit": "time-of-day"},
            "channels": three(("gFx", "gFy", "gFz"), G),
        },
        label=None,
    )

    assert np.allclose(values_of(dataset, "anna-1-walk"), signal("anna", "walk", 300)[0], atol=1e-3)
    assert np.allclose(time_of(dataset, "anna-1-walk"), np.arange(300) / 50, atol=2e-3)


def test_mbientlab() -> None:
    """Packets of three rows share a stamp: 600 rows are six seconds, evenly spread."""
    dataset, notices = read(
        "mbientlab",
        {
            "files": r"(?P<subject>[a-z]+)_(?P<label>[a-z]+)_Accelerometer\.csv",
            "rate_hz": 100,
            "time": {"column": "epoc (ms)", "unit": "ms"},
            "channels": three(("x-axis (g)", "y-axis (g)", "z-axis (g)"), G),
        },
        label=None,
    )

    assert np.allclose(time_of(dataset, "ben-1-rest"), np.arange(600) / 100, atol=1e-6)
    assert np.allclose(values_of(dataset, "ben-1-rest"), signal("ben", "rest", 600, 100)[0], atol=1e-2)
    assert "files in which several rows share each time stamp, spread evenly: 4" in [
        notice.message for notice in notices
    ]


def read_parts(layout: str, parts: list[dict[str, Any]], **changes: Any) -> Dataset:
    """Read a miniature of a device with an accelerometer and a gyroscope, each with files and a clock of its own."""
    for part, (kind, unit) in zip(parts, (("acc", "m/s2"), ("gyro", "rad/s")), strict=True):
        columns = part.pop("columns")
        part["channels"] = [
            {"name": f"{kind}_{axis}", "column": column, "unit": unit}
            for axis, column in zip("xyz", columns, strict=True)
        ]
    document = described(path=layout, label=None, **changes)
    document["devices"] = [{"name": "phone", "rate_hz": 50, "parts": parts}]
    return csv.read(CsvSource.model_validate(document, strict=False), Reading(LAYOUTS))


def test_sensor_logger() -> None:
    """A file for each sensor, 13 ms apart, axes z, y, x: one device on one clock."""
    folder, time = r"(?P<subject>\w+)/(?P<label>[a-z]+)-[^/]+", {"column": "time", "unit": "ns"}
    dataset = read_parts(
        "sensor_logger",
        [
            {"files": rf"{folder}/{sensor}\.csv", "time": time, "columns": "xyz"}
            for sensor in ("TotalAcceleration", "Gyroscope")
        ],
    )
    values = values_of(dataset, "anna-1-walk")
    acceleration, turning = signal("anna", "walk", 300)
    later = np.array([np.interp(np.arange(299) + 0.013 * 50, np.arange(300), axis) for axis in acceleration.T]).T

    assert [channel.name for channel in dataset.channels] == ["acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z"]
    assert len(values) == 299
    assert np.abs(values[:, :3] - later).mean() < 0.05
    assert np.abs(values[:, 3:] - turning[:299]).mean() < 0.01


def test_phyphox_in_german() -> None:
    """Semicolons, decimal commas, exponents, quoted names; two files, 7 ms apart."""
    folder, time = r"(?P<subject>[a-z]+)_(?P<label>[a-z]+)", {"column": "Time (s)", "unit": "s"}
    dataset = read_parts(
        "phyphox_german",
        [
            {
                "files": rf"{folder}/Accelerometer\.csv",
                "time": time,
                "columns": [f"Acceleration {axis} (m/s^2)" for axis in "xyz"],
            },
            {
                "files": rf"{folder}/Gyroscope\.csv",
                "time": time,
                "columns": [f"Gyroscope {axis} (rad/s)" for axis in "xyz"],
            },
        ],
        separator=";",
        decimal=",",
    )
    values = values_of(dataset, "ben-1-rest")

    assert np.allclose(np.linalg.norm(values[:, :3], axis=1), G, atol=0.2)
    assert (len(values), np.isnan(values).any()) == (299, False)


TWO_COLUMNS = {
    "files": r"(?P<subject>\w+)_(?P<label>\w+)\.csv",
    "rate_hz": 50,
    "time": {"column": "Timestamp", "unit": "iso8601", "plus": {"column": "Milliseconds", "unit": "ms"}},
    "channels": three(("X", "Y", "Z")),
}


@pytest.mark.parametrize(("clock", "rows"), [("sort", 299), ("drop", 298)])
def test_two_column_clock(clock, rows) -> None:
    """Two rows are swapped, and the last line is cut off: both are counted."""
    dataset, notices = read("two_column_clock", TWO_COLUMNS, label=None, clock=clock)
    expected = signal("anna", "walk", 300)[0][:299]
    expected = expected if clock == "sort" else np.delete(expected, 100, axis=0)
    done = {
        "sort": "rows out of order, sorted by time: 4",
        "drop": "rows left out because their time is not after all rows before: 4",
    }

    assert len(time_of(dataset, "anna-1-walk")) == rows
    assert np.allclose(values_of(dataset, "anna-1-walk"), expected, atol=1e-6)
    assert [notice.message for notice in notices] == [
        "files whose last line was cut off, and left out: 4",
        done[clock],
    ]


def test_daylight_saving() -> None:
    """UTF-16 and local time that is set back by an hour: six seconds without a gap."""
    dataset, _ = read(
        "daylight_saving",
        {
            "files": r"(?P<subject>\w+)\.csv",
            "rate_hz": 50,
            "time": {"column": "Zeit", "unit": "strptime", "format": DATES, "zone": "Europe/Berlin"},
            "channels": three(("ax", "ay", "az")),
        },
    )

    assert np.allclose(time_of(dataset, "ben-1"), np.arange(300) / 50, atol=1e-6)
    assert np.allclose(values_of(dataset, "ben-1"), signal("ben", "walk", 300)[0], atol=1e-4)


def test_pamap2() -> None:
    """No header, runs of blanks, NaN, three units in one file; activity 0 is unlabelled."""
    first = {"hand": 5, "chest": 22, "ankle": 39}
    devices = {
        name: {
            "files": r"Protocol/subject(?P<subject>\d+)\.dat",
            "rate_hz": 100,
            "time": {"column": 1, "unit": "s"},
            "channels": three((column, column + 1, column + 2)),
        }
        for name, column in first.items()
    }
    dataset, _ = read_all(
        "pamap2", devices, label=2, separator="blanks", header=False, labels={"4": "walk", "1": "lying", "0": None}
    )
    recording = dataset.recordings[0]

    assert (recording.subject, np.unique(recording.labels, return_counts=True)[1].tolist()) == ("101", [150, 150, 150])
    assert np.isnan(values_of(dataset, "101-1", "chest")).any(axis=1).sum() == 3
    assert np.allclose(
        values_of(dataset, "101-1", "ankle")[300:], signal("anna", "rest", 150, 100, seed=1)[0], atol=1e-4
    )


def test_mhealth() -> None:
    """Tabs, no header and no clock; the label is the last of 24 columns."""
    dataset, _ = read(
        "mhealth",
        {
            "files": r"mHealth_subject(?P<subject>\d)\.log",
            "rate_hz": 50,
            "channels": three((1, 2, 3)),
        },
        label=24,
        separator="\t",
        header=False,
        labels={"4": "walk", "2": "rest", "0": None},
    )

    assert np.allclose(values_of(dataset, "2-1")[300:], signal("ben", "rest", 150, seed=2)[0], atol=1e-4)
