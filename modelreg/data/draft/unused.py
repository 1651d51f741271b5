"""Say what a draft does not use: columns, files without a column, files that cannot be read, and bad rows."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from modelreg.data.draft import tables
from modelreg.data.draft.groups import Group
from modelreg.data.draft.parts import Part
from modelreg.data.draft.tables import Heads
from modelreg.data.message_lists import and_others, counted
from modelreg.data.sources import file_formats
from modelreg.data.sources.containers import Tree
from modelreg.errors import Problem

SHOWN = 3  # sensors in a line


def lines(
    tree: Tree, heads: Heads, used: Sequence[Part], sensors: Sequence[str], without: Mapping[str, tuple[str, ...]]
) -> Iterator[str]:
    """Yield a line for each cause: how often, where first, and what to do. `without` is the result of `without`."""
    if sensors:
        more = f"; and {len(sensors) - SHOWN} others" if len(sensors) > SHOWN else ""
        yield f"left out: {counted(len(sensors), 'sensor')}: {'; '.join(sensors[:SHOWN])}{more}"
    for text, paths in without.items():
        yield f"left out: {paths[0]}{and_others(len(paths), 'file')} {text}"
    yield from _unreadable(tree, heads, used)
    yield from _bad_rows(used)


def without(used: Sequence[Part], groups: Sequence[Group]) -> dict[str, tuple[str, ...]]:
    """Return the files that are named like recordings but have not all of their columns, by what is missing."""
    found: dict[str, tuple[str, ...]] = {}
    own = {part.group.paths for part in used}
    shapes = [(part, {tables.shape(path) for path in part.group.paths}) for part in used]
    for group in groups:
        like = next((part for part, known in shapes if tables.shape(group.paths[0]) in known), None)
        if group.paths in own or like is None or not like.form.header:
            continue
        if absent := [name for name in _needed(like) if name not in group.first.names]:
            noun = "column" if len(absent) == 1 else "columns"
            it = "it" if len(absent) == 1 else "them"
            count = len(like.group.paths)
            others = f"{count:,} others have {it}" if count > 1 else f"1 other has {it}"
            text = f"has no {noun} {', '.join(absent)} ({others})"
            found[text] = (*found.get(text, ()), *group.paths)
    return found


def _needed(part: Part) -> list[str]:
    """Return the names of the columns of a part's time and sensors."""
    places = [place for sensor in part.sensors for place in (*sensor.places, *(sensor.added or ()))]
    if part.clock and isinstance(part.clock.time.column, int):
        places.append(part.clock.time.column - 1)
    return list(dict.fromkeys(part.group.first.names[place] for place in places))


def _unreadable(tree: Tree, heads: Heads, used: Sequence[Part]) -> Iterator[str]:
    """Yield the problems of files that could not be opened, and of files that are named like tables and are none."""
    named = {tables.suffix(path) for part in used for path in part.group.paths}
    foreign = (_foreign(tree, path) for path in heads.not_tables if tables.suffix(path) in named)
    by_cause: dict[tuple[str, str], list[Problem]] = defaultdict(list)
    for problem in [*heads.problems, *foreign]:
        by_cause[problem.message, problem.next].append(problem)
    for (message, step), same in by_cause.items():
        yield f"cannot be read: {same[0].where}{and_others(len(same), 'file')}: {message}{f'; {step}' if step else ''}"


def _foreign(tree: Tree, path: str) -> Problem:
    """Return why a file is not a table, by its first bytes. Raises InputError if it cannot be read any more."""
    with tree.open(path) as stream:
        known = file_formats.name_format(stream.read(file_formats.FIRST), path)
    if known:
        return Problem(path, "draft.foreign", f"this is {known.what}", known.next)
    return Problem(path, "draft.nothing-found", "no rows and columns were found", "export it again, or remove it")


def _bad_rows(used: Sequence[Part]) -> Iterator[str]:
    found = [table for part in used for table in part.group.tables if table.bad]
    if bad := sum(table.bad for table in found):
        count, first = ("1 row has", "") if bad == 1 else (f"{bad:,} rows have", "the first is ")
        place = f"{first}{found[0].path}, line {found[0].first_bad}"
        yield f"skipped: {count} another number of columns than the first row of the file ({place})"
