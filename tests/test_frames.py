"""frames: read columns of any frame as samples with a clock."""

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import places

from modelreg.data import frames, time_columns
from modelreg.data.columns import shown
from modelreg.errors import InputError, Problem
from modelreg.records.model import Channel, InputSpec

CHANNELS = (Channel(name="a", unit="g"), Channel(name="b", unit="g"))
ONE = InputSpec(channels=CHANNELS, devices=("watch",), timesteps=8, rate_hz=10.0)
TWO = ONE.model_copy(update={"devices": ("watch", "phone")})
NOON = datetime(2026, 3, 29, 12)
COLUMN = "recordings.column-missing"
SUMMER = timezone(timedelta(hours=2))


def columns(samples: int = 5, first: float = 0.0) -> dict[str, np.ndarray]:
    """A recording of the two channels."""
    return {"time": first + np.arange(samples) / 10, "a": np.arange(samples), "b": -1.5 * np.arange(samples)}


class Frame:
    """The common interface of pandas and polars frames, and nothing more."""

    def __init__(self, data: dict[str, object]) -> None:
        self._data = data

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self._data)

    def __getitem__(self, name: str) -> object:
        return self._data[name]


def as_pandas(data: dict[str, object]):
    """The same as a pandas frame."""
    return pytest.importorskip("pandas").DataFrame(data)


@pytest.mark.parametrize("make", [dict, Frame, as_pandas])
def test_a_frame_is_read_by_its_names(make) -> None:
    """In the order of the model's channels; other columns are ignored."""
    found = frames.read_recording(make({"note": ["x"] * 5, "b": columns()["b"], **columns()}), ONE)

    np.testing.assert_array_equal(found.devices["watch"].values, np.stack([columns()["a"], columns()["b"]], axis=1))
    np.testing.assert_array_equal(found.devices["watch"].time, np.arange(5) / 10)


@given(first=st.floats(-1e9, 1e9), samples=st.integers(2, 40))
def test_seconds_are_unchanged(first, samples) -> None:
    """Counted from the first sample inside, on the recording's own clock outside."""
    given_ = columns(samples, first)
    found = frames.read_recording(given_, ONE)

    np.testing.assert_allclose(found.moments(found.devices["watch"].time), given_["time"], rtol=0, atol=1e-6)


@given(milliseconds=st.lists(st.integers(0, 10**9), min_size=2, max_size=20))
def test_datetimes_are_unchanged(milliseconds) -> None:
    """To the nanosecond."""
    time = np.datetime64("2026-03-29T00:30", "ms") + np.sort(np.array(milliseconds)).astype("timedelta64[ms]")
    found = frames.read_recording({**columns(len(time)), "time": time}, ONE)

    np.testing.assert_array_equal(found.moments(found.devices["watch"].time), time)


def zoned_series(data: list[datetime]):
    """A pandas column with a time zone."""
    return pytest.importorskip("pandas").Series(data)


@pytest.mark.parametrize("make", [list, zoned_series])
def test_datetimes_with_a_time_zone_are_utc(make) -> None:
    """12:00 in UTC+2 is 10:00."""
    time = make([NOON.replace(tzinfo=SUMMER) + timedelta(seconds=row / 10) for row in range(5)])
    found = frames.read_recording({**columns(), "time": time}, ONE)

    assert found.first == np.datetime64("2026-03-29T10:00")
    np.testing.assert_allclose(found.devices["watch"].time, np.arange(5) / 10, atol=1e-9)


def test_a_list_of_datetimes_is_a_clock() -> None:
    """Without a time zone they are unchanged."""
    time = [NOON + timedelta(seconds=row / 10) for row in range(5)]

    assert frames.read_recording({**columns(), "time": time}, ONE).first == np.datetime64("2026-03-29T12:00")


def test_a_nullable_column_is_read() -> None:
    """null is a missing value."""
    pandas = pytest.importorskip("pandas")
    nullable = pandas.Series([0.0, None, 2.0, 3.0, 4.0], dtype="Float64")
    found = frames.read_recording(pandas.DataFrame(columns()).assign(a=nullable), ONE)

    np.testing.assert_array_equal(np.isnan(found.devices["watch"].values).nonzero(), [[1], [0]])


