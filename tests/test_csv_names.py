"""Subjects, sessions and labels of text files from columns and lookup files."""

import itertools

import numpy as np
import pytest
from csv_folder import FILES, TEXT, device, problems, read, source, timed
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import InputError

ALL = r".*\.csv"
WHO = "who,visit,a,b,label\n"
BY_COLUMN = {"devices": {"watch": device(files=ALL)}, "subject": "who", "session": "visit"}
ID = {"watch": device(files=r"(?P<id>\w+)\.csv")}
LOOKUP = {"file": "who.txt", "key": "file", "subject": "person"}


def rules(found) -> list[tuple[str, str]]:
    """Return place and rule of each problem."""
    return [(problem.where, problem.rule) for problem in found]


@given(st.lists(st.tuples(st.sampled_from("pq"), st.sampled_from("12"), st.integers(0, 99)), min_size=1, max_size=30))
def test_rows_are_those_of_each_subject_and_session(tmp_path_factory, rows) -> None:
    """In the order of the file, however subjects take turns."""
    text = WHO + "".join(f"{subject},{session},{value},0,walk\n" for subject, session, value in rows)
    dataset = read(tmp_path_factory.mktemp("data"), {"all.csv": text}, **BY_COLUMN)
    expected = {}
    for subject, session, value in rows:
        expected.setdefault(f"{subject}-{session}", []).append(value)

    assert {r.name: r.signals["watch"].values[:, 0].tolist() for r in dataset.recordings} == expected


def test_subjects_of_several_files_with_two_parts(tmp_path) -> None:
    """Each file tells the subjects of its own rows."""
    turning = "who,visit,c\nq,1,7\np,1,5\np,1,6\n"
    parts = [
        {"files": "acc.csv", "channels": [{"name": "acc_x", "column": "a", "unit": "g"}]},
        {"files": "gyro.csv", "channels": [{"name": "gyro_x", "column": "c", "unit": "rad/s"}]},
    ]
    devices = {"watch": {"rate_hz": 50, "parts": parts}}
    texts = {"acc.csv": WHO + "p,1,1,0,walk\np,1,2,0,walk\nq,1,3,0,walk\n", "gyro.csv": turning}
    dataset = read(tmp_path, texts, **BY_COLUMN | {"devices": devices})

    assert [r.signals["watch"].values.tolist() for r in dataset.recordings] == [[[1, 5], [2, 6]], [[3, 7]]]


def test_a_subject_that_one_part_does_not_have(tmp_path) -> None:
    """The recording is named."""
    texts = {"acc.csv": WHO + "p,1,1,0,walk\nq,1,3,0,walk\n", "gyro.csv": WHO + "p,1,1,0,walk\n"}
    devices = {"watch": device(files="acc.csv"), "phone": device(files="gyro.csv")}
    found = problems(tmp_path, texts, **BY_COLUMN | {"devices": devices})

    assert rules(found) == [(".: q-1", "csv.device-missing")]


def test_a_subject_without_a_name(tmp_path) -> None:
    """Named with its line."""
    assert rules(problems(tmp_path, {"all.csv": WHO + "p,1,1,0,walk\n,1,1,0,walk\n"}, **BY_COLUMN)) == [
        ("all.csv:3", "csv.name-invalid")
    ]


def test_two_files_of_one_subject_and_session(tmp_path) -> None:
    """They cannot both be the recording."""
    texts = {f"{name}.csv": WHO + "p,1,1,0,walk\n" for name in "xy"}

    assert rules(problems(tmp_path, texts, **BY_COLUMN)) == [("y.csv", "csv.recording-twice")]


def test_a_recording_of_a_column_is_left_out(tmp_path) -> None:
    """`drop` matches the names that columns tell."""
    text = WHO + "p,1,1,0,walk\nq,1,1,0,walk\n"

    assert [r.name for r in read(tmp_path, {"all.csv": text}, **BY_COLUMN, drop=["q-.*"]).recordings] == ["p-1"]


