"""Parse one text file of rows and columns into arrays.

The rows come in blocks (text_rows.py), whose cells are converted (csv_cells.py). Then the rows are divided by subject,
session and, with `clock: restart`, where the time falls; and those of each recording are put in order. One cause is one
problem of a file, with its first line and the number of rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.message_lists import and_others
from modelreg.data.recording import UNLABELLED, UNREADABLE
from modelreg.data.sources import csv_cells, csv_start, csv_times
from modelreg.data.sources.csv_cells import SHOWN, Faults, Rows
from modelreg.data.sources.csv_layout import File, Layout, find_places, to_number
from modelreg.data.sources.csv_times import Ordered
from modelreg.data.sources.table_columns import Columns
from modelreg.data.sources.text_rows import Block, Misfit, open_table
from modelreg.errors import InputError, Problem
from modelreg.records.base import is_name

HOUR_S, NEAR_S = 3600, 60
SUMMER = "set `time.zone`, for example to Europe/Berlin: local time is set back when daylight saving time ends"
NUMERIC = "set `time.unit` to s, ms, us or ns"
COUNTS = (  # of a file
    "rows",  # that were read
    "bad",  # rows left out
    "cut",  # whether the last line was cut off
    "moved",  # rows out of order
    "late",  # rows left out because their time is not after all before
    "packet",  # rows that share each time stamp
)


class _Group(NamedTuple):
    """The rows of one recording in a file, in their order."""

    subject: str  # empty: no column tells it
    session: str
    run: int  # from 1, if a falling time begins a new recording
    ordered: Ordered  # rows of the file, and their time


def parse(stream: IO[bytes], where: str, layout: Layout) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the arrays of one file. Raises InputError with every problem.

    values: float32 (rows, channels), or values.0, values.1, … of each device. time: float64 (rows,) seconds, if there
    is a time. counts: int64, of COUNTS. groups: texts (recordings, 3), the subject, session and run of each; ends:
    int64 (recordings,), the end of its rows. start: float64 (1,), the date in the lines before the header, in seconds
    since 1970, and rate: float64 (1,), if they have it. If there is a label column, codes: int32 (rows,), indices into
    labels, or UNLABELLED; lines: int64, the first line of each label.
    """
    table = open_table(stream, where, layout.form)
    file = File(where, layout, find_places(where, table.names, layout))
    yield from _start(file, table.preamble)
    faults = Faults([], [])
    rows = csv_cells.joined([csv_cells.to_rows(file, each, faults) for each in _without(table.blocks, faults)])
    yield from _arrays(file, rows, faults)


def parse_table(columns: Columns, where: str, layout: Layout) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the same of a binary table. Raises InputError with every problem."""
    if problems := list(_find_left_out(columns, where, layout)):
        raise InputError(UNREADABLE, problems)
    file = File(where, layout, find_places(where, columns.names, layout))
    yield from _start(file, "")
    faults = Faults([], [])
    yield from _arrays(file, csv_cells.of_table(file, columns, faults), faults)


def _find_left_out(columns: Columns, where: str, layout: Layout) -> Iterator[Problem]:
    """Yield each configured column that is not one of numbers, dates or texts."""
    for name in dict.fromkeys([*layout.columns.named(), *layout.texts.values()]):
        if isinstance(name, str) and name not in columns.names and (what := columns.left_out.get(name)):
            yield Problem(where, "csv.column-missing", f"column {name!r} is not read, because it holds {what}")


def _arrays(file: File, rows: Rows, faults: Faults) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the arrays of `parse` that come from rows."""
    layout = file.layout
    _refuse_bad_rows(file, rows, faults)
    groups, problems = _groups(file, rows)
    if not problems:
        rows = _in_order(rows, groups)
    labels, more = _label_arrays(file, rows)
    if problems or more:
        raise InputError(UNREADABLE, [*problems, *more])
    values = _scale(file, rows)
    for name, channels in layout.arrays.items():
        yield name, values[:, channels]
    yield (
        "counts",
        np.array([len(rows.lines), len(faults.bad_lines()), faults.is_cut(), *_clock(groups)], dtype=np.int64),
    )
    yield "groups", np.array([(group.subject, group.session, str(group.run)) for group in groups], dtype="U")
    yield "ends", np.cumsum([len(group.ordered.rows) for group in groups], dtype=np.int64)
    if layout.columns.time:
        yield "time", np.concatenate([group.ordered.seconds for group in groups])
    yield from labels.items()


