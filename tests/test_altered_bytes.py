"""A file that git's tools changed is recognized by its bytes alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg import files
from modelreg.records.manifest import FileEntry
from modelreg.verification import altered_bytes

POINTER = altered_bytes.LFS_HEADER + b"oid sha256:" + b"0" * 64 + b"\nsize 40\n"
LINES = st.lists(st.binary(max_size=5).map(lambda line: line.translate(None, b"\r\n")), min_size=2, max_size=9)


def entry_of(data: bytes) -> FileEntry:
    """The entry of a manifest for these bytes."""
    return FileEntry(path="a.json", sha256=files.sha256_bytes(data), size=len(data), stored="git")


def cause(folder, data: bytes, entry: FileEntry) -> str | None:
    """What is recognized in a file of these bytes."""
    (folder / "a.json").write_bytes(data)
    return altered_bytes.cause_of(folder / "a.json", entry)


@given(LINES)
def test_carriage_returns_are_recognized(tmp_path_factory, lines) -> None:
    """What a checkout under `core.autocrlf=true` does."""
    folder = tmp_path_factory.mktemp("a")

    assert cause(folder, b"\r\n".join(lines), entry_of(b"\n".join(lines))) == "line endings"


@given(LINES)
def test_lost_carriage_returns_are_recognized(tmp_path_factory, lines) -> None:
    """What a commit under `core.autocrlf=input` does."""
    folder = tmp_path_factory.mktemp("a")

    assert cause(folder, b"\n".join(lines), entry_of(b"\r\n".join(lines))) == "line endings"


def test_a_pointer_is_recognized(tmp_path) -> None:
    """Of a file that `git lfs pull` has not fetched."""
    assert cause(tmp_path, POINTER, entry_of(b"weights")) == "LFS pointer"


@pytest.mark.parametrize("data", [b"b\n", b"a\r\nb\r\n", b"", b"a\n" * 1000])
def test_other_changes_are_not(tmp_path, data) -> None:
    """Whoever made them."""
    assert cause(tmp_path, data, entry_of(b"a\nc\n")) is None
