"""Predictions do not depend on batches, and come from the network that the record describes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from places import places
from tiny_systems import SYSTEMS, network_of, part, spec_of

from modelreg.errors import InputError
from modelreg.ml import checkpoint, factory, prediction
from modelreg.ml.network import Network
from modelreg.records.model import Channel, Conv2dFsqSettings, InputSpec, ModelSpec, VqSpec

MODEL = Conv2dFsqSettings(widths=(6, 8), kernels=((1, 3), (2, 3)), levels=(8, 6, 5), hidden=16, dropout=0.5)
INPUT = InputSpec(
    channels=tuple(Channel(name=name, unit="g") for name in "xyz"),
    devices=("phone", "collar"),
    timesteps=16,
    rate_hz=50.0,
)
SPEC = factory.spec(MODEL, INPUT, ("sit", "walk", "run"))


def network(seed: int = 0) -> Network:
    """Return the network of the record."""
    return factory.seeded(MODEL, INPUT.shape, 3, seed=seed)


def windows(n: int) -> torch.Tensor:
    """Return n windows."""
    return torch.randn(n, *INPUT.shape, generator=torch.Generator().manual_seed(1))


def far_from_boundaries(x: torch.Tensor) -> np.ndarray:
    """Return which windows keep their codes under rounding errors of 1e-4."""
    net = network().eval()
    g = net.host_part.quantizer.grid
    bounded = torch.tanh(net.device_part(x) + g.shift) * g.half_range - g.offset
    return ((bounded - bounded.floor() - 0.5).abs() > 1e-4).all(1).numpy()


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_size_of_the_batches_does_not_matter(batch_size: int) -> None:
    """Logits are equal up to rounding, and codes exactly, except at boundaries."""
    x = windows(64)
    whole, parts = prediction.predict(network(), x), prediction.predict(network(), x, batch_size)
    clear = far_from_boundaries(x)

    np.testing.assert_allclose(whole.logits[clear], parts.logits[clear], atol=1e-5)
    np.testing.assert_array_equal(whole.code_index[clear], parts.code_index[clear])


def test_the_order_of_the_windows_does_not_matter() -> None:
    """The prediction of a window does not depend on the other windows."""
    x = windows(40)
    clear = far_from_boundaries(x)
    forth, back = prediction.predict(network(), x), prediction.predict(network(), x.flip(0))

    np.testing.assert_array_equal(forth.code_index[clear], back.code_index[::-1][clear])


def test_arrays_and_tensors_give_the_same_predictions() -> None:
    """The number formats are those of predictions.npz."""
    x = windows(5)
    a, b = prediction.predict(network(), x), prediction.predict(network(), x.numpy())

    assert np.array_equal(a.logits, b.logits)
    assert (a.logits.dtype.name, a.code_index.dtype.name) == ("float32", "int64")


def test_the_network_keeps_its_mode_and_its_statistics() -> None:
    """A network in training mode predicts in eval mode and returns to training mode."""
    asked = network().train()
    prediction.predict(asked, windows(5))

    assert asked.training
    assert all(torch.equal(a, b) for a, b in zip(asked.buffers(), network().buffers(), strict=True))


def test_no_windows_give_empty_arrays() -> None:
    """The arrays keep their number of columns."""
    answers = prediction.predict(network(), windows(0))

    assert (answers.logits.shape, answers.code_index.shape, answers.cluster) == ((0, 3), (0,), None)


@pytest.mark.parametrize("shape", [(3, 1, 16), (3, 2, 15), (3, 2)])
def test_windows_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    """The error names both shapes."""
    with pytest.raises(InputError) as caught:
        prediction.predict(network(), torch.zeros(4, *shape))
    (problem,) = caught.value.problems

    assert problem.rule == "model.window-shape-mismatch"
    assert str((4, *shape)) in problem.message
    assert "(N, 3, 2, 16)" in problem.message


def saved(folder: Path) -> Path:
    """Return a checkpoint of another seed."""
    path = folder / "checkpoint.safetensors"
    path.write_bytes(checkpoint.checkpoint_bytes(network(seed=5).state_dict()))
    return path


def test_a_network_is_loaded_from_its_record_and_weights(tmp_path: Path) -> None:
    """The loaded network gives the same predictions and is in eval mode."""
    loaded = prediction.load_network(SPEC, saved(tmp_path))
    a, b = prediction.predict(loaded, windows(9)), prediction.predict(network(seed=5), windows(9))

    assert not loaded.training
    assert np.array_equal(a.logits, b.logits)


def changed(**changes: Any) -> ModelSpec:
    """Return the record with another quantizer."""
    return SPEC.model_copy(update={"quantizer": SPEC.quantizer.model_copy(update=changes)})


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        (changed(epsilon=1e-2), "quantizer.epsilon"),
        (changed(levels=(8, 6, 4)), "quantizer.levels"),
        (changed(shift=SPEC.quantizer.shift[:2]), "quantizer.shift"),
        (SPEC.model_copy(update={"parameters": 7}), "parameters"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(spec: ModelSpec, where: str, tmp_path: Path) -> None:
    """Number of parameters and quantizer must be those that the settings give."""
    with pytest.raises(InputError) as caught:
        prediction.load_network(spec, saved(tmp_path))

    assert places(caught.value.problems) == [(where, "model.record-mismatch")]


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"quantizer": VqSpec(codes=9, dimension=4, codebook="host_part.quantizer.codes")}, "quantizer"),
        ({"quantizer": None}, "quantizer"),
        ({"tensors": {}}, "tensors"),
    ],
)
def test_a_record_of_another_system_that_contradicts_itself_is_refused(changes, where, tmp_path: Path) -> None:
    """The codebook and the tensors must be those that the settings give."""
    spec = spec_of("conv2d_vq").model_copy(update=changes)
    with pytest.raises(InputError) as caught:
        prediction.load_network(spec, tmp_path / "checkpoint.safetensors")

    assert places(caught.value.problems) == [(where, "model.record-mismatch")]


@pytest.mark.parametrize("name", SYSTEMS)
def test_each_system_is_saved_and_loaded(name, tmp_path: Path) -> None:
    """Predictions are the same after loading. They have codes and clusters where the system has them."""
    path, asked = tmp_path / "checkpoint.safetensors", network_of(name)
    path.write_bytes(checkpoint.checkpoint_bytes(asked.state_dict()))
    loaded, x = prediction.load_network(spec_of(name), path), part().x
    ours, theirs = prediction.predict(asked, x), prediction.predict(loaded, x)

    np.testing.assert_array_equal(ours.logits, theirs.logits)
    assert (ours.code_index is None, ours.cluster is None) == (name == "tcn_vae", "hdp" not in name)
    assert prediction.predict(loaded, x[:0]).logits.shape == (0, 3)


def test_the_last_bit_of_a_constant_may_differ(tmp_path: Path) -> None:
    """atanh may differ in the last bit between machines."""
    shift = tuple(value * (1 + 2**-52) for value in SPEC.quantizer.shift)

    assert prediction.load_network(changed(shift=shift), saved(tmp_path))
