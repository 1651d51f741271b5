"""The leak audit: every planted leak is found, and nothing where there is none."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from two_device import CHANNELS, CLASSES, DEVICES, RATE_HZ, two_device_recordings

from modelreg import files
from modelreg.data import leakage_audit, normalization, windows
from modelreg.data.leakage_audit import Evidence, examine, suspicions
from modelreg.data.recording import Recording, Signal
from modelreg.records.audit import AuditRecord
from modelreg.records.data import Limits
from modelreg.records.model import InputSpec

PEOPLE = {"train": ("s1", "s2", "s3"), "validation": ("s4",), "test": ("s5", "s10")}
SPEC = InputSpec(channels=CHANNELS, devices=DEVICES, timesteps=100, rate_hz=RATE_HZ)
Parts = dict[str, tuple[Recording, ...]]


def clean() -> Parts:
    """Recordings divided by subject."""
    found = two_device_recordings(400)
    return {part: tuple(r for r in found if r.subject in names) for part, names in PEOPLE.items()}


def evidence(parts: Parts, *, split: str = "subject", fitted_on: str = "train", hop: int = 50) -> Evidence:
    """What a preparation makes of divided recordings."""
    cut = {
        part: windows.cut(recordings, classes=CLASSES, window=100, hop=hop, labels="majority")
        for part, recordings in parts.items()
    }
    digest = files.sha256_arrays(cut[fitted_on].arrays())
    scale = normalization.fit(parts[fitted_on], SPEC, per="channel", limits=Limits(), data_digest=digest)
    originals = [recording for recordings in parts.values() for recording in recordings]
    return Evidence(parts, cut, scale, split, 100, originals)


def without_motion(found: Evidence) -> Evidence:
    """The same with channels of a magnetometer, which are not searched in whole recordings."""
    fields = tuple(channel.model_copy(update={"unit": "uT"}) for channel in CHANNELS)
    return found._replace(normalization=found.normalization.model_copy(update={"channels": fields}))


def changed(recording: Recording, change) -> Recording:
    """The same recording under another name and subject, its values changed."""
    signals = {name: Signal(change(signal.values), RATE_HZ) for name, signal in recording.signals.items()}
    return replace(recording, name="copy", subject="s10", session="other", signals=signals)


def piece(recording: Recording, start: int, end: int) -> Recording:
    """Samples of a recording."""
    signals = {name: Signal(signal.values[start:end], RATE_HZ) for name, signal in recording.signals.items()}
    return replace(recording, signals=signals, labels=recording.labels[start:end], start=start)


def kinds(record: AuditRecord) -> dict[str, int]:
    """What was found, and how often."""
    return {finding.kind: finding.count for finding in record.findings}


def test_clean_splits_have_no_finding() -> None:
    """And all moving windows were compared."""
    record = examine(evidence(clean()))

    assert (record.findings, record.compared) == ((), record.windows)


# Planted


def test_a_shared_subject_is_found() -> None:
    """By name, with the session."""
    parts = clean()
    parts["test"] += (replace(changed(parts["test"][0], lambda v: v * [2, 1, 1, 1, 3, 1, 1, 1, 1]), subject="s1"),)
    record = examine(evidence(parts))

    assert kinds(record) == {"subject": 1}
    assert (record.leaks[0].examples, record.leaks[0].parts) == (("s1",), ("train", "test"))


def test_a_shared_session_is_found() -> None:
    """Of one subject."""
    parts = clean()
    parts["test"] += (replace(parts["validation"][0], name="other"),)

    assert kinds(examine(evidence(parts)))["session"] == 1


def test_windows_that_overlap_in_time_are_counted() -> None:
    """Of one recording, cut into pieces that share 60 samples: three windows of the later one begin in the first."""
    parts = clean()
    whole = parts["train"][1]
    parts["train"] = (parts["train"][0], piece(whole, 0, 200), *parts["train"][2:])
    parts["test"] += (piece(whole, 140, 400),)
    record = examine(evidence(parts, split="time", hop=20))

    assert kinds(record)["time"] == 3
    assert {f.severity for f in record.findings if f.kind in ("subject", "session")} == {"by_design"}
    assert [finding.kind for finding in record.leaks] == ["time"]


def test_pieces_with_a_gap_do_not_overlap() -> None:
    """As a split by time leaves one."""
    parts = clean()
    whole = parts["train"][1]
    parts["train"] = (parts["train"][0], piece(whole, 0, 150), *parts["train"][2:])
    parts["test"] += (piece(whole, 250, 400),)

    assert examine(evidence(parts, split="time")).leaks == ()


def test_a_recording_without_windows_overlaps_nothing() -> None:
    """It is too short for one."""
    parts = clean()
    whole = parts["train"][1]
    parts["train"] = (parts["train"][0], piece(whole, 0, 90), *parts["train"][2:])
    parts["test"] += (piece(whole, 50, 400),)

    assert examine(evidence(parts, split="time")).leaks == ()


def test_exact_copies_are_counted() -> None:
    """A recording under another name and subject: every window, with both places."""
    parts = clean()
    parts["test"] += (changed(parts["train"][1], lambda values: values),)
    record = examine(evidence(parts))

    assert kinds(record) == {"exact_copy": 7}
    assert record.leaks[0].examples[0] == "copy, samples 0 to 399 = s1-walk from sample 0"


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values + np.random.default_rng(0).normal(0, 0.02, values.shape).astype(np.float32),
        lambda values: values * np.float32(1.2),
        lambda values: values + np.float32(3),
        lambda values: values.round(1),
    ],
    ids=["noise", "gain", "offset", "rounding"],
)
def test_near_copies_are_counted(change) -> None:
    """A digest cannot find them."""
    parts = clean()
    parts["validation"] += (replace(changed(parts["train"][2], change), subject="s4"),)
    record = examine(evidence(parts))

    assert kinds(record) == {"near_copy": 7}
    assert "copy, samples 1 to 399 ~ s1-run from sample 1, residual 0.0" in record.leaks[-1].examples[0]


def test_windows_at_rest_are_not_copies() -> None:
    """A device that lies still repeats itself."""
    parts = clean()
    still = [changed(r, lambda values: np.ones_like(values) * 5) for r in (parts["train"][0], parts["train"][1])]
    parts["train"] += (replace(still[0], name="one", subject="s1", session="made up"),)
    parts["test"] += (still[1],)
    record = examine(evidence(parts))

    assert kinds(record) == {}
    assert record.compared["test"] == record.windows["test"] - 7


def test_a_split_of_windows_at_rest_is_not_compared() -> None:
    """There are no moving windows to compare."""
    parts = clean()
    parts["validation"] = tuple(
        replace(changed(r, np.ones_like), name=r.name, subject="s4", session="made up") for r in parts["validation"]
    )

    assert examine(evidence(parts)).findings == ()


def test_splits_after_one_at_rest_are_compared() -> None:
    """Train does not move, but validation is in test. No channel is searched in whole recordings: windows must do."""
    parts = clean()
    parts["test"] += (changed(parts["validation"][0], lambda values: values * np.float32(1.2)),)
    found = without_motion(evidence(parts))
    train = replace(found.windows["train"], x=np.ones_like(found.windows["train"].x))

    assert kinds(examine(found._replace(windows={**found.windows, "train": train})))["near_copy"] == 7


def test_normalization_of_other_recordings_is_found() -> None:
    """Fitted on the test split: its digest and its numbers prove it."""
    found = examine(evidence(clean(), fitted_on="test")).findings

    assert [finding.kind for finding in found] == ["normalization", "normalization"]


def test_normalization_under_a_false_digest_is_found() -> None:
    """It is fitted again."""
    honest = evidence(clean())
    leaked = evidence(clean(), fitted_on="test").normalization
    lying = leaked.model_copy(update={"data_digest": honest.normalization.data_digest})

    assert kinds(examine(honest._replace(normalization=lying))) == {"normalization": 1}


def test_the_record_is_read_back() -> None:
    """From its bytes."""
    parts = clean()
    parts["test"] += (changed(parts["train"][1], lambda values: values),)
    record = examine(evidence(parts))

    assert AuditRecord.model_validate_json(record.to_bytes()) == record


# Bounds


def test_large_splits_are_searched_evenly(monkeypatch) -> None:
    """No more windows than the cap, and the record says how many."""
    monkeypatch.setattr(leakage_audit, "CAP", 10)
    parts = clean()
    record = examine(evidence(parts))

    assert (record.windows["train"], record.compared["train"]) == (63, 10)


def test_twenty_thousand_windows_of_a_split_are_searched() -> None:
    """Evenly spaced, from the first to the last."""
    windows = replace(evidence(clean()).windows["train"], x=np.random.default_rng(0).random((50_001, 1, 1, 2)))
    searched = leakage_audit._searched(windows)

    assert (len(searched), searched[0], searched[10_000], searched[-1]) == (20_000, 0, 25_001, 50_000)


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40))
def test_the_nearest_is_the_nearest(seed, n, m) -> None:
    """In blocks or not."""
    rng = np.random.default_rng(seed)
    points, others = (rng.normal(size=(count, leakage_audit.DIMENSIONS)).astype(np.float32) for count in (n, m))
    distances = np.linalg.norm(points[:, None] - others[None], axis=2)
    found = leakage_audit._nearest(points, others)

    np.testing.assert_allclose(distances[np.arange(n), found], distances.min(axis=1), rtol=1e-5)


def test_projections_keep_distances() -> None:
    """Squared distances of unit vectors, within four standard deviations."""
    whole = evidence(clean())
    x, rows = whole.windows["train"].x, np.arange(40)
    shapes = leakage_audit._shapes(x[rows], whole.normalization)
    projected = leakage_audit._projections(x, rows, whole.normalization)
    ratio = ((projected[1:] - projected[0]) ** 2).sum(axis=1) / ((shapes[1:] - shapes[0]) ** 2).sum(axis=1)

    assert np.abs(ratio - 1).max() < 4 * (2 / leakage_audit.DIMENSIONS) ** 0.5


# Suspicions


@pytest.mark.parametrize(
    ("accuracy", "classes", "split", "random_accuracy", "expected"),
    [
        (0.996, 6, "subject", None, ["too_good"]),
        (0.995, 6, "subject", None, []),
        (0.999, 5, "subject", None, []),
        (0.85, 6, "subject", 0.91, ["random_split"]),
        (0.85, 6, "subject", 0.89, []),
        (0.85, 6, "time", 0.95, []),
    ],
)
def test_results_that_are_too_good_are_suspicious(accuracy, classes, split, random_accuracy, expected) -> None:
    """Above 99.5 % on more than five classes; or a random split more than five points above the subjects'."""
    found = list(suspicions(accuracy, classes, split, random_accuracy))

    assert [finding.kind for finding in found] == expected
    assert all(finding.severity == "suspicious" for finding in found)


# What was searched


def test_the_search_is_stated() -> None:
    """Hours, devices, channels without the magnetic field, and the limits."""
    found = examine(evidence(clean())).copies

    assert found is not None
    assert found.near is not None
    assert (found.near.devices, len(found.near.channels)) == (("phone", "collar"), 6)
    assert (found.near.residual, found.near.residual_same_subject) == (0.01, 0.005)
    assert found.hours["test"] == pytest.approx(2 * 6 * 400 / RATE_HZ / 3600)


def test_a_set_without_inertial_channels_states_that_it_was_not_searched() -> None:
    """Its exact copies are."""
    record = examine(without_motion(evidence(clean())))

    assert record.copies is not None
    assert record.copies.near is None
