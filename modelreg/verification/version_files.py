"""The files of a version as the checks see them, and how two statements are compared."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelreg.errors import Problem

SHOWN = 120  # characters of a value in a message


@dataclass(frozen=True)
class VersionFiles:
    """Where a version is, and what its manifest lists."""

    folder: Path
    version: str  # 0.2.0
    digests: Mapping[str, str]  # the sha256 of every listed file, by path
    present: frozenset[str]  # the files that are on this machine, with the bytes of the manifest
    absent: frozenset[str] = frozenset()  # assets that are not on this machine

    def unusable(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Return those of these files that are listed and cannot be used: broken, or missing and no asset."""
        usable = self.present | self.absent
        return tuple(path for path in paths if path in self.digests and path not in usable)


def equal(document: str, place: str, stated: object, other: object) -> Iterator[Problem]:
    """Yield a problem where a document states something else than another one."""
    if stated != other:
        yield Problem(
            f"{document}: {place}",
            "todo.version-files",
            f"is {_short(stated)}, but another document has {_short(other)}",
        )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
