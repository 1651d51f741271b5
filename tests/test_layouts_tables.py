"""Miniatures in which columns, lists of intervals or the lines before the header tell what a recording is."""

from typing import Any

import numpy as np
import pytest
from test_layouts import G, read, read_all, signal, three, time_of, values_of

from modelreg.data.recording import Dataset

ANNOTATED = {"label": None, "on_bad_row": "error"}


def labels_of(dataset: Dataset, name: str) -> list[str | None]:
    """Return the label of every row of a recording; None: unlabelled."""
    recording = next(found for found in dataset.recordings if found.name == name)
    return [None if code < 0 else dataset.classes[code] for code in recording.labels.tolist()]


def names_of(dataset: Dataset) -> list[str]:
    """Return the names of the recordings."""
    return [recording.name for recording in dataset.recordings]


def test_one_table() -> None:
    """A compressed file with everybody's rows: subject and session in columns, time restarting with each."""
    dataset, _ = read(
        "one_table",
        {
            "files": r"all\.csv\.gz",
            "rate_hz": 50,
            "time": {"column": "t_s", "unit": "s"},
            "channels": three(("ax", "ay", "az")),
        },
        subject="subject_id",
        session="session",
        label="activity",
        clock="restart",
    )

    assert names_of(dataset) == [f"{s}-{n}" for s in ("anna", "ben") for n in ("1", "1.2", "2", "2.2")]
    assert {recording.subject for recording in dataset.recordings} == {"anna", "ben"}
    assert [labels_of(dataset, f"ben-{n}")[0] for n in ("1", "1.2", "2", "2.2")] == ["walk", "rest"] * 2
    assert [len(recording.labels) for recording in dataset.recordings] == [150] * 8


def test_long_format() -> None:
    """A row is the event of one sensor, told by a column."""
    parts = [
        {
            "files": r"(?P<subject>\w+)/(?P<label>\w+)\.txt",
            "time": {"column": 1, "unit": "ns"},
            "rows": {"column": 2, "text": sensor},
            "channels": [{"name": f"{kind}_{axis}", "column": 3 + n, "unit": unit} for n, axis in enumerate("xyz")],
        }
        for sensor, kind, unit in (("0", "acc", "m/s2"), ("4", "gyro", "rad/s"))
    ]
    document = {"phone": {"rate_hz": 50, "parts": parts}}
    dataset, _ = read_all("long_format", document, label=None, header=False, separator=";")
    values = values_of(dataset, "anna-1-walk")

    assert names_of(dataset) == ["anna-1-rest", "anna-1-walk", "ben-1-rest", "ben-1-walk"]
    assert len(values) == 299
    assert np.abs(values[:, 3:] - signal("anna", "walk", 300)[1][:299]).mean() < 0.01


def actigraph(**changes: Any) -> Dataset:
    """Read the miniature: ten lines before the header tell the date, each file in its own form."""
    forms = {"M/d/yyyy": "%H:%M:%S %m/%d/%Y", "dd/MM/yyyy": "%H:%M:%S %d/%m/%Y"}
    device = {
        "files": r"(?P<subject>\w+)RAW\.csv",
        "rate_hz": 30,
        "start": [
            {
                "pattern": rf"date format {form} at (?P<rate>\d+) Hz[\s\S]*Start Time (\S+)\s+Start Date (\S+)",
                "format": text,
            }
            for form, text in forms.items()
        ],
        "channels": three(tuple(f"Accelerometer {axis}" for axis in "XYZ"), G),
    }
    annotations = {
        "files": r"annotations\.csv",
        "subject": "subject",
        "begin": "start",
        "end": "end",
        "label": "label",
        "unit": "iso8601",
    }
    return read("actigraph", device | changes, label=None, skip=10, annotations=annotations)[0]


