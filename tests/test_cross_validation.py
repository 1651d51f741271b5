"""cross_validation: folds of subjects are runs of a run; they are resumed, pooled and reported."""

import json
import shutil
from itertools import chain

import pytest
from example_records import CLASSES, SETTINGS, example_predictions
from hypothesis import given
from hypothesis import strategies as st
from test_training_run import TINY, make_registry

from modelreg.cli.main import main
from modelreg.config import TimeSplit
from modelreg.data import splits
from modelreg.errors import InputError
from modelreg.evaluation import calibration_v1
from modelreg.evaluation.calibration import Origin
from modelreg.records.base import load
from modelreg.records.crossval import CrossValidation
from modelreg.records.run import RunRecord
from modelreg.registry import filenames, runs
from modelreg.workflows import cross_validation

pytestmark = pytest.mark.needs("torch", "matplotlib")  # they train
RUN = "runs/conv2d_fsq-001"
COMMAND = ["evaluate", RUN, "--protocol", "kfold-subject", "--folds", "3", "--jobs", "1"]


@pytest.fixture(scope="module")
def crossed(tmp_path_factory):
    """A registry whose run was evaluated and cross-validated, two folds at a time."""
    root = make_registry(tmp_path_factory.mktemp("crossed"))
    (root / "tiny.yaml").write_text(TINY.replace("epochs: 6", "epochs: 1"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert [main(words) for words in (["train", "tiny.yaml"], ["evaluate"], [*COMMAND, "--jobs", "2"])] == [0] * 3
    return root


@pytest.fixture
def place(crossed, tmp_path, monkeypatch):
    """A copy of it; the working directory."""
    root = tmp_path / "copy"
    shutil.copytree(crossed, root)
    monkeypatch.chdir(root)
    return root


def recorded(root) -> CrossValidation:
    """What it came to."""
    return load(root / RUN / "crossval.json", CrossValidation)


def folds_of(root):
    """The folders of the folds."""
    return sorted((root / RUN / "folds").iterdir())


@given(st.sets(st.text("abc", min_size=1, max_size=3), min_size=4, max_size=12), st.integers(2, 6), st.integers(1, 2))
def test_every_subject_is_tested_once(subjects, folds, validation) -> None:
    """It does not validate the fold that tests it, or there are too few subjects."""
    try:
        found = splits.by_folds(subjects, folds, validation)
    except InputError:
        return
    tested = list(chain.from_iterable(fold.test for fold in found))

    assert (sorted(tested), len(found)) == (sorted(subjects), folds)
    assert all(len(fold.validation) == validation and not {*fold.test} & {*fold.validation} for fold in found)


@pytest.mark.parametrize(("subjects", "folds"), [("ab", 2), ("abc", 4), ("abcd", 1)])
def test_too_few_subjects_for_the_folds(subjects, folds) -> None:
    """No subject would be left to train on, or to test."""
    with pytest.raises(InputError, match="cannot make folds of subjects"):
        splits.by_folds(subjects, folds)


def test_every_window_is_predicted_out_of_fold(crossed) -> None:
    """Six subjects with 18 windows each, none twice; each fold tests two subjects."""
    found = recorded(crossed)
    tested = [fold.tested for fold in found.folds]

    assert (found.pooled.windows, tested) == (108, [("s1", "s4"), ("s2", "s5"), ("s3", "s10")])


def test_pooled_metrics_are_computed_on_all_windows(crossed) -> None:
    """Folds count by their size in the pooled number, once each in the mean."""
    found = recorded(crossed)
    right = sum(fold.accuracy * fold.windows for fold in found.folds)

    assert found.pooled.accuracy == pytest.approx(right / found.pooled.windows)
    assert found.spread["accuracy"].mean == pytest.approx(sum(fold.accuracy for fold in found.folds) / 3)


def test_the_report_says_what_the_card_quotes(crossed) -> None:
    """The test split: its metrics are those of the released weights."""
    text = (crossed / RUN / "report.md").read_text()

    assert "## Cross-validation: k-fold by subject" in text
    assert "**The model card states\nthe metrics of the test split**" in text


def test_a_finished_fold_is_not_trained_again(place, capsys) -> None:
    """A second call gives the same record, and trains nothing."""
    before = (place / RUN / "crossval.json").read_bytes()
    code = main([*COMMAND, "--json"])
    said = capsys.readouterr()

    assert (code, "fold" in said.err, json.loads(said.out) == json.loads(before)) == (0, False, True)


def test_an_interrupted_fold_is_resumed(place, monkeypatch, capsys) -> None:
    """One fold was not started, one was not evaluated, one was killed before its first epoch: same bytes."""
    before = (place / RUN / "crossval.json").read_bytes()
    first, second, third = folds_of(place)
    shutil.rmtree(first)
    (second / "eval_metrics.json").unlink()
    run = load(third / "run.json", RunRecord)
    unbegun = {"status": "training", "finished": None, "epochs": 0, "stopped": None, "evaluations": ()}
    unbegun |= {"best_epoch": None, "best_validation_loss": None}
    sealed = {name: run.files[name] for name in ("config.json", "data.json", "normalization.json", "quality.json")}
    (third / "run.json").write_bytes(run.model_copy(update={**unbegun, "files": sealed}).to_bytes())
    for name in ("history.jsonl", "last.safetensors", "checkpoint.safetensors", "eval_metrics.json"):
        (third / name).unlink()

    assert (main(COMMAND), (place / RUN / "crossval.json").read_bytes() == before) == (0, True)
    assert "fold 3 of 3" in capsys.readouterr().err


def test_folds_of_another_configuration_are_refused(place, capsys) -> None:
    """Exit 3, with the fold."""
    path = folds_of(place)[1] / "config.json"
    path.write_text(path.read_text().replace('"hidden": 8', '"hidden": 9'))

    code, stderr = main(COMMAND), capsys.readouterr().err
    assert (code, "kfold3-02: " in stderr, "[run.other-configuration]" in stderr) == (3, True, True)


def test_changed_predictions_are_not_pooled(place, capsys) -> None:
    """Exit 3."""
    path = folds_of(place)[0] / "predictions.npz"
    path.write_bytes(path.read_bytes() + b"x")

    assert (main(COMMAND), "[evaluate.predictions-mismatch]" in capsys.readouterr().err) == (3, True)


def test_a_fold_without_calibration_is_not_pooled(place, capsys) -> None:
    """An earlier version of modelreg evaluated it."""
    path = folds_of(place)[0] / "eval_metrics.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "confidence": None}))

    assert (main(COMMAND), "[evaluate.calibration-missing]" in capsys.readouterr().err) == (3, True)


def test_a_changed_run_is_not_cross_validated(place, capsys) -> None:
    """The configuration must be that of its training."""
    path = place / RUN / "config.json"
    path.write_text(path.read_text().replace('"hidden": 8', '"hidden": 9'))

    assert (main(COMMAND), "[run.file-changed]" in capsys.readouterr().err) == (3, True)


def test_an_imported_run_is_not_cross_validated(place, capsys) -> None:
    """There is no training to repeat."""
    path = place / RUN / "run.json"
    document = json.loads(path.read_text())
    origin = {"file": "old.pth", "sha256": "0" * 64, "layout": "x"}
    changes = {"imported": origin, "epochs": 0, "best_epoch": None, "best_validation_loss": None}
    path.write_text(json.dumps(document | changes))

    assert (main(COMMAND), "[run.imported]" in capsys.readouterr().err) == (3, True)


def test_leave_one_out_has_a_fold_for_each_subject(place) -> None:
    """As many validate as in the run."""
    found = cross_validation.plan(place / RUN, "loso", 5, cross_validation.Reading(place))

    assert [fold.config.split.test for fold in found] == [(name,) for name in ("s1", "s2", "s3", "s4", "s5", "s10")]
    assert {len(fold.config.split.validation) for fold in found} == {1}


def test_a_run_that_was_not_evaluated_gets_no_report(place) -> None:
    """The section comes with the evaluation."""
    for name in (filenames.METRICS, filenames.REPORT):
        (place / RUN / name).unlink()

    assert (main(COMMAND), (place / RUN / filenames.REPORT).exists()) == (0, False)
    assert runs.read_history(place / RUN)


def test_one_validates_where_the_run_was_not_split_by_subject() -> None:
    """A split by time names no subjects."""
    assert splits.validating(TimeSplit(by="time")) == 1


@pytest.mark.parametrize(("subjects", "known"), [(("v1", "v2"), True), (("v1",), False)])
def test_the_coverage_of_a_fold_of_an_earlier_version_is_that_of_lac(subjects, known) -> None:
    """None where its validation split gave no threshold."""
    origin = Origin(CLASSES, "a" * 64, "b" * 64)
    fitted = calibration_v1.fit_calibration(example_predictions(subjects=subjects), origin, level=0.95)
    found = calibration_v1.measure_calibration(example_predictions(), fitted, SETTINGS)
    coverage = cross_validation._coverage(found)

    assert coverage == (found.sets["lac"].coverage if known else None)
