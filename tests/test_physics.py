"""What recordings say about their sensors: each planted fault is named and located, clean signals are not flagged.

The signals are drawn: a body that rests in several orientations and moves in between, measured by sensors with gain
error, offset, bias, noise and rounding as in phones and watches.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from modelreg.data import device_swap, physics, quality
from modelreg.data.recording import Dataset, Recording, Signal
from modelreg.data.sensors import G, sensors_of, unit_of
from modelreg.records.data import Limits, QualityFinding, SourceRecord
from modelreg.records.model import Channel

RATE = 50.0
SOURCE = SourceRecord(kind="csv", name="drawn", digest="0" * 64, license="", citation="")
SEEDS = range(10)
ACC, GYRO, MAG = (f"wrist {sensor}_x, {sensor}_y, {sensor}_z" for sensor in ("acc", "gyro", "mag"))

Values = NDArray[np.float64]
Change = Callable[[int, Values], Values | None]  # of recording n (samples, 9); None: as it is


def channels(acc: str = "m/s2", gyro: str = "rad/s", mag: str = "uT", gravity: Any = None) -> tuple[Channel, ...]:
    """Three axes of each sensor."""
    return tuple(
        Channel(name=f"{sensor}_{axis}", unit=unit, gravity=gravity if sensor == "acc" else None)
        for sensor, unit in (("acc", acc), ("gyro", gyro), ("mag", mag))
        for axis in "xyz"
    )


def drawn(seed: tuple[int, ...], poses: int, gravity: float = G, rate: float = RATE) -> Values:
    """Draw (samples, 9) in m/s², rad/s and µT: `poses` times 6 s of rest, then 6 s of motion."""
    random = np.random.default_rng(seed)
    time = np.arange(int(6 * rate)) / rate
    pieces = []
    for _ in range(poses):
        down = random.normal(size=3)
        down /= np.linalg.norm(down)
        waves = np.sin(2 * np.pi * random.uniform(1, 3, 6) * time[:, None] + random.uniform(0, 6, 6))
        for moves in (0.0, random.uniform(1, 3)):
            acceleration = gravity * down + 2.5 * moves * waves[:, :3]
            field = np.tile(45 * np.roll(down, 1), (len(time), 1))
            pieces.append(np.concatenate([acceleration, moves * waves[:, 3:], field], axis=1))
    values = np.concatenate(pieces)
    values[:, :3] = (1 + random.uniform(-0.02, 0.02)) * values[:, :3] + (gravity > 0) * random.uniform(-0.4, 0.4, 3)
    values[:, 3:6] += random.uniform(-0.02, 0.02, 3)
    return values + random.normal(size=values.shape) * np.repeat([0.03, 0.005, 0.4], 3)


def same(number: int, values: Values) -> None:
    """Change nothing."""


def made(
    seed: int, change: Change = same, *, count: int = 4, poses: int = 3, gravity: float = G, **units: Any
) -> Dataset:
    """Return recordings of a wrist, one of each subject."""
    found = []
    for number in range(count):
        values = drawn((seed, number), poses, gravity)
        changed = change(number, values)
        values = (values if changed is None else changed).astype(np.float32)
        labels = np.repeat(np.tile([0, 1], poses), len(values) // (2 * poses)).astype(np.int32)
        found.append(Recording(f"r{number}", f"s{number}", "1", {"wrist": Signal(values, RATE)}, labels))
    return Dataset((SOURCE,), channels(**units), ("wrist",), ("rest", "walk"), RATE, tuple(found))


def found_in(dataset: Dataset) -> list[QualityFinding]:
    """Return the problems."""
    return [f for f in quality.check_quality(dataset, Limits()).findings or () if f.level == "problem"]


def located(dataset: Dataset) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return rule, place and recordings of each problem."""
    return [(finding.rule, finding.where, tuple(sorted(finding.recordings))) for finding in found_in(dataset)]


def gravity_of(dataset: Dataset) -> list[str]:
    """Return what is known of gravity."""
    found = quality.check_quality(dataset, Limits()).findings or ()
    return [finding.message for finding in found if finding.level == "information"]


ALL = ("r0", "r1", "r2", "r3")

