"""Nearly equal samples of two splits are found, whatever was done to them, and nothing between different people."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelreg.data import copied_samples, copy_fit, near_copies, nearest_windows, tracks
from modelreg.data.cache import Reading
from modelreg.data.near_copies import NearCopy, columns_of, find
from modelreg.data.recording import Recording, Signal
from modelreg.data.sources import sample
from modelreg.data.tracks import Track
from modelreg.records.model import Channel

pytestmark = pytest.mark.needs("scipy")
RATE_HZ = 50.0
SECONDS = 5
FIRST, INTO = 400, 300  # of the copied samples in the earlier recording, and where they were put
CHANNELS = sample.CHANNELS


def real(subject: str, name: str = "ABD") -> np.ndarray:
    """A recording of the embedded sample."""
    return next(
        found.signals["watch"].values
        for found in sample.read().recordings
        if found.name.startswith(f"{subject}-{name}-left")
    )


def track(part: str, values: np.ndarray, subject: str = "", rate_hz: float = RATE_HZ) -> Track:
    """A track of its own subject."""
    return Track(part, f"{part}-{subject}", subject or part, "watch", values.astype(np.float32), rate_hz)  # type: ignore[arg-type]


def planted(change: Callable[[np.ndarray], np.ndarray], seconds: float = SECONDS) -> list[Track]:
    """A moment of one person's recording, changed, in another person's."""
    samples = int(seconds * RATE_HZ)
    one, other = real("s01"), real("s09").copy()
    moment = change(one[FIRST - 50 : FIRST + samples + 50].astype(np.float64))
    other[INTO : INTO + samples] = moment[50 : 50 + samples]
    return [track("train", one), track("train", real("s02"), "more"), track("test", other)]


def stretched(x: np.ndarray, by: float, scale: float = 1.0) -> np.ndarray:
    """Samples at other moments, by cubic splines."""
    from scipy.interpolate import CubicSpline

    middle = (len(x) - 1) / 2
    return CubicSpline(np.arange(len(x)), x)(middle + by + scale * (np.arange(len(x)) - middle))


def noisy(x: np.ndarray) -> np.ndarray:
    """One hundredth of the sensors' standard deviations."""
    sigma = np.repeat([real("s01")[:, axes].std(axis=0).mean() for axes in (slice(3), slice(3, 6))], 3)
    return x + 0.01 * sigma * np.random.default_rng(0).standard_normal(x.shape)


def rate_changed(up: int, down: int) -> Callable[[np.ndarray], np.ndarray]:
    """Recorded at another rate, and resampled to this one."""
    from scipy.signal import resample_poly

    def change(x: np.ndarray) -> np.ndarray:
        other = resample_poly(stretched(x, 0.3), up, down, axis=0, padtype="edge")
        return resample_poly(noisy(other), down, up, axis=0, padtype="edge")[: len(x)]

    return change


GAIN = np.array([0.9, 1.1, 0.9, 1.1, 1.1, 0.9])
CHANGES = {
    "nothing": lambda x: x,
    "half a sample": lambda x: stretched(x, 0.5),
    "noise": noisy,
    "gain": lambda x: stretched(x, 0.3) * GAIN,
    "offset": lambda x: stretched(x, 0.7) + GAIN,
    "rounding": lambda x: (x / 0.02).round() * 0.02,
    "warp": lambda x: noisy(stretched(x, 0.2, 1.01)),
    "rate halved": rate_changed(1, 2),
    "rate doubled": rate_changed(2, 1),
}


def right(copy: NearCopy) -> bool:
    """Whether a copy is the planted one."""
    return (copy.earlier, copy.later) == (0, 2) and abs(copy.earlier_start - copy.start - FIRST + INTO) < 5


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found(change) -> None:
    """At the right place, and nothing else."""
    found = find(planted(CHANGES[change]), CHANNELS).copies

    assert found
    assert all(map(right, found))
    assert INTO - 30 < found[0].start < found[-1].end < INTO + SECONDS * RATE_HZ + 30


TURNS = {
    "exchanged": np.eye(3)[[1, 2, 0]],
    "mirrored": np.diag([1.0, -1.0, 1.0]),
    "turned": np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0],
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_sensor_is_found(turn) -> None:
    """At the right place. Without the second search it is not."""
    found = planted(lambda x: noisy((stretched(x, 0.3).reshape(-1, 2, 3) @ TURNS[turn]).reshape(len(x), 6)))
    copies = find(found, CHANNELS).copies

    assert copies
    assert all(map(right, copies))
    assert find(found, CHANNELS, turned=False).copies == []


