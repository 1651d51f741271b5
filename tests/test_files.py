"""files: strict JSON, atomic writes, staged folders, bounded reads."""

import contextlib
import errno
import fcntl
import json
import math
import os
import stat
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg import files
from modelreg.artifacts import npz
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
        (rb'["a\ud800"]', r"not Unicode text: '\\ud800' stands alone"),
        (rb'{"\uDC00\uD800": 1}', "not Unicode text"),
        (b"[" * 200_000, "nested too deeply"),
        (b"1" * 5000, "thousands of digits"),
        (b"", "line 1, column 1"),
    ],
)
def test_json_that_python_would_let_pass_is_refused(data, rule) -> None:
    """Each refusal says which rule is broken."""
    with pytest.raises(InputError, match=rule):
        files.parse_json(data, "file.json")


surrogates = st.from_regex(r'"(\\u[dD][89a-fA-F][0-9a-f]{2}|\\\\|x)*"', fullmatch=True)


@given(surrogates)
def test_halves_of_characters_are_read_in_pairs_only(text) -> None:
    """What is read can be written; the rest is an input error."""
    halves = any("\ud800" <= character <= "\udfff" for character in json.loads(text))
    try:
        written = files.to_line(files.parse_json(text.encode(), "x"))
    except InputError:
        written = None

    assert (written is None) == halves


def test_to_json_refuses_what_is_not_json() -> None:
    """NaN is never written."""
    with pytest.raises(ValueError):  # noqa: PT011 the words are Python's
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


def test_a_new_file_has_its_mode(tmp_path) -> None:
    """From its first byte on, and nothing is beside it."""
    files.write_new(tmp_path / "x", b"data", 0o600)

    assert [(p.name, p.read_bytes(), stat.S_IMODE(p.stat().st_mode)) for p in tmp_path.iterdir()] == [
        ("x", b"data", 0o600)
    ]


def test_a_new_file_replaces_nothing(tmp_path) -> None:
    """What is there stays, and nothing is beside it."""
    (tmp_path / "x").write_text("mine")
    with pytest.raises(FileExistsError):
        files.write_new(tmp_path / "x", b"data", 0o600)

    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x", "mine")]


def test_a_new_file_is_whole_or_not_there(tmp_path, monkeypatch) -> None:
    """A full disk leaves nothing; what a kill left is written over."""
    (tmp_path / ".x.tmp").write_text("left by a kill")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="disk full"):
            files.write_new(tmp_path / "x", b"data", 0o600)
    left = list(tmp_path.iterdir())
    files.write_new(tmp_path / "x", b"data", 0o600)

    assert (left, [path.name for path in tmp_path.iterdir()]) == ([], ["x"])


def test_a_copy_is_whole(tmp_path) -> None:
    """A copy has the bytes of its source and leaves nothing else."""
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    files.copy_atomic(tmp_path / "a", tmp_path / "b")

    assert {p.name: files.sha256(p) for p in tmp_path.iterdir()} == dict.fromkeys(
        "ab", files.sha256_bytes(b"x" * 3_000_000)
    )


def test_a_failed_copy_leaves_nothing(tmp_path) -> None:
    """A source that is missing leaves no target."""
    with pytest.raises(InputError, match=os.strerror(errno.ENOENT)):
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
    (tmp_path / ".v1.staged" / "folder" / "inner").mkdir(parents=True)
    (tmp_path / ".v1.staged" / "link").symlink_to(tmp_path)
    with files.staged_folder(tmp_path / "v1"):
        pass

    assert list((tmp_path / "v1").iterdir()) == []


def test_staging_refuses_an_existing_target(tmp_path) -> None:
    """What exists is never replaced."""
    (tmp_path / "v1").mkdir()
    with pytest.raises(FileExistsError), files.staged_folder(tmp_path / "v1"):
        pass


SECOND = """
import sys
from pathlib import Path
from modelreg import files
try:
    with files.staged_folder(Path(sys.argv[1])):
        print("in", flush=True)
        sys.stdin.read()
except Exception as error:
    print(type(error).__name__, error)
"""


def names(folder) -> list[str]:
    """Return what a folder holds."""
    return [path.name for path in folder.iterdir()]


def second_writer(target) -> subprocess.Popen:
    """Start another process that fills the same folder until its input ends."""
    command = [sys.executable, "-c", SECOND, target]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_second_process_is_told_to_wait(tmp_path) -> None:
    """Two processes that make one folder: the second is refused, the first is not disturbed."""
    with files.staged_folder(tmp_path / "v1") as staged:
        (staged / "file").write_bytes(b"1")
        told, _ = second_writer(tmp_path / "v1").communicate()

    assert ("another process is writing it" in told, names(tmp_path / "v1")) == (True, ["file"])


def test_a_killed_process_holds_nobody_up(tmp_path) -> None:
    """Its lock ends with it, and what it left is replaced."""
    with second_writer(tmp_path / "v1") as killed:
        killed.stdout.readline()
        killed.kill()
    with files.staged_folder(tmp_path / "v1") as staged:
        (staged / "file").write_bytes(b"1")

    assert names(tmp_path) == ["v1"]


