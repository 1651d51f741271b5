"""files: strict JSON, atomic writes, staged folders, bounded reads."""

import json
import math
import os
import stat

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg import files
from modelreg.errors import InputError

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


@given(documents)
def test_json_comes_back(document) -> None:
    """What is rendered is read back as it was."""
    assert files.parse_json(files.to_json(document), "x") == document


@given(documents)
def test_json_is_canonical(document) -> None:
    """Rendering what was read gives the same bytes."""
    data = files.to_json(document)

    assert files.to_json(files.parse_json(data, "x")) == data


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"[NaN]", "not a JSON number: NaN"),
        (b"[Infinity]", "not a JSON number"),
        (b"[1e400]", "out of range: 1e400"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "duplicate key: 'c'"),
        (b'{"a": 1,}', "line 1, column"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b"[" * 200_000, "nested too deeply"),
        (b"1" * 5000, "thousands of digits"),
        (b"", "line 1, column 1"),
    ],
)
def test_json_that_python_would_let_pass_is_refused(data, rule) -> None:
    """Each refusal says which rule is broken."""
    with pytest.raises(InputError, match=rule):
        files.parse_json(data, "file.json")


def test_to_json_refuses_what_is_not_json() -> None:
    """NaN is never written."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.to_json([math.nan])


def test_a_line_is_one_line() -> None:
    """A line of a .jsonl file has no newline inside, and reads as JSON."""
    assert json.loads(files.to_line({"b": 1, "a": "x\ny"})) == {"a": "x\ny", "b": 1}


def test_write_leaves_only_the_file(tmp_path) -> None:
    """No temporary sibling stays behind."""
    files.write_atomic(tmp_path / "a", b"1")

    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"1"}


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_failed_write_changes_nothing(tmp_path, monkeypatch, call) -> None:
    """A full disk leaves the old content and no temporary file."""
    (tmp_path / "a").write_bytes(b"old")

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    target = {
        "write": ("modelreg.files.Path.open", full),
        "fsync": ("os.fsync", full),
        "replace": ("modelreg.files.Path.replace", full),
    }[call]
    with monkeypatch.context() as patched:
        patched.setattr(*target)
        with pytest.raises(OSError, match="No space"):
            files.write_atomic(tmp_path / "a", b"new")

    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"old"}


def test_a_copy_is_whole(tmp_path) -> None:
    """A copy has the bytes of its source and leaves nothing else."""
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    files.copy_atomic(tmp_path / "a", tmp_path / "b")

    assert {p.name: files.sha256(p) for p in tmp_path.iterdir()} == dict.fromkeys(
        "ab", files.sha256_bytes(b"x" * 3_000_000)
    )


def test_a_failed_copy_leaves_nothing(tmp_path) -> None:
    """A source that is missing leaves no target."""
    with pytest.raises(FileNotFoundError):
        files.copy_atomic(tmp_path / "a", tmp_path / "b")

    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_breaks_midway_leaves_nothing(tmp_path, monkeypatch) -> None:
    """A disk that fills while copying leaves no target and no temporary file."""
    (tmp_path / "a").write_bytes(b"x")

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.copy_atomic(tmp_path / "a", tmp_path / "b")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_staged_folder_takes_its_name_at_the_end(tmp_path) -> None:
    """Until the block ends there is no folder of that name."""
    with files.staged_folder(tmp_path / "v1") as staged:
        (staged / "file").write_bytes(b"1")
        assert not (tmp_path / "v1").exists()

    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["v1", "v1/file"]


def test_a_broken_staged_folder_leaves_nothing(tmp_path) -> None:
    """An error inside the block removes what was staged."""

    def broken() -> None:
        with files.staged_folder(tmp_path / "v1") as staged:
            (staged / "file").write_bytes(b"1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()

    assert list(tmp_path.iterdir()) == []


def test_staging_clears_what_a_kill_left(tmp_path) -> None:
    """A stale staged folder is replaced."""
    (tmp_path / ".v1.staged").mkdir()
    (tmp_path / ".v1.staged" / "stale").write_bytes(b"1")
    with files.staged_folder(tmp_path / "v1"):
        pass

    assert list((tmp_path / "v1").iterdir()) == []


def test_staging_refuses_an_existing_target(tmp_path) -> None:
    """What exists is never replaced."""
    (tmp_path / "v1").mkdir()
    with pytest.raises(FileExistsError), files.staged_folder(tmp_path / "v1"):
        pass


def test_reading_is_bounded(tmp_path) -> None:
    """A file over the limit is refused without being read whole."""
    (tmp_path / "a").write_bytes(b"12345")
    with pytest.raises(InputError, match="larger than 4 bytes"):
        files.read_bytes(tmp_path / "a", limit=4)


@pytest.mark.parametrize(
    ("name", "rule"), [("missing", "No such file"), ("folder", "directory"), ("pipe", "not a regular file")]
)
def test_only_regular_files_are_read(tmp_path, name, rule) -> None:
    """What is missing, a folder or a device is refused in words."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    keep_open = os.open(tmp_path / "pipe", os.O_RDWR)
    with pytest.raises(InputError, match=rule):
        files.read_bytes(tmp_path / name)
    os.close(keep_open)


