"""Find units whose output never changes. Metrics do not reveal them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from modelreg.errors import Problem

_HEIRS = (nn.ReLU, nn.BatchNorm1d, nn.BatchNorm2d)  # each unit depends on one unit of the layer before
_WATCHED = (nn.Conv1d, nn.Conv2d, nn.Linear, *_HEIRS)
_SHOWN = 8  # indices listed for each layer

Range = tuple[Tensor, Tensor]  # lowest and highest output of each unit (C,)


def find_dead_units(network: nn.Module, windows: Tensor) -> Iterator[Problem]:
    """Yield each layer with units that have the same output at every timestep of all windows.

    `windows` (N, …) are normalized. A unit is reported in the first layer in which it is constant. A ReLU that is never
    active is constant at 0.
    """
    before: set[int] = set()
    for name, (low, high) in _ranges(network, windows).items():
        dead = set(torch.nonzero(low == high).flatten().tolist())
        inherited = before if isinstance(network.get_submodule(name), _HEIRS) else set()
        if new := sorted(dead - inherited):
            shown = ", ".join(map(str, new[:_SHOWN])) + (", …" if len(new) > _SHOWN else "")
            yield Problem(
                name,
                "model.dead-units",
                f"{len(new)} of {len(low)} units never change on {len(windows)} windows: {shown}",
            )
        before = dead


def _ranges(network: nn.Module, windows: Tensor, batch_size: int = 512) -> dict[str, Range]:
    """Return the output ranges of the units of each layer, by layer name, in the order of the computation."""
    ranges: dict[str, Range] = {}

    def watch(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def note(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            units = output.transpose(0, 1).flatten(1)  # (C, N·…)
            low, high = ranges.get(name, (units[:, 0], units[:, 0]))
            ranges[name] = torch.minimum(low, units.amin(dim=1)), torch.maximum(high, units.amax(dim=1))

        return note

    training = network.training
    network.eval()
    with ExitStack() as hooks, torch.inference_mode():
        for name, module in network.named_modules():
            if isinstance(module, _WATCHED):
                hooks.callback(module.register_forward_hook(watch(name)).remove)
        for batch in windows.split(batch_size):
            network(batch)
    network.train(training)
    return ranges
