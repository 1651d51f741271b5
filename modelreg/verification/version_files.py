"""The files of a version that the checks can use, and the comparison of two documents' values."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelreg import files
from modelreg.errors import Problem
from modelreg.registry import filenames

SHOWN = 120  # characters of a value in a message
_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class VersionFiles:
    """A version's folder and the files that its manifest lists."""

    folder: Path
    version: str  # 0.2.0
    digests: Mapping[str, str]  # the sha256 of every listed file, by path
    present: frozenset[str]  # files on this machine whose digest matches the manifest
    absent: frozenset[str] = frozenset()  # release assets that are not on this machine

    def unusable(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Return the listed files among `paths` that cannot be used: damaged, or missing and not a release asset."""
        usable = self.present | self.absent
        return tuple(path for path in paths if path in self.digests and path not in usable)


def equal(document: str, place: str, stated: object, other: object) -> Iterator[Problem]:
    """Yield a problem if a value of a document differs from the value that the other documents give."""
    if stated != other:
        what = f"mismatch: found {_short(stated)}, expected {_short(other)}"
        yield Problem(f"{document}: {place}", "verify.record-mismatch", what)


def unlisted(path: str) -> Problem:
    """Return the problem of a manifest that does not list a file that the version needs."""
    return Problem(filenames.MANIFEST, "manifest.file-unlisted", f"does not list {path}")


def _short(value: object) -> str:
    text = "no value" if value is None else str(value)
    if _DIGEST.fullmatch(text):
        return files.short_digest(text)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
