"""Labels of recordings from intervals in files of their own."""

import json

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


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        ("later", ["1 row is in annotations of different labels", "30.0% of the rows are outside of every annotation"]),
        ("unlabelled", ["30.0% of the rows are outside of every annotation"]),  # the overlap is a finding
    ],
)
def test_what_does_not_fit_and_is_not_wrong_is_a_notice(tmp_path, overlap, expected) -> None:
    """Time outside of every annotation, and overlaps that a rule decides."""
    from csv_folder import source, write

    from modelreg.data.cache import Reading
    from modelreg.data.sources import csv

    notes = "from,to,what,who\n0,4,walk,s\n3,6,rest,s\n0,1,walk,anna\n"
    folder = write(tmp_path, {"s_1.csv": TIMES, "notes.txt": notes})
    found = []
    settings = source(devices=DEVICES, label=None, annotations=INTERVALS | {"subject": "who", "overlap": overlap})
    csv.read(settings, Reading(folder, remark=found.append))

    assert [notice.message.partition(",")[0] for notice in found] == expected


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


PHONE = {
    "phone": {
        "rate_hz": 1,
        "parts": [
            {
                "files": rf"(?P<subject>[a-z]+)/(?P<session>\w+)/{name}\.csv",
                "time": {"column": "t", "unit": "s"},
                "channels": [{"name": channel, "column": column, "unit": unit}],
            }
            for name, channel, column, unit in (("acc", "acc_x", "a", "g"), ("gyro", "gyro_x", "b", "rad/s"))
        ],
    }
}
WALKS = {f"{who}/{who}_{n}/{part}.csv": TIMES for who in ("anna", "ben") for n in (1, 2) for part in ("acc", "gyro")}


@pytest.mark.parametrize(
    "text",
    [
        "anna/anna_2/acc.csv",
        "anna/anna_2/gyro.csv",
        "anna/anna_2/acc",
        "anna_2/gyro.csv",
        "anna_2/gyro",
        "anna/anna_2",
        "anna_2",
        "./anna_2/",
        "anna\\anna_2",
    ],
)
def test_a_text_that_names_a_recording(tmp_path, text) -> None:
    """Any part's file, its end without the suffix, and the folder."""
    notes = f"from,to,what,path\n0,9,walk,{text}\n0,9,rest,ben_1\n"
    settings = {"devices": PHONE, "label": None, "annotations": INTERVALS | {"file": "path"}}
    dataset = read(tmp_path, WALKS | {"notes.txt": notes}, **settings)

    walking = [r.name for r in dataset.recordings if dataset.classes.index("walk") in r.labels]
    assert walking == ["anna-anna_2"]


@pytest.mark.parametrize("text", ["acc.csv", "acc", "gyro"])
def test_a_text_that_names_several_recordings(tmp_path, text) -> None:
    """Which one is meant is not known."""
    texts = WALKS | {"notes.txt": f"from,to,what,path\n0,9,rest,ben_1\n0,9,walk,{text}\n"}
    found = problems(tmp_path, texts, devices=PHONE, label=None, annotations=INTERVALS | {"file": "path"})

    assert rules(found) == [("notes.txt:3", "csv.annotation-ambiguous")]


def test_a_subject_makes_a_file_clear(tmp_path) -> None:
    """The name of a file that every subject has."""
    texts = {f"{who}/{name}": text for who in "pq" for name, text in (("1.csv", TIMES),)}
    texts |= {"notes.txt": "from,to,what,who,path\n0,9,walk,p,1.csv\n0,9,rest,q,1.csv\n"}
    devices = {"watch": DEVICES["watch"] | {"files": r"(?P<subject>\w)/(?P<session>\d)\.csv"}}
    annotations = INTERVALS | {"subject": "who", "file": "path"}
    dataset = read(tmp_path, texts, devices=devices, label=None, annotations=annotations)

    assert [dataset.classes[r.labels[0]] for r in dataset.recordings] == ["walk", "rest"]


