"""Labels of recordings from intervals in files of their own."""

import numpy as np
import pytest
from csv_folder import problems, read, timed
from hypothesis import given
from hypothesis import strategies as st

from modelreg.data.recording import UNLABELLED
from modelreg.data.sources import csv_texts
from modelreg.data.sources.csv_annotations import Interval, label_rows

INTERVALS = {"files": r"notes\.txt", "begin": "from", "end": "to", "label": "what", "unit": "s"}
NUMBERED = {"begin": 1, "end": 2, "label": 3}
TIMES = "t,a,b\n" + "".join(f"{n},{n},0\n" for n in range(10))
DEVICES = {"watch": timed("s")["watch"] | {"rate_hz": 1}}


def rules(found) -> list[tuple[str, str]]:
    """Return place and rule of each problem."""
    return [(problem.where, problem.rule) for problem in found]


def labels(tmp_path, notes: str, text: str = TIMES, **changes) -> list[str]:
    """Return the label of each row of a recording of ten seconds; `-`: unlabelled."""
    settings = INTERVALS | changes
    settings = {key: value for key, value in settings.items() if value is not None}
    texts = {"s_1.csv": text, "notes.txt": notes}
    dataset = read(tmp_path, texts, devices=DEVICES, label=None, annotations=settings)
    (recording,) = dataset.recordings
    return [dataset.classes[code] if code >= 0 else "-" for code in recording.labels.tolist()]


def interval(begin: float, end: float, label: str) -> Interval:
    """An interval for any recording."""
    return Interval(begin, end, label, "", "", "", "")


spans = st.tuples(st.integers(0, 20), st.integers(0, 8), st.sampled_from("xyz")).map(
    lambda found: interval(found[0], found[0] + found[1], found[2])
)


@given(st.lists(spans, max_size=6), st.booleans())
def test_rows_have_the_label_of_the_intervals_that_contain_them(found, later) -> None:
    """Against a definition for one row: labels of the intervals that have it, without those that only end there."""
    time = np.arange(25.0)
    made = label_rows(time, found, later=later)
    for moment, code in zip(time, made.codes.tolist(), strict=True):
        within = [each for each in found if each.begin <= moment < each.end]
        ending = [each for each in found if each.end == moment >= each.begin]
        given_ = {each.label for each in within} or {each.label for each in ending}
        name = None if code == UNLABELLED else made.names[code]
        if later and within:
            latest = max(each.begin for each in within)
            assert name in {each.label for each in within if each.begin == latest}
        elif len({each.label for each in within}) > 1:
            assert name is None
        else:
            assert (name in given_) if given_ else name is None


@given(st.lists(spans, max_size=6))
def test_rows_in_intervals_of_different_labels_are_counted(found) -> None:
    """Whatever label they get."""
    time = np.arange(25.0)
    expected = sum(len({x.label for x in found if x.begin <= moment < x.end}) > 1 for moment in time)

    assert label_rows(time, found, later=True).overlapping == expected


@pytest.mark.parametrize(
    ("notes", "changes", "expected"),
    [
        ("from,to,what\n2,4,walk\n6,9,rest\n", {}, "--www-rrrr"),
        ("from,to,what\n2,4,walk\n6,9,rest\n", {"offset_s": -1}, "-www-rrrr-"),
        ("from,long,what\n2,3,walk\n", {"end": None, "duration": "long"}, "--wwww----"),
        ("from;to;what\n2,5;4,5;walk\n", {"separator": ";", "decimal": ","}, "---ww-----"),
        (
            "2 4 walk\n5 6 rest\n",
            {"separator": "blanks", "header": False, "begin": 1, "end": 2, "label": 3},
            "--wwwrr---",
        ),
        ("tier,from,to,what\na,2,4,walk\nb,2,9,rest\n", {"rows": {"column": "tier", "text": "a"}}, "--www-----"),
        ("from,to,what\n00:00:02,00:00:04.5,walk\n", {"unit": "time-of-day", "clock": "start"}, "--www-----"),
        ("from,to,what\n1,5,walk\n3,8,rest\n", {}, "-ww--rrrr-"),
        ("from,to,what\n1,5,walk\n3,8,rest\n", {"overlap": "later"}, "-wwrrrrrr-"),
        (
            "from,state,what\n1,START,walk\n2,POINT,rest\n4,STOP,walk\n6,START,walk\n7,STOP,walk\n",
            {"end": None, "events": {"column": "state"}},
            "-wwww-ww--",
        ),
    ],
)
def test_forms_of_annotations(tmp_path, notes, changes, expected) -> None:
    """A row has the label of the interval that contains its time."""
    assert "".join(name[0] for name in labels(tmp_path, notes, **changes)) == expected


def test_times_from_the_first_sample(tmp_path) -> None:
    """On a clock of their own."""
    text = "t,a,b\n" + "".join(f"{1000 + n},{n},0\n" for n in range(5))

    assert "".join(x[0] for x in labels(tmp_path, "from,to,what\n1,2,walk\n", text, clock="start")) == "-ww--"


def test_annotations_name_their_recordings(tmp_path) -> None:
    """By subject and session, and by the name of the file."""
    notes = "from,to,what,who,visit,path\n0,9,walk,s,1,\n0,9,rest,s,2,\n0,9,run,,,s_3.csv\n"
    columns = {"subject": "who", "session": "visit", "file": "path"}
    texts = {f"s_{n}.csv": TIMES for n in (1, 2, 3)} | {"notes.txt": notes}
    dataset = read(tmp_path, texts, devices=DEVICES, label=None, annotations=INTERVALS | columns)

    assert [dataset.classes[r.labels[0]] for r in dataset.recordings] == ["walk", "rest", "run"]