def test_actigraph() -> None:
    """Annotations are on the wall clock, which the header starts."""
    dataset = actigraph()

    assert names_of(dataset) == ["anna-1", "ben-1"]
    for name in ("anna", "ben"):
        assert labels_of(dataset, f"{name}-1") == ["walk"] * 180 + ["rest"] * 180
    assert np.allclose(values_of(dataset, "ben-1")[:180], signal("ben", "walk", 180, 30)[0], atol=0.01)


def test_axivity() -> None:
    """No header; intervals have a file, an onset from the first sample, and a duration."""
    device = {
        "files": r"(?P<subject>\w+)\.csv",
        "rate_hz": 50,
        "time": {"column": 1, "unit": "iso8601"},
        "channels": three((2, 3, 4), G),
    }
    annotations = {
        "files": r"labels\.tsv",
        "separator": "\t",
        "file": "file",
        "begin": "onset",
        "duration": "duration",
        "label": "behaviour",
        "unit": "s",
        "clock": "start",
    }
    dataset, notices = read("axivity", device, label=None, header=False, annotations=annotations)

    assert labels_of(dataset, "anna-1") == ["walk"] * 300 + ["rest"] * 300
    assert notices == []


def test_boris() -> None:
    """Starts and stops become intervals; the last sample is at the stop."""
    device = {
        "files": r"(?P<subject>[a-z]+)\.csv",
        "rate_hz": 50,
        "time": {"column": "t", "unit": "s"},
        "channels": three(("ax", "ay", "az")),
    }
    annotations = {
        "files": r"\w+_events\.csv",
        "subject": "Subject",
        "begin": "Time",
        "events": {"column": "Status"},
        "label": "Behavior",
        "unit": "s",
    }
    dataset, notices = read("boris", device, label=None, annotations=annotations)

    assert labels_of(dataset, "ben-1") == ["walk"] * 300 + ["rest"] * 300
    assert notices == []


def test_wisdm_1() -> None:
    """Two rows on one line, `,;` at the end, an empty value, an empty line, a time of 0: four rows are lost."""
    device = {
        "files": r".*_raw\.txt",
        "rate_hz": 20,
        "time": {"column": 3, "unit": "ns"},
        "channels": three((4, 5, 6)),
    }
    settings = {"subject": 1, "session": 2, "label": 2, "header": False, "row_end": ";", "clock": "drop"}
    dataset, notices = read("wisdm_v1", device, **settings, on_bad_row="skip")

    assert names_of(dataset) == ["33-Sitting", "33-Walking", "34-Sitting", "34-Walking"]
    assert sum(len(recording.labels) for recording in dataset.recordings) == 396
    assert "bad rows, left out: 1 of 397" in [notice.message for notice in notices]
    assert np.isnan(values_of(dataset, "33-Walking")).sum() == 1


def test_wisdm_2() -> None:
    """Phone and watch with two files each; labels are letters, which the configuration names."""
    devices = {
        device: {
            "rate_hz": 20,
            "parts": [
                {
                    "files": rf"raw/{device}/{sensor}/data_(?P<subject>\d+)_{sensor}_{device}\.txt",
                    "time": {"column": 3, "unit": "ns"},
                    "channels": [
                        {"name": f"{sensor}_{axis}", "column": 4 + n, "unit": unit} for n, axis in enumerate("xyz")
                    ],
                }
                for sensor, unit in (("accel", "m/s2"), ("gyro", "rad/s"))
            ],
        }
        for device in ("phone", "watch")
    }
    settings = {"label": 2, "labels": {"A": "walk", "D": "rest"}, "header": False, "row_end": ";", "clock": "restart"}
    dataset, _ = read_all("wisdm_v2", devices, **settings)

    assert names_of(dataset) == ["1600-1", "1600-1.2", "1601-1", "1601-1.2"]
    assert [labels_of(dataset, name)[0] for name in ("1600-1", "1600-1.2")] == ["A", "D"]
    watch = values_of(dataset, "1601-1", "watch")
    assert np.allclose(watch, np.hstack(signal("ben", "walk", 120, 20, seed=5)), atol=1e-5)