@pytest.mark.filterwarnings("error")
def test_what_is_beyond_float32_is_missing() -> None:
    """Without a warning."""
    found = frames.read_recording({**columns(), "a": [0.0, 1e300, 0.0, 0.0, 0.0]}, ONE)

    assert np.isinf(found.devices["watch"].values[1, 0])


def test_the_time_column_has_any_name() -> None:
    """The caller passes it."""
    given_ = columns()
    given_["t"] = given_.pop("time")

    assert len(frames.read_recording(given_, ONE, "t").devices["watch"].time) == 5


def test_devices_share_a_clock() -> None:
    """Seconds count from the first sample of any of them."""
    found = frames.read_recording({"phone": columns(first=100.5), "watch": columns(first=100.0)}, TWO)

    assert list(found.devices) == ["watch", "phone"]
    assert [float(samples.time[0]) for samples in found.devices.values()] == [0.0, 0.5]


def test_one_device_may_be_named() -> None:
    """As several must be."""
    assert list(frames.read_recording({"watch": columns()}, ONE).devices) == ["watch"]


NOT_RECORDINGS = [
    ({"a": None}, [("watch: a", "not-numbers")]),
    ({"a": ["x"] * 5}, [("watch: a", "not-numbers")]),
    ({"a": [True] * 5}, [("watch: a", "not-numbers")]),
    ({"a": [1j] * 5, "b": np.zeros((5, 2))}, [("watch: a", "not-numbers"), ("watch: b", "not-numbers")]),
    ({"a": [0.0] * 4}, [("watch", "length-mismatch")]),
    ({"time": np.arange(4) / 10}, [("watch", "length-mismatch")]),
    ({"time": ["noon"] * 5}, [("watch: time", "time-type")]),
    ({"time": np.zeros((5, 2))}, [("watch: time", "time-type")]),
    ({"time": [NOON, NOON.replace(tzinfo=SUMMER), NOON, NOON, NOON]}, [("watch: time", "time-type")]),
    ({"time": [0.0, 0.1, np.nan, 0.3, 0.4]}, [("watch", "time-missing")]),
    (
        {"time": np.array(["2026-01-01", "NaT", "NaT", "2026-01-02", "2026-01-03"], dtype="datetime64[s]")},
        [("watch", "time-missing")],
    ),
    ({"time": [0.0, 0.2, 0.1, 0.3, 0.4]}, [("watch", "time-goes-back")]),
    ({"time": [0.0], "a": [1.0], "b": [1.0]}, [("watch", "too-short")]),
    ({"time": [], "a": [], "b": []}, [("watch", "too-short")]),
]


@pytest.mark.parametrize(("changes", "expected"), NOT_RECORDINGS)
def test_an_invalid_recording_is_refused(changes, expected) -> None:
    """With the device and the column."""
    found = refusal({**columns(), **changes})

    assert places(found) == [(where, f"recordings.{name}") for where, name in expected]


@pytest.mark.parametrize(
    ("dropped", "added", "step"),
    [
        ("a", "A", "did you mean 'A'?"),
        ("time", "timestamp", "did you mean 'timestamp'? Pass time='timestamp'"),
    ],
)
def test_a_missing_column_is_named(dropped, added, step) -> None:
    """The next step has the nearest name."""
    given_ = columns()
    given_[added] = given_.pop(dropped)
    (problem,) = refusal(given_)

    assert (problem.rule, repr(dropped) in problem.message, problem.next) == (COLUMN, True, step)


@pytest.mark.parametrize(
    "recording",
    [
        {"watch": columns()},
        {"watch": columns(), "phone": columns(), "collar": columns()},
        columns(),
        Frame(columns()),
        {"watch": columns(), "phone": {**columns(), "time": np.datetime64("2026-01-01") + np.arange(5)}},
    ],
)
def test_devices_that_do_not_fit_are_refused(recording) -> None:
    """One is missing, unknown, or on a clock of another kind."""
    with pytest.raises(InputError):
        frames.read_recording(recording, TWO)


