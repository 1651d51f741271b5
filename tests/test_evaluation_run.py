"""evaluation_run on the command line: metrics of the test split, their provenance, what is refused."""

import json
import shutil

import numpy as np
import pytest
from test_training_run import edit, finished, make_registry  # noqa: F401 the fixtures

from modelreg import files
from modelreg.cli.main import main
from modelreg.records.base import load
from modelreg.records.metrics import EvalMetrics
from modelreg.registry import filenames, runs

pytestmark = pytest.mark.needs("torch", "matplotlib")  # they train


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "normalization.json", "config.json", "history.jsonl"])
def test_a_run_that_was_changed_is_neither_evaluated_nor_released(
    finished,  # noqa: F811
    tmp_path,
    monkeypatch,
    capsys,
    name,
) -> None:
    """No metric is computed with weights, constants or settings that the training did not write."""
    root = shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.chdir(root)
    path = root / "runs/conv2d_fsq-001" / name
    path.write_bytes(path.read_bytes() + b"\n")
    changelog = (root / "CHANGELOG.md").read_text()
    (root / "CHANGELOG.md").write_text(changelog.replace("## [Unreleased]", "## [Unreleased]\n\n- Better.\n", 1))
    codes = main(["evaluate"]), main(["release", "v9.0.0", "--roll-changelog", "--force"])

    assert (codes, capsys.readouterr().err.count("[run.file-changed]")) == ((3, 3), 2)


@pytest.fixture(scope="session")
def short(tmp_path_factory):
    """A registry with one run of one epoch."""
    root = make_registry(tmp_path_factory.mktemp("short"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("SOURCE_DATE_EPOCH", "1795255200")
        assert main(["train", "tiny.yaml", "--set", "training.epochs=1"]) == 0
    return root


@pytest.fixture
def trained(short, tmp_path, monkeypatch):
    """A copy of it; the working directory."""
    monkeypatch.chdir(shutil.copytree(short, tmp_path / "copy"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795255200")
    return tmp_path / "copy"


def test_changed_data_are_refused(trained, capsys) -> None:
    """The digests in data.json are those of the data, or nothing is computed."""
    path = trained / "data" / json.loads((trained / "data/dataset.json").read_text())["parts"]["all"]["x"]
    np.save(path, np.load(path) + 1)
    code = main(["evaluate"])

    assert (code, "[run.data-changed]" in capsys.readouterr().err) == (3, True)


def test_changed_metadata_is_refused(trained, capsys) -> None:
    """Classes in another order would give every number another meaning."""
    edit(trained / "data/dataset.json", lambda d: d["classes"].reverse())
    code = main(["evaluate"])

    assert (code, "data.json: classes" in capsys.readouterr().err) == (3, True)


def test_an_untrained_run_is_not_evaluated(trained, capsys) -> None:
    """The next step is the command that resumes it."""
    started = {"status": "training", "finished": None, "stopped": None}
    edit(trained / "runs/conv2d_fsq-001/run.json", lambda d: d.update(started))

    assert (main(["evaluate"]), "modelreg train --resume" in capsys.readouterr().err) == (3, True)


def test_metrics_name_the_weights_and_the_predictions(finished) -> None:  # noqa: F811
    """By their digests."""
    run = finished / "runs/conv2d_fsq-001"
    measured = load(run / filenames.METRICS, EvalMetrics)

    assert (measured.checkpoint_sha256, measured.predictions_sha256) == (
        files.sha256(run / filenames.CHECKPOINT),
        files.sha256(run / filenames.PREDICTIONS),
    )


def test_the_same_predictions_are_not_another_test_set_evaluation(trained, capsys) -> None:
    """An unchanged run on unchanged data shows nothing new, however often it is evaluated."""
    main(["evaluate"])
    main(["evaluate"])
    capsys.readouterr()
    main(["evaluate", "--json"])
    shown = json.loads(capsys.readouterr().out)["protocol"]["evaluations"]

    assert (shown, len(runs.load_run(trained / "runs/conv2d_fsq-001").evaluations)) == (1, 1)


def test_other_predictions_are(trained, monkeypatch) -> None:
    """Of another version of a package, for example."""
    main(["evaluate"])
    recorded = runs.load_run(trained / "runs/conv2d_fsq-001")
    other = recorded.evaluations[0].model_copy(update={"predictions_sha256": "0" * 64})
    changed = recorded.model_copy(update={"evaluations": (other,)})
    (trained / "runs/conv2d_fsq-001/run.json").write_bytes(changed.to_bytes())
    main(["evaluate"])

    assert len(runs.load_run(trained / "runs/conv2d_fsq-001").evaluations) == 2


def test_an_interrupted_test_set_evaluation_is_counted(trained, monkeypatch) -> None:
    """It is recorded before any of its results is written."""

    def broken(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("modelreg.workflows.evaluation_run.measure", broken)
    main(["evaluate"])

    assert len(runs.load_run(trained / "runs/conv2d_fsq-001").evaluations) == 1


def test_metrics_older_than_the_latest_evaluation_are_not_released(trained, capsys) -> None:
    """The count in the metrics would be false."""
    main(["evaluate"])
    recorded = runs.load_run(trained / "runs/conv2d_fsq-001")
    other = recorded.evaluations[0].model_copy(update={"predictions_sha256": "0" * 64})
    changed = recorded.model_copy(update={"evaluations": (*recorded.evaluations, other)})
    (trained / "runs/conv2d_fsq-001/run.json").write_bytes(changed.to_bytes())
    code = main(["release", "v0.1.0", "--no-evaluate"])

    assert (code, "[run.metrics-outdated]" in capsys.readouterr().err) == (3, True)


@pytest.mark.no_cover
def test_the_sample_is_learnt_from(tmp_path, monkeypatch, capsys) -> None:
    """Two epochs of the built-in default are far above the majority-class baseline, on new subjects."""
    monkeypatch.chdir(tmp_path)
    main(["train", "--set", "training.epochs=2", "--set", "training.threads=1"])
    main(["evaluate"])
    measured = load(tmp_path / "runs/conv2d_fsq-001" / filenames.METRICS, EvalMetrics)

    assert measured.accuracy > 2 * measured.baselines.majority_accuracy