@given(st.integers(0, 5), st.booleans())
def test_npz_bytes_repeat(size, compressed) -> None:
    """The same arrays give the same bytes, in whatever order they are named."""
    a, b = np.arange(size), np.array(["x", "yy"])

    assert files.npz_bytes({"a": a, "b": b}, compressed=compressed) == files.npz_bytes(
        {"b": b, "a": a}, compressed=compressed
    )


def test_npz_comes_back(tmp_path) -> None:
    """What is written is read."""
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "s": np.array(["a", "bc"])}
    (tmp_path / "a.npz").write_bytes(files.npz_bytes(arrays))

    assert files.sha256_arrays(files.read_npz(tmp_path / "a.npz")) == files.sha256_arrays(arrays)


@pytest.mark.parametrize("data", [b"", b"text", files.npz_bytes({"a": np.arange(9)})[:40]])
def test_npz_that_is_none_is_refused(tmp_path, data) -> None:
    """Empty, foreign and truncated files are refused."""
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(InputError, match=r"not an \.npz"):
        files.read_npz(tmp_path / "a.npz")


def test_npz_with_objects_is_refused(tmp_path) -> None:
    """Nothing is unpickled."""
    np.savez(tmp_path / "a.npz", a=np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"not an \.npz of plain arrays"):
        files.read_npz(tmp_path / "a.npz")


def test_npz_that_unpacks_too_far_is_refused(tmp_path) -> None:
    """A zip bomb is refused by what its entries claim."""
    (tmp_path / "a.npz").write_bytes(files.npz_bytes({"a": np.zeros(10_000)}, compressed=True))
    with pytest.raises(InputError, match="unpacks to more than 1000 bytes"):
        files.read_npz(tmp_path / "a.npz", limit=1000)


@pytest.mark.parametrize("other", [{"a": np.arange(4.0)}, {"b": np.arange(4)}, {"a": np.arange(4).reshape(2, 2)}])
def test_a_digest_covers_name_type_and_shape(other) -> None:
    """Arrays that differ in anything have another digest."""
    assert files.sha256_arrays({"a": np.arange(4)}) != files.sha256_arrays(other)


def test_a_digest_ignores_memory_order() -> None:
    """Byte order and strides are not content."""
    array = np.arange(6, dtype=np.int32).reshape(2, 3)

    assert files.sha256_arrays({"a": array}) == files.sha256_arrays({"a": np.asfortranarray(array).astype(">i4")})


def test_written_files_are_plain(tmp_path) -> None:
    """A written file is a regular file that others may read as the umask says."""
    files.write_atomic(tmp_path / "a", b"")

    assert stat.S_ISREG((tmp_path / "a").stat().st_mode)
