"""Recognize what git tools make of a file: other line endings (`core.autocrlf`), or a Git LFS pointer in its place."""

from pathlib import Path
from typing import Literal

from modelreg import files
from modelreg.records.manifest import FileEntry

Cause = Literal["line endings", "LFS pointer"]
LFS_HEADER = b"version https://git-lfs.github.com/spec/v1\n"
LFS_LIMIT = 1024  # bytes; a pointer is smaller by the specification of Git LFS


def cause_of(path: Path, entry: FileEntry) -> Cause | None:
    """Return why a file differs from its entry of the manifest, where git's tools explain it; else None."""
    size = path.stat().st_size
    if size < LFS_LIMIT and files.read_bytes(path).startswith(LFS_HEADER):
        return "LFS pointer"
    if size == entry.size or size > min(2 * entry.size, files.DOCUMENT_LIMIT):  # at most each byte became two
        return None
    data = files.read_bytes(path)
    for other in (data.replace(b"\r\n", b"\n"), data.replace(b"\n", b"\r\n")):
        if len(other) == entry.size and files.sha256_bytes(other) == entry.sha256:
            return "line endings"
    return None
