"""bundle_archive: bundles pack to the same bytes, and a hostile archive is refused before it is unpacked."""

import io
import tarfile

import pytest

from modelreg.artifacts import bundle_archive
from modelreg.errors import InputError

BUNDLE = {"bundle.json": b"{}", "compile.sh": b"#!/bin/sh", "encoder.onnx": b"x" * 60}


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A .tar.gz of these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as made:
        for member, data in members:
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def link() -> tarfile.TarInfo:
    """A symbolic link out of the bundle."""
    member = tarfile.TarInfo("passwd")
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return member


def test_a_packed_bundle_unpacks_to_its_files(tmp_path) -> None:
    """As it was packed."""
    path = tmp_path / "bundle.tar.gz"
    path.write_bytes(bundle_archive.pack(BUNDLE))

    assert bundle_archive.unpack(path) == BUNDLE


def test_the_same_files_pack_to_the_same_bytes() -> None:
    """In any order."""
    assert bundle_archive.pack(dict(reversed(BUNDLE.items()))) == bundle_archive.pack(BUNDLE)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"text", "not a bundle"),
        (archive((tarfile.TarInfo("a"), b"x"))[:-20], "not a bundle"),
        (archive((tarfile.TarInfo("a/b"), b"x")), "'a/b' is no plain file"),
        (archive((link(), b"")), "'passwd' is no plain file"),
        (archive((tarfile.TarInfo("a"), b"x"), (tarfile.TarInfo("a"), b"x")), "'a' is there twice"),
    ],
    ids=["text", "cut off", "a path", "a link", "twice"],
)
def test_a_damaged_archive_is_refused(data, problem) -> None:
    """Nothing is unpacked onto the disk, no link is followed."""
    with pytest.raises(InputError) as refused:
        bundle_archive.unpack_stream(io.BytesIO(data), "bundle.tar.gz")

    assert problem in str(refused.value)


def test_an_archive_over_the_limit_is_refused(monkeypatch) -> None:
    """The size that a member states is compared with the limit before it is read."""
    monkeypatch.setattr(bundle_archive, "BUNDLE_LIMIT", 50)
    with pytest.raises(InputError, match="makes more than the limit"):
        bundle_archive.unpack_stream(io.BytesIO(bundle_archive.pack(BUNDLE)), "bundle.tar.gz")
