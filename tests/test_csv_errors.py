"""The source csv: every fault with file, line and rule, all of them in one go."""

import errno
import os
import re

import numpy as np
import pytest
from csv_folder import FILES, TEXT, channels, described, device, problems, read, source, timed, write
from places import places

from modelreg import config
from modelreg.config import TrainConfig
from modelreg.data.cache import Reading
from modelreg.data.sources import csv, csv_table
from modelreg.errors import InputError, Problem
from modelreg.rules import catalogue

CHANNEL = {"name": "acc_x", "column": "a", "unit": "g"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ("s_1.csv", "csv.empty")),
        ("\n \n", ("s_1.csv", "csv.empty")),
        ("a,b,label\n", ("s_1.csv", "csv.empty")),
        ("a,c,label\n1,2,x\n", ("s_1.csv", "csv.column-missing")),
        ("a,b,b,label\n1,2,3,x\n", ("s_1.csv", "csv.column-ambiguous")),
        (TEXT.replace("3", "three"), ("s_1.csv:3", "csv.not-a-number")),
        (TEXT.replace("3", "1_000"), ("s_1.csv:3", "csv.not-a-number")),
        (TEXT.replace("3", "0x10"), ("s_1.csv:3", "csv.not-a-number")),
        (TEXT.replace("3", '"3,5"'), ("s_1.csv:3", "csv.decimal-comma")),
        (TEXT.replace("3", '"-,5e3"'), ("s_1.csv:3", "csv.decimal-comma")),
        (TEXT.replace("3", '"3,5,6"'), ("s_1.csv:3", "csv.not-a-number")),
        ("a,b,label\nTrue,2,x\n", ("s_1.csv:2", "csv.not-a-number")),
        ('a,b,label\n1,2,"x\n\ny"\n1,,"z"\n1,b,z\n', ("s_1.csv:6", "csv.not-a-number")),
        (TEXT.replace("4,rest", "4"), ("s_1.csv:3", "csv.row-width")),
        (TEXT.replace("4,rest", "4,rest,,5"), ("s_1.csv:3", "csv.row-width")),
        ("a,b,label\n1,x\n1,2,3,x\n", ("s_1.csv:2", "csv.row-width")),
        (TEXT.replace("4,rest", '4,"rest'), ("s_1.csv:3", "csv.quotes")),
        (TEXT.replace("4,rest", '4,"re"st'), ("s_1.csv:3", "csv.quotes")),
        (TEXT.encode("utf-16-le"), ("s_1.csv:1", "csv.encoding")),
        (TEXT.replace("4", "4\0").encode(), ("s_1.csv:3", "csv.encoding")),
        (TEXT.replace("rest", "r\u00e9st").encode("latin-1"), ("s_1.csv:3", "csv.encoding")),
        (TEXT.replace("rest", "r\x01"), ("s_1.csv:3", "csv.name-invalid")),
        (TEXT.replace("rest", "r" * 101), ("s_1.csv:3", "csv.name-invalid")),
    ],
)
def test_a_fault_in_a_file(tmp_path, text, problem) -> None:
    """File, line and rule."""
    assert places(problems(tmp_path, {"s_1.csv": text})) == [problem]


def test_a_cell_is_shown_with_its_column(tmp_path) -> None:
    """A long one is cut."""
    (problem,) = problems(tmp_path, {"s_1.csv": TEXT.replace("3", "y" * 99)})

    assert problem.message.endswith(f"{'y' * csv_table.SHOWN!r}, column 'a'")