def test_motionsense() -> None:
    """Gravity is apart, and is added to the user acceleration."""
    axes = [
        {
            "name": f"acc_{axis}",
            "column": f"userAcceleration.{axis}",
            "plus": f"gravity.{axis}",
            "unit": "g",
            "gravity": "included",
        }
        for axis in "xyz"
    ]
    device = {
        "files": r"(?P<label>[a-z]+)_(?P<session>\d+)/sub_(?P<subject>\d+)\.csv",
        "rate_hz": 50,
        "channels": {axis.pop("name"): axis for axis in axes},
    }
    dataset, _ = read("motionsense", device, label=None)

    assert names_of(dataset) == ["1-5-sit", "1-7-wlk", "2-5-sit", "2-7-wlk"]
    assert np.allclose(values_of(dataset, "2-7-wlk") * G, signal("ben", "walk", 300)[0], atol=1e-4)
    assert [channel.gravity for channel in dataset.channels] == ["included"] * 3


@pytest.mark.parametrize("column", [{"pattern": "^user.*x$"}, 8])
def test_a_column_by_pattern_or_number(column) -> None:
    """A header may be long, or differ from file to file."""
    device = {
        "files": r"(?P<label>[a-z]+)_(?P<session>\d+)/sub_(?P<subject>\d+)\.csv",
        "rate_hz": 50,
        "channels": {"acc_x": {"column": column, "unit": "g"}},
    }
    dataset, _ = read("motionsense", device, label=None)
    expected = signal("anna", "walk", 300)[0][:, 0] / G

    assert np.allclose(values_of(dataset, "1-7-wlk")[:, 0], expected, atol=1e-5)


def test_time_of_a_header_is_that_of_the_samples() -> None:
    """Row n was sampled at the start plus n / rate_hz."""
    assert np.allclose(time_of(actigraph(), "anna-1"), np.arange(360) / 30)


def test_usc_had() -> None:
    """MATLAB files: a matrix of six columns, the activity and the trial in the name."""
    device = {
        "files": r"Subject(?P<subject>\d+)/(?P<label>a\d+)t(?P<session>\d+)\.mat",
        "rate_hz": 100,
        "channels": three((1, 2, 3), unit="g")
        | {f"gyro_{axis}": {"column": 4 + n, "unit": "deg/s"} for n, axis in enumerate("xyz")},
    }
    dataset, _ = read("usc_had", device, label=None)
    found = values_of(dataset, "2-1-a1")
    acceleration, turning = signal("ben", "walk", len(found), 100)

    assert names_of(dataset) == ["1-1-a1", "1-1-a2", "2-1-a1", "2-1-a2"]
    assert np.allclose(found[:, :3] * G, acceleration, atol=1e-3)
    assert np.allclose(np.deg2rad(found[:, 3:]), turning, atol=1e-3)


def test_sensor_logger_in_zips() -> None:
    """A zip is a recording: the same samples as those of the folders."""
    parts = [
        {
            "files": rf"(?P<subject>[a-z]+)_(?P<label>[a-z]+)-[^/]+\.zip/(?:[^/]+/)*{sensor}\.csv",
            "time": {"column": "time", "unit": "ns"},
            "channels": [{"name": f"{kind}_{axis}", "column": axis, "unit": unit} for axis in "xyz"],
        }
        for sensor, kind, unit in (("TotalAcceleration", "acc", "m/s2"), ("Gyroscope", "gyro", "rad/s"))
    ]
    dataset, _ = read_all("sensor_logger_zip", {"phone": {"rate_hz": 50, "parts": parts}}, label=None)
    folders = [part | {"files": part["files"].replace("_(", "/(").replace(r"\.zip", "")} for part in parts]
    same, _ = read_all("sensor_logger", {"phone": {"rate_hz": 50, "parts": folders}}, label=None)

    assert names_of(dataset) == ["anna-1-rest", "anna-1-walk", "ben-1-rest", "ben-1-walk"]
    assert np.array_equal(values_of(dataset, "ben-1-walk"), values_of(same, "ben-1-walk"))
