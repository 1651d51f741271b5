"""The header of a text file: where the configured columns are, and which names were probably meant."""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

from modelreg.data.message_lists import quoted
from modelreg.errors import Problem
from modelreg.records.csv_device import BLANKS, Column, ColumnPattern, CsvColumns

OTHER_SEPARATORS = (";", "\t", "|", ",")
USUAL = {  # names of a column that the configuration calls otherwise
    "time.column": r"time|stamp|date|epoc|clock|seconds",
    "label": r"label|activity|class|behaviou?r",
    "subject": r"subject|user|participant",
    "session": r"session|trial|visit|recording",
}


def find(names: Sequence[str], column: Column) -> list[int]:
    """Return the positions of a configured column, from 0: one if it is there, several if it is ambiguous."""
    if isinstance(column, int):
        return [column - 1] if column <= len(names) else []
    if isinstance(column, str):
        return [place for place, name in enumerate(names) if name == column]
    return [place for place, name in enumerate(names) if re.search(column.pattern, name)]


def find_problems(
    where: str, names: Sequence[str], configured: Mapping[str, Column], *, advise: bool = True
) -> Iterator[Problem]:
    """Yield one problem for all columns that are missing, and one for each that the header has twice.

    `configured` has the column of each key of the configuration; `advise`: the keys are the user's.
    """
    absent = [shown for column in configured.values() if not find(names, column) for shown in [_shown(column)]]
    absent = list(dict.fromkeys(absent))
    if absent:
        listed = f"column {absent[0]}" if len(absent) == 1 else f"columns {', '.join(absent)}"
        message = f"no {listed} in the header (found {quoted(names)})"
        yield Problem(where, "csv.column-missing", message, _next(names, configured) if advise else "")
    for shown, places in {_shown(column): find(names, column) for column in configured.values()}.items():
        if len(places) > 1:
            found = quoted([names[place] for place in places])
            message = f"the header has {len(places)} columns {shown}: {found}"
            yield Problem(where, "csv.column-ambiguous", message)


def configured_columns(columns: CsvColumns) -> dict[str, Column]:
    """Return the configured columns of a file by the key that names each."""
    time = columns.time
    found: dict[str, Column] = {} if time is None else {"time.column": time.column}
    if time and time.plus:
        found["time.plus.column"] = time.plus.column
    if columns.rows:
        found["rows.column"] = columns.rows.column
    for number, channel in enumerate(columns.channels):
        found[f"channels[{number}].column"] = channel.column
        if channel.plus is not None:
            found[f"channels[{number}].plus"] = channel.plus
    return found


def _shown(column: Column) -> str:
    """Return a configured column for a message."""
    return f"like {column.pattern!r}" if isinstance(column, ColumnPattern) else repr(column)


def _next(names: Sequence[str], configured: Mapping[str, Column]) -> str:
    """Return which key to set to which name of the header; nothing if no name is near."""
    if len(names) == 1 and (found := [mark for mark in OTHER_SEPARATORS if mark in names[0]]):
        return f"set `separator` to {found[0]!r}"
    if len(names) == 1 and " " in names[0]:
        return f"set `separator` to {BLANKS!r}"
    taken = {place for column in configured.values() for place in find(names, column)}
    free = [name for place, name in enumerate(names) if name and place not in taken]
    absent = {key: column for key, column in configured.items() if not find(names, column)}
    meant = {key: near for key, column in absent.items() if (near := _nearest(column, free) or _usual(key, free))}
    return f"set {', '.join(f'`{key}` to {near!r}' for key, near in meant.items())}" if meant else ""


def _nearest(name: Column, names: Sequence[str]) -> str | None:
    """Return the name that is spelled similarly, or that shares a word: `x (m/s²)` for `x`."""
    if not isinstance(name, str):
        return None
    near = get_close_matches(name, names, n=1) or [other for other in names if _words(name) & _words(other)]
    return near[0] if near else None


def _usual(key: str, names: Sequence[str]) -> str | None:
    """Return the first name of the header that such a column usually has."""
    pattern = USUAL.get(key)
    return next((name for name in names if pattern and re.search(pattern, name, re.IGNORECASE)), None)


def _words(name: str) -> set[str]:
    """Return the words of a name before its unit: `x` of `x (m/s²)`."""
    return set(re.findall(r"\w+", name.partition("(")[0].casefold()))
