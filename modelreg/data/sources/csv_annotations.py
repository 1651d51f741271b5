"""Label the rows of recordings by intervals in separate files.

A row has the label of the interval that contains its time, both ends included; at a moment at which one interval ends
and the next begins, that of the next.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.message_lists import and_others
from modelreg.data.recording import UNLABELLED, UNREADABLE
from modelreg.data.sources import csv_times
from modelreg.data.sources.csv_layout import to_number
from modelreg.data.sources.csv_texts import Row
from modelreg.errors import InputError, Problem
from modelreg.records.base import is_name
from modelreg.records.csv_device import Column
from modelreg.records.csv_names import CsvAnnotations

SAME_S = 1e-6  # seconds; times that differ by less are equal


class Interval(NamedTuple):
    """The time of a label, and the recordings that it is for: None or an empty text is any."""

    begin: float  # seconds
    end: float
    label: str
    where: str
    subject: str
    session: str
    file: str


class Labelled(NamedTuple):
    """The labels of a recording's rows."""

    codes: NDArray[np.int32]  # (rows,) indices into names, or UNLABELLED
    names: tuple[str, ...]
    overlapping: int  # rows in intervals of different labels


def columns(settings: CsvAnnotations) -> dict[str, Column]:
    """Return the configured columns by their keys."""
    keys = ("begin", "end", "duration", "label", "subject", "session", "file")
    found: dict[str, Column | None] = {key: getattr(settings, key) for key in keys}
    found["events"] = settings.events.column if settings.events else None
    found["rows"] = settings.rows.column if settings.rows else None
    return {key: column for key, column in found.items() if column is not None}


def intervals(
    rows: Iterable[Row], settings: CsvAnnotations, where: str, groups: Mapping[str, str]
) -> tuple[Interval, ...]:
    """Return the intervals of one file; `groups` are the names in its path. Raises InputError with every problem."""
    kept = [row for row in rows if settings.rows is None or row.texts["rows"] == settings.rows.text]
    begin = _seconds([row.texts["begin"] for row in kept], settings) + settings.offset_s
    problems = list(_find_row_problems(kept, begin, settings, where))
    if problems:
        raise InputError(UNREADABLE, problems)
    if settings.events:
        return tuple(_paired(kept, begin, settings, where, groups))
    end = _ends(kept, begin, settings)
    if wrong := [n for n in range(len(kept)) if not end[n] >= begin[n]]:
        first = kept[wrong[0]]
        told = first.texts.get("end") or first.texts.get("duration")
        message = f"ends before it begins, or its end is not a time: {told!r}{and_others(len(wrong))}"
        raise InputError(UNREADABLE, [Problem(f"{where}:{first.line}", "csv.annotation-end", message)])
    return tuple(_interval(row, start, stop, where, groups) for row, start, stop in zip(kept, begin, end, strict=True))


def _seconds(texts: Sequence[str], settings: CsvAnnotations) -> NDArray[np.float64]:
    """Return times in seconds; NaN for what is none."""
    if settings.unit in csv_times.TEXTS:
        return csv_times.to_seconds(np.array(texts, dtype=object), settings) if texts else np.empty(0)
    numbers = [to_number(text, settings.decimal) for text in texts]
    return csv_times.to_seconds(np.array([np.nan if n is None else n for n in numbers], dtype=np.float64), settings)


def _ends(rows: Sequence[Row], begin: NDArray[np.float64], settings: CsvAnnotations) -> NDArray[np.float64]:
    if settings.end is not None:
        return _seconds([row.texts["end"] for row in rows], settings) + settings.offset_s
    numbers = [to_number(row.texts["duration"], settings.decimal) for row in rows]
    durations = np.array([np.nan if number is None else number for number in numbers], dtype=np.float64)
    return begin + durations / csv_times.PER_SECOND.get(settings.unit, 1)


def _find_row_problems(
    rows: Sequence[Row], begin: NDArray[np.float64], settings: CsvAnnotations, where: str
) -> Iterator[Problem]:
    """Yield one problem for invalid times, and one for invalid labels."""
    if wrong := [row for row, time in zip(rows, begin.tolist(), strict=True) if not np.isfinite(time)]:
        message = f"no time of the unit {settings.unit}: {wrong[0].texts['begin']!r}{and_others(len(wrong))}"
        yield Problem(f"{where}:{wrong[0].line}", "csv.time-missing", message)
    if wrong := [row for row in rows if not is_name(row.texts["label"])]:
        message = f"label {wrong[0].texts['label'][:40]!r} is not a valid name{and_others(len(wrong))}"
        yield Problem(f"{where}:{wrong[0].line}", "csv.name-invalid", message)


def _interval(row: Row, begin: float, end: float, where: str, groups: Mapping[str, str]) -> Interval:
    names = {name: row.texts.get(name) or groups.get(name, "") for name in ("subject", "session", "file")}
    return Interval(float(begin), float(end), row.texts["label"], f"{where}:{row.line}", **names)


def _paired(
    rows: Sequence[Row], begin: NDArray[np.float64], settings: CsvAnnotations, where: str, groups: Mapping[str, str]
) -> Iterator[Interval]:
    """Yield an interval for each start and the next stop of the same label and recording.

    Other events are left out. Raises InputError if a start has no stop, or a stop no start.
    """
    events = settings.events
    opened: dict[tuple[str | None, ...], list[tuple[Row, float]]] = defaultdict(list)
    problems = []
    for n in np.argsort(begin, kind="stable").tolist():
        row, time = rows[n], float(begin[n])
        key = tuple(row.texts.get(name) for name in ("label", "subject", "session", "file"))
        if events and row.texts["events"] == events.start:
            opened[key].append((row, time))
        elif events and row.texts["events"] == events.stop and opened[key]:
            first, since = opened[key].pop(0)
            yield _interval(first, since, time, where, groups)
        elif events and row.texts["events"] == events.stop:
            problems.append(_unpaired(row, where, "stops and did not start"))
    problems += [_unpaired(row, where, "starts and does not stop") for left in opened.values() for row, _ in left]
    if problems:
        raise InputError(UNREADABLE, problems)


def _unpaired(row: Row, where: str, what: str) -> Problem:
    return Problem(f"{where}:{row.line}", "csv.event-unpaired", f"{row.texts['label']!r} {what}")


def label_rows(time: NDArray[np.float64], found: Sequence[Interval], *, later: bool) -> Labelled:
    """Return the labels of rows at rising times; `later`: where labels overlap, that of the interval that begins later.

    Otherwise rows in intervals of different labels are unlabelled.
    """
    names = tuple(dict.fromkeys(interval.label for interval in found))
    codes = np.full(len(time), UNLABELLED, dtype=np.int32)
    mixed = np.zeros(len(time), dtype=bool)
    in_order = sorted(found, key=lambda interval: (interval.begin, interval.end))
    for interval in in_order:
        inside = slice(*np.searchsorted(time, (interval.begin - SAME_S, interval.end - SAME_S)))
        code = names.index(interval.label)
        mixed[inside] |= (codes[inside] != UNLABELLED) & (codes[inside] != code)
        codes[inside] = code
    if not later:
        codes[mixed] = UNLABELLED
    for interval in in_order:
        at_end = slice(*np.searchsorted(time, (interval.end - SAME_S, interval.end + SAME_S)))
        free = (codes[at_end] == UNLABELLED) & ~mixed[at_end]
        codes[at_end][free] = names.index(interval.label)
    return Labelled(codes, names, int(np.count_nonzero(mixed)))
