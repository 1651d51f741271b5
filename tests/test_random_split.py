"""random_split: a leaky reference that can be resumed, appears in the audit, and is never the model's quality."""

import json
import shutil
from dataclasses import replace

import pytest
from places import places
from test_training_run import TINY, make_registry

from modelreg import files
from modelreg.cli.main import main
from modelreg.data import preparation
from modelreg.data.cache import Reading
from modelreg.documents.report import leakage
from modelreg.errors import InputError
from modelreg.records.audit import AuditRecord, RandomSplit
from modelreg.records.base import load
from modelreg.records.data import DataRecord
from modelreg.records.metrics import EvalMetrics
from modelreg.records.run import RunRecord
from modelreg.registry import filenames
from modelreg.workflows import evaluation_run, plausibility, random_split, run_checks

pytestmark = pytest.mark.needs("torch", "matplotlib")  # they train
RUN = "runs/conv2d_fsq-001"
COMMAND = ["evaluate", RUN, "--protocol", "random"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A registry whose run was evaluated and then compared with a random split."""
    root = make_registry(tmp_path_factory.mktemp("compared"))
    (root / "tiny.yaml").write_text(TINY.replace("epochs: 6", "epochs: 2").replace("0.01}", "0.0001}"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        with patch.context() as before:
            before.setattr(evaluation_run, "write_report", lambda folder: None)  # its pictures take seconds
            assert [main(words) for words in (["train", "tiny.yaml"], ["evaluate"])] == [0] * 2
        shutil.copytree(root / RUN, root / "before")
        assert main(COMMAND) == 0
    return root


@pytest.fixture
def place(compared, tmp_path, monkeypatch):
    """A copy of it, whose report stays as it is; the working directory."""
    root = tmp_path / "copy"
    shutil.copytree(compared, root)
    monkeypatch.chdir(root)
    monkeypatch.setattr(evaluation_run, "write_report", lambda folder: None)
    return root


def claimed(root) -> RandomSplit:
    """What it came to."""
    return load(root / RUN / filenames.RANDOM_SPLIT, RandomSplit)


def claim(root, accuracy: float) -> None:
    """Let the random split have scored something else."""
    changed = claimed(root).model_copy(update={"accuracy": accuracy})
    (root / RUN / filenames.RANDOM_SPLIT).write_bytes(changed.to_bytes())


def suspicions(root) -> list[str]:
    """What the audit calls suspicious."""
    found = load(root / RUN / filenames.AUDIT, AuditRecord).findings
    return [finding.kind for finding in found if finding.severity == "suspicious"]


def test_splits_keep_their_sizes_and_share_subjects(compared) -> None:
    """Only the assignment of windows differs."""
    honest, leaky = (load(compared / RUN / at / filenames.DATA, DataRecord) for at in ("", random_split.FOLDER))

    assert claimed(compared).windows == {name: part.windows for name, part in honest.parts.items()}
    assert (leaky.split, [len(part.subjects) > 3 for _, part in leaky.parts.items()]) == ("random", [True] * 3)


def test_the_metrics_of_the_run_do_not_change(compared) -> None:
    """Every document but the audit."""
    names = [path.name for path in (compared / "before").iterdir() if path.is_file()]
    changed = {n for n in names if (compared / "before" / n).read_bytes() != (compared / RUN / n).read_bytes()}

    assert changed <= {filenames.AUDIT}


def test_the_report_states_the_accuracy_of_a_leaky_evaluation(compared) -> None:
    """And that it does not describe the model."""
    accuracy = load(compared / RUN / filenames.METRICS, EvalMetrics).accuracy

    assert leakage.leaky(claimed(compared), accuracy) in (compared / RUN / filenames.REPORT).read_text()


@pytest.mark.parametrize(("points", "expected"), [(0.051, ["random_split"]), (0.049, [])])
def test_more_than_five_points_are_suspicious(place, capsys, points, expected) -> None:
    """In the audit, the report and on the terminal."""
    accuracy = load(place / RUN / filenames.METRICS, EvalMetrics).accuracy
    claim(place, accuracy + points)
    code, said = main(COMMAND), capsys.readouterr().err

    assert (code, suspicions(place), "suspicious: test: " in said) == (0, expected, bool(expected))


def test_a_later_evaluation_keeps_the_suspicion(place) -> None:
    """It is listed once, and removed together with the random split."""
    claim(place, 1.0)
    assert [main(COMMAND), main(["evaluate", RUN])] == [0, 0]
    with_it = suspicions(place)
    (place / RUN / filenames.RANDOM_SPLIT).unlink()
    main(["evaluate", RUN])

    assert (with_it, suspicions(place)) == (["random_split"], [])


def test_a_random_split_of_other_weights_is_ignored(place) -> None:
    """It was copied from another run."""
    changed = claimed(place).model_copy(update={"run_sha256": "0" * 64})
    (place / RUN / filenames.RANDOM_SPLIT).write_bytes(changed.to_bytes())

    assert plausibility.load_random_split(place / RUN) is None


def test_json_has_both_numbers(place, capsys) -> None:
    """A second call prints the recorded result without training."""
    (place / "data/dataset.json").unlink()
    code, told = main([*COMMAND, "--json"]), json.loads(capsys.readouterr().out)

    assert (code, told.pop("compared_with"), told) == (
        0,
        load(place / RUN / filenames.METRICS, EvalMetrics).accuracy,
        claimed(place).to_document(),
    )


def test_an_interrupted_training_goes_on(place, monkeypatch) -> None:
    """Killed between two epochs: the same bytes."""
    folder, before = place / RUN / random_split.FOLDER, (place / RUN / filenames.RANDOM_SPLIT).read_bytes()
    shutil.rmtree(folder)
    (place / RUN / filenames.RANDOM_SPLIT).unlink()
    write = files.write_atomic

    def killed(path, data):
        write(path, data)
        if path.name == filenames.LAST:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_atomic", killed)
        assert (main(COMMAND), (folder / filenames.HISTORY).read_bytes().count(b"\n")) == (130, 1)

    assert (main(COMMAND), (place / RUN / filenames.RANDOM_SPLIT).read_bytes() == before) == (0, True)


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", f"{RUN}/folds/random"],
        ["export", f"{RUN}/folds/random", "--target", "onnx"],
        ["release", "v0.1.0", "--roll-changelog", "--run", f"{RUN}/folds/random"],
    ],
    ids=lambda command: command[0],
)
def test_a_random_split_is_not_evaluated_exported_or_released(place, command) -> None:
    """It cannot be evaluated, exported or released."""
    assert main(command) == 3
    assert not (place / RUN / random_split.FOLDER / filenames.METRICS).exists()


def test_its_predictions_have_no_metrics(place) -> None:
    """Not even when they are computed directly."""
    folder = place / RUN / random_split.FOLDER
    config = run_checks.repeatable(folder, "x")

    with pytest.raises(InputError) as caught:
        evaluation_run.measure(folder, config, load(folder / filenames.RUN, RunRecord), None)

    assert places(caught.value.problems) == [(str(folder), "evaluate.random-split")]


def test_changed_weights_are_not_scored(place, capsys) -> None:
    """Exit 3, with the file."""
    path = place / RUN / random_split.FOLDER / filenames.CHECKPOINT
    path.write_bytes(path.read_bytes()[:-1] + b"x")

    assert (main(COMMAND), "[run.file-changed]" in capsys.readouterr().err) == (3, True)


def test_every_class_must_be_trained(place) -> None:
    """A random split may leave one out."""
    prepared = preparation.prepare(run_checks.repeatable(place / RUN, "x"), Reading(place))

    with pytest.raises(InputError) as caught:
        preparation.dealt(replace(prepared, classes=(*prepared.classes, "never")), 0)

    assert [(problem.where, problem.rule) for problem in caught.value.problems] == [("train", "split.class-missing")]


def test_a_run_without_an_evaluation_has_nothing_to_compare(place, capsys) -> None:
    """Exit 3, with the command that is missing."""
    (place / RUN / filenames.METRICS).unlink()

    code, stderr = main(COMMAND), capsys.readouterr().err
    assert (code, "[run.not-evaluated]" in stderr, f"`modelreg evaluate {RUN}`" in stderr) == (3, True, True)


def test_only_a_split_by_subject_is_compared(place) -> None:
    """Another split has no accuracy on new subjects."""
    config = run_checks.repeatable(place / RUN, "x")
    path = place / RUN / filenames.CONFIG
    document = {**config.to_document(), "split": {"by": "given"}}
    path.write_bytes(files.to_json(document))
    run = load(place / RUN / filenames.RUN, RunRecord)
    sealed = {**run.files, filenames.CONFIG: files.sha256(path)}
    (place / RUN / filenames.RUN).write_bytes(run.model_copy(update={"files": sealed}).to_bytes())

    with pytest.raises(InputError) as caught:
        random_split.measure_random_split(place / RUN, Reading(place), run.environment, lambda: "")

    assert places(caught.value.problems) == [(str(place / RUN), "evaluate.not-split-by-subject")]
