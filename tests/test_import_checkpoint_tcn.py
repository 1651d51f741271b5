"""import of a TCN-VAE: a network over sequences becomes a tcn_vae, by settings that are there for it."""

import json

import numpy as np
import onnx
import pytest
import torch
from legacy_networks import Conv2dVq, TcnVae, _one_thread, seeded
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from two_device import two_device_arrays, two_device_metadata, write_metadata

from modelreg.cli.main import main
from modelreg.ml import checkpoint, factory
from modelreg.ml.network import Batch
from modelreg.records.model import TcnVaeSettings
from modelreg.registry import filenames

__all__ = ["_one_thread"]  # a fixture

OLD = seeded(TcnVae, 3, (8, 8, 12))
CONFIG = {
    "data": {"sources": [{"kind": "npy", "path": "data/dataset.json"}], "window": 100, "hop": 100},
    "split": {"by": "subject", "test": 2, "validation": 1},
    "evaluation": {"replicates": 100},
}
RUN = "runs/tcn_vae-001"


def write_data(folder, devices: int) -> None:
    """Write windows of one device or of two."""
    metadata = two_device_metadata()
    folder.mkdir(exist_ok=True)
    for key, array in two_device_arrays().items():
        np.save(folder / f"all_{key}.npy", np.ascontiguousarray(array[:, :, :devices]) if key == "x" else array)
    write_metadata(folder, {**metadata, "devices": metadata["devices"][:devices]})


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working directory: a registry, windows of one device, an old network, its encoder alone."""
    main(["init", "--sample", str(tmp_path)])
    (tmp_path / "modelreg.yaml").write_text("default_model: conv2d_fsq\n")  # no gates: the model is hardly trained
    write_data(tmp_path / "data", 1)
    torch.save(OLD.state_dict(), tmp_path / "old.pth")
    torch.save(OLD.tcn_encoder.state_dict(), tmp_path / "encoder.pth")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795255200")
    return tmp_path


def bring(file="old.pth", model="tcn_vae") -> int:
    """Import a checkpoint."""
    return main(["import", file, "--as", model, "--config", "config.json"])


def test_a_legacy_tcn_vae_is_imported_evaluated_exported_and_released(place) -> None:
    """Imported, evaluated, exported with parity, released with its encoder, verified."""
    steps = (["evaluate"], ["export"], ["release", "v0.1.0", "--roll-changelog"], ["verify"])

    assert [bring(), *map(main, steps)] == [0] * 5
    assert (place / "registry/tcn_vae/v0.1.0" / filenames.ENCODER).is_file()


def test_an_encoder_alone_stays_one(place, capsys) -> None:
    """Its run has no heads: it is not evaluated and not exported. Its weights are in encoder.safetensors, too."""
    assert bring("encoder.pth") == 0
    alone = checkpoint.read_checkpoint(place / RUN / filenames.ENCODER).tensors
    whole = checkpoint.read_checkpoint(place / RUN / filenames.CHECKPOINT).tensors

    heads = "latent mean (device_part.heads), classifier (host_part.head)"

    assert f"missing in encoder.pth: {heads}" in capsys.readouterr().out
    assert {f"device_part.{name}" for name in alone} == whole.keys()
    assert (main(["evaluate"]), main(["export"])) == (3, 3)


def test_a_changed_encoder_is_found(place, capsys) -> None:
    """It is sealed, as the weights are."""
    bring()
    (place / RUN / filenames.ENCODER).write_bytes(b"")

    assert main(["evaluate"]) == 3
    assert "[run.file-changed]" in capsys.readouterr().err


def test_a_configuration_cannot_contradict_the_checkpoint(place, capsys) -> None:
    """An ELBO needs a decoder, and batch normalization its statistics."""
    (place / "config.json").write_text(json.dumps({**CONFIG, "model": {"elbo": 0.01, "batchnorm": True}}))

    assert bring() == 3
    stderr = capsys.readouterr().err
    assert "[import.setting-mismatch]" in stderr
    assert ("model.elbo: is 0.01" in stderr, "model.batchnorm: is True" in stderr) == (True, True)


def test_a_network_of_one_device_does_not_fit_two(place, capsys) -> None:
    """Its channels are those of all devices, and no run is left."""
    write_data(place / "data", 2)

    assert (bring(), (place / "runs").exists()) == (3, False)
    assert "needs 9 over all devices (channels times devices), the data have 18" in capsys.readouterr().err


def test_conv2d_vq_is_refused_with_every_reason(place, capsys) -> None:
    """Recognised and checked, but our conv2d_vq has a code for each window, not for each timestep."""
    torch.save(seeded(Conv2dVq).state_dict(), place / "vq.pth")

    assert bring("vq.pth", "conv2d_vq") == 3
    stderr = capsys.readouterr().err
    assert ("[legacy.unsupported-part]" in stderr, "the 48 tensors of Conv2d-VQ" in stderr) == (True, True)


def write_graph(path, *, sequence: bool) -> None:
    """Write a legacy graph of the encoder: (1, 100, 9), or (1, 9, 100), to features and latent mean."""
    constants = {"mu.weight": OLD.fc_mu.weight, "mu.bias": OLD.fc_mu.bias}
    nodes, x = [helper.make_node("Transpose", ["x"], ["series"], perm=[0, 2, 1])] if sequence else [], "x"
    x = "series" if sequence else "x"
    for n, block in enumerate(OLD.tcn_encoder.network):
        layers = {"conv1": x, "conv2": f"{n}.relu1", "downsample": x}
        for name, source in layers.items():
            if layer := getattr(block, name, None):
                weight = [f"{n}.{name}.weight", f"{n}.{name}.bias"]
                constants |= zip(weight, (layer.weight, layer.bias), strict=True)
                d = layer.dilation[0]
                pads = [2 * d if layer.kernel_size == (3,) else 0, 0]
                nodes.append(helper.make_node("Conv", [source, *weight], [f"{n}.{name}"], dilations=[d], pads=pads))
            if name != "downsample":
                nodes.append(helper.make_node("Relu", [f"{n}.{name}"], [f"{n}.relu{name[-1]}"]))
        beside = f"{n}.downsample" if hasattr(block, "downsample") else x
        nodes += [helper.make_node("Add", [f"{n}.relu2", beside], [f"{n}.sum"])]
        nodes += [helper.make_node("Relu", [f"{n}.sum"], [x := f"{n}.out"])]
    nodes.append(helper.make_node("ReduceMean", [x], ["old_features"], axes=[2], keepdims=0))
    nodes.append(helper.make_node("Gemm", ["old_features", "mu.weight", "mu.bias"], ["old_mu"], transB=1))
    graph = helper.make_graph(
        nodes,
        "old",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 100, 9] if sequence else [1, 9, 100])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("old_features", "old_mu")],
        [numpy_helper.from_array(value.detach().numpy(), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.mark.parametrize("sequence", [True, False])
@pytest.mark.parametrize(
    ("file", "beside"),
    {"old.pth": ["features", "projection"], "encoder.pth": ["features"]}.items(),
)
def test_an_imported_run_has_the_outputs_of_the_legacy_graph(place, capsys, file, beside, sequence) -> None:
    """Features and latent mean, up to rounding errors; of an encoder alone those with weights."""
    bring(file)
    write_graph(place / "old.onnx", sequence=sequence)
    capsys.readouterr()

    assert main(["compare", RUN, "old.onnx", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["outputs"]
    assert [row["beside"] for row in rows] == beside
    assert max(row["max_difference"] for row in rows) < 1e-4
    assert min(row["min_cosine"] for row in rows) > 0.99999


def test_without_an_elbo_nothing_is_decoded() -> None:
    """It has no weights, and the loss has no term for it."""
    network = factory.seeded(TcnVaeSettings(name="tcn_vae", widths=(4, 4), elbo=0.0), (3, 2, 16), 5, seed=0)
    batch = Batch(torch.ones(4, 3, 2, 16), torch.zeros(4, dtype=torch.int64))

    assert network.terms(batch, network.answer(batch)) == {}
    assert not [name for name in network.state_dict() if name.startswith("training_part") or "log_variance" in name]


def test_without_batch_normalization_no_block_has_it() -> None:
    """Neither in the encoder nor in the decoder."""
    settings = TcnVaeSettings(name="tcn_vae", widths=(4, 4), decoder=4, batchnorm=False)
    layers = {type(layer) for layer in factory.seeded(settings, (3, 2, 16), 5, seed=0).modules()}

    assert layers.isdisjoint({nn.BatchNorm1d, nn.BatchNorm2d})
