"""Files of modelreg 0.2.0 remain usable: it is listed, shown, verified, evaluated, released and resumed.

tests/made_by_0_2_0/README.md says what is there and how it was made. It never changes. Nothing below compares a number
that another processor computes otherwise: weights and predictions are those that lie there.
"""

import io
import json
import shutil
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from example_version import edit, reseal

from modelreg import files
from modelreg.artifacts import bundle_archive, npz
from modelreg.cli import host
from modelreg.cli.main import main
from modelreg.config import ProjectConfig, TrainConfig
from modelreg.config import load as load_yaml
from modelreg.documents.provenance import Provenance
from modelreg.evaluation.gates import GateReport
from modelreg.experiment import classify
from modelreg.records.aliases import AliasLog
from modelreg.records.audit import AuditRecord, RandomSplit
from modelreg.records.base import load, parse
from modelreg.records.calibration_v1 import ConfidenceRecordV1
from modelreg.records.crossval import CrossValidation
from modelreg.records.data import DataRecord, Normalization, QualityReport
from modelreg.records.export import BundleRecord, ParityRecord
from modelreg.records.hsmm import HsmmSpec
from modelreg.records.int8 import Int8Estimate
from modelreg.records.latency import LatencyRecord
from modelreg.records.manifest import Manifest
from modelreg.records.metrics import EvalMetrics
from modelreg.records.model import ModelSpec
from modelreg.records.run import Epoch, RunRecord

MADE = Path(__file__).parent / "made_by_0_2_0"
PROJECT = MADE / "project"
EVALUATED, TRAINED, KILLED = (f"runs/conv2d_fsq-00{number}" for number in (1, 2, 3))


def places(pattern: str) -> list[str]:
    """Return the matching files, relative to the project."""
    return sorted(path.relative_to(PROJECT).as_posix() for path in PROJECT.glob(pattern))


def references(pattern: str) -> list[str]:
    """Return the versions that have a file."""
    return ["@".join(path.split("/")[1:3]) for path in places(f"registry/*/*/{pattern}")]


VERSIONS, EXPORTED = references("manifest.json"), references("onnx/test_vectors.npz")
RECORDS = {
    "aliases.json": AliasLog,
    "audit.json": AuditRecord,
    "bundle.json": BundleRecord,
    "calibration.json": ConfidenceRecordV1,
    "config.json": TrainConfig,
    "crossval.json": CrossValidation,
    "data.json": DataRecord,
    "eval_metrics.json": EvalMetrics,
    "gates.json": GateReport,
    "hsmm.json": HsmmSpec,
    "int8.json": Int8Estimate,
    "latency.json": LatencyRecord,
    "manifest.json": Manifest,
    "model_config.json": ModelSpec,
    "normalization.json": Normalization,
    "parity.json": ParityRecord,
    "provenance.json": Provenance,
    "quality.json": QualityReport,
    "random_split.json": RandomSplit,
    "run.json": RunRecord,
}
FOREIGN = {"bom.cdx.json"}  # CycloneDX, which `verify` renders again


class Answer(NamedTuple):
    """The exit code of a command and the JSON on stdout."""

    code: int
    document: Any


