"""training_run and the walk: train, kill, resume, evaluate, release, verify, on the command line."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import untraced
from example_run import epoch
from two_device import write_two_device

from modelreg import __version__, files
from modelreg.cli.main import main
from modelreg.config import TrainConfig
from modelreg.records.base import load
from modelreg.records.run import RunRecord
from modelreg.registry import filenames, runs
from modelreg.workflows import training_run

pytestmark = pytest.mark.needs("torch", "matplotlib")  # they train
NOW = "2026-11-21T10:00:00Z"
TINY = """
data:
  sources: [{kind: npy, path: data/dataset.json}]
  window: 100
  hop: 100
split: {by: subject, test: 2, validation: 1}
augmentation: {rotation_deg: 10, jitter: 0.02, scaling: 0.05, time_warp: 0.1, channel_dropout: 0.02}
model: {widths: [4, 8], kernels: [[2, 5], [1, 3]], levels: [4, 3], hidden: 8, dropout: 0.1}
training: {epochs: 6, batch_size: 16, threads: 1, learning_rate: 0.01}
evaluation: {replicates: 100}
"""
WRITES = {1, 2, 3, 4, 7, 10, 11, 16}  # of the files that six epochs write


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A registry with one run on made-up recordings: trained, evaluated, released."""
    root = make_registry(tmp_path_factory.mktemp("walk"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("SOURCE_DATE_EPOCH", "1795255200")
        assert main(["train", "tiny.yaml"]) == 0
        assert main(["evaluate"]) == 0
        assert main(["release", "v0.1.0", "--roll-changelog"]) == 0
    return root


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry without a run; the working directory."""
    make_registry(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795255200")
    return tmp_path


def make_registry(root: Path) -> Path:
    """Write what `init` writes, recordings and a small configuration."""
    main(["init", "--sample", str(root)])
    (root / "modelreg.yaml").write_text("default_model: conv2d_fsq\n")  # no gates: the model is hardly trained
    (root / "data").mkdir()
    write_two_device(root / "data")
    (root / "tiny.yaml").write_text(TINY)
    return root


def result_of(run: Path) -> dict[str, bytes]:
    """What a resumed training must give again, byte for byte."""
    return {name: (run / name).read_bytes() for name in (filenames.CHECKPOINT, filenames.HISTORY, filenames.LAST)}


def test_a_run_has_its_documented_files(finished) -> None:
    """The files of a run, and the pictures of the report."""
    names = {path.name for path in (finished / "runs/conv2d_fsq-001").iterdir()}

    assert names == {
        *("config.json", "checkpoint.safetensors", "last.safetensors", "normalization.json", "history.jsonl"),
        *("data.json", "quality.json", "run.json", "eval_metrics.json", "predictions.npz", "tensorboard"),
        *("validation.npz", "calibration.json", "audit.json"),
        *("report.md", "report.html"),
        *("classes.png", "confusion.png", "curves.png", "reliability.png", "subjects.png"),
        *("coverage.png", "risk.png"),
    }


def test_every_default_is_in_the_runs_configuration(finished) -> None:
    """config.json can be read without defaults."""
    document = json.loads((finished / "runs/conv2d_fsq-001/config.json").read_text())

    assert document == load(finished / "runs/conv2d_fsq-001/config.json", TrainConfig).to_document()


def test_the_same_training_gives_the_same_bytes(finished, registry) -> None:
    """In another folder, in the same process."""
    main(["train", "tiny.yaml"])

    assert result_of(registry / "runs/conv2d_fsq-001") == result_of(finished / "runs/conv2d_fsq-001")


@pytest.fixture(scope="session")
def killed(tmp_path_factory):
    """Registries as a kill at the n-th file that an epoch writes leaves them, by n: the disk, copied at that moment."""
    root, copies = make_registry(tmp_path_factory.mktemp("killed")), tmp_path_factory.mktemp("copies")
    real, run, count = Path.replace, root / "runs/conv2d_fsq-001", 0

    def copying(self, target):
        nonlocal count
        count += run in self.parents
        if run in self.parents and count in WRITES:
            shutil.copytree(root, copies / str(count))
        return real(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(Path, "replace", copying)
        assert main(["train", "tiny.yaml"]) == 0
    return copies


@pytest.fixture
def begun(killed, tmp_path, monkeypatch):
    """A registry whose run was killed in its third epoch; the working directory."""
    monkeypatch.chdir(shutil.copytree(killed / "10", tmp_path / "copy"))
    return tmp_path / "copy"


@pytest.mark.parametrize("write", sorted(WRITES))
def test_a_training_killed_at_a_write_is_resumed_with_the_same_bytes(
    finished, killed, tmp_path, monkeypatch, write
) -> None:
    """Before the first epoch, between the files of one, and late."""
    monkeypatch.chdir(shutil.copytree(killed / str(write), tmp_path / "copy"))

    assert main(["train", "--resume", "runs/conv2d_fsq-001"]) == 0
    assert result_of(tmp_path / "copy/runs/conv2d_fsq-001") == result_of(finished / "runs/conv2d_fsq-001")


def test_a_run_of_a_killed_process_is_resumed_with_the_same_bytes(finished, killed, registry) -> None:
    """A killed process leaves the same files as the copies of the disk."""
    assert run_killed(7) == 9
    assert states_of(registry) == states_of(killed / "7")
    assert main(["train", "--resume", "runs/conv2d_fsq-001"]) == 0
    assert result_of(registry / "runs/conv2d_fsq-001") == result_of(finished / "runs/conv2d_fsq-001")


def states_of(root: Path) -> dict[str, bytes]:
    """The files of an unfinished run that say neither when nor where it began."""
    run = root / "runs/conv2d_fsq-001"
    found = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    return {name: data for name, data in found.items() if name != filenames.RUN}


def run_killed(write: int) -> int:
    """Train in another process that dies at the n-th file that an epoch writes."""
    script = f"""
import os
from pathlib import Path
from modelreg.cli.main import main
from modelreg.ml import training
from modelreg.registry import filenames, runs
from modelreg.workflows import training_run
real, count = Path.replace, 0
def dying(self, target):
    global count
    count += str(self).startswith(str(Path("runs/conv2d_fsq-001").absolute()))
    if count == {write}:
        os.kill(os.getpid(), 9)
    return real(self, target)
Path.replace = dying
main(["train", "tiny.yaml"])
"""
    command = [sys.executable, "-c", script]
    return -subprocess.run(command, check=False, capture_output=True, env=untraced.environment()).returncode


def test_ctrl_c_prints_the_command_that_resumes(registry, heeds_ctrl_c) -> None:
    """Exit 130, the command to paste, and a run that can be resumed."""
    endless = ("--set", "training.epochs=100000", "--set", "training.patience=100000")  # however late the signal comes
    command = [sys.executable, "-m", "modelreg", "train", "tiny.yaml", *endless]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        wait_for(registry / "runs/conv2d_fsq-001" / filenames.LAST)
        process.send_signal(signal.SIGINT)
        try:
            said = process.communicate(timeout=60)[1]
        finally:
            process.kill()

    assert (process.returncode, "modelreg train --resume runs/conv2d_fsq-001" in said) == (130, True)


def wait_for(path: Path) -> None:
    """Wait until a file is there, a minute at most."""
    end = time.monotonic() + 60
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (
            lambda run: edit(run / "config.json", lambda d: d["training"].update(epochs=7)),
            "config.json: sha256 mismatch",
        ),
        (
            lambda run: edit(run / "normalization.json", lambda d: d.update(samples=7)),
            "normalization.json: sha256 mismatch",
        ),
        (lambda run: edit(run / "data.json", lambda d: d.update(hop=7)), "data.json: sha256 mismatch"),
        (lambda run: (run / "data.json").unlink(), "[run.file-missing]"),
        (lambda run: (run / "last.safetensors").write_bytes(b"stub"), "last.safetensors"),
        (
            lambda run: edit(run / "run.json", lambda d: d["environment"].update(threads=7)),
            "[train.environment-mismatch]",
        ),
    ],
)
def test_a_run_that_was_changed_is_not_resumed(begun, capsys, change, rule) -> None:
    """Configuration, data, normalization, state or environment: exit 3, nothing written."""
    run = begun / "runs/conv2d_fsq-001"
    change(run)
    before = (run / "history.jsonl").read_bytes()
    code = main(["train", "--resume", "runs/conv2d_fsq-001"])

    assert (code, rule in capsys.readouterr().err, (run / "history.jsonl").read_bytes() == before) == (3, True, True)


def edit(path: Path, change) -> None:
    """Change a JSON document in place."""
    document = json.loads(path.read_text())
    change(document)
    path.write_bytes(files.to_json(document))


def started_by(begun: Path, version: str) -> Path:
    """Record in an unfinished run that another version of modelreg started it."""
    run = begun / "runs/conv2d_fsq-001"
    edit(run / "run.json", lambda d: d["environment"].update(modelreg=version))
    return run


def test_a_run_of_another_modelreg_is_resumed(begun, finished) -> None:
    """An upgrade does not end a training; this one computes the same."""
    run = started_by(begun, "0.0.1")

    assert main(["train", "--resume", "runs/conv2d_fsq-001"]) == 0
    assert result_of(run) == result_of(finished / "runs/conv2d_fsq-001")


def test_the_version_that_resumes_a_run_is_recorded(begun) -> None:
    """In addition to the one that started it."""
    run = started_by(begun, "0.0.1")
    main(["train", "--resume", "runs/conv2d_fsq-001"])
    record = load(run / "run.json", RunRecord)

    assert (record.environment.modelreg, record.resumed_by) == ("0.0.1", (__version__,))


def test_every_version_that_resumed_a_run_stays_recorded(begun) -> None:
    """Also where the one that started it finishes it."""
    run = started_by(begun, __version__)
    edit(run / "run.json", lambda d: d.update(resumed_by=["0.0.2"]))
    main(["train", "--resume", "runs/conv2d_fsq-001"])

    assert load(run / "run.json", RunRecord).resumed_by == ("0.0.2", __version__)


def test_resuming_a_run_of_another_modelreg_is_announced(begun, capsys) -> None:
    """With both versions."""
    started_by(begun, "0.0.1")
    main(["train", "--resume", "runs/conv2d_fsq-001"])

    assert f"modelreg {__version__} resumes a run of modelreg 0.0.1" in capsys.readouterr().err


def test_a_run_of_one_version_records_no_other(begun) -> None:
    """So run.json keeps the bytes of earlier versions of modelreg."""
    main(["train", "--resume", "runs/conv2d_fsq-001"])

    assert "resumed_by" not in json.loads((begun / "runs/conv2d_fsq-001/run.json").read_text())


def test_two_processes_do_not_train_one_run(begun, capsys) -> None:
    """The second is refused; the first is not disturbed."""
    folder = begun / "runs/conv2d_fsq-001"
    with files.sole_writer(folder, folder):
        code = main(["train", "--resume", "runs/conv2d_fsq-001"])

    assert (code, "[files.locked]" in capsys.readouterr().err) == (3, True)


def test_a_folder_that_is_not_a_run_is_not_resumed(registry, capsys) -> None:
    """The next step is the command that makes one."""
    assert (main(["train", "--resume", "nope"]), "[run.not-a-run]" in capsys.readouterr().err) == (3, True)


def test_a_finished_run_is_not_resumed(finished, monkeypatch, capsys) -> None:
    """There is nothing to resume."""
    monkeypatch.chdir(finished)

    assert (main(["train", "--resume", "runs/conv2d_fsq-001"]), "[run.already-trained]" in capsys.readouterr().err) == (
        3,
        True,
    )


def test_an_existing_folder_is_not_trained_into(registry, capsys) -> None:
    """--out names a new folder."""
    (registry / "taken").mkdir()

    assert (main(["train", "tiny.yaml", "--out", "taken"]), list((registry / "taken").iterdir())) == (3, [])


@pytest.mark.parametrize(
    ("assignment", "rule"),
    [
        ("model.kernels=[[3, 5], [1, 3]]", "device rows"),
        ("split.test=9", "subject"),
        ("data.window=101", "window"),
        ("training.epochs=x", "training.epochs"),
    ],
)
def test_a_configuration_that_cannot_work_leaves_nothing(registry, capsys, assignment, rule) -> None:
    """Exit 3 and no half-made run."""
    code = main(["train", "tiny.yaml", "--set", assignment])

    assert (code, rule in capsys.readouterr().err, (registry / "runs").exists()) == (3, True, False)


def test_a_training_that_diverges_says_what_to_try(registry, capsys) -> None:
    """Exit 3, with the epoch and the setting to change; no useless run is left."""
    code = main(["train", "tiny.yaml", "--set", "training.learning_rate=1e30", "--set", "training.gradient_clip=1e30"])
    said = capsys.readouterr().err

    assert (code, "epoch 1, " in said, "training.learning_rate" in said) == (3, True, True)
    assert list((registry / "runs").iterdir()) == []


def test_the_walk_ends_in_a_verified_version(finished, monkeypatch, capsys) -> None:
    """train, evaluate, release; then verify, assets included."""
    monkeypatch.chdir(finished)

    assert main(["verify", "--complete"]) == 0


def test_tensorboard_has_every_number_of_an_epoch(finished) -> None:
    """Flat as in history.jsonl, and under the tags that the predecessors used."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished / "runs/conv2d_fsq-001/tensorboard")).Reload()
    last = runs.read_history(finished / "runs/conv2d_fsq-001")[-1]
    shown = {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]}

    assert shown == pytest.approx(training_run.scalars(last))
    assert shown.keys() >= {"train_loss", "loss/train", "codebook/usage", "codebook/perplexity", "accuracy/behavior"}


@pytest.mark.parametrize(
    ("changes", "tags"),
    [
        ({"active_clusters": 4, "mean_duration": 9.5}, {"hdp/active_clusters": 4, "hsmm/mean_duration": 9.5}),
        ({"terms": {"commitment": 0.1}}, {"loss/commitment": 0.1, "commitment": 0.1}),
    ],
)
def test_a_part_of_a_system_has_its_tags(changes, tags) -> None:
    """Clusters, durations, and each term of the loss."""
    shown = training_run.scalars(epoch().model_copy(update=changes))

    assert tags.items() <= shown.items()


def test_a_number_that_an_epoch_lacks_has_no_tag() -> None:
    """No quantizer, no validation split."""
    lacking = {"perplexity": None, "used_share": None, "validation_loss": None, "validation_accuracy": None}
    shown = training_run.scalars(epoch().model_copy(update=lacking))

    assert not shown.keys() & {
        *lacking,
        "codebook/perplexity",
        "codebook/usage",
        "loss/validation",
        "accuracy/behavior",
    }
