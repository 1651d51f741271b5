"""reproduce: numbers made again from weights and data, and weights from data, on the run of test_training_run."""

import json
import shutil

import numpy as np
import pytest
from example_version import edit
from places import places
from test_training_run import finished  # noqa: F401 the fixture

from modelreg import files
from modelreg.artifacts import npz
from modelreg.cli.main import main
from modelreg.data.cache import Reading
from modelreg.errors import InputError
from modelreg.evaluation import metrics
from modelreg.records.base import load
from modelreg.records.metrics import Interval
from modelreg.records.run import RunRecord
from modelreg.registry import filenames
from modelreg.workflows import reproduce

pytestmark = pytest.mark.needs("torch", "matplotlib")  # they train
VERSION = "registry/conv2d_fsq/v0.1.0"


@pytest.fixture
def place(finished, tmp_path, monkeypatch):  # noqa: F811
    """A copy of the registry; the working directory."""
    root = tmp_path / "copy"
    shutil.copytree(finished, root, ignore=shutil.ignore_patterns("runs"))
    monkeypatch.chdir(root)
    return root


def change_predictions(version, change):
    """Change predictions.npz, so that the version states others than its weights give."""
    path = version / filenames.PREDICTIONS
    path.write_bytes(npz.npz_bytes(change(metrics.Predictions(**npz.read_npz(path))).arrays()))
    edit(version / filenames.METRICS, lambda d: d.update(predictions_sha256=files.sha256(path)))


def outcome_of(root):
    """Reproduce the version of a registry."""
    return reproduce.reproduce(root / VERSION, Reading(root / "data"))


def test_the_same_machine_gives_the_same_bytes(place, capsys) -> None:
    """The walk's version, by its reference."""
    code = main(["verify", "v0.1.0", "--reproduce", "--data", "data"])

    assert (code, "reproduced: identical bytes for 36 windows" in capsys.readouterr().err) == (0, True)


def test_training_again_gives_the_same_bytes(place, capsys) -> None:
    """From the configuration, the seed and the data."""
    code = main(["verify", "v0.1.0", "--retrain", "--data", "data"])

    assert (code, "retrained: identical bytes" in capsys.readouterr().err) == (0, True)


def test_other_data_are_refused(place, capsys) -> None:
    """Exit 3: one sample was changed."""
    path = next(path for path in (place / "data").iterdir() if path.suffix == ".npy" and "x" in path.name.lower())
    values = np.load(path)
    values.flat[0] += 1
    np.save(path, values)

    assert (
        main(["verify", "v0.1.0", "--reproduce", "--data", "data"]),
        "[run.data-changed]" in capsys.readouterr().err,
    ) == (
        3,
        True,
    )


@pytest.mark.parametrize(
    ("change", "place_", "rule"),
    [
        (lambda p: p._replace(logits=p.logits + np.float32(1e-5)), None, None),
        (lambda p: p._replace(logits=p.logits + np.float32(0.1)), "predictions.npz", "reproduce.logits-mismatch"),
        (lambda p: p._replace(code=(p.code + 1) % 12), "predictions.npz", "reproduce.codes-mismatch"),
        (lambda p: p._replace(y=(p.y + 1) % 3), "predictions.npz: y", "reproduce.windows-mismatch"),
    ],
    ids=["last bits", "logits", "codes", "labels"],
)
def test_other_predictions_are_compared(place, change, place_, rule) -> None:
    """Within the tolerance they pass."""
    change_predictions(place / VERSION, change)
    found = outcome_of(place)

    assert places(found.problems) == ([(place_, rule)] if place_ else [])
    assert bool(found.notices) == (place_ is None)


def test_metrics_that_the_weights_do_not_reproduce_are_problems(place) -> None:
    """The accuracy of a version must be that of its weights."""
    (place / VERSION / filenames.PREDICTIONS).unlink()
    edit(place / VERSION / filenames.METRICS, lambda d: d.update(accuracy=0.123, predictions_sha256="0" * 64))

    assert [problem.where for problem in outcome_of(place).problems] == ["eval_metrics.json: accuracy"]


def test_without_the_predictions_the_metrics_are_compared(place) -> None:
    """A clone may be without the asset."""
    (place / VERSION / filenames.PREDICTIONS).unlink()
    edit(place / VERSION / filenames.METRICS, lambda d: d.update(predictions_sha256="0" * 64))
    found = outcome_of(place)

    assert (found.problems, "at most 0.005" in found.notices[0].message) == ((), True)