# Clean signals


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("units", "factors"),
    [
        ({}, (1, 1, 1)),
        ({"acc": "g", "gyro": "deg/s", "mag": "gauss"}, (1 / G, 180 / np.pi, 0.01)),
        ({"acc": "mg", "gyro": "dps", "mag": "nT"}, (1000 / G, 180 / np.pi, 1000)),
        ({"acc": "m/s²", "gyro": "°/s", "mag": "µT"}, (1, 180 / np.pi, 1)),
    ],
)
def test_clean_signals_are_not_flagged(seed, units, factors) -> None:
    """In any unit that is stated rightly."""
    assert located(made(seed, lambda _, values: values * np.repeat(factors, 3), **units)) == []


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("poses", [1, 8])
@pytest.mark.parametrize("step", [0.04, 0.15])
@pytest.mark.parametrize("gravity", [0.0, G])
def test_coarsely_rounded_signals_are_not_flagged(seed, poses, step, gravity) -> None:
    """At rest an axis repeats its value for seconds, and its highest value in long runs."""

    def rounded(_: int, values: Values) -> Values:
        steps = step * np.array([1, 1, 1, 0.1, 0.1, 0.1])
        values[:, :6] = np.round(values[:, :6] / steps) * steps
        return values

    assert located(made(seed, rounded, poses=poses, gravity=gravity)) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_signals_without_gravity_are_not_flagged(seed) -> None:
    """Their norm at rest is near 0."""
    dataset = made(seed, gravity=0.0)

    assert (located(dataset), "gravity removed" in gravity_of(dataset)[0]) == ([], True)


@pytest.mark.parametrize("seed", SEEDS)
def test_signals_without_rest_are_not_flagged(seed) -> None:
    """Nothing is known then, and it is said."""
    dataset = made(seed, lambda _, values: np.concatenate(np.split(values, 6)[1::2]))

    assert (located(dataset), "too little to check" in gravity_of(dataset)[0]) == ([], True)


@pytest.mark.parametrize("seed", SEEDS)
def test_signals_with_missing_values_are_judged_by_the_others(seed) -> None:
    """A segment with a missing value is not used."""

    def holed(_: int, values: Values) -> Values:
        values[::300] = np.nan
        return values

    assert located(made(seed, holed)) == []


def test_the_norm_at_rest_is_measured() -> None:
    """In the unit of the channels, with the seconds of rest."""
    report = quality.check_quality(made(0, lambda _, v: v * np.repeat([1 / G, 1, 1], 3), acc="g"), Limits())
    rest = (report.recordings[0].rests or ())[0]

    assert (rest.norm, rest.one, rest.seconds) == (pytest.approx(1, abs=0.08), 1.0, 18.0)


# Planted faults


def scaled(*factors: float) -> Change:
    """Multiply each sensor."""
    return lambda _, values: values * np.repeat(factors, 3)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("change", "units", "where", "cause"),
    [
        (scaled(1 / G, 1, 1), {}, ACC, "looks like g, configured m/s2"),
        (scaled(1, 1, 1), {"acc": "g"}, ACC, "looks like m/s2, configured g"),
        (scaled(1000 / G, 1, 1), {"acc": "g"}, ACC, "looks like mg, configured g"),
        (scaled(G, 1, 1), {}, ACC, "looks like m/s2 that were multiplied by 9.81 once more, configured m/s2"),
        (scaled(16384 / G, 1, 1), {"acc": "g"}, ACC, "looks like raw counts (16,384 per g), configured g"),
        (scaled(1, 180 / np.pi, 1), {}, GYRO, "looks like deg/s, configured rad/s"),
        (scaled(1, 1, 1), {"gyro": "deg/s"}, GYRO, "looks like rad/s, configured deg/s"),
        (scaled(1, 1, 0.01), {}, MAG, "looks like gauss, configured uT"),
        (scaled(1, 1, 1000), {}, MAG, "looks like nT, configured uT"),
    ],
)
def test_a_wrong_unit_is_named(seed, change, units, where, cause) -> None:
    """In every recording, and nothing else is."""
    assert [(f.where, f.cause, len(f.recordings)) for f in found_in(made(seed, change, **units))] == [(where, cause, 4)]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_wrong_unit_of_some_recordings_is_located(seed) -> None:
    """The others are right."""
    dataset = made(seed, lambda n, values: values * np.repeat([1 / G if n == 2 else 1, 1, 1], 3))

    assert located(dataset) == [("quality.unit", ACC, ("r2",))]


