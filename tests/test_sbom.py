"""The SBOM of a version is valid CycloneDX, and reproducible."""

import json
import shutil
import warnings
from dataclasses import replace

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from example_records import example_metrics
from example_run import NOW, write_registry, write_run
from example_version import drop_bom, edit, make_version, reseal
from hypothesis import given, settings
from hypothesis import strategies as st
from places import places

from modelreg import files
from modelreg.documents import sbom
from modelreg.records.base import load
from modelreg.records.data import DataRecord
from modelreg.records.manifest import Manifest
from modelreg.records.metrics import EvalMetrics
from modelreg.records.run import RunRecord
from modelreg.registry import filenames
from modelreg.registry.version_documents import VersionDocuments
from modelreg.verification import integrity

VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)
names = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Zs"]), min_size=1, max_size=20)


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """Return a released version."""
    root = write_registry(tmp_path_factory.mktemp("registry"))
    return make_version(root, write_run(root / "runs" / "conv2d_fsq-001"))


@pytest.fixture(scope="module")
def document(version):
    """Return its SBOM."""
    return json.loads((version / "bom.cdx.json").read_bytes())


@pytest.fixture(scope="module")
def facts(version):
    """Return the records of the version."""
    run = load(version / "run.json", RunRecord)
    metrics, data = load(version / "eval_metrics.json", EvalMetrics), load(version / "data.json", DataRecord)
    return VersionDocuments(
        model="conv2d_fsq",
        version="0.1.0",
        license="apache-2.0",
        spec=run.model,
        metrics=metrics,
        data=data,
        run=run,
    )


@pytest.fixture(scope="module")
def digests(version):
    """Return the digests of every other file."""
    listed = {entry.path: entry.sha256 for entry in load(version / "manifest.json", Manifest).files}
    return {path: digest for path, digest in listed.items() if path != "bom.cdx.json"}


