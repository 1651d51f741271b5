"""Tables of Parquet, Feather, Excel and NumPy files: the columns that were written, and every fault named."""

import datetime as dt
import io
import math
import re
import zipfile
from decimal import Decimal
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packing import zipped
from places import places
from pyarrow import feather

from modelreg.data import extras
from modelreg.data.sources import binary_tables
from modelreg.data.sources.binary_tables import read_table
from modelreg.data.sources.table_columns import Columns
from modelreg.errors import InputError

ROWS = 12
FLOATS = st.floats(allow_nan=True, width=64)
DATES = st.datetimes(dt.datetime(1900, 3, 1), dt.datetime(2200, 1, 1))
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=5)
KINDS = {
    "floats": FLOATS,
    "integers": st.integers(-(2**63), 2**63 - 1),
    "texts": TEXTS | st.none(),
    "dates": DATES | st.none(),
    "truths": st.booleans(),
}
TABLES = st.dictionaries(TEXTS.filter(str.strip), st.sampled_from(sorted(KINDS)), min_size=1, max_size=4).flatmap(
    lambda kinds: st.fixed_dictionaries(
        {
            name: st.tuples(st.just(kind), st.lists(KINDS[kind], min_size=ROWS, max_size=ROWS))
            for name, kind in kinds.items()
        }
    )
)
TIMES = pd.to_datetime(["2024-10-27 02:30:00", "2024-10-27 03:30:00"])


def columns(data: bytes, suffix: str, table: str | None = None) -> Columns:
    """Read a file."""
    return read_table(io.BytesIO(data), "x", suffix, table)


def named(data: bytes, suffix: str, table: str | None = None) -> dict[str, list[Any]]:
    """Read a file with columns of different names, missing numbers as None."""
    found = columns(data, suffix, table)
    return {
        name: [None if isinstance(value, float) and math.isnan(value) else value for value in values.tolist()]
        for name, values in zip(found.names, found.values, strict=True)
    }


def rules(data: bytes, suffix: str, table: str | None = None) -> list[tuple[str, str]]:
    """Return the problems of a file."""
    with pytest.raises(InputError) as caught:
        columns(data, suffix, table)
    return places(caught.value.problems)


def written(write: Any, *args: Any, **kwargs: Any) -> bytes:
    """Return what a function writes into a file."""
    buffer = io.BytesIO()
    write(*args, buffer, **kwargs)
    return buffer.getvalue()


def parquet(table: dict[str, Any] | pa.Table, **settings: Any) -> bytes:
    """Return a Parquet file."""
    return written(pq.write_table, table if isinstance(table, pa.Table) else pa.table(table), **settings)


