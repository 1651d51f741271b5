"""Augmentation of training windows: heading, rotation, time warp, scaling, jitter, channel drop-out, in this order.

Each augmentation is a pure function of windows and random numbers. `draw` takes the numbers from one generator, whose
state is stored in each training snapshot. Windows (N, C, D, T) are normalized. Heading and rotation are applied in raw
units, because a rotation mixes axes and therefore needs one scale for all of them.
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
    """The channels that are the x, y, z axes of a sensor."""

    triads: tuple[Triad, ...]
    accelerometer: Triad | None = None
    magnetometer: Triad | None = None


class Scale(NamedTuple):
    """The normalization of the windows: raw = x * std + mean."""

    mean: Tensor  # (C, D, 1)
    std: Tensor  # (C, D, 1)


class Draw(NamedTuple):
    """The random numbers of one batch; None for each augmentation that is off."""

    rotation: Tensor | None  # (N, D, 3, 3), orthogonal, det 1
    factor: Tensor | None  # (N, C, D, 1)
    time: Tensor | None  # (N, T), the time at which each sample is read, 0 … T-1, increasing
    noise: Tensor | None  # (N, C, D, T)
    kept: Tensor | None  # (N, C, D, 1), 0 or 1
    heading: Tensor | None = None  # (N,), radians

    def to(self, device: torch.device) -> "Draw":
        """Return the numbers on a device. They are drawn on the CPU, so they do not depend on the device."""
        return Draw(*(None if numbers is None else numbers.to(device) for numbers in self))


class Augmentation(NamedTuple):
    """The augmentation of a training."""

    settings: AugmentationSettings
    sensors: Sensors
    scale: Scale

    def apply(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return windows (N, C, D, T), augmented with new random numbers, in the channels-last memory format."""
        N, C, D, T = x.shape
        drawn = draw(self.settings, (N, C, D, T), generator).to(x.device)
        changed = augment(x, drawn, self.sensors, self.scale)
        return changed.contiguous(memory_format=torch.channels_last)


def make(settings: AugmentationSettings, names: Sequence[str], scale: Scale) -> Augmentation | None:
    """Return the augmentation for channels of these names, or None if every augmentation is off.

    Raises InputError if an augmentation needs axes that the channels do not have.
    """
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
    """Return the windows (N, C, D, T), augmented with the drawn numbers."""
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
    """Return raw windows with a changed heading and changed device orientations."""
    if drawn.heading is not None and sensors.accelerometer and sensors.magnetometer:
        x = face(x, drawn.heading, sensors.accelerometer, sensors.magnetometer)
    return x if drawn.rotation is None else rotate(x, drawn.rotation, sensors.triads)


def draw(settings: AugmentationSettings, shape: tuple[int, int, int, int], generator: torch.Generator) -> Draw:
    """Draw the random numbers for a batch of shape (N, C, D, T)."""
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
    """Return the rotations (…, 3, 3) about axes (…, 3) by angles (…) in radians, by Rodrigues' formula."""
    u = axis / axis.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    zero = torch.zeros_like(angle)
    x, y, z = u.unbind(-1)
    K = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(*angle.shape, 3, 3)
    sin, cos = angle.sin()[..., None, None], angle.cos()[..., None, None]
    rotation: Tensor = torch.eye(3) + sin * K + (1 - cos) * (K @ K)
    return rotation


def face(x: Tensor, heading: Tensor, accelerometer: Triad, magnetometer: Triad) -> Tensor:
    """Rotate the magnetometer axes about the vertical by headings (N,) in radians, equally for all devices.

    The result simulates the same movement in another compass direction. The vertical is estimated as the mean
    acceleration of the window, which is gravity if the device has no net acceleration.
    """
    vertical = x[:, list(accelerometer)].mean(dim=-1).transpose(1, 2)  # (N, D, 3)
    return rotate(x, rotations(vertical, heading[:, None].expand(vertical.shape[:2])), [magnetometer])


def rotate(x: Tensor, rotation: Tensor, triads: Sequence[Triad]) -> Tensor:
    """Rotate all sensors of a device by the rotation of that device (N, D, 3, 3); norms are unchanged."""
    turned = x.clone()
    for triad in triads:
        turned[:, list(triad)] = torch.einsum("ndij,njdt->nidt", rotation, x[:, list(triad)])
    return turned


def warped_time(knots: Tensor, T: int) -> Tensor:
    """Return increasing times (N, T) from 0 to T-1; their speed is exp of a line through the knots (N, K)."""
    K = knots.shape[1]
    at = torch.linspace(0, K - 1, T - 1)
    low = at.floor().long().clamp(max=max(K - 2, 0))
    share = at - low
    speed = (knots[:, low] * (1 - share) + knots[:, (low + 1).clamp(max=K - 1)] * share).exp()
    time = torch.cat([torch.zeros(len(knots), 1), speed.cumsum(1)], dim=1)
    return time * ((T - 1) / time[:, -1:])


def warp(x: Tensor, time: Tensor) -> Tensor:
    """Return the windows at other times (N, T), interpolated linearly; the first and last sample are unchanged."""
    last = x.shape[-1] - 1
    low = time.floor().long().clamp(0, last - 1)
    share = (time - low)[:, None, None, :]
    index = low[:, None, None, :].expand_as(x)
    return x.gather(-1, index) * (1 - share) + x.gather(-1, index + 1) * share


def find_sensors(names: Sequence[str]) -> Sensors:
    """Return the axis triads among channels of these names, and those of an accelerometer and a magnetometer."""
    triads = find_triads(names)
    named = {word: [triad for triad in triads if word in names[triad[0]].lower()] for word in ("acc", "mag")}
    return Sensors(triads, *(next(iter(found), None) for found in named.values()))


def find_triads(names: Sequence[str]) -> tuple[Triad, ...]:
    """Return the axes of each sensor: three consecutive channels whose names differ only in the letter x, y, z."""
    starts = [i for i in range(len(names) - 2) if _is_triad(names[i : i + 3])]
    return tuple((i, i + 1, i + 2) for i in starts)


def _is_triad(names: Sequence[str]) -> bool:
    """Return whether the three names have x, y, z at one position and are equal elsewhere."""
    places = [n for n, letters in enumerate(zip(*map(str.lower, names), strict=False)) if letters == ("x", "y", "z")]
    return any(len({name[:n] + name[n + 1 :] for name in names}) == 1 for n in places)
