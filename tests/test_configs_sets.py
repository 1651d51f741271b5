"""Shipped configurations of public data sets, each on a miniature with invented numbers: tests/layouts/README.md."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from native_sets import shipped, write_folder
from packing import zipped
from test_hapt import text as hapt_text
from test_layouts import G, signal
from test_spsw import text as spsw_text

from modelreg.config import SubjectSplit, TrainConfig
from modelreg.data import alignment, preparation, windows
from modelreg.data.cache import Reading
from modelreg.data.preparation import Prepared
from modelreg.data.recording import UNLABELLED, Dataset, Recording
from modelreg.records.data import PARTS

LAYOUTS = Path(__file__).parent / "layouts"
REAL = Path(__file__).parents[2] / "shared" / "data"
PAMAP2 = shipped("pamap2.yaml", LAYOUTS / "pamap2")
UCI_HAR = shipped("uci_har.yaml", LAYOUTS / "uci_har")
WISDM = shipped("wisdm.yaml", LAYOUTS / "wisdm_v2")
MINIATURES = {"pamap2.yaml": "pamap2", "uci_har.yaml": "uci_har", "wisdm.yaml": "wisdm_v2"}


def pamap2_uci_har(*changes: str) -> TrainConfig:
    """Both miniatures."""
    second = f"data.sources.1.path={LAYOUTS / 'uci_har'}"
    return shipped("pamap2_uci_har.yaml", LAYOUTS / "pamap2", second, *changes)


BOTH = pamap2_uci_har()


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


def test_wisdm_has_both_sensors_of_the_watch() -> None:
    """The phone's files are there, and are not read."""
    dataset = read(WISDM)

    assert (dataset.devices, dataset.rate_hz) == (("watch",), 20)
    assert [(channel.name, channel.unit, channel.gravity) for channel in dataset.channels] == [
        *((f"acc_{axis}", "m/s2", "included") for axis in "xyz"),
        *((f"gyro_{axis}", "rad/s", None) for axis in "xyz"),
    ]


def test_wisdm_has_eighteen_classes() -> None:
    """Those of activity_key.txt."""
    assert len(set(read(WISDM).classes)) == 18


@pytest.mark.parametrize(("subject", "number"), [("anna", "1600"), ("ben", "1601")])
@pytest.mark.parametrize(("label", "letter", "name"), [("walk", "A", "walking"), ("rest", "D", "sitting")])
def test_wisdm_makes_a_recording_of_each_activity(subject, number, label, letter, name) -> None:
    """Acceleration in m/s², angular velocity in rad/s."""
    dataset = read(WISDM)
    recording = next(found for found in dataset.recordings if found.name == f"{number}-{letter}")
    expected = np.hstack(signal(subject, label, 120, 20, seed=5))

    assert {dataset.classes[code] for code in recording.labels.tolist()} == {name}
    np.testing.assert_allclose(recording.signals["watch"].values, expected, atol=1e-5)


