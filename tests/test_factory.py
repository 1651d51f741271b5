"""The network: what it is made of, what it counts, what it cannot be."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from modelreg.errors import InputError
from modelreg.ml import factory
from modelreg.records.model import Channel, Conv2dFsqSettings, InputSpec

TINY = Conv2dFsqSettings(widths=(4, 6), kernels=((1, 3), (1, 3)), levels=(4, 3), hidden=5)
HAILO = {nn.Conv2d, nn.BatchNorm2d, nn.BatchNorm1d, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.Flatten, nn.Linear}


def tiny(**changes: Any) -> Conv2dFsqSettings:
    """Return the tiny model with changes."""
    return TINY.model_copy(update=changes)


def windows(*shape: int, n: int = 4) -> Tensor:
    """Return n windows of a shape."""
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1))


def input_spec(C: int, D: int, T: int) -> InputSpec:
    """Return a record of windows (C, D, T)."""
    channels = tuple(Channel(name=f"c{i}", unit="g") for i in range(C))
    return InputSpec(channels=channels, devices=tuple(f"d{i}" for i in range(D)), timesteps=T, rate_hz=50.0, fold=1)


def problems_of(settings: Conv2dFsqSettings, shape: factory.Shape, classes: int) -> list[str]:
    """Return where a model is refused."""
    with pytest.raises(InputError) as caught:
        factory.build(settings, shape, classes)
    return [problem.where for problem in caught.value.problems]


def test_the_published_graph_has_its_number_of_parameters() -> None:
    """Nine channels, ten classes, eight dimensions of eight levels: 39,762 parameters (models.md A4)."""
    settings = Conv2dFsqSettings(levels=(8,) * 8)
    classes = tuple(f"class {i}" for i in range(10))

    assert factory.spec(settings, input_spec(9, 2, 100), classes).parameters == 39_762


def test_the_record_counts_what_is_built() -> None:
    """The count, made without memory, is that of the weights in memory."""
    spec = factory.spec(TINY, input_spec(3, 2, 16), ("a", "b"))
    network = factory.build(TINY, (3, 2, 16), 2)

    assert spec.parameters == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("batchnorm", [False, True])
def test_the_whole_is_its_two_parts(batchnorm: bool) -> None:
    """The device part's projection, given to the host part, is all that the network computes."""
    network = factory.build(tiny(batchnorm_before_fsq=batchnorm), (3, 2, 16), 5).eval()
    x = windows(3, 2, 16)
    projection = network.device_part(x)
    parts = (projection, *network.host_part(projection))

    assert all(a is b is None or torch.equal(a, b) for a, b in zip(network(x), parts, strict=True))


@pytest.mark.parametrize("batchnorm", [False, True])
def test_the_device_part_holds_what_an_npu_compiles(batchnorm: bool) -> None:
    """Nothing but plain layers comes before the projection, and no pooling of adaptive size."""
    network = factory.build(tiny(batchnorm_before_fsq=batchnorm), (3, 2, 16), 5)

    assert {type(layer) for layer in network.device_part} <= HAILO


def test_shapes_are_as_declared() -> None:
    """(N, C, D, T) in; projection and code (N, d), index (N,), logits (N, K) out."""
    output = factory.build(TINY, (3, 2, 17), 5)(windows(3, 2, 17))

    assert [tuple(t.shape) for t in output[:4]] == [(4, 2), (4, 2), (4,), (4, 5)]


def test_codes_come_from_the_projection() -> None:
    """The classifier sees codes, never the continuous projection: every code is one of 4 · 3."""
    output = factory.build(TINY, (3, 2, 16), 5).eval()(windows(3, 2, 16))

    assert set(output.code[:, 0].tolist()) <= {-1.0, -0.5, 0.0, 0.5}
    assert set(output.code[:, 1].tolist()) <= {-1.0, 0.0, 1.0}


def swapped_difference(kernels: tuple[tuple[int, int], ...]) -> float:
    """Return how much swapping the devices changes the projection."""
    network = factory.seeded(tiny(kernels=kernels), (3, 2, 16), 5, seed=0).eval()
    x = windows(3, 2, 16, n=32)
    with torch.no_grad():
        return float((network(x).projection - network(x.flip(2)).projection).abs().max())


def test_kernels_of_height_one_cannot_tell_devices_apart() -> None:
    """Swapping the two devices changes nothing but the order of a sum."""
    assert swapped_difference(((1, 3), (1, 3))) < 1e-6


def test_a_kernel_across_the_devices_tells_them_apart() -> None:
    """Swapping the two devices changes the projection."""
    assert swapped_difference(((2, 3), (1, 3))) > 1e-3


@pytest.mark.parametrize(
    ("settings", "shape", "classes", "where"),
    [
        (tiny(kernels=((2, 3), (2, 3))), (3, 2, 16), 5, ["model.kernels.1"]),
        (tiny(kernels=((4, 3), (2, 3))), (3, 2, 16), 5, ["model.kernels.0", "model.kernels.1"]),
        (TINY, (3, 2, 1), 5, ["model.widths"]),
        (tiny(levels=(1000,) * 7), (3, 2, 16), 5, ["model.levels"]),
        (tiny(kernels=((3, 3), (1, 3))), (3, 2, 1), 1, ["model.kernels.0", "model.widths", "classes"]),
    ],
)
def test_a_model_that_does_not_fit_is_refused(
    settings: Conv2dFsqSettings, shape: factory.Shape, classes: int, where: list[str]
) -> None:
    """Every reason is listed, each under the name of its setting."""
    assert problems_of(settings, shape, classes) == where


def test_without_pooling_a_window_may_be_as_short_as_a_sample() -> None:
    """Nothing halves it."""
    network = factory.build(tiny(pooling=False), (3, 2, 1), 5).eval()

    assert network(windows(3, 2, 1)).logits.shape == (4, 5)


def test_the_seed_alone_makes_the_weights() -> None:
    """The caller's random state changes nothing and is not changed."""
    before = torch.get_rng_state()
    first = factory.seeded(TINY, (3, 2, 16), 5, seed=7).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(123)
    second = factory.seeded(TINY, (3, 2, 16), 5, seed=7).state_dict()

    assert all(torch.equal(first[name], second[name]) for name in first)


def test_describing_a_network_draws_no_random_number() -> None:
    """The record is made without touching torch's generator."""
    before = torch.get_rng_state()
    factory.spec(TINY, input_spec(3, 2, 16), ("a", "b"))

    assert torch.equal(before, torch.get_rng_state())
