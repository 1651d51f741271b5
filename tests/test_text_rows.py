"""Rows of text files in any form, and in blocks of any size."""

import csv as python_csv
import gzip
import io

import example_run
import numpy as np
import pytest
from csv_folder import channels, device, problems, read, source
from hypothesis import given
from hypothesis import strategies as st
from places import places

from modelreg.data.cache import Reading
from modelreg.data.sources import csv, text_rows
from modelreg.data.sources.text_rows import Block, Form, Misfit, open_table
from modelreg.documents.report import markdown
from modelreg.documents.templates import card_v2
from modelreg.errors import InputError
from modelreg.records.data import RowCounts

PLAIN = "a,b,label\n1,2,walk\n3,4,rest\n5,6,walk\n"
cells = st.text(st.sampled_from('ab1,;" \t\n#é'), max_size=4)


def rows_of(data: bytes, form: Form, block: int = text_rows.BLOCK) -> tuple[list[tuple[int, list[str]]], list[Misfit]]:
    """Return the line and the cells of every row, and what does not fit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_rows, "BLOCK", block)
        found = open_table(io.BytesIO(data), "x", form).blocks
        parts = list(found)
    rows = [
        (line, [cell.strip() for cell in text.split(part.separator)])
        for part in parts
        if isinstance(part, Block)
        for line, text in zip(part.lines, part.text.decode().split("\n"), strict=False)
    ]
    return rows, [part for part in parts if isinstance(part, Misfit)]


@given(st.lists(st.lists(cells, min_size=2, max_size=3), min_size=1, max_size=8), st.integers(1, 40))
def test_the_size_of_a_block_changes_nothing(table, block) -> None:
    """A row may begin in one block and end in another, inside quotes too."""
    file = io.StringIO()
    python_csv.writer(file, lineterminator="\r\n").writerows([["a", "b"], *table])
    data = file.getvalue().encode()

    assert rows_of(data, Form(), block) == rows_of(data, Form())


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_rows_are_those_of_the_csv_module(table, end) -> None:
    """Blank rows left out, cells stripped."""
    file = io.StringIO()
    python_csv.writer(file, lineterminator=end).writerows([["a", "b"], *table])
    expected = [[cell.strip().replace("\n", "\x1e") for cell in row] for row in table if any(cell for cell in row)]
    found, misfits = rows_of(file.getvalue().encode(), Form())

    assert ([row for _, row in found if any(row)], misfits) == ([row for row in expected if any(row)], [])


blanks = st.text(st.sampled_from(" \t"), max_size=9)


@given(
    st.lists(st.tuples(blanks, st.just("1"), blanks.map(lambda text: text + " "), st.just("-2.5"), blanks), min_size=1)
)
def test_rows_with_any_blanks_are_their_words(table) -> None:
    """In one block, which is not taken apart."""
    rows = ["".join(row) for row in table]
    text = "".join(f"{row}\n" for row in rows)
    found = open_table(io.BytesIO(text.encode()), "x", Form("blanks", header=False)).blocks

    assert [part.text for part in found if isinstance(part, Block)] == [b"1 -2.5\n" * len(rows)]


@pytest.mark.parametrize(
    ("data", "changes"),
    [
        (PLAIN.encode("utf-8-sig"), {}),
        (PLAIN.encode("utf-16"), {}),
        (PLAIN.encode("utf-16"), {"encoding": "utf-16"}),
        (PLAIN.encode("utf-16-le"), {"encoding": "utf-16"}),
        (PLAIN.replace("label", "lábel").encode("latin-1"), {"encoding": "latin-1", "label": "lábel"}),
        (PLAIN.replace(",", ";").encode(), {"separator": ";"}),
        (PLAIN.replace(",", " \t ").encode(), {"separator": "blanks"}),
        (("  " + PLAIN.replace(",", "  ").replace("\n", " \n  ")).encode(), {"separator": "blanks"}),
        (PLAIN.replace("walk\n", "walk,\n").replace("rest\n", "rest,\n").encode(), {}),
        (PLAIN.replace("rest\n", "rest, ,\n").encode(), {}),
        (("#made by\n" + PLAIN.replace("3", "# no row\n3")).encode(), {"comment": "#"}),
        (("one,line\ntwo\n" + PLAIN).encode(), {"skip": 2}),
        (("a,b,x\nmade by\n" + PLAIN).encode(), {"skip_until": "^a,b,l"}),
        (("\n\n" + PLAIN).encode(), {}),
        (
            PLAIN.replace(",", ";").replace("1", "1,0").replace("3", "3,0e0").encode(),
            {"separator": ";", "decimal": ","},
        ),
        (PLAIN.replace("1,2", '"1","2"').encode(), {}),
        ((PLAIN + "7,8").encode(), {}),
        ((PLAIN + "7,-").encode(), {}),
        ((PLAIN + '7,8,"wa').encode(), {}),
    ],
)
def test_one_table_in_many_forms(tmp_path, data, changes) -> None:
    """The same recording, to the bit."""
    plain, dataset = read(tmp_path / "plain", {"s_1.csv": PLAIN}), read(tmp_path / "x", {"s_1.csv": data}, **changes)

    assert (
        dataset.recordings[0].signals["watch"].values.tobytes() == plain.recordings[0].signals["watch"].values.tobytes()
    )
    assert dataset.recordings[0].labels.tolist() == plain.recordings[0].labels.tolist()


def parts(*columns: str, **changes) -> dict:
    """Return a device of two sensors, each with a file and a channel."""
    made = [
        {
            "files": rf"(?P<subject>\w+)_{n}\.csv",
            "channels": [{"name": f"c{n}", "column": column, "unit": "g"}],
            **changes,
        }
        for n, column in enumerate(columns)
    ]
    return {"watch": {"rate_hz": 50, "channels": {}, "parts": made}}


def test_parts_without_a_clock_are_side_by_side(tmp_path) -> None:
    """Equal rates and lengths: nothing is resampled; labels are those of the first part."""
    dataset = read(tmp_path, {"s_0.csv": PLAIN, "s_1.csv": PLAIN}, devices=parts("a", "b"))
    recording = dataset.recordings[0]

    assert recording.signals["watch"].values.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert (recording.signals["watch"].time, recording.labels.tolist()) == (None, [1, 0, 1])


def test_parts_that_cannot_be_joined_are_named(tmp_path) -> None:
    """Different lengths without a clock, for each recording; and a part without its file."""
    texts = {"s_0.csv": PLAIN, "s_1.csv": PLAIN + "7,8,walk\n", "t_0.csv": PLAIN, "t_1.csv": PLAIN + "7,8,walk\n"}
    lacking = problems(tmp_path / "x", {"s_0.csv": PLAIN, "s_1.csv": PLAIN, "t_0.csv": PLAIN}, devices=parts("a", "b"))

    assert places(problems(tmp_path, texts, devices=parts("a", "b"))) == [
        ("s-1", "recordings.unequal-duration"),
        ("t-1", "recordings.unequal-duration"),
    ]
    assert [(problem.rule, "watch part 2" in problem.message) for problem in lacking] == [("csv.device-missing", True)]


GZ = {"devices": {"watch": device(files=r"(?P<subject>\w+)_(?P<session>\w+)\.csv\.gz")}}


def test_compressed_text_is_read(tmp_path) -> None:
    """While it is unpacked."""
    dataset = read(tmp_path, {"s_1.csv.gz": gzip.compress(PLAIN.encode())}, **GZ)

    assert dataset.recordings[0].signals["watch"].values.tolist() == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda _: b"a,b\n1,2\n", lambda data: data[:12] + b"xxx" + data[15:]]
)
def test_damaged_compressed_text_is_an_error(tmp_path, damage) -> None:
    """Cut off, not compressed, other bytes."""
    found = problems(tmp_path, {"s_1.csv.gz": damage(gzip.compress(PLAIN.encode()))}, **GZ)

    assert places(found) == [("s_1.csv.gz", "recordings.archive-damaged")]


def test_columns_by_number_below_a_header(tmp_path) -> None:
    """For a column without a name."""
    text = ",b,label\n1,2,walk\n3,4,rest\n"
    dataset = read(tmp_path, {"s_1.csv": text}, devices={"watch": device(channels=channels(1, "b"))})

    assert dataset.recordings[0].signals["watch"].values.tolist() == [[1, 2], [3, 4]]


BAD = PLAIN.replace("3,4,rest", "3,4\n3,x,rest\n3,4,rest") + "7,8,run\n" * 96


def test_bad_rows_are_skipped_and_counted(tmp_path) -> None:
    """If they are few; the others are as in a file without them."""
    notices: list = []
    reading = Reading(tmp_path, remark=notices.append)
    (tmp_path / "s_1.csv").write_text(BAD)
    dataset = csv.read(source(on_bad_row="skip", max_bad_rows=0.02), reading)

    assert dataset.recordings[0].signals["watch"].values[:3].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert dataset.sources[0].rows == RowCounts(rows=99, bad=2, cut=0, moved=0, late=0, packets=0)
    assert [notice.message for notice in notices] == ["bad rows, left out: 2 of 101"]


def test_what_was_done_to_rows_stands_in_card_and_report() -> None:
    """As the record of the data has it; nothing stands there where all rows were read as they are."""
    counts = RowCounts(rows=99, bad=2, cut=1, moved=3, late=4, packets=5)
    data = example_run.data_record()
    (first, *_) = data.sources
    counted = data.model_copy(update={"sources": (first.model_copy(update={"rows": counts}),)})

    assert len(counts.notes()) == 5
    assert b'"rows"' not in data.to_bytes()
    assert card_v2._rows(counts).count(";") == 4
    assert card_v2._rows(None) == ""
    measured = example_run.eval_metrics(example_run.predictions(np.random.default_rng(0)), "a" * 64, "b" * 64)
    section = markdown._protocol_section(measured, counted)
    assert all(note in section for note in counts.notes())


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, [("s_1.csv:3", "csv.row-width"), ("s_1.csv:4", "csv.not-a-number")]),
        (
            {"on_bad_row": "skip", "max_bad_rows": 0.01},
            [("s_1.csv:3", "csv.too-many-bad-rows"), ("s_1.csv:3", "csv.row-width"), ("s_1.csv:4", "csv.not-a-number")],
        ),
    ],
)
def test_bad_rows_are_errors_by_default_or_above_a_share(tmp_path, changes, found) -> None:
    """With the causes."""
    assert places(problems(tmp_path, {"s_1.csv": BAD}, **changes)) == found


def test_a_line_that_was_cut_off_is_no_excuse_for_a_file_without_rows(tmp_path) -> None:
    """It is a bad row then."""
    assert places(problems(tmp_path, {"s_1.csv": "a,b,label\n1,x,y"})) == [("s_1.csv:2", "csv.not-a-number")]


@pytest.mark.parametrize(
    ("data", "form", "problem"),
    [
        (PLAIN.encode(), Form(skip_until="^x,"), ("x", "csv.preamble")),
        (PLAIN.encode(), Form(skip=9), ("x", "csv.empty")),
        (b"a\n" * 1001, Form(skip_until="^b"), ("x", "csv.preamble")),
        (b"\n" + b"a" * 2**18 + b",b\n1,2\n", Form(), ("x:2", "csv.quotes")),
        (PLAIN.replace("rest", "r\xe9st").encode("latin-1"), Form(), ("x:3", "csv.encoding")),
        (PLAIN.encode("utf-16-be"), Form(), ("x:1", "csv.encoding")),
    ],
)
def test_a_file_in_another_form_is_named(data, form, problem) -> None:
    """With its line where it has one."""
    with pytest.raises(InputError) as caught:
        rows_of(data, form)

    assert places(caught.value.problems) == [problem]


def test_integers_of_many_blocks_stay_exact(tmp_path, monkeypatch) -> None:
    """Nanoseconds since 1970 are no float64."""
    monkeypatch.setattr(text_rows, "BLOCK", 64)
    start = 1_700_000_000_000_000_000
    text = "t,a,b,label\n" + "".join(f"{start + 20_000_000 * n},1,2,x\n" for n in range(50))
    timed = {"watch": device(time={"column": "t", "unit": "ns"})}
    time = read(tmp_path, {"s_1.csv": text}, devices=timed).recordings[0].signals["watch"].time

    assert np.array_equal(time, np.array([(start + 20_000_000 * n) / 10**9 for n in range(50)]))
