"""Augmentation: each change is a pure function of windows and random numbers, tested by its properties."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from places import places

from modelreg.config import AugmentationSettings
from modelreg.errors import InputError
from modelreg.ml import augmentation as aug

ALL = AugmentationSettings(rotation_deg=30, jitter=0.05, scaling=0.1, time_warp=0.2, channel_dropout=0.1)
NAMES = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
PLAIN = aug.Scale(torch.zeros(6, 1, 1), torch.ones(6, 1, 1))


def generator(seed: int = 0) -> torch.Generator:
    """Return a seeded generator."""
    return torch.Generator().manual_seed(seed)


def windows(n: int = 4, T: int = 20, seed: int = 0) -> torch.Tensor:
    """Return windows of two devices and two sensors, (N, 6, 2, T)."""
    return torch.randn(n, 6, 2, T, generator=generator(seed))


def drawn(**settings: float) -> aug.Draw:
    """Return the random numbers for `windows()` with some augmentations on."""
    return aug.draw(AugmentationSettings(**settings), (4, 6, 2, 20), generator())


@given(st.integers(0, 100), st.floats(0.1, 180))
def test_a_rotation_keeps_norms(seed, degrees) -> None:
    """The norm of each axis triple of each sample is unchanged."""
    x = windows(seed=seed)
    rotation = aug.draw(AugmentationSettings(rotation_deg=degrees), (4, 6, 2, 20), generator(seed)).rotation
    turned = aug.rotate(x, rotation, aug.find_triads(NAMES))

    torch.testing.assert_close(turned[:, :3].norm(dim=1), x[:, :3].norm(dim=1))


def test_sensors_of_a_device_are_rotated_together() -> None:
    """The angle between acceleration and angular rate is unchanged."""
    x = windows()
    turned = aug.rotate(x, drawn(rotation_deg=90).rotation, aug.find_triads(NAMES))

    torch.testing.assert_close((turned[:, :3] * turned[:, 3:]).sum(1), (x[:, :3] * x[:, 3:]).sum(1))


def test_devices_are_rotated_independently() -> None:
    """Each device has its own rotation."""
    rotation = drawn(rotation_deg=90).rotation

    assert not torch.allclose(rotation[:, 0], rotation[:, 1])


@given(st.integers(0, 1000))
def test_a_rotation_is_the_matrix_exponential(seed) -> None:
    """Rodrigues' formula equals its definition, exp of the cross-product matrix."""
    axis, angle = torch.randn(3, generator=generator(seed)).double(), torch.tensor(seed / 100).double()
    x, y, z = axis / axis.norm() * angle
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]]).double()

    torch.testing.assert_close(aug.rotations(axis, angle), torch.linalg.matrix_exp(cross))


def test_a_rotation_is_applied_in_raw_units() -> None:
    """Rotating normalized windows equals normalizing rotated windows."""
    scale = aug.Scale(torch.arange(6.0).view(6, 1, 1), torch.arange(1.0, 7.0).view(6, 1, 1))
    raw, numbers, triads = windows(), drawn(rotation_deg=40), aug.find_triads(NAMES)
    turned = aug.augment((raw - scale.mean) / scale.std, numbers, aug.Sensors(triads), scale)

    torch.testing.assert_close(turned * scale.std + scale.mean, aug.rotate(raw, numbers.rotation, triads))


@given(st.integers(0, 100), st.floats(0.01, 2), st.integers(2, 12))
def test_a_warp_keeps_ends(seed, sigma, knots) -> None:
    """The first and the last sample are unchanged."""
    settings = AugmentationSettings(time_warp=sigma, warp_knots=knots)
    x = windows(seed=seed)
    warped = aug.warp(x, aug.draw(settings, (4, 6, 2, 20), generator(seed)).time)

    torch.testing.assert_close(warped[..., [0, -1]], x[..., [0, -1]], rtol=1e-4, atol=1e-4)


@given(st.integers(0, 100), st.floats(0.01, 2))
def test_warped_time_is_increasing(seed, sigma) -> None:
    """The time of each sample is later than that of the sample before."""
    time = aug.draw(AugmentationSettings(time_warp=sigma), (4, 6, 2, 20), generator(seed)).time

    assert (time.diff(dim=1) > 0).all()


def test_a_warp_interpolates_linearly() -> None:
    """For x(t) = t, the warped values are the times."""
    time = drawn(time_warp=0.5).time
    line = torch.arange(20.0).expand(4, 6, 2, 20)

    torch.testing.assert_close(aug.warp(line, time)[:, 0, 0], time)


def test_scaling_keeps_the_shape_of_a_channel() -> None:
    """There is one factor for each channel of each device of each window."""
    x, numbers = windows(), drawn(scaling=0.3)

    torch.testing.assert_close(aug.augment(x, numbers, aug.Sensors(()), PLAIN) / x, numbers.factor.expand_as(x))


def test_jitter_has_the_requested_deviation() -> None:
    """The noise has mean 0."""
    noise = aug.draw(AugmentationSettings(jitter=0.25), (200, 6, 2, 20), generator()).noise

    assert (abs(noise.mean().item()) < 0.01, noise.std().item()) == (True, pytest.approx(0.25, rel=0.02))


def test_channels_are_dropped_for_the_whole_window() -> None:
    """A dropped channel is 0, its mean, with the requested probability."""
    kept = aug.draw(AugmentationSettings(channel_dropout=0.3), (500, 6, 2, 20), generator()).kept

    assert (set(kept.unique().tolist()), kept.mean().item()) == ({0.0, 1.0}, pytest.approx(0.7, abs=0.03))


