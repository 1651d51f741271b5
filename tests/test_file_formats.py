"""A file that is not read is named by what it is, from its first bytes; text and readable files are not."""

import contextlib
import gzip
import io
import sqlite3
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packing import KINDS, packed, zipped
from places import places

from modelreg.data.sources.file_formats import FIRST, find_foreign, name_format

CWA = b"MD" + (1020).to_bytes(2, "little") + bytes(1020)
GENEACTIV = b"Device Identity\r\nDevice Unique Serial Code:012345\r\nDevice Type:GENEActiv\r\n"
MOVESENSE = b'{"data": [{"acc": {"Timestamp": 1, "ArrayAcc": [{"x": 0.1}]}}]}'


def database() -> bytes:
    """Return an SQLite database."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE acc (t, x)")
        return connection.serialize()


def array() -> bytes:
    """Return a NumPy file."""
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((3, 3)))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "first", "what"),
    [
        ("anna.cwa", CWA, "CWA"),
        ("anna.gt3x", zipped({"log.bin": b"", "info.txt": b""}), "GT3X"),
        ("anna.bin", GENEACTIV, "GENEActiv"),
        ("anna.fit", b"\x0e\x10\xd9\x07\0\0\0\0.FIT", "FIT"),
        ("anna.json", MOVESENSE, "JSON"),
        ("anna.txt", b" [\n [1, 2]]", "JSON"),
        ("anna.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS"),
        ("anna.csv", b"\n<!DOCTYPE html>\n<html>", "web page"),
        ("anna.gpx", b'<?xml version="1.0"?>', "XML"),
        ("anna.db", database(), "SQLite"),
        ("anna.csv", array(), "NumPy"),
        ("anna.csv", b"PAR1\x15\x04", "Parquet"),
        ("anna.parquet", b"PARE\x15\x04", "encrypted"),
        ("anna.csv", b"ARROW1\0\0", "Feather"),
        ("anna.feather", b"FEA1\0\0\0\0", "version 1"),
        ("anna.csv", b"MATLAB 5.0 MAT-file, Platform", "MATLAB"),
        ("anna.h5", b"\x89HDF\r\n\x1a\n", "HDF5"),
        ("anna.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "xls"),
        ("anna.csv", zipped({"[Content_Types].xml": b"", "xl/workbook.xml": b""}), "workbook"),
        ("anna.csv", zipped({"a.csv": b""}), "zip"),
        ("anna.csv", packed({"a.csv": b""}, ".tar"), "tar"),
        ("anna.csv", gzip.compress(b"1,2", mtime=0), "gzip"),
        ("anna.csv", packed({"a.csv": b""}, ".tar.bz2"), "bzip2"),
        ("anna.csv", packed({"a.csv": b""}, ".tar.xz"), "xz"),
        ("anna.7z", b"7z\xbc\xaf\x27\x1c", "7z"),
        ("anna.rar", b"Rar!\x1a\x07\x01\0", "RAR"),
        ("anna.zst", b"\x28\xb5\x2f\xfd", "Zstandard"),
        ("anna.pkl", b"\x80\x04\x95", "pickle"),
        ("anna.rda", b"RDX3\n", "R data"),
        ("anna.png", b"\x89PNG\r\n\x1a\n", "PNG"),
        ("anna.jpg", b"\xff\xd8\xff\xe0", "JPEG"),
        ("anna.gif", b"GIF89a", "GIF"),
        ("anna.pdf", b"%PDF-1.7", "PDF"),
        ("anna.mp4", b"\0\0\0\x18ftypmp42", "MP4"),
        ("anna.wav", b"RIFF\0\0\0\0WAVE", "WAV"),
        ("anna", Path(sys.executable).read_bytes()[:FIRST], "program"),
        ("anna.csv", b"1,2\n3,\0\0\0\0", "binary"),
        ("anna.dat", bytes(range(256)), "binary"),
    ],
)
def test_a_format_is_named_with_a_next_step(name, first, what) -> None:
    """Never as a NUL byte."""
    found = name_format(first[:FIRST], name)

    assert found
    assert what in found.what
    assert found.next


@pytest.mark.parametrize("name", [f"a{kind}" for kind in KINDS])
def test_a_format_that_its_suffix_states_is_not_foreign(name) -> None:
    """It is read."""
    assert name_format(packed({"a.csv": b"1,2\n"}, name[1:])[:FIRST], name.upper()) is None


def test_a_workbook_that_is_called_csv_can_be_saved_as_csv_or_renamed() -> None:
    """The suffix alone does not read it: that needs the extra."""
    found = name_format(zipped({"[Content_Types].xml": b"", "xl/workbook.xml": b""}), "ben-2.csv")

    assert found
    assert ("CSV" in found.next, ".xlsx" in found.next, "modelreg[formats]" in found.next) == (True, True, True)


def test_a_workbook_may_be_any_zip() -> None:
    """Its first member is not always the same."""
    assert name_format(zipped({"customXml/item1.xml": b""}), "a.xlsx") is None


@pytest.mark.parametrize(
    "text",
    [
        "t,x\n1,2\n",
        "PAR1,PARE,MD\n1,2,3\n",
        "Rate [Hz]\n{1}\n",
        "[s],x\n",
        "time;accé\n",
        "ARROW1 FEA1\n",
        "Device Type,GENEActiv\n",
        "",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "utf-16-be"])
def test_text_is_not_foreign(text, encoding) -> None:
    """In any encoding of a text table, with a byte order mark and without."""
    assert name_format(text.encode(encoding), "a.csv") is None


@given(st.lists(st.lists(st.floats(allow_nan=False).map(repr), min_size=1, max_size=5).map(",".join), max_size=5))
def test_numbers_are_not_foreign(rows) -> None:
    """Whatever they are."""
    assert name_format("\n".join(rows).encode(), "a.csv") is None


def test_the_problem_of_a_foreign_file_has_its_next_step() -> None:
    """That of its format, not of the rule."""
    problem = find_foreign(CWA, "anna.cwa", "set/anna.cwa")

    assert problem
    assert (places([problem]), "OmGui" in problem.next) == ([("set/anna.cwa", "tables.foreign-format")], True)


def test_text_has_no_such_problem() -> None:
    """It is read as text."""
    assert find_foreign(b"1,2\n", "a.csv", "a.csv") is None
