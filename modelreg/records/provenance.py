"""provenance.json: an in-toto statement v1 with the SLSA v1 predicate. docs/provenance.md explains each field."""

from typing import Annotated, Any, Literal

from pydantic import Field

from modelreg.records.base import Count, Name, Record, Timestamp
from modelreg.records.run import Environment


class ResourceDescriptor(Record):
    """in-toto v1: a resource with a digest."""

    name: Name
    digest: dict[Name, Name]


class ExternalParameters(Record):
    """The configuration of the user; the path of a source is shortened to its last name.

    The configuration is the original document. One of an older modelreg has no keys that were added later.
    """

    config: dict[str, Any]
    seed: Count


class BuildDefinition(Record):
    """SLSA v1: the inputs."""

    build_type: Annotated[str, Field(alias="buildType")]
    external_parameters: Annotated[ExternalParameters, Field(alias="externalParameters")]
    internal_parameters: Annotated[Environment, Field(alias="internalParameters")]
    resolved_dependencies: Annotated[tuple[ResourceDescriptor, ...], Field(alias="resolvedDependencies")]


class Builder(Record):
    """SLSA v1: the builder. A build on a user's machine is level 1."""

    id: str
    version: dict[Name, Name]


class RunMetadata(Record):
    """SLSA v1: the times of the build."""

    started_on: Annotated[Timestamp, Field(alias="startedOn")]
    finished_on: Annotated[Timestamp, Field(alias="finishedOn")]


class RunDetails(Record):
    """SLSA v1: the builder, the times, and the other outputs."""

    builder: Builder
    metadata: RunMetadata
    byproducts: tuple[ResourceDescriptor, ...]


class Predicate(Record):
    """SLSA v1 provenance."""

    build_definition: Annotated[BuildDefinition, Field(alias="buildDefinition")]
    run_details: Annotated[RunDetails, Field(alias="runDetails")]


class Provenance(Record):
    """provenance.json: an in-toto statement v1 with the SLSA v1 provenance predicate."""

    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")] = (
        "https://in-toto.io/Statement/v1"
    )
    subject: Annotated[tuple[ResourceDescriptor, ...], Field(min_length=1)]
    predicate_type: Annotated[Literal["https://slsa.dev/provenance/v1"], Field(alias="predicateType")] = (
        "https://slsa.dev/provenance/v1"
    )
    predicate: Predicate
