"""MATLAB files: version 5 as MATLAB and scipy write it, version 7.3 in its layout of HDF5; tables of variables."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mat73_layout import mat73
from places import places
from test_layouts import G, signal

from modelreg.data import extras
from modelreg.data.sources import binary_tables, mat5
from modelreg.data.sources import mat73 as reader_73
from modelreg.data.sources.binary_tables import read_table
from modelreg.data.sources.table_columns import Columns, Unread
from modelreg.errors import InputError

USC_HAD = sorted(Path(__file__).parent.glob("layouts/usc_had/*/*.mat"))
MADE_BY_MATLAB = sorted((Path(scipy.io.__file__).parent / "matlab/tests/data").glob("*.mat"))
DTYPES = st.sampled_from(["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "b1"])
ARRAYS = DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=2, max_dims=3, max_side=5)))
NAMES = st.from_regex(r"\A[A-Za-z][A-Za-z0-9_]{0,20}\Z")
TEXTS = st.text(st.characters(codec="utf-8", max_codepoint=0xFFFF, exclude_categories=["Cs", "Cc"]), max_size=5)
T, ACC, GYRO = np.arange(20.0)[:, None], np.arange(60.0).reshape(20, 3), np.arange(30.0).reshape(10, 3)
LABELS = ["walk", "", "rest"] + ["walk"] * 17
IMU = {"t": T, "acc": ACC, "label": LABELS, "rate": np.array([[50.0]]), "by": "Anna"}


def mat_5(variables: dict[str, Any], *, compressed: bool = False) -> bytes:
    """Return a file of version 5; lists of texts are cells."""

    def prepared(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: prepared(inner) for name, inner in value.items()}
        return np.array(value, object)[:, None] if isinstance(value, list) else value

    buffer = io.BytesIO()
    scipy.io.savemat(buffer, prepared(variables), do_compression=compressed)
    return buffer.getvalue()


WRITERS = {"5": mat_5, "7": lambda variables: mat_5(variables, compressed=True), "7.3": mat73}
every_version = pytest.mark.parametrize("version", WRITERS)


def columns(data: bytes, table: str | None = None) -> Columns:
    """Read a file."""
    return read_table(io.BytesIO(data), "x", ".mat", table)


def named(data: bytes, table: str | None = None) -> dict[str, list[Any]]:
    """Read a file as lists."""
    found = columns(data, table)
    return {name: values.tolist() for name, values in zip(found.names, found.values, strict=True)}


def rules(data: bytes, table: str | None = None) -> list[tuple[str, str]]:
    """Return the problems of a file."""
    with pytest.raises(InputError) as caught:
        columns(data, table)
    return places(caught.value.problems)


def variables(data: bytes) -> dict[str, mat5.Value]:
    """Read the variables of version 5 as they are."""
    return {name: load() for name, load in mat5.read(data, 2**30, "x")}


def is_as_scipy_reads(ours: mat5.Value, theirs: Any) -> bool:
    """Return whether our reader and scipy give the same; what ours does not read is not compared."""
    if isinstance(ours, Unread):
        return True
    if isinstance(ours, dict):
        return all(is_as_scipy_reads(value, theirs[0, 0][name]) for name, value in ours.items())
    if ours.dtype == object:
        texts = ["".join(np.ravel(text).tolist()).rstrip() for text in theirs.ravel()] or [""]
        return [text.rstrip() for text in ours.ravel()] == texts
    return np.array_equal(ours, theirs)


# Variables


@given(st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=3), st.booleans())
def test_arrays_of_version_5_are_those_that_scipy_wrote(given_arrays, compressed) -> None:
    """Of every type and shape, to the last bit."""
    found = variables(mat_5(given_arrays, compressed=compressed))

    assert found.keys() == given_arrays.keys()
    for name, array in given_arrays.items():
        np.testing.assert_array_equal(found[name], array)


@given(st.lists(TEXTS, min_size=2, max_size=5), st.text(st.characters(codec="ascii", categories=["L"]), min_size=1))
def test_texts_of_version_5_are_those_that_scipy_wrote(cells, text) -> None:
    """In cells, and alone."""
    found = variables(mat_5({"cells": cells, "text": text}))

    assert (found["cells"].ravel().tolist(), found["text"].tolist()) == (cells, [[text]])


WRONG = ("bad_miuint32", "corrupted_zlib_checksum", "corrupted_zlib_data", "malformed1")
UNEQUAL = ("bad_miutf8_array_name", "nasty_duplicate_fieldnames")  # scipy refuses the first and renames fields


@pytest.mark.parametrize("path", [p for p in MADE_BY_MATLAB if p.stem not in UNEQUAL], ids=lambda path: path.stem)
def test_files_of_matlab_are_read_as_by_scipy(path) -> None:
    """Written by MATLAB 5 to 8, in both orders of bytes."""
    data = path.read_bytes()
    if data[124:128] not in {b"\0\1IM", b"\1\0MI"} or path.stem in WRONG:
        with pytest.raises((ValueError, zlib.error)):
            variables(data)
        return
    expected = scipy.io.loadmat(io.BytesIO(data))
    found = variables(data)

    assert found.keys() == {name for name in expected if not name.startswith("__")}
    assert [name for name in found if not is_as_scipy_reads(found[name], expected[name])] == []


@given(st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=3))
def test_arrays_of_version_73_have_the_axes_of_matlab(given_arrays) -> None:
    """HDF5 has them in the opposite order."""
    data = mat73(given_arrays)
    found = {name: load() for name, load in reader_73.read(io.BytesIO(data), 2**30, "x")}

    assert found.keys() == given_arrays.keys()
    for name, array in given_arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_arrays_that_another_program_wrote_keep_their_axes() -> None:
    """They have no class of MATLAB."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["acc"] = ACC

    assert named(buffer.getvalue())["2"] == ACC[:, 1].tolist()


