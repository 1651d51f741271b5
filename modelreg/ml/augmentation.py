"""Augmentation of training windows: heading, rotation, time warp, scaling, jitter, channel drop-out, in this order.

Each is a pure function of windows and drawn numbers; `draw` takes those from one generator, whose state is part of
what a training resumes from. Windows come and go normalized, (N, C, D, T); heading and rotation happen in
the channels' own units, because axes that were scaled apart cannot be turned into each other.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from modelreg.config import AugmentationSettings
from modelreg.errors import InputError, Problem

Triad = tuple[int, int, int]  # the channels x, y, z of one sensor


class Sensors(NamedTuple):
    """Which channels are x, y, z of one sensor."""

    triads: tuple[Triad, ...]
    accelerometer: Triad | None = None
    magnetometer: Triad | None = None


class Scale(NamedTuple):
    """The normalization of the windows: raw = x * std + mean."""

    mean: Tensor  # (C, D, 1)
    std: Tensor  # (C, D, 1)


class Draw(NamedTuple):
    """The random numbers of one batch; None: this augmentation is off."""

    rotation: Tensor | None  # (N, D, 3, 3), orthogonal, det 1
    factor: Tensor | None  # (N, C, D, 1)
    time: Tensor | None  # (N, T), where each sample is read, 0 … T-1, rising
    noise: Tensor | None  # (N, C, D, T)
    kept: Tensor | None  # (N, C, D, 1), 0 or 1
    heading: Tensor | None = None  # (N,), radians

    def to(self, device: torch.device) -> "Draw":
        """Return the numbers on a device; they are drawn in main memory, alike for all."""
        return Draw(*(None if numbers is None else numbers.to(device) for numbers in self))


class Augmentation(NamedTuple):
    """What changes the windows of a training."""

    settings: AugmentationSettings
    sensors: Sensors
    scale: Scale

    def apply(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return windows (N, C, D, T) changed by fresh numbers, in the memory format they came in."""
        N, C, D, T = x.shape
        drawn = draw(self.settings, (N, C, D, T), generator).to(x.device)
        changed = augment(x, drawn, self.sensors, self.scale)
        return changed.contiguous(memory_format=torch.channels_last)


def make(settings: AugmentationSettings, names: Sequence[str], scale: Scale) -> Augmentation | None:
    """Return the augmentation of channels of these names, or None where everything is off. Raises InputError."""
    sensors = find_sensors(names)
    if problems := list(_find_problems(settings, sensors, ", ".join(names))):
        raise InputError("cannot augment the training windows", problems)
    return None if settings.is_off else Augmentation(settings, sensors, scale)


def _find_problems(settings: AugmentationSettings, sensors: Sensors, names: str) -> Iterator[Problem]:
    if settings.rotation_deg and not sensors.triads:
        what = f"needs three consecutive channels whose names differ only in x, y, z; found {names}"
        yield Problem("augmentation.rotation_deg", "augmentation.axes-missing", what)
    if settings.heading_deg and not (sensors.accelerometer and sensors.magnetometer):
        what = f"needs x, y, z channels with acc in their names and x, y, z channels with mag; found {names}"
        yield Problem("augmentation.heading_deg", "augmentation.axes-missing", what)


def augment(x: Tensor, drawn: Draw, sensors: Sensors, scale: Scale) -> Tensor:
    """Return the windows (N, C, D, T) changed by what was drawn."""
    if drawn.rotation is not None or drawn.heading is not None:
        mean, std = scale.mean.to(x.device), scale.std.to(x.device)
        x = (_turn(x * std + mean, drawn, sensors) - mean) / std
    if drawn.time is not None:
        x = warp(x, drawn.time)
    if drawn.factor is not None:
        x = x * drawn.factor
    if drawn.noise is not None:
        x = x + drawn.noise
    return x if drawn.kept is None else x * drawn.kept


def _turn(x: Tensor, drawn: Draw, sensors: Sensors) -> Tensor:
    """Return raw windows with another north, on devices that are worn otherwise."""
    if drawn.heading is not None and sensors.accelerometer and sensors.magnetometer:
        x = face(x, drawn.heading, sensors.accelerometer, sensors.magnetometer)
    return x if drawn.rotation is None else rotate(x, drawn.rotation, sensors.triads)


