"""Binary tables by the mapping of text files: the same recordings."""

import io
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from csv_folder import device, problems, read, write

from modelreg.records.csv_device import CsvTime

pytest.importorskip("pyarrow")
pytest.importorskip("openpyxl")

FRAME = pd.DataFrame(
    {
        "t": [0, 20, 40, 60],
        "a": [1.5, -999.0, 3.0, np.nan],
        "b": [1.0, 2.0, 3.0, 4.0],
        "label": ["walk", "rest", "", "walk"],
        "trial": [1.0, 1.0, 2.0, 2.0],
    }
)
WRITERS = {
    "parquet": lambda frame, to: frame.to_parquet(to),
    "feather": lambda frame, to: frame.to_feather(to),
    "xlsx": lambda frame, to: frame.to_excel(to, index=False),
    "csv": lambda frame, to: to.write(frame.to_csv(index=False).encode()),
}


def packed(suffix: str, frame: pd.DataFrame = FRAME) -> bytes:
    """Return a file of a table."""
    to = io.BytesIO()
    WRITERS[suffix](frame, to)
    return to.getvalue()


def settings(suffix: str, **changes) -> dict:
    """A source with a time, a session in a column of floats, and -999 as a missing value."""
    devices = {"watch": device(files=rf"(?P<subject>\w+)\.{suffix}", time={"column": "t", "unit": "ms"}, **changes)}
    return {"devices": devices, "missing": ["", "-999"], "session": "trial"}


def contents(dataset) -> list:
    """Return what a data set holds, as values that compare."""
    return [
        (r.name, r.signals["watch"].values.tolist(), r.signals["watch"].time.tolist(), r.labels.tolist())
        for r in dataset.recordings
    ]


@pytest.mark.parametrize("suffix", ["parquet", "feather", "xlsx"])
def test_a_table_is_read_as_the_same_text(tmp_path, suffix) -> None:
    """Names, values, times, labels and missing values."""
    text = FRAME.assign(trial=FRAME.trial.astype(int)).to_csv(index=False)
    expected = read(tmp_path / "text", {"s.csv": text}, **settings("csv"))
    found = read(tmp_path / "table", {f"s.{suffix}": packed(suffix)}, **settings(suffix))

    assert repr(contents(found)) == repr(contents(expected))


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_dates_of_a_table(tmp_path, zone) -> None:
    """Those that name a zone are exact; others are in the configured one."""
    begin = datetime(2024, 5, 7, 8, 30, tzinfo=UTC)
    stamps = pd.Series([begin + timedelta(milliseconds=20 * n) for n in range(4)])
    local = stamps if zone is None else stamps.dt.tz_convert(zone).dt.tz_localize(None)
    frame = FRAME.assign(t=local)
    time = CsvTime(column="t", unit="iso8601", zone=zone).to_document()
    devices = {"watch": device(files=r"(?P<subject>\w+)\.parquet", time=time)}
    dataset = read(tmp_path, {"s.parquet": packed("parquet", frame)}, devices=devices)

    assert dataset.recordings[0].signals["watch"].time.tolist() == [begin.timestamp() + 0.02 * n for n in range(4)]


def test_rows_of_one_sensor_of_a_table(tmp_path) -> None:
    """Told by a number in a column."""
    changes = settings("parquet", rows={"column": "trial", "text": "1"}) | {"session": None}
    frame = FRAME.assign(trial=[1.0, np.nan, 1.0, 1.5])
    dataset = read(tmp_path, {"s.parquet": packed("parquet", frame)}, **changes)

    assert dataset.recordings[0].signals["watch"].values[:, 1].tolist() == [1, 3]


def test_a_table_without_a_clock(tmp_path) -> None:
    """Row n is at n / rate_hz."""
    devices = {"watch": device(files=r"(?P<subject>\w+)\.parquet")}
    dataset = read(tmp_path, {"s.parquet": packed("parquet")}, devices=devices)

    assert dataset.recordings[0].signals["watch"].time is None


@pytest.mark.parametrize(
    ("changes", "place", "rule"),
    [
        ({"a": ["1", "x", "3", "4"]}, "s.parquet:2", "csv.not-a-number"),
        ({"t": ["0", "20", "2024-05-07", "60"]}, "s.parquet:3", "csv.time-is-date"),
        ({"a": [[1], [2], [3], [4]]}, "s.parquet", "csv.column-missing"),
    ],
)
def test_a_table_with_other_cells(tmp_path, changes, place, rule) -> None:
    """The place is the number of the row."""
    texts = {"s.parquet": packed("parquet", FRAME.assign(**changes))}

    assert [(p.where, p.rule) for p in problems(tmp_path, texts, **settings("parquet"))] == [(place, rule)]


@pytest.mark.parametrize(
    ("data", "rule"),
    [(b"\x89PNG\r\n\x1a\n" + bytes(99), "tables.foreign-format"), (b"a,b\n1,2\n", "csv.column-missing")],
)
def test_a_file_of_another_format_is_named(tmp_path, data, rule) -> None:
    """Text keeps the problems of text."""
    assert [problem.rule for problem in problems(tmp_path, {"s_1.csv": data})] == [rule]


def test_a_numpy_array_by_numbers_of_columns(tmp_path) -> None:
    """A continuous recording of (rows, columns)."""
    to = io.BytesIO()
    np.save(to, np.arange(12.0).reshape(4, 3))
    devices = {
        "watch": device(
            files=r"(?P<subject>\w+)-(?P<label>\w+)\.npy",
            channels={"acc_x": {"column": 2, "unit": "g", "plus": 3}},
        )
    }
    dataset = read(tmp_path, {"s-walk.npy": to.getvalue()}, devices=devices, label=None)

    assert dataset.recordings[0].signals["watch"].values.tolist() == [[3], [9], [15], [21]]


def test_a_sheet_is_chosen_by_its_name(tmp_path) -> None:
    """A workbook may have several."""
    to = io.BytesIO()
    with pd.ExcelWriter(to) as book:
        FRAME.to_excel(book, sheet_name="first", index=False)
        FRAME.assign(b=9.0).to_excel(book, sheet_name="second", index=False)
    folder = write(tmp_path, {"s.xlsx": to.getvalue()})
    dataset = read(folder, {}, **settings("xlsx"), table="second")

    assert dataset.recordings[0].signals["watch"].values[0].tolist() == [1.5, 9]
