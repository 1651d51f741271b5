"""import: a legacy checkpoint becomes a run with its weights and the data of a configuration."""

import json

import numpy as np
import pytest
import torch
from legacy_networks import AblationFsq, Conv2dVq, PooledFsq, UnpooledFsq, _one_thread, seeded
from two_device import CHANNELS, write_two_device

from modelreg import files
from modelreg.cli.main import main
from modelreg.data import normalization
from modelreg.data.cache import Reading
from modelreg.ml import checkpoint, prediction
from modelreg.records.base import load
from modelreg.records.data import Normalization
from modelreg.registry import filenames, runs
from modelreg.workflows import export_run

__all__ = ["_one_thread"]  # a fixture

OLD = seeded(PooledFsq, classes=3)
ENCODER = {name: tensor for name, tensor in OLD.state_dict().items() if not name.startswith("classifier")}
CONFIG = {
    "data": {"sources": [{"kind": "npy", "path": "data/dataset.json"}], "window": 100, "hop": 100},
    "split": {"by": "subject", "test": 2, "validation": 1},
    "model": {"levels": [8] * 8},
    "evaluation": {"replicates": 100},
}
SCALE = {"normalization": {"zscore_mean": [0.0, 0.0, 5.0, *[0.0] * 6], "zscore_std": [5.0] * 9}}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working directory: a registry, recordings, a legacy checkpoint, a configuration, a normalization."""
    main(["init", "--sample", str(tmp_path)])
    (tmp_path / "modelreg.yaml").write_text("default_model: conv2d_fsq\n")  # no gates: the model is hardly trained
    (tmp_path / "data").mkdir()
    write_two_device(tmp_path / "data")
    torch.save({"epoch": 7, "model_state_dict": OLD.state_dict()}, tmp_path / "old.pth")
    torch.save(ENCODER, tmp_path / "encoder.pth")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "scale.json").write_text(json.dumps(SCALE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795255200")
    return tmp_path


def bring(*options, file="old.pth", config="config.json") -> int:
    """Import a checkpoint."""
    return main(["import", file, "--as", "conv2d_fsq", "--config", config, *options])


def test_a_legacy_checkpoint_is_imported_evaluated_and_released(place, capsys) -> None:
    """Imported, refused by release, evaluated, released, verified."""
    assert bring("--normalization", "scale.json") == 0
    assert main(["release", "v0.1.0", "--no-evaluate"]) == 3
    assert "[run.not-evaluated]" in capsys.readouterr().err

    assert [main(words) for words in (["evaluate"], ["release", "v0.1.0", "--roll-changelog"], ["verify"])] == [0, 0, 0]


def test_a_run_has_the_outputs_of_the_legacy_network(place) -> None:
    """On windows with the normalization of the legacy code."""
    bring("--normalization", "scale.json")
    run = place / "runs/conv2d_fsq-001"
    windows = np.load(place / "data/all_x.npy")[:20]
    scale = load(run / filenames.NORMALIZATION, Normalization)
    network = prediction.load_network(runs.load_run(run).model, run / filenames.CHECKPOINT)
    old = torch.from_numpy((windows - np.float32(scale.mean).T[:, :, None]) / np.float32(5.0))
    new = torch.from_numpy(normalization.apply(windows, scale))

    with torch.inference_mode():
        torch.testing.assert_close(network.device_part(new), OLD.project(old))


def test_the_run_says_where_its_weights_are_from(place, capsys) -> None:
    """By name, digest and layout, with the notes of the conversion; values stored with them are printed."""
    bring("--normalization", "scale.json")
    origin = runs.load_run(place / "runs/conv2d_fsq-001").imported
    told = capsys.readouterr()

    assert (origin.file, origin.sha256, origin.layout) == ("old.pth", files.sha256(place / "old.pth"), "fsq_pooled")
    assert origin.normalization_sha256 == files.sha256(place / "scale.json")
    assert origin.notes[0] in told.err
    assert "old.pth (layout fsq_pooled); stored with the weights: epoch 7" in told.out


def test_a_normalization_that_was_not_given_is_fitted(place, capsys) -> None:
    """On the train split, with a notice."""
    assert bring() == 0
    scale = load(place / "runs/conv2d_fsq-001" / filenames.NORMALIZATION, Normalization)

    assert (scale.fitted_on, runs.load_run(place / "runs/conv2d_fsq-001").imported.normalization_sha256) == (
        "train",
        None,
    )
    assert "notice: normalization: fitted on the train split" in capsys.readouterr().err


def test_constant_units_are_reported(place, capsys) -> None:
    """On real windows."""
    dead = {name: tensor.clone() for name, tensor in OLD.state_dict().items()}
    dead["conv1.weight"][4] = 0
    torch.save(dead, place / "dead.pth")
    assert bring(file="dead.pth") == 0

    assert "warning: device_part.conv1: 1 of 32 units never change on 54 windows: 4" in capsys.readouterr().err


def test_an_encoder_alone_stays_one(place, capsys) -> None:
    """Its run has no classifier and cannot be evaluated."""
    assert bring(file="encoder.pth") == 0
    run = place / "runs/conv2d_fsq-001"

    assert "missing in encoder.pth: classifier (host_part.head)" in capsys.readouterr().out
    assert {name.partition(".")[0] for name in checkpoint.read_checkpoint(run / filenames.CHECKPOINT).tensors} == {
        "device_part"
    }
    assert main(["evaluate"]) == 3
    stderr = capsys.readouterr().err
    assert ("host_part.head: " in stderr, "[evaluate.weights-missing]" in stderr) == (True, True)


def stated(**model):
    """A configuration that says something else of the model."""
    return json.dumps({**CONFIG, "model": {"levels": [8] * 8, **model}})


MISFITS = {
    "nothing": ("{}", "[import.setting-missing]"),
    "no configuration": ("[1]", "[config.not-a-mapping]"),
    "no model": ('{"model": 3}', "config.json:1: model: must be"),
    "another width": (
        stated(widths=[32, 64, 64]),
        "[import.setting-mismatch]",
    ),
    "another name": (stated(name="tcn_vae"), "[import.setting-mismatch]"),
    "other levels": (
        stated(levels=[8, 8]),
        "device_part.projection.weight: is float32 (8, 128), must be float32 (2, 128)",
    ),
    "an unknown key": (stated(hiden=3), "[config.unknown-key]"),
}


@pytest.mark.parametrize(("config", "problem"), MISFITS.values(), ids=MISFITS)
def test_a_configuration_that_does_not_fit_is_refused(place, capsys, config, problem) -> None:
    """With its place; no run is left."""
    (place / "config.json").write_text(config)

    assert (bring(), problem in capsys.readouterr().err, (place / "runs").exists()) == (3, True, False)


def test_weights_of_other_data_are_refused(place, capsys) -> None:
    """With the shape that they need, and the one of the data."""
    torch.save(seeded(PooledFsq, classes=10).state_dict(), place / "ten.pth")

    assert bring(file="ten.pth") == 3
    stderr = capsys.readouterr().err
    assert ("[import.data-mismatch]" in stderr, "classes: the checkpoint needs 10, the data have 3" in stderr) == (
        *(True, True),
    )


def test_what_cannot_be_expressed_is_refused(place, capsys) -> None:
    """The error names the parts that conv2d_vq does not have."""
    torch.save(seeded(Conv2dVq).state_dict(), place / "tokens.pth")

    assert main(["import", "tokens.pth", "--as", "conv2d_vq", "--config", "config.json"]) == 3
    assert "[legacy.unsupported-part]" in capsys.readouterr().err


@pytest.mark.parametrize(("make", "levels"), [(UnpooledFsq, (8, 6, 5, 5, 4)), (AblationFsq, (8,) * 8)])
def test_other_fsq_graphs_become_runs(place, make, levels) -> None:
    """Which are evaluated like every other."""
    torch.save(seeded(make, classes=3).state_dict(), place / "old.pth")
    (place / "config.json").write_text(stated(levels=levels))

    assert (bring(), main(["evaluate"])) == (0, 0)


def test_a_placeholder_is_named_as_one(place, capsys) -> None:
    """It never reaches torch."""
    (place / "stub.pth").write_text("# weights follow\n")

    assert bring(file="stub.pth") == 3
    stderr = capsys.readouterr().err
    assert ("text file of 17 bytes" in stderr, "[legacy.foreign-file]" in stderr) == (True, True)


def test_a_name_that_cannot_be_recorded_is_refused(place, capsys) -> None:
    """A run states its file's name."""
    (place / "old.pth").rename(place / "old\n.pth")

    assert bring(file="old\n.pth") == 3
    assert "[import.file-name]" in capsys.readouterr().err


def test_an_existing_run_is_left_alone(place, capsys) -> None:
    """Another folder must be named."""
    assert (bring("--out", "mine"), bring("--out", "mine")) == (0, 3)
    assert "[run.folder-exists]" in capsys.readouterr().err


def test_an_export_uses_the_normalization_of_the_import(place) -> None:
    """Calibration windows and test vectors are normalized as on the device."""
    bring("--normalization", "scale.json")
    origin = export_run._open(place / "runs/conv2d_fsq-001", Reading(place))

    assert origin.prepared.normalization.std == ((5.0,) * 9,)


def test_a_changed_normalization_is_found(place, capsys) -> None:
    """It is sealed, also where it was fitted elsewhere."""
    bring("--normalization", "scale.json")
    path = place / "runs/conv2d_fsq-001" / filenames.NORMALIZATION
    scale = load(path, Normalization)
    path.write_bytes(scale.model_copy(update={"mean": (tuple([1.0] * len(CHANNELS)),)}).to_bytes())

    assert main(["evaluate"]) == 3
    said = capsys.readouterr().err
    assert ("normalization.json: " in said, "[run.file-changed]" in said) == (True, True)