def _start(file: File, preamble: str) -> Iterator[tuple[str, NDArray[Any]]]:
    if configured := file.layout.columns.start:
        start = csv_start.find(file.where, preamble, configured)
        yield "start", np.array([start.seconds])
        if start.rate_hz is not None:
            yield "rate", np.array([start.rate_hz])


def _without(blocks: Iterable[Block | Misfit], faults: Faults) -> Iterator[Block]:
    """Yield the blocks, and note the rows that do not fit."""
    for each in blocks:
        if isinstance(each, Misfit):
            faults.misfits.append(each)
        else:
            yield each


def _refuse_bad_rows(file: File, rows: Rows, faults: Faults) -> None:
    """Raise InputError if rows are bad and not skipped, or if no row is left."""
    count, wanted = len(rows.lines), file.layout.columns.rows
    problems = list(csv_cells.find_problems(file, faults if count else faults.all_bad(), count))
    if not count and not problems:
        what = f"no row has {wanted.text!r} in its column" if wanted else "no row of values below the header"
        problems = [Problem(file.where, "csv.empty", what)]
    if problems:
        raise InputError(UNREADABLE, problems)


def _groups(file: File, rows: Rows) -> tuple[list[_Group], list[Problem]]:
    """Return the rows of each recording, and the problems of names and times."""
    groups: list[_Group] = []
    problems: list[Problem] = list(_find_name_problems(file, rows))
    for (subject, session), members in _by_names(rows):
        seconds = _seconds(file, rows.take(members))
        if seconds is None:
            groups.append(_Group(subject, session, 1, Ordered(members, np.empty(0))))
            continue
        if found := list(_find_time_problems(file, seconds, rows.take(members))):
            problems += found
            continue
        for run, piece in enumerate(_runs(seconds, file.layout), 1):
            ordered = csv_times.in_order(seconds[piece], file.layout.clock)
            groups.append(_Group(subject, session, run, ordered._replace(rows=members[piece][ordered.rows])))
    return groups, problems


def _by_names(rows: Rows) -> Iterator[tuple[tuple[str, str], NDArray[np.intp]]]:
    """Yield the subject and session of each recording, and its rows; in the order of their first rows."""
    columns = [rows.texts.get(role) for role in ("subject", "session")]
    if all(column is None for column in columns):
        yield ("", ""), np.arange(len(rows.lines))
        return
    import pandas as pd

    empty = np.zeros(len(rows.lines), dtype=np.intp)
    coded = [(empty, [""]) if column is None else pd.factorize(column) for column in columns]
    (subjects, subject_names), (sessions, session_names) = coded
    pairs, names = pd.factorize(subjects * len(session_names) + sessions)
    order = np.argsort(pairs, kind="stable")
    for name, members in zip(names, np.split(order, np.cumsum(np.bincount(pairs))[:-1]), strict=True):
        subject, session = divmod(int(name), len(session_names))
        yield (subject_names[subject].strip(), session_names[session].strip()), members


def _find_name_problems(file: File, rows: Rows) -> Iterator[Problem]:
    """Yield the first invalid name of each column of subjects and sessions."""
    import pandas as pd

    for role in ("subject", "session"):
        if role in rows.texts:
            codes, names = pd.factorize(rows.texts[role])
            invalid = [code for code, name in enumerate(names) if not is_name(name.strip())]
            if invalid:
                line = rows.lines[int(np.flatnonzero(codes == invalid[0])[0])]
                message = f"{role} {names[invalid[0]][:SHOWN]!r} is not a valid name{and_others(len(invalid), role)}"
                yield Problem(file.at(line), "csv.name-invalid", message)


def _runs(seconds: NDArray[np.float64], layout: Layout) -> Sequence[NDArray[np.intp]]:
    """Return the rows of each run: with `clock: restart` a new one begins where the time falls."""
    falls = np.flatnonzero(np.diff(seconds) < 0) + 1 if layout.clock == "restart" else np.arange(0)
    return np.split(np.arange(len(seconds)), falls)


def _in_order(rows: Rows, groups: Sequence[_Group]) -> Rows:
    """Return the rows of the recordings one after the other; the same object if they are so already."""
    order = np.concatenate([group.ordered.rows for group in groups])
    return rows if np.array_equal(order, np.arange(len(rows.lines))) else rows.take(order)