def refusal(recording: object, spec: InputSpec = ONE) -> list[Problem]:
    """The problems of a recording that is refused."""
    with pytest.raises(InputError) as caught:
        frames.read_recording(recording, spec)
    return list(caught.value.problems)


# Devices and kinds of argument


@pytest.mark.parametrize("make", [dict, Frame, as_pandas])
@pytest.mark.parametrize(
    ("spec", "names", "found"),
    [
        (ONE, ["watch", "phone"], ["unknown: phone"]),
        (ONE, ["phone"], ["unknown: phone", "missing: watch"]),
        (TWO, ["watch"], ["missing: phone"]),
        (TWO, ["left", "right"], ["unknown: left, right", "missing: watch, phone"]),
    ],
)
def test_other_devices_are_one_problem(make, spec, names, found) -> None:
    """The columns of frames for other devices are not checked."""
    (problem,) = refusal({name: make(columns()) for name in names}, spec)

    assert (problem.where, problem.rule) == ("recording", "recordings.device-mismatch")
    assert problem.message.split("; ")[1:] == found


def test_one_frame_is_not_several_devices() -> None:
    """Its columns are not unknown devices either."""
    (problem,) = refusal(columns(), TWO)

    assert (problem.rule, "unknown" in problem.message) == ("recordings.device-mismatch", False)


class LazyFrame(Frame):
    """The relevant part of a polars LazyFrame: reading its columns gives a warning."""

    @property
    def columns(self) -> list[str]:
        """Must not be read."""
        raise AssertionError

    def collect(self) -> Frame:
        """Return the frame."""
        return Frame(self._data)


class ArrowTable(Frame):
    """The relevant part of an Arrow table: its columns are data, not names."""

    column_names = ("time", "a", "b")


RECORDS = np.array([(0.123456, 1.0)], dtype=[("time", float), ("a", float)])


@pytest.mark.parametrize(
    ("recording", "words"),
    [
        (None, ["is None,"]),
        ("run.csv", ["of type str,", "read_csv"]),
        (Path("run.csv"), ["read_csv"]),
        (np.full((5, 3), 0.123456), ["of type ndarray,"]),
        (RECORDS, ["of type ndarray,", "pandas.DataFrame"]),
        (RECORDS.view(np.recarray), ["of type recarray,", "pandas.DataFrame"]),
        ([{"time": 0.123456}], ["of type list,", "pandas.DataFrame"]),
        (Frame, ["of type type,"]),
        (LazyFrame(columns()), ["of type LazyFrame,", "collect()"]),
        (ArrowTable(columns()), ["of type ArrowTable,", "to_pandas()"]),
        (3, ["of type int,"]),
    ],
)
@pytest.mark.parametrize("device", [None, "watch"])
def test_what_is_not_a_frame_is_named_by_its_type(recording, words, device) -> None:
    """On one line, with what is expected, and none of its data; as a recording or as one of its devices."""
    (problem,) = refusal({device: recording} if device else recording)
    text = f"{problem.message} {problem.next}"

    assert (problem.where, problem.rule) == (device or "recording", "recordings.not-a-frame")
    assert [word in text for word in words] == [True] * len(words)
    assert "0.12" not in text


def test_a_frame_without_columns_is_refused() -> None:
    """It has no list of columns to show."""
    assert places(refusal({})) == [("watch", COLUMN)]


# Columns


@pytest.mark.parametrize("other", [str.upper, " {} ".format])
def test_names_that_differ_by_case_are_one_problem(other) -> None:
    """Or by space."""
    changed = {other(name): column for name, column in columns().items()}
    (problem,) = refusal(changed)

    assert (problem.where, problem.rule, "'time', 'a', 'b'" in problem.message) == ("watch", COLUMN, True)
    assert all(repr(name) in problem.next for name in changed)


def test_columns_are_listed_once() -> None:
    """For all that are missing."""
    (problem,) = refusal({"u": [1], "v": [2]})

    assert (problem.rule, "found u, v" in problem.message) == (COLUMN, True)


def test_a_long_list_of_columns_is_cut() -> None:
    """A table of spectra has thousands."""
    (problem,) = refusal({str(number): [1] for number in range(1000)})

    assert "18, 19 and 980 more" in problem.message


