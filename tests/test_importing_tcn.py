"""import of a TCN-VAE: an old network over sequences becomes a tcn_vae, and goes the way of every run."""

import json

import numpy as np
import pytest
import torch
from legacy_networks import Tcn, TcnVae, _one_thread, seeded
from two_device import two_device_arrays, two_device_metadata, write_metadata

from modelreg import runs
from modelreg.cli import main
from modelreg.ml import checkpoint, evaluation
from modelreg.ml.tcn import to_sequence
from modelreg.records.data import Normalization
from modelreg.records.base import load
from modelreg.data import normalization

__all__ = ["_one_thread"]  # a fixture

OLD = seeded(TcnVae, 3)
CONFIG = {
    "data": {"sources": [{"kind": "npy", "path": "data/dataset.json"}], "window": 100, "hop": 100},
    "split": {"by": "subject", "test": 2, "validation": 1},
    "evaluation": {"replicates": 100},
}


def write_data(folder, devices: int) -> None:
    """Write windows of one device or of two."""
    metadata = two_device_metadata()
    folder.mkdir()
    for key, array in two_device_arrays().items():
        np.save(folder / f"all_{key}.npy", np.ascontiguousarray(array[:, :, :devices]) if key == "x" else array)
    write_metadata(folder, {**metadata, "devices": metadata["devices"][:devices]})


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working directory: a registry, windows of one device, an old network, its encoder alone."""
    main(["init", str(tmp_path)])
    write_data(tmp_path / "data", 1)
    torch.save(OLD.state_dict(), tmp_path / "old.pth")
    torch.save(OLD.tcn_encoder.state_dict(), tmp_path / "encoder.pth")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795255200")
    return tmp_path


def bring(file="old.pth") -> int:
    """Import a checkpoint."""
    return main(["import", file, "--as", "tcn_vae", "--config", "config.json"])


def test_an_old_tcn_vae_goes_all_the_way(place, capsys) -> None:
    """Imported, evaluated, exported with parity, released with its encoder, verified."""
    steps = (["evaluate"], ["export"], ["release", "v0.1.0", "--roll-changelog"], ["verify"])

    assert [bring(), *map(main, steps)] == [0] * 5