def test_a_whole_path_counts_before_the_end_of_another(tmp_path) -> None:
    """Otherwise no text would name the file in the outer folder."""
    devices = {"watch": DEVICES["watch"] | {"files": r"(?:(?P<session>old)/)?(?P<subject>\w+)\.csv"}}
    notes = "from,to,what,path\n0,9,walk,p.csv\n0,9,rest,old/p.csv\n"
    texts = {"p.csv": TIMES, "old/p.csv": TIMES, "notes.txt": notes}
    dataset = read(tmp_path, texts, devices=devices, label=None, annotations=INTERVALS | {"file": "path"})

    assert {r.session: dataset.classes[r.labels[0]] for r in dataset.recordings} == {"1": "walk", "old": "rest"}


def test_a_file_of_several_recordings_is_named_by_design(tmp_path) -> None:
    """Its rows are divided by a column."""
    text = "who,t,a,b\n" + "".join(f"{who},{n},{n},0\n" for who in "pq" for n in range(5))
    devices = {"watch": DEVICES["watch"] | {"files": r"(?P<session>\w+)\.csv"}}
    annotations = INTERVALS | {"file": "path"}
    texts = {"all.csv": text, "notes.txt": "from,to,what,path\n0,2,walk,all\n3,4,rest,all\n"}
    dataset = read(tmp_path, texts, devices=devices, subject="who", label=None, annotations=annotations)

    assert [sorted(set(r.labels.tolist())) for r in dataset.recordings] == [[0, 1], [0, 1]]


names = st.lists(st.sampled_from(["anna", "ben", "walk_1", "walk.2", "acc"]), min_size=1, max_size=4)
paths_of_files = names.map(lambda parts: "/".join(parts) + ".csv")


@given(st.lists(paths_of_files, min_size=1, max_size=6, unique=True), st.data())
def test_the_path_of_a_file_names_its_recording_alone(paths, data) -> None:
    """Whatever the other files are called."""
    from modelreg.data.sources.annotation_matching import Target, match
    from modelreg.records.csv_names import CsvAnnotations

    targets = [Target(f"r{n}", "s", f"{n}", (path,)) for n, path in enumerate(paths)]
    number = data.draw(st.integers(0, len(paths) - 1))
    asked = Interval(0.0, 1.0, "walk", "", "", "", paths[number])

    assert match([asked], targets, CsvAnnotations(**INTERVALS, file="path")) == {asked: (number,)}


def test_the_message_of_annotations_of_nobody_has_both_sides(tmp_path) -> None:
    """The column, its text, a file of a recording, and what to write."""
    texts = WALKS | {"notes.txt": "from,to,what,path\n0,9,walk,anna_walk_7\n"}
    (found,) = problems(tmp_path, texts, devices=PHONE, label=None, annotations=INTERVALS | {"file": "path"})

    assert found.rule == "csv.annotations-unmatched"
    assert "'path' has 'anna_walk_7'" in found.message
    assert "anna/anna_1/acc.csv" in found.message
    assert "'anna_1'" in found.next


@pytest.mark.parametrize(
    ("files", "subject", "name", "said"),
    [
        (r"(?P<subject>\w+)_notes\.txt", None, "zoe_notes.txt", "group 'subject' of the path has 'zoe'"),
        (r"notes\.txt", {"pattern": "w.o"}, "notes.txt", "column 'w.o' has 'zoe'"),
    ],
    ids=["group", "pattern"],
)
def test_the_message_names_what_has_the_text(tmp_path, files, subject, name, said) -> None:
    """A group of the path of the annotations, or a pattern of columns."""
    texts = {"s_1.csv": TIMES, name: "from,to,what,who\n1,2,walk,zoe\n"}
    settings = INTERVALS | {"files": files} | ({"subject": subject} if subject else {})
    (found,) = problems(tmp_path, texts, devices=DEVICES, label=None, annotations=settings)

    assert said in found.message