@pytest.mark.parametrize(
    ("index", "name", "step"),
    [
        (np.arange(5) / 10, "time", "call reset_index() first"),
        (np.datetime64("2026-01-01", "ms") + np.arange(5), None, "call rename_axis('time').reset_index() first"),
        (np.arange(5).astype("timedelta64[ms]"), "t", "call rename_axis('time').reset_index() first"),
    ],
)
def test_time_in_the_index_is_found(index, name, step) -> None:
    """With the call that makes a column of it."""
    pandas = pytest.importorskip("pandas")
    frame = as_pandas(columns()).drop(columns="time").set_index(pandas.Index(index, name=name))
    (problem,) = refusal(frame)

    assert (problem.rule, problem.next) == (COLUMN, step)


@pytest.mark.parametrize("missing", [None, Decimal("NaN"), np.float32("nan"), 10**400])
def test_objects_that_are_numbers_are_numbers(missing) -> None:
    """None and values beyond every float are missing values."""
    found = frames.read_recording({**columns(), "a": np.array([1, 2.5, missing, Decimal(4), 5], dtype=object)}, ONE)
    values = found.devices["watch"].values[:, 0]

    np.testing.assert_array_equal(values[[0, 1, 3, 4]], [1, 2.5, 4, 5])
    assert not np.isfinite(values[2])


def test_a_masked_value_is_missing() -> None:
    """The value under the mask is ignored; a masked time is missing."""
    mask = [False, True, False, False, False]
    found = frames.read_recording({**columns(), "a": np.ma.array(np.arange(5), mask=mask)}, ONE)
    time = np.ma.array(np.datetime64("2026-01-01", "ms") + np.arange(5), mask=mask)

    np.testing.assert_array_equal(np.isnan(found.devices["watch"].values[:, 0]), mask)
    (problem,) = refusal({**columns(), "time": time})
    assert (problem.rule, "row 1" in problem.message) == ("recordings.time-missing", True)


def test_a_nullable_column_of_integers_is_read() -> None:
    """pandas gives objects for it."""
    pandas = pytest.importorskip("pandas")
    nullable = pandas.Series([0, None, 2, 3, 4], dtype="Int64").astype(object)
    found = frames.read_recording({**columns(), "a": nullable}, ONE)

    np.testing.assert_array_equal(np.isnan(found.devices["watch"].values[:, 0]), [False, True, False, False, False])


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (["1.5"] * 5, "row 0 holds '1.5'"),
        (np.array([1, None, True, 2, 3], dtype=object), "row 2 holds True"),
        (np.ma.array(["1"] * 5, mask=True), "row 0 holds '1'"),
        (np.array([b"1"] * 5), "row 0 holds b'1'"),
        ([1, 2, {"a": 1}, 3, 4], "row 2 holds {'a': 1}"),
        ([1j] * 5, "complex numbers"),
        ([True] * 5, "booleans"),
        (None, "None"),
        (np.zeros((5, 2)), "(5, 2)"),
    ],
)
def test_the_first_value_that_is_not_a_number_is_shown(column, found) -> None:
    """With its row."""
    (problem,) = refusal({**columns(), "a": column})

    assert (problem.where, problem.rule, found in problem.message) == ("watch: a", "recordings.not-numbers", True)


def test_rows_of_unequal_length_are_refused() -> None:
    """Instead of numpy's ValueError."""
    assert places(refusal({**columns(), "a": [[1], [1, 2]]})) == [("watch: a", "recordings.not-numbers")]


@given(value=st.one_of(st.text(), st.binary(), st.lists(st.text())))
def test_a_value_is_shown_on_one_short_line(value) -> None:
    """It may contain control characters for a terminal."""
    found = shown(value)

    assert found.isprintable()
    assert len(found) <= 40


# Clocks


@pytest.mark.parametrize(
    "make", [lambda time: time, lambda time: time.astype("timedelta64[ns]"), lambda time: time.tolist()]
)
def test_durations_are_seconds_since_the_start(make) -> None:
    """As timedelta64 of any unit or as objects."""
    found = frames.read_recording({**columns(), "time": make(1000 + np.arange(5).astype("timedelta64[ms]"))}, ONE)

    np.testing.assert_allclose(found.moments(found.devices["watch"].time), 1 + np.arange(5) / 1000)


