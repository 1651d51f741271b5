"""Judge what accelerometers and gyroscopes show at rest: units, gravity, offsets, bias; and repeated values.

An accelerometer at rest shows 1 g = 9.81 m/s² in whatever orientation, or nothing if gravity was removed. A gyroscope
at rest shows nothing. Another norm has a cause: another unit, an offset, another scale. Its axes tell which.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.flags import REPEATED, UNIT, Flag
from modelreg.data.message_lists import leave_out
from modelreg.data.motion import Motion, Stretch
from modelreg.data.sensors import ACCELERATION_UNITS, DEGREE, FACTORS, G, Sensor
from modelreg.records.data import ChannelQuality, SensorRest

# Uncalibrated sensors of consumer devices are off by up to 0.08 g and 3 % (MPU-6050), together 0.11 g in the norm.
TOLERANCE = 0.15  # g
ENOUGH_S = 3.0  # seconds of rest in a recording, or in all recordings with less
AGREEING = 0.75  # share of resting segments that a unit must explain
ORIENTATIONS = 6  # resting segments that a sphere is fitted to
SPREAD = 0.15  # of the norm, at most 1 g: deviation of the orientations in the direction in which they differ least
RESIDUAL = 0.03  # g: a sphere explains the orientations
MOST_BIAS = 5.0  # degrees per second; the offset of uncalibrated sensors (BMI160: 3, MPU-9250: 5)
LEAST_TURN = 3.0  # degrees per second: at rest on a body in strong motion, every real set turns 8 and more
MOVING_SEGMENTS = 30
FASTEST = 4000.0  # degrees per second, the widest range of gyroscopes (ICM-20649)
STRONGEST_TURN = 570.0  # degrees per second: deviation of a whole recording; exercises of an arm reach 350 (sample)
EARTH = (20.0, 70.0)  # µT: its magnetic field is between 22 and 67 (NOAA, World Magnetic Model)
NEAR_IRON = (5.0, 1000.0)  # µT: what a magnetometer may show on average

# What 1 g is in other units, and after common mistakes of scale.
READINGS: Mapping[str, float] = {
    **{unit: G / FACTORS["acceleration"][unit] for unit in ACCELERATION_UNITS},
    "m/s2 that were multiplied by 9.81 once more": G * G,
    "raw counts (2,048 per g)": 2048.0,
    "raw counts (4,096 per g)": 4096.0,
    "raw counts (8,192 per g)": 8192.0,
    "raw counts (16,384 per g)": 16384.0,
}

FIELD_UNITS = {unit: FACTORS["magnetic field"][unit] for unit in ("uT", "gauss", "mgauss", "nT", "T")}  # to µT
LOOKS_LIKE = "looks like"  # the beginning of the cause that names another unit
OFFSET_STEP = "subtract the offset, or calibrate the accelerometer"

Floats = NDArray[np.float64]


class Examined(NamedTuple):
    """What was measured in one recording."""

    name: str
    subject: str
    label: str  # the class of nine in ten labelled samples; empty: there is none
    channels: Sequence[ChannelQuality]
    motions: Mapping[str, Motion]  # by device


class Case(NamedTuple):
    """One accelerometer in one recording, at rest."""

    examined: Examined
    rest: SensorRest
    poses: Floats  # (p, 3) g, in the configured unit


Gravity = Literal["included", "removed"]


class Verdict(NamedTuple):
    """What a resting accelerometer shows."""

    gravity: Gravity | None  # None: neither
    rule: str = ""
    cause: str = ""
    channels: tuple[str, ...] = ()  # empty: all three
    next: str = ""


class Sphere(NamedTuple):
    """A sphere through resting segments: its center is the offset of the axes, its radius the norm of gravity."""

    center: Floats  # (3,) g
    radius: float  # g


def judge(recordings: Sequence[Examined], sensors: Sequence[Sensor]) -> Iterator[Flag]:
    """Yield what physics says about all recordings of a set, which have the same devices."""
    for device in recordings[0].motions if recordings else ():
        wrong_unit = False
        for sensor in sensors:
            if sensor.quantity == "acceleration":
                found = list(_judge_acceleration(recordings, device, sensor))
                wrong_unit |= any(flag.rule == UNIT for flag in found)
                yield from found
            elif sensor.quantity == "angular velocity":
                yield from _judge_bias(recordings, device, sensor)
                yield from _judge_fast_turns(recordings, device, sensor)
                if not wrong_unit:
                    yield from _judge_slow_turns(recordings, device, sensor)
            else:
                yield from _judge_field(recordings, device, sensor)
        for recording in recordings:
            yield from _judge_repeated(recording, device)


# Accelerometers


def _judge_acceleration(recordings: Sequence[Examined], device: str, sensor: Sensor) -> Iterator[Flag]:
    cases = [
        Case(recording, rest, recording.motions[device].poses[sensor.channels] / G)
        for recording in recordings
        for rest in recording.motions[device].rests
        if rest.channels == sensor.channels
    ]
    judged = list(_verdicts(cases, sensor))
    other_unit = {case.examined.name for case, verdict in judged if verdict.rule == UNIT}
    spheres = _spheres([case for case in cases if case.examined.name not in other_unit])
    found, sound = [], []
    for case, verdict in judged:
        sphere = spheres.get(case.examined.name)
        if verdict.rule == UNIT:
            found.append(_verdict_flag(case, verdict))
        elif sphere and np.abs(sphere.center).max() > TOLERANCE:
            found.append(_offset_flag(case, sphere))
        elif sphere and verdict.gravity is None:
            found.append(_scale_flag(case, sphere))
        elif verdict.gravity is None:
            found.append(_verdict_flag(case, verdict))
        else:
            sound.append((case, verdict.gravity))
    yield from _name_exceptions(found, [case.examined.name for case, _ in judged], sensor)
    yield from _judge_gravity(sound, sensor)
    yield from _inform(sound, cases)


def _name_exceptions(flags: Sequence[Flag], judged: Sequence[str], sensor: Sensor) -> Iterator[Flag]:
    """Yield the flags with the step for another unit of only some of the judged recordings.

    A setting applies to all files. It is right as it is if all recordings show the same unit. If most of them do, the
    others must be converted as well. If few of them do, the setting is wrong.
    """
    showing: dict[str, list[str]] = defaultdict(list)
    for flag in flags:
        if flag.rule == UNIT:
            showing[flag.cause].append(flag.recording)
    for flag in flags:
        names = showing.get(flag.cause, [])
        others = [name for name in judged if name not in names]
        if flag.rule != UNIT or not others:
            yield flag
        elif len(names) > len(others):
            yield flag._replace(next=f"{flag.next}; convert the other files, or {leave_out(others)}")
        else:
            files = "this file" if len(names) == 1 else "these files"
            known = flag.cause.startswith(LOOKS_LIKE)
            step = f"convert {files} to {sensor.unit}" if known else f"correct the scale of {files}"
            yield flag._replace(next=f"{step}, or {leave_out(names)}")


def _verdicts(cases: Sequence[Case], sensor: Sensor) -> Iterator[tuple[Case, Verdict]]:
    """Yield a verdict for each recording with enough rest; those with less rest are judged together."""
    short = [case for case in cases if 0 < case.rest.seconds < ENOUGH_S]
    for case in cases:
        if case.rest.seconds >= ENOUGH_S:
            yield case, _verdict(case.poses, sensor)
    if sum(case.rest.seconds for case in short) >= ENOUGH_S:
        together = _verdict(np.concatenate([case.poses for case in short]), sensor)
        yield from ((case, together) for case in short)


def _verdict(poses: Floats, sensor: Sensor) -> Verdict:
    """Judge resting segments (p, 3) in g, as far as the configured unit is right."""
    norms = np.linalg.norm(poses, axis=1)
    norm = float(np.median(norms))
    if abs(norm - 1) <= TOLERANCE:
        return Verdict("included")
    for reading, value in READINGS.items():
        share = value * sensor.factor / G  # the norm in g, if the values are in that unit
        if np.mean(np.abs(norms / share - 1) <= TOLERANCE) >= AGREEING:
            scale = f"multiply `scale` by {1 / share:.7g}"
            step = f"set `unit: {reading}`, or {scale}" if reading in ACCELERATION_UNITS else scale
            return Verdict(None, UNIT, f"{LOOKS_LIKE} {reading}, configured {sensor.unit}", (), step)
    if norm <= TOLERANCE:
        return Verdict("removed")
    far = np.abs(np.median(poses, axis=0)) > 1 + TOLERANCE
    if far.any():
        axes = tuple(name for name, beyond in zip(sensor.channels, far, strict=True) if beyond)
        return Verdict(None, "quality.offset", "a constant offset", axes, OFFSET_STEP)
    step = "record the device at rest on each of its six sides: that tells an offset from a wrong scale"
    return Verdict(None, "quality.resting-norm", "the norm at rest is neither 1 g nor 0", (), step)


def _verdict_flag(case: Case, verdict: Verdict) -> Flag:
    rest = case.rest
    mean, norm = rest.mean or (0.0, 0.0, 0.0), rest.norm or 0.0
    if verdict.rule == "quality.offset":
        shown = ", ".join(f"{mean[rest.channels.index(name)]:.3g}" for name in verdict.channels)
        message = f"rests at {shown} {rest.unit}, more than gravity ({rest.one:.3g}): a constant offset"
    elif verdict.rule == UNIT:
        message = f"resting norm {norm:.3g} {rest.unit}: {verdict.cause}"
    else:
        message = f"resting norm {norm:.3g} {rest.unit}, expected {rest.one:.3g}, or 0 without gravity"
    flag = _flag(case, verdict.rule, verdict.cause, message)
    return flag._replace(channels=verdict.channels or rest.channels, next=verdict.next)


def _flag(case: Case, rule: str, cause: str, message: str) -> Flag:
    rest = case.rest
    size = abs((rest.norm or 0.0) / rest.one - 1)
    return Flag(case.examined.name, rule, rest.device, rest.channels, cause, message, size)


def fit_sphere(poses: Floats) -> Sphere | None:
    """Fit a sphere to resting segments (p, 3) in g; None if they are too few, too similar, or not on a sphere.

    |m|² = 2 m·c + (r² - |c|²) is linear in c and in the bracket.
    """
    if len(poses) < ORIENTATIONS:
        return None
    spread = np.linalg.svd(poses - poses.mean(axis=0), compute_uv=False)[-1] / np.sqrt(len(poses))
    if spread < SPREAD * min(float(np.median(np.linalg.norm(poses, axis=1))), 1.0):
        return None
    system = np.column_stack([2 * poses, np.ones(len(poses))])
    solved = np.linalg.lstsq(system, np.square(poses).sum(axis=1), rcond=None)[0]
    center = solved[:3]
    radius = float(np.sqrt(max(solved[3] + np.square(center).sum(), 0.0)))
    residual = np.linalg.norm(poses - center, axis=1) - radius
    return Sphere(center, radius) if np.sqrt(np.mean(np.square(residual))) <= RESIDUAL * max(radius, 1.0) else None


def _spheres(cases: Sequence[Case]) -> dict[str, Sphere]:
    """Return the sphere of each recording: that of all recordings of its subject, or else its own."""
    by_subject: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_subject[case.examined.subject].append(case)
    found: dict[str, Sphere] = {}
    for same in by_subject.values():
        together = fit_sphere(np.concatenate([case.poses for case in same]))
        for case in same:
            if sphere := together or fit_sphere(case.poses):
                found[case.examined.name] = sphere
    return found


def _offset_flag(case: Case, sphere: Sphere) -> Flag:
    rest = case.rest
    found = {name: x for name, x in zip(rest.channels, sphere.center.tolist(), strict=True) if abs(x) > TOLERANCE}
    shown = ", ".join(f"{rest.one * x:.3g}" for x in found.values())
    message = f"a constant offset of {shown} {rest.unit}"
    flag = _flag(case, "quality.offset", "a constant offset", message)
    return flag._replace(channels=tuple(found), next=OFFSET_STEP)


def _scale_flag(case: Case, sphere: Sphere) -> Flag:
    rest, factor = case.rest, 1 / sphere.radius
    message = f"resting norm {rest.norm:.3g} {rest.unit} in every orientation, expected {rest.one:.3g}: a wrong scale"
    flag = _flag(case, UNIT, "a wrong scale", message)
    return flag._replace(next=f"multiply `scale` by {factor:.4g}, or check the measuring range of the device")


def _usual(sound: Sequence[tuple[Case, Gravity]]) -> Gravity:
    """Return what gravity is in most recordings."""
    found = [gravity for _, gravity in sound]
    return "removed" if found.count("removed") > len(found) / 2 else "included"


def _judge_gravity(sound: Sequence[tuple[Case, Gravity]], sensor: Sensor) -> Iterator[Flag]:
    """Yield each recording whose gravity is not as stated; without a statement, not as in most recordings."""
    usual = sensor.gravity or _usual(sound)
    for case, gravity in sound:
        if gravity == usual:
            continue
        rest = case.rest
        if sensor.gravity:
            cause = f"gravity is {gravity}, but stated as {usual}"
            step = f"set `gravity: {gravity}` of these channels, or choose other columns"
        else:
            cause = f"gravity is {gravity}, but {usual} in the other recordings"
            step = "choose columns of one kind, with gravity or without it"
        message = f"resting norm {rest.norm:.3g} {rest.unit}: {cause}"
        yield _flag(case, "quality.gravity", cause, message)._replace(next=step)


def _inform(sound: Sequence[tuple[Case, Gravity]], cases: Sequence[Case]) -> Iterator[Flag]:
    """Yield what is known of gravity over all recordings; nothing if what rests is flagged."""
    seconds = sum(case.rest.seconds for case in cases)
    rest = cases[0].rest
    if seconds < ENOUGH_S:
        cause = f"unknown, only {seconds:.0f} s of rest"
        message = f"{seconds:.0f} s of rest found, too little to check unit and gravity"
    elif sound:
        usual = _usual(sound)
        norm = float(np.median([case.rest.norm for case, gravity in sound if gravity == usual]))
        cause = f"{usual}, {norm:.3g} {rest.unit} at rest"
        message = f"gravity {usual}, resting norm {norm:.3g} {rest.unit} ({seconds:,.0f} s of rest)"
    else:
        return
    yield Flag("", "quality.gravity", rest.device, rest.channels, cause, message, level="information")


# Gyroscopes and magnetometers


def _judge_bias(recordings: Sequence[Examined], device: str, sensor: Sensor) -> Iterator[Flag]:
    for recording in recordings:
        rest = next(rest for rest in recording.motions[device].rests if rest.channels == sensor.channels)
        if rest.mean is None or rest.seconds < ENOUGH_S:
            continue
        found = {name: x for name, x in zip(sensor.channels, rest.mean, strict=True) if abs(x) > MOST_BIAS * rest.one}
        if found:
            shown = ", ".join(f"{x:.3g}" for x in found.values())
            degrees = ", ".join(f"{x / rest.one:.3g}" for x in found.values())
            yield Flag(
                recording=recording.name,
                rule="quality.gyroscope-bias",
                device=device,
                channels=tuple(found),
                cause=f"a bias at rest above {MOST_BIAS:g} degrees per second",
                message=f"rests at {shown} {sensor.unit} ({degrees} degrees per second)",
                size=max(map(abs, found.values())),
                next="subtract the mean at rest, or calibrate the gyroscope while the device lies still",
            )


def _judge_fast_turns(recordings: Sequence[Examined], device: str, sensor: Sensor) -> Iterator[Flag]:
    """Yield recordings that turn faster than any gyroscope measures, not in single samples only.

    Whether the other recordings are in the configured unit is not known: the slower ones may be in this unit too.
    """
    for recording in recordings:
        found = [c for c in recording.channels if c.device == device and c.channel in sensor.channels and c.std]
        fastest = sensor.factor / DEGREE * max((max(c.max or 0.0, -(c.min or 0.0)) for c in found), default=0.0)
        deviation = sensor.factor / DEGREE * max((c.std or 0.0 for c in found), default=0.0)
        if fastest > FASTEST and deviation > STRONGEST_TURN:
            cause = f"looks like deg/s, configured {sensor.unit}"
            message = f"values up to {fastest * DEGREE / sensor.factor:.3g} {sensor.unit}: {cause}"
            step = f"set `unit: deg/s`, or multiply `scale` by {DEGREE / sensor.factor:.7g}"
            yield Flag(recording.name, UNIT, device, sensor.channels, cause, message, size=fastest, next=step)


def _judge_slow_turns(recordings: Sequence[Examined], device: str, sensor: Sensor) -> Iterator[Flag]:
    """Yield all recordings if the device moves strongly and hardly turns, but would turn as usual in rad/s."""
    turning = np.concatenate([recording.motions[device].turning for recording in recordings]) / DEGREE
    if len(turning) < MOVING_SEGMENTS:
        return
    usual = float(np.percentile(turning, 95))
    if usual >= LEAST_TURN or usual / sensor.factor < LEAST_TURN:
        return
    cause = f"looks like rad/s, configured {sensor.unit}"
    message = f"turns by {usual:.2g} degrees per second while the acceleration is strong: {cause}"
    step = f"set `unit: rad/s`, or multiply `scale` by {1 / sensor.factor:.7g}"
    for recording in recordings:
        yield Flag(recording.name, UNIT, device, sensor.channels, cause, message, next=step)


def _judge_field(recordings: Sequence[Examined], device: str, sensor: Sensor) -> Iterator[Flag]:
    """Yield recordings whose magnetic field is not that of the Earth in the configured unit, but in another one."""
    flags, judged = [], []
    for recording in recordings:
        found = [c for c in recording.channels if c.device == device and c.channel in sensor.channels]
        raw = float(np.sqrt(sum((c.mean or 0.0) ** 2 + (c.std or 0.0) ** 2 for c in found)))
        judged += [recording.name] if raw else []
        if not raw or NEAR_IRON[0] <= raw * sensor.factor <= NEAR_IRON[1]:
            continue
        for reading, factor in FIELD_UNITS.items():
            if EARTH[0] <= raw * factor <= EARTH[1]:
                cause = f"{LOOKS_LIKE} {reading}, configured {sensor.unit}"
                message = f"norm {raw:.3g} {sensor.unit}: {cause}"
                step = f"set `unit: {reading}`, or multiply `scale` by {factor / sensor.factor:.7g}"
                flags.append(Flag(recording.name, UNIT, device, sensor.channels, cause, message, raw, step))
    yield from _name_exceptions(flags, judged, sensor)


# Repeated values

REPEATS = {  # what happens, during what, and the next step
    "zero": ("filled with zeros", "", "write missing values as empty cells, or leave the recordings out with `drop`"),
    "held": ("repeats its last value", " while the device moves", "write missing values as empty cells"),
    "frozen": ("frozen", " while its other axes move", "check the sensor; leave the recordings out with `drop`"),
}


def _judge_repeated(recording: Examined, device: str) -> Iterator[Flag]:
    """Yield a flag for each kind of repeated values, by the channels that repeat them."""
    constant = {quality.channel for quality in recording.channels if quality.device == device and quality.constant}
    found: dict[tuple[str, tuple[str, ...]], list[Stretch]] = defaultdict(list)
    for stretch in recording.motions[device].stretches:
        if not constant.issuperset(stretch.channels):
            found[stretch.kind, stretch.channels].append(stretch)
    for (kind, channels), stretches in found.items():
        what, meanwhile, step = REPEATS[kind]
        longest = max(stretches, key=lambda stretch: stretch.seconds)
        times = f", {len(stretches):,} times" if len(stretches) > 1 else ""
        message = f"{what} for {longest.seconds:.3g} s from second {longest.start_s:.3g}{times}{meanwhile}"
        size, cause = longest.seconds, f"{what}{meanwhile}"
        yield Flag(recording.name, REPEATED, device, channels, cause, message, size, step)
