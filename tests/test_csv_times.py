"""Time stamps of text files become seconds, and rows come into order by a stated rule."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from csv_folder import TEXT, device, problems, read, timed
from hypothesis import given
from hypothesis import strategies as st
from places import places
from pydantic import ValidationError

from modelreg.data.sources.csv_times import in_order, to_seconds
from modelreg.records.csv_device import CsvStart, CsvTime

BERLIN = ZoneInfo("Europe/Berlin")
times = st.lists(st.integers(0, 50), min_size=1, max_size=30).map(lambda found: np.array(found, dtype=np.float64))


def seconds_of(texts: list[str], **time) -> list[float]:
    """Return the seconds of text stamps."""
    return to_seconds(np.array(texts, dtype=object), CsvTime(column="t", **time)).tolist()


@given(st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)), st.integers(1, 400), st.integers(1, 100))
def test_local_times_are_those_of_the_zone(start, step, rows) -> None:
    """Also over the changes of daylight saving time, as Python's own rules have them."""
    moments = [start.replace(tzinfo=UTC) + timedelta(minutes=step * row) for row in range(rows)]
    local = [moment.astimezone(BERLIN) for moment in moments]
    texts = [moment.strftime("%Y/%m/%d %H:%M:%S.%f") for moment in local]
    found = seconds_of(texts, unit="strptime", format="%Y/%m/%d %H:%M:%S.%f", zone="Europe/Berlin")
    expected = [moment.timestamp() for moment in moments]
    twice = [moment.fold for moment in local]

    assert found == pytest.approx(expected, abs=1e-6) or any(twice)


def test_an_hour_that_comes_twice_is_told_apart_by_the_fall() -> None:
    """Before it the time is that of summer."""
    texts = ["2023-10-29 02:59:59", "2023-10-29 02:00:00", "2023-10-29 02:30:00", "2023-10-29 03:00:00"]
    found = seconds_of(texts, unit="iso8601", zone="Europe/Berlin")

    assert np.diff(found).tolist() == [1, 1800, 1800]


def test_a_date_that_names_its_zone_keeps_it() -> None:
    """Beside dates that do not."""
    texts = ["2024-01-01T12:00:00", "2024-01-01T12:00:00Z", "2024-01-01T12:00:00+05:00", "soon"]
    found = seconds_of(texts, unit="iso8601", zone="Europe/Berlin")
    noon = datetime(2024, 1, 1, 12, tzinfo=UTC).timestamp()

    assert found[:3] == [noon - 3600, noon, noon - 5 * 3600]
    assert np.isnan(found[3])


def test_an_hour_that_does_not_exist_is_no_time() -> None:
    """When daylight saving begins."""
    assert np.isnan(seconds_of(["2023-03-26 02:30:00"], unit="iso8601", zone="Europe/Berlin")).all()


@pytest.mark.parametrize("mark", [".", ",", ":"])
def test_a_time_of_day_rises_over_midnight(mark) -> None:
    """With any mark before the fraction, or without one."""
    found = seconds_of([f"23:59:59{mark}500", "0:00:00", f"00:00:00{mark}25"], unit="time-of-day")

    assert found == [86399.5, 86400.0, 86400.25]


def test_other_texts_are_no_time() -> None:
    """NaN, as is a date in another form."""
    assert np.isnan(seconds_of(["soon", "25", "8:30", "08:30:00.0000000001"], unit="time-of-day")).all()
    assert np.isnan(seconds_of(["2024-05-07", "now"], unit="strptime", format="%d.%m.%Y")).all()


def test_days_of_excel() -> None:
    """Day 45,000 is 15 March 2023."""
    found = to_seconds(np.array([45000.5]), CsvTime(column="t", unit="excel"))

    assert found.tolist() == [datetime(2023, 3, 15, 12, tzinfo=UTC).timestamp()]


@given(times)
def test_sorted_rows_are_a_stable_sort(seconds) -> None:
    """All rows stay; the number of falls is counted."""
    found = in_order(seconds, "sort")

    assert found.rows.tolist() == sorted(range(len(seconds)), key=lambda row: seconds[row])
    assert found.moved == sum(later < earlier for earlier, later in pairwise(seconds))


@given(times)
def test_late_rows_are_dropped(seconds) -> None:
    """Each row that stays is later than all before it."""
    expected = [row for row, time in enumerate(seconds) if time > max(seconds[:row], default=-np.inf)]

    assert in_order(seconds, "drop").rows.tolist() == expected


@given(st.integers(2, 6), st.integers(3, 40), st.floats(0.01, 100), st.floats(-1e6, 1e6))
def test_packets_are_spread_evenly(size, packets, step, start) -> None:
    """As if each row had had its stamp."""
    stamps = start + step * np.repeat(np.arange(packets), size)
    found = in_order(stamps, "strict")

    assert found.packet == size
    assert np.allclose(found.seconds, start + step / size * np.arange(size * packets), atol=1e-6 * max(step, 1))


@given(times)
def test_spread_rows_stay_in_order_and_in_their_packet(seconds) -> None:
    """No row comes before its stamp, or after the next one."""
    stamps = np.sort(seconds)
    found = in_order(stamps, "strict")
    later = [next((other for other in stamps if other > stamp), np.inf) for stamp in stamps]

    assert (np.diff(found.seconds) >= 0).all()
    assert (found.seconds >= stamps).all()
    assert (found.seconds < later).all()


