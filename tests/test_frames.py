"""frames: columns of any frame become samples with a clock."""

from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.data import frames
from modelreg.errors import InputError
from modelreg.records.model import Channel, InputSpec

CHANNELS = (Channel(name="a", unit="g"), Channel(name="b", unit="g"))
ONE = InputSpec(channels=CHANNELS, devices=("watch",), timesteps=8, rate_hz=10.0)
TWO = ONE.model_copy(update={"devices": ("watch", "phone")})
NOON = datetime(2026, 3, 29, 12)
SUMMER = timezone(timedelta(hours=2))


def columns(samples: int = 5, first: float = 0.0) -> dict[str, np.ndarray]:
    """A recording of the two channels."""
    return {"time": first + np.arange(samples) / 10, "a": np.arange(samples), "b": -1.5 * np.arange(samples)}


class Frame:
    """What pandas and polars frames have in common, and nothing more."""

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
    """In the order of the model's channels, whatever else it holds."""
    found = frames.read_recording(make({"note": ["x"] * 5, "b": columns()["b"], **columns()}), ONE)

    np.testing.assert_array_equal(found.devices["watch"].values, np.stack([columns()["a"], columns()["b"]], axis=1))
    np.testing.assert_array_equal(found.devices["watch"].time, np.arange(5) / 10)


@given(first=st.floats(-1e9, 1e9), samples=st.integers(2, 40))
def test_seconds_come_back(first, samples) -> None:
    """Counted from the first sample inside, on the recording's own clock outside."""
    given_ = columns(samples, first)
    found = frames.read_recording(given_, ONE)

    np.testing.assert_allclose(found.moments(found.devices["watch"].time), given_["time"], rtol=0, atol=1e-6)


@given(milliseconds=st.lists(st.integers(0, 10**9), min_size=2, max_size=20))
def test_datetimes_come_back(milliseconds) -> None:
    """To the nanosecond."""
    time = np.datetime64("2026-03-29T00:30", "ms") + np.sort(np.array(milliseconds)).astype("timedelta64[ms]")
    found = frames.read_recording({**columns(len(time)), "time": time}, ONE)

    np.testing.assert_array_equal(found.moments(found.devices["watch"].time), time)


def zoned_series(data: list[datetime]):
    """A pandas column with a time zone."""
    return pytest.importorskip("pandas").Series(data)


@pytest.mark.parametrize("make", [list, zoned_series])
def test_datetimes_with_a_time_zone_are_utc(make) -> None:
    """Noon in summer time is ten o'clock."""
    time = make([NOON.replace(tzinfo=SUMMER) + timedelta(seconds=row / 10) for row in range(5)])
    found = frames.read_recording({**columns(), "time": time}, ONE)

    assert found.first == np.datetime64("2026-03-29T10:00")
    np.testing.assert_allclose(found.devices["watch"].time, np.arange(5) / 10, atol=1e-9)


def test_a_list_of_datetimes_is_a_clock() -> None:
    """Without a time zone they stay as they are."""
    time = [NOON + timedelta(seconds=row / 10) for row in range(5)]

    assert frames.read_recording({**columns(), "time": time}, ONE).first == np.datetime64("2026-03-29T12:00")


def test_a_nullable_column_is_read() -> None:
    """What is null is missing."""
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
    """As the caller says."""
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
    ({"a": None}, ["watch: a"]),
    ({"a": ["x"] * 5}, ["watch: a"]),
    ({"a": [True] * 5}, ["watch: a"]),
    ({"a": [1j] * 5, "b": np.zeros((5, 2))}, ["watch: a", "watch: b"]),
    ({"a": [0.0] * 4}, ["watch"]),
    ({"time": np.arange(4) / 10}, ["watch"]),
    ({"time": ["noon"] * 5}, ["watch: time"]),
    ({"time": np.zeros((5, 2))}, ["watch: time"]),
    ({"time": [NOON, NOON.replace(tzinfo=SUMMER), NOON, NOON, NOON]}, ["watch: time"]),
    ({"time": [0.0, 0.1, np.nan, 0.3, 0.4]}, ["watch"]),
    ({"time": np.array(["2026-01-01", "NaT", "NaT", "2026-01-02", "2026-01-03"], dtype="datetime64[s]")}, ["watch"]),
    ({"time": [0.0, 0.2, 0.1, 0.3, 0.4]}, ["watch"]),
    ({"time": [0.0], "a": [1.0], "b": [1.0]}, ["watch"]),
    ({"time": [], "a": [], "b": []}, ["watch"]),
]


@pytest.mark.parametrize(("changes", "places"), NOT_RECORDINGS)
def test_what_is_not_a_recording_is_refused(changes, places) -> None:
    """With the device and the column."""
    with pytest.raises(InputError) as caught:
        frames.read_recording({**columns(), **changes}, ONE)

    assert [problem.where for problem in caught.value.problems] == places


@pytest.mark.parametrize(
    ("dropped", "added", "words"),
    [("a", "A", ["'a' is missing"]), ("time", "timestamp", ["'time' is missing; did you mean 'timestamp'?"])],
)
def test_a_missing_column_is_named(dropped, added, words) -> None:
    """With the name that is nearest to it, or those that there are."""
    given_ = columns()
    given_[added] = given_.pop(dropped)
    with pytest.raises(InputError) as caught:
        frames.read_recording(given_, ONE)

    assert [word in problem.what for problem, word in zip(caught.value.problems, words, strict=True)] == [True]


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
