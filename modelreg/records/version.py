"""A version: the manifest of its files, and the in-toto statement of where it came from."""

from typing import Annotated, Any, Literal

from pydantic import Field

from modelreg.records.base import Count, ModelName, Name, Record, RelativePath, Sha256, Timestamp, VersionText
from modelreg.records.run import GitState

Stored = Literal["git", "asset"]


class FileEntry(Record):
    """One file of a version, and where it is kept: in git, or as an asset of the release."""

    path: RelativePath
    sha256: Sha256
    size: Count  # bytes
    stored: Stored


class Tool(Record):
    """What made the version."""

    name: Literal["modelreg"] = "modelreg"
    version: Name


class Manifest(Record):
    """manifest.json: every file but itself, sha256sum.txt and signatures, sorted by path."""

    schema_version: Literal[1] = 1
    model: ModelName
    version: VersionText
    created: Timestamp
    tool: Tool
    git: GitState | None  # at release
    files: Annotated[tuple[FileEntry, ...], Field(min_length=1)]


class ResourceDescriptor(Record):
    """in-toto v1: a thing with a digest."""

    name: Name | None = None
    uri: str | None = None
    digest: dict[Name, Name]


class BuildDefinition(Record):
    """SLSA v1: what went in."""

    build_type: Annotated[str, Field(alias="buildType")]
    external_parameters: Annotated[dict[str, Any], Field(alias="externalParameters")]
    internal_parameters: Annotated[dict[str, Any], Field(alias="internalParameters")]
    resolved_dependencies: Annotated[tuple[ResourceDescriptor, ...], Field(alias="resolvedDependencies")]


class Builder(Record):
    """SLSA v1: who ran it. A build on one's own machine is level 1."""

    id: str
    version: dict[Name, Name]


class RunMetadata(Record):
    """SLSA v1: when."""

    started_on: Annotated[Timestamp, Field(alias="startedOn")]
    finished_on: Annotated[Timestamp, Field(alias="finishedOn")]


class RunDetails(Record):
    """SLSA v1: how it ran and what else came out."""

    builder: Builder
    metadata: RunMetadata
    byproducts: tuple[ResourceDescriptor, ...]


class Predicate(Record):
    """SLSA v1 provenance."""

    build_definition: Annotated[BuildDefinition, Field(alias="buildDefinition")]
    run_details: Annotated[RunDetails, Field(alias="runDetails")]


class Provenance(Record):
    """provenance.json: an in-toto statement v1 with the SLSA v1 provenance predicate."""

    def to_document(self) -> dict[str, Any]:
        """Return the statement as in-toto writes it: a field without a value is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")] = (
        "https://in-toto.io/Statement/v1"
    )
    subject: Annotated[tuple[ResourceDescriptor, ...], Field(min_length=1)]
    predicate_type: Annotated[Literal["https://slsa.dev/provenance/v1"], Field(alias="predicateType")] = (
        "https://slsa.dev/provenance/v1"
    )
    predicate: Predicate
