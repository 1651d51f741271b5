"""Compile bundles in memory: their records and digests, the version in their graphs, and their archive.

A release writes its version into the graphs' metadata and into bundle.json. Nothing else changes. The parity that was
measured in the run remains valid, and `verify` can check it without onnx.
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NoReturn

from modelreg import files
from modelreg.artifacts import onnx_file, tar_stream
from modelreg.errors import InputError, Problem
from modelreg.records.export import BundleRecord
from modelreg.registry.filenames import BUNDLE, GRAPH_FILES, SUMS

EXECUTABLE = ("compile.sh", "compile.py")
BUNDLE_LIMIT = 512 * 2**20  # bytes, unpacked
FILES_LIMIT = 1000  # a bundle has about 20


def stamped(found: Mapping[str, bytes], version: str | None) -> dict[str, bytes]:
    """Return files with a release's version in the metadata of the graphs. A run has no version."""
    if version is None:
        return dict(found)
    return {name: onnx_file.stamp(data, version) if name in GRAPH_FILES else data for name, data in found.items()}


def sealed(record: BundleRecord, found: Mapping[str, bytes], version: str | None) -> dict[str, bytes]:
    """Return a complete bundle: its files, bundle.json with their digests, and sha256sum.txt with all digests.

    A version is written into the graphs' metadata and into bundle.json.
    """
    return reseal(stamped(found, version), record.model_copy(update={"version": version}))


def reseal(found: Mapping[str, bytes], record: BundleRecord) -> dict[str, bytes]:
    """Return files with a new bundle.json and sha256sum.txt."""
    digests = {name: files.sha256_bytes(data) for name, data in sorted(found.items())}
    whole = {**found, BUNDLE: record.model_copy(update={"files": digests}).to_bytes()}
    sums = files.sums_text({name: files.sha256_bytes(data) for name, data in whole.items()})
    return {**whole, SUMS: sums.encode()}


def pack(bundle: Mapping[str, bytes]) -> bytes:
    """Return files as a .tar.gz, sorted and without owners and times: the same files give the same bytes."""
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
    """Return the files of a packed bundle. Raises InputError. A member's size is checked before it is read."""
    with files.open_regular(path) as file:
        return unpack_stream(file, path.name)


def unpack_stream(file: IO[bytes], where: str) -> dict[str, bytes]:
    """Return the files of an open packed bundle, as `unpack` does. Raises InputError."""
    found: dict[str, bytes] = {}
    try:
        with gzip.open(file) as unpacked:
            for member, reader in tar_stream.members(unpacked, BUNDLE_LIMIT):
                if member.name in found or len(found) == FILES_LIMIT:
                    _refuse_member(member, f"occurs twice, or is one of more than {FILES_LIMIT} files")
                if reader is None or "/" in member.name:
                    _refuse_member(member, "is not a regular file in the archive's root")
                found[member.name] = reader.read(member.size)
    except (tarfile.TarError, zlib.error, OSError, EOFError, ValueError) as error:
        raise InputError("cannot read the bundle", [Problem(where, "bundle.archive-invalid", str(error))]) from error
    return found


def _refuse_member(member: tarfile.TarInfo, why: str) -> NoReturn:
    raise tarfile.TarError(f"{member.name!r} {why}")
