"""npz: arrays are written and read; damaged, foreign and oversized files are refused."""

import io
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from places import places

from modelreg import files
from modelreg.artifacts import npz
from modelreg.errors import InputError


@given(st.integers(0, 5), st.booleans())
def test_bytes_repeat(size, compressed) -> None:
    """The same arrays give the same bytes in any order."""
    a, b = np.arange(size), np.array(["x", "yy"])

    assert npz.npz_bytes({"a": a, "b": b}, compressed=compressed) == npz.npz_bytes(
        {"b": b, "a": a}, compressed=compressed
    )


def test_arrays_are_read_as_written(tmp_path) -> None:
    """Names, types, shapes and values are equal."""
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "s": np.array(["a", "bc"])}
    (tmp_path / "a.npz").write_bytes(npz.npz_bytes(arrays))

    assert files.sha256_arrays(npz.read_npz(tmp_path / "a.npz")) == files.sha256_arrays(arrays)


def refusal(data: bytes, **options) -> str:
    """Return why the bytes of an .npz are refused."""
    with pytest.raises(InputError) as caught:
        npz.parse_npz(data, "a.npz", **options)
    assert places(caught.value.problems) == [("a.npz", "npz.invalid")]
    return caught.value.problems[0].message


@pytest.mark.parametrize("data", [b"", b"text", npz.npz_bytes({"a": np.arange(9)})[:40]])
def test_another_type_of_file_is_refused(data) -> None:
    """Empty, foreign and truncated files are refused."""
    refusal(data)


def test_npz_with_objects_is_refused() -> None:
    """Objects are never unpickled."""
    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([{}], dtype=object))

    assert "dtype object" in refusal(buffer.getvalue())


def test_a_zip_bomb_is_refused() -> None:
    """The unpacked size in the directory of the archive is compared with the limit."""
    assert "1,000 bytes" in refusal(npz.npz_bytes({"a": np.zeros(10_000)}, compressed=True), limit=1000)


ARRAYS = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "s": np.array(["a", "bc"]), "e": np.zeros((0, 3))}
NPZ = [npz.npz_bytes(ARRAYS), npz.npz_bytes(ARRAYS, compressed=True)]


def read_or_refuse(folder, data: bytes) -> bool:
    """Return whether an .npz is read or refused with less than 4 MiB of memory."""
    (folder / "a.npz").write_bytes(data)
    tracemalloc.start()
    try:
        npz.read_npz(folder / "a.npz")
    except InputError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak < 2**22


@given(st.binary(max_size=400), st.sampled_from(NPZ))
def test_foreign_bytes_are_refused(tmp_path_factory, noise, data) -> None:
    """Noise, and an archive after noise, is read or refused with little memory."""
    assert all(read_or_refuse(tmp_path_factory.getbasetemp(), each) for each in (noise, noise + data))


@pytest.mark.parametrize("data", NPZ, ids=["stored", "deflated"])
def test_every_truncated_npz_is_refused(tmp_path, data) -> None:
    """A prefix of an archive is not an archive."""
    for end in range(len(data)):
        (tmp_path / "a.npz").write_bytes(data[:end])
        with pytest.raises(InputError):
            npz.read_npz(tmp_path / "a.npz")


@settings(max_examples=500)
@given(st.sampled_from(NPZ), st.data())
def test_every_damaged_npz_is_read_or_refused(tmp_path_factory, data, draw) -> None:
    """A changed byte gives arrays or an InputError, without a large allocation."""
    damaged = bytearray(data)
    damaged[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))

    assert read_or_refuse(tmp_path_factory.getbasetemp(), bytes(damaged))


def npy(shape: str = "(2,)", descr: str = "'<f4'", content: bytes = b"\0" * 8) -> bytes:
    """Return an .npy with any header."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


def zipped(*entries: tuple[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    """Return an archive of these entries."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that occur twice
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def with_flag(data: bytes, at: int, value: int) -> bytes:
    """Set a field of the first entry of the central directory."""
    place = data.index(b"PK\x01\x02") + at
    size = 4 if at == CLAIMED else 2
    return data[:place] + value.to_bytes(size, "little") + data[place + size :]


