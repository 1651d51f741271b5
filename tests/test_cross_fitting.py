"""cross_fitting: a model for each fold of subjects, and a final one on all subjects; killed anywhere, it resumes."""

import json
import shlex
import shutil
from collections import Counter
from pathlib import Path

import example_run
import numpy as np
import pytest
from cross_fitted import NAMES, RESUME, RUN, TRAIN, VERSION, bytes_of, crossed, make_crossed, place  # noqa: F401 fixtures
from example_version import edit
from places import places

from modelreg import config as settings
from modelreg import files
from modelreg.artifacts import npz
from modelreg.cli import host
from modelreg.cli.crossval import fitting_jobs, settle_jobs
from modelreg.cli.main import main
from modelreg.config import TrainConfig, TrainingSettings
from modelreg.data import preparation, splits
from modelreg.data.cache import Reading
from modelreg.documents.report import recommendations
from modelreg.documents.templates import card_v2
from modelreg.errors import InputError
from modelreg.evaluation import metrics
from modelreg.records.audit import AuditRecord
from modelreg.records.base import load
from modelreg.records.calibration import ConfidenceRecord
from modelreg.records.data import DataRecord, Normalization
from modelreg.records.metrics import EvalMetrics, EvaluationSettings, NoInterval
from modelreg.records.run import RunRecord
from modelreg.registry import runs
from modelreg.workflows import ablate, cross_fitting

pytestmark = pytest.mark.needs("torch", "matplotlib")  # they train
METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "codes", "windows")
SUBJECTS = ("s1", "s2", "s3", "s4", "s5", "s10")


def predictions_of(path: Path) -> metrics.Predictions:
    """The predictions in a file."""
    return metrics.Predictions(**npz.read_npz(path))


def measured_of(root) -> EvalMetrics:
    """The metrics of the run of a registry."""
    return load(root / RUN / "eval_metrics.json", EvalMetrics)


# The data


def test_each_subject_is_tested_in_one_fold(crossed) -> None:  # noqa: F811
    """The folds of data.json divide all subjects."""
    folds = load(crossed / RUN / "data.json", DataRecord).folds

    assert sorted(name for fold in folds for name in fold.test) == sorted(SUBJECTS)


def test_no_subject_trains_or_validates_the_fold_that_tests_it(crossed) -> None:  # noqa: F811
    """The three splits of a fold have all subjects, each once."""
    folds = load(crossed / RUN / "data.json", DataRecord).folds

    assert [sorted((*fold.train, *fold.validation, *fold.test)) for fold in folds] == [sorted(SUBJECTS)] * 3


def test_a_fold_has_the_data_that_the_run_states(crossed) -> None:  # noqa: F811
    """Subjects, number and digest of the tested windows are those in the fold's own data.json."""
    folds = load(crossed / RUN / "data.json", DataRecord).folds
    own = [load(crossed / RUN / "folds" / fold.name / "data.json", DataRecord).parts for fold in folds]

    assert [(fold.test, fold.windows, fold.digest) for fold in folds] == [
        (parts.test.subjects, parts.test.windows, parts.test.digest) for parts in own
    ]
    assert [fold.train for fold in folds] == [parts.train.subjects for parts in own]


def test_the_final_model_has_all_subjects(crossed) -> None:  # noqa: F811
    """Its only split is train, on which its normalization was fitted."""
    parts = load(crossed / RUN / "data.json", DataRecord).parts
    scale = load(crossed / RUN / "normalization.json", Normalization)

    assert ([name for name, _ in parts.items()], parts.train.subjects) == (["train"], SUBJECTS)
    assert scale.data_digest == parts.train.digest


# The training


def test_the_final_model_is_trained_for_the_median_of_the_best_epochs(crossed) -> None:  # noqa: F811
    """Rounded up; run.json states each fold's best epoch."""
    run = runs.load_run(crossed / RUN)
    best = sorted(runs.load_run(crossed / RUN / "folds" / name).best_epoch for name in NAMES)

    assert (run.epochs, sorted(fold.best_epoch for fold in run.folds)) == (best[1], best)


def test_the_final_model_has_no_validation_numbers(crossed) -> None:  # noqa: F811
    """Neither in its history nor in run.json."""
    history, run = runs.read_history(crossed / RUN), runs.load_run(crossed / RUN)

    assert {(epoch.validation_loss, epoch.validation_accuracy, epoch.best) for epoch in history} == {
        (None, None, False)
    }
    assert (run.best_epoch, run.best_validation_loss) == (None, None)


