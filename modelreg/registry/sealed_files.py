"""Files of a version or a run, compared with their digests while they are read.

The hashed bytes are returned. A file that changes afterwards has no effect.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from modelreg import files
from modelreg.errors import InputError, Problem, VerificationFailed
from modelreg.records.manifest import Manifest
from modelreg.records.run import RunRecord
from modelreg.registry import filenames, versions

LIMIT = 2**30  # bytes of one file
SUMS_MISMATCH = f"mismatch: its digests are not those of {filenames.MANIFEST}"


def read_version(folder: Path, required: Callable[[str], bool]) -> tuple[Manifest, dict[str, bytes]]:
    """Return a version's manifest and the listed files whose path is `required`.

    Raises VerificationFailed if one of them or sha256sum.txt is missing or differs from the manifest, or if the
    manifest is missing or damaged.
    """
    data, manifest = read_manifest(folder)
    stated = {entry.path: entry.sha256 for entry in manifest.files if required(entry.path)}
    found = _read_present(folder, stated)
    problems = list(find_differences(found, stated))
    sums = folder / filenames.SUMS
    expected = versions.sums_text(manifest, files.sha256_bytes(data)).encode()
    if not sums.is_file() or files.read_bytes(sums) != expected:
        problems.append(Problem(filenames.SUMS, "verify.sums-mismatch", SUMS_MISMATCH))
    if problems:
        raise VerificationFailed(f"{folder.name} does not match its manifest; nothing was started", problems)
    return manifest, found


def read_manifest(folder: Path) -> tuple[bytes, Manifest]:
    """Return the bytes and the record of a version's manifest. Raises VerificationFailed if missing or damaged."""
    path = folder / filenames.MANIFEST
    if not path.is_file():
        raise VerificationFailed(f"cannot open {folder.name}", [missing(filenames.MANIFEST)])
    data = files.read_bytes(path)
    try:
        return data, versions.parse_document(data, Manifest, filenames.MANIFEST)
    except InputError as error:
        raise VerificationFailed(f"cannot open {folder.name}", error.problems) from error


def read_run(
    folder: Path, required: Callable[[str], bool], others: Iterable[Problem] = ()
) -> tuple[RunRecord, dict[str, bytes]]:
    """Return run.json and the files that it lists and whose name is `required`.

    `others` are problems of the run's other files, to be listed in the same error. Raises InputError
    if run.json cannot be read, VerificationFailed if a file is missing or differs.
    """
    run = versions.parse_document(files.read_bytes(folder / filenames.RUN), RunRecord, filenames.RUN)
    stated = {name: digest for name, digest in run.files.items() if required(name)}
    found = _read_present(folder, stated)
    if problems := [*others, *find_differences(found, stated)]:
        raise VerificationFailed(f"{folder.name} does not match its {filenames.RUN}; nothing was started", problems)
    return run, found


def find_differences(found: Mapping[str, bytes], stated: Mapping[str, str]) -> Iterator[Problem]:
    """Yield the files that are missing, or whose digest is not the stated one."""
    for name, digest in sorted(stated.items()):
        if name not in found:
            yield missing(name)
        elif (now := files.sha256_bytes(found[name])) != digest:
            yield digest_mismatch(name, now, digest)


def missing(where: str) -> Problem:
    """Return the problem of a listed file that is not in the folder."""
    return Problem(where, "verify.file-missing", "missing, or not a regular file")


def digest_mismatch(where: str, found: str, expected: str) -> Problem:
    """Return the problem of a file whose SHA-256 is not the recorded one."""
    digests = f"expected {files.short_digest(expected)}, found {files.short_digest(found)}"
    return Problem(where, "verify.digest-mismatch", f"sha256 mismatch: {digests}")


def _read_present(folder: Path, stated: Mapping[str, str]) -> dict[str, bytes]:
    return {path: files.read_bytes(folder / path, LIMIT) for path in stated if _is_plain(folder / path)}


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
