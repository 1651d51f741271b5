"""Find the date of the first row, and the rate, in the lines before the header of a text file."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from modelreg.data.message_lists import quoted
from modelreg.data.recording import UNREADABLE
from modelreg.data.sources import csv_times
from modelreg.data.sources.csv_layout import to_number
from modelreg.errors import InputError, Problem
from modelreg.records.csv_device import CsvStart, Moment


class Start(NamedTuple):
    """What the lines before the header tell."""

    seconds: float  # of the first row, since 1970
    rate_hz: float | None


def find(where: str, preamble: str, starts: Sequence[CsvStart]) -> Start:
    """Return what the first pattern that fits finds. Raises InputError if none does, or if a date is invalid."""
    for start in starts:
        if match := re.search(start.pattern, preamble):
            return _read(where, match, start)
    message = f"the lines before the header do not fit {quoted([start.pattern for start in starts])}"
    raise InputError(UNREADABLE, [Problem(where, "csv.start", message)])


def _read(where: str, match: re.Match[str], start: CsvStart) -> Start:
    rate = match.groupdict().get("rate")
    number = match.re.groupindex.get("rate")
    text = " ".join(piece for place, piece in enumerate(match.groups(), 1) if piece and place != number)
    moment = Moment(unit="strptime", format=start.format, zone=start.zone)
    seconds = float(csv_times.to_seconds(np.array([text], dtype=object), moment)[0])
    if not np.isfinite(seconds):
        message = f"the date {text[:40]!r} before the header does not have the form {start.format!r}"
        raise InputError(UNREADABLE, [Problem(where, "csv.start", message)])
    return Start(seconds, None if rate is None else to_number(rate))