def test_every_recording_is_left_out(tmp_path) -> None:
    """Which leaves nothing to read."""
    found = problems(tmp_path, {"all.csv": WHO + "p,1,1,0,walk\n"}, **BY_COLUMN, drop=[".*"])

    assert rules(found) == [(".", "sources.all-dropped")]


def test_a_subject_of_a_column_and_a_label_of_the_path(tmp_path) -> None:
    """Names may come from both."""
    devices = {"watch": device(files=r"(?P<label>\w+)\.csv")}
    texts = {f"{label}.csv": "who,a,b\np,1,2\n" for label in ("walk", "rest")}
    dataset = read(tmp_path, texts, devices=devices, subject="who", label=None)

    assert [(r.name, dataset.classes[r.labels[0]]) for r in dataset.recordings] == [
        ("p-1-rest", "rest"),
        ("p-1-walk", "walk"),
    ]


def test_restarts_are_recordings(tmp_path) -> None:
    """A falling time begins the next one."""
    text = "t,a,b,label\n" + "".join(f"{t},{n},0,walk\n" for n, t in enumerate([0, 20, 40, 0, 20, 10, 30]))
    dataset = read(tmp_path, {"s_1.csv": text}, devices=timed("ms"), clock="restart")
    found = {r.name: r.signals["watch"].values[:, 0].tolist() for r in dataset.recordings}

    assert found == {"s-1": [0, 1, 2], "s-1.2": [3, 4], "s-1.3": [5, 6]}


@given(st.lists(st.integers(2, 9), min_size=2, max_size=30), st.integers(1, 9))
def test_gaps_divide_a_recording(tmp_path_factory, steps, gap) -> None:
    """Where the time steps by more than the limit."""
    times = np.cumsum([0, *steps])
    text = "t,a,b,label\n" + "".join(f"{t},{t},0,walk\n" for t in times)
    devices = {"watch": device(time={"column": "t", "unit": "s"}, rate_hz=0.2)}
    dataset = read(tmp_path_factory.mktemp("data"), {"s_1.csv": text}, devices=devices, gap_s=gap)
    pieces = np.split(times, np.flatnonzero(np.diff(times) > gap) + 1)

    assert [r.signals["watch"].values[:, 0].tolist() for r in dataset.recordings] == [p.tolist() for p in pieces]


def test_a_gap_divides_every_device(tmp_path) -> None:
    """A piece that only one device has is left out."""
    texts = {
        "w/s_1.csv": "t,a,b,label\n" + "".join(f"{t},{t},0,walk\n" for t in (0, 1, 2, 100, 101, 200, 201)),
        "p/s_1.csv": "t,a,b\n" + "".join(f"{t},{t},0\n" for t in (0, 1, 2, 3, 199, 200, 201)),
    }
    devices = {
        name: device(files=rf"{name[0]}/{FILES}", time={"column": "t", "unit": "s"}, rate_hz=1)
        for name in ("watch", "phone")
    }
    dataset = read(tmp_path, texts, devices=devices, gap_s=10)

    assert [r.signals["phone"].values[:, 0].tolist() for r in dataset.recordings] == [[0, 1, 2, 3], [199, 200, 201]]
    assert [r.name for r in dataset.recordings] == ["s-1", "s-1.2"]


def test_a_lookup_file_names_subjects(tmp_path) -> None:
    """By the group `id`; the columns of the file may tell sessions and labels too."""
    who = "file,person,day,task\nx1,anna,1,walk\nx2,ben,3,rest\n"
    lookup = LOOKUP | {"session": "day", "label": "task"}
    dataset = read(
        tmp_path,
        {"x1.csv": "a,b\n1,2\n", "x2.csv": "a,b\n1,2\n", "who.txt": who},
        devices=ID,
        label=None,
        lookup=lookup,
    )

    assert [(r.name, dataset.classes[r.labels[0]]) for r in dataset.recordings] == [
        ("anna-1-walk", "walk"),
        ("ben-3-rest", "rest"),
    ]


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        ("file,person\nx2,anna\n", ("x1.csv", "csv.lookup-missing")),
        ("file,person\nx1,anna\nx1,ben\n", ("who.txt:3", "csv.lookup-twice")),
        ("file,name\nx1,anna\n", ("who.txt", "csv.column-missing")),
        ("file,person\nx1\n", ("who.txt:2", "csv.row-width")),
        ('file,person\n"x1,anna\n', ("who.txt:2", "csv.quotes")),
        ("file,person\nx1,\n", ("x1.csv", "csv.name-invalid")),
        (None, ("who.txt", "csv.lookup-missing")),
    ],
)
def test_a_lookup_file_that_does_not_fit(tmp_path, who, expected) -> None:
    """Refused at its place."""
    texts = {"x1.csv": TEXT} | ({"who.txt": who} if who else {})

    assert rules(problems(tmp_path, texts, devices=ID, lookup=LOOKUP))[0] == expected


