"""Find the column of the time, its unit, and how its stamps run: by names, and by the steps between rows."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from modelreg.data.draft import words
from modelreg.data.draft.headers import unit_in
from modelreg.data.draft.tables import Column, Table
from modelreg.data.sources import csv_times
from modelreg.records.csv_device import ClockRule, CsvAddedTime, CsvTime

SLOWEST, FASTEST = 2.0, 2000.0  # Hz: rates of sensors of motion; units differ by 1,000
RISING = 0.95  # share of the steps that do not fall, of a time
PACKET = 40  # most rows that share a stamp
FEWEST = 10  # stamps
SHOWN = 200  # rows by which the form of a date is found
LOCAL_S = 1.0  # seconds by which rows out of order are off
PAUSE_S = 1.0  # longer steps are gaps, not jitter
HOUR_S, NEAR_S = 3600, 60
ABSOLUTE_S = 1e8  # seconds: later than 1973, if counted from 1970
NOMINAL = 0.03  # share by which a clock differs from its nominal rate
_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?(Z|[+-]\d\d:?\d\d)?")
_FRACTION = re.compile(r"\d[.:,]\d{1,9}(Z|[+-]\d\d:?\d\d)?$")

Floats = NDArray[np.float64]
Groups = Callable[[Table], Sequence[NDArray[np.intp]]]  # the rows of each recording of a table


class Clock(NamedTuple):
    """The time of the rows of some tables."""

    time: CsvTime  # its columns are numbers from 1
    rule: ClockRule
    rate_hz: float
    seconds: tuple[Floats, ...]  # of each table
    why: str
    why_rate: str
    why_rule: str

    @property
    def is_absolute(self) -> bool:
        """Whether stamps are dates."""
        return bool(self.seconds) and bool(np.nanmedian(self.seconds[0]) > ABSOLUTE_S)


class _Candidate(NamedTuple):
    time: CsvTime
    seconds: tuple[Floats, ...]
    why: str
    rank: tuple[int, ...]  # the lowest is the best


def find(
    tables: Sequence[Table], taken: set[int], groups: Groups, *, dates: bool = False, stated: CsvTime | None = None
) -> Clock | None:
    """Return the clock of tables with the same columns; None if no column is a time.

    `taken` are columns that mean something else; `dates`: stamps that are dates are better than others; `stated`: the
    column and the unit, if they are known.
    """
    if stated is not None:
        seconds = tuple(_seconds(table.columns[_place(stated)], stated) for table in tables)
        found = [_Candidate(stated, seconds, "the format has it in this unit", ())]
    else:
        places = [place for place in range(len(tables[0].columns)) if place not in taken]
        found = [candidate for place in places for candidate in _candidates(tables, place, dates)]
    if not found:
        return None
    best = _with_added(min(found, key=lambda candidate: candidate.rank), tables, taken)
    best = _with_zone(best)
    runs = [seconds[rows] for table, seconds in zip(tables, best.seconds, strict=True) for rows in groups(table)]
    rule, why_rule = _rule([run[np.isfinite(run)] for run in runs])
    rate, why_rate = _rate([run[np.isfinite(run)] for run in runs], rule)
    return Clock(best.time, rule, rate, best.seconds, best.why, why_rate, why_rule)


def _candidates(tables: Sequence[Table], place: int, dates: bool) -> Iterator[_Candidate]:
    """Yield the ways to read a column as a time."""
    columns = [table.columns[place] for table in tables]
    name = columns[0].name
    named = words.role_of(name, ["time"]) is not None
    if all(column.is_numeric for column in columns):
        found = None if _is_added(columns) else _numeric(columns, place)
    elif words.role_of(name, ["number"]) and not named:
        found = None
    else:
        found = _dated(columns, place)
    if found is None:
        return
    time, why = found
    seconds = tuple(_seconds(column, time) for column in columns)
    absolute = bool(np.nanmedian(seconds[0]) > ABSOLUTE_S)
    is_text = time.unit in csv_times.TEXTS
    kind = int(is_text) if named else 2 + (not is_text)  # among columns of other names, dates are surer than numbers
    yield _Candidate(time, seconds, why, (dates and not absolute, kind, not absolute, place))


def _is_added(columns: Sequence[Column]) -> bool:
    """Return whether numbers are the milliseconds within a second."""
    named = words.role_of(columns[0].name, ["added"]) is not None
    return named and all(np.nanmin(c.numbers) >= 0 and np.nanmax(c.numbers) < 1000 for c in columns)


def _seconds(column: Column, time: CsvTime) -> Floats:
    return csv_times.to_seconds(column.texts if time.unit in csv_times.TEXTS else column.numbers, time)


def _numeric(columns: Sequence[Column], place: int) -> tuple[CsvTime, str] | None:
    """Return how numbers are a time: they rise, and in one unit their steps are those of a sensor."""
    steps = []
    for column in columns:
        numbers = column.numbers[np.isfinite(column.numbers)]
        if not _rises(numbers):
            return None
        steps.append(_step(numbers))
    step = float(np.median(steps))
    if _is_counter(columns, step):
        return None
    stated = _stated_unit(columns[0].name)
    if stated and SLOWEST <= csv_times.PER_SECOND[stated] / step <= FASTEST:
        return CsvTime(column=place + 1, unit=stated), f"its name says {stated}"
    for unit, per_second in csv_times.PER_SECOND.items():
        if SLOWEST <= per_second / step <= FASTEST:
            why = f"it rises by {step:.6g} from row to row, which is {per_second / step:.3g} Hz in {unit}"
            return CsvTime.model_validate({"column": place + 1, "unit": unit}), why
    if SLOWEST <= 1 / (step * csv_times.DAY_S) <= FASTEST:
        return CsvTime(column=place + 1, unit="excel"), "it rises by fractions of a day, as dates in Excel do"
    return None


def _stated_unit(name: str) -> Any:
    """Return the unit of time that a name states: `epoc (ms)`, `t_s`, `seconds_elapsed`."""
    units = [unit_in(name), *(words.time_unit_of(word) for word in words.split(name))]
    return next((unit for unit in units if unit in csv_times.PER_SECOND), None)


def _rises(numbers: Floats) -> bool:
    """Return whether numbers are stamps: they hardly fall, and few rows share one."""
    if len(numbers) < FEWEST:
        return False
    rising = np.count_nonzero(np.diff(numbers) > 0)
    return bool(np.mean(np.diff(numbers) >= 0) >= RISING and rising >= max(FEWEST - 1, len(numbers) // PACKET))


def _step(numbers: Floats) -> float:
    """Return the usual time from row to row; rows that share a stamp divide its step."""
    steps = np.diff(numbers)
    rising = steps[steps > 0]
    return float(np.median(rising)) * len(rising) / np.count_nonzero(steps >= 0)


def _is_counter(columns: Sequence[Column], step: float) -> bool:
    """Return whether a column numbers its rows."""
    name = columns[0].name
    called = not name or name.isdecimal() or words.role_of(name, ["number"]) is not None
    return called and step == 1 and all(np.all(np.diff(column.numbers) == 1) for column in columns)


def _dated(columns: Sequence[Column], place: int) -> tuple[CsvTime, str] | None:
    """Return how texts are a time: as dates of some form, or as times of the day."""
    texts = np.concatenate([column.texts[:SHOWN] for column in columns[:3]])
    if not any(character.isdigit() for character in "".join(texts[:1])):
        return None
    known: list[tuple[CsvTime, str]] = []
    if all(_ISO.fullmatch(text) for text in texts):
        known = [(CsvTime(column=place + 1, unit="iso8601"), "its texts are dates of ISO 8601")]
    else:
        forms = [CsvTime(column=place + 1, unit="strptime", format=form) for form in words.vocabulary().dates]
        known = [(time, "its texts are dates of this form") for time in forms]
        known.append((CsvTime(column=place + 1, unit="time-of-day"), "its texts are times of the day"))
    for time, why in known:
        seconds = csv_times.to_seconds(texts, time)
        if np.isfinite(seconds).all() and len(seconds) >= FEWEST:
            return time, why
    return None


def _with_added(best: _Candidate, tables: Sequence[Table], taken: set[int]) -> _Candidate:
    """Return a time with a column of milliseconds, if its texts have no fraction of a second and there is one."""
    texts = tables[0].columns[_place(best.time)].texts
    if best.time.unit not in csv_times.TEXTS or any(_FRACTION.search(text) and "." in text for text in texts[:SHOWN]):
        return best
    for place, column in enumerate(tables[0].columns):
        if place not in {*taken, _place(best.time)} and column.is_numeric and _is_added([column]):
            time = best.time.model_copy(update={"plus": CsvAddedTime(column=place + 1, unit="ms")})
            seconds = tuple(
                whole + table.columns[place].numbers / 1000 for whole, table in zip(best.seconds, tables, strict=True)
            )
            return best._replace(time=time, seconds=seconds, why=f"{best.why} without a fraction of a second")
    return best


def _place(time: CsvTime) -> int:
    """Return the position of a column that has a number from 1."""
    return int(str(time.column)) - 1


def _with_zone(best: _Candidate) -> _Candidate:
    """Return a time with the zone whose clocks were set back where the stamps fall by an hour."""
    if best.time.unit not in {"iso8601", "strptime"}:
        return best
    for seconds in best.seconds:
        falls = np.flatnonzero(np.abs(np.diff(seconds) + HOUR_S) < NEAR_S)
        zones = [zone for zone in words.vocabulary().zones if len(falls) and _sets_back(zone, seconds[falls[0] + 1])]
        if zones:
            time = best.time.model_copy(update={"zone": zones[0]})
            others = f" (and of {', '.join(zones[1:])})" if len(zones) > 1 else ""
            why = f"{best.why}; they fall by an hour where clocks of {zones[0]}{others} are set back"
            return best._replace(time=time, seconds=tuple(_unfolded(each) for each in best.seconds), why=why)
    return best


def _sets_back(zone: str, local: float) -> bool:
    """Return whether clocks of a zone show a local time twice."""
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(local, UTC).replace(tzinfo=ZoneInfo(zone))
    return moment.utcoffset() != moment.replace(fold=1).utcoffset()


def _unfolded(seconds: Floats) -> Floats:
    """Return local times that keep rising where a clock is set back."""
    folded = np.abs(np.diff(seconds, prepend=seconds[:1]) + HOUR_S) < NEAR_S
    return seconds + HOUR_S * np.cumsum(folded)


def _rule(runs: Sequence[Floats]) -> tuple[ClockRule, str]:
    """Return what to do where the time of a recording falls, and the reason."""
    local = outliers = restarts = 0
    for run in runs:
        for row in np.flatnonzero(np.diff(run) < 0) + 1:
            following = run[row + 1 : row + 4]
            back = len(following) > 0 and bool(following.max() >= run[row - 1])
            near = run[row - 1] - run[row] <= LOCAL_S
            local += back and near
            outliers += back and not near
            restarts += not back
    if restarts:
        return "restart", f"the time falls back and rises again, {restarts} times in what was read"
    if outliers:
        return "drop", f"{outliers} stamps in what was read are far before all others around them"
    if local:
        return "sort", f"{local} rows in what was read are out of order by less than {LOCAL_S:g} s"
    return "strict", ""


def _rate(runs: Sequence[Floats], rule: ClockRule) -> tuple[float, str]:
    """Return the nominal rate, and the reason."""
    rates, packets = [], 0
    for run in runs:
        pieces = np.split(run, np.flatnonzero(np.diff(run) < 0) + 1) if rule == "restart" else [run]
        for piece in pieces:
            ordered = csv_times.in_order(piece, "strict" if rule == "restart" else rule)
            steps = np.diff(ordered.seconds)
            steps = steps[steps > 0]
            packets = max(packets, ordered.packet)
            if len(steps):
                rates.append(1 / float(steps[steps <= max(PAUSE_S, 3 * np.median(steps))].mean()))
    rate = float(np.median(rates)) if rates else 0.0
    why = f"the time stamps give {rate:.4g} Hz"
    return nominal(rate), f"{why}; {packets} rows share each stamp" if packets else why


def nominal(rate: float) -> float:
    """Return the nearest rate that sensors are set to; a rate that is not near one, with three digits."""
    nearest = min(words.vocabulary().rates, key=lambda known: abs(known - rate))
    return nearest if abs(nearest - rate) <= NOMINAL * nearest else float(f"{rate:.3g}")
