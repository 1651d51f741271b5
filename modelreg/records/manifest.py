"""manifest.json: the files of a version."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from modelreg.records.base import LEFT_OUT, Count, ModelName, Name, Record, RelativePath, Sha256, Timestamp, VersionText
from modelreg.records.run import GitState

Stored = Literal["git", "asset"]


class FileEntry(Record):
    """One file of a version, stored in git or as an asset of the release."""

    path: RelativePath
    sha256: Sha256
    size: Count  # bytes
    stored: Stored


class Tool(Record):
    """The tool that made the version."""

    name: Literal["modelreg"] = "modelreg"
    version: Name


class Manifest(Record):
    """manifest.json: every file except itself, sha256sum.txt and signatures, sorted by path."""

    SIZE_LIMIT: ClassVar[int] = 2 * 2**20  # bytes: more than ten thousand files

    schema_version: Literal[1] = 1
    model: ModelName
    version: VersionText
    created: Timestamp
    tool: Tool
    git: GitState | None  # at the time of the release
    templates: Annotated[int | None, LEFT_OUT, Field(ge=1)] = None  # of card, gates.json and SBOM; null: 1
    files: Annotated[tuple[FileEntry, ...], Field(min_length=1)]