def draw(settings: AugmentationSettings, shape: tuple[int, int, int, int], generator: torch.Generator) -> Draw:
    """Draw the numbers for a batch of this shape, (N, C, D, T)."""
    N, C, D, T = shape

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator)

    s = settings
    return Draw(
        rotation=rotations(normal(N, D, 3), normal(N, D) * math.radians(s.rotation_deg)) if s.rotation_deg else None,
        factor=1 + s.scaling * normal(N, C, D, 1) if s.scaling else None,
        time=warped_time(normal(N, s.warp_knots) * s.time_warp, T) if s.time_warp else None,
        noise=s.jitter * normal(N, C, D, T) if s.jitter else None,
        kept=(torch.rand((N, C, D, 1), generator=generator) >= s.channel_dropout).float()
        if s.channel_dropout
        else None,
        heading=(2 * torch.rand(N, generator=generator) - 1) * math.radians(s.heading_deg) if s.heading_deg else None,
    )


def rotations(axis: Tensor, angle: Tensor) -> Tensor:
    """Return the rotations (…, 3, 3) about axes (…, 3) by angles (…) in radians; Rodrigues' formula."""
    u = axis / axis.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    zero = torch.zeros_like(angle)
    x, y, z = u.unbind(-1)
    K = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(*angle.shape, 3, 3)
    sin, cos = angle.sin()[..., None, None], angle.cos()[..., None, None]
    rotation: Tensor = torch.eye(3) + sin * K + (1 - cos) * (K @ K)
    return rotation


def face(x: Tensor, heading: Tensor, accelerometer: Triad, magnetometer: Triad) -> Tensor:
    """Turn the field that a magnetometer sees about the vertical by headings (N,), all devices alike.

    So would the same movement look to someone who faces elsewhere. The vertical is the mean acceleration of the window:
    gravity, as far as the device does not travel.
    """
    vertical = x[:, list(accelerometer)].mean(dim=-1).transpose(1, 2)  # (N, D, 3)
    return rotate(x, rotations(vertical, heading[:, None].expand(vertical.shape[:2])), [magnetometer])


def rotate(x: Tensor, rotation: Tensor, triads: Sequence[Triad]) -> Tensor:
    """Turn every triad of every device, all triads of a device alike; norms are kept."""
    turned = x.clone()
    for triad in triads:
        turned[:, list(triad)] = torch.einsum("ndij,njdt->nidt", rotation, x[:, list(triad)])
    return turned


def warped_time(knots: Tensor, T: int) -> Tensor:
    """Return rising times (N, T) from 0 to T-1, whose speed is exp of a line through the knots (N, K)."""
    K = knots.shape[1]
    at = torch.linspace(0, K - 1, T - 1)
    low = at.floor().long().clamp(max=max(K - 2, 0))
    share = at - low
    speed = (knots[:, low] * (1 - share) + knots[:, (low + 1).clamp(max=K - 1)] * share).exp()
    time = torch.cat([torch.zeros(len(knots), 1), speed.cumsum(1)], dim=1)
    return time * ((T - 1) / time[:, -1:])


def warp(x: Tensor, time: Tensor) -> Tensor:
    """Read the windows at other times (N, T), linearly between samples; the ends stay where they are."""
    last = x.shape[-1] - 1
    low = time.floor().long().clamp(0, last - 1)
    share = (time - low)[:, None, None, :]
    index = low[:, None, None, :].expand_as(x)
    return x.gather(-1, index) * (1 - share) + x.gather(-1, index + 1) * share


def find_sensors(names: Sequence[str]) -> Sensors:
    """Return the triads among channels of these names, and which of them are of an accelerometer and a magnetometer."""
    triads = find_triads(names)
    named = {word: [triad for triad in triads if word in names[triad[0]].lower()] for word in ("acc", "mag")}
    return Sensors(triads, *(next(iter(found), None) for found in named.values()))


def find_triads(names: Sequence[str]) -> tuple[Triad, ...]:
    """Return the channels that are x, y, z of one sensor: three in a row whose names differ in that letter alone."""
    starts = [i for i in range(len(names) - 2) if _is_triad(names[i : i + 3])]
    return tuple((i, i + 1, i + 2) for i in starts)


def _is_triad(names: Sequence[str]) -> bool:
    """Say whether one place of the three names holds x, y and z, and all the rest is the same."""
    places = [n for n, letters in enumerate(zip(*map(str.lower, names), strict=False)) if letters == ("x", "y", "z")]
    return any(len({name[:n] + name[n + 1 :] for name in names}) == 1 for n in places)
