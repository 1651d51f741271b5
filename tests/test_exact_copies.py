"""Equal samples of two splits are found at any offset, and chance gives none."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.data import exact_copies, tracks
from modelreg.data.copied_samples import find_exact
from modelreg.data.exact_copies import SEED, SHORTEST, find, information
from modelreg.data.recording import Recording, Signal
from modelreg.data.tracks import Track

RATE_HZ = 50.0


def noise(seed: int, samples: int = 1000, channels: int = 3) -> np.ndarray:
    """Samples of a sensor that nothing repeats, in steps of 1/1000."""
    drawn = np.random.default_rng(seed).standard_normal((samples, channels))
    return drawn.round(3).astype(np.float32)


def track(part: str, values: np.ndarray, name: str = "") -> Track:
    """A track of its own subject."""
    return Track(part, name or part, name or part, "watch", values, RATE_HZ)  # type: ignore[arg-type]


def planted(into: np.ndarray, what: np.ndarray, at: int) -> np.ndarray:
    """The samples with others in their place."""
    changed = into.copy()
    changed[at : at + len(what)] = what
    return changed


@given(st.integers(0, 800), st.integers(0, 800), st.integers(60, 190), st.integers(0, 99))
def test_a_copy_is_found_at_any_offset(origin, at, samples, seed) -> None:
    """With both places and its length."""
    one, other = noise(seed), noise(seed + 100)
    length = min(samples, 1000 - origin, 1000 - at)
    found = find([track("train", one), track("test", planted(other, one[origin : origin + length], at))])

    assert [copy[:5] for copy in found] == [(0, 1, origin, at, length)]


@given(st.integers(0, 50), st.integers(1, 1000))
def test_independent_recordings_have_no_copy(seed, step) -> None:
    """However coarse their steps."""
    coarse = [(noise(seed + n, 3000) * step).round(0) / step for n in (0, 500)]

    assert find([track("train", coarse[0]), track("test", coarse[1])]) == []


@given(st.integers(0, 2**32), st.integers(50, 120))
def test_every_equal_run_has_a_common_seed(seed, samples) -> None:
    """From 49 samples on."""
    run = noise(seed % 1000, samples, 1)
    pair = [
        np.concatenate([noise(n, 1 + (seed >> shift) % 90, 1), run, noise(n + 9, 70, 1)])
        for n, shift in ((1, 0), (2, 8))
    ]
    found = exact_copies._seeds([track("train", pair[0]), track("test", pair[1])])
    keys = [set(found.key[found.column == column].tolist()) for column in (0, 1)]

    assert keys[0] & keys[1]


def test_blocks_divide_no_run(monkeypatch) -> None:
    """A long recording is hashed in pieces that overlap."""
    one, other = noise(1, 3000), noise(2, 3000)
    for at in range(100, 2900, 200):
        other[at : at + SHORTEST] = one[at + 40 : at + 40 + SHORTEST]
    whole = find([track("train", one), track("test", other)])
    monkeypatch.setattr(exact_copies, "BLOCK", 500)

    assert len(whole) == 14
    assert find([track("train", one), track("test", other)]) == whole


def test_one_channel_is_enough() -> None:
    """Also if it is another channel of the other recording."""
    one, other = noise(1), noise(2)
    other[300:500, 2] = one[100:300, 0]

    assert [copy[:5] for copy in find([track("train", one), track("test", other)])] == [(0, 1, 100, 300, 200)]


def test_interruptions_divide_a_copy() -> None:
    """Samples that were changed are not part of it."""
    one = noise(1)
    other = one.copy()
    other[400:500] = noise(3, 100)

    assert [copy[2:5] for copy in find([track("train", one), track("test", other)])] == [
        (0, 0, 400),
        (500, 500, 500),
    ]


@pytest.mark.parametrize(
    "make",
    [
        np.ones,
        lambda n: np.arange(n) / 8,
        lambda n: np.where(np.arange(n) % 10 < 5, 1.0, -1.0),
        lambda n: np.where(np.arange(n) % 2, np.nan, 1.0),
    ],
    ids=["constant", "ramp", "square wave", "missing"],
)
def test_signals_that_repeat_themselves_are_no_copy(make) -> None:
    """Two devices may give them independently."""
    same = np.column_stack([make(1000)] * 3).astype(np.float32)

    assert find([track("train", same), track("test", same)]) == []


def test_negative_zero_is_zero() -> None:
    """They compare as equal."""
    one = np.abs(noise(1))
    one[::7] = 0

    assert find([track("train", one), track("test", np.where(one == 0, -one, one))])[0].samples == 1000


def test_copies_inside_a_split_are_not_searched() -> None:
    """They do not leak."""
    same = noise(1)

    assert find([track("train", same, "a"), track("train", same, "b"), track("test", noise(2))]) == []


def test_each_split_is_compared_with_each() -> None:
    """The same samples in three splits are three pairs."""
    same = noise(1)
    found = find([track(part, same) for part in ("train", "validation", "test")])

    assert [(copy.earlier, copy.later) for copy in found] == [(0, 1), (0, 2), (1, 2)]


@pytest.mark.parametrize("samples", [0, 1, SEED // 2, SEED // 2 + 3, SHORTEST - 1])
def test_short_recordings_are_no_error(samples) -> None:
    """They have no surely found run."""
    assert len(find([track("train", noise(1, samples)), track("test", noise(1, samples))])) <= 1


def test_equal_hashes_of_other_samples_are_no_run() -> None:
    """The samples decide."""
    one, other = noise(1)[:, 0], noise(2)[:, 0]

    assert list(exact_copies._extended(one, other, 0, np.array([100, 200]))) == []


@pytest.mark.parametrize(
    ("text", "count"), [("0001101001000101", 6), ("0000000000", 2), ("01", 2), ("", 0), ("010101010101", 3)]
)
def test_phrases_are_those_of_lempel_and_ziv(text, count) -> None:
    """The first is the example of Lempel and Ziv (1976): 0·001·10·100·1000·101."""
    assert exact_copies._phrases(text) == count


def test_information_grows_with_the_samples() -> None:
    """And is bounded, because more is never needed."""
    found = [information(noise(1)[:n, 0]) for n in (1, 20, 50, 100, 257, 1000)]

    assert found == sorted(found)
    assert (found[0], found[-1]) == (0.0, found[-2])


# Places


def recording(name: str, values: np.ndarray, **changes) -> Recording:
    """A recording of one device."""
    signal = Signal(values, RATE_HZ, changes.pop("time", None))
    return Recording(name, name, "1", {"watch": signal}, np.zeros(len(values), np.int32), **changes)


def test_pieces_of_a_recording_are_found_where_they_are() -> None:
    """A split by time: the places are those in the whole recording."""
    values = noise(1, 2000)
    values[1500:1700] = values[200:400]
    whole = recording("a", values)
    pieces = {
        part: [replace(whole, start=first, labels=whole.labels[first:last])]
        for part, first, last in (("train", 0, 900), ("test", 1100, 2000))
    }
    found = find_exact([whole], pieces, RATE_HZ)

    assert [(copy.start, copy.end, copy.earlier_start) for copy in found] == [(1500, 1700, 200)]


@pytest.mark.parametrize("stamped", [True, False])
def test_places_are_those_of_the_aligned_recording(stamped) -> None:
    """Recorded at 100 Hz, aligned to 50 Hz."""
    one, other = noise(1, 1000), noise(2, 1000)
    other[600:800] = one[100:300]
    time = 3.0 + np.arange(1000) / 100 if stamped else None
    originals = [
        replace(found, signals={"watch": Signal(found.signals["watch"].values, 100.0, time)})
        for found in (recording("a", one), recording("b", other))
    ]
    aligned = [replace(found, labels=found.labels[:500]) for found in originals]
    found = find_exact(originals, {"train": aligned[:1], "test": aligned[1:]}, RATE_HZ)

    assert [(copy.start, copy.end, copy.earlier_start) for copy in found] == [(300, 401, 50)]


def test_overlapping_pieces_of_a_recording_are_no_copies() -> None:
    """They are the same samples: the audit has a finding of its own for them."""
    whole = recording("a", noise(1))
    pieces = {
        part: [replace(whole, start=first, labels=whole.labels[first:last])]
        for part, first, last in (("train", 0, 600), ("test", 400, 1000))
    }

    assert find_exact([whole], pieces, RATE_HZ) == []


def test_devices_of_a_recording_are_one_copy() -> None:
    """With the longest place."""
    values = noise(1)
    originals = [
        replace(recording(name, values), signals={d: Signal(values, RATE_HZ) for d in ("left", "right")})
        for name in ("a", "b")
    ]
    found = find_exact(originals, {"train": originals[:1], "test": originals[1:]}, RATE_HZ)

    assert [(copy.where, copy.origin) for copy in found] == [("samples 0 to 999", "a from sample 0")]


def test_tracks_of_aligned_recordings_have_their_start() -> None:
    """In samples of the whole recording."""
    found = tracks.as_aligned({"test": [recording("a", noise(1), start=300)]})

    assert [each.aligned(10) for each in found] == [310]