def test_run_json_has_the_digests_of_the_folds(crossed) -> None:  # noqa: F811
    """Of weights and predictions."""
    run = runs.load_run(crossed / RUN)
    own = [crossed / RUN / "folds" / fold.name for fold in run.folds]

    assert [(fold.checkpoint_sha256, fold.predictions_sha256) for fold in run.folds] == [
        (files.sha256(folder / "checkpoint.safetensors"), files.sha256(folder / "predictions.npz")) for folder in own
    ]


def test_plateau_takes_the_median_of_the_folds_learning_rates(crossed) -> None:  # noqa: F811
    """Epoch by epoch; the history of the final model has them."""
    histories = [runs.read_history(crossed / RUN / "folds" / name) for name in NAMES]
    run = runs.load_run(crossed / RUN)
    expected = [float(np.median([history[at].learning_rate for history in histories])) for at in range(run.epochs)]

    assert list(run.learning_rates) == expected
    assert [epoch.learning_rate for epoch in runs.read_history(crossed / RUN)] == expected


def test_rates_of_folds_that_stopped_early_are_left_out(place) -> None:  # noqa: F811
    """The median is of the folds that trained so long."""
    lines = {"kfold3-01": (0.4,), "kfold3-02": (0.2, 0.1), "kfold3-03": (0.2, 0.3)}
    for name, rates in lines.items():
        path = place / RUN / "folds" / name / "history.jsonl"
        line = json.loads(path.read_text().splitlines()[0])
        path.write_text("".join(json.dumps(line | {"learning_rate": rate}) + "\n" for rate in rates))

    assert cross_fitting._median_rates(cross_fitting.plan(place / RUN), 2) == (0.2, 0.2)


