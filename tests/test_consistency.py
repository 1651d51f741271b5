"""consistency: checks that do not need an unreadable document still run, and a notice names the others."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from example_release import carry_out
from example_run import write_registry, write_run
from example_version import edit, reseal, reseal_sums

from modelreg.artifacts import npz
from modelreg.config import ProjectConfig
from modelreg.records.gates import Gate
from modelreg.release.plan import Request
from modelreg.verification import consistency, integrity

MADE = Path(__file__).parent / "made_by_0_2_0" / "project"


@pytest.fixture(scope="session")
def consistent(tmp_path_factory):
    """A released version, made once."""
    project = ProjectConfig(gates={"accuracy": Gate(min=0)})
    root = write_registry(tmp_path_factory.mktemp("registry"), project)
    run = write_run(root / "runs" / "conv2d_fsq-001")
    return carry_out(root, Request("v0.1.0", run, roll_changelog=True), project).folder


@pytest.fixture
def version(consistent, tmp_path):
    """A copy of the version, for tests that change it."""
    return shutil.copytree(consistent, tmp_path / "conv2d_fsq" / "v0.1.0")


def _needs(rule) -> set[str]:
    """Return what a check needs, with each field of the documents by its name."""
    return {*rule.needs, *(consistency.FIELDS if "documents" in rule.needs else ())}


def unchecked(version) -> set[str]:
    """Return the checks that did not run."""
    return {notice.where for notice in integrity.inspect(version).notices if notice.message.startswith("not checked")}


def test_every_check_runs_on_a_complete_version(version) -> None:
    """There is no notice."""
    assert integrity.inspect(version).notices == ()


@pytest.mark.parametrize(
    "name",
    ["model_config.json", "normalization.json", "eval_metrics.json", "data.json", "run.json", "provenance.json"],
)
def test_only_the_checks_of_an_unreadable_document_are_skipped(version, name) -> None:
    """All other checks run."""
    (version / name).write_bytes(b"{")
    reseal(version)
    source = {file: need for need, file in consistency.SOURCE.items()}[name]
    needing = {rule.subject for rule in consistency.RULES if source in _needs(rule)}

    assert unchecked(version) == needing


def test_a_contradiction_is_found_if_another_document_is_unreadable(version) -> None:
    """An unreadable document does not hide contradictions of the others."""
    (version / "provenance.json").write_bytes(b"{")
    edit(version / "normalization.json", lambda document: document.update(timesteps=7))
    reseal(version)
    found = {problem.where for problem in integrity.inspect(version).problems}

    assert {"provenance.json", "normalization.json: timesteps"} <= found


def test_the_metrics_are_recomputed_if_the_run_is_unreadable(version) -> None:
    """They need only the predictions and the model."""
    arrays = npz.read_npz(version / "predictions.npz")
    (version / "predictions.npz").write_bytes(npz.npz_bytes({**arrays, "y": np.roll(arrays["y"], 1)}))
    (version / "run.json").write_bytes(b"[]")
    reseal(version)
    found = {problem.where for problem in integrity.inspect(version).problems}

    assert "eval_metrics.json: accuracy" in found


def test_a_run_without_its_history_is_a_problem(version) -> None:
    """provenance.json states a digest that run.json does not have."""
    edit(version / "run.json", lambda document: document["files"].pop("history.jsonl"))
    reseal(version)

    assert any(problem.where.startswith("provenance.json: ") for problem in integrity.inspect(version).problems)


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "predictions.npz", "bom.cdx.json"])
def test_a_check_names_the_file_that_it_could_not_read(version, name) -> None:
    """The file is a problem; the skipped check is a notice."""
    (version / name).write_bytes(b"other bytes")
    found = {notice.message for notice in integrity.inspect(version).notices}

    assert any(message.endswith(f"needs {name}") for message in found)


@pytest.mark.parametrize("name", ["normalization.json", "eval_metrics.json", "checkpoint.safetensors"])
def test_a_manifest_that_lists_too_little_is_a_problem(version, name) -> None:
    """Checks that need the complete manifest are skipped, and nothing crashes."""
    edit(
        version / "manifest.json",
        lambda document: document.update(files=[each for each in document["files"] if each["path"] != name]),
    )
    reseal_sums(version)

    assert "manifest.json" in {problem.where for problem in integrity.inspect(version).problems}


def test_a_gate_is_not_evaluated_on_unreadable_metrics(version) -> None:
    """Its recorded outcome may be right."""
    (version / "eval_metrics.json").write_bytes(b"{}")
    reseal(version)

    assert not [p for p in integrity.inspect(version).problems if p.where.startswith("gates.json")]


def test_an_unreadable_estimate_is_not_a_missing_one(tmp_path) -> None:
    """Documents that repeat it are not problems; a notice names the skipped check."""
    folder = tmp_path / "conv2d_fsq" / "v0.1.0"
    shutil.copytree(MADE / "registry/conv2d_fsq/v0.1.0", folder)
    (folder / "hailo8/int8.json").write_bytes(b"{}")

    assert "the 8-bit estimate in the metrics" in unchecked(folder)
    assert [problem.where for problem in integrity.inspect(folder).problems] == ["hailo8/int8.json"]


def test_every_check_has_known_parameters() -> None:
    """The parameters are the documents that the runner provides."""
    known = {*consistency.SOURCE, "documents"}

    assert [rule.subject for rule in consistency.RULES if not known.issuperset(rule.needs)] == []
