"""Planted faults of recordings are found, reported and corrected. Planted leakage is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from places import places
from two_device import CHANNELS, CLASSES, DEVICES, RATE_HZ, two_device_recordings

from modelreg import config
from modelreg.config import TrainConfig
from modelreg.data import filling, preparation
from modelreg.data.cache import Reading
from modelreg.data.preparation import Prepared
from modelreg.data.recording import Dataset, Recording, Signal
from modelreg.errors import InputError
from modelreg.records.data import PARTS, SourceRecord

TRAINED, TESTED = "s2-walk", "s10-walk"  # one recording of a training subject, one of a test subject
STRATEGIES = ("zero", "mean", "median", "interpolate", "drop")
Plant = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]  # values (S, C), time (S,) -> both


def nan(values, time):
    """A tenth of one channel is NaN."""
    values[100:150, 0] = np.nan
    return values, time


def inf(values, time):
    """Half a second of one channel is infinite."""
    values[200:225, 1] = -np.inf
    return values, time


def lost(values, time):
    """A channel without any value."""
    values[:, 2] = np.nan
    return values, time


def flat(values, time):
    """A dead sensor."""
    values[:, 3] = 1.5
    return values, time


def saturated(values, time):
    """A range that is too small for the signal."""
    return np.clip(values, None, np.quantile(values, 0.9, axis=0)).astype(np.float32), time


def jittered(values, time):
    """Irregular intervals."""
    return values, np.sort(time + np.random.default_rng(0).uniform(0, 0.06, len(time)))


def gapped(values, time):
    """Three seconds that were not recorded."""
    kept = (time < 3) | (time >= 6)
    return values[kept], time[kept]


def shifted(values, time):
    """A clock that starts four seconds late."""
    return values, time + 4


FAULTS: dict[Plant, str] = {
    nan: "phone acc_x: 10.0% NaN, above 5.0%",
    inf: "phone acc_y: 5.0% Inf, above 1.0%",
    lost: "phone acc_z: no finite value",
    flat: "phone gyro_x: constant",
    saturated: "% saturated, above 1.0%",
    jittered: "phone clock: jitter of",
    gapped: "phone clock: one gap longer than 0.5 s, the longest 3.02 s",
    shifted: "phone clock: starts 4 s after the first device, above 2 s",
}


def planted(fault: Plant | None, where: str = TRAINED) -> tuple[Recording, ...]:
    """Return recordings with time stamps; the phone of one of them has a fault."""
    found = []
    for recording in two_device_recordings(500):
        time = np.arange(500) / RATE_HZ
        signals = {device: replace(signal, time=time) for device, signal in recording.signals.items()}
        labels = recording.labels
        if fault and recording.name == where:
            values, stamps = fault(signals["phone"].values.copy(), time)
            signals["phone"] = Signal(values, RATE_HZ, stamps)
            labels = labels[: len(values)]
        found.append(replace(recording, signals=signals, labels=labels))
    return tuple(found)


def prepared(monkeypatch, recordings: tuple[Recording, ...], **parts: Any) -> Prepared:
    """Prepare recordings in place of those of a source."""
    source = SourceRecord(kind="dsads", name="planted", digest="a" * 64, license="", citation="")
    dataset = Dataset((source,), CHANNELS, DEVICES, CLASSES, RATE_HZ, recordings)
    monkeypatch.setattr("modelreg.data.sources.registry.read", lambda *_: dataset)
    named = {
        "data": {"sources": [{"kind": "dsads", "path": "x"}]},
        "split": {"by": "subject", "test": 2, "validation": 1},
    }
    return preparation.prepare(config.settle({**named, **parts}, TrainConfig, "x"), Reading(Path()))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_reported(monkeypatch, fault) -> None:
    """With recording, device and channel or clock."""
    found = {r.recording: r for r in prepared(monkeypatch, planted(fault)).quality.recordings}

    assert any(FAULTS[fault] in problem for problem in found[TRAINED].problems)


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_else_is_reported(monkeypatch, fault) -> None:
    """The recordings without a fault have no problem."""
    found = prepared(monkeypatch, planted(fault)).quality.recordings

    assert [r.recording for r in found if r.problems] == [TRAINED]


@pytest.mark.parametrize("missing", STRATEGIES)
@pytest.mark.parametrize("fault", FAULTS)
def test_no_missing_value_reaches_a_window(monkeypatch, fault, missing) -> None:
    """With every strategy and every fault."""
    windows = prepared(monkeypatch, planted(fault), quality={"missing": missing}).windows

    assert all(np.isfinite(windows[part].x).all() for part in PARTS)


@pytest.mark.parametrize("fault", [nan, inf, lost, flat, saturated, gapped])
def test_a_fault_lowers_the_score(monkeypatch, fault) -> None:
    """Below the score of every recording without a fault."""
    found = {r.recording: r.score for r in prepared(monkeypatch, planted(fault)).quality.recordings}
    worst = found.pop(TRAINED)

    assert worst < min(found.values())


@pytest.mark.parametrize("fault", FAULTS)
def test_strict_refuses(monkeypatch, fault) -> None:
    """Every fault that exceeds a threshold. Nothing is trained."""
    with pytest.raises(InputError) as caught:
        prepared(monkeypatch, planted(fault), quality={"strict": True})

    assert set(places(caught.value.problems)) == {(TRAINED, "quality.threshold")}


def test_a_shifted_clock_is_corrected(monkeypatch) -> None:
    """The windows are those of the recording without the shift."""

    def late(values, time):
        return values[100:], time[100:]  # the first two seconds are missing, the time stamps are right

    whole = prepared(monkeypatch, planted(None)).windows["train"]
    found = prepared(monkeypatch, planted(late)).windows["train"]
    mine = [found.recordings[n] == TRAINED for n in found.recording]
    same = [whole.recordings[n] == TRAINED for n in whole.recording]

    np.testing.assert_array_equal(found.x[mine], whole.x[same][2:])


def test_windows_over_a_gap_are_dropped(monkeypatch) -> None:
    """And counted."""
    record = prepared(monkeypatch, planted(gapped)).record.parts.train

    assert record.dropped > prepared(monkeypatch, planted(None)).record.parts.train.dropped


@pytest.mark.parametrize(("missing", "oracle"), [("mean", np.nanmean), ("median", np.nanmedian)])
def test_missing_values_are_filled_from_the_training_split(missing, oracle) -> None:
    """With numpy's mean or median over all its samples, for each device and channel."""
    recordings = [r for r in planted(nan) if r.subject in ("s1", "s2", "s3")]
    settings = config.settle({"quality": {"missing": missing}}, TrainConfig, "x").quality
    expected = [
        oracle(np.concatenate([r.signals[device].values for r in recordings]).astype(np.float64), axis=0)
        for device in DEVICES
    ]

    np.testing.assert_allclose(filling.fit(recordings, settings), expected, rtol=1e-6)