def test_other_schedules_keep_their_plan(tmp_path, monkeypatch) -> None:
    """With onecycle over all epochs of the settings, run.json states no rates, and the last one is not the lowest."""
    make_crossed(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main([*TRAIN, "--set", "training.scheduler=onecycle", "--set", "training.epochs=3"]) == 0
    run, own = runs.load_run(tmp_path / RUN), runs.read_history(tmp_path / RUN)
    fold = runs.read_history(tmp_path / RUN / "folds/kfold3-01")

    assert (run.learning_rates, own[0].learning_rate) == (None, fold[0].learning_rate)


def test_two_jobs_give_the_same_bytes(crossed, tmp_path, monkeypatch) -> None:  # noqa: F811
    """As one job, but for the number of test-set evaluations' times."""
    make_crossed(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795255200")
    assert [main([*TRAIN, "--jobs", "2"]), main(["evaluate"])] == [0, 0]

    assert bytes_of(tmp_path / RUN) == bytes_of(crossed / RUN)


MOMENTS = {  # the file that gets its name, and how often it had it before
    "before the first fold": (f"{RUN}/folds/.kfold3-01.staged/config.json", 0),
    "in a fold": (f"{RUN}/folds/kfold3-02/last.safetensors", 1),
    "before a fold is evaluated": (f"{RUN}/folds/kfold3-02/eval_metrics.json", 0),
    "between folds": (f"{RUN}/folds/.kfold3-03.staged/config.json", 0),
    "in the final training": (f"{RUN}/last.safetensors", 1),
    "before the end": (f"{RUN}/run.json", 0),
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Registries as a kill leaves them, by its moment: the disk, copied before a file gets its name."""
    root, copies = make_crossed(tmp_path_factory.mktemp("killed")), tmp_path_factory.mktemp("copies")
    real, count = Path.replace, Counter()

    def copying(self, target):
        path = Path(target).absolute()
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else ""
        for moment, before in MOMENTS.items():
            if before == (name, count[name]):
                shutil.copytree(root, copies / moment)
        count[name] += 1
        return real(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("SOURCE_DATE_EPOCH", "1795255200")
        patch.setattr(Path, "replace", copying)
        assert main(TRAIN) == 0
    return copies


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_is_resumed_with_the_same_bytes(crossed, killed, tmp_path, monkeypatch, moment) -> None:  # noqa: F811
    """Run, folds and final model are those of an uninterrupted training; an evaluation adds to run.json later."""
    monkeypatch.chdir(shutil.copytree(killed / moment, tmp_path / "copy"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795255200")
    assert main(RESUME) == 0
    whole, again = bytes_of(crossed / RUN), bytes_of(tmp_path / "copy" / RUN)
    run = json.loads(whole["run.json"]) | {"evaluations": []}

    assert json.loads(again.pop("run.json")) == run
    assert again == {name: whole[name] for name in again}


def test_a_finished_fold_is_not_trained_again(killed, tmp_path, monkeypatch, capsys) -> None:
    """Its files are not written again; the line that resumes is printed by another training."""
    monkeypatch.chdir(shutil.copytree(killed / "between folds", tmp_path / "copy"))
    done = Path(RUN) / "folds/kfold3-01/last.safetensors"
    before = done.stat().st_mtime_ns
    assert main(RESUME) == 0
    said = capsys.readouterr().err

    assert (done.stat().st_mtime_ns, "fold 3 of 3" in said, "fold 2 of 3" in said) == (before, True, False)


def test_an_unfinished_run_is_noticed(killed, tmp_path, monkeypatch, capsys) -> None:
    """`train` prints the line that resumes it."""
    monkeypatch.chdir(shutil.copytree(killed / "in the final training", tmp_path / "copy"))
    main([*TRAIN, "--protocol", "loso", "--set", "split.validation=5"])

    assert f"modelreg train --resume {RUN}" in capsys.readouterr().err


def test_a_changed_fold_is_not_taken(killed, tmp_path, monkeypatch, capsys) -> None:
    """Exit 3: the weights of a finished fold are not those of its training."""
    monkeypatch.chdir(shutil.copytree(killed / "between folds", tmp_path / "copy"))
    path = Path(RUN) / "folds/kfold3-01/checkpoint.safetensors"
    path.write_bytes(path.read_bytes() + b"x")

    assert (main(RESUME), "[run.file-changed]" in capsys.readouterr().err) == (3, True)


def test_ctrl_c_in_a_fold_prints_the_command_that_resumes(tmp_path, monkeypatch, capsys) -> None:
    """Exit 130, and the run stays."""

    def interrupted(*_):
        raise KeyboardInterrupt
        yield

    make_crossed(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cross_fitting, "train_folds", interrupted)

    assert (main(TRAIN), f"modelreg train --resume {RUN}" in capsys.readouterr().err) == (130, True)
    assert (tmp_path / RUN).exists()


def test_the_final_model_waits_for_every_fold(killed, tmp_path) -> None:
    """The folds that are not finished are named."""
    root = shutil.copytree(killed / "between folds", tmp_path / "copy")
    with pytest.raises(InputError) as refused:
        cross_fitting.read_outcome(root / RUN)

    assert places(refused.value.problems) == [(str(root / RUN / "folds/kfold3-03"), "run.not-trained")]


def test_a_run_that_failed_in_its_first_fold_is_removed(tmp_path, monkeypatch) -> None:
    """A learning rate at which the loss is not finite."""
    make_crossed(tmp_path)
    monkeypatch.chdir(tmp_path)

    assert main([*TRAIN, "--set", "training.learning_rate=1e30", "--set", "training.gradient_clip=null"]) == 3
    assert not (tmp_path / RUN).exists()


# Refusals


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["--protocol", "loso", "--set", "split={by: time}"], "config.inconsistent"),
        (["--set", "split.validation=[s1]"], "config.inconsistent"),
        (["--protocol", "holdout", "--folds", "3"], "config.inconsistent"),
        (["--folds", "7"], "split.too-few-subjects"),
        (["--protocol", "loso", "--set", "split.validation=5"], "split.too-few-subjects"),
    ],
)
def test_what_cannot_be_divided_is_refused(tmp_path, monkeypatch, capsys, words, rule) -> None:
    """Exit 3 before anything is written, with what helps."""
    make_crossed(tmp_path)
    monkeypatch.chdir(tmp_path)
    code, said = main([*TRAIN, *words]), capsys.readouterr().err

    assert (code, f"[{rule}]" in said, "next: " in said, (tmp_path / "runs").exists()) == (3, True, True, False)


@pytest.mark.parametrize(
    ("subjects", "folds", "validation", "helps"),
    [(6, 7, 1, "--folds 6"), (4, 2, 2, "--folds 4"), (4, 4, 3, "split.validation=2"), (2, 2, 1, "{by: time}")],
)
def test_the_advice_for_too_few_subjects_works(subjects, folds, validation, helps) -> None:
    """Fewer folds, else fewer to validate, else another protocol."""
    with pytest.raises(InputError) as refused:
        splits.by_folds([f"s{number}" for number in range(subjects)], folds, validation)

    assert helps in refused.value.problems[0].next


def test_folds_without_a_cross_fitted_run_have_no_jobs(tmp_path, monkeypatch) -> None:
    """Exit 2."""
    make_crossed(tmp_path)
    monkeypatch.chdir(tmp_path)

    assert main(["train", "tiny.yaml", "--jobs", "2"]) == 2


@pytest.mark.parametrize(
    ("threads", "folds", "cores", "device", "expected"),
    [(1, 5, 2, "cpu", 2), (2, 5, 2, "cpu", 1), (4, 5, 2, "cpu", 1), (1, 5, 64, "cpu", 5), (1, 5, 64, "cuda", 1)],
)
def test_folds_train_in_parallel_where_cores_are_free(threads, folds, cores, device, expected) -> None:
    """Never more than there are folds, and one at a time on a GPU."""
    settings = TrainingSettings(threads=threads, device=device)

    assert fitting_jobs(settings, folds, cores) == expected


@pytest.mark.parametrize(("jobs", "warned"), [(None, False), (1, False), (2, False), (3, True)])
def test_more_threads_than_cores_are_warned_of(monkeypatch, capsys, jobs, warned) -> None:
    """Three jobs of two threads on four cores; a number that nobody gave always fits."""
    monkeypatch.setattr("modelreg.cli.host.usable_cores", lambda: 4)
    settled = settle_jobs(jobs, TrainingSettings(threads=2), 5)

    assert (settled, "warning: " in capsys.readouterr().err) == (jobs or 2, warned)


def change_arrays(root, change):
    """Change the arrays of the recordings: x, y and subject of each window."""
    paths = {key: root / "data" / f"all_{key}.npy" for key in ("x", "y", "subject")}
    arrays = {key: np.load(path) for key, path in paths.items()}
    change(arrays)
    for key, path in paths.items():
        np.save(path, arrays[key])


def prepared_of(root, **options):
    """What `train` prepares from the recordings of a registry."""
    config = settings.load(root / "crossed.yaml", TrainConfig)
    return preparation.prepare(config, Reading(root), **options)


def test_a_class_of_one_subject_is_refused(tmp_path) -> None:
    """The model of the fold that tests the subject could not learn it; the fold is named."""
    make_crossed(tmp_path)
    change_arrays(tmp_path, lambda a: a["y"].__setitem__((a["subject"] != "s2") & (a["y"] == 2), 1))
    with pytest.raises(InputError) as refused:
        prepared_of(tmp_path)

    assert places(refused.value.problems) == [
        ("kfold3-01", "split.class-missing"),
        ("kfold3-02", "split.class-missing"),
    ]


def test_copies_between_subjects_are_refused(tmp_path) -> None:
    """Also between two that one fold tests: another fold trains on one and validates with the other."""
    make_crossed(tmp_path)
    change_arrays(tmp_path, lambda a: a["x"].__setitem__(a["subject"] == "s4", a["x"][a["subject"] == "s1"]))
    with pytest.raises(InputError) as refused:
        prepared_of(tmp_path, refuse_copies=True)

    assert {problem.rule for problem in refused.value.problems} == {"split.windows-shared"}


def test_the_audit_compares_the_subjects_of_different_folds(tmp_path) -> None:
    """A near copy between two folds is leakage of both; one within a fold is not."""
    make_crossed(tmp_path)

    def change(arrays):
        noise = np.random.default_rng(0).normal(0, 1e-4, arrays["x"][arrays["subject"] == "s1"].shape)
        for name in ("s2", "s4"):
            arrays["x"][arrays["subject"] == name] = arrays["x"][arrays["subject"] == "s1"] + noise
            noise = noise[::-1]

    change_arrays(tmp_path, change)
    config = settings.load(tmp_path / "crossed.yaml", TrainConfig)
    audited = preparation.prepare_and_audit(config, Reading(tmp_path))[1]

    assert {finding.parts for finding in audited.leaks} == {("kfold3-01", "kfold3-02")}


def test_a_check_of_the_data_says_what_the_folds_need(tmp_path) -> None:
    """`data check` of a configuration with more folds than subjects; as it is, nothing is wrong with the split."""
    make_crossed(tmp_path)
    config = settings.load(tmp_path / "crossed.yaml", TrainConfig)
    many = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"folds": 9})})
    found = [preparation.check(each, Reading(tmp_path))[0].findings for each in (config, many)]

    assert [[f.rule for f in each if f.rule.startswith("split.")] for each in found] == [[], ["split.too-few-subjects"]]


def test_commands_of_single_folds_have_one_model(tmp_path, monkeypatch, capsys) -> None:
    """`data folds` of a cross-fitted configuration prints lines that can be run."""
    make_crossed(tmp_path)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["data", "folds", "crossed.yaml"]) == 0
    first = shlex.split(capsys.readouterr().out.splitlines()[0])[1:]

    assert main([*first, "--set", "training.epochs=1"]) == 0


# The evaluation


def test_the_pooled_predictions_are_those_of_the_folds(crossed) -> None:  # noqa: F811
    """One fold after the other, codes included."""
    pooled = predictions_of(crossed / RUN / "predictions.npz").arrays()
    own = [predictions_of(crossed / RUN / "folds" / name / "predictions.npz").arrays() for name in NAMES]

    assert all(np.array_equal(pooled[key], np.concatenate([each[key] for each in own])) for key in pooled)


def test_each_window_is_predicted_once(crossed) -> None:  # noqa: F811
    """Those of the final model's data, and no other."""
    pooled, fitted = (predictions_of(crossed / RUN / name) for name in ("predictions.npz", "fitted.npz"))
    found = [sorted(zip(each.recording.tolist(), each.start.tolist(), strict=True)) for each in (pooled, fitted)]

    assert (found[0], len(set(found[0]))) == (found[1], 108)


def test_the_numbers_of_a_fold_are_those_of_its_own_evaluation(crossed) -> None:  # noqa: F811
    """Computed from the pooled predictions."""
    folds = measured_of(crossed).protocol.folds
    own = [load(crossed / RUN / "folds" / fold.name / "eval_metrics.json", EvalMetrics) for fold in folds]

    assert [[getattr(fold, name) for name in METRICS] for fold in folds] == [
        [getattr(each, name) for name in METRICS] for each in own
    ]


def test_the_pooled_metrics_have_no_codes(crossed) -> None:  # noqa: F811
    """Every fold has another quantizer."""
    measured = measured_of(crossed)

    assert (measured.codes, measured.clusters, all(fold.codes for fold in measured.protocol.folds)) == (
        None,
        None,
        True,
    )


def test_all_subjects_are_tested_and_none_is_known(crossed) -> None:  # noqa: F811
    """Although the final model was trained on them."""
    protocol = measured_of(crossed).protocol

    assert (protocol.tested.subjects, protocol.known_subjects, protocol.evaluations) == (SUBJECTS, (), 1)


def test_the_calibration_is_fitted_on_the_pooled_predictions(crossed) -> None:  # noqa: F811
    """There is no validation split."""
    fitted = load(crossed / RUN / "calibration.json", ConfidenceRecord)

    assert fitted.validation_digest == load(crossed / RUN / "data.json", DataRecord).parts.train.digest
    assert not (crossed / RUN / "validation.npz").exists()


def test_the_run_is_audited_and_no_fold(crossed) -> None:  # noqa: F811
    """Once, by folds."""
    audited = load(crossed / RUN / "audit.json", AuditRecord)

    assert (tuple(audited.windows), audited.findings) == (NAMES, ())
    assert not list((crossed / RUN / "folds").glob("*/audit.json"))


def test_evaluating_again_changes_nothing(place) -> None:  # noqa: F811
    """And counts no other test-set evaluation."""
    before = bytes_of(place / RUN)

    assert (main(["evaluate", RUN]), bytes_of(place / RUN) == before) == (0, True)


def test_what_the_numbers_estimate_is_said_everywhere(place, capsys) -> None:  # noqa: F811
    """On the terminal, in the report, in the card."""
    said = card_v2.estimates(measured_of(place).protocol)
    shown = []
    for words in (["evaluate", RUN], ["show", RUN]):
        main(words)
        shown.append(capsys.readouterr().out)
    texts = [(place / path).read_text() for path in (f"{RUN}/report.md", f"{VERSION}/model_card.md")]

    assert [said in text for text in (*shown, *texts)] == [True] * 4


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "evaluate.predictions-mismatch"),
        (lambda path: path.unlink(), "evaluate.fold-missing"),
    ],
)
def test_changed_predictions_of_a_fold_are_not_pooled(place, capsys, change, rule) -> None:  # noqa: F811
    """Exit 3."""
    change(place / RUN / "folds/kfold3-02/predictions.npz")

    assert (main(["evaluate", RUN]), f"[{rule}]" in capsys.readouterr().err) == (3, True)