def test_the_path_of_annotations_names_the_subject(tmp_path) -> None:
    """A file of annotations for each."""
    texts = {f"{who}_1.csv": TIMES for who in "pq"}
    texts |= {f"{who}.txt": f"from,to,what\n0,9,{what}\n" for who, what in (("p", "walk"), ("q", "rest"))}
    annotations = INTERVALS | {"files": r"(?P<subject>\w)\.txt"}
    dataset = read(tmp_path, texts, devices=DEVICES, label=None, annotations=annotations)

    assert [dataset.classes[r.labels[0]] for r in dataset.recordings] == ["walk", "rest"]


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        ("from,to,what\n4,2,walk\n", ("notes.txt:2", "csv.annotation-end")),
        ("from,to,what\n1,x,walk\n", ("notes.txt:2", "csv.annotation-end")),
        ("from,to,what\n1,2,walk\nx,2,walk\n", ("notes.txt:3", "csv.time-missing")),
        ("from,to,what\n1,2,\n", ("notes.txt:2", "csv.name-invalid")),
        ("from,to\n1,2\n", ("notes.txt", "csv.column-missing")),
        ("from,to,what\n", ("notes.txt", "csv.empty")),
        ("from,to,what\n1,2,run\n", ("notes.txt:2", "sources.label-unmapped")),
    ],
)
def test_annotations_that_are_wrong(tmp_path, notes, expected) -> None:
    """Refused at their place."""
    texts = {"s_1.csv": TIMES, "notes.txt": notes}
    found = problems(
        tmp_path, texts, devices=DEVICES, label=None, annotations=INTERVALS, labels={"walk": "walk", "rest": "rest"}
    )

    assert rules(found) == [expected]


@pytest.mark.parametrize(
    ("rows", "line"), [("1,START,walk\n", 2), ("1,STOP,walk\n", 2), ("1,START,walk\n2,STOP,walk\n3,STOP,walk\n", 4)]
)
def test_events_without_their_partner(tmp_path, rows, line) -> None:
    """A start needs a stop."""
    settings = {key: value for key, value in INTERVALS.items() if key != "end"} | {"events": {"column": "state"}}
    texts = {"s_1.csv": TIMES, "notes.txt": f"from,state,what\n{rows}"}

    assert rules(problems(tmp_path, texts, devices=DEVICES, label=None, annotations=settings)) == [
        (f"notes.txt:{line}", "csv.event-unpaired")
    ]


def test_annotations_of_nobody(tmp_path) -> None:
    """A wrong column would leave everything unlabelled."""
    texts = {"s_1.csv": TIMES, "notes.txt": "from,to,what,who\n1,2,walk,anna\n"}
    found = problems(tmp_path, texts, devices=DEVICES, label=None, annotations=INTERVALS | {"subject": "who"})

    assert rules(found) == [("notes.txt:2", "csv.annotations-unmatched")]


def test_no_file_of_annotations(tmp_path) -> None:
    """The pattern fits nothing."""
    found = problems(tmp_path, {"s_1.csv": TIMES}, devices=DEVICES, label=None, annotations=INTERVALS)

    assert rules(found) == [(".", "csv.files-missing")]


def test_what_does_not_fit_is_reported(tmp_path) -> None:
    """Overlaps, time outside of every annotation, and annotations of nobody."""
    from csv_folder import source, write

    from modelreg.data.cache import Reading
    from modelreg.data.sources import csv

    notes = "from,to,what,who\n0,4,walk,s\n3,6,rest,s\n0,1,walk,anna\n"
    folder = write(tmp_path, {"s_1.csv": TIMES, "notes.txt": notes})
    found = []
    settings = source(devices=DEVICES, label=None, annotations=INTERVALS | {"subject": "who"})
    csv.read(settings, Reading(folder, remark=found.append))

    assert [notice.message.partition(",")[0].partition(":")[0] for notice in found] == [
        "1 rows are in annotations of different labels",
        "30.0% of the rows are outside of every annotation",
        "annotation without a recording",
    ]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"duration": "long"}, "end, duration or events"),
        ({"end": None}, "end, duration or events"),
        ({"files": r"(?P<label>\w)\.txt"}, "label"),
        ({"clock": "start", "unit": "iso8601"}, "clock"),
        ({"separator": ",", "decimal": ","}, "separator"),
    ],
)
def test_settings_that_do_not_fit(changes, named) -> None:
    """Refused before a file is opened."""
    from csv_folder import source

    with pytest.raises(ValueError, match=named):
        source(devices=DEVICES, label=None, annotations=INTERVALS | changes)


def test_rows_of_a_file_are_equally_spaced_without_a_time(tmp_path) -> None:
    """The clock of the annotations then begins with the first row."""
    texts = {"s_1.csv": "a,b\n" + "1,0\n" * 10, "notes.txt": "from,to,what\n0.02,0.06,walk\n"}
    dataset = read(tmp_path, texts, label=None, annotations=INTERVALS)

    assert dataset.recordings[0].labels.tolist() == [-1, 0, 0, 0, -1, -1, -1, -1, -1, -1]


def test_a_table_of_annotations_has_a_limit(tmp_path, monkeypatch) -> None:
    """A pattern that matches the recordings would read all of them."""
    monkeypatch.setattr(csv_texts, "ROWS", 2)
    texts = {"s_1.csv": TIMES, "notes.txt": "from,to,what\n" + "1,2,walk\n" * 3}
    found = problems(tmp_path, texts, devices=DEVICES, label=None, annotations=INTERVALS)

    assert rules(found) == [("notes.txt", "csv.too-many-rows")]
