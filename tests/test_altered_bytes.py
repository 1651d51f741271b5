"""A file that git's tools changed is recognized by its bytes alone."""

import pytest
from example_run import write_registry, write_run
from example_version import make_version
from hypothesis import given
from hypothesis import strategies as st
from places import places

from modelreg import files
from modelreg.records.manifest import FileEntry
from modelreg.verification import altered_bytes, integrity

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


@pytest.fixture
def version(tmp_path):
    """A released version."""
    root = write_registry(tmp_path / "r")
    return make_version(root, write_run(root / "runs" / "conv2d_fsq-001"))


@pytest.mark.parametrize("name", ["run.json", "manifest.json", "sha256sum.txt"])
def test_verify_names_changed_line_endings(version, name) -> None:
    """As a checkout under `core.autocrlf=true` leaves them."""
    (version / name).write_bytes((version / name).read_bytes().replace(b"\n", b"\r\n"))

    assert "verify.line-endings" in {problem.rule for problem in integrity.inspect(version).problems}


def test_verify_names_a_pointer(version) -> None:
    """In place of the weights."""
    (version / "checkpoint.safetensors").write_bytes(POINTER)

    assert ("checkpoint.safetensors", "verify.lfs-pointer") in places(integrity.inspect(version).problems)


def test_a_leftover_in_a_version_is_unexpected(version) -> None:
    """Any file can be hidden under such a name; the next step says where it may come from."""
    (version / ".run.json.tmp").write_bytes(b"")
    (found,) = integrity.inspect(version).problems

    assert (found.where, found.rule, "interrupted" in found.next) == (".run.json.tmp", "verify.file-unexpected", True)
