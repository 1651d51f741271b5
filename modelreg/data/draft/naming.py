"""Name the recordings of all parts: by their paths, by columns, or by a file that lists them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from modelreg.config_errors import FILL_IN
from modelreg.data.draft import lookup, roles
from modelreg.data.draft import paths as path_shapes
from modelreg.data.draft.assembly import Devices
from modelreg.data.draft.groups import Group
from modelreg.data.draft.lookup import Lookup
from modelreg.data.draft.parts import Part
from modelreg.data.draft.paths import Role, Shape
from modelreg.data.draft.roles import Names
from modelreg.records.csv_device import Column

LONGEST = 500  # characters of a pattern
UNLIKE = f"{FILL_IN}: a pattern of at most {LONGEST} characters, with the same groups as those of the other files"


class Named(NamedTuple):
    """How the recordings of all parts are named."""

    patterns: dict[int, str]  # of each part, by its number in all devices
    names: Names  # of the first part
    shapes: tuple[Shape, ...]
    subject: Column | None
    session: Column | None
    label: Column | None
    lookup: Lookup | None
    strays: int  # files of the parts that the patterns do not match


class _Way(NamedTuple):
    """One way to divide the paths of all parts."""

    shapes: list[Shape]
    names: list[Names]

    @property
    def faults(self) -> int:
        """How many roles are not known, or are not those of the first part."""
        first = set(self.names[0].roles.values())
        return len(self.names[0].unknown) + sum(set(own.roles.values()) != first for own in self.names)


def name(
    found: Devices,
    others: Sequence[Group],
    every_path: Sequence[str],
    known: Mapping[Role, frozenset[str]],
    *,
    labelled: bool,
) -> Named:
    """Return how recordings are named; `others` are files without signals; `labelled`: some of them have the labels."""
    parts = found.every
    subject = _shared([part.reference(part.columns.subject) for part in parts])
    session = _shared([part.reference(part.columns.session) for part in parts])
    label = None if labelled else parts[0].reference(parts[0].columns.label)
    needed: list[Role] = [] if labelled or label is not None else ["label"]
    if subject is not None and (repeated := _repeated(parts[0])):
        subject, known = None, {**known, "subject": repeated}
    needed += ["subject"] if subject is None else []
    way = _best([part.group.paths for part in parts], needed, known)
    shapes, names = way.shapes, way.names
    if session is not None:
        names = [own._replace(roles={n: role for n, role in own.roles.items() if role != "session"}) for own in names]
    tabled = lookup.find(shapes[0], others, names[0].unknown) if names[0].unknown else None
    if tabled:
        names = _alike([_with_id(own, tabled) for own in names], shapes)
    patterns = {
        number: _pattern(shape, own, names[0], set(every_path).difference(parts[number].group.paths))
        for number, (shape, own) in enumerate(zip(shapes, names, strict=True))
    }
    strays = sum(len(part.group.paths) - len(shape.paths) for part, shape in zip(parts, shapes, strict=True))
    return Named(patterns, names[0], tuple(shapes), subject, session, label, tabled, strays)


def _best(paths: Sequence[Sequence[str]], needed: Sequence[Role], known: Mapping[Role, frozenset[str]]) -> _Way:
    """Return the first way to divide paths that leaves nothing open, else that which leaves the least.

    The ways: all paths; all, with the folder around them; only those of the most common form, and with the folder.
    """
    ways: list[_Way] = []
    for even in (False, True):
        shapes = [path_shapes.shapes(own, even=even)[0] for own in paths]
        within = [folder for shape in shapes if (folder := path_shapes.with_folder(shape))]
        for each in [shapes, *([within] if len(within) == len(shapes) else [])]:
            ways.append(_Way(each, _alike([roles.assign(shape, needed, known) for shape in each], each)))
            if not ways[-1].faults:
                return ways[-1]
    return min(ways, key=lambda way: way.faults)


def _with_id(names: Names, tabled: Lookup) -> Names:
    """Return the roles with the id by which a file has further names."""
    kept: dict[int, Role] = {
        n: role for n, role in names.roles.items() if n != tabled.slot and role not in tabled.places
    }
    unknown = {role: text for role, text in names.unknown.items() if role not in tabled.places}
    return names._replace(roles={**kept, tabled.slot: "id"}, unknown=unknown)


def _shared(columns: Sequence[Column | None]) -> Column | None:
    """Return the column that all parts have; None if there is none."""
    return columns[0] if len(set(map(str, columns))) == 1 else None


def _repeated(part: Part) -> frozenset[str]:
    """Return the texts of the paths that repeat the column of the subject; empty if none does."""
    place = part.columns.subject
    shape = path_shapes.shapes(part.group.paths)[0]
    own = {table.path: set(table.columns[place or 0].texts.tolist()) for table in part.group.tables}
    rows = [row for row, path in enumerate(shape.paths) if path in own]
    for slot in shape.slots:
        if rows and all(own[shape.paths[row]] == {slot.values[row]} for row in rows):
            return frozenset(slot.distinct)
    return frozenset()


def _alike(found: Sequence[Names], shapes: Sequence[Shape]) -> list[Names]:
    """Return the names of all parts with the roles of the first one where their paths have the same slots."""
    first = found[0]
    same = [len(shape.slots) == len(shapes[0].slots) for shape in shapes]
    return [first if alike else own for own, alike in zip(found, same, strict=True)]


def _pattern(shape: Shape, own: Names, first: Names, others: Iterable[str]) -> str:
    """Return the pattern of a part, which matches no other file if their names are few."""
    pattern = shape.pattern(own.roles)
    if len(pattern) > LONGEST or set(own.roles.values()) != set(first.roles.values()):
        return UNLIKE
    compiled = re.compile(pattern)
    matched = sorted(path for path in others if compiled.fullmatch(path))
    names = "|".join(path_shapes.plain(re.escape(path)) for path in matched)
    excluding = f"(?!(?:{names})$){pattern}" if matched else pattern
    return excluding if len(excluding) <= LONGEST else pattern