# Tables


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parent.glob("layouts/usc_had/*/*.mat")), ids=lambda path: path.stem
)
def test_the_miniature_of_usc_had(path) -> None:
    """The only variable that has rows, with texts and single values: (n, 6), g and degrees per second."""
    subject = ("anna", "ben")[int(path.parent.name[-1]) - 1]
    acc, gyro = signal(subject, {"a1t1": "walk", "a2t1": "rest"}[path.stem], 300, 100.0)
    found = columns(path.read_bytes())

    assert found.names == tuple("123456")
    np.testing.assert_allclose(np.stack(found.values, 1), np.hstack([acc / G, np.degrees(gyro)]), atol=1e-4)


@every_version
def test_a_matrix_alone_has_numbered_columns(version) -> None:
    """From 1."""
    assert named(WRITERS[version]({"acc": ACC})) == {str(n + 1): ACC[:, n].tolist() for n in range(3)}


@every_version
@pytest.mark.parametrize("wrap", [lambda imu: imu, lambda imu: {"imu": imu}, lambda imu: {"a": {"imu": imu}}])
def test_variables_of_equal_length_are_one_table(version, wrap) -> None:
    """At the top of the file, or in a struct; others are left out."""
    found = columns(WRITERS[version](wrap(IMU)))
    values = dict(zip(found.names, found.values, strict=True))

    assert sorted(values) == ["acc.1", "acc.2", "acc.3", "label", "t"]
    assert (values["label"].tolist(), values["acc.2"].tolist()) == (LABELS, ACC[:, 1].tolist())
    assert sorted(found.left_out) == ["by", "rate"]


@every_version
def test_a_row_is_a_vector(version) -> None:
    """As a column is, of numbers and of truths."""
    data = WRITERS[version]({"t": T.T, "on": T.T > 3})

    assert named(data) == {"on": ["false"] * 4 + ["true"] * 16, "t": T[:, 0].tolist()}


@every_version
@pytest.mark.parametrize(
    ("table", "names"),
    [("gyro", "123"), ("more.imu", ["acc.1", "acc.2", "acc.3", "t"]), ("more.imu.t", ["more.imu.t"]), ("more", ["x"])],
)
def test_a_table_is_chosen_by_name(version, table, names) -> None:
    """A variable, a struct in a struct, a field; of a struct, its own fields come before those of structs in it."""
    data = WRITERS[version]({"acc": ACC, "gyro": GYRO, "more": {"imu": {"t": T, "acc": ACC}, "x": T[:5]}})

    assert sorted(named(data, table)) == list(names)