@pytest.mark.parametrize("protocol", ["loso", "random"])
def test_other_protocols_are_refused(place, capsys, protocol) -> None:  # noqa: F811
    """The folds are there already."""
    assert (main(["evaluate", RUN, "--protocol", protocol]), "[evaluate.cross-fitted]" in capsys.readouterr().err) == (
        3,
        True,
    )


# Other commands


def test_two_cross_fitted_runs_are_paired(place, capsys) -> None:  # noqa: F811
    """On all windows of all subjects."""
    assert main(["compare", RUN, RUN, "--json"]) == 0
    paired = json.loads(capsys.readouterr().out)["paired"]

    assert (paired["windows"], paired["subjects"], paired["left_out_one"]) == (108, 6, 0)


def test_a_hold_out_run_is_not_paired(place, capsys) -> None:  # noqa: F811
    """It tested other windows."""
    assert [main(["train", "tiny.yaml", "--set", "training.epochs=1"]), main(["evaluate"])] == [0, 0]

    assert (main(["compare", RUN, "runs/conv2d_fsq-002"]), "[compare.other-protocol]" in capsys.readouterr().err) == (
        3,
        True,
    )


def test_a_cross_fitted_configuration_is_ablated(tmp_path) -> None:
    """Its run is trained and evaluated as `train` and `evaluate` do; a finished one is left."""
    make_crossed(tmp_path)
    config = settings.load(tmp_path / "crossed.yaml", TrainConfig, ["training.epochs=1"])
    here, reading, folder = host.describe(config.training), Reading(tmp_path), tmp_path / "runs/full-seed0"
    epochs = [len(list(ablate.train(config, folder, reading, here, host.now))) for _ in range(2)]
    ablate.evaluate(folder, reading, here, host.now)

    assert (epochs, ablate.read_trained(folder).measured.windows) == ([1, 0], 108)


