"""What a network is: its settings, its input, its quantizer. Enough to build it and to feed it."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from modelreg.records.base import Count, Name, Record

Width = Annotated[int, Field(ge=1, le=4096)]
OddKernel = Annotated[int, Field(ge=1, le=99, multiple_of=1)]
Levels = Annotated[int, Field(ge=2, le=1000)]  # above 1000, (1 + 1e-3) of the half range would overshoot


class Conv2dFsqSettings(Record):
    """Convolutions over time, a projection, finite scalar quantization and a small classifier."""

    name: Literal["conv2d_fsq"] = "conv2d_fsq"
    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)] = (32, 64, 128)
    kernels: Annotated[tuple[tuple[Width, OddKernel], ...], Field(min_length=1, max_length=8)] = (
        (1, 7),
        (1, 5),
        (1, 3),
    )
    levels: Annotated[tuple[Levels, ...], Field(min_length=1, max_length=16)] = (8, 6, 5, 5, 4)
    batchnorm_before_fsq: bool = False
    hidden: Width = 64
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _blocks_agree(self) -> "Conv2dFsqSettings":
        if len(self.widths) != len(self.kernels):
            raise ValueError(f"{len(self.widths)} widths but {len(self.kernels)} kernels")
        if any(kernel[1] % 2 == 0 for kernel in self.kernels):
            raise ValueError("a kernel's length in time must be odd: the padding is symmetrical")
        return self


class Channel(Record):
    """One column of a device's signal."""

    name: Name
    unit: Name


class InputSpec(Record):
    """What one window is: float32 `(C, D, T)` = channels, device rows, timesteps."""

    layout: Literal["NCDT"] = "NCDT"
    channels: Annotated[tuple[Channel, ...], Field(min_length=1)]
    devices: Annotated[tuple[Name, ...], Field(min_length=1)]
    timesteps: Annotated[int, Field(ge=1)]
    rate_hz: Annotated[float, Field(gt=0)]
    fold: Literal[1, 2] = 1  # 2: one device's time axis folded into two rows, as older models did

    @property
    def shape(self) -> tuple[int, int, int]:
        """The window's `(C, D, T)`; folding halves T and doubles the rows."""
        return len(self.channels), len(self.devices) * self.fold, self.timesteps // self.fold


class FsqSpec(Record):
    """Finite scalar quantization, pinned: a reader needs no formula of ours to repeat it.

    For dimension i: bounded = tanh(z + shift) * half_range - offset, r = round half to even (bounded),
    code = r / half_width, index = sum of (r + half_width) * basis. Mentzer 2023, arXiv:2309.15505, app. A.
    """

    levels: tuple[Levels, ...]
    epsilon: float
    half_range: tuple[float, ...]
    offset: tuple[float, ...]
    shift: tuple[float, ...]
    half_width: tuple[int, ...]
    basis: tuple[int, ...]


class ModelSpec(Record):
    """model_config.json: a network as it was built, with what its input and output mean."""

    schema_version: Literal[1] = 1
    settings: Conv2dFsqSettings
    input: InputSpec
    classes: Annotated[tuple[Name, ...], Field(min_length=2)]
    quantizer: FsqSpec
    parameters: Count
