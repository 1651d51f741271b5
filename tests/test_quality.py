"""Data quality: counts equal the planted faults, statistics are those of numpy."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from places import places
from two_device import CHANNELS, two_device_recordings

from modelreg.data import quality
from modelreg.data.recording import Dataset, Recording, Signal
from modelreg.data.sources import sample
from modelreg.errors import InputError
from modelreg.records.base import load
from modelreg.records.data import ChannelQuality, ClockQuality, Limits, QualityReport, SourceRecord
from modelreg.records.model import Channel

NAN, INF = np.nan, np.inf
ONE = (Channel(name="ax", unit="g"),)
VALUES = st.one_of(st.floats(-1e3, 1e3, width=32), st.sampled_from([NAN, INF, -INF]), st.integers(-2, 2).map(float))
COLUMNS = arrays(np.float32, st.integers(1, 40), elements=VALUES)


def recording_of(column: Sequence[float] | NDArray[Any], **changes: Any) -> Recording:
    """Return a recording of one device with one channel."""
    values = np.array(column, dtype=np.float32)[:, None]
    labels = np.zeros(len(values), dtype=np.int32)
    recording = Recording("r", "s1", "left", {"watch": Signal(values, 50.0)}, labels)
    return replace(recording, **changes)


def measured(column: Sequence[float] | NDArray[Any]) -> ChannelQuality:
    """Return the quality of one column."""
    return quality.measure(recording_of(column), ONE, Limits()).channels[0]


def problems_of(column: Sequence[float] | NDArray[Any], **limits: Any) -> tuple[str, ...]:
    """Return the thresholds that a column exceeds."""
    return quality.measure(recording_of(column), ONE, Limits(**limits)).problems


@given(
    size=st.integers(1, 60),
    nan=st.sets(st.integers(0, 59)),
    inf=st.sets(st.integers(0, 59)),
)
def test_planted_missing_values_are_counted(size: int, nan: set[int], inf: set[int]) -> None:
    """NaN and Inf are counted separately; their rates are shares of all samples."""
    column = np.sin(np.arange(60))
    column[list(inf)] = INF
    column[list(nan)] = NAN
    found = measured(column[:size])
    planted = (sum(i < size for i in nan), sum(i < size for i in inf - nan))

    assert (found.nan, found.inf) == planted
    assert (found.nan_rate, found.inf_rate) == pytest.approx((planted[0] / size, planted[1] / size))


@given(column=COLUMNS)
def test_statistics_are_those_of_finite_values(column: NDArray[np.float32]) -> None:
    """Mean, deviation and bounds are those of numpy in float64, over finite values."""
    finite = column[np.isfinite(column)].astype(np.float64)
    found = measured(column)
    values = [found.mean, found.std, found.min, found.max]

    if finite.size:
        assert values == pytest.approx([finite.mean(), finite.std(), finite.min(), finite.max()], abs=1e-9)
    else:
        assert values == [None] * 4


@given(column=COLUMNS)
def test_constant_means_one_finite_value(column: NDArray[np.float32]) -> None:
    """A channel is constant if it has exactly one finite value."""
    assert measured(column).constant == (len(set(column[np.isfinite(column)].tolist())) == 1)


WAVE = np.sin(np.arange(100))


@pytest.mark.parametrize(
    ("column", "limits", "problems"),
    [
        (WAVE, {}, ()),
        ([NAN] * 6 + [*WAVE[6:]], {}, ("watch ax: 6.0% NaN, above 5.0%",)),
        ([NAN] * 5 + [*WAVE[5:]], {}, ()),
        ([INF] * 2 + [*WAVE[2:]], {}, ("watch ax: 2.0% Inf, above 1.0%",)),
        ([-INF, *WAVE[1:]], {}, ()),
        (WAVE * 1e-3, {"std_min": 0.02}, ("watch ax: standard deviation 0.000707, below 0.02",)),
        (WAVE * 1e-5, {}, ("watch ax: standard deviation 7.07e-06, below 2e-05",)),
        (WAVE * 20, {}, ("watch ax: standard deviation 14.1, above 5.1",)),
        (WAVE * 40, {"std_max": 49.0}, ("watch ax: values from -40 to 40 g, sensors measure up to 32",)),
        ([2.5] * 10, {}, ("watch ax: constant",)),
        ([2.5] * 10, {"std_min": 0.0}, ("watch ax: constant",)),
        (WAVE, {"channels": {"ax": (-0.5, 2.0)}}, ("watch ax: values from -0.99999 to 0.999912, outside -0.5 to 2",)),
        (WAVE, {"channels": {"ax": (-2.0, 0.5)}}, ("watch ax: values from -0.99999 to 0.999912, outside -2 to 0.5",)),
        (WAVE, {"channels": {"ax": (-1.0, 1.0)}}, ()),
        ([NAN] * 4, {}, ("watch ax: 100.0% NaN, above 5.0%", "watch ax: no finite value")),
    ],
)
def test_problems_name_each_broken_threshold(column: Any, limits: dict[str, Any], problems: tuple[str, ...]) -> None:
    """Every threshold that is exceeded has a message, and no other."""
    assert problems_of(column, **limits) == problems


def test_labelled_samples_are_counted() -> None:
    """Samples with a label, and all samples."""
    labels = np.array([0, -1, 2, -1], dtype=np.int32)
    found = quality.measure(recording_of(WAVE[:4], labels=labels), ONE, Limits())

    assert (found.samples, found.labelled) == (4, 2)


def test_every_device_is_measured() -> None:
    """Channels come in order, device by device."""
    found = quality.measure(two_device_recordings()[0], CHANNELS, Limits())

    assert [(c.device, c.channel) for c in found.channels] == [
        (device, channel.name) for device in ("phone", "collar") for channel in CHANNELS
    ]


@pytest.fixture(scope="session")
def watch() -> Dataset:
    """The embedded sample."""
    return sample.read()


def test_report_of_the_sample(watch: Dataset) -> None:
    """The sample exceeds no default threshold, and its report has its source."""
    report = quality.check_quality(watch, Limits())

    assert [problem for recording in report.recordings for problem in recording.problems] == []
    assert (len(report.recordings), report.sources[0].digest) == (140, sample.DIGEST)


def test_limit_of_an_unknown_channel(watch: Dataset) -> None:
    """A limit without a channel is a mistake, and every one is named."""
    with pytest.raises(InputError) as caught:
        quality.check_quality(watch, Limits(channels={"az": (-9, 9), "mx": (0, 1), "my": (0, 1)}))

    assert places(caught.value.problems) == [
        ("quality.limits.channels.mx", "quality.channel-unknown"),
        ("quality.limits.channels.my", "quality.channel-unknown"),
    ]


@given(column=COLUMNS)
def test_a_flat_channel_lowers_the_score(column: NDArray[np.float32]) -> None:
    """Its share is 0."""
    lively = np.concatenate([column, np.sin(np.arange(60))]).astype(np.float32)
    before, after = (quality.measure(recording_of(c), ONE, Limits()).score for c in (lively, np.ones_like(lively)))

    assert 0 == after < before <= 100


@pytest.mark.parametrize(
    ("gaps", "advice"),
    [
        ([], "none"),
        ([1], "interpolate"),
        ([10], "interpolate"),  # 0.2 s
        ([11], "drop"),
        ([10, 10, 11], "interpolate"),  # most missing values are in short gaps
        ([10, 11], "drop"),
    ],
)
def test_the_recommendation_follows_the_length_of_gaps(gaps: list[int], advice: str) -> None:
    """A line over a short gap is near the signal; over a long one it is invented, and a mean always is."""
    column = np.sin(np.arange(100))
    for number, length in enumerate(gaps):
        column[30 * number + 5 : 30 * number + 5 + length] = NAN

    assert quality.measure(recording_of(column), ONE, Limits()).recommendation == advice


@pytest.mark.parametrize(
    ("column", "rate"),
    [
        ([1, 2, 3, 3, 3, 1], 0.5),  # three in a row at the top
        ([1, 2, 3, 3, 2, 3], 0.0),  # never three in a row
        ([-2, -2, -2, -2, 1, 2, 2, 2], 7 / 8),  # both ends
        ([0, 0, 0, 0, 1, 2, 2, 2], 3 / 8),  # no range ends at 0
        ([1, 1, 1, 1, 0.5, 0.6], 0.0),  # and none of an accelerometer at 1 g
        ([5, 5, 5, 5], 0.0),  # a constant has no range
        ([NAN, 3, 3, 3, 1, 2], 0.5),
    ],
)
def test_saturation_is_a_run_at_an_end(column: list[float], rate: float) -> None:
    """Of three samples or more."""
    assert measured(column).saturated_rate == rate


def test_without_a_smallest_deviation_every_signal_has_its_full_share() -> None:
    """With std_min of 0, a signal must only not be constant."""
    assert quality.measure(recording_of([1, 2, 1]), ONE, Limits(std_min=0.0)).score == 100


QUIETEST = {"c": 0.01}
SHARES = st.floats(0, 1)
WORSE = st.fixed_dictionaries({}, optional={"nan_rate": SHARES, "saturated_rate": SHARES, "std": st.floats(0, 1)})


def record(**changes: Any) -> ChannelQuality:
    """Return the quality of a channel without faults."""
    made = {"device": "d", "channel": "c", "nan": 0, "inf": 0, "nan_rate": 0.0, "inf_rate": 0.0, "constant": False}
    return ChannelQuality(**{**made, "mean": 0.0, "std": 1.0, "min": -1.0, "max": 1.0, **changes})


@given(changes=WORSE, others=st.lists(WORSE, max_size=3), shrink=SHARES)
def test_the_score_falls_with_each_of_its_terms(changes: dict[str, float], others: list[Any], shrink: float) -> None:
    """Fewer finite values, more saturated ones, a lower deviation, more gaps: never a higher score; in 0 to 100."""
    rest = [record(**each) for each in others]
    worse = {key: v * shrink if key == "std" else v + (1 - v) * (1 - shrink) for key, v in changes.items()}
    clock = ClockQuality(
        device="d", rate_hz=1, nominal_hz=1, offset_s=0, jitter=0, gaps=1, longest_gap_s=1, missing_rate=shrink
    )
    scores = [quality.score([record(**each), *rest], [], [], QUIETEST) for each in (worse, changes)]

    assert 0 <= scores[0] <= scores[1] + 1e-9 <= 100 + 1e-9
    assert 0 <= quality.score([record(**changes), *rest], [clock], [], QUIETEST) <= scores[1]


@given(levels=st.lists(st.floats(0.05, 1.2), min_size=2, max_size=2), seed=st.integers(0, 99))
def test_a_narrower_range_never_raises_the_score(levels: list[float], seed: int) -> None:
    """A signal that is clipped at a lower level scores no better."""
    wave = np.sin(np.arange(200) / 7) + np.random.default_rng(seed).normal(0, 0.1, 200)
    low, high = (quality.measure(recording_of(np.clip(wave, -x, x)), ONE, Limits()).score for x in sorted(levels))

    assert low <= high


def test_the_score_without_channels_is_zero() -> None:
    """Nothing was measured."""
    assert quality.score([], [], [], {}) == 0


def test_windows_of_a_long_name_are_reported() -> None:
    """Split and subject together are cut to the length of a name."""
    source = SourceRecord(kind="npy", name="n", digest="0" * 64, license="", citation="")
    found = quality.check_quality(
        Dataset((source,), ONE, ("watch",), ("a",), 50.0, (recording_of(WAVE, subject="s" * 100),)), Limits()
    )

    assert found.recordings[0].recording == f"left: {'s' * 94}"


def test_recordings_within_all_thresholds_pass(watch: Dataset) -> None:
    """The sample passes with `strict`."""
    quality.refuse_broken(quality.check_quality(watch, Limits()))


def test_broken_thresholds_are_refused_all_at_once() -> None:
    """Each by its recording."""
    source = SourceRecord(kind="csv", name="n", digest="0" * 64, license="", citation="")
    flat = (recording_of([1, 1], name="one"), recording_of([2, 2], name="two"))
    with pytest.raises(InputError) as caught:
        quality.refuse_broken(quality.check_quality(Dataset((source,), ONE, ("watch",), ("a",), 50.0, flat), Limits()))

    assert places(caught.value.problems) == [("one", "quality.threshold"), ("two", "quality.threshold")]


OLD = sorted((Path(__file__).parent / "made_by_0_2_0/project/runs").rglob("quality.json"))


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.parent.name)
def test_a_report_of_an_earlier_version_keeps_its_bytes(path: Path) -> None:
    """It has no field that it had not."""
    assert load(path, QualityReport).to_bytes() == path.read_bytes()
