"""Data quality: counts equal the planted faults, statistics and interpolation those of numpy."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from places import places
from two_device import CHANNELS, two_device_recordings

from modelreg.config import QualitySettings
from modelreg.data import quality
from modelreg.data.recording import Dataset, Recording, Signal
from modelreg.data.sources import sample
from modelreg.errors import InputError, Problem
from modelreg.records.data import ChannelQuality, ClockQuality, Limits, SourceRecord
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


def corrected(column: Sequence[float] | NDArray[Any], missing: Any) -> NDArray[np.float32]:
    """Return a column after its correction."""
    (recording,) = quality.correct([recording_of(column)], ONE, settings(missing))
    return recording.signals["watch"].values[:, 0]


def settings(missing: Any, longest: float | None = None) -> QualitySettings:
    """Settings that fill stretches of any length by default."""
    return QualitySettings(missing=missing, max_fill_s=longest)


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
        (WAVE * 1e-3, {}, ("watch ax: standard deviation 0.000707, below 0.01",)),
        (WAVE * 1e3, {}, ("watch ax: standard deviation 707, above 50",)),
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


@given(column=COLUMNS)
def test_interpolation_is_numpys(column: NDArray[np.float32]) -> None:
    """Missing values are np.interp of the finite ones, constant at the ends; finite values are unchanged."""
    rows, finite = np.arange(len(column)), np.isfinite(column)
    expected = np.interp(rows, rows[finite], column[finite]) if finite.any() else np.full(len(column), NAN)

    np.testing.assert_array_equal(corrected(column, "interpolate"), expected.astype(np.float32))


@given(column=COLUMNS)
def test_drop_fills_nothing(column: NDArray[np.float32]) -> None:
    """With `drop`, missing values are NaN."""
    expected = [value if np.isfinite(value) else NAN for value in column]

    np.testing.assert_array_equal(corrected(column, "drop"), np.array(expected, dtype=np.float32))


@given(column=COLUMNS, missing=st.sampled_from(["interpolate", "drop", "zero"]))
def test_correction_changes_no_input(column: NDArray[np.float32], missing: str) -> None:
    """The input recording is unchanged."""
    recording = recording_of(column)
    quality.correct([recording], ONE, settings(missing))

    np.testing.assert_array_equal(recording.signals["watch"].values[:, 0], column)


def test_a_recording_is_corrected_by_itself() -> None:
    """Values of other recordings fill no gap."""
    hole = recording_of([NAN, 1.0, NAN])
    one = quality.correct([hole], ONE, settings("interpolate"))[0]
    among = quality.correct([recording_of([9.0]), hole, recording_of([9.0])], ONE, settings("interpolate"))[1]

    np.testing.assert_array_equal(one.signals["watch"].values, among.signals["watch"].values)


def test_raise_lists_every_missing_channel() -> None:
    """Under `raise` each channel with missing values is named, across recordings."""
    holes = [recording_of([1.0, NAN, INF], name="one"), recording_of([1.0]), recording_of([NAN], name="two")]
    with pytest.raises(InputError) as caught:
        quality.correct(holes, ONE, settings("raise"))

    assert places(caught.value.problems) == [
        ("one: watch ax", "quality.missing-values"),
        ("two: watch ax", "quality.missing-values"),
    ]
    assert [problem.message[0] for problem in caught.value.problems] == ["2", "1"]


def test_raise_passes_whole_data() -> None:
    """With `raise`, recordings without missing values are unchanged."""
    np.testing.assert_array_equal(corrected(WAVE, "raise"), WAVE.astype(np.float32))


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


@given(column=COLUMNS, longest=st.integers(0, 20))
def test_only_short_stretches_are_filled(column: NDArray[np.float32], longest: int) -> None:
    """A run of more samples than the limit stays missing; the oracle counts runs one by one."""
    (found,) = quality.correct([recording_of(column)], ONE, settings("zero", (longest + 0.5) / 50))
    expected, gap = column.copy(), ~np.isfinite(column)
    for start in np.flatnonzero(gap & ~np.concatenate([[False], gap[:-1]])):
        length = next((n for n, missing in enumerate(gap[start:]) if not missing), len(gap) - start)
        expected[start : start + length] = 0 if length <= longest else NAN

    np.testing.assert_array_equal(found.signals["watch"].values[:, 0], expected)


def test_a_fill_is_per_device_and_channel() -> None:
    """Each gap is filled with the value of its channel."""
    values = np.array([[NAN, 1], [2, NAN]], np.float32)
    recording = replace(recording_of([0.0, 0.0]), signals={"watch": Signal(values, 50.0)})
    (found,) = quality.correct([recording], (*ONE, *ONE), settings("mean"), np.array([[7, 8]], np.float32))

    assert found.signals["watch"].values.tolist() == [[7, 1], [2, 8]]


def test_a_channel_without_a_value_in_training_is_not_filled() -> None:
    """Its mean is not known."""
    fill = quality.fit([recording_of([NAN, INF])], settings("median"))

    assert np.isnan(fill).all()


@given(column=COLUMNS)
def test_a_flat_channel_lowers_the_score(column: NDArray[np.float32]) -> None:
    """Its share is 0."""
    lively = np.concatenate([column, np.sin(np.arange(60))]).astype(np.float32)
    before, after = (quality.measure(recording_of(c), ONE, Limits()).score for c in (lively, np.ones_like(lively)))

    assert 0 == after < before <= 100


@pytest.mark.parametrize(
    ("rate", "advice"),
    [(0, "none"), (1e-6, "mean"), (0.1, "mean"), (0.1001, "interpolate"), (0.2, "interpolate"), (0.21, "drop")],
)
def test_the_recommendation_depends_on_the_rate(rate: float, advice: str) -> None:
    """Mean up to 10 %, interpolate up to 20 %, drop beyond."""
    assert quality.recommend(rate) == advice


@pytest.mark.parametrize(
    ("column", "rate"),
    [
        ([1, 2, 3, 3, 3, 1], 0.5),  # three in a row at the top
        ([1, 2, 3, 3, 2, 3], 0.0),  # never three in a row
        ([0, 0, 0, 0, 1, 2, 2, 2], 7 / 8),  # both ends
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
    scores = [quality.score([record(**each), *rest], [], Limits()) for each in (worse, changes)]

    assert 0 <= scores[0] <= scores[1] + 1e-9 <= 100 + 1e-9
    assert 0 <= quality.score([record(**changes), *rest], [clock], Limits()) <= scores[1]


@given(levels=st.lists(st.floats(0.05, 1.2), min_size=2, max_size=2), seed=st.integers(0, 99))
def test_a_narrower_range_never_raises_the_score(levels: list[float], seed: int) -> None:
    """A signal that is clipped at a lower level scores no better."""
    wave = np.sin(np.arange(200) / 7) + np.random.default_rng(seed).normal(0, 0.1, 200)
    low, high = (quality.measure(recording_of(np.clip(wave, -x, x)), ONE, Limits()).score for x in sorted(levels))

    assert low <= high


def test_the_score_without_channels_is_zero() -> None:
    """Nothing was measured."""
    assert quality.score([], [], Limits()) == 0


@given(
    columns=st.lists(COLUMNS, min_size=1, max_size=3),
    missing=st.sampled_from(["mean", "median"]),
    labelled=st.integers(0, 39),
)
def test_a_fill_is_numpys(columns: list[NDArray[np.float32]], missing: str, labelled: int) -> None:
    """nanmean or nanmedian of the labelled samples; NaN without a sample, and no warning."""
    recordings = [
        recording_of(c, labels=np.where(np.arange(len(c)) < labelled, 0, -1).astype(np.int32)) for c in columns
    ]
    known = np.concatenate([c[:labelled] for c in columns]).astype(np.float64)
    known = known[np.isfinite(known)]
    oracle = {"mean": np.mean, "median": np.median}[missing]

    np.testing.assert_allclose(
        quality.fit(recordings, settings(missing)), [[oracle(known) if len(known) else NAN]], rtol=1e-6, atol=1e-4
    )


@given(column=COLUMNS, missing=st.sampled_from(["zero", "mean", "median"]))
def test_a_constant_fill_changes_only_missing_values(column: NDArray[np.float32], missing: str) -> None:
    """0 for `zero`, otherwise the fitted value."""
    fill = None if missing == "zero" else np.array([[7]], np.float32)
    (found,) = quality.correct([recording_of(column)], ONE, settings(missing), fill)
    expected = np.where(np.isfinite(column), column, 0 if fill is None else 7)

    np.testing.assert_array_equal(found.signals["watch"].values[:, 0], expected)


@pytest.mark.parametrize("missing", ["zero", "interpolate", "drop", "raise"])
def test_other_strategies_are_fitted_to_nothing(missing: str) -> None:
    """No statistic can leak."""
    assert quality.fit([recording_of(WAVE)], settings(missing)) is None


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

    assert caught.value.problems == tuple(
        Problem(name, "quality.threshold", "watch ax: constant") for name in ("one", "two")
    )
