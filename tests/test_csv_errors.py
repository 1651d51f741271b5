"""The source csv: every fault with file, line and rule, all of them in one go."""

import errno
import os
import re

import numpy as np
import pytest
from csv_folder import FILES, TEXT, channels, device, problems, read, source, timed, write

from modelreg.data.cache import Reading
from modelreg.data.sources import csv
from modelreg.errors import InputError

NO_NAME = "is no name: 1 to 100 characters, no control characters, no blank at either end"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "s_1.csv: is empty"),
        ("\n \n", "s_1.csv: is empty"),
        ("a,b,label\n", "s_1.csv: holds no row of values"),
        ("a,c,label\n1,2,x\n", "s_1.csv: line 1: has no column b: there are a, c, label"),
        ("\na,bb,label\n1,2,x\n", "s_1.csv: line 2: has no column b: there are a, bb, label; did you mean bb?"),
        ("a,b,b,label\n1,2,3,x\n", "s_1.csv: line 1: has 2 columns b: which one is meant?"),
        (TEXT.replace("3", "three"), "s_1.csv: line 3, column a: not a number: 'three'"),
        (TEXT.replace("3", "1_000"), "s_1.csv: line 3, column a: not a number: '1_000'"),
        (TEXT.replace("3", "0x10"), "s_1.csv: line 3, column a: not a number: '0x10'"),
        (TEXT.replace("3", "y" * 99), f"s_1.csv: line 3, column a: not a number: '{'y' * 40}'"),
        ("a,b,label\nTrue,2,x\n", "s_1.csv: line 2, column a: not a number: 'True'"),
        ('a,b,label\n1,2,"x\n\ny"\n1,,"z"\n1,b,z\n', "s_1.csv: line 6, column b: not a number: 'b'"),
        (TEXT.replace("4,rest", "4"), "s_1.csv: line 3: has 2 columns, must have 3"),
        (TEXT.replace("4,rest", "4,rest,"), "s_1.csv: line 3: has 4 columns, must have 3"),
        ("a,b,label\n1,x\n1,2,3,x\n", "s_1.csv: line 2: has 2 columns, must have 3"),
        (TEXT.replace("4,rest", '4,"rest'), "s_1.csv: line 3: broken quotes, or no text: unexpected end of data"),
        (TEXT.replace("4,rest", '4,"re"st'), "s_1.csv: line 3: broken quotes, or no text: ',' expected after '\"'"),
        (TEXT.encode("utf-16"), "s_1.csv: line 1: a NUL byte: not a text, or UTF-16; save it as UTF-8"),
        (TEXT.replace("4", "4\0").encode(), "s_1.csv: line 3: a NUL byte: not a text, or UTF-16; save it as UTF-8"),
        (TEXT.replace("rest", "r\u00e9st").encode("latin-1"), "s_1.csv: line 3: not UTF-8 at byte 24"),
        (TEXT.replace("rest", "r\x01"), f"s_1.csv: line 3: the label 'r\\x01' {NO_NAME}"),
        (TEXT.replace("rest", "r" * 101), f"s_1.csv: line 3: the label '{'r' * 40}' {NO_NAME}"),
    ],
)
def test_a_fault_in_a_file(tmp_path, text, problem) -> None:
    """File, line and rule."""
    assert problems(tmp_path, {"s_1.csv": text})[0] == problem


@pytest.mark.parametrize("missing", [[], ["none"], ["", "-1"]])
def test_no_text_is_taken_for_a_missing_number(tmp_path, missing) -> None:
    """Only those that are declared."""
    texts = {"s_1.csv": "a,b,label\n1,NA,x\n"}

    assert problems(tmp_path, texts, missing=missing) == ["s_1.csv: line 2, column b: not a number: 'NA'"]


def test_a_number_of_a_column_that_is_not_there(tmp_path) -> None:
    """Columns are counted from 1."""
    found = problems(
        tmp_path, {"s_1.csv": "1,2,x\n"}, devices={"watch": device(channels=channels(1, 12))}, label=3, header=False
    )

    assert found == ["s_1.csv: line 1: has no column 12: there are 1, 2, 3"]


