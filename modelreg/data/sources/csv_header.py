"""The header of a text file: which configured columns it does not have, and which of its names were probably meant."""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from modelreg.data.message_lists import quoted
from modelreg.errors import Problem
from modelreg.records.source import Column, CsvColumns, CsvPart

OTHER_SEPARATORS = (";", "\t", "|", ",")


def find_problems(where: str, names: Sequence[str], columns: CsvColumns, label: Column | None) -> Iterator[Problem]:
    """Yield one problem for all columns that are missing, and one for each that the header has twice."""
    configured = _configured(columns, label)
    absent = [name for name in dict.fromkeys(configured.values()) if not _has(names, name)]
    if absent:
        listed = f"column {absent[0]!r}" if len(absent) == 1 else f"columns {', '.join(map(repr, absent))}"
        step = _next(absent, names, configured) if isinstance(columns, CsvPart) else ""
        yield Problem(where, "csv.column-missing", f"no {listed} in the header (found {quoted(names)})", step)
    for name in dict.fromkeys(configured.values()):
        if isinstance(name, str) and names.count(name) > 1:
            yield Problem(where, "csv.column-ambiguous", f"the header has {names.count(name)} columns {name!r}")


def _has(names: Sequence[str], column: Column) -> bool:
    return column in names if isinstance(column, str) else column <= len(names)


def _configured(columns: CsvColumns, label: Column | None) -> dict[str, Column]:
    """Return the configured columns by the key that names each."""
    found: dict[str, Column] = {} if columns.time is None else {"time.column": columns.time.column}
    if columns.time and columns.time.plus:
        found["time.plus.column"] = columns.time.plus.column
    found |= {f"channels[{number}].column": channel.column for number, channel in enumerate(columns.channels)}
    return found if label is None else {**found, "label": label}


def _next(absent: Sequence[Column], names: Sequence[str], configured: dict[str, Column]) -> str:
    """Return which key to set to which name of the header; nothing if no name is near."""
    if len(names) == 1 and (found := [mark for mark in OTHER_SEPARATORS if mark in names[0]]):
        return f"set `separator` to {found[0]!r}"
    free = [name for name in names if name and name not in configured.values()]
    meant = {name: near for name in absent if (near := _nearest(name, free))}
    steps = [f"`{key}` to {meant[name]!r}" for key, name in configured.items() if name in meant]
    return f"set {', '.join(steps)}" if steps else ""


def _nearest(name: Column, names: Sequence[str]) -> str | None:
    """Return the name that is spelled similarly, or that shares a word: `x (m/s²)` for `x`."""
    if isinstance(name, int):
        return None
    near = get_close_matches(name, names, n=1) or [other for other in names if _words(name) & _words(other)]
    return near[0] if near else None


def _words(name: str) -> set[str]:
    """Return the words of a name before its unit: `x` of `x (m/s²)`."""
    return set(re.findall(r"\w+", name.partition("(")[0].casefold()))
