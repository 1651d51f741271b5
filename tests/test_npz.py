"""npz: what comes back, and everything damaged, foreign or boundless that is refused."""

import io
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelreg import files
from modelreg.artifacts import npz
from modelreg.errors import InputError


@given(st.integers(0, 5), st.booleans())
def test_bytes_repeat(size, compressed) -> None:
    """The same arrays give the same bytes, in whatever order they are named."""
    a, b = np.arange(size), np.array(["x", "yy"])

    assert npz.npz_bytes({"a": a, "b": b}, compressed=compressed) == npz.npz_bytes(
        {"b": b, "a": a}, compressed=compressed
    )


def test_it_comes_back(tmp_path) -> None:
    """What is written is read."""
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "s": np.array(["a", "bc"])}
    (tmp_path / "a.npz").write_bytes(npz.npz_bytes(arrays))

    assert files.sha256_arrays(npz.read_npz(tmp_path / "a.npz")) == files.sha256_arrays(arrays)


@pytest.mark.parametrize("data", [b"", b"text", npz.npz_bytes({"a": np.arange(9)})[:40]])
def test_npz_that_is_none_is_refused(tmp_path, data) -> None:
    """Empty, foreign and truncated files are refused."""
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(InputError, match=r"not an \.npz"):
        npz.read_npz(tmp_path / "a.npz")


def test_npz_with_objects_is_refused(tmp_path) -> None:
    """Nothing is unpickled."""
    np.savez(tmp_path / "a.npz", a=np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"not an \.npz of plain arrays"):
        npz.read_npz(tmp_path / "a.npz")


def test_npz_that_unpacks_too_far_is_refused(tmp_path) -> None:
    """A zip bomb is refused by what its entries claim."""
    (tmp_path / "a.npz").write_bytes(npz.npz_bytes({"a": np.zeros(10_000)}, compressed=True))
    with pytest.raises(InputError, match="unpacks to more than 1000 bytes"):
        npz.read_npz(tmp_path / "a.npz", limit=1000)


ARRAYS = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "s": np.array(["a", "bc"]), "e": np.zeros((0, 3))}
NPZ = [npz.npz_bytes(ARRAYS), npz.npz_bytes(ARRAYS, compressed=True)]


def read_or_refuse(folder, data: bytes) -> bool:
    """Read an .npz, or be refused by an InputError in less memory than 4 MiB."""
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
    """Noise, and an archive behind noise, is read or refused, cheaply."""
    assert all(read_or_refuse(tmp_path_factory.getbasetemp(), each) for each in (noise, noise + data))


@pytest.mark.parametrize("data", NPZ, ids=["stored", "deflated"])
def test_every_truncated_npz_is_refused(tmp_path, data) -> None:
    """No prefix of an archive is one."""
    for end in range(len(data)):
        (tmp_path / "a.npz").write_bytes(data[:end])
        with pytest.raises(InputError):
            npz.read_npz(tmp_path / "a.npz")


@settings(max_examples=500)
@given(st.sampled_from(NPZ), st.data())
def test_every_damaged_npz_is_read_or_refused(tmp_path_factory, data, draw) -> None:
    """Any byte may be anything: arrays or an InputError, and no large allocation."""
    damaged = bytearray(data)
    damaged[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))

    assert read_or_refuse(tmp_path_factory.getbasetemp(), bytes(damaged))


def npy(shape: str = "(2,)", descr: str = "'<f4'", content: bytes = b"\0" * 8) -> bytes:
    """Return an .npy whose header says whatever one likes."""
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
    ("data", "rule"),
    [
        (zipped(("a.npy", npy()), ("notes.txt", b"")), "'notes.txt' is no .npy"),
        (zipped(("a.npy", npy()), ("a.npy", npy())), "two entries have one name"),
        (zipped(("a.npy", npy()), how=zipfile.ZIP_LZMA), "other means than deflate"),
        (zipped(("a.npy", npy()), how=zipfile.ZIP_BZIP2), "other means than deflate"),
        (with_flag(PLAIN, METHOD, 77), "other means than deflate"),
        (with_flag(PLAIN, FLAGS, 1), "encrypted"),
        (with_flag(PLAIN, FLAGS, 0x20), "patched"),
        (with_flag(PLAIN, CLAIMED, 2**31), "claims more bytes"),
        (zipped(("a.npy", npy(shape=f"({2**40},)"))), "bytes are not what"),
        (zipped(("a.npy", npy(shape=f"({2**50},)"))), "no array can have"),
        (zipped(("a.npy", npy(shape=f"({2**50}, 0)", content=b""))), "no array can have"),
        (zipped(("a.npy", npy(shape="(-1, -2)"))), "no array can have"),
        (zipped(("a.npy", npy(content=b"1234567"))), "bytes are not what"),
        (zipped(("a.npy", npy(content=b"123456789"))), "bytes are not what"),
        (zipped(("a.npy", npy(descr="'|O'"))), "of type object"),
        (zipped(("a.npy", npy(descr="'<U0'", content=b""))), "of type"),
        (zipped(("a.npy", npy(shape="(2,"))), "damaged header"),
        (zipped(("a.npy", npy(descr="'\\d'"))), "damaged header"),
        (zipped(("a.npy", npy().replace(b"\x01\x00", b"\x02\x00", 1))), "damaged header"),
        (zipped(("a.npy", npy(content=b"\0" * 7 + b"\1"))).replace(b"\0" * 7 + b"\1", b"\0" * 8), ""),
    ],
)
def test_npz_of_other_things_is_refused(tmp_path, data, rule) -> None:
    """An entry that is no plain array, or not what its header says, is refused before it is read."""
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(InputError, match=rf"a\.npz: not an \.npz of plain arrays: .*{rule}"):
        npz.read_npz(tmp_path / "a.npz")


def test_a_bomb_behind_a_small_claim_is_not_unpacked(tmp_path) -> None:
    """An entry that claims little and holds 100 MB is read as far as it claims."""
    data = bytearray(zipped(("a.npy", npy(content=b"\0" * 10**8)), how=zipfile.ZIP_DEFLATED))
    true = len(npy(content=b"\0" * 10**8)).to_bytes(4, "little")

    assert read_or_refuse(tmp_path, bytes(data.replace(true, len(npy()).to_bytes(4, "little"))))


def test_an_array_of_python_2_is_read(tmp_path) -> None:
    """A shape of long integers is read without a warning."""
    (tmp_path / "a.npz").write_bytes(zipped(("a.npy", npy(shape="(2L,)"))))

    assert npz.read_npz(tmp_path / "a.npz")["a"].tolist() == [0, 0]


@given(hnp.arrays(st.sampled_from(["<f4", ">f8", "i2", "?", "<U3"]), hnp.array_shapes(min_dims=0, min_side=0)))
def test_every_plain_array_comes_back(tmp_path_factory, array) -> None:
    """Any number type, any shape, either order of axes; what was read can be changed."""
    path = tmp_path_factory.getbasetemp() / "a.npz"
    path.write_bytes(npz.npz_bytes({"c": array, "f": np.array(array, order="F")}))
    found = npz.read_npz(path)

    np.testing.assert_array_equal(found["c"], array, strict=True)
    np.testing.assert_array_equal(found["f"], array, strict=True)
    assert found["c"].flags.writeable