@given(
    seed=st.integers(0, 50),
    other=st.integers(0, 3),
    unit=st.sampled_from(["g", "mg"]),
    subjects=st.sampled_from([("a", "a", "a", "a"), ("a", "a", "b", "b"), ("a", "b", "c", "d")]),
)
@settings(max_examples=25, deadline=None)
def test_another_unit_of_one_recording_is_its_only_finding(seed, other, unit, subjects) -> None:
    """Also if its subject has others, whose orientations give a sphere; the step names it, since `unit` is of all."""
    factor = {"g": 1 / G, "mg": 1000 / G}[unit]
    dataset = made(seed, lambda n, values: values * np.repeat([factor if n == other else 1, 1, 1], 3), poses=8)
    recordings = zip(dataset.recordings, subjects, strict=True)
    dataset = replace(dataset, recordings=tuple(replace(found, subject=subject) for found, subject in recordings))

    (found,) = found_in(dataset)

    assert (found.rule, found.where, found.recordings) == ("quality.unit", ACC, (f"r{other}",))
    assert (f"drop: ['r{other}']" in found.next, "`unit" in found.next) == (True, False)


def test_the_step_for_another_unit_of_most_recordings_names_the_others() -> None:
    """The setting is right for those that show the unit, and wrong for the others."""
    (found,) = found_in(made(0, lambda n, values: values * np.repeat([1 / G if n else 1, 1, 1], 3)))

    assert ("set `unit: g`" in found.next, "drop: ['r0']" in found.next) == (True, True)


def test_another_unit_of_one_magnetometer_is_named() -> None:
    """Its field is not that of the Earth."""
    (found,) = found_in(made(0, lambda n, values: values * np.repeat([1, 1, 0.01 if n == 1 else 1], 3)))

    assert (found.rule, found.recordings, "drop: ['r1']" in found.next) == ("quality.unit", ("r1",), True)


