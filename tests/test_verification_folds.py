"""folds: every number of a cross-fitted version follows from its pooled predictions; what was changed is found."""

import json
import shutil

import numpy as np
import pytest
import tiny_systems
from cross_fitted import NAMES, RUN, VERSION, crossed, make_crossed, place  # noqa: F401 fixtures
from example_version import edit, reseal

from modelreg import files
from modelreg.artifacts import npz
from modelreg.cli.main import main
from modelreg.config import TrainConfig
from modelreg.data import preparation
from modelreg.data.cache import Reading
from modelreg.errors import InputError
from modelreg.evaluation import metrics
from modelreg.records.base import load
from modelreg.records.run import RunRecord
from modelreg.verification import integrity
from modelreg.workflows import reproduce
from modelreg.workflows.cross_validation import Fold

pytestmark = pytest.mark.needs("torch", "matplotlib")  # the fixture trains
FOLD = "eval_metrics.json: protocol.folds.kfold3-02"


@pytest.fixture
def version(crossed, tmp_path):  # noqa: F811
    """A copy of the version."""
    return shutil.copytree(crossed / VERSION, tmp_path / "conv2d_fsq" / "v0.1.0")


def found_in(version):
    """The places and rules of a version's problems, but for those of the texts that state the same numbers."""
    reseal(version)
    others = ("model_card.md", "bom.cdx.json", "provenance.json")
    return {(p.where, p.rule) for p in integrity.inspect(version).problems if not p.where.startswith(others)}


def change_fold(version, name, value):
    """Change a number of the second fold."""
    edit(version / "eval_metrics.json", lambda d: d["protocol"]["folds"][1].update({name: value}))


def change_split(version, change):
    """Change the second fold in data.json."""
    edit(version / "data.json", lambda d: change(d["folds"][1]))


def test_the_version_verifies(version) -> None:
    """As it was released."""
    assert integrity.inspect(version).problems == ()


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "macro_f1"])
def test_a_changed_number_of_a_fold_is_found(version, name) -> None:
    """It is computed again from the rows of the fold's test subjects."""
    change_fold(version, name, 0.123)

    assert found_in(version) == {(f"{FOLD}.{name}", "verify.value-mismatch")}


@pytest.mark.parametrize("name", ["used", "perplexity"])
def test_changed_codes_of_a_fold_are_found(version, name) -> None:
    """The codes are in the predictions."""
    edit(version / "eval_metrics.json", lambda d: d["protocol"]["folds"][1]["codes"].update({name: 1}))

    assert found_in(version) == {(f"{FOLD}.codes.{name}", "verify.value-mismatch")}


def test_predictions_that_are_not_here_are_not_needed(version) -> None:
    """Assets of the release: the documents are still compared."""
    for name in ("predictions.npz", "fitted.npz", "checkpoint.safetensors"):
        (version / name).unlink()

    assert integrity.inspect(version).problems == ()


def test_a_fold_without_a_prediction_is_found(version) -> None:
    """Its test subject is in no row of predictions.npz."""
    change_fold(version, "tested", ["s99"])
    change_split(version, lambda fold: fold.update(test=["s99"]))

    assert (f"{FOLD}.windows", "verify.record-mismatch") in found_in(version)


def test_a_run_without_its_folds_is_found(version) -> None:
    """run.json of another run."""
    edit(version / "run.json", lambda d: (d.pop("folds"), d.update(best_epoch=1, best_validation_loss=0.5)))

    assert ("run.json: folds", "verify.record-mismatch") in found_in(version)


def test_a_changed_number_of_windows_is_found(version) -> None:
    """Against data.json, and against the predictions."""
    change_fold(version, "windows", 35)

    assert found_in(version) == {
        (f"{FOLD}.windows", "verify.record-mismatch"),
        (f"{FOLD}.windows", "verify.value-mismatch"),
    }


@pytest.mark.parametrize("name", ["checkpoint_sha256", "predictions_sha256"])
def test_a_changed_digest_of_a_fold_is_found(version, name) -> None:
    """run.json states it, too; that of the predictions follows from their rows."""
    change_fold(version, name, "0" * 64)
    expected = {(f"run.json: folds.kfold3-02.{name}", "verify.record-mismatch")}
    if name == "predictions_sha256":
        expected.add((f"{FOLD}.{name}", "verify.record-mismatch"))

    assert found_in(version) == expected


@pytest.mark.parametrize(("name", "key"), [("tested", "test"), ("validated", "validation")])
def test_other_subjects_of_a_fold_are_found(version, name, key) -> None:
    """Against data.json."""
    change_split(version, lambda fold: fold.update({key: ["s1"]}))

    assert (f"{FOLD}.{name}", "verify.record-mismatch") in found_in(version)