def test_all_faults_of_all_files_are_found(tmp_path) -> None:
    """Rows of another width, then cells by column, then the next file."""
    found = problems(tmp_path, {"s_1.csv": "a,b,label\n1,x,x\n1,2\ny,2,x\n", "s_2.csv": "a,label\n1,x\n"})

    assert found == [
        "s_1.csv: line 3: has 2 columns, must have 3",
        "s_1.csv: line 4, column a: not a number: 'y'",
        "s_1.csv: line 2, column b: not a number: 'x'",
        "s_2.csv: line 1: has no column b: there are a, label",
    ]


def test_many_faults_are_counted(tmp_path) -> None:
    """Ten of a file, fifty in all."""
    found = problems(tmp_path, {f"s_{n}.csv": "a,b,label\n" + "x,2,x\n" * 30 for n in range(6)})

    assert (len(found), found[10], found[-1]) == (51, "s_0.csv: and 20 more", f"{tmp_path}: and 16 more problems")


def test_an_unknown_label_is_named_once(tmp_path) -> None:
    """Where it stands first."""
    text = 'a,b,label\n1,2,"walk"\n\n1,2,run\n1,2,run\n'
    what = "unknown label 'run'; labels names walk: give it a class, or null to drop it"

    assert problems(tmp_path, {"s_1.csv": text, "s_2.csv": text}, labels={"walk": None}) == [f"s_1.csv: line 4: {what}"]


def test_an_unknown_label_of_a_path(tmp_path) -> None:
    """It has no line."""
    devices = {"watch": device(files=r"(?P<subject>\w+)/(?P<label>\w+)\.csv")}
    found = problems(tmp_path, {"s/run.csv": TEXT}, devices=devices, label=None, labels={"walk": None})

    assert found == ["s/run.csv: unknown label 'run'; labels names walk: give it a class, or null to drop it"]


def test_labels_of_a_broken_file_are_not_missed(tmp_path) -> None:
    """What is wrong with it is said once; other files are judged all the same."""
    found = problems(tmp_path, {"s_1.csv": "", "s_2.csv": "a,b,label\n1,2,run\n"}, labels={"walk": None})

    assert [problem.partition(";")[0] for problem in found] == [
        "s_1.csv: is empty",
        "s_2.csv: line 2: unknown label 'run'",
    ]


@pytest.mark.parametrize(
    ("unit", "stamps", "problem"),
    [
        ("ms", [0, 20, 19], "s_1.csv: line 4: time falls by 0.001 s, to 0.019000 s"),
        ("s", ["0", "", "1"], "s_1.csv: line 3: no time in column t"),
        ("s", ["0", "inf", "inf"], "s_1.csv: line 3: no time in column t"),
        ("s", ["0", "soon", "1"], "s_1.csv: line 3, column t: not a number: 'soon'"),
        ("s", ["True", "True", "False"], "s_1.csv: line 2, column t: not a number: 'True'"),
        ("iso8601", ["2026-01-01", "now", "2026-01-02"], "s_1.csv: line 3: no time in column t: 'now'"),
        ("iso8601", ["2026-01-01", "12", "2026-01-02"], "s_1.csv: line 3: no time in column t: '12'"),
        ("ms", [5, 5, 5], "s_1.csv: column t needs two different time stamps at least"),
        ("ms", [5], "s_1.csv: column t needs two different time stamps at least"),
        ("s", [0, 20, 40], "s_1.csv: line 2 on: time stamps give 0.05 Hz where rate_hz says 50: is the unit ms?"),
        (
            "ms",
            [0, 20, 20, 40000],
            "s_1.csv: line 2 on: time stamps give 0.05 Hz where rate_hz says 50: is the unit us?",
        ),
        ("ms", [0, 0.02, 0.04], "s_1.csv: line 2 on: time stamps give 5e+04 Hz where rate_hz says 50: is the unit s?"),
        (
            "ns",
            [0, 20_000, 40_000],
            "s_1.csv: line 2 on: time stamps give 5e+04 Hz where rate_hz says 50: is the unit us?",
        ),
        ("ms", [0, 3000, 6000], "s_1.csv: line 2 on: time stamps give 0.333 Hz where rate_hz says 50"),
        (
            "iso8601",
            ["2026-01-01T00:00", "2026-01-01T00:01", "2026-01-01T00:02"],
            "s_1.csv: line 2 on: time stamps give 0.0167 Hz where rate_hz says 50",
        ),
    ],
)
def test_a_fault_of_a_clock(tmp_path, unit, stamps, problem) -> None:
    """Never falling, always finite, near the declared rate."""
    text = "t,a,b,label\n" + "".join(f"{stamp},1,2,x\n" for stamp in stamps)

    assert problems(tmp_path, {"s_1.csv": text}, devices=timed(unit))[:1] == [problem]