def _clock(groups: Sequence[_Group]) -> tuple[int, int, int]:
    """Return the rows that were moved, those that came late, and how many share a time stamp."""
    found = [group.ordered for group in groups]
    packet = max((ordered.packet for ordered in found), default=0)
    return sum(ordered.moved for ordered in found), sum(ordered.late for ordered in found), packet


def _scale(file: File, rows: Rows) -> NDArray[np.float32]:
    """Return the channels, (rows, C), each times its scale; what float32 cannot hold becomes Inf, a missing value."""
    channels = file.layout.columns.channels
    values = np.empty((len(rows.lines), len(channels)), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for number, (places, channel) in enumerate(zip(file.places.channels, channels, strict=True)):
            first, *others = (rows.numbers[place] for place in places)
            values[:, number] = sum(others, first) * channel.scale
    return values


def _seconds(file: File, rows: Rows) -> NDArray[np.float64] | None:
    """Return the time of rows in seconds, if there is a time column; NaN where it is missing or invalid."""
    time, added = file.layout.columns.time, file.places.added
    if time is None or rows.stamps is None:
        return None
    seconds = csv_times.to_seconds(rows.stamps, time)
    if time.plus and added is not None:
        return seconds + rows.numbers[added] / csv_times.PER_SECOND[time.plus.unit]
    return seconds


def _find_time_problems(file: File, seconds: NDArray[np.float64], rows: Rows) -> Iterator[Problem]:
    """Yield one problem for missing times, one for a clock that goes back, one for a clock that stands still."""
    missing = np.flatnonzero(~np.isfinite(seconds)).tolist()
    back = np.flatnonzero(seconds[1:] < seconds[:-1]).tolist()
    if missing and rows.stamps is not None:
        stamp = rows.stamps[missing[0]]
        found = f", found {stamp[:SHOWN]!r}" if isinstance(stamp, str) else ""
        step = NUMERIC if isinstance(stamp, str) and to_number(stamp, file.layout.decimal) is not None else ""
        message = f"no time{found}{and_others(len(missing))}"
        yield Problem(file.at(rows.lines[missing[0]]), "csv.time-missing", message, step)
    if back and file.layout.clock == "strict":
        before, after = seconds[back[0]], seconds[back[0] + 1]
        message = f"time goes back by {before - after:.6g} s, to {after:.6f} s{and_others(len(back))}"
        local = abs(before - after - HOUR_S) < NEAR_S and file.layout.has_dates
        yield Problem(file.at(rows.lines[back[0] + 1]), "csv.time-goes-back", message, SUMMER if local else "")
    if not missing and not back and seconds[0] == seconds[-1]:
        yield Problem(file.where, "csv.time-constant", f"every time is {seconds[0]:.6f} s, expected different times")


def _label_arrays(file: File, rows: Rows) -> tuple[dict[str, NDArray[Any]], list[Problem]]:
    """Return the labels as codes, names and the first line of each; and a problem if labels are invalid names."""
    if "label" not in rows.texts:
        return {}, []
    import pandas as pd

    found, uniques = pd.factorize(rows.texts["label"])
    cleaned = [text.strip() for text in uniques]
    given = dict.fromkeys(text for text in cleaned if text and not file.layout.is_missing(text))
    names = {text: code for code, text in enumerate(given)}
    codes = np.array([*(names.get(text, UNLABELLED) for text in cleaned), UNLABELLED], dtype=np.int32)[found]
    first = np.zeros(len(names) + 1, np.int64)  # the last entry is for UNLABELLED, -1
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # the first row of each code is assigned last
    where = rows.lines[first[:-1]]
    problems = [
        Problem(file.at(rows.lines[row]), "csv.name-invalid", message) for row, message in _invalid(names, first)
    ]
    return {"codes": codes, "labels": np.array(list(names), dtype="U"), "lines": where}, problems


def _invalid(names: Iterable[str], first: NDArray[np.int64]) -> Iterator[tuple[int, str]]:
    """Yield the first invalid label: its first row, and a message."""
    invalid = [(row, text) for text, row in zip(names, first.tolist(), strict=False) if not is_name(text)]
    if invalid:
        row, text = min(invalid)
        yield row, f"label {text[:SHOWN]!r} is not a valid name{and_others(len(invalid), 'label')}"