def findings(tmp_path, notes: str, **changes) -> list[tuple[str, str]]:
    """Return rule and level of what reading finds in the annotations of two recordings."""
    settings = {"devices": DEVICES, "label": None, "annotations": INTERVALS | {"subject": "who"}} | changes
    dataset = read(tmp_path, {"s_1.csv": TIMES, "q_1.csv": TIMES, "notes.txt": notes}, **settings)
    return [(finding.rule, finding.level) for finding in dataset.findings]


def test_annotations_that_fit_are_not_wrong(tmp_path) -> None:
    """Each is for a recording, and none overlaps."""
    assert not findings(tmp_path, "from,to,what,who\n0,4,walk,s\n4,9,rest,s\n0,9,rest,q\n")


def test_annotations_without_a_recording_are_wrong(tmp_path) -> None:
    """Others are for one."""
    notes = "from,to,what,who\n0,4,walk,s\n0,9,rest,anna\n"

    assert findings(tmp_path, notes) == [("csv.annotation-unused", "problem")]


def test_annotations_of_dropped_recordings_are_not_wrong(tmp_path) -> None:
    """Their recording is left out on purpose."""
    assert not findings(tmp_path, "from,to,what,who\n0,4,walk,s\n4,9,rest,s\n0,9,rest,q\n", drop=["q-.*"])


def test_annotations_of_dropped_parts_of_a_file_are_not_wrong(tmp_path) -> None:
    """Also where a column names the recordings."""
    text = "who,t,a,b\n" + "".join(f"{who},{n},{n},0\n" for who in "pq" for n in range(5))
    devices = {"watch": DEVICES["watch"] | {"files": r"(?P<session>\w+)\.csv"}}
    texts = {"all.csv": text, "notes.txt": "from,to,what,who\n0,2,walk,p\n3,4,rest,q\n"}
    annotations = INTERVALS | {"subject": "who"}
    settings = {"devices": devices, "subject": "who", "label": None, "annotations": annotations, "drop": ["q-.*"]}

    assert not read(tmp_path, texts, **settings).findings


@pytest.mark.parametrize(
    ("overlap", "expected"), [("unlabelled", [("csv.annotations-overlap", "problem")]), ("later", [])]
)
def test_rows_that_lose_their_label_are_wrong(tmp_path, overlap, expected) -> None:
    """With `later` the configuration says which label counts."""
    annotations = INTERVALS | {"subject": "who", "overlap": overlap}

    assert findings(tmp_path, "from,to,what,who\n0,4,walk,s\n3,6,rest,s\n", annotations=annotations) == expected


def test_the_check_counts_what_is_wrong_with_labels(tmp_path) -> None:
    """An annotation of nobody, an overlap and a class that all rows lose are problems, which `--strict` refuses."""
    from csv_folder import source, write

    from modelreg.config import TrainConfig
    from modelreg.data import preparation, quality
    from modelreg.data.cache import Reading
    from modelreg.errors import InputError

    notes = "from,to,what,who\n0,4,walk,s\n5,8,rest,s\n5,8,run,s\n0,1,walk,anna\n"
    folder = write(tmp_path, {"s_1.csv": TIMES, "q_1.csv": TIMES, "notes.txt": notes})
    labels = {"walk": "walk", "rest": "rest", "run": "run"}
    mine = source(devices=DEVICES, label=None, annotations=INTERVALS | {"subject": "who"}, labels=labels)
    data = {"sources": [mine.to_document()], "window": 8, "hop": 8}
    config = TrainConfig.model_validate_json(json.dumps({"data": data}))
    report, _ = preparation.check(config, Reading(folder))

    expected = {"csv.annotation-unused", "csv.annotations-overlap", "quality.class-empty"}
    assert expected <= {finding.rule for finding in report.findings or () if finding.level == "problem"}
    with pytest.raises(InputError) as caught:
        quality.refuse_broken(report)
    assert expected <= {problem.rule for problem in caught.value.problems}
    of_all = sum(f.level == "problem" and not f.recordings for f in report.findings or ())
    mean = sum(recording.score for recording in report.recordings) / len(report.recordings)
    assert (of_all >= 3, report.score) == (True, pytest.approx(mean * 0.9**of_all))