@pytest.mark.parametrize("cell", ["99999999999999999999", "1e3", " 7000"])
def test_a_stamp_beyond_int64_is_still_a_number(tmp_path, cell) -> None:
    """It is read as one, and judged by its rate."""
    text = f"t,a,b,label\n0,1,2,x\n{cell},1, NA,x\n"

    assert "time stamps give" in problems(tmp_path, {"s_1.csv": text}, devices=timed("s"))[0]


def test_another_rate_finds_the_fault_in_the_cache(tmp_path) -> None:
    """The nominal rate does not steer the parsing, but what was kept is judged by it."""
    text = "t,a,b,label\n0,1,2,x\n20,1,2,x\n"
    reading = Reading(write(tmp_path / "data", {"s_1.csv": text}), tmp_path / "cache")
    csv.read(source(devices=timed("ms")), reading)

    with pytest.raises(InputError, match="give 50 Hz where rate_hz says 500"):
        csv.read(source(devices=timed("ms", rate_hz=500)), reading)


def test_nothing_matches(tmp_path) -> None:
    """The pattern and what is there."""
    found = problems(tmp_path, {f"x{n}.txt": TEXT for n in range(5)})

    assert found == [f"{tmp_path}: no path fits {FILES}, the files of watch: there are x0.txt, x1.txt, x2.txt"]


def test_an_empty_folder(tmp_path) -> None:
    """There is nothing to show."""
    assert problems(tmp_path, {})[0].endswith("there is no file at all")


def test_a_missing_folder(tmp_path) -> None:
    """Where it was looked for."""
    assert problems(tmp_path, {}, path="gone") == [f"gone: {os.strerror(errno.ENOENT)}"]


def test_nothing_is_left(tmp_path) -> None:
    """All were dropped."""
    found = problems(tmp_path, {"s_1.csv": TEXT}, drop=["s-.*"])

    assert found == [f"{tmp_path}: no recording is left: `drop` names all of them"]


def test_a_device_lacks_its_file(tmp_path) -> None:
    """The advice can be pasted."""
    devices = {"watch": device(files=f"w/{FILES}"), "phone": device(files=f"p/{FILES}")}
    found = problems(tmp_path, {"w/s_1.csv": TEXT, "w/s_2.csv": TEXT, "p/s_1.csv": TEXT}, devices=devices)

    assert found == [f"{tmp_path}: recording s-2 has no file of phone: leave it out with drop: ['s-2']"]


def test_a_device_without_any_file_is_named_once(tmp_path) -> None:
    """Not once for each recording."""
    devices = {"watch": device(files=f"w/{FILES}"), "phone": device(files=f"p/{FILES}")}

    assert len(problems(tmp_path, {"w/s_1.csv": TEXT, "w/s_2.csv": TEXT}, devices=devices)) == 1


def test_two_files_of_one_recording(tmp_path) -> None:
    """Both are named."""
    found = problems(tmp_path, {"a/s_1.csv": TEXT, "b/s_1.csv": TEXT}, devices={"watch": device(files=f"./{FILES}")})

    assert found == ["b/s_1.csv: is of recording s-1 and of the same device as a/s_1.csv"]