FLAGS, METHOD, CLAIMED = 8, 10, 20
PLAIN = zipped(("a.npy", npy()))


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (zipped(("a.npy", npy()), ("notes.txt", b"")), "'notes.txt'"),
        (zipped(("a.npy", npy()), ("a.npy", npy())), "same name"),
        (zipped(("a.npy", npy()), how=zipfile.ZIP_LZMA), "deflate"),
        (zipped(("a.npy", npy()), how=zipfile.ZIP_BZIP2), "deflate"),
        (with_flag(PLAIN, METHOD, 77), "deflate"),
        (with_flag(PLAIN, FLAGS, 1), "encrypted"),
        (with_flag(PLAIN, FLAGS, 0x20), "patched"),
        (with_flag(PLAIN, CLAIMED, 2**31), "claims"),
        (zipped(("a.npy", npy(shape=f"({2**40},)"))), "size mismatch"),
        (zipped(("a.npy", npy(shape=f"({2**50},)"))), "invalid shape"),
        (zipped(("a.npy", npy(shape=f"({2**50}, 0)", content=b""))), "invalid shape"),
        (zipped(("a.npy", npy(shape="(-1, -2)"))), "invalid shape"),
        (zipped(("a.npy", npy(content=b"1234567"))), "size mismatch"),
        (zipped(("a.npy", npy(content=b"123456789"))), "size mismatch"),
        (zipped(("a.npy", npy(descr="'|O'"))), "dtype object"),
        (zipped(("a.npy", npy(descr="'<U0'", content=b""))), "dtype <U0"),
        (zipped(("a.npy", npy(shape="(2,"))), "header"),
        (zipped(("a.npy", npy(descr="'\\d'"))), "header"),
        (zipped(("a.npy", npy().replace(b"\x01\x00", b"\x02\x00", 1))), "header"),
        (zipped(("a.npy", npy(content=b"\0" * 7 + b"\1"))).replace(b"\0" * 7 + b"\1", b"\0" * 8), ""),
    ],
)
def test_npz_with_invalid_entries_is_refused(data, named) -> None:
    """An entry that is not a plain array, or that contradicts its header, is refused before it is read."""
    assert named in refusal(data)


def test_an_entry_is_not_read_beyond_its_stated_size(tmp_path) -> None:
    """An entry of 100 MB that states a few bytes is read up to these bytes."""
    data = bytearray(zipped(("a.npy", npy(content=b"\0" * 10**8)), how=zipfile.ZIP_DEFLATED))
    true = len(npy(content=b"\0" * 10**8)).to_bytes(4, "little")

    assert read_or_refuse(tmp_path, bytes(data.replace(true, len(npy()).to_bytes(4, "little"))))


def test_an_array_of_python_2_is_read(tmp_path) -> None:
    """A shape with long integers is read without a warning."""
    (tmp_path / "a.npz").write_bytes(zipped(("a.npy", npy(shape="(2L,)"))))

    assert npz.read_npz(tmp_path / "a.npz")["a"].tolist() == [0, 0]


@given(hnp.arrays(st.sampled_from(["<f4", ">f8", "i2", "?", "<U3"]), hnp.array_shapes(min_dims=0, min_side=0)))
def test_every_plain_array_is_read_as_written(tmp_path_factory, array) -> None:
    """Any number type, shape and order of axes. The array is writable."""
    path = tmp_path_factory.getbasetemp() / "a.npz"
    path.write_bytes(npz.npz_bytes({"c": array, "f": np.array(array, order="F")}))
    found = npz.read_npz(path)

    np.testing.assert_array_equal(found["c"], array, strict=True)
    np.testing.assert_array_equal(found["f"], array, strict=True)
    assert found["c"].flags.writeable


def test_no_object_is_written() -> None:
    """It would be pickled."""
    with pytest.raises(ValueError, match="Object arrays"):
        npz.npz_bytes({"a": np.array([object()])})


def test_an_empty_array_of_a_large_shape_is_read() -> None:
    """A length of 0 makes it empty, whatever the others are."""
    shape = (0, 2**47)

    assert npz.parse_npz(npz.npz_bytes({"a": np.zeros(shape, np.int8)}), "x", 2**20)["a"].shape == shape
