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
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import places

from modelreg import files
from modelreg.artifacts import npz
from modelreg.errors import InputError

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


@given(documents)
def test_json_is_read_as_written(document) -> None:
    """A rendered document parses to the same document."""
    assert files.parse_json(files.to_json(document), "x") == document


@given(documents)
def test_json_is_canonical(document) -> None:
    """Rendering a parsed document gives the same bytes."""
    data = files.to_json(document)

    assert files.to_json(files.parse_json(data, "x")) == data


@pytest.mark.parametrize(
    ("data", "rule", "named"),
    [
        (b"[NaN]", "json.number-out-of-range", "NaN"),
        (b"[Infinity]", "json.number-out-of-range", "Infinity"),
        (b"[1e400]", "json.number-out-of-range", "1e400"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "json.duplicate-key", "'c'"),
        (b'{"a": 1,}', "json.invalid", "line 1, column"),
        (b"\xff", "files.not-utf8", "byte 0"),
        (rb'["a\ud800"]', "json.unpaired-surrogate", r"'\ud800'"),
        (rb'{"\uDC00\uD800": 1}', "json.unpaired-surrogate", r"'\udc00'"),
        (b"[" * 200_000, "json.too-large", ""),
        (b"1" * 5000, "json.too-large", ""),
        (b"", "json.invalid", "line 1, column 1"),
    ],
)
def test_json_that_is_not_strict_is_refused(data, rule, named) -> None:
    """The rule and the message tell the causes apart."""
    with pytest.raises(InputError) as caught:
        files.parse_json(data, "file.json")
    (found,) = caught.value.problems

    assert (found.where, found.rule, named in found.message) == ("file.json", rule, True)


surrogates = st.from_regex(r'"(\\u[dD][89a-fA-F][0-9a-f]{2}|\\\\|x)*"', fullmatch=True)


@given(surrogates)
def test_surrogates_are_read_in_pairs_only(text) -> None:
    """A parsed document can be written; unpaired surrogates are an InputError."""
    halves = any("\ud800" <= character <= "\udfff" for character in json.loads(text))
    try:
        written = files.to_line(files.parse_json(text.encode(), "x"))
    except InputError:
        written = None

    assert (written is None) == halves


def test_to_json_refuses_nan() -> None:
    """NaN is never written."""
    with pytest.raises(ValueError):  # noqa: PT011 Python's message
        files.to_json([math.nan])


def test_a_line_is_one_line() -> None:
    """A line of a .jsonl file has no newline inside, and reads as JSON."""
    assert json.loads(files.to_line({"b": 1, "a": "x\ny"})) == {"a": "x\ny", "b": 1}


def test_write_leaves_only_the_file(tmp_path) -> None:
    """There is no temporary sibling afterwards."""
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
    """From its first byte on, and there is no temporary sibling."""
    files.write_new(tmp_path / "x", b"data", 0o600)

    assert [(p.name, p.read_bytes(), stat.S_IMODE(p.stat().st_mode)) for p in tmp_path.iterdir()] == [
        ("x", b"data", 0o600)
    ]


def test_a_new_file_replaces_nothing(tmp_path) -> None:
    """An existing file is kept, and there is no temporary sibling."""
    (tmp_path / "x").write_text("mine")
    with pytest.raises(FileExistsError):
        files.write_new(tmp_path / "x", b"data", 0o600)

    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x", "mine")]


def test_a_new_file_is_written_atomically(tmp_path, monkeypatch) -> None:
    """A full disk leaves nothing. A leftover of a killed write is replaced."""
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
    with pytest.raises(InputError) as caught:
        files.copy_atomic(tmp_path / "a", tmp_path / "b")

    assert places(caught.value.problems) == [(str(tmp_path / "a"), "files.unreadable")]
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
    """The folder does not exist before the block ends."""
    with files.staged_folder(tmp_path / "v1") as staged:
        (staged / "file").write_bytes(b"1")
        assert not (tmp_path / "v1").exists()

    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["v1", "v1/file"]


