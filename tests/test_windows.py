"""Windows equal those of a naive loop over the samples."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from places import places
from two_device import CLASSES, two_device_recordings

from modelreg.data import memory_map
from modelreg.data.memory_map import MappedStore, is_mapped
from modelreg.data.recording import UNLABELLED, Dropped, Recording, Signal, Windows
from modelreg.data.windows import cut, deal, fold
from modelreg.errors import InputError

K = ("a", "b", "c")


def recording_of(labels: list[int], *, devices: int = 2, channels: int = 3, seed: int = 0, **changes: Any) -> Recording:
    """Return a recording of noise with these labels, a few values of it missing."""
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((devices, len(labels), channels)).astype(np.float32)
    values[generator.random(values.shape) < 0.01] = generator.choice([np.nan, np.inf])
    fields = {
        "name": f"r{seed}",
        "subject": f"s{seed % 2}",
        "session": "",
        "signals": {f"d{d}": Signal(values[d], 50.0) for d in range(devices)},
        "labels": np.array(labels, dtype=np.int32),
    }
    return Recording(**{**fields, **changes})


def label_of(labels: NDArray[np.int32], rule: str) -> int:
    """Return the label of a window by its definition."""
    counts = Counter(labels.tolist())
    if rule == "pure":
        return int(labels[0]) if len(counts) == 1 else UNLABELLED
    most = max(counts.values())
    return min((k for k, n in counts.items() if n == most and k != UNLABELLED), default=UNLABELLED)


def naive(recordings: list[Recording], window: int, hop: int, rule: str) -> list[tuple[Any, ...]]:
    """Return x, y, subject, recording and start of each window, one at a time."""
    found = []
    for recording in recordings:
        values = np.array([signal.values for signal in recording.signals.values()])  # (D, S, C)
        for start in range(0, len(recording.labels) - window + 1, hop):
            x = values[:, start : start + window].transpose(2, 0, 1)
            y = label_of(recording.labels[start : start + window], rule)
            if y != UNLABELLED and np.isfinite(x).all():
                found.append((x, y, recording.subject, recording.name, recording.start + start))
    return found


def as_list(windows: Windows) -> list[tuple[Any, ...]]:
    """Return windows in the form of `naive`."""
    names = [windows.recordings[i] for i in windows.recording]
    subjects = [windows.subjects[i] for i in windows.subject]
    return list(zip(windows.x, windows.y, subjects, names, windows.start, strict=True))


LABELS = st.lists(st.tuples(st.integers(-1, 2), st.integers(1, 12)), min_size=1, max_size=6).map(
    lambda runs: [label for label, length in runs for _ in range(length)]
)


@given(
    labels=st.lists(LABELS, min_size=1, max_size=4),
    window=st.integers(1, 20),
    hop=st.integers(1, 25),
    rule=st.sampled_from(["majority", "pure"]),
    devices=st.integers(1, 2),
)
def test_windows_are_those_of_a_loop(labels: list[list[int]], window: int, hop: int, rule: Any, devices: int) -> None:
    """Values, labels, subjects, recordings and starts are those of the definition; dropped windows are counted."""
    recordings = [recording_of(each, devices=devices, seed=i, start=7 * i) for i, each in enumerate(labels)]
    windows = cut(recordings, classes=K, window=window, hop=hop, labels=rule)
    expected = naive(recordings, window, hop, rule)
    possible = sum(len(range(0, len(each) - window + 1, hop)) for each in labels)

    np.testing.assert_equal(as_list(windows), expected)
    assert windows.dropped == possible - len(expected)


@pytest.mark.parametrize(
    ("labels", "rule", "missing", "why"),
    [
        ([0, 0, 0, 0], "majority", [], Dropped()),
        ([-1, -1, -1, 0], "majority", [], Dropped(unlabelled=1)),
        ([0, 0, 1, 1], "majority", [], Dropped()),
        ([0, 0, 1, 1], "pure", [], Dropped(mixed=1)),
        ([0, 0, 0, -1], "pure", [], Dropped(unlabelled=1)),
        ([0, 0, 1, -1], "pure", [], Dropped(unlabelled=1)),
        ([0, 0, 0, 0], "pure", [2], Dropped(missing=1)),
        ([0, 0, 1, 1], "pure", [2], Dropped(mixed=1)),
        ([-1, -1, -1, -1], "majority", [2], Dropped(unlabelled=1)),
    ],
)
def test_a_dropped_window_has_one_reason(labels: list[int], rule: Any, missing: list[int], why: Dropped) -> None:
    """The label before a missing value."""
    values = np.zeros((4, 1), np.float32)
    values[missing] = np.nan
    recording = recording_of(labels, signals={"d": Signal(values, 50.0)})

    assert cut([recording], classes=K, window=4, hop=1, labels=rule).why == why


def test_reasons_are_named_with_their_numbers() -> None:
    """Those that no window has are left out."""
    assert str(Dropped(unlabelled=1485, missing=2)) == "1,485 unlabelled, 2 with missing values"


@given(labels=LABELS, rows=st.sampled_from([1, 2]))
def test_windows_have_their_types(labels: list[int], rows: Any) -> None:
    """Arrays are contiguous, of the stated types and shapes, also without a window."""
    flat = cut([recording_of(labels, devices=1)], classes=K, window=8, hop=3, labels="majority")
    windows = fold(flat, rows)
    types = {key: str(getattr(windows, key).dtype) for key in ("x", "y", "subject", "recording", "start")}

    assert windows.x.flags.c_contiguous
    assert windows.x.shape == (len(windows.y), 3, rows, 8 // rows)
    assert types == {"x": "float32", "y": "int64", "subject": "int32", "recording": "int32", "start": "int64"}


def test_fold_puts_the_earlier_half_first() -> None:
    """Row 0 is the first half of the time axis, row 1 the second."""
    recordings = [recording_of([0] * 50, devices=1)]
    flat = cut(recordings, classes=K, window=10, hop=10, labels="pure")
    folded = fold(flat, 2).x

    np.testing.assert_array_equal(folded[:, :, 0], flat.x[:, :, 0, :5])
    np.testing.assert_array_equal(folded[:, :, 1], flat.x[:, :, 0, 5:])


@pytest.mark.parametrize(
    ("labels", "majority", "pure"),
    [
        ([0, 0, 1, 1], [0], []),
        ([2, 2, 1, 1], [1], []),
        ([-1, -1, 2, 2], [2], []),
        ([-1, -1, -1, 2], [], []),
        ([2, 2, 2, -1], [2], []),
        ([2, 2, 2, 2], [2], [2]),
        ([-1, -1, -1, -1], [], []),
    ],
)
def test_label_of_a_window(labels: list[int], majority: list[int], pure: list[int]) -> None:
    """Ties go to the lowest class; a majority without label, or another label with `pure`, drops the window."""
    recording = recording_of(labels, signals={"d": Signal(np.zeros((4, 1), np.float32), 50.0)})
    found = [cut([recording], classes=K, window=4, hop=1, labels=rule).y.tolist() for rule in ("majority", "pure")]

    assert found == [majority, pure]


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf])
def test_no_missing_value_reaches_a_window(missing: float) -> None:
    """A missing value drops exactly the windows that contain it."""
    values = np.zeros((30, 1), np.float32)
    values[12] = missing
    recording = recording_of([0] * 30, signals={"d": Signal(values, 50.0)})
    windows = cut([recording], classes=K, window=10, hop=5, labels="majority")

    assert (windows.start.tolist(), windows.dropped) == ([0, 15, 20], 2)


def test_two_devices_are_stacked() -> None:
    """Windows of two devices are (N, 9, 2, 100), devices in order."""
    recordings = two_device_recordings()
    windows = cut(recordings, classes=CLASSES, window=100, hop=50, labels="majority")

    assert windows.x.shape == (18 * 9, 9, 2, 100)
    np.testing.assert_array_equal(windows.x[0, :, 1].T, recordings[0].signals["collar"].values[:100])


def bent(**changes: Any) -> Recording:
    """Return a recording whose second device differs."""
    recording = recording_of([0] * 20)
    second = {"values": recording.signals["d1"].values, "rate_hz": 50.0, **changes}
    return recording_of([0] * 20, signals={"d0": recording.signals["d0"], "d1": Signal(**second)})


SHORT = np.zeros((19, 3), np.float32)
CLOCKS, RATES = ("r0", "recordings.clocks-differ"), ("rate_hz", "sources.rates-differ")


@pytest.mark.parametrize(
    ("recordings", "problems"),
    [
        ([bent(values=SHORT)], [CLOCKS]),
        ([bent(rate_hz=25.0)], [CLOCKS, RATES]),
        ([replace(recording_of([0] * 20), labels=np.zeros(21, np.int32))], [CLOCKS]),
        (
            [recording_of([0] * 20, signals={"d": Signal(np.zeros((20, 3), np.float32), rate)}) for rate in (50, 100)],
            [RATES],
        ),
    ],
)
def test_recordings_that_do_not_fit(recordings: list[Recording], problems: list[tuple[str, str]]) -> None:
    """Different clocks and different rates are refused."""
    with pytest.raises(InputError) as caught:
        cut(recordings, classes=K, window=10, hop=5, labels="majority")

    assert places(caught.value.problems) == problems


def test_two_devices_cannot_be_folded() -> None:
    """Each device is a row already."""
    windows = cut([recording_of([0] * 20)], classes=K, window=10, hop=5, labels="majority")
    with pytest.raises(InputError) as caught:
        fold(windows, 2)

    assert places(caught.value.problems) == [("data.fold", "windows.fold-devices")]


@given(labels=LABELS)
def test_windows_in_a_mapped_file_are_the_same(tmp_path_factory, labels: list[int]) -> None:
    """Also without windows, and folded."""
    store = MappedStore(tmp_path_factory.mktemp("store"))
    here, mapped = (
        fold(cut([recording_of(labels, devices=1)], classes=K, window=8, hop=3, labels="majority", gather=gather), 2)
        for gather in (memory_map.gather, store.gather)
    )

    np.testing.assert_array_equal(mapped.x, here.x, strict=True)
    assert is_mapped(mapped.x) == bool(len(here.y))


def test_arrays_have_the_names_of_subjects_and_recordings() -> None:
    """The digest does not depend on the numbers of names."""
    windows = cut(
        [recording_of([0] * 10, seed=i, signals={"d": Signal(np.zeros((10, 1), np.float32), 50.0)}) for i in (1, 0)],
        classes=K,
        window=10,
        hop=10,
        labels="pure",
    )

    assert windows.arrays()["subject"].tolist() == ["s1", "s0"]
    assert windows.arrays()["recording"].tolist() == ["r1", "r0"]


@given(st.lists(st.integers(1, 40), min_size=3, max_size=3), st.integers(0, 2**32))
def test_windows_dealt_at_random_are_the_same_windows(lengths, seed) -> None:
    """Each once, with label and place; splits keep their sizes, and windows their order."""
    named = zip(("train", "validation", "test"), lengths, strict=True)
    parts = {
        part: cut(
            [recording_of([0] * (20 + length), seed=n, name=part, subject=part)],
            classes=K,
            window=20,
            hop=2,
            labels="pure",
        )
        for n, (part, length) in enumerate(named)
    }
    dealt = deal(parts, seed)
    every, again = ([str(w) for part in found.values() for w in as_list(part)] for found in (parts, dealt))

    assert ([len(part.y) for part in dealt.values()], sorted(again)) == (
        [len(p.y) for p in parts.values()],
        sorted(every),
    )
    assert all((np.diff(part.recording) >= 0).all() for part in dealt.values())


def test_the_same_seed_deals_the_same_splits() -> None:
    """Another seed deals others."""
    parts = {
        part: cut([recording_of([0, 1] * 40, seed=n, name=part)], classes=K, window=8, hop=4, labels="majority")
        for n, part in enumerate(("train", "validation", "test"))
    }
    first, second, other = (deal(parts, seed)["test"].start.tolist() for seed in (1, 1, 2))

    assert (first == second, first == other) == (True, False)