def is_valid(data: bytes) -> bool:
    """Return whether the validator of the CycloneDX project accepts a document."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # jsonschema's, of how it is called
        return VALIDATOR.validate_str(data.decode()) is None


def test_the_sbom_of_a_release_is_valid(version) -> None:
    """The official JSON validator accepts it in strict mode."""
    assert is_valid((version / "bom.cdx.json").read_bytes())


def test_the_validator_refuses_an_unknown_key(document) -> None:
    """Otherwise the other tests would prove nothing."""
    document = json.loads(json.dumps(document))
    document["metadata"]["component"]["modelCard"]["modelParameters"]["approach"]["type"] = "guessed"

    assert not is_valid(files.to_json(document))


@settings(max_examples=20)
@given(names, names, names)
def test_any_names_are_valid(facts, digests, license_, subject, source) -> None:
    """Licenses, subjects and sources may have any name."""
    part = facts.data.parts.train.model_copy(update={"subjects": (subject,)})
    origin = facts.data.sources[0].model_copy(update={"name": source, "license": subject, "citation": license_})
    parts = facts.data.parts.model_copy(update={"train": part})
    data = facts.data.model_copy(update={"parts": parts, "sources": (origin, origin)})

    assert is_valid(sbom.render(replace(facts, license=license_, data=data), NOW, "0.3.0", digests))


@pytest.mark.parametrize("change", [{"license": None}, {"license": ""}, {"version": "1.0.0-rc.1+b"}])
def test_missing_values_are_left_out(facts, digests, change) -> None:
    """A model without a license, a source without a citation."""
    bare = facts.data.sources[0].model_copy(update={"license": "", "citation": ""})
    data = facts.data.model_copy(update={"sources": (bare,)})

    assert is_valid(sbom.render(replace(facts, data=data, **change), NOW, "0.3.0", digests))


def test_the_same_version_gives_the_same_bytes(facts, digests) -> None:
    """There is no clock and no random number."""
    assert len({sbom.render(facts, NOW, "0.3.0", digests) for _ in range(2)}) == 1


@pytest.mark.parametrize("path", ["checkpoint.safetensors", "model_card.md", "predictions.npz"])
def test_another_file_gives_another_serial_number(facts, digests, path) -> None:
    """It is derived from the content."""
    made = [sbom.render(facts, NOW, "0.3.0", d) for d in (digests, {**digests, path: "0" * 64})]

    assert len({json.loads(data)["serialNumber"] for data in made}) == 2


def test_every_reference_has_one_component(document) -> None:
    """Datasets and dependencies name existing components."""
    there = [component["bom-ref"] for component in [document["metadata"]["component"], *document["components"]]]
    parameters = document["metadata"]["component"]["modelCard"]["modelParameters"]
    named = [dataset["ref"] for dataset in parameters["datasets"]]
    named += [name for entry in document["dependencies"] for name in [entry["ref"], *entry["dependsOn"]]]

    assert (len(set(there)), set(named) <= set(there)) == (len(there), True)


def test_the_sbom_states_the_metrics(document, facts) -> None:
    """Those of the card, with their intervals, and of every class and subject."""
    rows = document["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    stated = {(row["type"], row["slice"]): float(row["value"]) for row in rows}

    assert stated["macro_f1", "test"] == facts.metrics.macro_f1
    assert {name for _, name in stated} >= {"test, subject s4", "test, class walk"}


def test_intervals_are_stated(facts, digests) -> None:
    """If there are enough subjects."""
    measured = example_metrics(facts.spec.classes)
    document = json.loads(sbom.render(replace(facts, metrics=measured), NOW, "0.3.0", digests))
    rows = document["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]

    assert [row["confidenceInterval"] for row in rows if row["type"] == "macro_f1"] == [
        {"lowerBound": str(measured.interval("macro_f1").low), "upperBound": str(measured.interval("macro_f1").high)}
    ]


def test_known_test_subjects_are_a_stated_limitation(facts, digests) -> None:
    """A split by time is not valid for new subjects."""
    known = facts.metrics.protocol.parts.train.model_copy(update={"subjects": ("s4",)})
    parts = facts.metrics.protocol.parts.model_copy(update={"train": known})
    protocol = facts.metrics.protocol.model_copy(update={"parts": parts})
    shared = replace(facts, metrics=facts.metrics.model_copy(update={"protocol": protocol}))

    assert b"nothing about new ones" in sbom.render(shared, NOW, "0.3.0", digests)


def test_the_sbom_names_the_training_packages(document) -> None:
    """By package URL, which vulnerability scanners use."""
    assert "pkg:pypi/torch@2.13.0" in {component.get("purl") for component in document["components"]}


def test_the_sbom_lists_the_weights_and_graphs(document, digests) -> None:
    """With their digests; documents are not listed."""
    found = {part["name"]: part["hashes"][0]["content"] for part in document["components"] if part["type"] == "file"}

    assert found == {path: digest for path, digest in digests.items() if path not in filenames.DOCUMENTS}


@pytest.fixture
def broken(version, tmp_path):
    """Return a copy that a test may change."""
    return shutil.copytree(version, tmp_path / "conv2d_fsq" / "v0.1.0")


def problems(version) -> list[tuple[str, str]]:
    """Return place and rule of each problem that verify finds."""
    return places(integrity.inspect(version).problems)


def test_a_version_without_an_sbom_is_valid(broken) -> None:
    """modelreg 0.1 and 0.2 made no SBOM."""
    drop_bom(broken)

    assert problems(broken) == []


def test_a_changed_value_is_found(broken) -> None:
    """Even if the digests were updated."""
    edit(broken / "bom.cdx.json", lambda document: document["metadata"]["component"].update(name="other"))
    reseal(broken)

    assert problems(broken) == [("bom.cdx.json: metadata.component.name", "sbom.value-mismatch")]


@pytest.mark.parametrize(
    ("data", "rule"),
    [(b"{", "json.invalid"), (b"[]", "sbom.value-mismatch"), (b'{"a": 1, "a": 1}', "json.duplicate-key")],
    ids=["broken", "list", "twice"],
)
def test_an_invalid_document_is_found(broken, data, rule) -> None:
    """As a problem, not as a crash."""
    (broken / "bom.cdx.json").write_bytes(data)
    reseal(broken)

    assert rule in [found for where, found in problems(broken) if where.startswith("bom.cdx.json")]


def test_other_bytes_with_the_same_meaning_are_found(broken) -> None:
    """Only the canonical form is valid."""
    path = broken / "bom.cdx.json"
    path.write_text(json.dumps(json.loads(path.read_bytes())))
    reseal(broken)

    assert problems(broken) == [("bom.cdx.json: format", "sbom.not-canonical")]
