"""The walk of every model system on the embedded recordings: train, evaluate, release, verify, lie."""

import json
import shutil

import pytest
from example_version import edit, reseal

from modelreg import files
from modelreg.cli.main import main
from modelreg.records.base import load
from modelreg.records.metrics import EvalMetrics
from modelreg.registry import filenames, runs
from modelreg.workflows import training_run

HSMM = "hsmm: {chunk: 8, max_duration: 12}"
CONVOLUTIONS = "widths: [4, 8], kernels: [[1, 5], [1, 3]], hidden: 8"
MODELS = {
    "conv2d_fsq_hsmm": f"{CONVOLUTIONS}, levels: [4, 3], {HSMM}",
    "conv2d_vq": f"{CONVOLUTIONS}, embedding: 4, vq: {{codes: 8}}",
    "conv2d_vq_hdp_hsmm": f"{CONVOLUTIONS}, embedding: 4, vq: {{codes: 8}}, hdp: {{clusters: 4}}, {HSMM}",
    "conv2d_vq_tokens": "widths: [4, 8], embedding: 4, hidden: 8, vq: {codes: 8}",
    "tcn_vae": "widths: [4, 8], latent: 4, decoder: 4",
}
CONFIG = """
data: {{sources: [{{kind: sample}}], window: 100, hop: 100}}
split: {{by: subject, test: 3, validation: 1}}
model: {{name: {name}, {model}}}
training: {{epochs: 1, batch_size: 64, threads: 1, learning_rate: 0.01}}
evaluation: {{replicates: 100}}
"""


pytestmark = [pytest.mark.no_cover, pytest.mark.needs("torch", "matplotlib")]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A registry with a version of every system, trained for one epoch."""
    folder = tmp_path_factory.mktemp("systems")
    main(["init", "--sample", str(folder)])
    (folder / "modelreg.yaml").write_text("default_model: conv2d_fsq\n")  # no gates: the models are hardly trained
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("SOURCE_DATE_EPOCH", "1795255200")
        for number, (name, model) in enumerate(MODELS.items(), 1):
            (folder / "config.yaml").write_text(CONFIG.format(name=name, model=model))
            assert main(["train", "config.yaml"]) == 0
            assert main(["evaluate"]) == 0
            changes = (folder / "CHANGELOG.md").read_text()
            (folder / "CHANGELOG.md").write_text(
                changes.replace("## [Unreleased]\n", f"## [Unreleased]\n\n- {name}\n", 1)
            )
            assert main(["release", f"v0.{number}.0", "--model", name, "--roll-changelog"]) == 0
    return folder


@pytest.fixture
def copy(root, tmp_path, monkeypatch):
    """A copy of it that a test may break; the working directory."""
    monkeypatch.chdir(shutil.copytree(root, tmp_path / "copy"))
    return tmp_path / "copy"


def version_of(root, name):
    """The folder of a system's only version."""
    (version,) = (root / "registry" / name).glob("v*")
    return version


def test_every_version_is_verified(root, monkeypatch) -> None:
    """Assets included."""
    monkeypatch.chdir(root)

    assert main(["verify", "--complete"]) == 0


@pytest.mark.parametrize("name", MODELS)
def test_a_version_holds_the_parts_of_its_system(root, name) -> None:
    """hsmm.json where durations are modelled, the encoder alone of a tcn_vae; the very files of the run."""
    version, (run,) = version_of(root, name), (root / "runs").glob(f"{name}-[0-9]*")
    found = {file for file in (filenames.HSMM, filenames.ENCODER) if (version / file).exists()}

    assert found == ({filenames.HSMM} if "hsmm" in name else {filenames.ENCODER} if name == "tcn_vae" else set())
    assert all(files.sha256(version / file) == files.sha256(run / file) for file in found)


@pytest.mark.parametrize("name", MODELS)
def test_what_a_system_reports_is_measured(root, name) -> None:
    """Code usage with a quantizer, clusters with a mixture, smoothing with durations."""
    measured = load(version_of(root, name) / "eval_metrics.json", EvalMetrics)
    found = (measured.codes is not None, measured.clusters is not None, measured.temporal is not None)

    assert found == (name != "tcn_vae", "hdp" in name, "hsmm" in name)


@pytest.mark.parametrize("name", MODELS)
def test_a_card_says_what_is_inside(root, name) -> None:
    """Each system has its description."""
    card = " ".join((version_of(root, name) / "model_card.md").read_text().split())
    words = {
        "conv2d_fsq_hsmm": "finite scalar quantization with levels [4, 3]. On the host, a hidden semi-Markov model",
        "conv2d_vq": "vector quantization: the nearest of 8 codes of dimension 4.",
        "conv2d_vq_hdp_hsmm": "A stick-breaking mixture groups the codes into at most 4 clusters. On the host,",
        "conv2d_vq_tokens": "codes of dimension 4. The classifier uses the mean code of a window.",
        "tcn_vae": "Causal convolutions over time, the first across all devices, compute the mean of a latent vector",
    }

    assert words[name] in card


@pytest.mark.parametrize(
    ("name", "change", "rule"),
    [
        ("conv2d_fsq_hsmm", lambda v: edit(v / "hsmm.json", _shift_prior), "files.hsmm.json: mismatch"),
        ("conv2d_fsq_hsmm", lambda v: edit(v / "eval_metrics.json", _better), "temporal.smoothed.edit: "),
        ("tcn_vae", lambda v: _flip(v / "encoder.safetensors"), "[verify.derived-mismatch]"),
    ],
)
def test_a_false_statement_about_a_part_is_found(copy, capsys, name, change, rule) -> None:
    """Even if the manifest and the sums were adapted."""
    version = version_of(copy, name)
    change(version)
    reseal(version)
    code = main(["verify", f"{name}@{version.name}", "--complete"])

    assert (code, rule in "".join(capsys.readouterr())) == (4, True)


def _shift_prior(document):
    prior = document["emission"]["prior"]
    prior[0], prior[1] = prior[1], prior[0]


def _better(document):
    document["temporal"]["smoothed"]["edit"] = 100.0


def _flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["conv2d_vq_hdp_hsmm", "tcn_vae"])
def test_the_best_weights_give_the_recorded_parts(root, name) -> None:
    """Written again from the checkpoint, they are the same bytes: a killed run may write them twice."""
    (run,) = (root / "runs").glob(f"{name}-[0-9]*")
    before = {part: (run / part).read_bytes() for part in runs.parts(run)}
    training_run._write_parts(run, runs.load_run(run).model)

    assert {part: (run / part).read_bytes() for part in runs.parts(run)} == before


def test_the_history_has_the_terms_of_the_loss(root) -> None:
    """By their names, for TensorBoard."""
    (run,) = (root / "runs").glob("conv2d_vq_hdp_hsmm-[0-9]*")
    terms = json.loads((run / "history.jsonl").read_text().splitlines()[0])["terms"]

    assert set(terms) == {"classification", "commitment", "reconstruction", "mixture", "temporal"}