@pytest.mark.parametrize(
    ("header", "step"),
    [
        ("a,bb,label", "set `channels[1].column` to 'bb'"),
        ("a,B (m/s²),label", "set `channels[1].column` to 'B (m/s²)'"),
        ("A,bb,Label", "set `channels[0].column` to 'A', `channels[1].column` to 'bb', `label` to 'Label'"),
        ("x,y,z", ""),
        ("a;b;label", "set `separator` to ';'"),
        ("a b  label", "set `separator` to 'blanks'"),
        ("a,b,Behaviour", "set `label` to 'Behaviour'"),
    ],
)
def test_a_missing_column_has_its_key_and_the_nearest_name(tmp_path, header, step) -> None:
    """By spelling, or by a word of the name."""
    (problem,) = problems(tmp_path, {"s_1.csv": f"{header}\n1,2,x\n"})

    assert (problem.rule, problem.next) == ("csv.column-missing", step)


def test_a_missing_time_has_the_column_that_is_probably_one(tmp_path) -> None:
    """By what such a column is usually called."""
    (problem,) = problems(tmp_path, {"s_1.csv": "Timestamp,a,b,label\n1,1,2,x\n"}, devices=timed("ms"))

    assert problem.next == "set `time.column` to 'Timestamp'"


OTHER = TEXT.replace(",b,", ",b (g),")


@pytest.mark.parametrize("name", ["ben_2", "b.n_2"])
def test_a_column_that_one_file_of_many_lacks_is_not_set(tmp_path, name) -> None:
    """The setting is right for the others; the pattern in the step leaves this recording out, and no other."""
    texts = {"ben_1.csv": TEXT, "anna_1.csv": TEXT, f"{name}.csv": OTHER}
    files = r"(?P<subject>[\w.]+)_(?P<session>\w+)\.csv"
    (found,) = problems(tmp_path, texts, devices={"watch": device(files=files)})
    pattern = re.search(r"drop: \['(.*)'\]", found.next)

    assert (found.where, found.rule, "column`" in found.next) == (f"{name}.csv", "csv.column-missing", False)
    assert pattern
    kept = read(tmp_path, {}, devices={"watch": device(files=files)}, drop=[pattern[1]]).recordings
    assert [recording.name for recording in kept] == ["anna-1", "ben-1"]


def test_a_column_that_half_of_the_files_lack_may_be_set(tmp_path) -> None:
    """It is not known which are right."""
    found = problems(tmp_path, {"ben_1.csv": TEXT, "ben_2.csv": OTHER})

    assert [problem.next for problem in found] == ["set `channels[1].column` to 'b (g)'"]


def test_a_column_that_one_file_of_several_subjects_lacks(tmp_path) -> None:
    """Its recordings are not known before it is read."""
    texts = {f"{name}.csv": f"who,{TEXT}".replace("\n", "\np,").removesuffix("p,") for name in "xy"}
    texts["z.csv"] = texts["x.csv"].replace(",b,", ",c,")
    (found,) = problems(tmp_path, texts, devices={"watch": device(files=r".*\.csv")}, subject="who", clock="restart")

    assert (found.where, "`files`" in found.next, "drop" in found.next) == ("z.csv", True, False)


def test_one_wrong_name_is_one_message_for_all_files(tmp_path) -> None:
    """With the names of the header; only the file differs."""
    found = problems(tmp_path, {f"s{n:02d}_1.csv": "t,a (m/s²),b,label\n0,1,2,x\n" for n in range(54)})

    assert {problem._replace(where="") for problem in found} == {
        Problem(
            "",
            "csv.column-missing",
            "no column 'a' in the header (found 't', 'a (m/s²)', 'b', 'label')",
            "set `channels[0].column` to 'a (m/s²)'",
        )
    }
    assert len(found) == 54


@pytest.mark.parametrize("separator", [";", "\t"])
def test_decimal_commas_are_one_problem_of_a_file(tmp_path, separator) -> None:
    """With the first row and the number of rows; the setting that reads them is named."""
    rows = "".join(separator.join((f"0,{n}", "1,5", "x")) + "\n" for n in range(12_000))
    text = f"a{separator}b{separator}label\n{rows}"
    (problem,) = problems(tmp_path, {"s_1.csv": text}, separator=separator)

    assert (problem.where, problem.rule, "'0,0'" in problem.message, "11,999 other rows" in problem.message) == (
        "s_1.csv:2",
        "csv.decimal-comma",
        True,
        True,
    )
    assert "decimal: ','" in (problem.next or catalogue.find(problem.rule).next)


