"""A network from its settings: one way to build every model system, and the record of what was built."""

from collections.abc import Iterator

import torch

from modelreg import fsq
from modelreg.errors import InputError, Problem
from modelreg.ml import conv2d, tcn_vae
from modelreg.ml.conv2d import Conv2dNetwork
from modelreg.ml.system import Network, Shape
from modelreg.ml.tcn_vae import TcnVae
from modelreg.records.model import Conv2dFsqSettings, InputSpec, ModelSettings, ModelSpec, TcnVaeSettings


def build(settings: ModelSettings, shape: Shape, classes: int, domains: int = 0) -> Network:
    """Make a network for windows of this shape, its weights from torch's generator. Raises InputError.

    `domains` is the number of data sets that the windows are of; under two there is no domain head.
    """
    if problems := list(find_problems(settings, shape, classes)):
        raise InputError("the model does not fit its input", problems)
    if isinstance(settings, TcnVaeSettings):
        return TcnVae(settings, shape, classes, domains)
    return Conv2dNetwork(settings, shape, classes)


def seeded(settings: ModelSettings, shape: Shape, classes: int, domains: int = 0, *, seed: int) -> Network:
    """Make a network whose weights depend on `seed` alone; torch's generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build(settings, shape, classes, domains)


def of_spec(spec: ModelSpec, *, seed: int) -> Network:
    """Make the network of a record."""
    return seeded(spec.settings, spec.input.shape, len(spec.classes), len(spec.domains), seed=seed)


def spec(
    settings: ModelSettings, input_spec: InputSpec, classes: tuple[str, ...], domains: tuple[str, ...] = ()
) -> ModelSpec:
    """Return the record of a network, counted on one without memory. Raises InputError."""
    domains = domains if isinstance(settings, TcnVaeSettings) else ()
    with torch.device("meta"):
        network = build(settings, input_spec.shape, len(classes), len(domains))
    tensors = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    return ModelSpec(
        settings=settings,
        input=input_spec,
        classes=classes,
        quantizer=fsq.quantizer(settings),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        domains=domains,
        tensors=None if isinstance(settings, Conv2dFsqSettings) else tensors,  # weights.py knows those
    )


def find_problems(settings: ModelSettings, shape: Shape, classes: int) -> Iterator[Problem]:
    """Yield what keeps a network with these settings from being built for this input."""
    if isinstance(settings, TcnVaeSettings):
        yield from tcn_vae.find_problems(settings, shape)
    else:
        yield from conv2d.find_problems(settings, shape)
    if classes < 2:
        yield Problem("classes", f"{classes}, but a classifier needs at least 2")