def test_the_same_generator_gives_the_same_windows() -> None:
    """The input windows are not changed."""
    x = windows()
    change = aug.make(ALL, NAMES, PLAIN)

    assert torch.equal(change.apply(x, generator()), change.apply(x, generator()))
    assert torch.equal(x, windows())


def test_settings_without_augmentation_give_none() -> None:
    """With every augmentation off, there is none to apply."""
    assert aug.make(AugmentationSettings(), NAMES, PLAIN) is None


def test_windows_stay_channels_last() -> None:
    """The memory format of the network is kept."""
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
    """A triad is three consecutive names that differ only in x, y, z."""
    assert aug.find_triads(names) == triads


def refusal(settings: AugmentationSettings, names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the place and rule of each problem that an augmentation is refused with."""
    with pytest.raises(InputError) as caught:
        aug.make(settings, names, PLAIN)
    return places(caught.value.problems)


def test_a_rotation_without_axes_is_refused() -> None:
    """The three channels are not x, y, z of a sensor."""
    assert refusal(ALL, ("a", "b", "c")) == [("augmentation.rotation_deg", "augmentation.axes-missing")]


def test_rotation_angles_have_the_requested_deviation() -> None:
    """The trace of a rotation matrix is 1 + 2 cos(angle)."""
    rotation = aug.draw(AugmentationSettings(rotation_deg=10), (3000, 3, 1, 2), generator()).rotation
    angle = ((rotation.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1).acos()

    assert math.degrees(angle.square().mean().sqrt().item()) == pytest.approx(10, rel=0.05)


MARG = (*NAMES, "mag_x", "mag_y", "mag_z")  # accelerometer, gyroscope, magnetometer
ACC, MAG = (0, 1, 2), (6, 7, 8)


def nine(seed: int) -> torch.Tensor:
    """Return windows with a magnetometer, (4, 9, 2, 20)."""
    return torch.randn(4, 9, 2, 20, generator=generator(seed))


def vertical_part(x: torch.Tensor) -> torch.Tensor:
    """Return the component of the field along the mean acceleration, (N, D, T)."""
    up = torch.nn.functional.normalize(x[:, :3].mean(-1), dim=1)
    return torch.einsum("ncd,ncdt->ndt", up, x[:, 6:])


@given(st.integers(0, 100), st.floats(-math.pi, math.pi))
def test_a_heading_rotates_the_field_about_the_vertical(seed, angle) -> None:
    """Strength and dip of the field are unchanged, and so are the other sensors."""
    x = nine(seed)
    faced = aug.face(x, torch.full((4,), angle), ACC, MAG)

    assert torch.equal(faced[:, :6], x[:, :6])
    torch.testing.assert_close(faced[:, 6:].norm(dim=1), x[:, 6:].norm(dim=1))
    torch.testing.assert_close(vertical_part(faced), vertical_part(x), rtol=1e-4, atol=1e-5)


def test_a_heading_equals_a_simulated_turn_of_the_body() -> None:
    """The simulation has two devices in any orientation and the magnetic field of the earth."""
    worn = aug.rotations(torch.randn(2, 3, generator=generator()), torch.tensor([0.7, 2.1]))
    field, up = torch.tensor([0.4, 0.0, -0.9]), torch.tensor([0.0, 0.0, 9.81])

    def seen(angle: float) -> torch.Tensor:
        turned = aug.rotations(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(angle)) @ field
        rows = [torch.cat([each @ up, torch.zeros(3), each @ turned]) for each in worn]
        return torch.stack(rows, 1)[None, :, :, None].expand(1, 9, 2, 20)

    faced = aug.face(seen(0.0), torch.tensor([1.2]), ACC, MAG)

    torch.testing.assert_close(faced, seen(1.2), rtol=1e-4, atol=1e-5)


def test_headings_are_uniform_up_to_the_bound() -> None:
    """Other random numbers do not change when headings are drawn."""
    settings = AugmentationSettings(heading_deg=90, jitter=0.1)
    found = aug.draw(settings, (4000, 9, 2, 20), generator())
    without = aug.draw(settings.model_copy(update={"heading_deg": 0.0}), (4000, 9, 2, 20), generator())

    assert math.degrees(found.heading.abs().max()) <= 90
    assert math.degrees(found.heading.std()) == pytest.approx(180 / math.sqrt(12), rel=0.05)
    assert torch.equal(found.noise, without.noise)


def test_a_heading_needs_a_magnetometer() -> None:
    """It needs an accelerometer too, for the vertical."""
    found = refusal(AugmentationSettings(heading_deg=180), NAMES)

    assert found == [("augmentation.heading_deg", "augmentation.axes-missing")]


@pytest.mark.parametrize("names", [MARG, tuple(name.upper() for name in MARG)])
def test_sensors_are_found_by_name(names) -> None:
    """Upper and lower case are equivalent."""
    assert aug.find_sensors(names) == aug.Sensors(((0, 1, 2), (3, 4, 5), (6, 7, 8)), ACC, MAG)


def test_a_heading_is_applied_in_raw_units() -> None:
    """Turning normalized windows equals normalizing turned windows."""
    scale = aug.Scale(torch.arange(9.0).view(9, 1, 1), torch.arange(1.0, 10.0).view(9, 1, 1))
    raw, heading = nine(0), torch.full((4,), 0.5)
    numbers = aug.Draw(None, None, None, None, None, heading)
    faced = aug.augment((raw - scale.mean) / scale.std, numbers, aug.find_sensors(MARG), scale)

    torch.testing.assert_close(faced * scale.std + scale.mean, aug.face(raw, heading, ACC, MAG), rtol=1e-4, atol=1e-4)