DATED = [NOON + timedelta(seconds=row / 10) for row in range(5)]
ROWS = [timedelta(seconds=row / 10) for row in range(5)]


@pytest.mark.parametrize("times", [DATED, ROWS, [0.0, 0.1, 0.2, 0.3, 0.4]])
@pytest.mark.parametrize(("rows", "count"), [([1], "1 time"), ([1, 3], "2 times")])
def test_none_is_a_missing_time(times, rows, count) -> None:
    """Among datetimes, durations and numbers."""
    given_ = [None if row in rows else time for row, time in enumerate(times)]

    (problem,) = refusal({**columns(), "time": np.array(given_, dtype=object)})
    assert (problem.rule, problem.message.startswith(count)) == ("recordings.time-missing", True)
    assert problem.message.endswith("row 1")


def test_a_column_of_missing_times_is_refused() -> None:
    """Without a value, its kind is not known."""
    assert places(refusal({**columns(), "time": [None] * 5})) == [("watch", "recordings.time-missing")]


def test_nat_is_a_missing_time() -> None:
    """Among pandas' own time stamps."""
    pandas = pytest.importorskip("pandas")

    assert places(refusal({**columns(), "time": [pandas.NaT, *DATED[1:]]})) == [("watch", "recordings.time-missing")]


@pytest.mark.parametrize(
    ("time", "words"),
    [
        ([each.isoformat() for each in DATED], ["row 0 holds '2026-03-29T12:00:00'", "pandas.to_datetime"]),
        ([*DATED[:4], "noon"], ["row 4 holds 'noon'", "datetimes"]),
        ([*ROWS[:4], 4], ["row 4 holds 4", "durations"]),
        ([0.0, 0.1, 0.2, 0.3, DATED[4]], ["row 4 holds datetime.datetime(", "seconds or datetimes"]),
        ([True] * 5, ["booleans", "seconds or datetimes"]),
    ],
)
def test_a_value_that_is_not_a_time_is_shown(time, words) -> None:
    """With its row; text with the function that parses it."""
    (problem,) = refusal({**columns(), "time": time})

    assert (problem.where, problem.rule) == ("watch: time", "recordings.time-type")
    assert [word in problem.message for word in words] == [True] * len(words)


SEVERAL, LOCAL, UNSORTED = time_columns.SEVERAL, time_columns.LOCAL, time_columns.UNSORTED
BACK = [2, 3, 4, 0, 1]


@pytest.mark.parametrize(
    ("time", "causes"),
    [
        ([0.2, 0.3, 0.4, 0.0, 0.1], {SEVERAL, LOCAL, UNSORTED}),
        ([DATED[row] for row in BACK], {SEVERAL, LOCAL, UNSORTED}),
        ([DATED[row].replace(tzinfo=SUMMER) for row in BACK], {SEVERAL, UNSORTED}),
    ],
)
def test_a_time_that_goes_back_has_causes(time, causes) -> None:
    """Sorting would mix two recordings. Times with a zone do not go back at the end of daylight saving time."""
    (problem,) = refusal({**columns(), "time": time})

    assert (problem.rule, "in row 3" in problem.message) == ("recordings.time-goes-back", True)
    assert {cause for cause in (SEVERAL, LOCAL, UNSORTED) if cause in problem.next} == causes


def test_times_that_go_back_often_are_counted() -> None:
    """Unsorted rows go back more often than two recordings."""
    (problem,) = refusal({**columns(), "time": [4, 3, 2, 1, 0]})

    assert all(found in problem.message for found in ("4 rows", "row 1,", "from 4.0 to 3.0"))


@pytest.mark.parametrize("year", ["0001", "1600", "2300", "3000"])
def test_a_datetime_that_would_wrap_is_refused(year) -> None:
    """64 bits of nanoseconds hold 1678 to 2261; other years would silently become wrong times."""
    times = np.datetime64(f"{year}-01-01", "ms") + np.arange(3).astype("timedelta64[ms]")
    for column in (times, times.tolist()):
        with pytest.raises(InputError):
            time_columns.read(column, "watch: time")