def test_single_axes_are_not_turned() -> None:
    """Two channels are no sensor of three axes; they are compared as they are."""
    found = [each._replace(values=each.values[:, :2]) for each in planted(noisy)]

    assert find(found, CHANNELS[:2]).copies == find(found, CHANNELS[:2], turned=False).copies != []


def test_different_people_have_no_copy() -> None:
    """They did the same exercises."""
    people = [track("train", real(f"s0{n}"), f"s0{n}") for n in (1, 2, 3)]

    assert find([*people, *(track("test", real(f"s0{n}"), f"s0{n}") for n in (8, 9))], CHANNELS).copies == []


def test_still_samples_are_no_copy() -> None:
    """Noise resembles noise."""
    rng = np.random.default_rng(0)
    still = [real("s01") * 0 + 1 + 0.001 * rng.standard_normal(real("s01").shape) for _ in range(2)]
    moving = track("train", real("s02"), "moving")

    assert find([moving, track("train", still[0]), track("test", still[0])], CHANNELS).copies == []


def test_a_set_at_rest_is_no_error() -> None:
    """It has no window to search."""
    still = np.ones((1000, 6))

    assert find([track("train", still), track("test", still)], CHANNELS).copies == []


def test_missing_values_divide_a_recording() -> None:
    """The copy after them is found at its place."""
    found = planted(noisy)
    values = found[2].values.copy()
    values[100:120, 1] = np.nan
    copies = find([*found[:2], found[2]._replace(values=values)], CHANNELS).copies

    assert copies
    assert all(map(right, copies))


def test_recordings_of_one_subject_need_a_smaller_residual(monkeypatch) -> None:
    """A person repeats movements more exactly than two people do."""
    monkeypatch.setattr(near_copies, "SAME_SUBJECT", -1.0)
    monkeypatch.setattr(near_copies, "TURNED_SAME", -1.0)
    found = planted(noisy)

    assert find([each._replace(subject="same") for each in found], CHANNELS).copies == []
    assert find(found, CHANNELS).copies


@pytest.mark.parametrize("rate_hz", [7.0, 1.0])
def test_slow_recordings_are_not_searched(rate_hz) -> None:
    """They do not have the band of the search."""
    values = real("s01")

    assert (
        find([track("train", values, rate_hz=rate_hz), track("test", values, rate_hz=rate_hz)], CHANNELS).copies == []
    )


def test_a_large_set_is_searched_at_fewer_moments(monkeypatch) -> None:
    """And states at which."""
    whole = find(planted(noisy), CHANNELS)
    monkeypatch.setattr(near_copies, "MOST_QUERIES", 100)
    some = find(planted(noisy), CHANNELS)

    assert whole.every_s == 0.48
    assert some.every_s > 0.48


def channel(name: str, unit: str) -> Channel:
    """A channel."""
    return Channel(name=name, unit=unit)


@pytest.mark.parametrize(
    ("units", "columns"),
    [
        (("m/s2", "rad/s", "uT"), {0: "acceleration", 1: "angular velocity"}),
        (("uT", "hPa", "count"), {1: None, 2: None}),
        (("uT",), {}),
        (("g", "count"), {0: "acceleration"}),
    ],
)
def test_magnetic_fields_are_not_compared(units, columns) -> None:
    """Different people pass the same field. Channels of unknown units count only where no inertial one is known."""
    assert columns_of([channel(str(n), unit) for n, unit in enumerate(units)]) == columns


def test_magnetometers_alone_are_not_searched() -> None:
    """There is nothing to compare."""
    found = planted(noisy)

    assert find(found, [channel(f"m{n}", "uT") for n in range(6)]).copies == []


# The fit


