"""Shipped configurations of public data sets, each on a miniature with invented numbers: tests/layouts/README.md."""

from pathlib import Path

import numpy as np
import pytest
from native_sets import shipped
from test_layouts import G, signal

from modelreg.config import SubjectSplit, TrainConfig
from modelreg.data import preparation, windows
from modelreg.data.cache import Reading
from modelreg.data.recording import UNLABELLED, Dataset
from modelreg.records.data import PARTS

LAYOUTS = Path(__file__).parent / "layouts"
PAMAP2 = shipped("pamap2.yaml", LAYOUTS / "pamap2")
UCI_HAR = shipped("uci_har.yaml", LAYOUTS / "uci_har")


def read(config: TrainConfig) -> Dataset:
    """Read the recordings of a configuration."""
    return preparation.read_dataset(config, Reading(LAYOUTS))


@pytest.mark.parametrize(
    ("subject", "name", "number", "label"),
    [("anna", "1-1", 0, "walk"), ("anna", "1-2", 1, "rest"), ("ben", "2-1", 0, "walk"), ("ben", "2-2", 1, "rest")],
)
def test_uci_har_is_joined_to_its_recordings(subject, name, number, label) -> None:
    """Acceleration in g, angular velocity in rad/s; the miniature numbers rest as 2."""
    recording = next(found for found in read(UCI_HAR).recordings if found.name == name)
    acceleration, turning = signal(subject, label, 320)

    assert (recording.subject, recording.part, set(recording.labels.tolist())) == (name[0], "train", {number})
    np.testing.assert_allclose(
        recording.signals["waist"].values, np.hstack([acceleration / G, turning]), rtol=1e-5, atol=1e-6
    )


def test_uci_har_has_its_channels_and_classes() -> None:
    """In the order of activity_labels.txt."""
    dataset = read(UCI_HAR)

    assert [(channel.name, channel.unit) for channel in dataset.channels] == [
        *((f"total_acc_{axis}", "g") for axis in "xyz"),
        *((f"body_gyro_{axis}", "rad/s") for axis in "xyz"),
    ]
    assert dataset.classes == (
        "WALKING",
        "WALKING_UPSTAIRS",
        "WALKING_DOWNSTAIRS",
        "SITTING",
        "STANDING",
        "LAYING",
    )


def test_uci_har_is_cut_into_the_windows_of_its_files() -> None:
    """Row by row: the miniature's rows are in the order of its subjects and labels."""
    dataset, data, folder = read(UCI_HAR), UCI_HAR.data, LAYOUTS / "uci_har" / "train"
    cut = windows.cut(dataset.recordings, classes=dataset.classes, window=data.window, hop=data.hop, labels=data.labels)
    rows, labels, subjects = (
        np.loadtxt(folder / name)
        for name in ("Inertial Signals/total_acc_x_train.txt", "y_train.txt", "subject_train.txt")
    )

    np.testing.assert_array_equal(cut.x[:, 0, 0], rows.astype(np.float32))
    np.testing.assert_array_equal(cut.y + 1, labels)
    np.testing.assert_array_equal([int(cut.subjects[n]) for n in cut.subject], subjects)


def test_uci_har_can_be_split_by_time() -> None:
    """Its windows have a known time. The invented subjects walk alike, which the audit finds."""
    changes = ("split={by: time}", "data.window=32", "data.hop=16", "data.sources.0.labels={'1': walk, '2': rest}")
    config = shipped("uci_har.yaml", LAYOUTS / "uci_har", *changes)
    prepared, audit = preparation.prepare_and_audit(config, Reading(LAYOUTS))

    assert [len(prepared.windows[part].y) for part in PARTS] == [32, 8, 8]
    assert {finding.kind for finding in audit.leaks} == {"near_copy"}


def test_uci_har_is_split_by_its_subjects() -> None:
    """Nine of thirty test; the validation subjects are others."""
    split = UCI_HAR.split

    assert isinstance(split, SubjectSplit)
    assert split.test == ("2", "4", "9", "10", "12", "13", "18", "20", "24")
    assert isinstance(split.validation, tuple)
    assert not set(split.test) & set(split.validation)


def test_pamap2_has_three_devices_and_twelve_classes() -> None:
    """In the order of the activity ids; transients have no class."""
    dataset = read(PAMAP2)

    assert dataset.devices == ("hand", "chest", "ankle")
    assert [(channel.name, channel.unit) for channel in dataset.channels] == [
        *((f"acc_{axis}", "m/s2") for axis in "xyz"),
        *((f"gyro_{axis}", "rad/s") for axis in "xyz"),
    ]
    assert dataset.classes == (
        "lying",
        "sitting",
        "standing",
        "walking",
        "running",
        "cycling",
        "Nordic walking",
        "ascending stairs",
        "descending stairs",
        "vacuum cleaning",
        "ironing",
        "rope jumping",
    )


@pytest.mark.parametrize("device", ["hand", "chest", "ankle"])
@pytest.mark.parametrize(
    ("subject", "number", "label", "seed", "begin"),
    [("anna", "101", "walk", 4, 150), ("ben", "102", "rest", 1, 300)],
)
def test_pamap2_has_the_values_of_each_sensor(device, subject, number, label, seed, begin) -> None:
    """Acceleration in m/s², angular velocity in rad/s; a row of the chest is missing."""
    recording = next(found for found in read(PAMAP2).recordings if found.subject == number)
    values = recording.signals[device].values[begin : begin + 150]
    there = np.isfinite(values).all(axis=1)
    expected = np.hstack(signal(subject, label, 150, 100, seed=seed))

    assert np.count_nonzero(~there) == (device == "chest")
    np.testing.assert_allclose(values[there], expected[there], atol=1e-4)


def test_pamap2_leaves_transients_unlabelled() -> None:
    """A third of the miniature is activity 0, a third walking (4), a third lying (1)."""
    labels = read(PAMAP2).recordings[0].labels

    assert [set(some.tolist()) for some in np.split(labels, 3)] == [{UNLABELLED}, {3}, {0}]


def test_pamap2_tests_on_other_subjects_than_it_validates_on() -> None:
    """One each."""
    assert PAMAP2.split == SubjectSplit(test=("106",), validation=("105",))