def test_decimal_commas_between_commas_make_rows_too_wide(tmp_path) -> None:
    """Which the next step says."""
    (problem,) = problems(tmp_path, {"s_1.csv": "a,b,label\n" + "0,1,0,2,x\n" * 100})

    assert (problem.rule, "decimal comma" in problem.next) == ("csv.row-width", True)


@pytest.mark.parametrize("missing", [[], ["none"], ["", "-1"]])
def test_no_text_is_taken_for_a_missing_number(tmp_path, missing) -> None:
    """Only those that are declared."""
    texts = {"s_1.csv": "a,b,label\n1,NA,x\n"}

    assert places(problems(tmp_path, texts, missing=missing)) == [("s_1.csv:2", "csv.not-a-number")]


def test_a_number_of_a_column_that_is_not_there(tmp_path) -> None:
    """Columns are counted from 1."""
    found = problems(
        tmp_path, {"s_1.csv": "1,2,x\n"}, devices={"watch": device(channels=channels(1, 12))}, label=3, header=False
    )

    assert places(found) == [("s_1.csv", "csv.column-missing")]


def test_all_faults_of_all_files_are_found(tmp_path) -> None:
    """One of each cause and file, at the first line."""
    found = problems(tmp_path, {"s_1.csv": "a,b,label\n1,x,x\n1,2\ny,2,x\n", "s_2.csv": "a,label\n1,x\n"})

    assert places(found) == [
        ("s_1.csv:3", "csv.row-width"),
        ("s_1.csv:2", "csv.not-a-number"),
        ("s_2.csv", "csv.column-missing"),
    ]


@pytest.mark.parametrize(
    ("row", "rule"),
    [("x,2,x", "csv.not-a-number"), ("1,2", "csv.row-width"), ("1,2,\x01{}", "csv.name-invalid")],
)
def test_rows_of_one_cause_are_counted(tmp_path, row, rule) -> None:
    """In one problem of the file."""
    found = problems(tmp_path, {"s_1.csv": "a,b,label\n" + "".join(f"{row}\n".format(n) for n in range(30))})

    assert [(problem.rule, "29 other" in problem.message) for problem in found] == [(rule, True)]


def test_an_unknown_label_is_named_once(tmp_path) -> None:
    """At its first line."""
    text = 'a,b,label\n1,2,"walk"\n\n1,2,run\n1,2,run\n'
    found = problems(tmp_path, {"s_1.csv": text, "s_2.csv": text}, labels={"walk": None})

    assert places(found) == [("s_1.csv:4", "sources.label-unmapped")]


def test_an_unknown_label_of_a_path(tmp_path) -> None:
    """It has no line."""
    devices = {"watch": device(files=r"(?P<subject>\w+)/(?P<label>\w+)\.csv")}
    found = problems(tmp_path, {"s/run.csv": TEXT}, devices=devices, label=None, labels={"walk": None})

    assert places(found) == [("s/run.csv", "sources.label-unmapped")]


def test_labels_of_a_broken_file_are_not_missed(tmp_path) -> None:
    """What is wrong with it is said once; other files are judged all the same."""
    found = problems(tmp_path, {"s_1.csv": "", "s_2.csv": "a,b,label\n1,2,run\n"}, labels={"walk": None})

    assert places(found) == [("s_1.csv", "csv.empty"), ("s_2.csv:2", "sources.label-unmapped")]