@pytest.mark.parametrize("missing", STRATEGIES)
def test_the_test_split_does_not_change_the_training(monkeypatch, missing) -> None:
    """Leakage of statistics: training windows and normalization do not depend on a test recording."""
    wild = tuple(
        replace(r, signals={d: replace(s, values=s.values * 9 + 5) for d, s in r.signals.items()})
        if r.name == TESTED
        else r
        for r in planted(nan)
    )
    before = prepared(monkeypatch, planted(nan), quality={"missing": missing})
    after = prepared(monkeypatch, wild, quality={"missing": missing})

    assert (before.record.parts.train.digest, before.normalization) == (
        after.record.parts.train.digest,
        after.normalization,
    )


def test_a_long_stretch_stays_missing(monkeypatch) -> None:
    """Two seconds are not filled, unless the configuration allows it."""

    def hole(values, time):
        values[100:200, 0] = np.nan
        return values, time

    dropped = [
        prepared(monkeypatch, planted(hole), quality={"max_fill_s": longest}).record.parts.train.dropped
        for longest in (1.0, 2.0, None)
    ]

    assert (dropped[0] > 0, dropped[1:]) == (True, [0, 0])


def test_a_recording_in_two_splits_is_refused(monkeypatch) -> None:
    """The same windows with two names are planted leakage."""
    copied = [replace(r, name="copy", subject="s10") for r in planted(None) if r.name == TRAINED]
    with pytest.raises(InputError) as caught:
        prepared(monkeypatch, (*planted(None), *copied))

    assert places(caught.value.problems) == [("test: copy", "split.windows-shared")]
    assert f"train: {TRAINED}" in caught.value.problems[0].message


def test_resampled_recordings_need_a_wider_gap_in_time(monkeypatch) -> None:
    """The filter reaches across a short gap."""
    parts = {"data": {"sources": [{"kind": "dsads", "path": "x"}], "window": 10, "hop": 5}, "split": {"by": "time"}}
    with pytest.raises(InputError) as caught:
        prepared(monkeypatch, planted(None), **parts)

    assert places(caught.value.problems) == [("split.gap", "split.gap-too-short")]
    assert "70 samples" in caught.value.problems[0].message


def test_devices_that_cannot_be_aligned_are_all_named(monkeypatch) -> None:
    """Not only the first."""
    apart = tuple(
        replace(r, signals={**r.signals, "phone": replace(r.signals["phone"], time=r.signals["phone"].time + 99)})
        for r in planted(None)[:2]
    )
    with pytest.raises(InputError) as caught:
        prepared(monkeypatch, (*apart, *planted(None)[2:]))

    assert [problem.rule for problem in caught.value.problems] == ["recordings.devices-apart"] * 2