def test_without_the_weights_nothing_is_reproduced(place, capsys) -> None:
    """Exit 3."""
    (place / VERSION / filenames.CHECKPOINT).unlink()

    assert (
        main(["verify", "v0.1.0", "--reproduce", "--data", "data"]),
        "[version.asset-missing]" in capsys.readouterr().err,
    ) == (3, True)


def test_a_version_that_does_not_verify_is_not_reproduced(place, capsys) -> None:
    """Exit 4, with the reason."""
    (place / VERSION / filenames.DATA).unlink()

    assert (
        main(["verify", "v0.1.0", "--reproduce", "--data", "data"]),
        "not reproduced" in capsys.readouterr().err,
    ) == (4, True)


def test_reproducing_needs_a_version(place) -> None:
    """Exit 2."""
    assert main(["verify", "--reproduce"]) == 2


def test_imported_weights_are_not_trained_again(place, tmp_path) -> None:
    """There is no training to repeat."""
    origin = {"file": "old.pth", "sha256": "0" * 64, "layout": "x"}
    edit(
        place / VERSION / filenames.RUN,
        lambda d: d.update(imported=origin, epochs=0, best_epoch=None, best_validation_loss=None),
    )
    with pytest.raises(InputError) as caught:
        reproduce.restart(place / VERSION, tmp_path / "run", Reading(place / "data"), None, "")

    assert places(caught.value.problems) == [("checkpoint.safetensors", "run.imported")]


# Trained elsewhere


@pytest.fixture
def elsewhere(place, tmp_path):
    """What judges weights that are not the version's, in a given environment."""
    version, again = place / VERSION, tmp_path / "again"
    again.mkdir()
    for name in (filenames.CHECKPOINT, filenames.NORMALIZATION):
        shutil.copy(version / name, again)
    edit(version / filenames.METRICS, lambda d: d.update(checkpoint_sha256="0" * 64))
    config = reproduce.sources.configuration(version, Reading(place / "data"))
    prepared = reproduce.preparation.prepare(config, Reading(place / "data"))
    there = load(version / filenames.RUN, RunRecord).environment

    def judge(**changes):
        return reproduce.judge_training(version, again, prepared, there.model_copy(update=changes))

    return version, judge


def test_other_weights_in_the_same_environment_are_a_problem(elsewhere) -> None:
    """A training is bit-exact there."""
    _, judge = elsewhere

    assert places(judge().problems) == [("checkpoint.safetensors", "reproduce.weights-mismatch")]


def test_weights_of_another_modelreg_are_compared_by_their_metrics(elsewhere) -> None:
    """Another version may compute different weights."""
    _, judge = elsewhere

    assert "modelreg differ" in judge(modelreg="0.0.1").notices[0].message


def test_weights_of_a_resumed_training_are_compared_by_their_metrics(elsewhere) -> None:
    """If another version of modelreg resumed it, no single version can train it again."""
    version, judge = elsewhere
    edit(version / filenames.RUN, lambda d: d.update(resumed_by=["0.0.1"]))

    assert "modelreg differ" in judge().notices[0].message


def test_metrics_of_too_few_subjects_are_not_compared(elsewhere) -> None:
    """Both numbers are shown."""
    _, judge = elsewhere
    found = judge(python="3.99.0")

    assert (found.problems, "python differ" in found.notices[0].message) == ((), True)
    assert all("not compared: 2 " in notice.message for notice in found.notices[1:])


@pytest.mark.parametrize(("low", "problems"), [(0.0, 0), (1.1, 3)], ids=["inside", "outside"])
def test_metrics_of_another_machine_must_be_inside_the_intervals(elsewhere, low, problems) -> None:
    """Each of the three."""
    version, judge = elsewhere
    interval = Interval(low=low, high=2.0, level=0.95, subjects=6, replicates=100).to_document()
    edit(version / filenames.METRICS, lambda d: d.update(intervals=dict.fromkeys(d["intervals"], interval)))
    found = judge(python="3.99.0")

    assert (len(found.problems), len(found.notices)) == (problems, 4 - problems)


def test_findings_of_reproduction_are_in_the_json(place, capsys) -> None:
    """As notices of the version."""
    assert main(["verify", "v0.1.0", "--reproduce", "--data", "data", "--json"]) == 0
    (version,) = json.loads(capsys.readouterr().out)["versions"]

    assert version["notices"][-1]["where"] == "predictions.npz"