def test_few_subjects_are_not_to_be_added_to_a_test_split(crossed) -> None:  # noqa: F811
    """There is none: more must be recorded."""
    reason = NoInterval(reason="too few subjects")
    metrics_ = measured_of(crossed).model_copy(update={"intervals": {"accuracy": reason}})
    data, run = load(crossed / RUN / "data.json", DataRecord), runs.load_run(crossed / RUN)
    made = recommendations.recommendations(metrics_, data, run, runs.read_history(crossed / RUN), None)
    found = [each.advice for each in made if "too few" in each.finding]

    assert [advice.startswith("Record more subjects.") for advice in found] == [True]


@pytest.mark.parametrize(
    ("record", "name", "change"),
    [
        (DataRecord, "data.json", lambda d: d["parts"].update(test=d["parts"]["train"])),
        (RunRecord, "run.json", lambda d: d.update(best_epoch=1, best_validation_loss=0.5)),
    ],
)
def test_mixed_documents_are_refused(crossed, tmp_path, record, name, change) -> None:  # noqa: F811
    """A test split without validation; a best epoch where the folds have them."""
    shutil.copy(crossed / RUN / name, tmp_path)
    edit(tmp_path / name, change)
    with pytest.raises(InputError) as refused:
        load(tmp_path / name, record)

    assert {problem.rule for problem in refused.value.problems} == {"document.invalid-value"}