@pytest.mark.parametrize(
    ("unit", "stamps", "problem"),
    [
        ("ms", [0, 20, 19, 30, 29], ("s_1.csv:4", "csv.time-goes-back")),
        ("s", ["0", "", "1"], ("s_1.csv:3", "csv.time-missing")),
        ("s", ["0", "inf", "inf"], ("s_1.csv:3", "csv.time-missing")),
        ("s", ["0", "soon", "1"], ("s_1.csv:3", "csv.not-a-number")),
        ("s", ["True", "True", "False"], ("s_1.csv:2", "csv.not-a-number")),
        ("iso8601", ["2026-01-01", "now", "2026-01-02"], ("s_1.csv:3", "csv.time-missing")),
        ("iso8601", ["2026-01-01", "12", "2026-01-02"], ("s_1.csv:3", "csv.time-missing")),
        ("ms", [5, 5, 5], ("s_1.csv", "csv.time-constant")),
        ("ms", [5], ("s_1.csv", "csv.time-constant")),
        ("ms", [0, 3000, 6000], ("s_1.csv", "csv.rate-mismatch")),
        ("iso8601", ["2026-01-01T00:00", "2026-01-01T00:01", "2026-01-01T00:02"], ("s_1.csv", "csv.rate-mismatch")),
    ],
)
def test_a_fault_of_a_clock(tmp_path, unit, stamps, problem) -> None:
    """Never falling, always finite, near the declared rate."""
    text = "t,a,b,label\n" + "".join(f"{stamp},1,2,x\n" for stamp in stamps)

    assert places(problems(tmp_path, {"s_1.csv": text}, devices=timed(unit))) == [problem]


@pytest.mark.parametrize(
    ("unit", "stamps", "meant"),
    [
        ("s", [0, 20, 40], "ms"),
        ("ms", [0, 20, 20, 40000], "us"),
        ("ms", [0, 0.02, 0.04], "s"),
        ("ns", [0, 20_000, 40_000], "us"),
        ("ms", [0, 3000, 6000], None),
    ],
)
def test_another_rate_has_the_unit_that_would_fit(tmp_path, unit, stamps, meant) -> None:
    """In the next step, where there is one."""
    text = "t,a,b,label\n" + "".join(f"{stamp},1,2,x\n" for stamp in stamps)
    (problem,) = problems(tmp_path, {"s_1.csv": text}, devices=timed(unit))

    assert problem.next == (f"set `time.unit` to '{meant}'" if meant else "")


@pytest.mark.parametrize("cell", ["99999999999999999999", "1e3", " 7000"])
def test_a_stamp_beyond_int64_is_still_a_number(tmp_path, cell) -> None:
    """It is read as one, and judged by its rate."""
    text = f"t,a,b,label\n0,1,2,x\n{cell},1, NA,x\n"
    found = problems(tmp_path, {"s_1.csv": text}, devices=timed("s"))

    assert places(found) == [("s_1.csv", "csv.rate-mismatch")]


def test_another_rate_finds_the_fault_in_the_cache(tmp_path) -> None:
    """The nominal rate does not steer the parsing, but what was kept is judged by it."""
    text = "t,a,b,label\n0,1,2,x\n20,1,2,x\n"
    reading = Reading(write(tmp_path / "data", {"s_1.csv": text}), tmp_path / "cache")
    csv.read(source(devices=timed("ms")), reading)

    with pytest.raises(InputError) as caught:
        csv.read(source(devices=timed("ms", rate_hz=500)), reading)

    assert [problem.rule for problem in caught.value.problems] == ["csv.rate-mismatch"]


def test_nothing_matches(tmp_path) -> None:
    """The pattern, and the first files that there are."""
    (problem,) = problems(tmp_path, {f"x{n}.txt": TEXT for n in range(5)})

    assert (problem.where, problem.rule) == (".", "csv.files-missing")
    assert all(text in problem.message for text in ("x0.txt", "x2.txt", repr(FILES)))


def test_an_empty_folder(tmp_path) -> None:
    """Nothing matches, nothing is shown."""
    assert places(problems(tmp_path, {})) == [(".", "csv.files-missing")]