def test_two_recordings_of_one_name(tmp_path) -> None:
    """The dash between subject and session can be misread."""
    devices = {"watch": device(files=r"(?P<subject>[\w-]+)/(?P<session>[\w-]+)\.csv")}
    found = problems(tmp_path, {"a/b-c.csv": TEXT, "a-b/c.csv": TEXT}, devices=devices)

    assert found == [f"{tmp_path}: two recordings would be called a-b-c: of a-b/c.csv and of a/b-c.csv"]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("_1.csv", f"the subject '' {NO_NAME}"),
        (f"{'s' * 99}_1.csv", f"the recording '{'s' * 40}' {NO_NAME}"),
        ("s\n_1.csv", f"the subject 's\\n' {NO_NAME}"),
    ],
)
def test_a_path_that_gives_no_name(tmp_path, path, problem) -> None:
    """Names go into reports and releases."""
    found = problems(
        tmp_path, {path: TEXT}, devices={"watch": device(files=r"(?P<subject>\w*\s?)_(?P<session>\w+)\.csv")}
    )

    assert found[0] == f"{path}: {problem}"


def test_a_link_out_of_the_folder_is_not_followed(tmp_path) -> None:
    """Not even to be read."""
    write(tmp_path, {"mine/s_1.csv": TEXT, "secret": TEXT})
    (tmp_path / "mine" / "s_2.csv").symlink_to(tmp_path / "secret")

    assert problems(tmp_path / "mine", {}) == ["s_2.csv: a symbolic link that leads out of the folder"]


def test_a_file_that_cannot_be_read(tmp_path) -> None:
    """A link to nothing."""
    (tmp_path / "s_1.csv").symlink_to("gone")

    assert problems(tmp_path, {}) == [f"s_1.csv: {os.strerror(errno.ENOENT)}"]


def test_a_file_beyond_the_limit(tmp_path, monkeypatch) -> None:
    """Before it is parsed."""
    monkeypatch.setattr(csv, "FILE_LIMIT", 10)

    assert problems(tmp_path, {"s_1.csv": TEXT}) == ["s_1.csv: larger than 10 bytes"]


def test_what_is_kept_is_checked(tmp_path) -> None:
    """An array in the cache that was changed is parsed again."""
    reading = Reading(write(tmp_path / "data", {"s_1.csv": TEXT}), tmp_path / "cache")
    before = csv.read(source(), reading).sources
    kept = next((tmp_path / "cache").glob("*/values.npy"))
    np.save(kept, np.zeros((3, 2), np.float32))

    assert csv.read(source(), reading).sources == before


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"label": None}, "label: name a column, or a group"),
        ({"devices": {"w": device(files=r"(?P<subject>.*)-(?P<label>.*)")}}, "label: name a column, or a group"),
        ({"label": "a"}, "this column is a channel or the time"),
        ({"devices": timed("s", channels=channels("t"))}, "time: this column is a channel, too"),
        ({"devices": {"w": device(), "p": device(files="(?P<subject>.*)")}}, "need the same groups"),
        ({"devices": {"w": device(files="(?P<session>.*)")}}, "needs a group"),
        ({"devices": {"w": device(files="(?P<subject>.*)(?P<x>.*)")}}, "no such group: x"),
        ({"devices": {"w": device(), "p": device(channels={"acc_x": {"column": "a", "unit": "g"}})}}, "same channels"),
        ({"header": False}, "columns go by their names"),
        (
            {
                "devices": {
                    "w": device(channels=channels("a", "b") | {"acc_z": {"column": "c", "unit": "g", "name": "acc_x"}})
                }
            },
            "a name occurs twice in acc_x",
        ),
        ({"devices": {"w": device(files="(")}}, "not a regular expression"),
        ({"devices": {"w": device(channels=channels(scale=0.0))}}, "a scale of 0"),
        *(({"separator": text}, "separator") for text in ('"', "\n", "5", ".", "¦", "e")),
    ],
)
def test_a_description_that_makes_no_sense(changes, problem) -> None:
    """It is refused before any file is looked for."""
    with pytest.raises(ValueError, match=re.escape(problem)):
        source(**changes)


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
