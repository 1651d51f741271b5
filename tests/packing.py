"""Pack files into archives of every kind, and archives with faults."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Mapping

KINDS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
COMPRESS = {
    "": lambda data: data,
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lambda data: lzma.compress(data, preset=0),
}


def zipped(entries: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip archive."""
    return zip_of([(zipfile.ZipInfo(name), data) for name, data in entries.items()], method)


def zip_of(entries: list[tuple[zipfile.ZipInfo, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip archive of members with attributes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for info, data in entries:
            made.writestr(info, data, method)
    return buffer.getvalue()


def tarred(entries: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a tar archive, not compressed."""
    return tar_of([(tarfile.TarInfo(name), data) for name, data in entries.items()], form)


def tar_of(entries: list[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a tar archive of members with attributes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as made:
        for info, data in entries:
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def packed(entries: Mapping[str, bytes], kind: str) -> bytes:
    """Return an archive of one of KINDS."""
    if kind == ".zip":
        return zipped(entries)
    return COMPRESS[kind.replace(".tgz", ".gz").removeprefix(".tar")](tarred(entries))


def member(name: str, **attributes: object) -> tarfile.TarInfo:
    """Return the header of a tar's member."""
    made = tarfile.TarInfo(name)
    for attribute, value in attributes.items():
        setattr(made, attribute, value)
    return made


def entry(name: str, **attributes: object) -> zipfile.ZipInfo:
    """Return the header of a zip's member."""
    made = zipfile.ZipInfo(name)
    for attribute, value in attributes.items():
        setattr(made, attribute, value)
    return made
