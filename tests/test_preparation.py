"""Preparation: from settings to windows, with nothing of one part in another."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from places import places
from two_device import CHANNELS, CLASSES, DEVICES, GIVEN, two_device_arrays, two_device_recordings, write_two_device

from modelreg import config, files
from modelreg.data import windows
from modelreg.data.cache import Reading
from modelreg.data.preparation import Prepared, prepare
from modelreg.data.recording import Dataset, Signal
from modelreg.data.sources import sample
from modelreg.errors import InputError, Problem
from modelreg.records.data import PARTS, DataRecord, Normalization, SourceRecord

NPY = {"sources": [{"kind": "npy", "path": "dataset.json"}]}


def settings(**parts: Any) -> config.TrainConfig:
    """Return a training configuration with some of its parts set."""
    return config.settle(parts, config.TrainConfig, "test")


def two_device(folder: Path, *, given: bool = False, **parts: Any) -> Prepared:
    """Prepare the two-device fixture."""
    write_two_device(folder, given=given)
    return prepare(settings(**{"data": NPY, **parts}), Reading(folder))


def problems_of(call: Callable[[], object]) -> list[Problem]:
    """Return why recordings cannot be prepared."""
    with pytest.raises(InputError) as caught:
        call()
    return list(caught.value.problems)


@pytest.fixture(scope="module")
def watch() -> Prepared:
    """The embedded sample under the default settings."""
    return prepare(config.TrainConfig(), Reading(Path()))


def test_default_split_is_by_rule(watch: Prepared) -> None:
    """The three highest ids are for test, the next for validation, all others for training."""
    assert {part: watch.record.parts[part].subjects for part in PARTS} == {
        "train": ("s01", "s02", "s03", "s04", "s05", "s06"),
        "validation": ("s07",),
        "test": ("s08", "s09", "s10"),
    }


def test_default_record_counts_the_windows(watch: Prepared) -> None:
    """The record of each split counts its windows, in all and by class."""
    counted = {
        part: (found.windows, sum(found.class_windows.values()), found.dropped)
        for part, found in watch.record.parts.items()
    }

    assert counted == {part: (len(w.y), len(w.y), w.dropped) for part, w in watch.windows.items()}


def test_digests_are_of_the_windows(watch: Prepared) -> None:
    """The digest of each split is over its windows, and the normalization has that of train."""
    digests = {part: found.digest for part, found in watch.record.parts.items()}

    assert digests == {part: files.sha256_arrays(w.arrays()) for part, w in watch.windows.items()}
    assert watch.normalization.data_digest == digests["train"]


def test_default_windows_count_as_possible(watch: Prepared) -> None:
    """Nothing of the sample is dropped: each recording gives all the windows that fit."""
    expected = sum((len(r.labels) - 100) // 50 + 1 for r in sample.read().recordings)

    assert sum(len(w.y) for w in watch.windows.values()) == expected


def test_record_says_what_was_read(watch: Prepared) -> None:
    """The source, its digest and its license are in the record."""
    (source,) = watch.record.sources

    assert (source.kind, source.digest, source.license) == ("sample", sample.DIGEST, "BSD-3-Clause")


def test_normalization_is_of_the_training_subjects(watch: Prepared) -> None:
    """Its statistics are those of the samples of the training subjects only."""
    subjects = watch.record.parts["train"].subjects
    values = np.concatenate(
        [r.signals["watch"].values for r in sample.read().recordings if r.subject in subjects]
    ).astype(np.float64)

    np.testing.assert_allclose(watch.normalization.mean, [values.mean(axis=0)], rtol=1e-9)
    np.testing.assert_allclose(watch.normalization.std, [values.std(axis=0)], rtol=1e-9)


@pytest.mark.parametrize("record", [DataRecord, Normalization])
def test_records_read_back(record: type[Any], watch: Prepared) -> None:
    """What is written to a run is a valid document."""
    from modelreg.records.base import parse

    (made,) = (value for value in vars(watch).values() if isinstance(value, record))
    assert parse(made.to_bytes(), record, "test") == made


def test_prepared_twice_is_the_same(watch: Prepared) -> None:
    """The same settings give the same record and normalization."""
    again = prepare(config.TrainConfig(), Reading(Path()))

    assert (again.record, again.normalization) == (watch.record, watch.normalization)


def test_two_devices(tmp_path: Path) -> None:
    """Windows of two devices and nine channels are (N, 9, 2, 100)."""
    prepared = two_device(tmp_path, normalization={"per": "device_channel"})

    assert prepared.windows["train"].x.shape == (2 * 18, 9, 2, 100)
    assert prepared.input.shape == (9, 2, 100)
    assert (prepared.input.channels, prepared.input.devices, prepared.classes) == (CHANNELS, DEVICES, CLASSES)
    assert np.shape(prepared.normalization.mean) == (2, 9)


def test_given_parts(tmp_path: Path) -> None:
    """The splits of the source are kept."""
    prepared = two_device(tmp_path, given=True, split={"by": "given"})

    assert {part: found.subjects for part, found in prepared.record.parts.items()} == GIVEN


def test_fold_is_named() -> None:
    """A folded time axis is in the input, the record and the normalization."""
    prepared = prepare(settings(data={"fold": 2}), Reading(Path()))

    assert {part: w.x.shape[1:] for part, w in prepared.windows.items()} == dict.fromkeys(PARTS, (6, 2, 50))
    assert prepared.input.shape == (6, 2, 50)
    assert (prepared.record.fold, prepared.normalization.fold) == (2, 2)


def test_a_fold_of_two_devices_is_refused_before_windows_are_cut(tmp_path, monkeypatch) -> None:
    """The configuration and the devices are enough to know."""
    monkeypatch.setattr(windows, "cut", None)
    problems = problems_of(lambda: two_device(tmp_path, data={**NPY, "fold": 2}))

    assert places(problems) == [("data.fold", "windows.fold-devices")]


def test_by_time_shares_no_sample() -> None:
    """Split by time, no sample of a recording is in the windows of two parts, nor nearer than the gap."""
    prepared = prepare(settings(split={"by": "time"}), Reading(Path()))
    ends: dict[str, int] = {}
    for part in PARTS:
        windows = prepared.windows[part]
        for number, name in enumerate(windows.recordings):
            starts = windows.start[windows.recording == number]
            assert starts.min() >= ends.get(name, -100) + 100
            ends[name] = int(starts.max()) + 100
    assert prepared.record.gap == 100


def spoil(array: NDArray[np.float32]) -> None:
    """Change all values of a split."""
    array *= -1000
    array[0, 0, 0, 3] = np.nan


@pytest.mark.parametrize("part", ["validation", "test"])
def test_held_out_values_change_nothing_in_training(part: str, tmp_path: Path) -> None:
    """Other validation or test values do not change the normalization and the training windows."""
    before = two_device(tmp_path, given=True, split={"by": "given"})
    x = np.load(tmp_path / f"{part}_x.npy")
    spoil(x)
    np.save(tmp_path / f"{part}_x.npy", x)
    after = prepare(settings(data=NPY, split={"by": "given"}), Reading(tmp_path))

    assert after.record.parts[part] != before.record.parts[part]  # type: ignore[index]
    assert after.normalization == before.normalization
    assert after.record.parts["train"] == before.record.parts["train"]


def test_training_values_change_the_normalization(tmp_path: Path) -> None:
    """The test above could fail: training values do move the statistics."""
    before = two_device(tmp_path, given=True, split={"by": "given"})
    x = np.load(tmp_path / "train_x.npy")
    spoil(x)
    np.save(tmp_path / "train_x.npy", x)
    after = prepare(settings(data=NPY, split={"by": "given"}), Reading(tmp_path))

    assert after.normalization.mean != before.normalization.mean


def with_missing(folder: Path, missing: str) -> Callable[[], Prepared]:
    """Write the fixture with a NaN in window 0 and no finite value in a channel of window 1."""
    path = write_two_device(folder)
    x = two_device_arrays()["x"]
    x[0, 2, 1, 50] = np.nan
    x[1, 4, 0] = np.inf
    np.save(path.parent / "all_x.npy", x)
    return lambda: prepare(settings(data=NPY, quality={"missing": missing}), Reading(folder))


@pytest.mark.parametrize(("missing", "dropped"), [("interpolate", 1), ("drop", 2)])
def test_missing_values_cost_windows(missing: str, dropped: int, tmp_path: Path) -> None:
    """Windows that cannot be filled are dropped and counted; the others are finite."""
    prepared = with_missing(tmp_path, missing)()

    assert prepared.record.parts["train"].dropped == dropped
    assert np.isfinite(prepared.windows["train"].x).all()


def test_missing_values_may_be_refused(tmp_path: Path) -> None:
    """Under `raise` every channel with missing values is listed."""
    assert places(problems_of(with_missing(tmp_path, "raise"))) == [
        ("all/00000: collar acc_z", "quality.missing-values"),
        ("all/00001: phone gyro_y", "quality.missing-values"),
    ]


def test_windows_of_npy_files_are_not_split_by_time(tmp_path: Path) -> None:
    """They may overlap, and their time is not known."""
    problems = problems_of(lambda: two_device(tmp_path, split={"by": "time"}))

    assert ("split.by", "split.time-unknown") in places(problems)


def test_window_longer_than_every_recording() -> None:
    """Splits without windows are named with the longest recording, and the classes that are missing."""
    problems = problems_of(lambda: prepare(settings(data={"window": 3000}), Reading(Path())))

    assert places(problems) == [*((part, "windows.none") for part in PARTS), ("train", "split.class-missing")]
    assert ["2618" in problem.message for problem in problems] == [True, True, True, False]


def test_missing_class_in_training(tmp_path: Path) -> None:
    """A class without a training subject is named."""
    write_two_device(tmp_path)
    y = two_device_arrays()["y"]
    np.save(tmp_path / "all_y.npy", np.where(y == 1, 0, y))

    (problem,) = problems_of(lambda: prepare(settings(data=NPY), Reading(tmp_path)))
    assert (problem.where, problem.rule, "'walk'" in problem.message) == ("train", "split.class-missing", True)


def test_class_may_be_absent_from_test(tmp_path: Path) -> None:
    """A class without a test subject is allowed, and counted as zero."""
    write_two_device(tmp_path)
    arrays = two_device_arrays()
    keep = ~((arrays["y"] == 2) & np.isin(arrays["subject"], ["s4", "s5", "s10"]))
    for key, array in arrays.items():
        np.save(tmp_path / f"all_{key}.npy", array[keep])

    assert prepare(settings(data=NPY), Reading(tmp_path)).record.parts["test"].class_windows == {
        "rest": 18,
        "walk": 18,
        "run": 0,
    }


def test_limits_travel_to_the_device() -> None:
    """The thresholds of the quality check are in the normalization."""
    prepared = prepare(settings(quality={"limits": {"channels": {"ax": [-16, 16]}}}), Reading(Path()))

    assert prepared.normalization.limits.channels == {"ax": (-16, 16)}


def test_unknown_limit_is_refused() -> None:
    """A limit for an unknown channel is an input error."""
    chosen = settings(quality={"limits": {"channels": {"mag": [0, 1]}}})

    assert places(problems_of(lambda: prepare(chosen, Reading(Path())))) == [
        ("quality.limits.channels.mag", "quality.channel-unknown")
    ]


@pytest.mark.parametrize("refuse_copies", [False, True])
def test_a_window_in_two_parts_is_refused(tmp_path: Path, *, refuse_copies: bool) -> None:
    """The same recording under two names is a leak: one problem for each pair, also if its samples were compared."""
    path = write_two_device(tmp_path)
    x, subject = np.load(tmp_path / "all_x.npy"), np.load(tmp_path / "all_subject.npy")
    x[subject == "s10"] = x[subject == "s1"]
    np.save(tmp_path / "all_x.npy", x)
    problems = problems_of(lambda: prepare(settings(data=NPY), Reading(path.parent), refuse_copies=refuse_copies))

    assert {problem.rule for problem in problems} == {"split.windows-shared"}
    assert all("train: all/" in problem.message for problem in problems)
    assert len({problem.where for problem in problems}) == len(problems) == np.count_nonzero(subject == "s10")


def test_a_device_at_rest_may_repeat_itself(tmp_path: Path) -> None:
    """Constant windows do not prove a copy."""
    path = write_two_device(tmp_path)
    x, subject = np.load(tmp_path / "all_x.npy"), np.load(tmp_path / "all_subject.npy")
    for name in ("s1", "s10"):
        x[np.flatnonzero(subject == name)[0]] = 1.0
    np.save(tmp_path / "all_x.npy", x)

    assert prepare(settings(data=NPY), Reading(path.parent)).record.parts.test.windows > 0


def resampled(values_of: Callable[[NDArray[np.float32]], NDArray[np.float32]], rate_hz: float) -> Dataset:
    """Return recordings at another rate, their values changed."""
    recordings = tuple(
        replace(r, signals={d: Signal(values_of(s.values.copy()), rate_hz) for d, s in r.signals.items()})
        for r in two_device_recordings(800)
    )
    source = SourceRecord(kind="dsads", name="made up", digest="a" * 64, license="", citation="")
    return Dataset((source,), CHANNELS, DEVICES, CLASSES, rate_hz, recordings)


@pytest.mark.parametrize(("old", "new"), [(50.0, 25.0), (70.0, 50.0)])
def test_later_samples_change_nothing_in_training_after_resampling(
    old: float, new: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Split by time with the smallest gap, training windows and statistics do not depend on later samples."""
    chosen = {"sources": [{"kind": "dsads", "path": "x"}], "window": 20, "hop": 20, "rate_hz": new}
    samples = int(799 / old * new) + 1  # after resampling, of which two gaps of 20 and two fifths are not for training
    later = int((samples - 40) * 0.6 + 22) / new

    def spoiled(values: NDArray[np.float32]) -> NDArray[np.float32]:
        values[int(later * old) + 1 :] = -9 * values[int(later * old) + 1 :] + 5
        return values

    found = []
    for change in (np.copy, spoiled):
        monkeypatch.setattr("modelreg.data.sources.registry.read", lambda *_, change=change: resampled(change, old))
        found.append(prepare(settings(data=chosen, split={"by": "time"}), Reading(Path())))

    assert found[0].record.parts["test"] != found[1].record.parts["test"]
    assert found[0].record.parts["train"] == found[1].record.parts["train"]
    assert found[0].normalization == found[1].normalization


