"""Filled values are those of numpy: interpolation, means and medians of train."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from places import places
from test_quality import COLUMNS, INF, NAN, ONE, WAVE, recording_of

from modelreg.config import QualitySettings
from modelreg.data import filling
from modelreg.data.recording import Signal
from modelreg.errors import InputError


def corrected(column: Sequence[float] | NDArray[Any], missing: Any) -> NDArray[np.float32]:
    """Return a column after its correction."""
    (recording,) = filling.correct([recording_of(column)], ONE, settings(missing))
    return recording.signals["watch"].values[:, 0]


def settings(missing: Any, longest: float | None = None) -> QualitySettings:
    """Settings that fill stretches of any length by default."""
    return QualitySettings(missing=missing, max_fill_s=longest)


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
    filling.correct([recording], ONE, settings(missing))

    np.testing.assert_array_equal(recording.signals["watch"].values[:, 0], column)


def test_a_recording_is_corrected_by_itself() -> None:
    """Values of other recordings fill no gap."""
    hole = recording_of([NAN, 1.0, NAN])
    one = filling.correct([hole], ONE, settings("interpolate"))[0]
    among = filling.correct([recording_of([9.0]), hole, recording_of([9.0])], ONE, settings("interpolate"))[1]

    np.testing.assert_array_equal(one.signals["watch"].values, among.signals["watch"].values)


def test_raise_lists_every_missing_channel() -> None:
    """Under `raise` each channel with missing values is named, across recordings."""
    holes = [recording_of([1.0, NAN, INF], name="one"), recording_of([1.0]), recording_of([NAN], name="two")]
    with pytest.raises(InputError) as caught:
        filling.correct(holes, ONE, settings("raise"))

    assert places(caught.value.problems) == [
        ("one: watch ax", "quality.missing-values"),
        ("two: watch ax", "quality.missing-values"),
    ]
    assert [problem.message[0] for problem in caught.value.problems] == ["2", "1"]


def test_raise_passes_whole_data() -> None:
    """With `raise`, recordings without missing values are unchanged."""
    np.testing.assert_array_equal(corrected(WAVE, "raise"), WAVE.astype(np.float32))


@given(column=COLUMNS, longest=st.integers(0, 20))
def test_only_short_stretches_are_filled(column: NDArray[np.float32], longest: int) -> None:
    """A run of more samples than the limit stays missing; the oracle counts runs one by one."""
    (found,) = filling.correct([recording_of(column)], ONE, settings("zero", (longest + 0.5) / 50))
    expected, gap = column.copy(), ~np.isfinite(column)
    for start in np.flatnonzero(gap & ~np.concatenate([[False], gap[:-1]])):
        length = next((n for n, missing in enumerate(gap[start:]) if not missing), len(gap) - start)
        expected[start : start + length] = 0 if length <= longest else NAN

    np.testing.assert_array_equal(found.signals["watch"].values[:, 0], expected)


def test_a_fill_is_per_device_and_channel() -> None:
    """Each gap is filled with the value of its channel."""
    values = np.array([[NAN, 1], [2, NAN]], np.float32)
    recording = replace(recording_of([0.0, 0.0]), signals={"watch": Signal(values, 50.0)})
    (found,) = filling.correct([recording], (*ONE, *ONE), settings("mean"), np.array([[7, 8]], np.float32))

    assert found.signals["watch"].values.tolist() == [[7, 1], [2, 8]]


def test_a_channel_without_a_value_in_training_is_not_filled() -> None:
    """Its mean is not known."""
    fill = filling.fit([recording_of([NAN, INF])], settings("median"))

    assert np.isnan(fill).all()


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
        filling.fit(recordings, settings(missing)), [[oracle(known) if len(known) else NAN]], rtol=1e-6, atol=1e-4
    )


@given(column=COLUMNS, missing=st.sampled_from(["zero", "mean", "median"]))
def test_a_constant_fill_changes_only_missing_values(column: NDArray[np.float32], missing: str) -> None:
    """0 for `zero`, otherwise the fitted value."""
    fill = None if missing == "zero" else np.array([[7]], np.float32)
    (found,) = filling.correct([recording_of(column)], ONE, settings(missing), fill)
    expected = np.where(np.isfinite(column), column, 0 if fill is None else 7)

    np.testing.assert_array_equal(found.signals["watch"].values[:, 0], expected)


@pytest.mark.parametrize("missing", ["zero", "interpolate", "drop", "raise"])
def test_other_strategies_are_fitted_to_nothing(missing: str) -> None:
    """No statistic can leak."""
    assert filling.fit([recording_of(WAVE)], settings(missing)) is None