def test_folders_side_by_side_are_made_at_once(tmp_path) -> None:
    """The lock is on one folder, not on all of its parent."""
    with files.staged_folder(tmp_path / "v1"), files.staged_folder(tmp_path / "v2"):
        pass

    assert sorted(names(tmp_path)) == ["v1", "v2"]


def test_a_lock_on_a_folder_that_was_renamed_is_none(tmp_path, monkeypatch) -> None:
    """The first process ends between the second's open and its lock: the second does not touch what came to be."""

    def late(descriptor, operation) -> None:
        (tmp_path / ".v1.staged").rename(tmp_path / "v1")
        (tmp_path / ".v1.staged").mkdir()

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(InputError, match="another process"), files.staged_folder(tmp_path / "v1"):
        pass


@pytest.mark.parametrize(("number", "made"), [(errno.EBADF, ["v1"]), (errno.EIO, [".v1.staged"])])
def test_a_file_system_without_locks_is_used_without(tmp_path, monkeypatch, number, made) -> None:
    """NFS locks no folders; any other failure of the lock is one."""

    def refuse(descriptor, operation) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with contextlib.suppress(OSError), files.staged_folder(tmp_path / "v1"):
        pass

    assert names(tmp_path) == made


def test_reading_is_bounded(tmp_path) -> None:
    """A file over the limit is refused without being read whole."""
    (tmp_path / "a").write_bytes(b"12345")
    with pytest.raises(InputError, match="larger than 4 bytes"):
        files.read_bytes(tmp_path / "a", limit=4)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("missing", os.strerror(errno.ENOENT)),
        ("folder", "not a regular file"),
        ("pipe", "not a regular file"),
        ("a\0b", "no file can have this name"),
        ("a\ud800b", "no file can have this name"),
        ("/proc/self/mem", f"{os.strerror(errno.EIO)}|not an .npz of plain arrays"),
    ],
)
@pytest.mark.parametrize("read", [files.read_bytes, npz.read_npz, files.read_text])
def test_only_regular_files_are_read(tmp_path, name, rule, read) -> None:
    """What is missing, a folder, a pipe without a writer, or broken is refused in words, and at once."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=rule):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["missing", "pipe"])
def test_only_regular_files_are_hashed(tmp_path, name) -> None:
    """A pipe without a writer does not hold a hash up."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=f"{os.strerror(errno.ENOENT)}|not a regular file"):
        files.sha256(tmp_path / name)


def test_text_is_utf8(tmp_path) -> None:
    """The first byte that is not is named."""
    (tmp_path / "a").write_bytes("größer".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8 at byte 2"):
        files.read_text(tmp_path / "a")


def test_text_comes_back(tmp_path) -> None:
    """Text is read as it was written, line ends and all."""
    (tmp_path / "a").write_bytes("größer\r\n".encode())

    assert files.read_text(tmp_path / "a") == "größer\r\n"


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


def test_a_folder_is_written_whole(tmp_path) -> None:
    """With exactly these files."""
    files.write_folder(tmp_path / "x", {"a": b"1", "b": b"2"})

    assert {path.name: path.read_bytes() for path in (tmp_path / "x").iterdir()} == {"a": b"1", "b": b"2"}


def test_a_folder_takes_the_place_of_an_older_one(tmp_path) -> None:
    """Nothing of it is left, nor beside it."""
    files.write_folder(tmp_path / "x", {"a": b"1", "b": b"2"})
    files.write_folder(tmp_path / "x", {"a": b"3"})

    assert ([p.name for p in tmp_path.iterdir()], (tmp_path / "x/a").read_bytes()) == (["x"], b"3")


def test_an_equal_folder_is_left_alone(tmp_path) -> None:
    """Not a file is touched."""
    files.write_folder(tmp_path / "x", {"a": b"1"})
    before = (tmp_path / "x/a").stat().st_ino
    files.write_folder(tmp_path / "x", {"a": b"1"})

    assert (tmp_path / "x/a").stat().st_ino == before


def test_a_killed_write_of_a_folder_is_written_over(tmp_path) -> None:
    """What an earlier kill left beside it is no hindrance."""
    for name in (".x.fresh", ".x.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rest").write_text("")
    files.write_folder(tmp_path / "x", {"a": b"1"})
    files.write_folder(tmp_path / "x", {"a": b"2"})

    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(
    ("path", "left"),
    [
        (".CHANGELOG.md.tmp", True),
        ("registry/m/.v0.1.0.staged/run.json", True),
        ("registry/m/v0.1.0/run.json", False),
        ("notes.tmp", False),
        (".gitignore", False),
    ],
)
def test_what_a_killed_write_left_is_known(path, left) -> None:
    """By its name: hidden, and with the ending of one that is not done."""
    assert files.is_leftover(path) is left
