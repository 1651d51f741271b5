"""consistency: what does not need an unreadable document is still checked, and what was not is named."""

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
    """A copy of it that a test may break."""
    return shutil.copytree(consistent, tmp_path / "conv2d_fsq" / "v0.1.0")


def _needs(rule) -> set[str]:
    """What a rule needs, each part of the documents by its name."""
    return {*rule.needs, *(consistency.FIELDS if "documents" in rule.needs else ())}


def unchecked(version) -> set[str]:
    """What was not checked."""
    return {notice.where for notice in integrity.inspect(version).notices if notice.message.startswith("not checked")}


def test_a_whole_version_is_checked_by_every_rule(version) -> None:
    """No notice says otherwise."""
    assert integrity.inspect(version).notices == ()


@pytest.mark.parametrize(
    "name",
    ["model_config.json", "normalization.json", "eval_metrics.json", "data.json", "run.json", "provenance.json"],
)
def test_a_rule_is_not_checked_only_where_its_document_cannot_be_read(version, name) -> None:
    """A document that is no JSON takes the rules that need it with it, and no other."""
    (version / name).write_bytes(b"{")
    reseal(version)
    source = {file: need for need, file in consistency.SOURCE.items()}[name]
    needing = {rule.subject for rule in consistency.RULES if source in _needs(rule)}

    assert unchecked(version) == needing


def test_a_contradiction_is_found_beside_a_document_that_cannot_be_read(version) -> None:
    """Before, one unreadable document hid every contradiction of the others."""
    (version / "provenance.json").write_bytes(b"{")
    edit(version / "normalization.json", lambda document: document.update(timesteps=7))
    reseal(version)
    found = {problem.where for problem in integrity.inspect(version).problems}

    assert {"provenance.json", "normalization.json: timesteps"} <= found


def test_the_metrics_are_recomputed_beside_a_run_that_cannot_be_read(version) -> None:
    """They need the predictions and the model alone."""
    arrays = npz.read_npz(version / "predictions.npz")
    (version / "predictions.npz").write_bytes(npz.npz_bytes({**arrays, "y": np.roll(arrays["y"], 1)}))
    (version / "run.json").write_bytes(b"[]")
    reseal(version)
    found = {problem.where for problem in integrity.inspect(version).problems}

    assert "eval_metrics.json: accuracy" in found


def test_a_run_that_lost_its_history_is_a_problem(version) -> None:
    """provenance.json states a digest that run.json no longer has."""
    edit(version / "run.json", lambda document: document["files"].pop("history.jsonl"))
    reseal(version)

    assert any(problem.where.startswith("provenance.json: ") for problem in integrity.inspect(version).problems)


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "predictions.npz", "bom.cdx.json"])
def test_a_rule_that_lacks_a_file_says_so(version, name) -> None:
    """The file itself is a problem; what could not be checked of it is a notice."""
    (version / name).write_bytes(b"other bytes")
    found = {notice.message for notice in integrity.inspect(version).notices}

    assert any(message.endswith(f"needs {name}") for message in found)


@pytest.mark.parametrize("name", ["normalization.json", "eval_metrics.json", "checkpoint.safetensors"])
def test_a_manifest_that_lists_too_little_is_a_problem(version, name) -> None:
    """Never a crash: what needs the whole manifest is not checked."""
    edit(
        version / "manifest.json",
        lambda document: document.update(files=[each for each in document["files"] if each["path"] != name]),
    )
    reseal_sums(version)

    assert "manifest.json" in {problem.where for problem in integrity.inspect(version).problems}


def test_a_gate_is_not_judged_on_metrics_that_cannot_be_read(version) -> None:
    """Its outcome may be right."""
    (version / "eval_metrics.json").write_bytes(b"{}")
    reseal(version)

    assert not [p for p in integrity.inspect(version).problems if p.where.startswith("gates.json")]


def test_an_estimate_that_cannot_be_used_is_not_absent(tmp_path) -> None:
    """What repeats it is not accused; that it was not compared is said."""
    folder = tmp_path / "conv2d_fsq" / "v0.1.0"
    shutil.copytree(MADE / "registry/conv2d_fsq/v0.1.0", folder)
    (folder / "hailo8/int8.json").write_bytes(b"{}")

    assert "the 8-bit estimate in the metrics" in unchecked(folder)
    assert [problem.where for problem in integrity.inspect(folder).problems] == ["hailo8/int8.json"]


def test_every_rule_names_what_it_needs() -> None:
    """By parameters that the runner knows."""
    known = {*consistency.SOURCE, "documents"}

    assert [rule.subject for rule in consistency.RULES if not known.issuperset(rule.needs)] == []