def test_a_subject_that_trained_its_fold_is_found(version) -> None:
    """It is in train and in test of one fold."""
    change_split(version, lambda fold: fold["train"].append(fold["test"][0]))

    assert ("data.json: folds.kfold3-02", "verify.test-subject-known") in found_in(version)


def test_a_subject_that_is_tested_twice_is_found(version) -> None:
    """Every subject is in the test set of one fold."""
    change_split(version, lambda fold: fold.update(test=["s1", *fold["test"]]))

    assert ("data.json: folds", "verify.test-subject-known") in found_in(version)


def test_a_fold_that_lacks_subjects_is_found(version) -> None:
    """The splits of a fold have all subjects."""
    change_split(version, lambda fold: fold.update(train=fold["train"][1:]))

    assert ("data.json: subjects of folds.kfold3-02", "verify.record-mismatch") in found_in(version)


def test_a_missing_fold_is_found(version) -> None:
    """In one of the documents."""
    edit(version / "data.json", lambda d: d["folds"].pop())

    assert ("data.json: folds", "verify.record-mismatch") in found_in(version)


def test_other_epochs_than_the_median_are_found(version) -> None:
    """The best epochs of the folds are in run.json."""
    edit(version / "run.json", lambda d: d.update(epochs=7))

    assert {("run.json: epochs", "verify.record-mismatch")} <= found_in(version)


def test_changed_predictions_are_found(version) -> None:
    """The pooled metrics, those of the fold, and the digest of its predictions."""
    path = version / "predictions.npz"
    old = metrics.Predictions(**npz.read_npz(path))
    logits = np.where((old.subject == "s2")[:, None], np.roll(old.logits, 1, axis=1), old.logits)
    path.write_bytes(npz.npz_bytes(old._replace(logits=logits).arrays()))
    edit(version / "eval_metrics.json", lambda d: d.update(predictions_sha256=files.sha256(path)))
    found = {where for where, _ in found_in(version)}

    assert {"eval_metrics.json: accuracy", f"{FOLD}.accuracy", f"{FOLD}.predictions_sha256"} <= found
    assert not any("kfold3-01" in where for where in found)


@pytest.mark.parametrize(
    ("change", "where", "rule"),
    [
        (lambda d: d.update(validation_digest="0" * 64), "calibration.json: validation_digest", "record-mismatch"),
        (lambda d: d["temperature"].update(gain=0.5), "calibration.json: temperature.gain", "value-mismatch"),
        (
            lambda d: _last_gain(d).update(temperature=1.5),
            "calibration.json: temperature.per_subject.",
            "value-mismatch",
        ),
        (
            lambda d: d["fitted_on"].update(predictions_sha256="0" * 64),
            "eval_metrics.json: confidence.judged_on",
            "value-mismatch",
        ),
    ],
    ids=["digest", "gain", "temperature", "predictions"],
)
def test_a_calibration_that_does_not_follow_is_found(version, change, where, rule) -> None:
    """It is fitted again on the pooled predictions, and judged on each subject left out of the fit."""
    edit(version / "calibration.json", change)

    assert any((at[: len(where)], found) == (where, f"verify.{rule}") for at, found in found_in(version))


def _last_gain(document):
    return list(document["temperature"]["per_subject"].values())[-1]


def test_missing_predictions_of_the_final_model_are_found(version) -> None:
    """The version must have fitted.npz."""
    (version / "fitted.npz").unlink()
    edit(version / "manifest.json", lambda d: d.update(files=[e for e in d["files"] if e["path"] != "fitted.npz"]))

    assert ("manifest.json", "manifest.file-unlisted") in found_in(version)


def test_fitted_windows_of_other_subjects_are_found(version) -> None:
    """fitted.npz has the windows of the training."""
    path = version / "fitted.npz"
    old = metrics.Predictions(**npz.read_npz(path))
    path.write_bytes(npz.npz_bytes(old.rows(old.subject != "s1").arrays()))
    edit(version / "eval_metrics.json", lambda d: d.update(fitted_sha256=files.sha256(path)))

    assert {("fitted.npz: subjects", "verify.record-mismatch")} <= found_in(version)


def test_a_hold_out_protocol_with_folds_is_invalid(version) -> None:
    """The record refuses it."""
    edit(version / "eval_metrics.json", lambda d: d["protocol"].update(kind="holdout"))

    assert ("eval_metrics.json: protocol", "document.invalid-value") in found_in(version)


# Made again