def test_a_broken_staged_folder_leaves_nothing(tmp_path) -> None:
    """An error inside the block removes the staged folder."""

    def broken() -> None:
        with files.staged_folder(tmp_path / "v1") as staged:
            (staged / "file").write_bytes(b"1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()

    assert list(tmp_path.iterdir()) == []


def test_staging_replaces_a_leftover(tmp_path) -> None:
    """The staged folder of a killed process is emptied."""
    (tmp_path / ".v1.staged").mkdir()
    (tmp_path / ".v1.staged" / "stale").write_bytes(b"1")
    (tmp_path / ".v1.staged" / "folder" / "inner").mkdir(parents=True)
    (tmp_path / ".v1.staged" / "link").symlink_to(tmp_path)
    with files.staged_folder(tmp_path / "v1"):
        pass

    assert list((tmp_path / "v1").iterdir()) == []


def test_staging_refuses_an_existing_target(tmp_path) -> None:
    """An existing folder is never replaced."""
    (tmp_path / "v1").mkdir()
    with pytest.raises(FileExistsError), files.staged_folder(tmp_path / "v1"):
        pass


SECOND = """
import sys
from pathlib import Path
from pathlib import Path
from modelreg import files
try:
    with files.staged_folder(Path(sys.argv[1])):
        print("in", flush=True)
        sys.stdin.read()
except Exception as error:
    print(type(error).__name__, *(problem.rule for problem in error.problems))
"""


def names(folder) -> list[str]:
    """Return the names in a folder."""
    return [path.name for path in folder.iterdir()]


def second_writer(target) -> subprocess.Popen:
    """Start another process that fills the same folder until its input ends."""
    command = [sys.executable, "-c", SECOND, target]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_second_process_is_refused(tmp_path) -> None:
    """Two processes write one folder: the second is refused, and the first succeeds."""
    with files.staged_folder(tmp_path / "v1") as staged:
        (staged / "file").write_bytes(b"1")
        output, _ = second_writer(tmp_path / "v1").communicate()

    assert ("InputError files.locked" in output, names(tmp_path / "v1")) == (True, ["file"])


def test_the_lock_of_a_killed_process_is_released(tmp_path) -> None:
    """Its leftover is replaced."""
    with second_writer(tmp_path / "v1") as killed:
        killed.stdout.readline()
        killed.kill()
    with files.staged_folder(tmp_path / "v1") as staged:
        (staged / "file").write_bytes(b"1")

    assert names(tmp_path) == ["v1"]


def test_two_folders_can_be_written_at_the_same_time(tmp_path) -> None:
    """The lock is on one folder, not on the parent."""
    with files.staged_folder(tmp_path / "v1"), files.staged_folder(tmp_path / "v2"):
        pass

    assert sorted(names(tmp_path)) == ["v1", "v2"]


def test_a_lock_on_a_renamed_folder_is_refused(tmp_path, monkeypatch) -> None:
    """The first process ends between the open and the lock of the second: the second must not change the new folder."""

    def late(descriptor, operation) -> None:
        (tmp_path / ".v1.staged").rename(tmp_path / "v1")
        (tmp_path / ".v1.staged").mkdir()

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(InputError) as caught, files.staged_folder(tmp_path / "v1"):
        pass

    assert places(caught.value.problems) == [(str(tmp_path / "v1"), "files.locked")]


@pytest.mark.parametrize(("number", "made"), [(errno.EBADF, ["v1"]), (errno.EIO, [".v1.staged"])])
def test_a_file_system_without_locks_is_used_without(tmp_path, monkeypatch, number, made) -> None:
    """NFS does not lock folders. Any other failure of the lock is an error."""

    def refuse(descriptor, operation) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with contextlib.suppress(OSError), files.staged_folder(tmp_path / "v1"):
        pass

    assert names(tmp_path) == made


def test_reading_is_limited(tmp_path) -> None:
    """A file over the limit is refused without reading all of it."""
    (tmp_path / "a").write_bytes(b"12345")
    with pytest.raises(InputError) as caught:
        files.read_bytes(tmp_path / "a", limit=4)

    assert places(caught.value.problems) == [(str(tmp_path / "a"), "files.too-large")]


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("missing", ["files.unreadable"]),
        ("folder", ["files.not-regular"]),
        ("pipe", ["files.not-regular"]),
        ("a\0b", ["files.name-invalid"]),
        ("a\ud800b", ["files.name-invalid"]),
        ("/proc/self/mem", ["files.unreadable", "npz.invalid"]),
    ],
)
@pytest.mark.parametrize("read", [files.read_bytes, npz.read_npz, files.read_text])
def test_only_regular_files_are_read(tmp_path, name, rules, read) -> None:
    """A missing file, a folder, a pipe without a writer and an I/O error are refused at once."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError) as caught:
        read(tmp_path / name)

    assert caught.value.problems[0].rule in rules


@pytest.mark.parametrize(("name", "rule"), [("missing", "files.unreadable"), ("pipe", "files.not-regular")])
def test_only_regular_files_are_hashed(tmp_path, name, rule) -> None:
    """A pipe without a writer is refused at once."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError) as caught:
        files.sha256(tmp_path / name)

    assert places(caught.value.problems) == [(str(tmp_path / name), rule)]


def test_text_is_utf8(tmp_path) -> None:
    """The message has the first invalid byte."""
    (tmp_path / "a").write_bytes("größer".encode("latin-1"))
    with pytest.raises(InputError) as caught:
        files.read_text(tmp_path / "a")
    (found,) = caught.value.problems

    assert (found.rule, "byte 2" in found.message) == ("files.not-utf8", True)


def test_text_is_read_as_written(tmp_path) -> None:
    """Line ends are kept."""
    (tmp_path / "a").write_bytes("größer\r\n".encode())

    assert files.read_text(tmp_path / "a") == "größer\r\n"


