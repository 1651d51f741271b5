"""The model system conv2d_fsq: convolutions over time, a projection, its quantizer, a small classifier.

A network is two parts in a row. The device part, up to and with the continuous projection, holds only what
an NPU compiles well: Conv2d, BatchNorm, ReLU, MaxPool2d, AvgPool2d of a fixed size, Flatten, Linear. The host
part rounds and classifies. Kernels reach over time with symmetric padding, over device rows without any: one
of height 2 mixes two devices into one row; with height 1 throughout, devices are interchangeable.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from modelreg import fsq
from modelreg.errors import InputError, Problem
from modelreg.ml.quantize import FSQ
from modelreg.records.model import Conv2dFsqSettings, InputSpec, ModelSpec

Shape = tuple[int, int, int]  # C channels, D device rows, T timesteps

INDEX_LIMIT = 2**63  # an index is an int64


class HostOutput(NamedTuple):
    """What the host computes from a projection."""

    code: Tensor  # (N, d)
    code_index: Tensor  # (N,), int64
    logits: Tensor  # (N, K)


class Output(NamedTuple):
    """What a network computes from windows."""

    projection: Tensor  # (N, d), continuous: where device and host meet
    code: Tensor  # (N, d)
    code_index: Tensor  # (N,), int64
    logits: Tensor  # (N, K)


class HostPart(nn.Module):
    """Rounding and the classifier: what must run on the CPU."""

    def __init__(self, settings: Conv2dFsqSettings, classes: int) -> None:
        super().__init__()
        self.fsq = FSQ(settings.levels)
        self.head = nn.Sequential(
            nn.Linear(len(settings.levels), settings.hidden),
            nn.ReLU(),
            nn.Dropout(settings.dropout),
            nn.Linear(settings.hidden, classes),
        )

    def forward(self, projection: Tensor) -> HostOutput:
        """Return code, index and logits of a projection (N, d)."""
        code, index = self.fsq(projection)
        return HostOutput(code, index, self.head(code))


class Network(nn.Module):
    """The device part, then the host part. Made by `build`, which checks what it is given."""

    def __init__(self, settings: Conv2dFsqSettings, shape: Shape, classes: int) -> None:
        super().__init__()
        self.shape = shape
        self.classes = classes
        self.levels = settings.levels
        self.device_part = nn.Sequential(OrderedDict(_device_layers(settings, shape)))
        self.host_part = HostPart(settings, classes)

    def forward(self, x: Tensor) -> Output:
        """Return projection, code, index and logits of windows (N, C, D, T)."""
        projection = self.device_part(x)
        return Output(projection, *self.host_part(projection))


def build(settings: Conv2dFsqSettings, shape: Shape, classes: int) -> Network:
    """Make a network for windows of this shape, its weights from torch's generator. Raises InputError."""
    if problems := list(find_problems(settings, shape, classes)):
        raise InputError("the model does not fit its input", problems)
    return Network(settings, shape, classes)


def seeded(settings: Conv2dFsqSettings, shape: Shape, classes: int, *, seed: int) -> Network:
    """Make a network whose weights depend on `seed` alone; torch's generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build(settings, shape, classes)


def spec(settings: Conv2dFsqSettings, input_spec: InputSpec, classes: tuple[str, ...]) -> ModelSpec:
    """Return the record of a network, counted on one without memory. Raises InputError."""
    with torch.device("meta"):
        network = build(settings, input_spec.shape, len(classes))
    return ModelSpec(
        settings=settings,
        input=input_spec,
        classes=classes,
        quantizer=fsq.spec(settings.levels),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
    )


def find_problems(settings: Conv2dFsqSettings, shape: Shape, classes: int) -> Iterator[Problem]:
    """Yield what keeps a network with these settings from being built for this input."""
    _, D, T = shape
    rows = D
    for i, (height, _) in enumerate(settings.kernels):
        if height > rows:
            yield Problem(f"model.kernels.{i}", f"height {height}, but {rows} of {D} device rows are left")
        rows = max(1, rows - height + 1)
    pools = len(settings.widths) - 1
    if T >> pools < 1:
        yield Problem("model.widths", f"{pools} poolings need {2**pools} timesteps, but a window has {T}")
    if math.prod(settings.levels) >= INDEX_LIMIT:
        yield Problem("model.levels", "more than 2^63 codes: an index would not fit an int64")
    if classes < 2:
        yield Problem("classes", f"{classes}, but a classifier needs at least 2")


def _device_layers(settings: Conv2dFsqSettings, shape: Shape) -> Iterator[tuple[str, nn.Module]]:
    """Yield the named layers from windows (N, C, D, T) to the projection (N, d)."""
    width_in, rows, steps = shape
    blocks = len(settings.widths)
    for n, (width, (height, length)) in enumerate(zip(settings.widths, settings.kernels, strict=True), 1):
        yield f"conv{n}", nn.Conv2d(width_in, width, (height, length), padding=(0, (length - 1) // 2))
        yield f"bn{n}", nn.BatchNorm2d(width)
        yield f"relu{n}", nn.ReLU()
        if n < blocks:
            yield f"pool{n}", nn.MaxPool2d((1, 2))
            steps //= 2
        width_in, rows = width, rows - height + 1
    yield "average", nn.AvgPool2d((rows, steps))
    yield "flatten", nn.Flatten()
    yield "projection", nn.Linear(width_in, len(settings.levels))
    if settings.batchnorm_before_fsq:
        yield "projection_bn", nn.BatchNorm1d(len(settings.levels))
