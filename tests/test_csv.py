"""The source csv: values equal those of the file to the bit; a file is parsed once."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from csv_folder import FILES, TEXT, channels, device, read, source, timed, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import composite
from pydantic import ValidationError

from modelreg.data.cache import Reading
from modelreg.data.recording import UNLABELLED
from modelreg.data.sources import csv, csv_cells, csv_times
from modelreg.data.sources import registry as sources

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
floats = st.floats(allow_nan=False).map(repr)
numbers = st.one_of(
    floats, floats.map(str.upper), st.decimals(allow_nan=False, allow_infinity=False).map("{:f}".format)
)


def values(dataset, recording=0, device="watch") -> np.ndarray:
    """The numbers of one signal."""
    return dataset.recordings[recording].signals[device].values


def names(dataset, recording=0) -> list[str | None]:
    """The label of every row."""
    return [dataset.classes[code] if code >= 0 else None for code in dataset.recordings[recording].labels]


def test_a_folder_is_a_dataset(tmp_path) -> None:
    """Names, units, license and order: s9 comes before s10."""
    dataset = read(
        tmp_path, {"s10_1.csv": TEXT, "s9_1.csv": TEXT, "deep/s9_2.csv": TEXT, ".s1_1.csv": "", ".x/s_1.csv": ""}
    )

    assert (
        [recording.name for recording in dataset.recordings],
        [(channel.name, channel.unit) for channel in dataset.channels],
        (dataset.devices, dataset.classes, dataset.rate_hz, dataset.sources[0].license),
    ) == (
        ["s9-1", "s10-1"],
        [("acc_x", "g"), ("acc_y", "g")],
        (("watch",), ("rest", "walk"), 50, "CC0-1.0"),
    )


def test_values_and_labels_are_the_rows(tmp_path) -> None:
    """In the order of the channels, not of the columns."""
    dataset = read(tmp_path, {"s_1.csv": TEXT}, devices={"watch": device(channels=channels("b", "a"))})

    assert (values(dataset).tolist(), names(dataset)) == ([[2, 1], [4, 3], [6, 5]], ["walk", "rest", "walk"])


@relaxed
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=20))
def test_any_number_is_read_to_the_bit(tmp_path, rows) -> None:
    """float32 of the float64 that Python reads; a value that is too large is Inf."""
    text = "a,b,label\n" + "".join(f"{a},{b},x\n" for a, b in rows)
    with np.errstate(over="ignore"):
        expected = np.array([[float(a), float(b)] for a, b in rows]).astype(np.float32)

    assert values(read(tmp_path, {"s_1.csv": text})).tobytes() == expected.tobytes()


@relaxed
@given(st.lists(numbers, min_size=1, max_size=10), st.floats(-1e6, 1e6).filter(bool))
def test_a_scale_is_applied_before_the_rounding(tmp_path, texts, scale) -> None:
    """The value times the scale, in float64."""
    rows = "a,b,label\n" + "".join(f"{text},0,x\n" for text in texts)
    with np.errstate(all="ignore"):
        expected = (np.array([float(text) for text in texts]) * scale).astype(np.float32)
    dataset = read(tmp_path, {"s_1.csv": rows}, devices={"watch": device(channels=channels(scale=scale))})

    assert values(dataset)[:, 0].tobytes() == expected.tobytes()


labels = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=40)


@relaxed
@given(st.lists(labels, min_size=1, max_size=10), st.sampled_from([",", ";", "\t", " ", "|"]))
def test_any_label_is_read(tmp_path, texts, separator) -> None:
    """Quoted as in CSV; blanks around it are stripped, and an empty text means unlabelled."""
    expected = [text.strip() for text in texts]
    rows = [separator.join(('"' + text.replace('"', '""') + '"', "1", "2")) for text in texts]
    text = "\r\n".join([separator.join(("label", "a", "b")), *rows])
    dataset = read(tmp_path, {"s_1.csv": text}, separator=separator, missing=[])

    assert names(dataset) == [text or None for text in expected]


@composite
def tables(draw) -> tuple[list[str], str]:
    """Lines of a file of four columns, quoted, blank or broken by any kind of line end."""
    cell = st.tuples(numbers, st.booleans()).map(lambda pair: f'"{pair[0]}"' if pair[1] else pair[0])
    lines = draw(
        st.lists(st.tuples(cell, cell, st.sampled_from(["x", '"y\n"', '"a,b"', ""])).map(",".join), min_size=1)
    )
    return lines, draw(st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\n \n"]))


@relaxed
@given(tables())
def test_both_parsers_agree(tmp_path, table) -> None:
    """pandas and Python read the same, line numbers included."""
    lines, end = table
    texts = {"s_1.csv": end.join(["a,b,label", *lines, ""])}
    fast = read(tmp_path, texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_cells, "_of_numbers", lambda *_: None)
        slow = read(tmp_path, texts)

    assert (fast.sources, len(values(fast))) == (slow.sources, len(lines))


@relaxed
@given(st.lists(st.tuples(*[st.floats(width=32).map(repr)] * 4), min_size=1, max_size=20))
def test_two_files_or_one_are_the_same(tmp_path, rows) -> None:
    """Two devices may be in one file or in two."""
    one = "a,b,c,d,label\n" + "".join(f"{','.join(row)},x\n" for row in rows)
    left = "a,b,label\n" + "".join(f"{','.join(row[:2])},x\n" for row in rows)
    right = "c,d\n" + "".join(f"{','.join(row[2:])}\n" for row in rows)
    both = {"watch": device(), "phone": device(channels=channels("c", "d"))}
    apart = {
        "watch": device(files=rf"w/{FILES}"),
        "phone": device(files=rf"p/{FILES}", channels=channels("c", "d")),
    }
    together = read(tmp_path / "one", {"s_1.csv": one}, devices=both)
    divided = read(tmp_path / "two", {"w/s_1.csv": left, "p/s_1.csv": right}, devices=apart)

    assert together.sources == divided.sources


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        ("\n\n" + TEXT.replace("\n", "\n\n  \n")).encode(),
        TEXT.replace(",", " , ").encode(),
        TEXT.replace("label", '"label"').replace("walk", '"walk"').replace("1", '"1"').encode(),
        TEXT.removesuffix("\n").encode(),
    ],
)
def test_one_table_in_many_forms(tmp_path, text) -> None:
    """Byte order mark, line ends, blank lines, blanks and quotes change nothing."""
    assert read(tmp_path / "x", {"s_1.csv": text}).sources == read(tmp_path / "y", {"s_1.csv": TEXT}).sources


@pytest.mark.parametrize("separator", [";", "\t", " ", "|"])
def test_columns_by_number(tmp_path, separator) -> None:
    """Without a header they count from 1."""
    text = TEXT.partition("\n")[2].replace(",", separator)
    devices = {"watch": device(channels=channels(1, 2))}
    dataset = read(tmp_path, {"s_1.csv": text}, devices=devices, label=3, separator=separator, header=False)

    assert (values(dataset).tolist(), names(dataset)[1]) == ([[1, 2], [3, 4], [5, 6]], "rest")


def test_one_column(tmp_path) -> None:
    """A file may hold numbers only; blank lines are skipped."""
    one = {"acc": {"column": 1, "unit": "g"}}
    devices = {"watch": device(files=r"(?P<label>\w+)/(?P<subject>\w+)\.txt", channels=one)}
    dataset = read(tmp_path, {"run/s.txt": "1\n\n2\n"}, devices=devices, label=None, header=False)

    assert (values(dataset).tolist(), names(dataset)) == ([[1], [2]], ["run", "run"])


@pytest.mark.parametrize("text", ["", "NA", " NA ", "-999", "-999.0", "nan", "NaN", "inf", "-Infinity"])
def test_missing_values_are_not_finite(tmp_path, text) -> None:
    """Configured texts, configured numbers in any notation, and infinite numbers."""
    dataset = read(tmp_path, {"s_1.csv": f"a,b,label\n1,{text},x\n2,3,x\n"}, missing=["", "NA", "-999"])

    assert np.isfinite(values(dataset)).tolist() == [[True, False], [True, True]]


def test_a_row_may_be_unlabelled(tmp_path) -> None:
    """The cell is empty, or a text that means a missing value."""
    dataset = read(tmp_path, {"s_1.csv": "a,b,label\n1,2,\n1,2,NA\n1,2,x\n"})

    assert (dataset.recordings[0].labels.tolist(), dataset.classes) == ([UNLABELLED, UNLABELLED, 0], ("x",))


def test_the_map_gives_the_classes(tmp_path) -> None:
    """All labels that it names, in its order, also dropped ones: the caller maps them."""
    dataset = read(tmp_path, {"s_1.csv": TEXT}, labels={"walk": "go", "jump": "go", "rest": None})

    assert (dataset.classes, names(dataset)) == (("walk", "jump", "rest"), ["walk", "rest", "walk"])


def test_a_path_may_give_the_label(tmp_path) -> None:
    """One session then has several recordings; a text that means a missing value is not a label."""
    devices = {"watch": device(files=r"(?P<subject>\w+)/x(?P<label>[\w ]*)\.csv")}
    dataset = read(tmp_path, {f"s/x{x}.csv": TEXT for x in ("NA", "", "lie down")}, devices=devices, label=None)

    assert [(r.name, r.session, names(dataset, n)[0]) for n, r in enumerate(dataset.recordings)] == [
        ("s-1", "1", None),
        ("s-1-NA", "1", None),
        ("s-1-lie down", "1", "lie down"),
    ]


def test_all_recordings_may_be_of_one_subject(tmp_path) -> None:
    """Whoever records only themselves has no subject in the paths."""
    devices = {"watch": device(files=r"(?P<session>\w+)\.csv")}
    dataset = read(tmp_path, {"1.csv": TEXT, "2.csv": TEXT}, devices=devices, one_subject="anna")

    assert [(found.name, found.subject) for found in dataset.recordings] == [("anna-1", "anna"), ("anna-2", "anna")]


@pytest.mark.parametrize(
    ("files", "column"), [(FILES, None), (r"(?P<session>\w+)\.csv", "who")], ids=["in the path", "in a column"]
)
def test_a_subject_has_one_source(files, column) -> None:
    """One subject of all recordings, and another source of it, contradict each other."""
    with pytest.raises(ValidationError, match="subject: set only one of"):
        source(devices={"watch": device(files=files)}, subject=column, one_subject="anna")


def test_a_dropped_recording_is_not_read(tmp_path) -> None:
    """Some of its devices may be missing."""
    dataset = read(tmp_path, {"s_1.csv": TEXT, "s_2.csv": "broken"}, drop=["s-2"])

    assert [recording.name for recording in dataset.recordings] == ["s-1"]


def test_a_link_inside_the_folder_is_a_file(tmp_path) -> None:
    """Some data sets store their files that way."""
    write(tmp_path, {"objects/1": TEXT})
    (tmp_path / "s_1.csv").symlink_to("objects/1")

    assert len(read(tmp_path, {}).recordings) == 1


def test_a_linked_folder_is_not_entered(tmp_path) -> None:
    """Files elsewhere are not part of the data set."""
    write(tmp_path, {"mine/s_1.csv": TEXT, "other/s_2.csv": TEXT})
    (tmp_path / "mine" / "link").symlink_to(tmp_path / "other")

    dataset = read(tmp_path / "mine", {}, devices={"watch": device(files=f"(link/)?{FILES}")})

    assert [recording.name for recording in dataset.recordings] == ["s-1"]


START = 1_657_533_977_813_000_001  # nanoseconds


@pytest.mark.parametrize(
    ("unit", "write_as"),
    [
        ("s", lambda ns: f"{ns // 10**9}.{ns % 10**9:09d}"),
        ("ms", lambda ns: f"{ns // 10**6}.{ns % 10**6:06d}"),
        ("us", lambda ns: f"{ns // 10**3}.{ns % 10**3:03d}"),
        ("ns", str),
        ("ns", lambda ns: f'" {ns} "'),
        ("iso8601", lambda ns: f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{ns % 10**9:09d}"),
        ("iso8601", lambda ns: f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y%m%d %H:%M:%S}.{ns % 10**9:09d}Z"),
        (
            "iso8601",
            lambda ns: f"{datetime.fromtimestamp(ns // 10**9 + 7200, UTC):%Y-%m-%d %H:%M:%S}.{ns % 10**9:09d}+02:00",
        ),
    ],
)
def test_every_unit_gives_the_same_seconds(tmp_path, unit, write_as) -> None:
    """Nanoseconds since 1970 exceed the precision of float64: they are read as integers."""
    stamps = [START + 20_000_000 * n for n in range(60)]
    text = "t,a,b,label\n" + "".join(f"{write_as(ns)},1,2,x\n" for ns in stamps)
    time = read(tmp_path, {"s_1.csv": text}, devices=timed(unit)).recordings[0].signals["watch"].time

    np.testing.assert_array_equal(time, [float(f"{ns // 10**9}.{ns % 10**9:09d}") for ns in stamps])


@relaxed
@given(st.lists(st.integers(-(2**62), 2**62), min_size=2, max_size=20), st.sampled_from([1, 10**3, 10**6, 10**9]))
def test_integers_become_the_nearest_seconds(ticks, per_second) -> None:
    """To one unit in the last place, and exactly if a float64 can hold the integer."""
    seconds = csv_times.from_ticks(np.array(ticks), per_second)

    np.testing.assert_allclose(seconds, [tick / per_second for tick in ticks], rtol=2**-52)


def test_the_slower_parser_reads_dates(tmp_path) -> None:
    """A blank before a missing value selects it."""
    text = "t,a,b,label\n2026-01-01T00:00:00Z, NA,2,x\n2026-01-01T01:00:00.02+01:00,1,2,x\n"
    time = read(tmp_path, {"s_1.csv": text}, devices=timed("iso8601")).recordings[0].signals["watch"].time

    assert np.diff(time) == pytest.approx([0.02], abs=1e-6)


@pytest.mark.parametrize("slow", [False, True])
def test_equal_stamps_are_tolerated(tmp_path, slow) -> None:
    """Only a time that goes back is refused. The slower parser reads integers, too."""
    text = f"t,a,b,label\n0,{' NA' if slow else 1},2,x\n0,1,2,x\n20,1,2,x\n"
    dataset = read(tmp_path, {"s_1.csv": text}, devices=timed("ms"))

    assert dataset.recordings[0].signals["watch"].time.tolist() == [0, 0, 0.02]


def refuse(*_args, **_kwargs) -> None:
    """Replace a parser."""
    raise AssertionError("parsed again")


def test_the_second_reading_parses_nothing(tmp_path, monkeypatch) -> None:
    """And returns the same."""
    reading = Reading(write(tmp_path / "data", {"s_1.csv": TEXT}), tmp_path / "cache")
    first = csv.read(source(), reading)
    monkeypatch.setattr(pd, "read_csv", refuse)
    monkeypatch.setattr(csv, "parse", refuse)
    second = csv.read(source(), reading)

    assert (first.sources, names(first)) == (second.sources, names(second))


def test_kept_or_not_is_the_same(tmp_path) -> None:
    """Digests and arrays."""
    texts = {"s_1.csv": "t,a,b,label\n0,1,2,x\n20,3,4,\n"}
    plain = read(tmp_path / "data", texts, devices=timed("ms"))
    kept = csv.read(source(devices=timed("ms")), Reading(tmp_path / "data", tmp_path / "cache"))

    assert (plain.sources, plain.recordings[0].labels.tolist()) == (kept.sources, kept.recordings[0].labels.tolist())


@pytest.mark.parametrize("change", ["bytes", "scale", "missing"])
def test_another_byte_or_setting_is_parsed_again(tmp_path, change) -> None:
    """Every setting of the parser is part of the key."""
    reading = Reading(write(tmp_path / "data", {"s_1.csv": TEXT}), tmp_path / "cache")
    before = csv.read(source(), reading).sources
    changes = {"scale": {"devices": {"watch": device(channels=channels(scale=2.0))}}, "missing": {"missing": ["1"]}}
    if change == "bytes":
        write(tmp_path / "data", {"s_1.csv": TEXT.replace("1", "7")})

    assert csv.read(source(**changes.get(change, {})), reading).sources != before


def test_progress_is_reported_by_file(tmp_path) -> None:
    """Each file before it is read, and the end."""
    calls = []
    csv.read(
        source(), Reading(write(tmp_path, {"s_1.csv": TEXT, "s_2.csv": TEXT}), tell=lambda *what: calls.append(what))
    )

    assert calls == [(0, 2, "s_1.csv"), (1, 2, "s_2.csv"), (2, 2, tmp_path.name)]


def test_files_that_match_no_pattern_are_a_notice(tmp_path) -> None:
    """They are not read."""
    notices = []
    write(tmp_path, {"s_1.csv": TEXT, "notes.txt": "x", "more/notes.txt": "y"})
    csv.read(source(), Reading(tmp_path, remark=notices.append))

    (notice,) = notices
    assert (notice.where, "2 of 3 files" in notice.message) == (".", True)


def test_the_kind_finds_its_reader(tmp_path) -> None:
    """By `kind` of the configuration."""
    write(tmp_path, {"s_1.csv": TEXT})

    assert sources.read(source(), Reading(tmp_path)).sources[0].kind == "csv"