@every_version
@pytest.mark.parametrize(
    ("given_variables", "table", "rule"),
    [
        ({"acc": ACC, "gyro": GYRO}, None, "tables.several"),
        ({"a": {"acc": ACC}, "b": {"gyro": GYRO}}, None, "tables.several"),
        ({"a": {"acc": ACC, "gyro": GYRO}}, "a", "tables.several"),
        ({"rate": np.array([[50.0]]), "by": "Anna", "none": {}}, None, "tables.none"),
        ({}, None, "tables.none"),
        ({"acc": ACC, "gyro": GYRO}, "Acc", "tables.unknown"),
        ({"a": {"acc": ACC}}, "a.x", "tables.unknown"),
        ({"acc": ACC.T}, None, "tables.shape"),
        ({"acc": np.zeros((9, 3, 2))}, "acc", "tables.shape"),
    ],
)
def test_what_is_no_table_is_a_problem(version, given_variables, table, rule) -> None:
    """With what there is instead."""
    assert rules(WRITERS[version](given_variables), table) == [("x", rule)]


def test_a_variable_that_is_not_read_is_a_problem() -> None:
    """If it is the chosen one."""
    data = mat_5({"c": ACC + 1j})

    assert (rules(data, "c"), rules(data)) == ([("x", "tables.unsupported")], [("x", "tables.none")])


def test_many_tables_are_not_all_listed() -> None:
    """The first ones are enough."""
    with pytest.raises(InputError) as caught:
        columns(mat_5({f"v{n}": np.zeros((n + 2, 2)) for n in range(20)}))

    assert "8 others" in caught.value.problems[0].message


@every_version
def test_only_the_named_variable_is_read(version, monkeypatch) -> None:
    """The others may be large."""
    monkeypatch.setattr(binary_tables, "UNPACKED", 2000)
    large = {"a": {"x": np.zeros((500, 1))}, "z": T} if version == "7.3" else {"z": T}

    assert len(named(WRITERS[version](large), "z")["z"]) == 20


# Version 5


def element(kind: int, data: bytes, size: int | None = None) -> bytes:
    """Return an element that states a size."""
    return struct.pack("<II", kind, len(data) if size is None else size) + data + bytes(-len(data) % 8)


def small(kind: int, data: bytes, size: int | None = None) -> bytes:
    """Return an element of at most four bytes."""
    return struct.pack("<I", kind | (len(data) if size is None else size) << 16) + data.ljust(4, b"\0")


def words(*numbers: int, kind: int = 5) -> bytes:
    """Return an element of integers."""
    return element(kind, struct.pack(f"<{len(numbers)}i", *numbers))


def matrix(kind: int, shape: tuple[int, ...], *parts: bytes, name: bytes = b"x") -> bytes:
    """Return an array of a class."""
    return element(14, words(kind, 0, kind=6) + words(*shape) + small(1, name) + b"".join(parts))


def file_of(*elements: bytes) -> bytes:
    """Return a file of these elements."""
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + b"".join(elements)


NUMBERS = element(9, np.arange(4.0).tobytes())
OPAQUE = element(14, words(17, 0, kind=6) + small(1, b"x") + small(1, b"MCOS") + element(1, b"table") + NUMBERS)


@pytest.mark.parametrize(
    ("made", "what"),
    [
        (OPAQUE, "an object of class table"),
        (matrix(3, (1, 1), element(1, b"inline")), "an object of class inline"),
        (matrix(5, (4, 1)), "a sparse matrix"),
        (matrix(16, (1, 1)), "a function"),
        (matrix(99, (1, 1)), "values of class 99"),
        (matrix(2, (1, 2), small(5, b"\4\0\0\0"), element(1, b"a\0\0\0")), "a struct array of 1 × 2 elements"),
        (matrix(1, (2**20, 2**10)), "more than 4,194,304 cells"),
        (matrix(1, (1, 1), matrix(6, (4, 1), NUMBERS)), "cells of other values than texts"),
    ],
)
def test_what_is_not_read_is_named(made, what) -> None:
    """Objects, functions and others."""
    assert variables(file_of(made)) == {"x": Unread(what)}


