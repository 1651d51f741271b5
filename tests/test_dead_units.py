"""Dead units: named in the layer that they die in, and only there."""

import pytest
import torch
from legacy_networks import _one_thread

from modelreg.ml import factory
from modelreg.ml.dead_units import find_dead_units
from modelreg.records.model import Conv2dFsqSettings

__all__ = ["_one_thread"]  # a fixture

WINDOWS = torch.randn(40, 3, 1, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network():
    """A small network in training mode."""
    settings = Conv2dFsqSettings(widths=(12, 4), kernels=((1, 5), (1, 3)), levels=(8, 8), hidden=16)
    network = factory.seeded(settings, (3, 1, 16), 3, seed=0)
    with torch.no_grad():
        network.device_part.projection.weight *= 50  # so that windows differ in their codes
        network.host_part.head[0].bias += 2  # and that every unit behind them fires
    return network


def dead(network) -> list[str]:
    """What is found, as text."""
    return [str(problem) for problem in find_dead_units(network, WINDOWS)]


def test_a_lively_network_has_none(network) -> None:
    """Nothing is reported, and nothing of the network is changed."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    assert dead(network) == []
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_filter_of_zeros_is_named_once(network) -> None:
    """Not again in the layers that only pass it on."""
    with torch.no_grad():
        network.device_part.conv1.weight[5] = 0

    assert dead(network) == ["device_part.conv1: 1 of 12 units never change on 40 windows: 5"]


def test_a_unit_that_never_fires_is_named(network) -> None:
    """Its ReLU is where it dies; many are counted."""
    with torch.no_grad():
        network.device_part.bn1.bias[:10] = -100

    assert dead(network) == ["device_part.relu1: 10 of 12 units never change on 40 windows: 0, 1, 2, 3, 4, 5, 6, 7, …"]


def test_the_head_is_watched_too(network) -> None:
    """A class that is never answered has a constant logit."""
    with torch.no_grad():
        network.host_part.head[3].weight[1] = 0

    assert dead(network) == ["host_part.head.3: 1 of 3 units never change on 40 windows: 1"]