def fitted(ours: np.ndarray, theirs: np.ndarray, limit: float = 0.01) -> copy_fit.Fits:
    """Windows in the middle of two signals of one length, compared."""
    n = len(ours)
    row = {"ours": n // 2, "theirs": n + n // 2, "ours_low": 0, "ours_high": n, "theirs_low": n, "theirs_high": 2 * n}
    pairs = copy_fit.Pairs(**{key: np.array([value]) for key, value in row.items()}, limit=np.array([limit]))
    return copy_fit.confirm(np.concatenate([ours, theirs]).astype(np.float32), pairs)


def smooth(seed: int, samples: int = 700) -> np.ndarray:
    """A movement in a band."""
    from scipy.signal import butter, sosfiltfilt

    drawn = np.random.default_rng(seed).standard_normal((samples, 6))
    return 3 * sosfiltfilt(butter(4, 5, fs=50, output="sos"), drawn, axis=0)


@settings(max_examples=20)
@given(st.floats(-4, 4), st.floats(0.99, 1.01), st.floats(0.85, 1.2), st.floats(-2, 2), st.integers(0, 99))
def test_shift_scale_gain_and_offset_are_fitted(shift, scale, gain, offset, seed) -> None:
    """Nothing remains of the residual, and the place is right."""
    theirs = smooth(seed)
    ours = gain * stretched(theirs, shift, scale) + offset
    found = fitted(ours, theirs)

    assert len(found.pair) == 1
    assert found.q[0] < 0.002
    at = float(found.start[0])
    assert abs(found.origin[0] - 700 - (349.5 + shift + scale * (at - 349.5))) < 0.2


def test_the_residual_is_that_of_the_definition() -> None:
    """R - 1.3 F over the window with the smallest one."""
    theirs = smooth(1)
    ours = theirs + 0.02 * np.random.default_rng(0).standard_normal(theirs.shape)
    q = []
    for m in (125, 200):
        for at in range(225, 225 + 350 - m + 1, 2):
            x, z = (each[at : at + m] - each[at : at + m].mean(axis=0) for each in (ours, theirs))
            g = np.clip((x * z).sum(axis=0) / (z * z).sum(axis=0), 0.8, 1.25)
            energy = (x * x).sum()
            q.append((((x - g * z) ** 2).sum() - 1.3 * 6 * m * 0.01**2) / energy)

    assert fitted(ours, theirs).q[0] == pytest.approx(min(q), abs=2e-4)


def test_other_movements_are_no_copy() -> None:
    """Nor one movement, reversed."""
    assert len(fitted(smooth(1), smooth(2)).pair) == 0
    assert len(fitted(smooth(1), smooth(1)[::-1]).pair) == 0


def test_slow_drifts_alone_prove_nothing() -> None:
    """A channel has to move by eight times the noise in both."""
    small = smooth(1) / smooth(1).std() * 0.05  # at most 0.08 in each channel

    assert len(fitted(small, small).pair) == 0
    assert len(fitted(4 * small, 4 * small).pair) == 1


# The search


def test_lists_find_what_all_windows_have(monkeypatch) -> None:
    """The best candidate of each query, with many short lists and with one."""
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.standard_normal((6000, 3)), axis=0).astype(np.float32)
    values[4000:4500] = values[1000:1500]
    coarse = nearest_windows.Coarse(values, np.arange(5975), near_copies.WINDOW)
    found = []
    for windows in (64, 10_000):
        monkeypatch.setattr(nearest_windows, "LIST", windows)
        index = nearest_windows.build(coarse)
        queries = np.arange(4000, 4470, 10)
        (candidates,) = nearest_windows.search(coarse, index, queries, 3900)
        best = candidates.theirs[np.searchsorted(candidates.ours, queries)]
        found.append((len(index.centres), best.tolist()))

    assert [lists for lists, _ in found] == [93, 1]
    assert found[0][1] == found[1][1] == list(range(1000, 1470, 10))


def test_the_index_is_the_same_again() -> None:
    """Drawn windows are drawn with a fixed seed."""
    values = np.cumsum(np.random.default_rng(0).standard_normal((9000, 3)), axis=0).astype(np.float32)
    coarse = nearest_windows.Coarse(values, np.arange(8975), near_copies.WINDOW)
    one, other = nearest_windows.build(coarse), nearest_windows.build(coarse)

    assert all(map(np.array_equal, one, other))


# Windows without a time


def cut(values: np.ndarray, hop: int, part: str, first: int = 0) -> list[Recording]:
    """Windows of 2 s, each as a recording."""
    return [
        Recording(f"{part}/{n}", part, "1", {"watch": Signal(values[at : at + 100], RATE_HZ)}, np.zeros(100, np.int32))
        for n, at in enumerate(range(first, len(values) - 99, hop))
    ]


@pytest.mark.parametrize(("hop", "samples"), [(50, 1500), (100, 1500), (33, 1486)])
def test_windows_are_joined(hop, samples) -> None:
    """By the samples that they share, or in their order."""
    values = real("s01")[:1500]
    joined = tracks.join_windows(tracks.as_aligned({"train": cut(values, hop, "train")}))

    assert [len(track.values) for track in joined] == [samples]
    np.testing.assert_array_equal(joined[0].values, values[:samples])
    assert joined[0].joined[1] == ("train/1", hop, hop + 100)


