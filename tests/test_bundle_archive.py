"""bundle_archive: bundles are packed reproducibly, and an invalid archive is refused before it is unpacked."""

import io
import tarfile

import pytest

from modelreg.artifacts import bundle_archive
from modelreg.errors import InputError

BUNDLE = {"bundle.json": b"{}", "compile.sh": b"#!/bin/sh", "encoder.onnx": b"x" * 60}


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Return a .tar.gz of members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as made:
        for member, data in members:
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def link() -> tarfile.TarInfo:
    """Return a symbolic link to a file outside the bundle."""
    member = tarfile.TarInfo("passwd")
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return member


def test_a_packed_bundle_unpacks_to_its_files(tmp_path) -> None:
    """The files are equal."""
    path = tmp_path / "bundle.tar.gz"
    path.write_bytes(bundle_archive.pack(BUNDLE))

    assert bundle_archive.unpack(path) == BUNDLE


def test_the_same_files_pack_to_the_same_bytes() -> None:
    """In any order."""
    assert bundle_archive.pack(dict(reversed(BUNDLE.items()))) == bundle_archive.pack(BUNDLE)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"text", ""),
        (archive((tarfile.TarInfo("a"), b"x"))[:-20], ""),
        (archive((tarfile.TarInfo("a/b"), b"x")), "'a/b' is not"),
        (archive((link(), b"")), "'passwd' is not"),
        (archive((tarfile.TarInfo("a"), b"x"), (tarfile.TarInfo("a"), b"x")), "'a' occurs twice"),
    ],
    ids=["text", "truncated", "a path", "a link", "twice"],
)
def test_a_damaged_archive_is_refused(data, named) -> None:
    """Nothing is written to the disk, and links are not followed."""
    with pytest.raises(InputError) as caught:
        bundle_archive.unpack_stream(io.BytesIO(data), "bundle.tar.gz")
    (found,) = caught.value.problems

    assert (found.where, found.rule, named in found.message) == ("bundle.tar.gz", "bundle.archive-invalid", True)


def test_an_archive_over_the_limit_is_refused(monkeypatch) -> None:
    """The limit is on all that is unpacked."""
    monkeypatch.setattr(bundle_archive, "BUNDLE_LIMIT", 1024)
    with pytest.raises(InputError) as caught:
        bundle_archive.unpack_stream(io.BytesIO(bundle_archive.pack(BUNDLE)), "bundle.tar.gz")

    assert "more than 1,024 bytes" in caught.value.problems[0].message
