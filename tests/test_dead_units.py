"""Dead units are reported in the first layer in which they never change."""

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
        network.device_part.projection.weight *= 50  # windows then have different codes
        network.host_part.head[0].bias += 2  # every unit of the head is then active
    return network


def dead(network) -> list[tuple[str, str, str]]:
    """Return layer, number of dead units and their indices, of each problem."""
    found = [problem for problem in find_dead_units(network, WINDOWS) if problem.rule == "model.dead-units"]
    return [(p.where, p.message.partition(" units ")[0], p.message.rpartition(": ")[2]) for p in found]


def test_a_sound_network_has_no_dead_units(network) -> None:
    """The check does not change the network."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    assert list(find_dead_units(network, WINDOWS)) == []
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_filter_of_zeros_is_reported_once(network) -> None:
    """The layers that follow do not report it again."""
    with torch.no_grad():
        network.device_part.conv1.weight[5] = 0

    assert dead(network) == [("device_part.conv1", "1 of 12", "5")]


def test_units_that_are_never_active_are_reported(network) -> None:
    """They are reported in their ReLU. The first eight indices are listed."""
    with torch.no_grad():
        network.device_part.bn1.bias[:10] = -100

    assert dead(network) == [("device_part.relu1", "10 of 12", "0, 1, 2, 3, 4, 5, 6, 7, …")]


def test_a_dead_unit_of_the_head_is_reported(network) -> None:
    """A class with weights of 0 has a constant logit."""
    with torch.no_grad():
        network.host_part.head[3].weight[1] = 0

    assert dead(network) == [("host_part.head.3", "1 of 3", "1")]