def test_a_split_that_a_cross_fitted_run_does_not_have_is_a_key_error(crossed) -> None:  # noqa: F811
    """By its name."""
    with pytest.raises(KeyError, match="test"):
        load(crossed / RUN / "data.json", DataRecord).parts["test"]


def test_documents_of_hold_out_runs_are_as_before() -> None:
    """No key of a cross-fitted run is written where there is none."""
    new = {"protocol", "folds", "learning_rates", "fitted_sha256"}
    record, document = example_run.run_record("a" * 64), example_run.data_record()
    written = [EvaluationSettings().to_document(), record.to_document(), document.to_document()]

    assert [new & set(each) for each in written] == [set(), set(), set()]
    assert list(written[2]["parts"]) == ["train", "validation", "test"]


def test_folds_name_subjects_by_their_pseudonyms(tmp_path, monkeypatch) -> None:
    """No id of a subject is in a document of the run or of a fold."""
    make_crossed(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "modelreg.yaml").write_text("default_model: conv2d_fsq\nsubjects: pseudonyms\n")
    assert [main([*TRAIN, "--set", "training.epochs=1"]), main(["evaluate"])] == [0, 0]
    folds = load(tmp_path / RUN / "data.json", DataRecord).folds

    assert sorted(name for fold in folds for name in fold.test) == [f"subject-00{number}" for number in range(1, 7)]
    assert set(SUBJECTS).isdisjoint(np.unique(predictions_of(tmp_path / RUN / "predictions.npz").subject).tolist())
