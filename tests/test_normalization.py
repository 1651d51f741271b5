"""Normalization: statistics equal numpy's over the labelled complete samples."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from places import places
from two_device import CHANNELS, CLASSES, DEVICES, two_device_recordings

from modelreg.data.normalization import apply, fit, stated
from modelreg.data.recording import Recording, Signal
from modelreg.data.windows import cut, fold
from modelreg.errors import InputError
from modelreg.records.data import Limits, Normalization
from modelreg.records.model import InputSpec

DIGEST = "0" * 64
SPEC = InputSpec(channels=CHANNELS, devices=DEVICES, timesteps=100, rate_hz=50.0)


def fitted(recordings: Any, per: Any = "channel", spec: InputSpec = SPEC) -> Normalization:
    """Fit with the defaults."""
    return fit(recordings, spec, per=per, limits=Limits(), data_digest=DIGEST)


def noise(seed: int, samples: int, *, missing: float = 0.0, unlabelled: float = 0.0) -> Recording:
    """Return a two-device recording of noise, some of it missing or without label."""
    generator = np.random.default_rng(seed)
    values = (generator.standard_normal((2, samples, 9)) * 3 + 100 * seed).astype(np.float32)
    values[generator.random(values.shape) < missing] = generator.choice([np.nan, np.inf, -np.inf])
    labels = np.where(generator.random(samples) < unlabelled, -1, 1).astype(np.int32)
    signals = {device: Signal(values[d], 50.0) for d, device in enumerate(DEVICES)}
    return Recording("r", "s", "", signals, labels)


def complete(recordings: list[Recording]) -> NDArray[np.float64]:
    """Return the labelled complete samples, one at a time: (S, D, C)."""
    return np.array(
        [
            sample
            for recording in recordings
            for sample, label in zip(
                np.stack([s.values for s in recording.signals.values()], axis=1), recording.labels, strict=True
            )
            if label >= 0 and np.isfinite(sample).all()
        ],
        dtype=np.float64,
    )


@given(seeds=st.lists(st.integers(0, 50), min_size=1, max_size=3), per=st.sampled_from(["channel", "device_channel"]))
def test_statistics_are_numpys(seeds: list[int], per: str) -> None:
    """Mean and deviation are np.mean and np.std of the labelled complete samples, pooled by `per`."""
    recordings = [noise(seed, 40, missing=0.01, unlabelled=0.2) for seed in seeds]
    found, samples = fitted(recordings, per), complete(recordings)
    axes = (0, 1) if per == "channel" else 0

    np.testing.assert_allclose(found.mean, np.atleast_2d(samples.mean(axis=axes)), rtol=1e-9)
    np.testing.assert_allclose(found.std, np.atleast_2d(samples.std(axis=axes)), rtol=1e-9)
    assert found.samples == len(samples) * (2 if per == "channel" else 1)


@pytest.mark.parametrize("per", ["channel", "device_channel"])
def test_training_windows_become_standard(per: str) -> None:
    """Windows that cover train have mean 0 and deviation 1, for each fitted row."""
    recordings = two_device_recordings()
    x = cut(recordings, classes=CLASSES, window=100, hop=100, labels="pure").x
    z = apply(x, fitted(recordings, per))
    axes = (0, 2, 3) if per == "channel" else (0, 3)

    np.testing.assert_allclose(z.mean(axis=axes, dtype=np.float64), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(axis=axes, dtype=np.float64), 1, atol=1e-5)


@given(seed=st.integers(0, 50), per=st.sampled_from(["channel", "device_channel"]))
def test_apply_is_its_formula(seed: int, per: str) -> None:
    """z = (x - mean) / std in float32 for each value; the shape is unchanged."""
    found = fitted([noise(seed, 30)], per)
    x = np.random.default_rng(seed).standard_normal((3, 9, 2, 7)).astype(np.float32)
    z = apply(x, found)
    for n, c, d, t in np.ndindex(*x.shape):
        row = d if per == "device_channel" else 0
        expected = (x[n, c, d, t] - np.float32(found.mean[row][c])) / np.float32(found.std[row][c])
        assert z[n, c, d, t] == expected
    assert z.dtype == np.float32


@pytest.mark.parametrize("per", ["channel", "device_channel"])
def test_fold_uses_the_one_row(per: str) -> None:
    """Both rows of a folded device are normalized as before the fold."""
    one = [replace(r, signals={"phone": r.signals["phone"]}) for r in two_device_recordings()]
    spec = InputSpec(channels=CHANNELS, devices=("phone",), timesteps=100, rate_hz=50.0, fold=2)
    cut_once = cut(one, classes=CLASSES, window=100, hop=100, labels="pure")
    flat, folded = (fold(cut_once, rows).x for rows in (1, 2))
    found = fitted(one, per, spec)

    np.testing.assert_array_equal(apply(folded, found).reshape(flat.shape), apply(flat, found))


def test_record_states_its_input() -> None:
    """Channels, devices, rate, window, fold, digest and limits are in the record."""
    found = fitted(two_device_recordings())

    assert {name: getattr(found, name) for name in InputSpec.model_fields} == dict(SPEC)
    assert (found.data_digest, found.limits, found.fitted_on) == (DIGEST, Limits(), "train")


def flat(device: int, channel: int) -> Recording:
    """Return noise with one channel of one device constant, at a value that is not a binary fraction."""
    recording = noise(1, 1000)
    recording.signals[DEVICES[device]].values[:, channel] = 0.1
    return recording


def problems_of(recordings: list[Recording], per: str) -> list[tuple[str, str]]:
    """Return why a normalization cannot be fitted."""
    with pytest.raises(InputError) as caught:
        fitted(recordings, per)
    return places(caught.value.problems)


def test_constant_channels_of_devices_are_named() -> None:
    """Each constant channel is named with its device."""
    recording = flat(0, 4)
    recording.signals["collar"].values[:, 8] = -7

    assert problems_of([recording], "device_channel") == [
        ("phone gyro_y", "normalization.constant-channel"),
        ("collar mag_z", "normalization.constant-channel"),
    ]


def test_constant_pooled_channel_is_named() -> None:
    """A channel is constant if it has one value on all devices."""
    recording = flat(0, 4)
    recording.signals["collar"].values[:, 4] = recording.signals["phone"].values[:, 4]

    assert problems_of([recording], "channel") == [("all of phone, collar gyro_y", "normalization.constant-channel")]


def test_a_channel_constant_on_one_device_is_fitted() -> None:
    """Pooled, a channel that is constant on one device has a deviation."""
    assert fitted([flat(0, 4)]).std[0][4] > 0


def test_nothing_to_fit() -> None:
    """A labelled complete sample is required."""
    assert problems_of([noise(0, 20, unlabelled=1.0)], "channel") == [("train", "normalization.no-samples")]


MEAN, STD = [float(n) for n in range(9)], [float(n) for n in range(1, 10)]


def taken(document: Any, spec: InputSpec = SPEC) -> Normalization:
    """Take a stated normalization."""
    return stated(document, spec, limits=Limits(), digest=DIGEST, where="old.json")


@pytest.mark.parametrize(
    "document",
    [
        {"mean": MEAN, "std": STD},
        {"normalization": {"mean": MEAN, "std": STD, "method": "z_score"}, "version": "v0.1.0"},
        {"normalization": {"zscore_mean": MEAN, "zscore_std": STD}},
        {"mean": [MEAN], "std": [STD]},
    ],
)
def test_a_stated_normalization_is_taken(document: Any) -> None:
    """In any of the forms of legacy checkpoints; `fitted_on` is elsewhere."""
    found = taken(document)

    assert (found.mean, found.std, found.per) == ((tuple(MEAN),), (tuple(STD),), "channel")
    assert (found.fitted_on, found.data_digest, found.samples) == ("elsewhere", DIGEST, 0)


def test_a_row_for_each_device_is_taken() -> None:
    """Then it is per device and channel."""
    found = taken({"mean": [MEAN, STD], "std": [STD, STD]})

    assert (found.per, found.mean) == ("device_channel", (tuple(MEAN), tuple(STD)))


def test_a_normalization_json_is_taken() -> None:
    """If its input is the same."""
    ours = fitted([noise(1, 300)])

    assert (taken(ours.to_document()).mean, taken(ours.to_document()).std) == (ours.mean, ours.std)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([1], (": mean", "shape")),
        ({"mean": MEAN}, (": std", "shape")),
        ({"mean": MEAN[:8], "std": STD}, (": mean", "shape")),
        ({"mean": MEAN, "std": [*STD[:8], "1"]}, (": std", "shape")),
        ({"mean": MEAN, "std": [*STD[:8], True]}, (": std", "shape")),
        ({"mean": [MEAN] * 3, "std": [STD] * 3}, (": mean", "shape")),
        ({"mean": [MEAN, MEAN], "std": STD}, ("", "shape")),
        ({"mean": MEAN, "std": [0.0, *STD[1:]]}, (": std", "not-positive")),
        ({"mean": MEAN, "std": STD, "rate_hz": 100}, (": rate_hz", "input-mismatch")),
    ],
)
def test_a_normalization_that_does_not_fit_is_refused(document: Any, problem: tuple[str, str]) -> None:
    """With its place and rule."""
    with pytest.raises(InputError) as caught:
        taken(document)

    where, rule = problem
    assert places(caught.value.problems)[0] == (f"old.json{where}", f"normalization.{rule}")
