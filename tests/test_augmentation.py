"""augmentation: each change is a pure function of windows and drawn numbers, with a property of its own."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modelreg.config import AugmentationSettings
from modelreg.errors import InputError
from modelreg.ml import augmentation as aug

ALL = AugmentationSettings(rotation_deg=30, jitter=0.05, scaling=0.1, time_warp=0.2, channel_dropout=0.1)
NAMES = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
PLAIN = aug.Scale(torch.zeros(6, 1, 1), torch.ones(6, 1, 1))


def generator(seed: int = 0) -> torch.Generator:
    """A generator of one's own."""
    return torch.Generator().manual_seed(seed)


def windows(n: int = 4, T: int = 20, seed: int = 0) -> torch.Tensor:
    """Windows of two devices and two sensors, (N, 6, 2, T)."""
    return torch.randn(n, 6, 2, T, generator=generator(seed))


def drawn(**settings: float) -> aug.Draw:
    """The numbers for `windows()` with some augmentations on."""
    return aug.draw(AugmentationSettings(**settings), (4, 6, 2, 20), generator())


@given(st.integers(0, 100), st.floats(0.1, 180))
def test_a_rotation_keeps_norms(seed, degrees) -> None:
    """Every triad of every sample is as long as before."""
    x = windows(seed=seed)
    rotation = aug.draw(AugmentationSettings(rotation_deg=degrees), (4, 6, 2, 20), generator(seed)).rotation
    turned = aug.rotate(x, rotation, aug.find_triads(NAMES))

    torch.testing.assert_close(turned[:, :3].norm(dim=1), x[:, :3].norm(dim=1))


def test_sensors_of_a_device_turn_together() -> None:
    """The angle between acceleration and angular rate is kept."""
    x = windows()
    turned = aug.rotate(x, drawn(rotation_deg=90).rotation, aug.find_triads(NAMES))

    torch.testing.assert_close((turned[:, :3] * turned[:, 3:]).sum(1), (x[:, :3] * x[:, 3:]).sum(1))


def test_devices_turn_apart() -> None:
    """Each has a rotation of its own."""
    rotation = drawn(rotation_deg=90).rotation

    assert not torch.allclose(rotation[:, 0], rotation[:, 1])


@given(st.integers(0, 1000))
def test_a_rotation_is_the_matrix_exponential(seed) -> None:
    """Rodrigues' formula against its definition, exp of the cross-product matrix."""
    axis, angle = torch.randn(3, generator=generator(seed)).double(), torch.tensor(seed / 100).double()
    x, y, z = axis / axis.norm() * angle
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]]).double()

    torch.testing.assert_close(aug.rotations(axis, angle), torch.linalg.matrix_exp(cross))


def test_a_rotation_happens_in_raw_units() -> None:
    """Normalized windows are turned as the raw ones would be."""
    scale = aug.Scale(torch.arange(6.0).view(6, 1, 1), torch.arange(1.0, 7.0).view(6, 1, 1))
    raw, numbers, triads = windows(), drawn(rotation_deg=40), aug.find_triads(NAMES)
    turned = aug.augment((raw - scale.mean) / scale.std, numbers, triads, scale)

    torch.testing.assert_close(turned * scale.std + scale.mean, aug.rotate(raw, numbers.rotation, triads))


@given(st.integers(0, 100), st.floats(0.01, 2), st.integers(2, 12))
def test_a_warp_keeps_ends(seed, sigma, knots) -> None:
    """First and last sample stay where they are."""
    settings = AugmentationSettings(time_warp=sigma, warp_knots=knots)
    x = windows(seed=seed)
    warped = aug.warp(x, aug.draw(settings, (4, 6, 2, 20), generator(seed)).time)

    torch.testing.assert_close(warped[..., [0, -1]], x[..., [0, -1]], rtol=1e-4, atol=1e-4)