def test_a_missing_folder(tmp_path) -> None:
    """It is named."""
    (problem,) = problems(tmp_path, {}, path="gone")

    assert (problem.where, problem.message) == ("gone", os.strerror(errno.ENOENT))


def test_nothing_is_left(tmp_path) -> None:
    """All were dropped."""
    found = problems(tmp_path, {"s_1.csv": TEXT}, drop=["s-.*"])

    assert places(found) == [(".", "sources.all-dropped")]


def test_a_device_without_its_file(tmp_path) -> None:
    """The next step can be pasted."""
    devices = {"watch": device(files=f"w/{FILES}"), "phone": device(files=f"p/{FILES}")}
    found = problems(tmp_path, {"w/s_1.csv": TEXT, "w/s_2.csv": TEXT, "p/s_1.csv": TEXT}, devices=devices)

    assert places(found) == [(".: s-2", "csv.device-missing")]
    assert "drop: ['s-2']" in found[0].next


def test_a_device_without_any_file_is_named_once(tmp_path) -> None:
    """Not once for each recording."""
    devices = {"watch": device(files=f"w/{FILES}"), "phone": device(files=f"p/{FILES}")}

    assert len(problems(tmp_path, {"w/s_1.csv": TEXT, "w/s_2.csv": TEXT}, devices=devices)) == 1


def test_two_files_of_one_recording(tmp_path) -> None:
    """Both are named."""
    found = problems(tmp_path, {"a/s_1.csv": TEXT, "b/s_1.csv": TEXT}, devices={"watch": device(files=f"./{FILES}")})

    assert places(found) == [("b/s_1.csv", "csv.recording-twice")]
    assert "a/s_1.csv" in found[0].message


def test_two_recordings_of_one_name(tmp_path) -> None:
    """The dash between subject and session can be misread."""
    devices = {"watch": device(files=r"(?P<subject>[\w-]+)/(?P<session>[\w-]+)\.csv")}
    found = problems(tmp_path, {"a/b-c.csv": TEXT, "a-b/c.csv": TEXT}, devices=devices)

    assert places(found) == [(".", "csv.recording-twice")]
    assert all(path in found[0].message for path in ("a-b/c.csv", "a/b-c.csv"))


@pytest.mark.parametrize(
    ("path", "named"),
    [("_1.csv", "subject ''"), (f"{'s' * 99}_1.csv", "recording 'sss"), ("s\n_1.csv", "subject 's\\n'")],
)
def test_a_path_that_gives_an_invalid_name(tmp_path, path, named) -> None:
    """Names go into reports and releases."""
    found = problems(
        tmp_path, {path: TEXT}, devices={"watch": device(files=r"(?P<subject>\w*\s?)_(?P<session>\w+)\.csv")}
    )

    assert (found[0].where, found[0].rule, named in found[0].message) == (path, "csv.name-invalid", True)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path) -> None:
    """Not even to be read."""
    write(tmp_path, {"mine/s_1.csv": TEXT, "secret": TEXT})
    (tmp_path / "mine" / "s_2.csv").symlink_to(tmp_path / "secret")

    assert places(problems(tmp_path / "mine", {})) == [("s_2.csv", "csv.link")]


def test_a_file_that_cannot_be_read(tmp_path) -> None:
    """A link to nothing."""
    (tmp_path / "s_1.csv").symlink_to("gone")

    (problem,) = problems(tmp_path, {})

    assert (problem.where, problem.message) == ("s_1.csv", os.strerror(errno.ENOENT))


def test_what_is_kept_is_checked(tmp_path) -> None:
    """An array in the cache that was changed is parsed again."""
    reading = Reading(write(tmp_path / "data", {"s_1.csv": TEXT}), tmp_path / "cache")
    before = csv.read(source(), reading).sources
    kept = next((tmp_path / "cache").glob("*/values.npy"))
    np.save(kept, np.zeros((3, 2), np.float32))

    assert csv.read(source(), reading).sources == before