def test_a_unit_is_named_before_an_offset_of_more_recordings() -> None:
    """The offset may be a consequence, and its advice must not come first."""

    def changed(number: int, values: Values) -> Values:
        values[:, 1] += 66.0 * (number > 1)
        return values * np.repeat([1 / G if number == 0 else 1, 1, 1], 3)

    assert [finding.rule for finding in found_in(made(0, changed))] == ["quality.unit", "quality.offset"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("poses", [1, 8])
@pytest.mark.parametrize("gravity", [0.0, G])
def test_a_large_offset_is_located(seed, poses, gravity) -> None:
    """66 m/s² on one axis scored 100 of 100."""

    def shifted(number: int, values: Values) -> Values:
        values[:, 1] += 66.0 * (number == 3)
        return values

    (found,) = found_in(made(seed, shifted, poses=poses, gravity=gravity))

    assert (found.rule, found.where, found.recordings) == ("quality.offset", "wrist acc_y", ("r3",))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_small_offset_is_measured_in_several_orientations(seed) -> None:
    """0.4 g on one axis, found by the sphere of the resting orientations."""

    def shifted(_: int, values: Values) -> Values:
        values[:, 2] -= 0.4 * G
        return values

    (found,) = found_in(made(seed, shifted, count=1, poses=12))

    assert (found.rule, found.where) == ("quality.offset", "wrist acc_z")
    assert float(found.message.split()[4]) == pytest.approx(-0.4 * G, abs=0.6)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_wrong_scale_is_named(seed) -> None:
    """Half of gravity in every orientation is a wrong measuring range."""
    (found,) = found_in(made(seed, scaled(0.5, 1, 1), poses=12))

    assert (found.rule, found.cause) == ("quality.unit", "a wrong scale")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_norm_without_an_explanation_is_flagged(seed) -> None:
    """In one orientation, an offset and a scale look alike."""
    assert located(made(seed, scaled(0.5, 1, 1), poses=1)) == [("quality.resting-norm", ACC, ALL)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("column", [0, 2, 3, 5])
def test_a_frozen_axis_is_located(seed, column) -> None:
    """Its channel, its recording, its time."""

    def frozen(number: int, values: Values) -> Values:
        values[350:500, column] = values[350, column] if number == 1 else values[350:500, column]
        return values

    (found,) = found_in(made(seed, frozen))

    assert (found.rule, found.where, found.recordings) == (
        "quality.repeated",
        f"wrist {channels()[column].name}",
        ("r1",),
    )
    assert found.message == "frozen for 3 s from second 7 while its other axes move"


@pytest.mark.parametrize("seed", SEEDS)
def test_zeros_are_located(seed) -> None:
    """They are missing values, also at rest."""

    def zeroed(number: int, values: Values) -> Values:
        values[100:200] = 0 if number == 1 else values[100:200]
        values[400:460] = 0 if number == 1 else values[400:460]
        return values

    (found,) = found_in(made(seed, zeroed))

    assert (found.cause, found.recordings, found.message) == (
        "filled with zeros",
        ("r1",),
        "filled with zeros for 2 s from second 2, 2 times",
    )


def test_zeros_between_motions_are_located_without_gravity() -> None:
    """Every channel is 0 while the device moves."""

    def zeroed(_: int, values: Values) -> Values:
        values[400:500] = 0
        return values

    (found,) = found_in(made(0, zeroed, gravity=0.0))

    assert found.cause == "filled with zeros"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_repeated_sample_is_located(seed) -> None:
    """A device that moves does not stand still for seconds."""

    def held(number: int, values: Values) -> Values:
        values[400:500] = values[400] if number == 0 else values[400:500]
        return values

    (found,) = found_in(made(seed, held))

    assert (found.cause, found.recordings) == ("repeats its last value while the device moves", ("r0",))


def test_a_repeated_sample_between_two_rests_is_no_fault() -> None:
    """A coarse sensor at rest repeats its value."""

    def held(_: int, values: Values) -> Values:
        values[100:200] = values[100]
        return values

    assert located(made(0, held)) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_bias_of_a_gyroscope_is_located(seed) -> None:
    """At rest it turns by 17 degrees per second."""

    def biased(number: int, values: Values) -> Values:
        values[:, 4] += 0.3 * (number == 2)
        return values

    assert located(made(seed, biased)) == [("quality.gyroscope-bias", "wrist gyro_y", ("r2",))]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("gravity", "stated"), [(G, "removed"), (0.0, "included")])
def test_a_wrong_statement_of_gravity_is_flagged(seed, gravity, stated) -> None:
    """What rests decides."""
    assert located(stated_as(seed, gravity, stated)) == [("quality.gravity", ACC, ALL)]


def stated_as(seed: int, gravity: float, stated: str) -> Dataset:
    """Return recordings with a statement on their gravity."""
    return replace(made(seed, gravity=gravity), channels=channels(gravity=stated))


@pytest.mark.parametrize(("gravity", "stated"), [(G, "included"), (0.0, "removed")])
def test_a_right_statement_of_gravity_is_no_problem(gravity, stated) -> None:
    """It agrees."""
    assert located(stated_as(0, gravity, stated)) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_recordings_with_and_without_gravity_are_flagged(seed) -> None:
    """The fewer ones."""
    with_gravity, without = made(seed), made(seed, gravity=0.0)
    mixed = replace(with_gravity, recordings=(*with_gravity.recordings[:3], without.recordings[3]))

    assert located(mixed) == [("quality.gravity", ACC, ("r3",))]


def test_impossible_values_are_flagged() -> None:
    """A sample of 50 g, and one of 90 rad/s: no unit explains them."""

    def spiked(_: int, values: Values) -> Values:
        values[10, 0], values[20, 5] = 50 * G, -90
        return values

    assert [(f.rule, f.where) for f in found_in(made(0, spiked))] == [
        ("quality.range", "wrist acc_x"),
        ("quality.range", "wrist gyro_z"),
    ]


def test_a_configured_range_replaces_the_default() -> None:
    """For its channel."""
    found = quality.check_quality(made(0), Limits(channels={"acc_x": (-1.0, 1.0)})).findings or ()

    assert [(f.rule, f.where) for f in found if f.level == "problem"] == [("quality.threshold", "wrist acc_x")]


def test_short_rests_are_judged_together() -> None:
    """Two seconds of rest in each recording tell the unit of all."""
    dataset = made(0, lambda _, values: values[200:600] * np.repeat([1 / G, 1, 1], 3), poses=1)

    assert located(dataset) == [("quality.unit", ACC, ALL)]


# Exchanged devices


def worn(seed: int, exchanged: int | None, count: int = 8) -> Dataset:
    """Return recordings of a wrist and an ankle, which differ in orientation and strength; one exchanged."""
    found = []
    for number in range(count):
        random = np.random.default_rng((seed, number))
        signals = []
        for down, strength in (([0.9, 0.3, 0.2], 1.0), ([-0.2, -0.9, 0.4], 3.0)):
            waves = np.sin(np.arange(600)[:, None] * random.uniform(0.1, 0.4, 6) + random.uniform(0, 6, 6))
            acceleration = G * (np.array(down) + random.normal(0, 0.08, 3)) + 2 * strength * waves[:, :3]
            values = np.concatenate([acceleration, strength * waves[:, 3:], np.full((600, 3), 30.0)], axis=1)
            signals.append(Signal((values + random.normal(0, 0.05, values.shape)).astype(np.float32), RATE))
        if number == exchanged:
            signals.reverse()
        found.append(
            Recording(
                f"r{number}",
                f"s{number}",
                "1",
                dict(zip(("wrist", "ankle"), signals, strict=True)),
                np.zeros(600, np.int32),
            )
        )
    return Dataset((SOURCE,), channels(), ("wrist", "ankle"), ("rest", "walk"), RATE, tuple(found))


def exchanges(dataset: Dataset) -> list[tuple[str, tuple[str, ...]]]:
    """Return the findings of exchanged devices."""
    return [(f.where, f.recordings) for f in found_in(dataset) if f.rule == "quality.devices-exchanged"]


@pytest.mark.parametrize("seed", SEEDS)
def test_exchanged_devices_are_located(seed) -> None:
    """The recording in which they are."""
    assert exchanges(worn(seed, 5)) == [("wrist and ankle", ("r5",))]


@pytest.mark.parametrize("seed", SEEDS)
def test_devices_that_are_not_exchanged_are_not_flagged(seed) -> None:
    """However many there are."""
    assert exchanges(worn(seed, None)) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_devices_that_look_alike_are_never_called_exchanged(seed) -> None:
    """Two devices at one place give no evidence."""
    dataset = worn(seed, None)
    alike = tuple(replace(r, signals=dict.fromkeys(("wrist", "ankle"), r.signals["wrist"])) for r in dataset.recordings)

    assert exchanges(replace(dataset, recordings=alike)) == []


def test_few_recordings_give_no_evidence() -> None:
    """Of four, one cannot be called the odd one."""
    assert exchanges(worn(0, 1, count=4)) == []


def test_rows_without_a_deviation_are_left_out() -> None:
    """A constant channel has no logarithm."""
    features = np.full((6, 2), np.nan)

    assert device_swap.exchanged(features, features, np.ones(2)) == []


# Units and names


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("acc_x", "m/s2", ("acceleration", 1.0)),
        ("acc_x", "m/s^2", ("acceleration", 1.0)),
        ("acc_x", "(m/s²)", ("acceleration", 1.0)),
        ("acc_x", "m·s⁻²", ("acceleration", 1.0)),
        ("acc_x", "G", ("acceleration", G)),
        ("mag_x", "G", ("magnetic field", 100.0)),
        ("acc_x", "Gs", ("acceleration", G)),
        ("mag_x", "Gs", ("magnetic field", 100.0)),
        ("acc_x", "mg", ("acceleration", G / 1000)),
        ("Mag X", "mG", ("magnetic field", 0.1)),
        ("wx", "Deg/s", ("angular velocity", np.pi / 180)),
        ("wx", "rad s-1", ("angular velocity", 1.0)),
        ("mx", "μT", ("magnetic field", 1.0)),
        ("heart", "bpm", None),
        ("acc_x", "1", None),
    ],
)
def test_units_are_recognized(name, unit, expected) -> None:
    """In their common spellings; anything else has no physics."""
    assert unit_of(Channel(name=name, unit=unit)) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (("ax", "ay", "az"), [(0, 1, 2)]),
        (("z", "y", "x"), [(2, 1, 0)]),
        (("Acceleration Z", "Acceleration X", "Acceleration Y"), [(1, 2, 0)]),
        (("x_acc", "y_acc", "z_acc", "x_lin", "y_lin", "z_lin"), [(0, 1, 2), (3, 4, 5)]),
        (("xyz_x", "xyz_y", "xyz_z"), [(0, 1, 2)]),
        (("ax", "ay"), []),
        (("one", "two", "three"), []),
    ],
)
def test_axes_are_grouped_by_name(names, columns) -> None:
    """Channels that differ in the letter of their axis."""
    assert [sensor.columns for sensor in sensors_of([Channel(name=name, unit="g") for name in names])] == columns


def test_axes_of_different_units_are_no_sensor() -> None:
    """They cannot be added."""
    assert (
        sensors_of([Channel(name=f"a{axis}", unit=unit) for axis, unit in zip("xyz", ("g", "g", "m/s2"), strict=True)])
        == ()
    )


def test_axes_of_an_unknown_unit_are_no_sensor() -> None:
    """Nothing is known of them."""
    assert sensors_of([Channel(name=f"a{axis}", unit="V") for axis in "xyz"]) == ()


def test_nothing_is_said_of_no_recordings() -> None:
    """There is no device."""
    assert (list(physics.judge([], ())), list(device_swap.judge([], ()))) == ([], [])
