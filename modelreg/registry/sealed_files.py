"""Files of a version or a run, each compared with its digest when it is read.

The bytes that were hashed are returned, so a file that changes afterwards changes nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from modelreg import files
from modelreg.errors import InputError, Problem, VerificationFailed
from modelreg.records.manifest import Manifest
from modelreg.records.run import RunRecord
from modelreg.registry import filenames, versions

LIMIT = 2**30  # bytes of one file


def read_version(folder: Path, wanted: Callable[[str], bool]) -> tuple[Manifest, dict[str, bytes]]:
    """Return a version's manifest, and the listed files whose path is wanted.

    Raises VerificationFailed where one of them is missing or differs from the manifest, or sha256sum.txt does, or the
    manifest itself is missing or damaged.
    """
    data, manifest = read_manifest(folder)
    stated = {entry.path: entry.sha256 for entry in manifest.files if wanted(entry.path)}
    found = _read_present(folder, stated)
    problems = list(find_differences(found, stated))
    sums = folder / filenames.SUMS
    expected = versions.sums_text(manifest, files.sha256_bytes(data)).encode()
    if not sums.is_file() or files.read_bytes(sums) != expected:
        problems.append(Problem(filenames.SUMS, "todo.sealed-files", f"does not agree with {filenames.MANIFEST}"))
    if problems:
        raise VerificationFailed(f"{folder.name} differs from its manifest; nothing was started", problems)
    return manifest, found


def read_manifest(folder: Path) -> tuple[bytes, Manifest]:
    """Return a version's manifest, with its bytes first. Raises VerificationFailed where it is missing or damaged."""
    path = folder / filenames.MANIFEST
    if not path.is_file():
        raise VerificationFailed(
            f"{folder.name} has no manifest", [Problem(filenames.MANIFEST, "todo.sealed-files", "is missing")]
        )
    data = files.read_bytes(path)
    try:
        return data, versions.parse_document(data, Manifest, filenames.MANIFEST)
    except InputError as error:
        raise VerificationFailed(f"{folder.name} has a damaged manifest", error.problems) from error


def read_run(
    folder: Path, wanted: Callable[[str], bool], others: Iterable[Problem] = ()
) -> tuple[RunRecord, dict[str, bytes]]:
    """Return run.json, and the files whose digest it states and whose name is wanted.

    `others` are problems of the run's other files, to be listed in the same error. Raises InputError
    where run.json cannot be read, VerificationFailed where a file is missing or differs.
    """
    run = versions.parse_document(files.read_bytes(folder / filenames.RUN), RunRecord, filenames.RUN)
    stated = {name: digest for name, digest in run.files.items() if wanted(name)}
    found = _read_present(folder, stated)
    if problems := [*others, *find_differences(found, stated)]:
        raise VerificationFailed(f"{folder.name} differs from its {filenames.RUN}; nothing was started", problems)
    return run, found


def find_differences(found: Mapping[str, bytes], stated: Mapping[str, str]) -> Iterator[Problem]:
    """Yield the files that are missing, or whose digest is not the stated one."""
    for name, digest in sorted(stated.items()):
        if name not in found:
            yield Problem(name, "todo.sealed-files", "is missing, or is a symbolic link")
        elif (now := files.sha256_bytes(found[name])) != digest:
            yield Problem(name, "todo.sealed-files", f"has sha256 {now}, not {digest}")


def _read_present(folder: Path, stated: Mapping[str, str]) -> dict[str, bytes]:
    return {path: files.read_bytes(folder / path, LIMIT) for path in stated if _is_plain(folder / path)}


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