def notices(capsys):
    """What `verify --json`, the last command, says of the version, by place."""
    text = capsys.readouterr().out
    found = json.loads(text[text.index("{") :])["versions"][0]
    return {each["where"]: each["message"] for each in found["notices"]}


def test_all_predictions_are_reproduced_where_the_run_is(place, capsys) -> None:  # noqa: F811
    """Those of the final model for its own windows, and those of each fold."""
    assert main(["verify", "v0.1.0", "--reproduce", "--data", "data", "--json"]) == 0

    folds = dict.fromkeys((f"folds/{name}" for name in NAMES), "reproduced: identical bytes for 36 windows")
    assert notices(capsys) == {"fitted.npz": "reproduced: identical bytes for 108 windows", **folds}


def test_absent_weights_of_folds_are_said(place, capsys) -> None:  # noqa: F811
    """The version alone has those of the final model."""
    shutil.rmtree(place / RUN)
    code, said = main(["verify", "v0.1.0", "--reproduce", "--data", "data"]), capsys.readouterr().err

    assert (code, "not reproduced: the weights of kfold3-01, kfold3-02, kfold3-03 are not on this" in said) == (0, True)


def test_other_predictions_of_a_fold_are_found(place, capsys) -> None:  # noqa: F811
    """Another normalization gives other predictions: the data are not those of the fold."""
    path = place / RUN / "folds/kfold3-02/normalization.json"
    edit(path, lambda d: d["std"][0].__setitem__(0, 99.0))

    assert (
        main(["verify", "v0.1.0", "--reproduce", "--data", "data"]),
        "[run.data-changed]" in capsys.readouterr().err,
    ) == (3, True)


def change_fitted(root, shift):
    """Change fitted.npz of a version, so that its weights give other bytes."""
    path = root / VERSION / "fitted.npz"
    old = metrics.Predictions(**npz.read_npz(path))
    path.write_bytes(npz.npz_bytes(old._replace(logits=old.logits + np.float32(shift)).arrays()))
    edit(root / VERSION / "eval_metrics.json", lambda d: d.update(fitted_sha256=files.sha256(path)))


@pytest.mark.parametrize(("shift", "rules"), [(1e-6, []), (0.1, ["reproduce.logits-mismatch"])])
def test_other_predictions_of_the_final_model_are_compared(place, shift, rules) -> None:  # noqa: F811
    """Within the tolerance they pass."""
    change_fitted(place, shift)
    found = reproduce.reproduce(place / VERSION, Reading(place / "data")).problems

    assert [(p.where, p.rule) for p in found] == [("fitted.npz", rule) for rule in rules]


def test_without_its_predictions_the_final_model_is_not_judged(place) -> None:  # noqa: F811
    """Other bytes may be those of another machine."""
    change_fitted(place, 1e-6)
    (place / VERSION / "fitted.npz").unlink()
    with pytest.raises(InputError) as refused:
        reproduce.reproduce(place / VERSION, Reading(place / "data"))

    assert [(p.where, p.rule) for p in refused.value.problems] == [("fitted.npz", "version.asset-missing")]


def test_the_rows_of_a_fold_are_compared(place) -> None:  # noqa: F811
    """Where the digest differs, as on another machine."""
    edit(place / VERSION / "run.json", lambda d: d["folds"][0].update(predictions_sha256="0" * 64))
    found = reproduce.reproduce(place / VERSION, Reading(place / "data"), [place / RUN])

    assert found.problems == ()
    assert {n.where: n.message for n in found.notices}["folds/kfold3-01"].startswith("reproduced: logits within")


@pytest.mark.parametrize(("changes", "rules"), [({}, ["reproduce.weights-mismatch"]), ({"python": "3.99.0"}, [])])
def test_other_weights_of_a_fold_are_judged_by_the_environment(place, tmp_path, changes, rules) -> None:  # noqa: F811
    """In the same one they are a problem; in another one they are expected, and so are those of the final model."""
    version, again = place / VERSION, shutil.copytree(place / RUN / "folds/kfold3-01", tmp_path / "kfold3-02")
    here = load(version / "run.json", RunRecord).environment.model_copy(update=changes)
    config = load(again / "config.json", TrainConfig)
    prepared = preparation.prepare(load(place / RUN / "config.json", TrainConfig), Reading(place))
    found = [
        reproduce.judge_fold(version, Fold(again, config), here),
        reproduce.judge_training(version, again, prepared, here),
    ]

    assert [[p.rule for p in each.problems] for each in found] == [rules, rules]
    assert [len(each.notices) for each in found] == [1 - len(rules)] * 2


