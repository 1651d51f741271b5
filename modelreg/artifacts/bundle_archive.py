"""Compile bundles as values: their records and digests, the version in their graphs, and the archive that holds them.

A release writes its version into the graphs' metadata and into bundle.json. Nothing else changes, so the parity that
was measured in the run still holds, and `verify` can check that without onnx.
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NoReturn

from modelreg import files
from modelreg.artifacts import onnx_file
from modelreg.errors import InputError, Problem
from modelreg.records.export import BundleRecord
from modelreg.registry.filenames import BUNDLE, GRAPH_FILES, SUMS

EXECUTABLE = ("compile.sh", "compile.py")
BUNDLE_LIMIT = 512 * 2**20  # bytes, unpacked


def stamped(found: Mapping[str, bytes], version: str | None) -> dict[str, bytes]:
    """Return files, the graphs among them with a release's version in their metadata; a run has none."""
    if version is None:
        return dict(found)
    return {name: onnx_file.stamp(data, version) if name in GRAPH_FILES else data for name, data in found.items()}


def sealed(record: BundleRecord, found: Mapping[str, bytes], version: str | None) -> dict[str, bytes]:
    """Return a whole bundle: its files, bundle.json, which states their digests, and sha256sum.txt, which states all.

    With a version, it is written into the graphs' metadata and into bundle.json.
    """
    return reseal(stamped(found, version), record.model_copy(update={"version": version}))


def reseal(found: Mapping[str, bytes], record: BundleRecord) -> dict[str, bytes]:
    """Return files with bundle.json and sha256sum.txt made for them."""
    digests = {name: files.sha256_bytes(data) for name, data in sorted(found.items())}
    whole = {**found, BUNDLE: record.model_copy(update={"files": digests}).to_bytes()}
    sums = files.sums_text({name: files.sha256_bytes(data) for name, data in whole.items()})
    return {**whole, SUMS: sums.encode()}


def pack(bundle: Mapping[str, bytes]) -> bytes:
    """Return files as a .tar.gz: sorted, of no owner and no time, so that the same files give the same bytes."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name in sorted(bundle):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(bundle[name]), 0o755 if name in EXECUTABLE else 0o644
            archive.addfile(member, io.BytesIO(bundle[name]))
    return packed.getvalue()


def unpack(path: Path) -> dict[str, bytes]:
    """Return the files of a packed bundle. Raises InputError; what a member claims is held against the limit first."""
    with files.open_regular(path) as file:
        return unpack_stream(file, path.name)


def unpack_stream(file: IO[bytes], where: str) -> dict[str, bytes]:
    """Return the files of an open packed bundle, as `unpack` does. Raises InputError."""
    found: dict[str, bytes] = {}
    left = BUNDLE_LIMIT
    try:
        with tarfile.open(fileobj=file, mode="r|gz") as archive:
            for member in archive:
                if member.name in found:
                    _refuse_member(member, "is there twice")
                found[member.name] = _read_member(archive, member, left)
                left -= member.size
    except (tarfile.TarError, zlib.error, OSError, EOFError, ValueError) as error:
        raise InputError("cannot read", [Problem(where, "todo.bundle-archive", f"not a bundle: {error}")]) from error
    return found


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo, left: int) -> bytes:
    reader = archive.extractfile(member) if member.isreg() and "/" not in member.name else None
    if reader is None:
        _refuse_member(member, "is no plain file")
    if member.size > left:
        _refuse_member(member, "makes more than the limit")
    return reader.read(member.size)


def _refuse_member(member: tarfile.TarInfo, why: str) -> NoReturn:
    raise tarfile.TarError(f"{member.name!r} {why}")
