"""The network factory: the layers of a network, its record, and settings that are refused."""

from typing import Any

import pytest
import torch
from places import places
from torch import Tensor, nn

from modelreg.errors import InputError
from modelreg.ml import factory
from modelreg.records.model import Channel, Conv2dFsqSettings, InputSpec

TINY = Conv2dFsqSettings(widths=(4, 6), kernels=((1, 3), (1, 3)), levels=(4, 3), hidden=5)
HIGH = [(f"model.kernels.{i}", "model.kernel-too-high") for i in range(2)]
SHORT = ("model.widths", "model.window-too-short")
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


def refusal(settings: Conv2dFsqSettings, shape: factory.Shape, classes: int) -> list[tuple[str, str]]:
    """Return place and rule of each problem that a model is refused with."""
    with pytest.raises(InputError) as caught:
        factory.build(settings, shape, classes)
    return places(caught.value.problems)


def test_the_published_graph_has_its_number_of_parameters() -> None:
    """It has 39,762 parameters with 9 channels, 10 classes and 8 dimensions of 8 levels."""
    settings = Conv2dFsqSettings(levels=(8,) * 8)
    classes = tuple(f"class {i}" for i in range(10))

    assert factory.spec(settings, input_spec(9, 2, 100), classes).parameters == 39_762


def test_the_record_counts_what_is_built() -> None:
    """The number of parameters is that of the built network."""
    spec = factory.spec(TINY, input_spec(3, 2, 16), ("a", "b"))
    network = factory.build(TINY, (3, 2, 16), 2)

    assert spec.parameters == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("batchnorm", [False, True])
def test_the_network_equals_device_part_and_host_part(batchnorm: bool) -> None:
    """The host part computes every output from the projection of the device part."""
    network = factory.build(tiny(batchnorm_before_fsq=batchnorm), (3, 2, 16), 5).eval()
    x = windows(3, 2, 16)
    projection = network.device_part(x)
    parts = (projection, *network.host_part(projection))

    assert all(a is b is None or torch.equal(a, b) for a, b in zip(network(x), parts, strict=True))


@pytest.mark.parametrize("batchnorm", [False, True])
def test_the_device_part_holds_what_an_npu_compiles(batchnorm: bool) -> None:
    """All layers up to the projection are supported by the NPU; poolings have a fixed size."""
    network = factory.build(tiny(batchnorm_before_fsq=batchnorm), (3, 2, 16), 5)

    assert {type(layer) for layer in network.device_part} <= HAILO


def test_outputs_have_the_documented_shapes() -> None:
    """Projection and code are (N, d), the index is (N,), and the logits are (N, K)."""
    output = factory.build(TINY, (3, 2, 17), 5)(windows(3, 2, 17))

    assert [tuple(t.shape) for t in output[:4]] == [(4, 2), (4, 2), (4,), (4, 5)]


def test_codes_come_from_the_projection() -> None:
    """The classifier receives one of 4 · 3 codes, not the continuous projection."""
    output = factory.build(TINY, (3, 2, 16), 5).eval()(windows(3, 2, 16))

    assert set(output.code[:, 0].tolist()) <= {-1.0, -0.5, 0.0, 0.5}
    assert set(output.code[:, 1].tolist()) <= {-1.0, 0.0, 1.0}


def swapped_difference(kernels: tuple[tuple[int, int], ...]) -> float:
    """Return how much swapping the devices changes the projection."""
    network = factory.seeded(tiny(kernels=kernels), (3, 2, 16), 5, seed=0).eval()
    x = windows(3, 2, 16, n=32)
    with torch.no_grad():
        return float((network(x).projection - network(x.flip(2)).projection).abs().max())


def test_kernels_of_height_one_treat_devices_equally() -> None:
    """Swapping the two devices changes only the order of a sum."""
    assert swapped_difference(((1, 3), (1, 3))) < 1e-6


def test_a_kernel_across_devices_distinguishes_them() -> None:
    """Swapping the two devices changes the projection."""
    assert swapped_difference(((2, 3), (1, 3))) > 1e-3


@pytest.mark.parametrize(
    ("settings", "shape", "classes", "expected"),
    [
        (tiny(kernels=((2, 3), (2, 3))), (3, 2, 16), 5, [HIGH[1]]),
        (tiny(kernels=((4, 3), (2, 3))), (3, 2, 16), 5, HIGH),
        (TINY, (3, 2, 1), 5, [SHORT]),
        (tiny(levels=(1000,) * 7), (3, 2, 16), 5, [("model.levels", "model.too-many-codes")]),
        (tiny(kernels=((3, 3), (1, 3))), (3, 2, 1), 1, [HIGH[0], SHORT, ("classes", "model.too-few-classes")]),
    ],
)
def test_a_model_that_does_not_fit_is_refused(
    settings: Conv2dFsqSettings, shape: factory.Shape, classes: int, expected: list[tuple[str, str]]
) -> None:
    """All problems are reported together, each at its setting."""
    assert refusal(settings, shape, classes) == expected


def test_a_window_may_have_one_timestep_without_pooling() -> None:
    """No layer halves the number of timesteps."""
    network = factory.build(tiny(pooling=False), (3, 2, 1), 5).eval()

    assert network(windows(3, 2, 1)).logits.shape == (4, 5)


def test_the_weights_depend_on_the_seed_only() -> None:
    """The random state of the caller has no effect and is not changed."""
    before = torch.get_rng_state()
    first = factory.seeded(TINY, (3, 2, 16), 5, seed=7).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(123)
    second = factory.seeded(TINY, (3, 2, 16), 5, seed=7).state_dict()

    assert all(torch.equal(first[name], second[name]) for name in first)


def test_describing_a_network_draws_no_random_number() -> None:
    """Building the record does not change torch's random state."""
    before = torch.get_rng_state()
    factory.spec(TINY, input_spec(3, 2, 16), ("a", "b"))

    assert torch.equal(before, torch.get_rng_state())