def test_the_final_model_and_a_fold_are_trained_again(place, capsys) -> None:  # noqa: F811
    """The version has all that its final training needs; a fold is named."""
    shutil.rmtree(place / RUN)
    assert main(["verify", "v0.1.0", "--retrain", "--fold", "kfold3-02", "--data", "data", "--json"]) == 0
    said = notices(capsys)

    assert [said[where] for where in ("checkpoint.safetensors", "folds/kfold3-02")] == [
        "retrained: identical bytes"
    ] * 2


def test_an_unknown_fold_is_refused(place, capsys) -> None:  # noqa: F811
    """Exit 3."""
    code = main(["verify", "v0.1.0", "--retrain", "--fold", "kfold3-09", "--data", "data"])

    assert (code, "[reproduce.fold-unknown]" in capsys.readouterr().err) == (3, True)


def test_a_fold_needs_a_training() -> None:
    """Exit 2."""
    assert main(["verify", "v0.1.0", "--fold", "all"]) == 2


# With the weights of the folds


def test_a_version_may_have_the_weights_of_its_folds(place, capsys) -> None:  # noqa: F811
    """On request; then the run is not needed to reproduce them."""
    assert main(["release", "v0.2.0", "--force", "--with-folds", "--run", RUN]) == 0
    shutil.rmtree(place / RUN)
    assert main(["verify", "v0.2.0", "--reproduce", "--data", "data", "--json"]) == 0

    assert {f"folds/{name}" for name in NAMES} < set(notices(capsys))


def test_missing_weights_of_a_fold_are_not_released(place, capsys) -> None:  # noqa: F811
    """Exit 3; the place is their file."""
    (place / RUN / "folds/kfold3-02/checkpoint.safetensors").unlink()
    code = main(["release", "v0.2.0", "--force", "--with-folds", "--run", RUN])
    said = "".join(capsys.readouterr().err.split())

    assert (code, "kfold3-02/checkpoint.safetensors:missing" in said, "[run.file-missing]" in said) == (3, True, True)


def test_other_weights_of_a_fold_are_found(place) -> None:  # noqa: F811
    """Against the digests in the metrics."""
    assert main(["release", "v0.2.0", "--force", "--with-folds", "--run", RUN]) == 0
    folder = place / "registry/conv2d_fsq/v0.2.0"
    shutil.copy(folder / "checkpoint.safetensors", folder / "folds/kfold3-02/checkpoint.safetensors")

    assert (f"{FOLD}.checkpoint_sha256", "verify.record-mismatch") in found_in(folder)


def test_a_hold_out_run_has_no_folds_to_release(place, capsys) -> None:  # noqa: F811
    """Exit 3."""
    assert main(["train", "tiny.yaml", "--set", "training.epochs=1"]) == 0

    assert (main(["release", "v0.2.0", "--with-folds"]), "[release.no-folds]" in capsys.readouterr().err) == (3, True)


# The calibration on the pooled predictions


def change_calibration(version, change):
    """Change calibration.json."""
    edit(version / "calibration.json", change)


def test_the_calibration_is_judged_by_leaving_subjects_out(version) -> None:
    """It was fitted on the predictions that the metrics are computed from."""
    assert json.loads((version / "eval_metrics.json").read_text())["confidence"]["judged_on"] == "left_out_subjects"


def test_a_changed_gain_of_a_subject_is_found(version) -> None:
    """Its temperature is fitted again on all other subjects."""
    name = next(iter(json.loads((version / "calibration.json").read_text())["temperature"]["per_subject"]))
    change_calibration(version, lambda d: d["temperature"]["per_subject"][name].update(log_loss_after=0.1))
    changed = f"calibration.json: temperature.per_subject.{name}.log_loss_after"

    assert (changed, "verify.value-mismatch") in found_in(version)


# Other systems


@pytest.mark.parametrize("name", ["conv2d_vq_hdp_hsmm", "tcn_vae"])
def test_every_system_can_be_cross_fitted(name, tmp_path, monkeypatch) -> None:
    """With a mixture, with durations, without codes: released, verified, and reproduced in each fold."""
    make_crossed(tmp_path)
    monkeypatch.chdir(tmp_path)
    model = ["--set", f"model={json.dumps(tiny_systems.SYSTEMS[name])}", "--set", "training.epochs=1"]
    words = (["train", "crossed.yaml", *model], ["evaluate"], ["release", "v0.1.0"])

    assert [main(line) for line in words] == [0, 0, 0]
    assert main(["verify", f"{name}@v0.1.0", "--reproduce", "--data", "data"]) == 0
