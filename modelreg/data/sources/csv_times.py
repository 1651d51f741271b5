"""Convert time stamps of text files to seconds, put rows in order, and spread rows that share a stamp.

A logger may write local time, which is set back at the end of daylight saving time; or it receives packets of samples
and writes one stamp for each packet.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.records.csv_device import ClockRule, Moment

if TYPE_CHECKING:
    import pandas as pd

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
EXACT = 2**53  # the largest integer up to which every integer is a float64
TEXTS = ("iso8601", "strptime", "time-of-day")  # units whose stamps are texts
DAY_S = 86_400
EXCEL_EPOCH = 25_569  # days from Excel's day 0 to 1970
STEADY = 0.9  # share of the stamps that must have the usual number of rows, for rows to be packets
FEWEST = 3  # stamps, to tell packets from a chance

_OFFSET = r":\d.*(?:[Zz]|[+-]\d\d(?::?\d\d)?)$"  # of a date that names its zone
_CLOCK = r"\s*(?P<h>\d{1,2}):(?P<m>\d{2}):(?P<s>\d{2})(?:[.:,](?P<f>\d{1,9}))?\s*"


class Ordered(NamedTuple):
    """The rows to keep, in their order, and their time."""

    rows: NDArray[np.intp]
    seconds: NDArray[np.float64]
    moved: int = 0  # rows that were out of order
    packet: int = 0  # rows that share each stamp; 0: rows have their own
    late: int = 0  # rows left out because they are not later than all before


def to_seconds(stamps: NDArray[Any], time: Moment) -> NDArray[np.float64]:
    """Return the seconds of time stamps: numbers, or texts of a unit in TEXTS; NaN for other texts.

    Dates are seconds since 1970; a time of day counts from midnight and rises over the next midnight.
    """
    match time.unit:
        case "iso8601":
            return _from_dates(stamps, "ISO8601", time.zone)
        case "strptime":
            return _from_dates(stamps, time.format or "", time.zone)
        case "time-of-day":
            return _from_clock(stamps)
        case "excel":
            return (stamps.astype(np.float64) - EXCEL_EPOCH) * DAY_S
        case unit:
            return from_ticks(stamps, PER_SECOND[unit])


def _from_dates(texts: NDArray[Any], form: str, zone: str | None) -> NDArray[np.float64]:
    """Return the seconds since 1970 of dates; those that name no zone are in `zone`, or in UTC."""
    import pandas as pd

    dates = pd.Series(texts, dtype=str).str.strip()
    first = "^[0-9]" if form == "ISO8601" else "[0-9]"
    dates = dates.where(dates.str.contains(first), "")  # pandas knows `now` and `today`
    found = pd.to_datetime(dates, format=form, utc=True, errors="coerce").dt.tz_localize(None)
    if zone and "%z" not in form:
        found = found.where(dates.str.contains(_OFFSET), _localized(found, zone))
    stamps = found.to_numpy()
    ticks = from_ticks(stamps.astype(np.int64), PER_SECOND[np.datetime_data(stamps.dtype)[0]])
    return np.where(np.isnat(stamps), np.nan, ticks)


def _localized(local: "pd.Series[Any]", zone: str) -> "pd.Series[Any]":
    """Return local times in UTC. An hour that a clock shows twice is the first one until the clock falls."""
    falls = np.flatnonzero(np.diff(local.to_numpy()) < np.timedelta64(0))
    summer = np.arange(len(local)) <= (falls[0] if len(falls) else len(local))
    zoned = local.dt.tz_localize(zone, ambiguous=summer, nonexistent="NaT")
    found: pd.Series[Any] = zoned.dt.tz_convert("UTC").dt.tz_localize(None)
    return found


def _from_clock(texts: NDArray[Any]) -> NDArray[np.float64]:
    """Return the seconds since midnight of `HH:MM:SS` with a fraction; they rise over midnight."""
    import pandas as pd

    parts = pd.Series(texts, dtype=str).str.fullmatch(_CLOCK)
    found = pd.Series(texts, dtype=str).where(parts, "").str.extract(_CLOCK)
    h, m, s = (pd.to_numeric(found[name]).to_numpy(np.float64) for name in "hms")
    fraction = pd.to_numeric("0." + found["f"].fillna("0")).to_numpy(np.float64)
    seconds: NDArray[np.float64] = 3600 * h + 60 * m + s + fraction
    days = np.cumsum(np.diff(seconds, prepend=seconds[:1]) < -DAY_S / 2)
    return seconds + DAY_S * days


def from_ticks(ticks: NDArray[Any], per_second: int) -> NDArray[np.float64]:
    """Return seconds, also of integers beyond the range that float64 holds exactly, as nanoseconds since 1970 are."""
    if ticks.dtype.kind == "f":
        return ticks / per_second
    whole, rest = np.divmod(ticks, per_second)
    return np.where(np.abs(whole) < EXACT // per_second, ticks / per_second, whole + rest / per_second)


def in_order(seconds: NDArray[np.float64], rule: ClockRule) -> Ordered:
    """Return rows in the order of their finite times, as a rule says: as they are, sorted, or without late rows.

    `drop` leaves out each row that is not later than all rows before it.
    """
    if rule == "sort":
        rows = np.argsort(seconds, kind="stable")
        return _spread(rows, seconds[rows], moved=int(np.count_nonzero(seconds[1:] < seconds[:-1])))
    if rule == "drop":
        before = np.maximum.accumulate(np.concatenate([[-np.inf], seconds[:-1]]))
        rows = np.flatnonzero(seconds > before)
        return Ordered(rows, seconds[rows], late=len(seconds) - len(rows))
    return _spread(np.arange(len(seconds)), seconds)


def _spread(rows: NDArray[np.intp], seconds: NDArray[np.float64], moved: int = 0) -> Ordered:
    """Spread rows that share a stamp evenly up to the next stamp, if they are packets.

    They are if nine of ten stamps have the same number of rows, at least two. A stamp with more or fewer rows, and the
    last one, is spread over its share of the usual time.
    """
    first = np.flatnonzero(np.diff(seconds, prepend=-np.inf) != 0)
    sizes = np.diff(first, append=len(seconds))
    usual = int(np.median(sizes)) if len(sizes) else 1
    if usual < 2 or len(sizes) < FEWEST or np.mean(sizes == usual) < STEADY:
        return Ordered(rows, seconds, moved)
    steps = np.diff(seconds[first])
    step = float(np.median(steps)) / usual
    until = np.append(steps, np.inf)
    each = np.minimum(until / sizes, step * 2)  # a gap is not filled
    each[-1] = step
    place = np.arange(len(seconds)) - np.repeat(first, sizes)
    return Ordered(rows, seconds + place * np.repeat(each, sizes), moved, usual)