@pytest.mark.parametrize(
    ("changes", "where", "named"),
    [
        ({"label": None}, "", "label"),
        ({"devices": {"w": device(files=r"(?P<subject>.*)-(?P<label>.*)")}}, "", "label"),
        ({"label": "a"}, "", "label"),
        ({"devices": timed("s", channels=channels("t"))}, ".devices.0", "time"),
        ({"devices": {"w": device(), "p": device(files="(?P<subject>.*)")}}, "", "devices"),
        ({"devices": {"w": device(files="(?P<session>.*)")}}, "", "subject"),
        ({"devices": {"w": device(files="(?P<subject>.*)(?P<x>.*)")}}, ".devices.0", "x"),
        ({"devices": {"w": device(), "p": device(channels={"acc_z": {"column": "a", "unit": "g"}})}}, "", "devices"),
        ({"header": False}, "", "header"),
        ({"separator": ",", "decimal": ","}, "", "separator"),
        ({"devices": {"w": {"rate_hz": 50}}}, ".devices.0", "parts"),
        ({"devices": {"w": device(parts=[{"files": FILES, "channels": [CHANNEL]}])}}, ".devices.0", "parts"),
        (
            {"devices": {"w": {"rate_hz": 50, "parts": [{"files": "x", "channels": [CHANNEL]}]}}},
            "",
            "subject",
        ),
        (
            {
                "devices": {
                    "w": device(channels=channels("a", "b") | {"acc_z": {"column": "c", "unit": "g", "name": "acc_x"}})
                }
            },
            ".devices.0",
            "acc_x",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, where, named) -> None:
    """Before any file is read."""
    (problem,) = refused(changes)

    assert (problem.where, problem.rule) == (f"c: data.sources.0{where}", "config.inconsistent")
    assert named in problem.message


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"devices": {"w": device(files="(")}}, "devices.0.files"),
        ({"devices": {"w": device(channels=channels(scale=0.0))}}, "devices.0.channels.0.scale"),
        *(({"separator": text}, "separator") for text in ('"', "\n", "5", ".", "¦", "e")),
    ],
)
def test_an_invalid_setting_is_refused(changes, where) -> None:
    """Before any file is read."""
    assert places(refused(changes)) == [(f"c: data.sources.0.{where}", "config.invalid-value")]


def refused(changes) -> list[Problem]:
    """The problems of a source's settings."""
    with pytest.raises(InputError) as caught:
        config.settle({"data": {"sources": [described(**changes)]}}, TrainConfig, "c")
    return list(caught.value.problems)


def test_a_folder_of_the_cache_that_cannot_be_made_is_one_problem(tmp_path) -> None:
    """Not one for each file."""
    write(tmp_path, {"cache": "", "data/s_1.csv": TEXT, "data/s_2.csv": TEXT})
    with pytest.raises(InputError) as caught:
        csv.read(source(), Reading(tmp_path / "data", tmp_path / "cache"))

    assert len(caught.value.problems) == 1


def test_the_digest_is_over_what_was_read(tmp_path) -> None:
    """Other labels are other data; the name of the set is not."""
    one = read(tmp_path, {"s_1.csv": TEXT}).sources[0]
    renamed = read(tmp_path, {"s_1.csv": TEXT}, name="other").sources[0]
    relabelled = read(tmp_path, {"s_1.csv": TEXT.replace("rest", "run")}).sources[0]

    assert (one.digest == renamed.digest, one.digest == relabelled.digest) == (True, False)


def test_the_key_is_a_digest(tmp_path) -> None:
    """Nothing of a path or a name goes into the cache."""
    csv.read(source(), Reading(write(tmp_path / "data", {"s_1.csv": TEXT}), tmp_path / "cache"))

    assert re.fullmatch(f"{csv.PARSER}-[0-9a-f]{{64}}", next((tmp_path / "cache").iterdir()).name)