@pytest.mark.parametrize("other", [{"a": np.arange(4.0)}, {"b": np.arange(4)}, {"a": np.arange(4).reshape(2, 2)}])
def test_a_digest_covers_name_type_and_shape(other) -> None:
    """Arrays with another name, type or shape have another digest."""
    assert files.sha256_arrays({"a": np.arange(4)}) != files.sha256_arrays(other)


def test_a_digest_ignores_memory_order() -> None:
    """Byte order and strides are not content."""
    array = np.arange(6, dtype=np.int32).reshape(2, 3)

    assert files.sha256_arrays({"a": array}) == files.sha256_arrays({"a": np.asfortranarray(array).astype(">i4")})


def test_written_files_are_plain(tmp_path) -> None:
    """A written file is a regular file."""
    files.write_atomic(tmp_path / "a", b"")

    assert stat.S_ISREG((tmp_path / "a").stat().st_mode)


def test_a_folder_is_written_with_its_files(tmp_path) -> None:
    """It has exactly the given files."""
    files.write_folder(tmp_path / "x", {"a": b"1", "b": b"2"})

    assert {path.name: path.read_bytes() for path in (tmp_path / "x").iterdir()} == {"a": b"1", "b": b"2"}


def test_a_folder_replaces_an_existing_one(tmp_path) -> None:
    """The existing folder is removed completely."""
    files.write_folder(tmp_path / "x", {"a": b"1", "b": b"2"})
    files.write_folder(tmp_path / "x", {"a": b"3"})

    assert ([p.name for p in tmp_path.iterdir()], (tmp_path / "x/a").read_bytes()) == (["x"], b"3")


def test_an_equal_folder_is_kept(tmp_path) -> None:
    """No file is written."""
    files.write_folder(tmp_path / "x", {"a": b"1"})
    before = (tmp_path / "x/a").stat().st_ino
    files.write_folder(tmp_path / "x", {"a": b"1"})

    assert (tmp_path / "x/a").stat().st_ino == before


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, hidden ones too."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_full_disk_leaves_nothing_of_several_folders_and_files(tmp_path, monkeypatch) -> None:
    """At whichever file the disk is full, everything is as before; with space again all of it is written."""
    files.write_all({tmp_path / "x": {"a": b"old"}}, {tmp_path / "x.tar": b"old"})
    before, number, sync = snapshot(tmp_path), 0, os.fsync
    folders, single = {tmp_path / "x": {"a": b"1", "b": b"2"}, tmp_path / "y": {"a": b"3"}}, {tmp_path / "x.tar": b"4"}
    left = 0

    def fill(descriptor: int) -> None:
        nonlocal left
        left -= stat.S_ISREG(os.fstat(descriptor).st_mode)
        if left == 0:
            raise OSError(errno.ENOSPC, "disk full")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fill)
    for number in range(1, 99):
        left = number
        try:
            files.write_all(folders, single)
            break
        except OSError:
            assert snapshot(tmp_path) == before, f"at write {number}"

    assert number > len(("x/a", "x/b", "y/a", "x.tar"))
    assert snapshot(tmp_path) == {"x/a": b"1", "x/b": b"2", "y/a": b"3", "x.tar": b"4"}


def test_leftovers_of_a_killed_write_of_a_folder_are_replaced(tmp_path) -> None:
    """They do not block the next write."""
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
        ("registry/m/.v0.1.0.pull/whole/run.json", True),
        ("registry/m/.v0.1.0.staged/run.json", True),
        ("registry/m/v0.1.0/run.json", False),
        ("notes.tmp", False),
        (".gitignore", False),
    ],
)
def test_leftovers_are_recognized_by_name(path, left) -> None:
    """Hidden, and with the ending of a temporary file or folder."""
    assert files.is_leftover(path) is left


def test_an_error_of_another_file_keeps_its_name(tmp_path) -> None:
    """Only the temporary name is replaced."""
    with pytest.raises(FileNotFoundError) as caught, files._named(tmp_path / "a"):
        (tmp_path / "other").read_bytes()

    assert caught.value.filename == str(tmp_path / "other")


@pytest.mark.parametrize(
    ("path", "found"), [("a/b", True), ("a/b/c", True), ("a", False), ("a/bc", False), ("x/a/b", False), ("d", True)]
)
def test_a_path_lies_in_a_place_by_whole_names(path, found) -> None:
    """`a/bc` is next to `a/b`."""
    assert files.lies_in(path, ["a/b", "d"]) is found


def test_a_folder_that_cannot_be_replaced_is_kept(tmp_path) -> None:
    """It has been renamed when the rename of the new one fails."""
    files.write_folder(tmp_path / "x", {"a": b"1"})
    with pytest.raises(FileNotFoundError):
        files._swap(tmp_path / "x")

    assert snapshot(tmp_path) == {"x/a": b"1"}
