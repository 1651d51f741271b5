"""Build the network of a model system from its settings, and the record that describes it."""

from collections.abc import Iterator

import torch

from modelreg.errors import InputError, Problem
from modelreg.ml import conv2d, tcn_vae
from modelreg.ml.conv2d import Conv2dNetwork
from modelreg.ml.conv2d_tokens import Conv2dTokens
from modelreg.ml.network import Groups, Network, Shape
from modelreg.ml.tcn_vae import TcnVae
from modelreg.records import fsq
from modelreg.records.model import (
    Conv2dFsqSettings,
    Conv2dVqHdpHsmmSettings,
    Conv2dVqTokensSettings,
    InputSpec,
    ModelSettings,
    ModelSpec,
    TcnVaeSettings,
)

NO_GROUPS = Groups()


def build(settings: ModelSettings, shape: Shape, classes: int, groups: Groups = NO_GROUPS) -> Network:
    """Build a network for windows of shape (C, D, T), with random weights from torch's generator.

    Raises InputError if the settings do not fit the shape or the number of classes.
    """
    if problems := list(find_problems(settings, shape, classes)):
        raise InputError("cannot build the network", problems)
    if isinstance(settings, TcnVaeSettings):
        return TcnVae(settings, shape, classes, groups.domains)
    if isinstance(settings, Conv2dVqTokensSettings):
        return Conv2dTokens(settings, shape, classes)
    return Conv2dNetwork(settings, shape, classes, groups.sessions)


def seeded(settings: ModelSettings, shape: Shape, classes: int, groups: Groups = NO_GROUPS, *, seed: int) -> Network:
    """Build a network whose weights depend on `seed` only; torch's random state is not changed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build(settings, shape, classes, groups)


def of_spec(spec: ModelSpec, *, seed: int) -> Network:
    """Build the network of a record."""
    groups = Groups(len(spec.domains), spec.sessions)
    return seeded(spec.settings, spec.input.shape, len(spec.classes), groups, seed=seed)


def spec(
    settings: ModelSettings,
    input_spec: InputSpec,
    classes: tuple[str, ...],
    domains: tuple[str, ...] = (),
    sessions: int = 0,
) -> ModelSpec:
    """Return the record of a network without allocating its weights. Raises InputError.

    `domains` are the names of the data sets in the train split, `sessions` is the number of its recordings. A model
    system that does not use them ignores them.
    """
    domains = domains if isinstance(settings, TcnVaeSettings) else ()
    grouped = isinstance(settings, Conv2dVqHdpHsmmSettings) and settings.hdp and settings.hdp.sessions
    sessions = sessions if grouped else 0
    with torch.device("meta"):
        network = build(settings, input_spec.shape, len(classes), Groups(len(domains), sessions))
    tensors = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    return ModelSpec(
        settings=settings,
        input=input_spec,
        classes=classes,
        quantizer=fsq.quantizer(settings),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        domains=domains,
        sessions=sessions,
        tensors=None
        if isinstance(settings, Conv2dFsqSettings)
        else tensors,  # artifacts/safetensors_file.py computes those
    )


def find_problems(settings: ModelSettings, shape: Shape, classes: int) -> Iterator[Problem]:
    """Yield why a network with these settings cannot be built for this input."""
    if isinstance(settings, TcnVaeSettings):
        yield from tcn_vae.find_problems(settings, shape)
    elif not isinstance(settings, Conv2dVqTokensSettings):  # those fit every window
        yield from conv2d.find_problems(settings, shape)
    if classes < 2:
        yield Problem("classes", "model.too-few-classes", f"{classes}, must be at least 2")