def test_a_subject_in_two_given_parts_is_refused(tmp_path: Path) -> None:
    """The splits of a source are checked, too."""
    write_two_device(tmp_path, given=True)
    subjects = np.load(tmp_path / "test_subject.npy")
    np.save(tmp_path / "test_subject.npy", np.where(subjects == "s10", "s1", subjects))

    problems = problems_of(lambda: prepare(settings(data=NPY, split={"by": "given"}), Reading(tmp_path)))
    assert places(problems) == [("s1", "split.subject-shared")]


@pytest.mark.parametrize("missing", ["mean", "median"])
@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_fill_is_of_the_training_part(missing: str, part: str, tmp_path: Path) -> None:
    """Other values in validation or test change no filled training window; training values fill their gaps."""
    two_device(tmp_path, given=True, split={"by": "given"})
    filled = []
    for factor in (1, 100):
        for each in PARTS:
            x = two_device_arrays(GIVEN[each])["x"] * (factor if each == part else 1)
            x[0, 2, 1, 50:60] = np.nan
            np.save(tmp_path / f"{each}_x.npy", x)
        found = prepare(
            settings(data=NPY, split={"by": "given"}, quality={"missing": missing}), Reading(tmp_path)
        ).windows
        filled.append((found["train"].x.tobytes(), found[part].x[0, 2, 1, 50:60].tobytes()))

    assert filled[0] == filled[1]


def test_strict_refuses_what_breaks_a_threshold(tmp_path: Path) -> None:
    """By subject and channel, before the split."""
    write_two_device(tmp_path)
    x = np.load(tmp_path / "all_x.npy")
    x[:18, 3, 0] = np.nan
    np.save(tmp_path / "all_x.npy", x)

    problems = problems_of(lambda: prepare(settings(data=NPY, quality={"strict": True}), Reading(tmp_path)))
    assert places(problems)[0] == ("all: s1", "quality.threshold")
    assert "phone gyro_x" in problems[0].message