def test_a_lookup_file_counts_for_the_digest(tmp_path) -> None:
    """Other names are other data."""
    texts = {"x1.csv": TEXT, "who.txt": "file,person\nx1,anna\n"}
    before = read(tmp_path, texts, devices=ID, lookup=LOOKUP)
    after = read(tmp_path, texts | {"who.txt": "file,person\nx1,ben\n"}, devices=ID, lookup=LOOKUP)

    assert before.sources[0].digest != after.sources[0].digest


TOLD = {"column": {"subject": "who"}, "group": {"devices": {"watch": device()}}, "lookup": {"lookup": LOOKUP}}


@pytest.mark.parametrize("ways", [pair for pair in itertools.combinations(TOLD, 2) if "group" in pair])
def test_a_name_is_told_once(ways) -> None:
    """Two places could contradict each other."""
    changes = {"devices": {"watch": device(files=r"(?P<subject>\w)(?P<id>\w)\.csv")}} if "lookup" in ways else {}

    with pytest.raises((InputError, ValueError), match="subject"):
        source(**TOLD[ways[0]] | TOLD[ways[1]] | changes)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"subject": "a", "devices": {"watch": device(files=ALL)}}, "subject"),
        ({"gap_s": 1}, "gap_s"),
        ({"lookup": LOOKUP}, "lookup"),
        ({"lookup": {"file": "x", "key": "y"}, "devices": ID}, "lookup"),
        ({"devices": ID}, "lookup"),
    ],
)
def test_settings_that_do_not_fit(changes, named) -> None:
    """Refused before a file is opened."""
    with pytest.raises(ValueError, match=named):
        source(**changes)


def test_channels_that_not_every_device_has_are_left_out(tmp_path) -> None:
    """The model takes the common ones, in the first device's order."""
    channels = {"b": {"column": "b", "unit": "g"}, "a": {"column": "a", "unit": "g"}}
    devices = {"watch": device(), "phone": device(channels=channels)}
    devices["watch"]["channels"] = {name: {"column": name, "unit": "g"} for name in "acb"}
    dataset = read(tmp_path, {"s_1.csv": "a,b,c,label\n1,2,3,walk\n"}, devices=devices)

    assert [channel.name for channel in dataset.channels] == ["a", "b"]
    assert [signal.values.tolist() for signal in dataset.recordings[0].signals.values()] == [[[1, 2]]] * 2


def test_gravity_is_part_of_what_a_channel_is() -> None:
    """An acceleration with gravity is not the same as one without."""
    with_gravity, without = (
        {"acc_x": {"column": "a", "unit": "g", "gravity": gravity}} for gravity in ("included", "removed")
    )

    with pytest.raises(ValueError, match="no channel is the same"):
        source(devices={"watch": device(channels=with_gravity), "phone": device(channels=without)})


def test_a_device_may_have_a_form_of_its_own(tmp_path) -> None:
    """Two apps write in two ways."""
    form = {"separator": ";", "decimal": ","}
    devices = {"watch": device(files=rf"w/{FILES}"), "phone": device(files=rf"p/{FILES}", form=form)}
    dataset = read(tmp_path, {"w/s_1.csv": "a,b,label\n1.5,2,walk\n", "p/s_1.csv": "a;b\n2,5;3\n"}, devices=devices)

    assert [signal.values.tolist() for signal in dataset.recordings[0].signals.values()] == [[[1.5, 2]], [[2.5, 3]]]