@given(st.integers(0, 100), st.floats(0.01, 2))
def test_warped_time_only_runs_forward(seed, sigma) -> None:
    """Nothing is read twice backwards."""
    time = aug.draw(AugmentationSettings(time_warp=sigma), (4, 6, 2, 20), generator(seed)).time

    assert (time.diff(dim=1) > 0).all()


def test_a_warp_of_a_line_reads_its_times() -> None:
    """Between samples it is linear: of x(t) = t it gives the times themselves."""
    time = drawn(time_warp=0.5).time
    line = torch.arange(20.0).expand(4, 6, 2, 20)

    torch.testing.assert_close(aug.warp(line, time)[:, 0, 0], time)


def test_scaling_keeps_the_shape_of_a_channel() -> None:
    """One factor for each channel of each device of each window."""
    x, numbers = windows(), drawn(scaling=0.3)

    torch.testing.assert_close(aug.augment(x, numbers, (), PLAIN) / x, numbers.factor.expand_as(x))


def test_jitter_has_its_deviation() -> None:
    """Noise of mean 0 and the sigma that was asked for."""
    noise = aug.draw(AugmentationSettings(jitter=0.25), (200, 6, 2, 20), generator()).noise

    assert (abs(noise.mean().item()) < 0.01, noise.std().item()) == (True, pytest.approx(0.25, rel=0.02))


def test_a_dropped_channel_is_silent_whole() -> None:
    """0 over all its time, which is the channel's mean; about as often as was asked for."""
    kept = aug.draw(AugmentationSettings(channel_dropout=0.3), (500, 6, 2, 20), generator()).kept

    assert (set(kept.unique().tolist()), kept.mean().item()) == ({0.0, 1.0}, pytest.approx(0.7, abs=0.03))


def test_the_same_generator_gives_the_same_windows() -> None:
    """And leaves the windows that it was given as they were."""
    x = windows()
    change = aug.make(ALL, NAMES, PLAIN)

    assert torch.equal(change.apply(x, generator()), change.apply(x, generator()))
    assert torch.equal(x, windows())


def test_nothing_asked_for_is_nothing_made() -> None:
    """All off: no augmentation at all."""
    assert aug.make(AugmentationSettings(), NAMES, PLAIN) is None


def test_windows_stay_channels_last() -> None:
    """What the network is fast on."""
    x = windows().contiguous(memory_format=torch.channels_last)

    assert aug.make(ALL, NAMES, PLAIN).apply(x, generator()).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("names", "triads"),
    [
        (NAMES, ((0, 1, 2), (3, 4, 5))),
        (("ax", "ay", "az", "wx", "wy", "wz"), ((0, 1, 2), (3, 4, 5))),
        (("x_acc", "y_acc", "z_acc", "t"), ((0, 1, 2),)),
        (("ACC_X", "ACC_Y", "ACC_Z"), ((0, 1, 2),)),
        (("acc_x", "gyro_y", "mag_z"), ()),
        (("acc_x", "acc_z", "acc_y"), ()),
        (("acc_x", "acc_y"), ()),
        (("axis_x", "axis_y", "axis_z"), ((0, 1, 2),)),
        (("a", "b", "c"), ()),
    ],
)
def test_triads_are_found_by_name(names, triads) -> None:
    """Three in a row that differ in x, y, z alone."""
    assert aug.find_triads(names) == triads


def test_a_rotation_without_a_triad_is_refused() -> None:
    """There is nothing to rotate."""
    with pytest.raises(InputError, match="nothing can be rotated"):
        aug.make(ALL, ("a", "b", "c"), PLAIN)


def test_the_angle_has_its_deviation() -> None:
    """sigma degrees, from the trace of the matrix: 1 + 2 cos(angle)."""
    rotation = aug.draw(AugmentationSettings(rotation_deg=10), (3000, 3, 1, 2), generator()).rotation
    angle = ((rotation.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1).acos()

    assert math.degrees(angle.square().mean().sqrt().item()) == pytest.approx(10, rel=0.05)