def test_an_empty_cell_is_an_empty_text() -> None:
    """MATLAB stores nothing for it."""
    assert named(file_of(matrix(1, (2, 1), matrix(4, (1, 1), small(16, b"a")), element(14, b"")))) == {"x": ["a", ""]}


def test_variables_without_a_name_are_those_of_objects() -> None:
    """MATLAB keeps the contents of its objects there."""
    assert variables(file_of(OPAQUE, matrix(6, (4, 1), NUMBERS, name=b""))).keys() == {"x"}


DEEP = matrix(6, (4, 1), NUMBERS)
for _ in range(20):
    DEEP = matrix(1, (1, 1), DEEP)


@pytest.mark.parametrize(
    "made",
    [
        b"\0\0\0",
        element(14, b"", 100),
        element(9, b""),
        element(15, b"no zlib"),
        element(15, zlib.compress(b"x" * 20)[:-3]),
        element(15, zlib.compress(b"")),
        element(14, words(6, kind=6)),
        element(14, element(6, b"")),
        element(14, element(99, b"1234")),
        matrix(6, (4,), NUMBERS),
        matrix(6, (-4, 1), NUMBERS),
        matrix(6, (2**30, 2**30), NUMBERS),
        matrix(6, (5, 1), NUMBERS),
        matrix(6, (4, 1)),
        matrix(6, (4, 1), small(6, b"1234", 9)),
        matrix(4, (2, 3), element(16, b"abc")),
        matrix(4, (1, 3), element(9, b"abc")),
        matrix(1, (3, 1), matrix(4, (1, 1), small(16, b"a"))),
        matrix(2, (1, 1), small(5, b"\0\0\0\0"), element(1, b"abc")),
        matrix(2, (1, 1), small(5, b"\1\0\0\0"), element(1, b"ab"), matrix(6, (4, 1), NUMBERS)),
        matrix(2, (1, 1), small(5, b"\1\0\0\0"), element(1, b"a" * 20_000)),
        DEEP,
    ],
)
def test_a_file_that_is_not_what_it_states_is_a_problem(made) -> None:
    """Before anything of a stated size is allocated."""
    assert rules(file_of(made)) == [("x", "tables.invalid")]


def test_rows_of_characters_are_texts() -> None:
    """Without the blanks at their ends."""
    assert named(file_of(matrix(4, (2, 3), element(16, b"arbe c")))) == {"x": ["ab", "rec"]}


@pytest.mark.parametrize("kind", [4, 6])
def test_rows_without_columns_are_not_rows(kind) -> None:
    """However many the file states: they have no bytes."""
    assert rules(file_of(matrix(kind, (2**30, 0), element(16 if kind == 4 else 9, b"")))) == [("x", "tables.none")]


@pytest.mark.parametrize("kind", ["char", "double"])
def test_rows_without_columns_of_hdf5_are_not_rows(kind) -> None:
    """They have no bytes either."""
    data = hdf5(lambda file: with_class(file.create_dataset("x", (0, 2**30), "u2"), kind))

    assert rules(data) == [("x", "tables.none")]


@pytest.mark.parametrize("version", ["7", "7.3"])
def test_contents_that_are_too_large_are_refused(version, monkeypatch) -> None:
    """However small the file is."""
    monkeypatch.setattr(binary_tables, "UNPACKED", 1000)

    assert rules(WRITERS[version]({"x": np.zeros((10**5, 1))})) == [("x", "files.too-large")]


