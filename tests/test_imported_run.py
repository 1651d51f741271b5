"""A run that was imported goes the way of every run, and says everywhere that it was."""

import json
import shutil

import pytest
from example_release import carry_out
from example_run import normalization, write_registry, write_run

from modelreg import files
from modelreg.documents import provenance
from modelreg.documents.report import render
from modelreg.documents.templates.card_v2 import UNKNOWN_TRAINING
from modelreg.errors import InputError
from modelreg.records.base import load
from modelreg.records.data import DataRecord
from modelreg.records.metrics import EvalMetrics
from modelreg.records.provenance import Provenance
from modelreg.records.run import ImportRecord
from modelreg.registry import filenames, runs
from modelreg.release.plan import Request
from modelreg.verification import integrity

ORIGIN = ImportRecord(
    file="old_model.pth",
    sha256="e" * 64,
    layout="fsq_pooled",
    notes=("6 weight norms folded",),
    normalization_sha256="f" * 64,
)


def imported(folder, origin=ORIGIN):
    """Write an evaluated run as `import` and `evaluate` leave it."""
    write_run(folder)
    (folder / filenames.HISTORY).write_bytes(b"")
    if origin.normalization_sha256:
        changes = {"fitted_on": "elsewhere", "samples": 0, "data_digest": origin.normalization_sha256}
        (folder / filenames.NORMALIZATION).write_bytes(normalization().model_copy(update=changes).to_bytes())
    run = runs.load_run(folder)
    sealed = runs.seal(folder, run.files)
    nothing = {"epochs": 0, "best_epoch": None, "best_validation_loss": None, "stopped": None}
    (folder / filenames.RUN).write_bytes(
        run.model_copy(update={"imported": origin, "files": sealed, **nothing}).to_bytes()
    )
    return folder


def version_of(root, run):
    """Release v0.1.0 of a run."""
    return carry_out(root, Request("v0.1.0", run, roll_changelog=True)).folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A version of an imported run."""
    root = write_registry(tmp_path_factory.mktemp("registry"))
    return version_of(root, imported(root / "runs" / "conv2d_fsq-001"))


def test_its_version_verifies(made) -> None:
    """Every document agrees with the others."""
    assert integrity.inspect(made, complete=True).problems == ()


def test_a_version_whose_normalization_was_fitted_verifies(tmp_path) -> None:
    """If the import stated none."""
    root = write_registry(tmp_path)
    run = imported(root / "runs" / "conv2d_fsq-001", ORIGIN.model_copy(update={"normalization_sha256": None}))

    assert integrity.inspect(version_of(root, run), complete=True).problems == ()


def test_the_card_says_where_the_weights_are_from(made) -> None:
    """And that their training subjects are not known."""
    text = (made / "model_card.md").read_text()
    expected = (
        f"legacy checkpoint old\\_model.pth (SHA-256 `{'e' * 64}`",
        "6 weight norms folded.",
        UNKNOWN_TRAINING,
        "The normalization was imported with the weights.",
        "Imported with modelreg 0.1.0; working directory: commit",
    )

    assert [words in text for words in expected] == [True] * 5
    assert "rained for" not in text


def test_the_provenance_names_the_file(made) -> None:
    """By its digest, with a separate build type."""
    built = load(made / "provenance.json", Provenance).predicate.build_definition
    digests = {each.name: each.digest for each in built.resolved_dependencies}

    assert built.build_type == provenance.IMPORT_TYPE
    assert digests["imported/old_model.pth"] == {"sha256": "e" * 64}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda run: run.update(imported=None), "run.json: trained: best_epoch and best_validation_loss are required"),
        (lambda run: run.update(epochs=3), "run.json: imported: a run with imported weights must not have epochs"),
        (
            lambda run: run.update(imported=None, best_epoch=1, best_validation_loss=0.5),
            "provenance.json: predicate.buildDefinition.buildType",
        ),
        (lambda run: run["imported"].update(sha256="0" * 64), "resolvedDependencies"),
        (lambda run: run["imported"].update(normalization_sha256="0" * 64), "normalization.json: data_digest"),
        (lambda run: run["imported"].update(normalization_sha256=None), "normalization.json: fitted_on"),
        (lambda run: run["imported"].update(notes=[]), "model_card.md"),
    ],
)
def test_a_false_statement_about_the_import_is_found(made, tmp_path, change, problem) -> None:
    """By the other documents, even if the manifest was adapted."""
    version = shutil.copytree(made, tmp_path / "conv2d_fsq" / "v0.1.0")
    document = json.loads((version / "run.json").read_text())
    change(document)
    (version / "run.json").write_bytes(files.to_json(document))
    manifest = json.loads((version / "manifest.json").read_text())
    for entry in manifest["files"]:
        data = (version / entry["path"]).read_bytes()
        entry["sha256"], entry["size"] = files.sha256_bytes(data), len(data)
    (version / "manifest.json").write_bytes(files.to_json(manifest))

    assert any(problem in str(found) for found in integrity.inspect(version).problems)


def test_without_metrics_it_is_not_released(tmp_path) -> None:
    """Only `evaluate` computes them."""
    root = write_registry(tmp_path)
    run = imported(root / "runs" / "conv2d_fsq-001")
    (run / filenames.METRICS).unlink()
    with pytest.raises(InputError) as caught:
        version_of(root, run)

    assert [problem.rule for problem in caught.value.problems] == ["run.not-evaluated"]


def test_the_report_shows_no_training(tmp_path) -> None:
    """It has no curves, and the first recommendation is a warning."""
    run = imported(tmp_path / "run")
    found = render.documents(
        load(run / filenames.METRICS, EvalMetrics), load(run / filenames.DATA, DataRecord), runs.load_run(run), []
    )
    text = found[filenames.REPORT].decode()

    assert "curves.png" not in found
    assert "curves" not in text
    assert f"The weights were not trained in this run. **{UNKNOWN_TRAINING}**" in text
    assert text.partition("\n- ")[2].startswith("**The weights were imported.")
