"""Small instances of every model system, and windows whose class can be learned."""

from typing import Any

import torch
from pydantic import TypeAdapter

from modelreg.config import TrainingSettings
from modelreg.ml import factory, training
from modelreg.ml.batches import Part
from modelreg.ml.network import Groups, Network
from modelreg.records.model import Channel, InputSpec, ModelSettings

SHAPE = (3, 2, 16)
CLASSES = ("sit", "walk", "run")
GROUPS = Groups(domains=2, sessions=3)
INPUT = InputSpec(
    channels=tuple(Channel(name=name, unit="g") for name in "xyz"),
    devices=("phone", "collar"),
    timesteps=16,
    rate_hz=50.0,
)
CONVOLUTIONS: dict[str, Any] = {"widths": [4, 6], "kernels": [[2, 3], [1, 3]], "hidden": 5}
VQ = {"codes": 8, "decay": 0.9}
HDP = {"clusters": 4}
HSMM = {"chunk": 8, "max_duration": 12}
FULL = {**CONVOLUTIONS, "name": "conv2d_vq_hdp_hsmm", "embedding": 4, "vq": VQ, "hdp": HDP, "hsmm": HSMM}

SYSTEMS: dict[str, dict[str, Any]] = {
    "conv2d_fsq": {**CONVOLUTIONS, "name": "conv2d_fsq", "levels": [4, 3]},
    "conv2d_fsq_hsmm": {**CONVOLUTIONS, "name": "conv2d_fsq_hsmm", "levels": [4, 3], "hsmm": HSMM},
    "conv2d_vq": {**CONVOLUTIONS, "name": "conv2d_vq", "embedding": 4, "vq": VQ},
    "conv2d_vq_hdp_hsmm": FULL,
    "conv2d_vq_tokens": {"name": "conv2d_vq_tokens", "widths": [4, 6], "embedding": 4, "vq": VQ, "hidden": 5},
    "tcn_vae": {"name": "tcn_vae", "widths": [4, 6], "latent": 3, "decoder": 4},
}
SWITCHED_OFF: dict[str, dict[str, Any]] = {
    "vq off": {**FULL, "vq": False},
    "hdp off": {**FULL, "hdp": False},
    "hsmm off": {**FULL, "hsmm": False},
    "reconstruction off": {**FULL, "reconstruction": 0},
    "one mixture": {**FULL, "hdp": {**HDP, "sessions": False}},
    "all off": {**FULL, "vq": False, "hdp": False, "hsmm": False, "reconstruction": 0},
    "fsq, hsmm off": {**SYSTEMS["conv2d_fsq_hsmm"], "hsmm": False},
    "fsq, convolutions alone": {
        **SYSTEMS["conv2d_fsq"],
        "pooling": False,
        "batchnorm": False,
        "batchnorm_before_fsq": True,
    },
}
ALL = SYSTEMS | SWITCHED_OFF


def settings_of(name: str) -> ModelSettings:
    """Return the settings of a system by its name in this module."""
    settings: ModelSettings = TypeAdapter(ModelSettings).validate_python(ALL[name], strict=False)
    return settings


def network_of(name: str, seed: int = 0) -> Network:
    """Return a system with its initial weights."""
    return factory.of_spec(spec_of(name), seed=seed)


def spec_of(name: str) -> factory.ModelSpec:
    """Return the record of a system trained on two data sets and three recordings."""
    return factory.spec(settings_of(name), INPUT, CLASSES, ("a", "b"), GROUPS.sessions)


def part(streams: tuple[int, ...] = (20, 20, 20), seed: int = 1) -> Part:
    """Return windows of several recordings of two data sets; the class is the frequency of a sine."""
    random = torch.Generator().manual_seed(seed)
    n = sum(streams)
    y = torch.arange(n) // 5 % len(CLASSES)
    phase = 6.28 * torch.rand(n, 3, 2, 1, generator=random)
    x = torch.sin((1 + 2 * y[:, None, None, None]) * torch.arange(16) / 4 + phase)
    session = torch.arange(len(streams)).repeat_interleave(torch.tensor(streams)) % GROUPS.sessions
    return Part(x + 0.1 * torch.randn(x.shape, generator=random), y, session % 2, session, streams)


def training_settings(**changes: Any) -> TrainingSettings:
    """Return settings for a short training."""
    return TrainingSettings(**{"epochs": 2, "batch_size": 16, "threads": 1, "learning_rate": 0.01, **changes})


def trained(name: str, **changes: Any) -> Network:
    """Return a system in eval mode after a short training."""
    network = network_of(name)
    for _ in training.fit(network, part(), part(seed=2), training_settings(**changes)):
        pass
    return network.eval()
