"""Folders as people keep them, without a known format: what the draft says, and what it leaves to the user."""

from collections.abc import Sequence
from pathlib import Path

import draft_files
import drafts
import numpy as np
import pytest
from draft_files import plain, table, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelreg import strict_yaml
from modelreg.data import preparation
from modelreg.data.cache import Reading
from modelreg.data.draft import commented, drafting, stamp
from modelreg.data.draft.proposal import split, window
from modelreg.errors import InputError, Notice
from modelreg.records.csv_device import CsvForm

SOURCE = "data.sources.0"


@pytest.fixture
def mine(tmp_path) -> Path:
    """The folder of the recordings."""
    folder = tmp_path / "mine"
    folder.mkdir()
    return folder


def labelled(codes: Sequence[object], rows: int = 120) -> str:
    """A table in which each label has some rows."""
    time, acceleration, _ = draft_files.motion(rows * len(codes))
    cells = [
        (f"{t:.2f}", *np.round(a, 4), codes[n // rows]) for n, (t, a) in enumerate(zip(time, acceleration, strict=True))
    ]
    return table("t,ax,ay,az,activity", cells)


# Devices


def test_devices_in_the_paths(mine) -> None:
    """A phone and a watch in each recording."""
    for subject in ("P01", "P02", "P03"):
        for device in ("phone", "watch"):
            for activity in ("walk", "sit"):
                write(mine, f"{subject}/{device}/{activity}.csv", plain())
    proposal = drafts.draft(mine)

    assert [device.name for device in proposal.devices] == ["phone", "watch"]
    assert drafts.read(mine, proposal).devices == ("phone", "watch")


def test_devices_in_the_names_of_columns(mine) -> None:
    """Each with its own three axes."""
    time, acceleration, _ = draft_files.motion()
    header = "time,left_wrist_ax,left_wrist_ay,left_wrist_az,right_wrist_ax,right_wrist_ay,right_wrist_az,activity"
    rows = [
        (f"{t:.2f}", *np.round(a, 4), *np.round(a, 4), "walk" if t < 3 else "rest")
        for t, a in zip(time, acceleration, strict=True)
    ]
    for subject in ("anna", "ben", "cleo"):
        write(mine, f"{subject}.csv", table(header, rows))

    assert drafts.read(mine, drafts.draft(mine)).devices == ("left wrist", "right wrist")


def test_a_word_of_a_device_that_not_every_recording_has_is_no_device(mine) -> None:
    """It is part of the name of a session."""
    for name in ("s1/left_walk", "s2/right_walk", "s1/left_sit", "s3/right_sit"):
        write(mine, f"{name}.csv", plain())

    assert [device.name for device in drafts.draft(mine).devices] == ["device"]


def test_devices_with_other_units(mine) -> None:
    """The channels of all get the same unit."""
    for subject in ("s1", "s2", "s3"):
        for activity in ("walk", "sit"):
            write(mine, f"{subject}/{activity}_phone.csv", plain())
            write(mine, f"{subject}/{activity}_watch.csv", plain(one=1.0, header="time,x,y,z"))
    proposal = drafts.draft(mine)
    channels = [channel for device in drafts.source(proposal)["devices"] for channel in device["channels"]]

    assert {channel["unit"] for channel in channels} == {"m/s2"}
    assert [channel.get("scale") for channel in channels[::3]] == [None, draft_files.G]


def test_devices_whose_clocks_have_other_times(mine) -> None:
    """They cannot be joined: the first one is kept, and a comment says so."""
    time, acceleration, _ = draft_files.motion()
    for subject in ("s1", "s2", "s3"):
        for device, begin in (("phone", 0), ("watch", 50_000)):
            rows = [(f"{begin + t:.2f}", *np.round(a, 4)) for t, a in zip(time, acceleration, strict=True)]
            write(mine, f"{subject}/walk/{device}.csv", table("t,ax,ay,az", rows))
            write(mine, f"{subject}/sit/{device}.csv", table("t,ax,ay,az", rows))
    proposal = drafts.draft(mine)

    assert [device.name for device in proposal.devices] == ["phone"]
    assert "the clock of watch has other times" in drafts.why(proposal, f"{SOURCE}.devices")


def gyroscopes(folder: Path, device: str) -> None:
    """Write an angular velocity of a device in two activities of three subjects."""
    time, _, turning = draft_files.motion()
    rows = [(f"{t:.2f}", *np.round(w, 4)) for t, w in zip(time, turning, strict=True)]
    for subject in ("s1", "s2", "s3"):
        for activity in ("walk", "sit"):
            write(folder, f"{subject}/{activity}/{device}.csv", table("t,wx,wy,wz", rows))


def accelerations(folder: Path, device: str, one: float = draft_files.G) -> None:
    """Write an acceleration of a device in two activities of three subjects."""
    for subject in ("s1", "s2", "s3"):
        for activity in ("walk", "sit"):
            write(folder, f"{subject}/{activity}/{device}.csv", plain(one=one))


def test_devices_without_a_sensor_in_common(mine) -> None:
    """Only the first one is kept, and a comment says so."""
    accelerations(mine, "phone")
    gyroscopes(mine, "watch")
    proposal = drafts.draft(mine)

    assert [device.name for device in proposal.devices] == ["phone"]
    assert "watch has no sensor that the others have" in drafts.why(proposal, f"{SOURCE}.devices")


def test_devices_of_which_one_says_nothing_about_gravity(mine) -> None:
    """Nothing is said for any, so that both are read."""
    accelerations(mine, "phone")
    accelerations(mine, "watch", 16384.0)
    channels = [c for device in drafts.source(drafts.draft(mine))["devices"] for c in device["channels"]]

    assert {channel.get("gravity") for channel in channels} == {None}


def test_a_file_of_another_form_is_left_out(mine) -> None:
    """If the others say more without it."""
    for subject in ("s1", "s2", "s3"):
        for activity in ("walk", "sit"):
            write(mine, f"{subject}_{activity}_phone.csv", plain())
    write(mine, "x.csv", plain())
    proposal = drafts.draft(mine)

    assert (proposal.subjects, proposal.labels) == (("s1", "s2", "s3"), ("sit", "walk"))
    assert "not matched: 1 file " in drafts.why(proposal, f"{SOURCE}.devices.0.files")


def test_sensors_whose_files_are_named_otherwise(mine) -> None:
    """Their pattern is left to the user."""
    accelerations(mine, "acc")
    gyroscopes(mine, "gyro")
    for number, path in enumerate(sorted(mine.rglob("gyro.csv"))):
        path.rename(path.with_name(f"{number}_gyro.csv"))

    assert f"{SOURCE}.devices.0.parts.1.files" in drafts.blanks(drafts.draft(mine))


def test_devices_with_other_rates(mine) -> None:
    """All are resampled to the lowest."""
    time, acceleration, _ = draft_files.motion()
    for subject in ("s1", "s2", "s3"):
        for activity in ("walk", "sit"):
            write(mine, f"{subject}/{activity}/phone.csv", plain())
            rows = [(f"{2 * t:.2f}", *np.round(a, 4)) for t, a in zip(time, acceleration, strict=True)]
            write(mine, f"{subject}/{activity}/watch.csv", table("t,ax,ay,az", rows))

    assert drafts.read(mine, drafts.draft(mine)).rate_hz == 25


def test_an_acceleration_with_gravity_is_better_than_one_without(mine) -> None:
    """Two files of a device; the other one is named as left out."""
    time, acceleration, _ = draft_files.motion()
    for subject in ("s1", "s2", "s3"):
        for activity in ("walk", "sit"):
            write(mine, f"{subject}/{activity}/acc.csv", plain())
            rows = [
                (f"{t:.2f}", *np.round(a - acceleration.mean(axis=0), 4))
                for t, a in zip(time, acceleration, strict=True)
            ]
            write(mine, f"{subject}/{activity}/linear_acc.csv", table("t,x,y,z", rows))
    proposal = drafts.draft(mine)

    assert drafts.source(proposal)["devices"][0]["files"].endswith(r"/acc\.csv")
    assert "left out: acc of 6 files" in drafts.why(proposal, f"{SOURCE}.devices")


def test_a_recording_without_a_file_of_each_sensor_is_left_out(mine) -> None:
    """By its name."""
    time, _, turning = draft_files.motion()
    rows = [(f"{t:.2f}", *np.round(w, 4)) for t, w in zip(time, turning, strict=True)]
    for subject in ("s1", "s2", "s3"):
        for activity in ("walk", "sit"):
            write(mine, f"{subject}/{activity}/acc.csv", plain())
            if (subject, activity) != ("s2", "sit"):
                write(mine, f"{subject}/{activity}/gyro.csv", table("t,x,y,z", rows))
    proposal = drafts.draft(mine)

    assert drafts.source(proposal)["drop"] == ["s2-1-sit"]
    assert len(drafts.read(mine, proposal).recordings) == 5


def test_sensors_of_a_device_with_other_rates_and_forms(mine) -> None:
    """Each file has its own."""
    time, _, turning = draft_files.motion()
    rows = [(f"{2 * t:.2f}", *np.round(w, 4)) for t, w in zip(time, turning, strict=True)]
    for subject in ("s1", "s2", "s3"):
        for activity in ("walk", "sit"):
            write(mine, f"{subject}/{activity}/acc.csv", plain())
            write(mine, f"{subject}/{activity}/gyro.csv", table("t;x;y;z", rows, ";"))
    parts = drafts.source(drafts.draft(mine))["devices"][0]["parts"]

    assert [part.get("rate_hz") for part in parts] == [None, 25]
    assert [part.get("form") for part in parts] == [None, {"separator": ";"}]


def signals(header: str, *, one: float = draft_files.G) -> str:
    """A table whose columns are a time, an acceleration and an angular velocity: those that a header names."""
    time, acceleration, turning = draft_files.motion(one=one)
    names = dict(zip(("acc_x", "acc_y", "acc_z"), acceleration.T, strict=True))
    names |= dict(zip(("gyro_x", "gyro_y", "gyro_z"), turning.T, strict=True))
    names |= dict(zip(("mag_x", "mag_y", "mag_z"), acceleration.T, strict=True))
    names["t"] = time
    columns = [np.round(names[name.split(" ")[0]], 4) for name in header.split(",")]
    return table(header, zip(*columns, strict=True))


@pytest.mark.parametrize(
    ("header", "channels"),
    [
        ("t,acc_x,acc_z,gyro_x,gyro_y,gyro_z", ["acc_x", "acc_z", "gyro_x", "gyro_y", "gyro_z"]),
        ("t,acc_y,gyro_x,gyro_y,gyro_z", ["acc_y", "gyro_x", "gyro_y", "gyro_z"]),
        ("t,acc_x,acc_y,acc_z,gyro_z,gyro_y", ["acc_x", "acc_y", "acc_z", "gyro_y", "gyro_z"]),
    ],
)
def test_a_sensor_without_some_axes_keeps_the_others(mine, header, channels) -> None:
    """In the order of the axes; a comment names those that are missing."""
    for subject in ("s1", "s2"):
        for activity in ("walk", "sit"):
            write(mine, f"{subject}/{activity}.csv", signals(header))
    proposal = drafts.draft(mine)
    found = drafts.source(proposal)["devices"][0]["channels"]

    assert [(channel["name"], channel["column"]) for channel in found] == [(name, name) for name in channels]
    assert "was found" in drafts.why(proposal, f"{SOURCE}.devices.0.channels")
    assert proposal.left_out == ()


def test_recordings_with_two_axes_of_an_accelerometer_are_read(mine) -> None:
    """Their unit is in the names of the columns."""
    for subject in ("s1", "s2"):
        for activity in ("walk", "sit"):
            text = signals("t,acc_x (m/s2),acc_z (m/s2),gyro_x,gyro_y,gyro_z")
            write(mine, f"{subject}/{activity}.csv", text)
    values = drafts.read(mine, drafts.draft(mine)).recordings[0].signals["device"].values

    assert values.shape[1] == 5


def test_a_sensor_that_a_model_does_not_get_is_named(mine) -> None:
    """Each of its columns."""
    for subject in ("s1", "s2"):
        for activity in ("walk", "sit"):
            write(mine, f"{subject}/{activity}.csv", signals("t,acc_x,acc_y,acc_z,mag_x,mag_z"))
    proposal = drafts.draft(mine)

    assert proposal.left_out[0].startswith("left out: 1 sensor: mag_x, mag_z (")
    assert "mag_x, mag_z" in drafts.why(proposal, f"{SOURCE}.devices")


def sensor_logger(folder: Path) -> None:
    """Write two files for each recording of three subjects."""
    time, acceleration, turning = draft_files.motion()
    for subject in ("anna", "ben", "cleo"):
        for activity in ("walk", "sit"):
            for name, values in (("TotalAcceleration", acceleration), ("Gyroscope", turning)):
                rows = [
                    (int(1e9 * t) + 10**18, f"{t:.3f}", *np.round(v[::-1], 4))
                    for t, v in zip(time, values, strict=True)
                ]
                header = "time,seconds_elapsed,z,y,x"
                write(folder, f"{subject}_{activity}/{name}.csv", table(header, rows))


def without_last_column(path: Path) -> None:
    """Remove a column of a file."""
    path.write_text("".join(f"{line.rpartition(',')[0]}\n" for line in path.read_text().splitlines()))


@pytest.mark.parametrize("format_", [None, "tables"])
def test_a_file_without_a_column_is_named(mine, format_) -> None:
    """It is left out with its recording, for this reason; reading finds nothing else to say."""
    sensor_logger(mine)
    without_last_column(mine / "ben_walk/TotalAcceleration.csv")
    proposal = drafts.draft(mine, format_)
    why = drafts.why(proposal, f"{SOURCE}.drop")

    notices: list[Notice] = []
    preparation.read_dataset(drafts.settings(proposal), Reading(mine.parent, remark=notices.append))

    assert "left out: ben_walk/TotalAcceleration.csv has no column x (5 others have it)" in proposal.left_out
    assert (drafts.source(proposal)["drop"], "has no column x" in why) == (["ben-1-walk"], True)
    assert [notice for notice in notices if "no pattern" in notice.message] == []


def test_a_workbook_with_the_suffix_of_a_text_is_named(mine) -> None:
    """With the next step, and how many others there are."""
    for subject in ("s1", "s2", "s3"):
        for activity in ("walk", "sit"):
            write(mine, f"{subject}/{activity}.csv", plain())
    for name in ("s1/walk.csv", "s2/walk.csv"):
        (mine / name).write_bytes(draft_files.packed({"xl/workbook.xml": b"<a/>"}))
    (line,) = drafts.draft(mine).left_out

    assert line.startswith("cannot be read: s1/walk.csv (and 1 other file): this is a workbook; ")


def six(folder: Path, text: str) -> None:
    """Write the same text for two activities of three subjects."""
    for subject in ("s1", "s2", "s3"):
        for activity in ("walk", "sit"):
            write(folder, f"{subject}/{activity}.csv", text)


def test_a_file_that_is_no_table_is_named(mine) -> None:
    """It has the name of one."""
    six(mine, plain())
    (mine / "s1/walk.csv").write_text("hello world, this is\nnot a table at all\n")

    assert drafts.draft(mine).left_out[0].startswith("cannot be read: s1/walk.csv: no rows and columns were found")


def test_a_file_with_another_separator_is_named_by_its_sensor(mine) -> None:
    """It has all columns, and is left out all the same."""
    six(mine, plain())
    (mine / "s1/walk.csv").write_text((mine / "s1/walk.csv").read_text().replace(",", ";"))
    (line,) = drafts.draft(mine).left_out

    assert line.startswith("left out: 1 sensor: acc of 1 file (")


def test_without_times_the_missing_column_is_that_of_a_sensor(mine) -> None:
    """Nothing is said of a time."""
    six(mine, "".join(f"{line.partition(',')[2]}\n" for line in signals("t,acc_x,acc_y,acc_z").splitlines()))
    without_last_column(mine / "s1/walk.csv")

    assert "left out: s1/walk.csv has no column acc_z (5 others have it)" in drafts.draft(mine).left_out


def test_columns_of_text_are_no_axes(mine) -> None:
    """Whatever their names are."""
    header, *rows = signals("t,acc_x,acc_y,acc_z,mag_x,mag_z").splitlines()
    six(mine, "\n".join([header, *(f"{row.rpartition(',')[0]},north" for row in rows)]) + "\n")

    assert drafts.draft(mine).left_out == ()


def test_further_sensors_in_the_files_of_an_export_are_named(mine) -> None:
    """The export is described without them."""
    sensor_logger(mine)
    for path in mine.rglob("TotalAcceleration.csv"):
        header, *rows = path.read_text().splitlines()
        more = [f"{header},mag_x,mag_y,mag_z", *(f"{row},{n % 7},{n % 5},{n % 3}" for n, row in enumerate(rows))]
        path.write_text("\n".join(more) + "\n")
    (line,) = drafts.draft(mine).left_out

    assert line.startswith("left out: 1 sensor: mag_x, mag_y, mag_z (mag)")


def test_files_in_other_depths_are_counted(mine) -> None:
    """They are not read."""
    for subject in ("s1", "s2", "s3"):
        for activity in ("walk", "sit"):
            write(mine, f"{subject}/{activity}.csv", plain())
    write(mine, "s1/extra/walk.csv", plain())

    assert "not matched: 1 file in" in drafts.why(drafts.draft(mine), f"{SOURCE}.devices.0.files")


def test_a_column_that_repeats_the_path_is_not_read(mine) -> None:
    """The paths name the subjects more cheaply."""
    for subject in ("101", "102", "103"):
        rows = [(subject, f"{n / 50:.2f}", 0.1, 5.9, 7.8, "walk" if n < 60 else "rest") for n in range(120)]
        write(mine, f"data_{subject}.csv", table("user,t,ax,ay,az,label", rows))
    source = drafts.source(drafts.draft(mine))

    assert ("subject" in source, source["devices"][0]["files"]) == (False, r"data_(?P<subject>\d+)\.csv")


def test_a_column_that_repeats_a_part_of_the_path(mine) -> None:
    """Other parts of the path differ from it."""
    for subject in ("101", "102"):
        for activity in ("walk", "rest"):
            rows = [(subject, f"{n / 50:.2f}", 0.1, 5.9, 7.8) for n in range(120)]
            write(mine, f"{activity}_{subject}.csv", table("user,t,ax,ay,az", rows))
    source = drafts.source(drafts.draft(mine))

    assert ("subject" in source, source["devices"][0]["files"]) == (
        False,
        r"(?P<label>[a-z]+)_(?P<subject>\d+)\.csv",
    )


def test_a_pattern_excludes_other_files(mine) -> None:
    """By their names, if there are few."""
    for subject in ("anna", "ben", "cleo"):
        write(mine, f"{subject}.csv", plain(600))
    rows = [
        (f"{subject}.csv", begin, begin + 6, label)
        for subject in ("anna", "ben", "cleo")
        for begin, label in ((0, "walk"), (6, "rest"))
    ]
    write(mine, "labels.csv", table("file,start,end,label", rows))
    proposal = drafts.draft(mine)

    assert drafts.source(proposal)["devices"][0]["files"].startswith("(?!")
    assert len(drafts.read(mine, proposal).recordings) == 3


# Rows


def test_missing_values_and_bad_rows(mine) -> None:
    """A number that loggers write, a text, and rows that were cut."""
    lines = plain().splitlines()
    lines[11] = "0.20,-999,-999,-999"
    lines[12] = "0.22,off,off,off"
    lines[21] = "0.40,1.0"
    for subject in ("s1", "s2", "s3"):
        for activity in ("walk", "sit"):
            write(mine, f"{subject}/{activity}.csv", "\n".join(lines) + "\n")
    proposal = drafts.draft(mine)
    source = drafts.source(proposal)
    values = drafts.read(mine, proposal).recordings[0].signals["device"].values

    assert (source["missing"][-2:], source["on_bad_row"]) == (["-999", "off"], "skip")
    assert np.isnan(values).all(axis=1).sum() == 2


@pytest.mark.parametrize(("cut", "said"), [([7], "1 row has"), ([7, 9], "2 rows have")])
def test_the_place_of_a_bad_row_is_named(mine, cut, said) -> None:
    """With the file and the line, from 1."""
    for subject in ("s1", "s2"):
        for activity in ("walk", "sit"):
            write(mine, f"{subject}/{activity}.csv", plain())
    lines = plain().splitlines()
    for line in cut:
        lines[line - 1] = "0.40,1.0"
    write(mine, "s2/sit.csv", "\n".join(lines) + "\n")
    proposal = drafts.draft(mine)
    (line,) = proposal.left_out

    assert drafts.why(proposal, f"{SOURCE}.on_bad_row").startswith(f"{said} ")
    assert (line.startswith(f"skipped: {said} "), line.endswith("s2/sit.csv, line 7)")) == (True, True)


def test_a_quick_training_is_next_to_the_epochs(mine) -> None:
    """The option that the comment names is one of the draft."""
    for subject in ("s1", "s2"):
        for activity in ("walk", "sit"):
            write(mine, f"{subject}/{activity}.csv", plain())

    assert "--set training.epochs=" in drafts.why(drafts.draft(mine), "training.epochs")


def test_many_bad_rows(mine) -> None:
    """Their share is in the configuration."""
    lines = plain().splitlines()
    lines[5::10] = ["1.0,2.0"] * len(lines[5::10])
    for subject in ("s1", "s2", "s3"):
        for activity in ("walk", "sit"):
            write(mine, f"{subject}/{activity}.csv", "\n".join(lines) + "\n")
    source = drafts.source(drafts.draft(mine))

    assert (source["on_bad_row"], source["max_bad_rows"]) == ("skip", pytest.approx(0.2, abs=0.03))


def test_a_long_gap_divides_a_recording(mine) -> None:
    """With the longest one as the reason."""
    time, acceleration, _ = draft_files.motion()
    rows = [(f"{t + 60 * (t > 3):.2f}", *np.round(a, 4)) for t, a in zip(time, acceleration, strict=True)]
    for subject in ("s1", "s2", "s3"):
        for activity in ("walk", "sit"):
            write(mine, f"{subject}/{activity}.csv", table("t,ax,ay,az", rows))

    assert len(drafts.read(mine, drafts.draft(mine)).recordings) == 12


def test_a_number_that_many_texts_replace_is_no_missing_value(mine) -> None:
    """More than three texts are not those of missing values."""
    lines = plain().splitlines()
    for n, text in enumerate(("a", "b", "c", "d")):
        lines[10 + n] = f"0.2,{text},{text},{text}"
    for subject in ("s1", "s2"):
        for activity in ("walk", "sit"):
            write(mine, f"{subject}/{activity}.csv", "\n".join(lines) + "\n")

    assert "missing" not in drafts.source(drafts.draft(mine))


# Labels


def test_codes_have_names_in_a_file(mine) -> None:
    """With a row for each; 0 may be nothing."""
    for subject in ("P1", "P2", "P3"):
        write(mine, f"{subject}.csv", labelled([0, 1, 2]))
    write(mine, "activity_key.txt", "1 walking\n2 lying\n")
    proposal = drafts.draft(mine)

    assert drafts.source(proposal)["labels"] | {"0": None} == {"0": None, "1": "walking", "2": "lying"}
    assert drafts.blanks(proposal) == [f"{SOURCE}.labels.0"]


def test_a_file_that_numbers_codes_has_no_names(mine) -> None:
    """Each code has a row, and no column is a text."""
    for subject in ("P1", "P2", "P3"):
        write(mine, f"{subject}.csv", labelled([1, 2, 3]))
    write(mine, "duration_key.txt", "1 10.5\n2 20.5\n3 30.5\n")

    assert drafts.source(drafts.draft(mine))["labels"] == {"1": "1", "2": "2", "3": "3"}


def test_texts_that_mean_no_label(mine) -> None:
    """They become null."""
    for subject in ("P1", "P2", "P3"):
        write(mine, f"{subject}.csv", labelled(["walk", "None", "rest"]))

    assert drafts.source(drafts.draft(mine))["labels"] == {"None": None, "rest": "rest", "walk": "walk"}


def test_labels_that_are_no_names(mine) -> None:
    """No list of classes is drafted."""
    for subject in ("P1", "P2", "P3"):
        write(mine, f"{subject}.csv", labelled(["walk" * 40, "rest"]))
    proposal = drafts.draft(mine)

    assert (proposal.labels, "labels" in drafts.source(proposal)) == (None, False)


def test_labels_at_the_end_of_a_large_file(mine, monkeypatch) -> None:
    """The column is read to its end."""
    monkeypatch.setattr(drafts.drafting.tables, "BYTES", 2**13)
    monkeypatch.setattr(drafts.drafting.tables, "LEAST", 2**12)
    for subject in ("P1", "P2", "P3"):
        write(mine, f"{subject}.csv", labelled(["walk", "rest", "run"], 400))

    assert drafts.draft(mine).labels == ("rest", "run", "walk")


def test_files_too_large_to_read_to_their_ends(mine, monkeypatch) -> None:
    """No list of labels is drafted, because it may miss some."""
    monkeypatch.setattr(drafts.drafting.tables, "BYTES", 2**13)
    monkeypatch.setattr(drafts.drafting.tables, "LEAST", 2**12)
    monkeypatch.setattr("modelreg.data.draft.scan.BYTES", 2**14)
    for subject in ("P1", "P2", "P3"):
        write(mine, f"{subject}.csv", labelled(["walk", "rest", "run"], 400))
    proposal = drafts.draft(mine)

    assert (proposal.labels, "labels" in drafts.source(proposal)) == (None, False)
    assert "not read to their ends" in drafts.why(proposal, f"{SOURCE}.label")


def test_a_file_with_the_subjects_of_recordings(mine) -> None:
    """Found by the piece of the path that is its key."""
    rows = []
    for number in range(1, 9):
        write(mine, f"data/{number:03d}.csv", plain())
        rows.append((f"{number:03d}", f"P{number // 2}", "walk" if number % 2 else "rest"))
    write(mine, "participants.csv", table("recording_id,participant,activity", rows))
    proposal = drafts.draft(mine)
    dataset = drafts.read(mine, proposal)

    assert (proposal.subjects, proposal.labels) == (("P0", "P1", "P2", "P3", "P4"), ("rest", "walk"))
    assert {each.subject for each in dataset.recordings} == set(proposal.subjects or ())


def test_the_key_of_a_file_with_the_subjects_is_any_column(mine) -> None:
    """It has the values of a piece of the paths."""
    rows = []
    for number in range(1, 9):
        write(mine, f"data/{number:03d}.csv", plain())
        rows.append((f"P{number // 2}", "walk" if number % 2 else "rest", f"{number:03d}"))
    write(mine, "participants.csv", table("participant,activity,recording_id", rows))
    proposal = drafts.draft(mine)

    assert drafts.source(proposal)["lookup"]["key"] == "recording_id"
    assert (proposal.subjects, proposal.labels) == (("P0", "P1", "P2", "P3", "P4"), ("rest", "walk"))


def test_a_file_that_repeats_the_paths_says_nothing_more(mine) -> None:
    """Its only name is the piece of the paths that is its key."""
    numbers = [f"{number:03d}" for number in range(1, 9)]
    for number in numbers:
        write(mine, f"{number}.csv", plain())
    write(mine, "people.csv", table("participant,age", [(number, 30) for number in numbers]))
    proposal = drafts.draft(mine)

    assert "lookup" not in drafts.source(proposal)
    assert drafts.blanks(proposal) == [f"{SOURCE}.subject", f"{SOURCE}.label"]


def test_one_folder_around_everything_is_the_subject(mine) -> None:
    """If nothing else is."""
    for activity in ("walk", "sit", "run"):
        write(mine, f"anna/{activity}.csv", plain())
    proposal = drafts.draft(mine)

    assert proposal.subjects == ("anna",)
    assert drafts.settings(proposal).split.by == "time"


def test_what_nothing_says_is_left_to_the_user(mine) -> None:
    """The names that an app gives by default."""
    for day in (7, 8, 9):
        write(mine, f"2024-05-0{day}_08-30-00/acc.csv", plain(header="t,x,y,z"))

    assert drafts.blanks(drafts.draft(mine)) == [f"{SOURCE}.subject", f"{SOURCE}.label"]


def test_three_axes_that_nothing_names_are_left_out(mine) -> None:
    """They have no gravity, next to an accelerometer that has."""
    time, acceleration, _ = draft_files.motion()
    rows = [(f"{t:.2f}", *np.round(a, 4), 1, 2, 3) for t, a in zip(time, acceleration, strict=True)]
    for subject in ("s1", "s2"):
        for activity in ("walk", "sit"):
            write(mine, f"{subject}/{activity}.csv", table("t,ax,ay,az,hand x,hand y,hand z", rows))
    proposal = drafts.draft(mine)

    assert [channel["name"] for channel in drafts.source(proposal)["devices"][0]["channels"]] == [
        "acc_x",
        "acc_y",
        "acc_z",
    ]
    assert "hand x, hand y, hand z (not known what it measures)" in drafts.why(proposal, f"{SOURCE}.devices")


def test_rows_of_other_sensors_are_left_out(mine) -> None:
    """Number 2 of Android is a magnetometer."""
    time, acceleration, turning = draft_files.motion()
    rows = [
        (int(1e9 * t), sensor, *np.round(values[n], 4))
        for n, t in enumerate(time)
        for sensor, values in ((1, acceleration), (2, 40 * acceleration), (4, turning))
    ]
    for subject in ("s1", "s2"):
        for activity in ("walk", "sit"):
            write(mine, f"{subject}/{activity}.csv", table("", rows))
    (device,) = drafts.source(drafts.draft(mine))["devices"]

    assert [part["rows"]["text"] for part in device["parts"]] == ["1", "4"]


def test_files_of_a_shape_of_which_none_is_a_table_are_in_no_group(mine) -> None:
    """Only as many files as are opened are looked at."""
    for number in range(300):
        write(mine, f"notes/n{number}.txt", "")
    for subject in ("s1", "s2", "s3"):
        for activity in ("walk", "sit"):
            write(mine, f"{subject}/{activity}.csv", plain())
    proposal = drafts.draft(mine)

    assert (proposal.matched, proposal.opened) == (6, 200)


def test_numbers_that_nothing_names_are_left_to_the_user(mine) -> None:
    """The columns are listed."""
    rows = [(f"{n / 50:.2f}", n % 7, n % 5, n % 3) for n in range(200)]
    for subject in ("s1", "s2"):
        for activity in ("walk", "sit"):
            write(mine, f"{subject}/{activity}.csv", table("t,foo,bar,baz", rows))
    proposal = drafts.draft(mine)

    assert f"{SOURCE}.devices.0.channels.0.column" in drafts.blanks(proposal)
    assert any("foo, bar, baz" in text for _, text in proposal.blanks)


# Annotations


def annotated(folder: Path, text: str, name: str = "{}.txt", subjects: Sequence[str] = ("anna", "ben", "cleo")) -> None:
    """Write recordings of twelve seconds, and a file of annotations of each."""
    for subject in subjects:
        write(folder, f"{subject}.csv", plain(600))
        write(folder, name.format(subject), text.replace("SUBJECT", subject))


ELAN = "behaviour\t\t00:00:00.000\t0.0\t00:00:06.000\t6.0\twalk\n"
ELAN += "behaviour\t\t00:00:06.000\t6.0\t00:00:12.000\t12.0\trest\n"
EVENTS = ((0, "walk", "begin"), (6, "walk", "end"), (6, "rest", "begin"), (12, "rest", "end"))
ANNOTATIONS = {
    "ELAN, a file for each": (ELAN, "{}.txt"),
    "times of the day": ("tier\t00:00:00.000\t00:00:06.000\twalk\ntier\t00:00:06.000\t00:00:12.000\trest\n", "{}.txt"),
    "milliseconds": ("start,end,label\n0,6000,walk\n6000,12000,rest\n", "{}_labels.csv"),
    "a unit in the header": ("start (ms),end (ms),label\n0,6000,walk\n6000,12000,rest\n", "{}_labels.csv"),
    "other words for start and stop": (
        table("Time,Subject,Behavior,Type", ((t, "SUBJECT", what, kind) for t, what, kind in EVENTS)),
        "{}_events.csv",
    ),
    "durations": (
        "file\tonset\tduration\tbehaviour\nSUBJECT.csv\t0\t6\twalk\nSUBJECT.csv\t6\t6\trest\n",
        "{}_labels.tsv",
    ),
    "the file in a column of another name": (
        "clip,start,end,label\nSUBJECT.csv,0,6,walk\nSUBJECT.csv,6,12,rest\n",
        "{}_labels.csv",
    ),
}


@pytest.mark.parametrize(("text", "name"), ANNOTATIONS.values(), ids=ANNOTATIONS)
def test_annotations(mine, text, name) -> None:
    """Every row of the recordings gets its label."""
    annotated(mine, text, name)
    proposal = drafts.draft(mine)
    dataset = drafts.read(mine, proposal)

    assert drafts.blanks(proposal) == []
    assert [dataset.classes[code] for code in dataset.recordings[1].labels[[10, 290, 310, 590]]] == ["walk"] * 2 + [
        "rest"
    ] * 2


def test_several_tiers(mine) -> None:
    """Which one has the labels is left to the user."""
    annotated(mine, ELAN + "gaze\t\t00:00:00.000\t0.0\t00:00:06.000\t6.0\tleft\n")

    assert drafts.blanks(drafts.draft(mine)) == [f"{SOURCE}.annotations.rows.text"]


def test_annotations_since_the_first_sample(mine) -> None:
    """The recordings count from another moment."""
    time, acceleration, _ = draft_files.motion(600)
    rows = [(f"{5000 + t:.2f}", *np.round(a, 4)) for t, a in zip(time, acceleration, strict=True)]
    annotated(mine, "start,end,label\n0,6,walk\n6,12,rest\n", "{}_labels.csv")
    for subject in ("anna", "ben", "cleo"):
        write(mine, f"{subject}.csv", table("t,ax,ay,az", rows))
    proposal = drafts.draft(mine)

    assert drafts.source(proposal)["annotations"]["clock"] == "start"
    assert "begin near 0" in drafts.why(proposal, f"{SOURCE}.annotations.clock")


def test_annotations_in_seconds_since_1970(mine) -> None:
    """As the recordings."""
    time, acceleration, _ = draft_files.motion(600)
    rows = [(round(1.7e12 + 1000 * t), *np.round(a, 4)) for t, a in zip(time, acceleration, strict=True)]
    annotated(mine, "start,end,label\n1700000000,1700000006,walk\n1700000006,1700000012,rest\n", "{}_labels.csv")
    for subject in ("anna", "ben", "cleo"):
        write(mine, f"{subject}.csv", table("t,ax,ay,az", rows))
    dataset = drafts.read(mine, drafts.draft(mine))

    assert dataset.classes == ("rest", "walk")
    assert (dataset.recordings[0].labels >= 0).all()


def test_annotations_with_dates(mine) -> None:
    """In the form of the recordings."""
    time, acceleration, _ = draft_files.motion(600)
    rows = [
        (f"07.05.2024 08:30:{int(t):02d}.{round(1000 * t) % 1000:03d}", *np.round(a, 4))
        for t, a in zip(time, acceleration, strict=True)
    ]
    marks = (
        "start,end,label\n07.05.2024 08:30:00,07.05.2024 08:30:06,walk\n07.05.2024 08:30:06,07.05.2024 08:30:12,rest\n"
    )
    annotated(mine, marks, "{}_labels.csv")
    for subject in ("anna", "ben", "cleo"):
        write(mine, f"{subject}.csv", table("t,ax,ay,az", rows))
    dataset = drafts.read(mine, drafts.draft(mine))

    assert (dataset.recordings[0].labels >= 0).all()


def test_annotations_whose_recordings_are_not_named(mine) -> None:
    """One file for all, and nothing in it says for whom."""
    annotated(mine, "start,end,label\n0,6,walk\n6,12,rest\n", "labels.csv")

    assert drafts.blanks(drafts.draft(mine)) == [f"{SOURCE}.annotations.subject"]


def test_the_blank_of_annotations_lists_the_columns_left(mine) -> None:
    """Without those of the times and the label."""
    annotated(mine, "start,end,label,rater,device\n0,6,walk,x,1\n6,12,rest,x,1\n", "labels.csv")
    (text,) = (text for place, text in drafts.draft(mine).blanks if place == f"{SOURCE}.annotations.subject")

    assert "rater, device;" in text


@pytest.mark.parametrize("named", ["{}", "{}/Accelerometer.csv", "{}/Gyroscope", "data/{}"])
def test_annotations_that_name_folders_of_recordings(mine, named) -> None:
    """Each folder has a file for each sensor."""
    rows = [(n * 20_000_000, 0.1 * (n % 7), 0.2 * (n % 5), 9.8 - 0.1 * (n % 3)) for n in range(600)]
    lines = []
    for folder in ("anna_walk_1", "anna_walk_2", "ben_walk_1", "ben_walk_2", "cleo_walk_1", "cleo_walk_2"):
        for sensor in ("Accelerometer", "Gyroscope"):
            write(mine, f"data/{folder}/{sensor}.csv", table("time,x,y,z", rows))
        text = named.format(folder)
        lines += [f"0,6,walk,{text}", f"6,12,rest,{text}"]
    write(mine, "labels.csv", "\n".join(["start,end,label,file", *lines, ""]))
    proposal = drafts.draft(mine)

    assert drafts.source(proposal)["annotations"]["file"] == "file"
    assert f"{SOURCE}.annotations.subject" not in drafts.blanks(proposal)


def test_annotations_of_several_recordings_of_one_subject(mine) -> None:
    """Each label would be that of every recording."""
    for number in (1, 2):
        write(mine, f"anna/take_{number}.csv", plain(600))
    write(mine, "labels.csv", "start,end,label\n0,6,walk\n6,12,rest\n")

    assert f"{SOURCE}.annotations.subject" in drafts.blanks(drafts.draft(mine))


def test_a_column_of_sensors_does_not_name_recordings(mine) -> None:
    """Every folder has files of these names."""
    rows = [(n * 20_000_000, 0.1 * (n % 7), 0.2 * (n % 5), 9.8 - 0.1 * (n % 3)) for n in range(600)]
    for folder in ("anna_walk_1", "ben_walk_1", "cleo_walk_1"):
        for sensor in ("Accelerometer", "Gyroscope"):
            write(mine, f"{folder}/{sensor}.csv", table("time,x,y,z", rows))
    write(mine, "labels.csv", "start,end,label,sensor\n0,6,walk,Accelerometer\n6,12,rest,Gyroscope\n")

    assert "file" not in drafts.source(drafts.draft(mine))["annotations"]


def test_annotations_of_one_recording(mine) -> None:
    """Need no name."""
    annotated(mine, "start,end,label\n0,6,walk\n6,12,rest\n", "labels.csv", ("s1",))

    assert "subject" not in drafts.source(drafts.draft(mine))["annotations"]


@pytest.mark.parametrize(
    "text",
    [
        "start,end,label\nsoon,later,walk\nsoon,later,rest\n",  # no times
        "12.0\t6.0\twalk\n13.0\t6.0\trest\n",  # ends before it begins
        "walk\trest\nrest\twalk\n",  # no times at all
    ],
)
def test_files_that_are_no_annotations(mine, text) -> None:
    """The labels are left to the user."""
    annotated(mine, text)

    assert f"{SOURCE}.label" in drafts.blanks(drafts.draft(mine))


# Binary tables, archives and faults


def test_a_binary_table(mine) -> None:
    """Its columns are read as those of text."""
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    time, acceleration, _ = draft_files.motion()
    for subject in ("s1", "s2", "s3"):
        cells = {
            "when": (1e9 * time).astype("datetime64[ns]"),
            **{f"a{axis}": acceleration[:, n] for n, axis in enumerate("xyz")},
        }
        cells["activity"] = ["walk" if t < 3 else "rest" for t in time]
        parquet.write_table(arrow.table(cells), mine / f"{subject}.parquet")
    proposal = drafts.draft(mine)

    assert (proposal.labels, proposal.devices[0].rate_hz) == (("rest", "walk"), 50)


def test_an_archive_is_a_folder(tmp_path) -> None:
    """With the recordings of all subjects."""
    files = {f"{s}/{a}.csv": plain().encode() for s in ("s1", "s2", "s3") for a in ("walk", "sit")}
    (tmp_path / "mine.zip").write_bytes(draft_files.packed(files))
    proposal = drafts.draft(tmp_path / "mine.zip")

    assert len(drafts.read(tmp_path / "mine.zip", proposal).recordings) == 6


FAULTS = {
    "an empty folder": ({}, ["draft.nothing-found"]),
    "a file of an unknown format": ({"a.xyz": b"\0\1\2"}, ["draft.nothing-found"]),
    "an unknown and a known format": (
        {"a.xyz": b"\0\1\2", "b.cwa": b"MD\xfc\x03" + bytes(2000)},
        ["draft.foreign"],
    ),
    "notes only": ({"readme.txt": b"hello\n"}, ["draft.no-signal"]),
    "binary recordings": (
        {"a.cwa": b"MD\xfc\x03" + bytes(2000), "b.cwa": b"MD\xfc\x03" + bytes(2000)},
        ["draft.foreign"],
    ),
    "a damaged file of an unknown suffix": ({"a.foo.gz": b"\x1f\x8bxxxx"}, ["recordings.archive-damaged"]),
    "a compressed file that is damaged": ({"a.csv.gz": b"\x1f\x8bxxxx"}, ["recordings.archive-damaged"] * 2),
}


@pytest.mark.parametrize(("files", "rules"), FAULTS.values(), ids=FAULTS)
def test_folders_that_cannot_be_drafted(mine, files, rules) -> None:
    """With what is there, and what to export."""
    for name, data in files.items():
        (mine / name).write_bytes(data)
    with pytest.raises(InputError) as caught:
        drafts.draft(mine)

    assert sorted({problem.rule for problem in caught.value.problems}) == sorted(set(rules))


def test_a_large_file_that_is_damaged_at_its_end(mine, monkeypatch) -> None:
    """Its labels are not known."""
    monkeypatch.setattr(drafts.drafting.tables, "BYTES", 2**13)
    monkeypatch.setattr(drafts.drafting.tables, "LEAST", 2**12)
    for subject in ("P1", "P2", "P3"):
        (mine / f"{subject}.csv").write_bytes(labelled(["walk", "rest", "run"], 400).encode() + b"\xff,1,2,3,walk\n")

    assert drafts.draft(mine).labels is None


def test_a_file_that_cannot_be_read_is_skipped(mine) -> None:
    """The others are drafted; reading the recordings names it."""
    for subject in ("s1", "s2", "s3"):
        for activity in ("walk", "sit"):
            write(mine, f"{subject}/{activity}.csv", plain())
    (mine / "s1/walk.csv").unlink()
    (mine / "s1/walk.csv").symlink_to("/etc/hostname")

    assert drafts.draft(mine).subjects == ("s1", "s2", "s3")


def test_ten_thousand_files(mine) -> None:
    """Few are opened."""
    text = plain(60)
    for subject in range(100):
        for n in range(100):
            write(mine, f"S{subject:03d}/{('walk', 'sit', 'run', 'lie')[n % 4]}_{n:02d}.csv", text)
    proposal = drafts.draft(mine)

    assert (proposal.recordings, proposal.opened, len(proposal.subjects or ())) == (10_000, 200, 100)


# Text from strangers

FOREIGN = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters='\r\n\0",'), max_size=12),
    st.sampled_from(
        ["# x: y", "{{ a }}", "\x1b[31m", "yes", "- a", "a: b", "\u202e", "'", "%s", "(?P<a>", "FILL IN: x", "null"]
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(names=st.lists(FOREIGN, min_size=4, max_size=4), label=FOREIGN, part=FOREIGN)
def test_text_of_files_never_becomes_yaml(tmp_path_factory, names, label, part) -> None:
    """Whatever headers, labels and paths are, the YAML reads back, and each of its comments is one line."""
    folder = tmp_path_factory.mktemp("x") / "mine"
    rows = [(f"{n / 50:.2f}", 0.1 * (n % 3), 0.6 * draft_files.G, 0.8 * draft_files.G, label) for n in range(120)]
    header = ",".join(["t", *names[:3], "activity"])
    safe = part.replace("/", "_").strip(". ") or "x"
    for subject in ("s1", "s2"):
        write(folder, f"{subject}_{safe[:8]}.csv", table(header, rows))
    try:
        proposal = drafts.draft(folder)
    except InputError:
        return
    text = drafting.render(proposal, "a.yaml")

    assert strict_yaml.parse(text, "a.yaml") == commented.plain(proposal.document)
    assert all(line.isprintable() or "\u00ad" not in line for line in text.splitlines())


# Splits, windows and the mark of a draft


@pytest.mark.parametrize(("count", "test", "validation"), [(3, 1, 1), (5, 1, 1), (10, 2, 1), (30, 6, 3), (None, 1, 1)])
def test_the_split_by_the_number_of_subjects(count, test, validation) -> None:
    """At least one for each."""
    assert split(count).value == {"by": "subject", "test": test, "validation": validation}


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_subjects_are_split_by_time(count) -> None:
    """The comment says what this means, and what helps."""
    found = split(count)

    assert found.value["by"] == "time"
    assert "nothing about other subjects" in found.why


@pytest.mark.parametrize(
    ("rate", "size"), [(50, 100), (100, 200), (20, 40), (30, 60), (25, 52), (12.5, 28), (3, 8), (None, 100)]
)
def test_the_window_by_the_rate(rate, size) -> None:
    """Two seconds, in a number of samples that networks can halve twice."""
    found = commented.plain(window(rate))

    assert (found["window"], found["hop"]) == (size, size // 2)


def test_a_draft_that_was_edited_is_known() -> None:
    """Any change of the text."""
    text = stamp.stamped("a: 1\n")

    assert stamp.is_unedited(text.encode())
    assert not any(
        stamp.is_unedited(changed.encode()) for changed in (text.replace("1", "2"), text + "\n", "a: 1\n", "")
    )


def test_a_form_says_only_what_is_not_usual() -> None:
    """The defaults are left out."""
    assert drafting.proposal.form(CsvForm()) == {}