def test_a_gap_between_packets_stays_a_gap() -> None:
    """The rows before it are spread over the usual time."""
    stamps = np.repeat([0.0, 1, 2, 3, 103, 104, 105, 106, 107, 108], 2)
    found = in_order(stamps, "strict")

    assert found.packet == 2
    assert found.seconds[6:9].tolist() == [3.0, 4.0, 103.0]


@pytest.mark.parametrize("stamps", [[0, 0, 1, 2, 3, 4], [0, 1, 1, 2, 3, 3, 4], [0, 0, 1, 1]])
def test_a_few_equal_stamps_are_no_packets(stamps) -> None:
    """They stay as they are."""
    found = in_order(np.array(stamps, dtype=np.float64), "strict")

    assert (found.seconds.tolist(), found.packet) == (stamps, 0)


def test_a_fall_of_an_hour_names_daylight_saving_time(tmp_path) -> None:
    """Where stamps are dates."""
    text = "t,a,b,label\n2023-10-29 02:59:59,1,2,x\n2023-10-29 02:00:00,1,2,x\n"
    timed = {"watch": device(time={"column": "t", "unit": "iso8601"}, rate_hz=1)}
    (problem,) = problems(tmp_path, {"s_1.csv": text}, devices=timed)

    assert (places([problem]), "time.zone" in problem.next) == ([("s_1.csv:3", "csv.time-goes-back")], True)


@pytest.mark.parametrize(
    "changes",
    [
        {"unit": "strptime"},
        {"unit": "ms", "format": "%H"},
        {"unit": "ms", "zone": "Europe/Berlin"},
        {"unit": "iso8601", "zone": "Europe/Atlantis"},
        {"unit": "iso8601", "zone": "../etc/passwd"},
    ],
)
def test_settings_of_a_clock_that_cannot_be_are_refused(changes) -> None:
    """A form without a unit that has one, a zone of numbers, a zone that is none."""
    with pytest.raises(ValidationError):
        CsvTime(column="t", **changes)


HEAD = "made at 30 Hz\nstart 07.05.2024 08:30:00\n"
START = {"pattern": r"at (?P<rate>\S+) Hz\nstart (\S+) (\S+)", "format": "%d.%m.%Y %H:%M:%S"}


def started(**changes: Any) -> dict[str, Any]:
    """A source whose lines before the header have the date of the first row."""
    start = [START | {"zone": "UTC"}]
    return {"skip": 2, "devices": {"watch": device(**{"rate_hz": 30, "start": start} | changes)}}


def test_the_date_before_the_header_starts_the_time(tmp_path) -> None:
    """Row n is n / rate_hz later."""
    dataset = read(tmp_path, {"s_1.csv": HEAD + TEXT}, **started())
    time = dataset.recordings[0].signals["watch"].time

    assert time.tolist() == pytest.approx([1715070600, 1715070600 + 1 / 30, 1715070600 + 2 / 30])


def test_the_lines_before_the_header_need_no_rate(tmp_path) -> None:
    """The configured one is used."""
    start = {"pattern": r"start (.*)", "format": "%d.%m.%Y %H:%M:%S"}
    dataset = read(tmp_path, {"s_1.csv": HEAD + TEXT}, **started(start=[start]))

    assert dataset.recordings[0].signals["watch"].time[0] == 1715070600


def test_the_date_before_the_header_and_a_time_are_added(tmp_path) -> None:
    """A time may count from the start."""
    text = HEAD + "t,a,b,label\n5,1,2,walk\n38,1,2,walk\n"
    dataset = read(tmp_path, {"s_1.csv": text}, **started(time={"column": "t", "unit": "ms"}))

    assert dataset.recordings[0].signals["watch"].time.tolist() == pytest.approx([1715070600.005, 1715070600.038])


@pytest.mark.parametrize(
    ("head", "changes", "rule"),
    [
        (HEAD.replace("start", "begin"), {}, "csv.start"),
        (HEAD.replace("07.05", "07.13"), {}, "csv.start"),
        (HEAD, {"rate_hz": 50}, "csv.rate-mismatch"),
    ],
)
def test_lines_before_the_header_that_do_not_fit(tmp_path, head, changes, rule) -> None:
    """Named with the file."""
    found = problems(tmp_path, {"s_1.csv": head + TEXT}, **started(**changes))

    assert [(problem.where, problem.rule) for problem in found] == [("s_1.csv", rule)]


def test_a_start_needs_a_group() -> None:
    """Otherwise it would find no date."""
    with pytest.raises(ValueError, match="group"):
        CsvStart(pattern="start (?P<rate>.*)", format="%Y")


@pytest.mark.parametrize(("stamp", "step"), [("2024-05-07 08:30:00.5", "iso8601"), ("08:30:00.5", "time-of-day")])
def test_a_date_in_a_numeric_time(tmp_path, stamp, step) -> None:
    """The unit that reads it is the next step."""
    (problem,) = problems(tmp_path, {"s_1.csv": f"t,a,b,label\n{stamp},1,2,walk\n"}, devices=timed("ms"))

    assert (problem.where, problem.rule, step in problem.next) == ("s_1.csv:2", "csv.time-is-date", True)


def test_a_number_as_a_date(tmp_path) -> None:
    """It is probably a number of seconds or of their fractions."""
    (problem,) = problems(tmp_path, {"s_1.csv": "t,a,b,label\n1715070600,1,2,walk\n"}, devices=timed("iso8601"))

    assert (problem.rule, "ms" in problem.next) == ("csv.time-missing", True)