def test_windows_with_a_jump_between_them_are_not_joined() -> None:
    """A jump resembles other jumps."""
    found = cut(real("s01")[:800], 100, "train")
    signals = {"watch": Signal(found[4].signals["watch"].values + 5, RATE_HZ)}
    parts = {"train": [*found[:4], replace(found[4], signals=signals), *found[5:]]}

    assert [len(track.values) for track in tracks.join_windows(tracks.as_aligned(parts))] == [400, 100, 300]


def test_windows_that_were_cut_elsewhere_are_audited(tmp_path) -> None:
    """Each window with copied samples is named, at its own samples."""
    values = real("s01")[:1500].copy()
    other = noisy(values).astype(np.float32)
    parts = {"train": cut(values, 50, "train"), "test": cut(other, 50, "test", 13)}
    originals = [*parts["train"], *parts["test"]]
    found = copied_samples.find_near(originals, parts, CHANNELS, Reading(tmp_path)).copies
    names = {copy.recording for copy in found}

    assert names >= {f"test/{n}" for n in range(1, len(parts["test"]) - 1)}
    assert all(0 <= copy.start < copy.end <= 100 for copy in found)
    assert {copy.earlier_recording for copy in found} <= {recording.name for recording in parts["train"]}


def test_a_window_that_a_copy_hardly_reaches_is_not_named() -> None:
    """The ends of a near copy are known to a few samples."""
    parts = {"train": cut(real("s01")[:500], 100, "train"), "test": cut(real("s02")[:500], 100, "test")}
    found = tracks.join_windows(tracks.as_aligned(parts))
    earlier, later = (next(n for n, track in enumerate(found) if track.part == part) for part in ("train", "test"))
    copy = NearCopy(earlier, later, 100.0, 100.0, 220.0, 0.1)

    assert [place.recording for place in copied_samples._placed_near(found, copy)] == ["test/1"]


def divided(values: np.ndarray, copy: np.ndarray) -> dict[str, list[Recording]]:
    """A recording in train, and another one in test."""
    return {
        part: [Recording(part, part, "1", {"watch": Signal(found, RATE_HZ)}, np.zeros(len(found), np.int32))]
        for part, found in {"train": values, "test": copy}.items()
    }


def search(parts, reading: Reading, channels=CHANNELS) -> copied_samples.NearCopies:
    """What the search finds between two splits."""
    return copied_samples.find_near([*parts["train"], *parts["test"]], parts, channels, reading)


@pytest.fixture
def copied():
    """Two splits, the second one a noisy copy of the first one."""
    values = real("s01")[:1500].copy()
    return divided(values, noisy(values).astype(np.float32))


def test_a_search_is_made_once(copied, tmp_path, monkeypatch) -> None:
    """With a cache, the same splits give the same copies without a second search."""
    reading = Reading(tmp_path, cache=tmp_path / "cache")
    first = search(copied, reading)
    monkeypatch.delattr(near_copies, "find")

    assert first.copies
    assert search(copied, reading) == first


def test_a_search_that_found_nothing_is_kept_too(tmp_path, monkeypatch) -> None:
    """It is the usual case."""
    apart = divided(real("s01")[:1500], real("s02")[:1500])
    reading = Reading(tmp_path, cache=tmp_path / "cache")
    first = search(apart, reading)
    monkeypatch.delattr(near_copies, "find")

    assert first.copies == []
    assert search(apart, reading) == first


@pytest.mark.parametrize("change", ["value", "subject", "split", "rate", "unit"])
def test_what_the_search_depends_on_makes_another_one(copied, tmp_path, change) -> None:
    """A kept result is of these samples, subjects, splits, rates and units."""
    reading = Reading(tmp_path, cache=tmp_path / "cache")
    search(copied, reading)
    channels, (one,) = CHANNELS, copied["test"]
    signal = one.signals["watch"]
    if change == "value":
        signal = replace(signal, values=np.where(signal.values == signal.values[0], 1, signal.values))
    elif change == "rate":
        signal = replace(signal, rate_hz=49.0)
    elif change == "unit":
        channels = tuple(channel.model_copy(update={"unit": "g"}) for channel in CHANNELS)
    other = replace(one, signals={"watch": signal}, subject="other" if change == "subject" else one.subject)
    parts = {"train": copied["train"], "validation" if change == "split" else "test": [other]}
    copied_samples.find_near([*copied["train"], other], parts, channels, reading)

    assert len(list((tmp_path / "cache").glob(f"{copied_samples.SEARCH}-*"))) == 2
