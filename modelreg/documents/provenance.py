"""provenance.json: an in-toto statement v1 with the SLSA v1 predicate about the origin of a checkpoint.

docs/provenance.md explains each field. The statement is a pure function of the run's records and digests.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelreg import files
from modelreg.config import TrainConfig
from modelreg.records.base import validate
from modelreg.records.data import DataRecord
from modelreg.records.provenance import Provenance, ResourceDescriptor
from modelreg.records.run import RunRecord

BUILD_TYPE = "urn:modelreg:build-type:train:1"
BASE, COMPILED = "version/", "hef/"  # prefixes of inputs that were not used for training: a version, a HEF
IMPORT_TYPE = "urn:modelreg:build-type:import:1"
BUILDER = "urn:modelreg:builder:local"  # a user's machine: SLSA level 1


def statement(
    config: dict[str, Any], run: RunRecord, data: DataRecord, digests: Mapping[str, str], subject: str
) -> Provenance:
    """Return the statement about a run's file `subject`; `digests` are those of all its files."""
    document = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [_described(subject, digests[subject])],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": IMPORT_TYPE if run.imported else BUILD_TYPE,
                "externalParameters": {"config": without_places(config), "seed": run.seed},
                "internalParameters": run.environment.to_document(),
                "resolvedDependencies": _inputs(run, data),
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"modelreg": run.trained_by}},
                "metadata": {"startedOn": run.started, "finishedOn": run.finished},
                "byproducts": [_described(name, digests[name]) for name in sorted(digests) if name != subject],
            },
        },
    }
    return Provenance.model_validate_json(files.to_json(document))


def derived(origin: Provenance, base: ResourceDescriptor, hefs: Mapping[str, str]) -> Provenance:
    """Return the statement of a version that has the checkpoint of another version and compiled networks.

    `base` is the other version, with the digest of its manifest.json; `hefs` has digests by the path in their bundle.
    """
    build = origin.predicate.build_definition
    trained = [each for each in build.resolved_dependencies if not each.name.startswith((BASE, COMPILED))]
    compiled = [ResourceDescriptor.model_validate(_described(f"{COMPILED}{name}", hefs[name])) for name in sorted(hefs)]
    changed = build.model_copy(update={"resolved_dependencies": (*trained, base, *compiled)})
    return origin.model_copy(update={"predicate": origin.predicate.model_copy(update={"build_definition": changed})})


def base_of(origin: Provenance) -> ResourceDescriptor | None:
    """Return the version that a version was made from, with the digest of its manifest.json; None if it was a run."""
    inputs = origin.predicate.build_definition.resolved_dependencies
    return next((each for each in inputs if each.name.startswith(BASE)), None)


def version_as_base(reference: str, manifest_sha256: str) -> ResourceDescriptor:
    """Return the descriptor of a version that another version is made from."""
    return ResourceDescriptor.model_validate(_described(f"{BASE}{reference}", manifest_sha256))


def config_of(origin: Provenance) -> TrainConfig:
    """Return the configuration in a statement, its paths shortened. Raises InputError if it is not valid."""
    stated = origin.predicate.build_definition.external_parameters.config
    return validate(files.to_json(stated), TrainConfig, "provenance.json: config")


def without_places(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration with every source's path shortened to its last name: paths are private."""
    sources = [
        source | {"path": Path(source["path"]).name} if "path" in source else source for source in sources_of(config)
    ]
    return config | {"data": config["data"] | {"sources": sources}} if sources else config


def sources_of(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the sources in a configuration; empty if it uses the default."""
    sources: list[dict[str, Any]] = config.get("data", {}).get("sources", [])
    return sources


def _inputs(run: RunRecord, data: DataRecord) -> list[dict[str, Any]]:
    git = run.environment.git
    repository: list[dict[str, Any]] = (
        [{"name": "repository of the working directory", "digest": {"gitCommit": git.commit}}] if git else []
    )
    sources = [_described(f"source/{source.name}", source.digest) for source in data.sources]
    legacy = [_described(f"imported/{run.imported.file}", run.imported.sha256)] if run.imported else []
    return [
        *repository,
        *legacy,
        *sources,
        *(_described(f"data/{name}", part.digest) for name, part in data.parts.items()),
    ]


def _described(name: str, digest: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": digest}}
