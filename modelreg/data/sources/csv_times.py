"""Convert time stamps of text files to seconds: ISO 8601 texts, and numbers in any unit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelreg.records.source import TimeUnit

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
EXACT = 2**53  # the largest integer up to which every integer is a float64


def to_seconds(stamps: NDArray[Any], unit: TimeUnit) -> NDArray[np.float64]:
    """Return the seconds of time stamps in a unit."""
    return _from_dates(stamps) if unit == "iso8601" else from_ticks(stamps, PER_SECOND[unit])


def _from_dates(texts: NDArray[Any]) -> NDArray[np.float64]:
    """Return the seconds since 1970 of ISO 8601 texts, in UTC if they name no zone; NaN for other texts."""
    import pandas as pd

    dates = pd.Series(texts, dtype=str)
    dates = dates.where(dates.str.match(r"\s*[0-9]"), "")  # pandas knows `now` and `today`
    stamps = pd.to_datetime(dates, format="ISO8601", utc=True, errors="coerce").dt.tz_localize(None).to_numpy()
    ticks = from_ticks(stamps.astype(np.int64), PER_SECOND[np.datetime_data(stamps.dtype)[0]])
    return np.where(np.isnat(stamps), np.nan, ticks)


def from_ticks(ticks: NDArray[Any], per_second: int) -> NDArray[np.float64]:
    """Return seconds, also of integers beyond the range that float64 holds exactly, as nanoseconds since 1970 are."""
    if ticks.dtype.kind == "f":
        return ticks / per_second
    whole, rest = np.divmod(ticks, per_second)
    return np.where(np.abs(whole) < EXACT // per_second, ticks / per_second, whole + rest / per_second)