def ask(*words: str) -> Answer:
    """Run a command that prints JSON."""
    with redirect_stdout(io.StringIO()) as out:
        code = main([*words, "--json"])
    return Answer(code, json.loads(out.getvalue()))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A copy of the project, for tests that only read."""
    return shutil.copytree(PROJECT, tmp_path_factory.mktemp("made") / "project")


@pytest.fixture
def here(shelf, monkeypatch):
    """The copy as the working directory."""
    monkeypatch.chdir(shelf)
    return shelf


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy as the working directory, for tests that change it."""
    shutil.copytree(PROJECT, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1800000000")
    return tmp_path / "project"


@pytest.fixture(scope="module")
def verified(shelf):
    """The result of `verify --complete` for the whole registry."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(shelf)
        return ask("verify", "--complete")


def folder_of(reference: str) -> Path:
    """Return the folder of a version, relative to the project."""
    model, _, version = reference.partition("@")
    return Path("registry") / model / version


def test_every_system_was_released() -> None:
    """The tests below would pass without these fixtures."""
    assert {reference.partition("@")[0] for reference in VERSIONS} == {
        "conv2d_fsq",
        "conv2d_fsq_hsmm",
        "conv2d_vq",
        "conv2d_vq_hdp_hsmm",
        "conv2d_vq_tokens",
        "tcn_vae",
    }


def test_git_keeps_the_bytes(root) -> None:
    """A line ending that git changes would break every digest."""
    assert "tests/made_by_*/** -text" in (root / ".gitattributes").read_text().splitlines()


# Reading


def test_every_version_is_listed(here) -> None:
    """None is missing."""
    assert sorted(row["reference"] for row in ask("list").document) == VERSIONS


@pytest.mark.parametrize("reference", VERSIONS)
def test_a_version_is_shown(reference, here) -> None:
    """With its own manifest."""
    manifest = ask("show", reference).document["manifest"]

    assert f"{manifest['model']}@v{manifest['version']}" == reference


@pytest.mark.parametrize("reference", VERSIONS)
def test_a_version_verifies(reference, verified) -> None:
    """Every file and document; card, gates.json and SBOM equal the rendered texts byte for byte."""
    assert [row["problems"] for row in verified.document["versions"] if row["version"] == reference] == [[]]


def test_the_registry_around_the_versions_verifies(verified) -> None:
    """The table of releases and the aliases."""
    assert (verified.code, verified.document["problems"]) == (0, [])


@pytest.mark.parametrize(
    ("document", "old", "new"),
    [
        ("model_card.md", "three epochs", "four epochs"),
        ("gates.json", "of v0.1.0", "of v0.0.1"),
        ("bom.cdx.json", "there is none for anything else", "there is one for anything else"),
    ],
)
def test_a_document_that_differs_from_the_rendered_text_is_found(document, old, new, project, capsys) -> None:
    """A version that verifies therefore has exactly the rendered text."""
    version = project / folder_of("conv2d_fsq@v0.3.0" if document == "gates.json" else "conv2d_fsq@v0.2.0")
    text = (version / document).read_text()
    (version / document).write_text(text.replace(old, new, 1))
    reseal(version)
    code = main(["verify", f"conv2d_fsq@{version.name}"])

    assert (old in text, code, f"{version.name}: {document}" in capsys.readouterr().err) == (True, 4, True)


def test_a_signature_verifies(here) -> None:
    """With the public key of the signer."""
    assert main(["verify", "conv2d_fsq@v0.1.0", "--complete", "--key", str(MADE / "key.pub.pem")]) == 0


@pytest.mark.parametrize(("alias", "version"), [("production", "0.1.0"), ("canary", "0.1.1")])
def test_an_alias_names_its_version(alias, version, here) -> None:
    """Also after a rollback."""
    assert ask("show", f"conv2d_fsq@{alias}").document["manifest"]["version"] == version


def test_the_history_of_the_aliases_is_listed(here) -> None:
    """Three promotions and a rollback."""
    assert len(ask("history", "conv2d_fsq").document["changes"]) == 4


@pytest.mark.parametrize("path", places("**/*.json"))
def test_a_document_parses(path) -> None:
    """By its schema and its record."""
    name, file = path.rpartition("/")[2], PROJECT / path

    assert files.parse_json(files.read_bytes(file), path) if name in FOREIGN else load(file, RECORDS[name])


@pytest.mark.parametrize("path", places("**/history.jsonl"))
def test_a_history_parses(path) -> None:
    """Line by line."""
    lines = files.read_bytes(PROJECT / path).splitlines()

    assert [parse(line, Epoch, path).number for line in lines] == [*range(1, len(lines) + 1)]


@pytest.mark.parametrize("path", places("configs/*.yaml"))
def test_a_configuration_parses(path) -> None:
    """For every system and every kind of split."""
    assert load_yaml(PROJECT / path, TrainConfig)


def test_the_settings_of_the_project_parse() -> None:
    """Including gates and waivers."""
    assert load_yaml(PROJECT / "modelreg.yaml", ProjectConfig).waivers


# Running


@pytest.mark.parametrize("reference", EXPORTED)
def test_a_version_classifies_as_its_card_says(reference, here) -> None:
    """With the import that cards name. Windows at a rounding boundary may differ between processors."""
    vectors = npz.read_npz(here / folder_of(reference) / "onnx" / "test_vectors.npz")
    _, probabilities = classify(here / folder_of(reference), vectors["windows_raw"])

    assert (probabilities.argmax(axis=1) == vectors["logits"].argmax(axis=1)).mean() > 0.9


@pytest.mark.parametrize("reference", ["conv2d_fsq@v0.1.1", "conv2d_fsq_hsmm@v0.1.0", "tcn_vae@v0.1.0"])
def test_a_version_runs(reference, here) -> None:
    """On ONNX Runtime."""
    assert ask("bench", reference, "--windows", "100").document["windows"] == 100


def test_two_versions_are_compared(here) -> None:
    """One was trained and exported, the other imported."""
    assert ask("compare", "conv2d_fsq@v0.1.0", "conv2d_fsq@v0.2.0").code == 0


# Writing


def test_a_trained_run_is_evaluated(project) -> None:
    """For the first time."""
    assert ask("evaluate", TRAINED).document["protocol"]["evaluations"] == 1


def test_an_evaluated_run_is_evaluated_again(project) -> None:
    """The number of test-set evaluations rises, unless this processor computes the same predictions to the last bit."""
    before = load(Path(EVALUATED, "run.json"), RunRecord).evaluations
    found = ask("evaluate", EVALUATED).document["protocol"]["evaluations"]
    same = files.sha256(Path(EVALUATED, "predictions.npz")) == before[-1].predictions_sha256

    assert found == len(before) + (not same)


RELEASE = ["release", "v0.5.0", "--run", EVALUATED, "--roll-changelog", "--force"]


def drop_gates_of_int8() -> None:
    """Remove the gates that read an 8-bit estimate from modelreg.yaml."""
    path = Path("modelreg.yaml")
    kept = load_yaml(path, ProjectConfig)
    gates = {name: gate for name, gate in kept.gates.items() if not name.startswith("int8.")}
    path.write_bytes(kept.model_copy(update={"gates": gates}).to_bytes())


def test_a_gate_refuses_an_estimate_of_integer_kernels(project, capsys) -> None:
    """modelreg 0.2.0 used kernels that saturate on some processors: a new release cannot use such an estimate."""
    assert (main(RELEASE), "gate int8.accuracy_drop: " in capsys.readouterr().err) == (3, True)


def test_an_evaluated_run_is_released(project) -> None:
    """With its export, and the other gates evaluated."""
    drop_gates_of_int8()
    made = main(RELEASE)

    assert (made, main(["verify", "v0.5.0", "--complete"])) == (0, 0)


def test_a_version_gets_a_hef(project) -> None:
    """As a patch version, which verifies."""
    drop_gates_of_int8()
    bundle = bundle_archive.unpack(folder_of("conv2d_fsq@v0.1.1") / "hailo8" / "bundle.tar.gz")
    Path("conv2d_fsq.hef").write_bytes(bundle["conv2d_fsq.hef"])
    options = ["--from", "v0.1.0", "--hef", "conv2d_fsq.hef", "--roll-changelog", "--allow-older"]
    made = main(["release", "v0.1.2", *options])

    assert (made, main(["verify", "v0.1.2", "--complete"])) == (0, 0)


def as_if_started_here(run: Path) -> None:
    """Record in run.json that the run was started on this machine with the installed packages."""
    settings = load(run / "config.json", TrainConfig).training
    here = host.describe(settings).to_document()
    del here["modelreg"]
    edit(run / "run.json", lambda document: document["environment"].update(here))


def test_a_killed_run_is_resumed_to_its_end(project) -> None:
    """The epochs on disk are kept.

    A run is resumed only with the packages and on the kind of machine that it was started with (the next test), so
    run.json names these first. The version of modelreg stays: a run outlives an upgrade.
    """
    before = (Path(KILLED) / "history.jsonl").read_text().splitlines()
    as_if_started_here(Path(KILLED))
    code = main(["train", "--resume", KILLED])
    after = (Path(KILLED) / "history.jsonl").read_text().splitlines()

    assert (code, len(after), after[:2]) == (0, 12, before[:2])


def test_a_run_of_another_python_is_not_resumed(project, capsys) -> None:
    """The result would not be that of an uninterrupted training."""
    as_if_started_here(Path(KILLED))
    edit(Path(KILLED) / "run.json", lambda document: document["environment"].update(python="3.10.0"))

    assert main(["train", "--resume", KILLED]) == 3
    assert "python: is " in capsys.readouterr().err