@pytest.mark.parametrize("name", MINIATURES)
def test_the_download_is_read_as_it_is(tmp_path, name) -> None:
    """An archive in an archive, in the configured folder."""
    folder = LAYOUTS / MINIATURES[name]
    found = {f"set/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (tmp_path / "download.zip").write_bytes(zipped({"set.zip": zipped(found), "set.names": b""}))

    packed, plain = (read(shipped(name, path)) for path in (tmp_path, folder))
    assert [found.name for found in packed.recordings] == [found.name for found in plain.recordings]
    for ours, theirs in zip(packed.recordings, plain.recordings, strict=True):
        np.testing.assert_equal([*ours.arrays()], [*theirs.arrays()])


@pytest.mark.parametrize("name", ["pamap2.yaml", "uci_har.yaml", "spsw_csv.yaml", "wisdm.yaml", "pamap2_uci_har.yaml"])
def test_every_acceleration_tells_whether_it_has_gravity(name) -> None:
    """And no other channel does."""
    sources = shipped(name, Path("x")).data.sources
    channels = [channel for source in sources for device in source.devices for channel in device.channels]

    assert {channel.name: channel.gravity for channel in channels} == {
        channel.name: "included" if "acc" in channel.name else None for channel in channels
    }


# Splits


def with_third(layout: str, folder: Path, second: str, third: str) -> Path:
    """Copy a miniature, and add a subject like the second one, without the first seven of 120 rows."""
    shutil.copytree(LAYOUTS / layout, folder)
    for path in sorted(folder.rglob(f"*{second}*")):
        rows = [row for n, row in enumerate(path.read_text().splitlines(keepends=True)) if n % 120 >= 7]
        path.with_name(path.name.replace(second, third)).write_text("".join(rows).replace(f"{second},", f"{third},"))
    return folder


def summary(prepared: Prepared) -> tuple[object, ...]:
    """The subjects of each split, the classes, devices and rate."""
    record = prepared.record
    subjects = [record.parts[part].subjects for part in PARTS]
    return subjects, record.classes, record.devices, record.rate_hz


def prepared(config: TrainConfig, base: Path = LAYOUTS) -> Prepared:
    """Prepare a configuration, of which each split has windows."""
    return preparation.prepare(config, Reading(base))


SMALL = ("data.window=32", "data.hop=16")


def test_pamap2_is_split_by_subject(tmp_path) -> None:
    """At half the rate of the files."""
    folder = with_third("pamap2", tmp_path / "d", "102", "103")
    labels = "data.sources.0.labels={'1': lying, '4': walking, '0': null}"
    split = "split={by: subject, test: ['102'], validation: ['103']}"
    config = shipped("pamap2.yaml", folder, labels, "data.classes=[lying, walking]", split, *SMALL)

    devices = ("hand", "chest", "ankle")
    assert summary(prepared(config)) == ([("101",), ("103",), ("102",)], ("lying", "walking"), devices, 50)


def test_wisdm_is_split_by_subject(tmp_path) -> None:
    """The highest number tests."""
    folder = with_third("wisdm_v2", tmp_path / "d", "1601", "1602")
    labels = "data.sources.0.labels={A: walking, D: sitting}"
    config = shipped("wisdm.yaml", folder, labels, "split={by: subject, test: 1, validation: 1}")

    subjects = [("1600",), ("1601",), ("1602",)]
    assert summary(prepared(config)) == (subjects, ("walking", "sitting"), ("watch",), 20)


# Two sets at once


def test_pamap2_and_uci_har_have_the_same_names() -> None:
    """One device with acceleration in m/s² and angular velocity in rad/s; six classes."""
    dataset = read(BOTH)

    assert (dataset.devices, dataset.rate_hz) == (("body",), 50)
    assert [(channel.name, channel.unit, channel.gravity) for channel in dataset.channels] == [
        *((f"acc_{axis}", "m/s2", "included") for axis in "xyz"),
        *((f"gyro_{axis}", "rad/s", None) for axis in "xyz"),
    ]
    assert dataset.classes == ("walking", "ascending stairs", "descending stairs", "sitting", "standing", "lying")


def of(domain: str) -> list[Recording]:
    """The recordings of one set."""
    return [recording for recording in read(BOTH).recordings if recording.domain == domain]


def test_pamap2_is_the_chest_next_to_uci_har() -> None:
    """The same values as in pamap2.yaml."""
    chest = {f"pamap2-{found.name}": found.signals["chest"].values for found in read(PAMAP2).recordings}

    assert [found.name for found in of("pamap2")] == [*chest]
    np.testing.assert_array_equal([found.signals["body"].values for found in of("pamap2")], [*chest.values()])


def test_uci_har_next_to_pamap2_is_in_its_units() -> None:
    """The acceleration in m/s², the angular velocity as it is."""
    waist = {f"uci-{found.name}": found.signals["waist"].values for found in read(UCI_HAR).recordings}

    assert [found.name for found in of("uci-har")] == [*waist]
    for found in of("uci-har"):
        np.testing.assert_allclose(found.signals["body"].values, waist[found.name] * ([G] * 3 + [1] * 3), rtol=1e-6)


@pytest.mark.parametrize(("domain", "resampled"), [("pamap2", True), ("uci-har", False)])
def test_only_pamap2_is_resampled(domain, resampled) -> None:
    """The windows of UCI-HAR stay as they are."""
    assert {alignment.is_resampled(recording, BOTH.data.rate_hz) for recording in of(domain)} == {resampled}


def test_the_labels_of_both_sets_become_the_same_classes() -> None:
    """In the miniatures of uci_har, rest is 2."""
    classes = read(BOTH).classes
    found = {d: {classes[n] for r in of(d) for n in r.labels.tolist() if n >= 0} for d in ("pamap2", "uci-har")}

    assert found == {"pamap2": {"walking", "lying"}, "uci-har": {"walking", "ascending stairs"}}


def test_pamap2_and_uci_har_are_split_by_the_subjects_of_both() -> None:
    """Windows of both sets are in train."""
    labels = {"0": {"4": "walking", "1": "lying", "0": None}, "1": {"1": "walking", "2": "lying"}}
    maps = [f"data.sources.{number}.labels={json.dumps(names)}" for number, names in labels.items()]
    split = "split={by: subject, test: [uci-2], validation: [pamap2-102]}"
    made = prepared(pamap2_uci_har(*maps, "data.classes=[walking, lying]", split, *SMALL))

    subjects = [("pamap2-101", "uci-1"), ("pamap2-102",), ("uci-2",)]
    assert summary(made) == (subjects, ("walking", "lying"), ("body",), 50)
    assert (made.domains, set(made.windows["train"].domains)) == (("pamap2", "uci-har"), {"pamap2", "uci-har"})


def test_the_subjects_of_two_sets_are_those_of_each() -> None:
    """With their prefixes."""
    assert BOTH.split == SubjectSplit(
        test=("pamap2-106", *(f"uci-{name}" for name in UCI_HAR.split.test)),
        validation=("pamap2-105", *(f"uci-{name}" for name in UCI_HAR.split.validation)),
    )


FOUR = ("walking", "sitting", "sitting down", "standing up")


def native(folder: Path) -> TrainConfig:
    """HAPT and SP-SW-HAR in small: three subjects each, two seconds of each activity, and of another one."""
    users, sizes = (1, 2, 3), range(1, 1001, 200)
    labels = [(n, n, code, at, at + 199) for n in users for code, at in zip((1, 4, 7, 8, 2), sizes, strict=True)]
    hapt = {"RawData/labels.txt": "".join(" ".join(map(str, row)) + "\n" for row in labels).encode()}
    names = [f"{sensor}_exp{n:02d}_user{n:02d}" for n in users for sensor in ("acc", "gyro")]
    hapt |= {f"RawData/{name}.txt": hapt_text(seed, 1000) for seed, name in enumerate(names)}
    rows = [name for name in ("WALKING", "SEATED", "SITTING_DOWN", "STANDING_UP", "TURNING") for _ in range(400)]
    spsw = {
        f"DATA/s{n:02d}/s{n:02d}_01_{device}.csv": spsw_text(10 * n + number, rows)
        for n in users
        for number, device in enumerate(("sp", "sw"))
    }
    write_folder(folder / "hapt", hapt)
    write_folder(folder / "spsw", spsw)
    split = "split={by: subject, test: [hapt-user02, spsw-s02], validation: [hapt-user03, spsw-s03]}"
    return shipped("hapt_spsw.yaml", folder / "hapt", f"data.sources.1.path={folder / 'spsw'}", split)


def test_hapt_and_spsw_are_split_by_the_subjects_of_both(tmp_path) -> None:
    """The phone of both, on one grid."""
    made = prepared(native(tmp_path))

    subjects = [(f"hapt-user{n:02d}", f"spsw-s{n:02d}") for n in (1, 3, 2)]
    assert summary(made) == (subjects, FOUR, ("phone",), 50)
    assert set(made.windows["train"].domains) == {"hapt", "spsw"}


def test_hapt_next_to_spsw_is_in_its_units(tmp_path) -> None:
    """The acceleration in m/s², the angular velocity as it is."""
    dataset = read(native(tmp_path))
    first = next(found for found in dataset.recordings if found.name == "hapt-user01-exp01")
    acceleration, turning = (np.loadtxt(tmp_path / f"hapt/RawData/{name}_exp01_user01.txt") for name in ("acc", "gyro"))

    assert [channel.unit for channel in dataset.channels] == ["m/s2"] * 3 + ["rad/s"] * 3
    np.testing.assert_allclose(first.signals["phone"].values, np.hstack([acceleration * G, turning]), rtol=1e-5)


def test_the_labels_of_the_watch_are_on_the_clock_of_the_phone(tmp_path) -> None:
    """Which has a clock of its own: the miniature's begins a millisecond earlier."""
    dataset = read(native(tmp_path))
    labels = next(found for found in dataset.recordings if found.name == "spsw-s01-01").labels

    assert [dataset.classes[code] if code >= 0 else None for code in labels[200::400].tolist()] == [*FOUR, None]


@pytest.mark.skipif(
    not ((REAL / "hapt").is_dir() and (REAL / "spsw").is_dir()),
    reason="the recordings under ../shared/data are not here",
)
def test_the_real_hapt_and_spsw_are_read_as_shipped(tmp_path) -> None:
    """Thirty and twenty-three subjects, of whom nine and five test."""
    config = shipped("hapt_spsw.yaml", REAL / "hapt", f"data.sources.1.path={REAL / 'spsw'}")
    made = preparation.prepare(config, Reading(tmp_path, tmp_path / "cache"))

    assert summary(made)[1:] == (FOUR, ("phone",), 50)
    assert [(len(made.record.parts[part].subjects), len(made.windows[part].y)) for part in PARTS] == [
        (32, 8344),
        (7, 1976),
        (14, 3763),
    ]