def excel(sheets: dict[str, list[list[Any]]]) -> bytes:
    """Return a workbook."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    """Return a NumPy file."""
    return written(lambda a, file: np.save(file, a, allow_pickle=True), array)


def frame(table: dict[str, tuple[str, list[Any]]]) -> pd.DataFrame:
    """Return the table as pandas holds it."""
    types = {"texts": object, "dates": "datetime64[us]"}
    return pd.DataFrame({name: pd.Series(values, dtype=types.get(kind)) for name, (kind, values) in table.items()})


def expected(table: dict[str, tuple[str, list[Any]]]) -> dict[str, np.ndarray]:
    """Return the columns that a table is."""
    as_columns = {
        "floats": lambda values: np.array(values, np.float64),
        "integers": lambda values: np.array(values, np.int64),
        "texts": lambda values: np.array([value or "" for value in values], object),
        "dates": lambda values: np.array(values, "datetime64[us]").astype("datetime64[ns]"),
        "truths": lambda values: np.array([str(value).lower() for value in values], object),
    }
    return {name.strip(): as_columns[kind](values) for name, (kind, values) in table.items()}


def assert_equal(found: Columns, wanted: dict[str, np.ndarray]) -> None:
    """Same names, types and values."""
    assert found.names == tuple(wanted)
    for values, truth in zip(found.values, wanted.values(), strict=True):
        assert values.dtype == truth.dtype
        np.testing.assert_array_equal(values, truth)


# Parquet and Feather


@given(TABLES)
def test_parquet_holds_what_pandas_wrote(table) -> None:
    """Integers to the last digit, whatever was missing."""
    assert_equal(columns(written(frame(table).to_parquet, index=False), ".parquet"), expected(table))


@given(TABLES, st.sampled_from(["uncompressed", "lz4", "zstd"]))
def test_feather_holds_what_pandas_wrote(table, compression) -> None:
    """In any compression."""
    assert_equal(columns(written(frame(table).to_feather, compression=compression), ".feather"), expected(table))


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (pa.array([1, None], pa.int64()), [1.0, None]),
        (pa.array([1, 2**63], pa.uint64()), [1.0, float(2**63)]),
        (pa.array([1, 2], pa.uint8()), [1, 2]),
        (pa.array([1.5, None], pa.float16()), [1.5, None]),
        (pa.array([Decimal("1.5"), None]), [1.5, None]),
        (pa.array([None, None]), [None, None]),
        (pa.array(["a", None]).dictionary_encode(), ["a", ""]),
        (pa.array(["a", None], pa.large_string()), ["a", ""]),
        (pa.array([True, None]), ["true", ""]),
        (pa.array([1500, None], pa.duration("ms")), [1.5, None]),
        (pa.array([dt.time(8, 30, 0, 250_000), None]), ["08:30:00.250000", ""]),
    ],
    ids=lambda values: str(values.type) if isinstance(values, pa.Array) else "",
)
def test_types_of_arrow(values, found) -> None:
    """As numbers or texts."""
    assert named(parquet({"x": values}), ".parquet") == {"x": found}


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_dates_of_arrow_are_nanoseconds(unit) -> None:
    """Of a day, too."""
    table = pa.table({"t": pa.array(TIMES, pa.timestamp(unit)), "day": pa.array(TIMES.date)})
    found = columns(written(feather.write_feather, table), ".feather")

    np.testing.assert_array_equal(found.values[0], TIMES.to_numpy().astype("datetime64[ns]"))
    np.testing.assert_array_equal(found.values[1], np.array(["2024-10-27"] * 2, "datetime64[ns]"))


def test_a_zone_is_respected() -> None:
    """Dates with a zone are in UTC, and marked; others are as the clock showed."""
    local = TIMES.tz_localize("Europe/Berlin", ambiguous=True)
    found = columns(written(pd.DataFrame({"x": [1, 2], "t": local, "u": TIMES}).to_parquet), ".parquet")
    utc = local.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[ns]")

    assert (found.zoned, found.values[1].tolist()) == ({1}, utc.tolist())


def test_columns_of_other_types_are_left_out() -> None:
    """By name, with their type."""
    table = {"x": [1, 2], "list": [[1], [2]], "old": pa.array([dt.date(1200, 1, 1)] * 2), "bytes": [b"a", b"b"]}
    found = columns(parquet(table), ".parquet")

    assert (found.names, sorted(found.left_out)) == (("x",), ["bytes", "list", "old"])


def test_columns_of_equal_names_are_both_there() -> None:
    """By their positions."""
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", " x"])
    found = columns(parquet(table), ".parquet")

    assert (found.names, [values.tolist() for values in found.values]) == (("x", "x"), [[1], [2]])


def test_a_table_without_rows_has_its_columns() -> None:
    """Of both formats."""
    table = pa.table({"x": pa.array([], pa.float64()), "label": pa.array([], pa.string())})
    found = [columns(parquet(table), ".parquet"), columns(written(feather.write_feather, table), ".feather")]

    assert [(each.names, [len(values) for values in each.values]) for each in found] == [(("x", "label"), [0, 0])] * 2


# Excel


@given(
    st.lists(
        st.tuples(st.floats(-1e6, 1e6) | st.none(), st.integers(-(2**53), 2**53), st.sampled_from(["walk", "rest"])),
        min_size=1,
        max_size=8,
    )
)
def test_excel_holds_what_pandas_wrote(rows) -> None:
    """Numbers, whole numbers and texts."""
    frame = pd.DataFrame(rows, columns=["x", "t", "label"]).astype({"x": float})
    found = columns(written(frame.to_excel, index=False), ".xlsx")
    x, t, label = found.values

    assert found.names == ("x", "t", "label")
    np.testing.assert_allclose(x.astype(float), frame["x"], rtol=1e-15)
    assert (t.tolist(), label.tolist()) == (frame["t"].tolist(), frame["label"].tolist())


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ([1, 2.5], [1.0, 2.5]),
        ([1, None], [1.0, None]),
        ([1, 2], [1, 2]),
        ([1, "n/a"], ["1", "n/a"]),
        ([True, None], ["true", ""]),
        ([dt.timedelta(seconds=90), dt.timedelta(milliseconds=500)], [90.0, 0.5]),
        ([dt.time(8, 30), "later"], ["08:30:00", "later"]),
        ([dt.timedelta(seconds=90), "x"], ["90.0", "x"]),
        (["=1/0", "#N/A"], ["", "#N/A"]),
    ],
)
def test_cells_of_excel(cells, found) -> None:
    """A column is texts unless all of its cells are numbers, or durations."""
    assert named(excel({"a": [["n", "x"], *([n, cell] for n, cell in enumerate(cells))]}), ".xlsx")["x"] == found


def test_dates_of_excel() -> None:
    """To the millisecond."""
    moments = [dt.datetime(2024, 5, 7, 8, 30, 0, 123_000), None, dt.datetime(2024, 5, 8)]
    found = columns(excel({"a": [["n", "t"], *([1, moment] for moment in moments)]}), ".xlsx")

    np.testing.assert_array_equal(found.values[1], np.array(moments, "datetime64[ns]"))


def test_the_only_sheet_with_rows_is_the_table() -> None:
    """Sheets for notes are empty, or have one row."""
    book = excel({"notes": [["by Anna"]], "empty": [], "data": [["x"], [1], [2]]})

    assert named(book, ".xlsx") == {"x": [1, 2]}


def test_a_sheet_is_chosen_by_name() -> None:
    """Where several have rows."""
    book = excel({"Accelerometer": [["x"], [1]], "Gyroscope": [["x"], [2]]})

    assert (named(book, ".xlsx", "Gyroscope"), rules(book, ".xlsx"), rules(book, ".xlsx", "gyroscope")) == (
        {"x": [2]},
        [("x", "tables.several")],
        [("x", "tables.unknown")],
    )


def test_a_workbook_without_rows_is_a_problem() -> None:
    """A header is none."""
    assert rules(excel({"a": [["x", "y"]]}), ".xlsx") == [("x", "tables.none")]


def test_columns_without_a_header_have_numbers() -> None:
    """Those of all columns if the first row has no text; empty rows are left out, and short ones are filled."""
    found = [
        named(excel({"a": [[1, 2], [], [3]]}), ".xlsx"),
        named(excel({"a": [[], ["x", None, "z"], [1, 2, 3]]}), ".xlsx"),
    ]

    assert found == [{"1": [1, 3], "2": [2.0, None]}, {"x": [1], "2": [2], "z": [3]}]


def test_the_number_of_cells_is_limited(monkeypatch) -> None:
    """A cell far to the right makes a row long."""
    monkeypatch.setattr(binary_tables, "CELLS", 100)
    book = openpyxl.Workbook()
    book.active.append(["x"])
    book.active["ZZ2"] = 1

    assert rules(written(book.save), ".xlsx") == [("x", "files.too-large")]


def test_a_workbook_that_expands_absurdly_is_a_problem(monkeypatch) -> None:
    """Before it is unpacked."""
    monkeypatch.setattr("modelreg.data.sources.unpacking.HARMLESS", 1000)

    assert rules(zipped({"xl/workbook.xml": bytes(10**6)}), ".xlsx") == [("x", "recordings.archive-expands")]


# NumPy


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.arange(6).reshape(3, 2), {"1": [0, 2, 4], "2": [1, 3, 5]}),
        (np.arange(6, dtype=">f4").reshape(3, 2, order="F"), {"1": [0, 1, 2], "2": [3, 4, 5]}),
        (np.arange(3.0), {"1": [0, 1, 2]}),
        (np.array([[1.0], [2.0]]), {"1": [1, 2]}),
        (np.array([True, False]), {"1": ["true", "false"]}),
        (np.array([b"walk", b"r\xe9st"]), {"1": ["walk", "r\ufffdst"]}),
        (np.array([1, 2], "timedelta64[ms]"), {"1": [0.001, 0.002]}),
        (np.array([(1.5, "a"), (2.5, "b")], [("x", "f4"), ("label", "U1")]), {"x": [1.5, 2.5], "label": ["a", "b"]}),
    ],
)
def test_arrays(array, found) -> None:
    """Of any order, type and form."""
    assert named(npy(array), ".npy") == found


def test_fields_of_other_types_are_left_out() -> None:
    """Arrays in records, complex numbers, and durations in months."""
    array = np.zeros(2, [("x", "f8"), ("acc", "f8", 3), ("z", "c16"), ("m", "m8[M]"), ("raw", "V3")])
    found = columns(npy(array), ".npy")

    assert (found.names, sorted(found.left_out)) == (("x",), ["acc", "m", "raw", "z"])


@pytest.mark.parametrize("shape", [(), (2, 3), (9, 2, 3), (2, 2, 2), (0, 2), (5, 0)])
def test_an_array_that_is_no_table_is_a_problem(shape) -> None:
    """One value, a transposed table, windows."""
    assert rules(npy(np.zeros(shape)), ".npy") == [("x", "tables.shape")]


def test_pickled_objects_are_not_read() -> None:
    """They could run code."""
    assert rules(npy(np.array([{"a": 1}], object)), ".npy") == [("x", "tables.invalid")]


# All formats


FILES = {
    ".parquet": parquet({"x": np.arange(50.0), "label": ["walk", "rest"] * 25}, compression="zstd"),
    ".feather": written(feather.write_feather, pa.table({"x": np.arange(50.0), "label": ["walk", "rest"] * 25})),
    ".xlsx": excel({"a": [["x", "label"], [1, "walk"], [2.5, None]]}),
    ".npy": npy(np.arange(30.0).reshape(10, 3)),
}


@pytest.mark.parametrize("suffix", FILES)
def test_a_file_that_is_cut_off_is_a_problem(suffix) -> None:
    """At any byte."""
    data = FILES[suffix]
    found = {rule for at in range(0, len(data), max(1, len(data) // 60)) for rule in rules(data[:at], suffix)}

    assert found == {("x", "tables.invalid")}


@pytest.mark.parametrize("suffix", FILES)
def test_a_file_of_another_format_is_named(suffix) -> None:
    """And an SQLite database, a web page and nothing at all."""
    others = [data for other, data in FILES.items() if other != suffix]

    for data in (*others, b"SQLite format 3\0" + bytes(100), b"<!DOCTYPE html><html></html>", b"t,x\n1,2\n", b""):
        assert rules(data, suffix) == [("x", "tables.invalid")]


@pytest.mark.parametrize("suffix", FILES)
def test_large_files_are_refused(suffix, monkeypatch) -> None:
    """They are read whole."""
    monkeypatch.setattr(binary_tables, "LIMIT", 100)

    assert rules(FILES[suffix], suffix) == [("x", "files.too-large")]


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_contents_that_are_too_large_are_refused(suffix, monkeypatch) -> None:
    """However small the file is."""
    monkeypatch.setattr(binary_tables, "UNPACKED", 100)

    assert rules(FILES[suffix], suffix) == [("x", "files.too-large")]


def test_contents_that_do_not_fit_into_memory_are_refused(monkeypatch) -> None:
    """Whatever the library was about to allocate."""

    def fail(*_: object) -> Columns:
        raise MemoryError

    monkeypatch.setitem(binary_tables._KINDS, ".npy", binary_tables._Kind(fail, (ValueError,)))

    assert rules(FILES[".npy"], ".npy") == [("x", "files.too-large")]


@pytest.mark.parametrize(
    ("suffix", "package"), [(".parquet", "pyarrow"), (".feather", "pyarrow"), (".xlsx", "openpyxl")]
)
def test_a_missing_package_names_the_extra(suffix, package, monkeypatch) -> None:
    """It is installed on demand."""
    monkeypatch.setattr(extras, "find_spec", lambda _: None)

    assert rules(FILES[suffix], suffix) == [(package, "install.extra-missing")]


def test_numpy_files_need_no_package(monkeypatch) -> None:
    """But numpy."""
    monkeypatch.setattr(extras, "find_spec", lambda _: None)

    assert named(FILES[".npy"], ".npy")["1"][:2] == [0, 3]


def test_a_workbook_may_have_features_that_are_not_read() -> None:
    """openpyxl warns of them; a user cannot do anything about that."""
    with zipfile.ZipFile(io.BytesIO(FILES[".xlsx"])) as packed:
        entries = {name: packed.read(name) for name in packed.namelist()}
    entries["xl/styles.xml"] = re.sub(rb"<cellStyles.*</cellStyles>", b"", entries["xl/styles.xml"])

    assert named(zipped(entries), ".xlsx")["x"] == [1.0, 2.5]
