"""Data quality: counts equal what was planted, statistics and interpolation equal numpy's."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from two_device import CHANNELS, two_device_recordings

from modelreg.data import quality
from modelreg.data.recording import Dataset, Recording, Signal
from modelreg.data.sources import sample
from modelreg.errors import InputError
from modelreg.records.data import ChannelQuality, Limits
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
    """Return what a column breaks."""
    return quality.measure(recording_of(column), ONE, Limits(**limits)).problems


def corrected(column: Sequence[float] | NDArray[Any], missing: Any) -> NDArray[np.float32]:
    """Return a column after its correction."""
    (recording,) = quality.correct([recording_of(column)], ONE, missing)
    return recording.signals["watch"].values[:, 0]


@given(
    size=st.integers(1, 60),
    nan=st.sets(st.integers(0, 59)),
    inf=st.sets(st.integers(0, 59)),
)
def test_planted_missing_values_are_counted(size: int, nan: set[int], inf: set[int]) -> None:
    """NaN and Inf are counted apart, and their rates are of all samples."""
    column = np.sin(np.arange(60))
    column[list(inf)] = INF
    column[list(nan)] = NAN
    found = measured(column[:size])
    planted = (sum(i < size for i in nan), sum(i < size for i in inf - nan))

    assert (found.nan, found.inf) == planted
    assert (found.nan_rate, found.inf_rate) == pytest.approx((planted[0] / size, planted[1] / size))


@given(column=COLUMNS)
def test_statistics_are_those_of_finite_values(column: NDArray[np.float32]) -> None:
    """Mean, deviation and bounds are numpy's, in float64, of what is finite."""
    finite = column[np.isfinite(column)].astype(np.float64)
    found = measured(column)
    values = [found.mean, found.std, found.min, found.max]

    if finite.size:
        assert values == pytest.approx([finite.mean(), finite.std(), finite.min(), finite.max()], abs=1e-9)
    else:
        assert values == [None] * 4


@given(column=COLUMNS)
def test_constant_means_one_finite_value(column: NDArray[np.float32]) -> None:
    """A channel is constant if its finite values are all alike, and there is one."""
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
    """Every threshold that is broken is said in words, and no other."""
    assert problems_of(column, **limits) == problems


def test_labelled_samples_are_counted() -> None:
    """Samples without a label are told from those with one."""
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
    """Missing values are np.interp of the finite ones; the ends hold; what is finite stays as it was."""
    rows, finite = np.arange(len(column)), np.isfinite(column)
    expected = np.interp(rows, rows[finite], column[finite]) if finite.any() else np.full(len(column), NAN)

    np.testing.assert_array_equal(corrected(column, "interpolate"), expected.astype(np.float32))


@given(column=COLUMNS)
def test_drop_fills_nothing(column: NDArray[np.float32]) -> None:
    """Under `drop` what is missing becomes NaN, and stays."""
    expected = [value if np.isfinite(value) else NAN for value in column]

    np.testing.assert_array_equal(corrected(column, "drop"), np.array(expected, dtype=np.float32))


@given(column=COLUMNS, missing=st.sampled_from(["interpolate", "drop"]))
def test_correction_changes_no_input(column: NDArray[np.float32], missing: str) -> None:
    """The recording that came in is left as it was."""
    recording = recording_of(column)
    quality.correct([recording], ONE, missing)  # type: ignore[arg-type]

    np.testing.assert_array_equal(recording.signals["watch"].values[:, 0], column)


def test_a_recording_is_corrected_by_itself() -> None:
    """What another recording holds fills no gap here."""
    hole = recording_of([NAN, 1.0, NAN])
    alone = quality.correct([hole], ONE, "interpolate")[0]
    beside = quality.correct([recording_of([9.0]), hole, recording_of([9.0])], ONE, "interpolate")[1]

    np.testing.assert_array_equal(alone.signals["watch"].values, beside.signals["watch"].values)


def test_raise_lists_every_missing_channel() -> None:
    """Under `raise` each channel with missing values is named, across recordings."""
    holes = [recording_of([1.0, NAN, INF], name="one"), recording_of([1.0]), recording_of([NAN], name="two")]
    with pytest.raises(InputError) as caught:
        quality.correct(holes, ONE, "raise")

    assert list(map(str, caught.value.problems)) == [
        "one: watch ax: 2 missing values",
        "two: watch ax: 1 missing values",
    ]


def test_raise_passes_whole_data() -> None:
    """Under `raise` data without missing values go through unchanged."""
    np.testing.assert_array_equal(corrected(WAVE, "raise"), WAVE.astype(np.float32))


@pytest.fixture(scope="session")
def watch() -> Dataset:
    """The embedded sample."""
    return sample.read()


def test_report_of_the_sample(watch: Dataset) -> None:
    """The sample breaks no default threshold, and its report says where it came from."""
    report = quality.check(watch, Limits())

    assert [problem for recording in report.recordings for problem in recording.problems] == []
    assert (len(report.recordings), report.sources[0].digest) == (140, sample.DIGEST)


def test_limit_of_an_unknown_channel(watch: Dataset) -> None:
    """A limit that would judge nothing is a mistake, and every one is named."""
    with pytest.raises(InputError) as caught:
        quality.check(watch, Limits(channels={"az": (-9, 9), "mx": (0, 1), "my": (0, 1)}))

    assert [problem.where for problem in caught.value.problems] == [
        "quality.limits.channels.mx",
        "quality.limits.channels.my",
    ]