@every_version
def test_a_file_that_is_cut_off_is_a_problem(version) -> None:
    """At any byte, except between two variables of version 5."""
    data = WRITERS[version]({"acc": ACC})

    for at in range(0, len(data) - 8, max(1, len(data) // 60)):
        assert rules(data[:at]) in ([("x", "tables.invalid")], [("x", "tables.none")])


# Version 7.3


def hdf5(write: Any) -> bytes:
    """Return a file that a function fills."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        write(file)
    return buffer.getvalue()


def with_class(made: h5py.HLObject, kind: str) -> None:
    """Mark what MATLAB would have written."""
    made.attrs["MATLAB_class"] = np.bytes_(kind)


def write_links(file: h5py.File) -> None:
    """Links to another file and within this one, virtual and external arrays, a type."""
    file["outer"], file["inner"] = h5py.ExternalLink("/etc/passwd", "/"), h5py.SoftLink("/none")
    file["type"] = np.dtype("f8")
    file.create_dataset("stored", (20,), "u1", external=[("/etc/passwd", 0, 20)])
    layout = h5py.VirtualLayout((20,), "f8")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (20,))
    file.create_virtual_dataset("virtual", layout)


def write_objects(file: h5py.File) -> None:
    """Objects, complex numbers, references, and cells of numbers, of objects and of themselves."""
    with_class(file.create_dataset("table", data=np.zeros(6, "u4")), "table")
    with_class(file.create_group("object"), "timetable")
    file["complex"] = np.zeros(20, [("real", "f8"), ("imag", "f8")])
    file["records"] = np.zeros(20, [("a", "f8")])
    file["references"] = np.array([file["records"].ref] * 20, h5py.ref_dtype)
    with_class(file.create_dataset("numbers", data=np.zeros(3)), "double")
    with_class(file.create_group("folder"), "char")
    for name, target in {"cells": "numbers", "texts": "table", "folders": "folder"}.items():
        with_class(file.create_dataset(name, data=np.array([file[target].ref] * 20, h5py.ref_dtype)), "cell")
    with_class(file.create_dataset("odd", data=np.zeros(20)), "cell")
    with_class(file.create_dataset("itself", (20,), h5py.ref_dtype), "cell")
    file["itself"][:] = file["itself"].ref
    stored = file.create_dataset("elsewhere", (20,), h5py.ref_dtype, external=[("/etc/passwd", 0, 400)])
    with_class(stored, "cell")
    with_class(file.create_dataset("characters", (20,), "u2", external=[("/etc/passwd", 0, 40)]), "char")


@pytest.mark.parametrize("write", [write_links, write_objects])
def test_what_is_not_read_of_hdf5_is_no_table(write) -> None:
    """Above all, nothing of another file."""
    data = hdf5(write)
    found = {name: load() for name, load in reader_73.read(io.BytesIO(data), 2**30, "x")}
    numbers = {"numbers"} & found.keys()

    assert {name for name, value in found.items() if not isinstance(value, Unread)} == numbers


def test_a_struct_that_holds_itself_ends() -> None:
    """A group may be in itself."""

    def write(file: h5py.File) -> None:
        made = file.create_group("a")
        made["again"], made["x"] = made, T[:, 0]

    assert list(named(hdf5(write), "a")) == ["x"]


def test_the_number_of_fields_is_limited(monkeypatch) -> None:
    """All would be opened."""
    monkeypatch.setattr(reader_73, "FIELDS", 3)

    assert rules(mat73({f"v{n}": T for n in range(5)})) == [("x", "tables.invalid")]


@pytest.mark.parametrize("value", [np.empty((0, 3)), "", []])
def test_an_empty_array_has_no_rows(value) -> None:
    """MATLAB stores its shape in its place."""
    assert rules(mat73({"x": value})) == [("x", "tables.none")]


def test_nothing_at_all_has_no_rows() -> None:
    """HDF5 knows arrays without a value."""
    assert rules(hdf5(lambda file: file.create_dataset("x", data=h5py.Empty("f8")))) == [("x", "tables.none")]


def test_only_version_73_needs_a_package(monkeypatch) -> None:
    """h5py."""
    monkeypatch.setattr(extras, "find_spec", lambda _: None)

    assert (list(named(mat_5({"acc": ACC}))), rules(mat73({"acc": ACC}))) == (
        ["1", "2", "3"],
        [("h5py", "install.extra-missing")],
    )
