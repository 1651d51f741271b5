"""Group files that are read in the same way: equal form and columns, the same sensor and device in their paths."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from modelreg.data.draft import paths as path_shapes
from modelreg.data.draft import words
from modelreg.data.draft.tables import Table, shape
from modelreg.data.draft.words import QuantityWords
from modelreg.records.base import is_name
from modelreg.records.csv_device import Column


class Group(NamedTuple):
    """Files that are read in the same way."""

    paths: tuple[str, ...]  # of all files
    tables: tuple[Table, ...]  # of those that were opened
    sensor: QuantityWords | None  # what the paths say that they hold
    device: str  # the device that the paths name; empty: none

    @property
    def first(self) -> Table:
        """One of the tables."""
        return self.tables[0]

    def reference(self, place: int) -> Column:
        """Return how a configuration names a column: by its name, or by its number if the name is not certain."""
        names = {table.names[place] for table in self.tables}
        name = self.first.names[place]
        single = len(names) == 1 and all(table.names.count(name) == 1 for table in self.tables)
        is_certain = self.first.form.header and single and is_name(name) and not name.isdecimal()
        return name if is_certain else place + 1


def make(tables: Sequence[Table], every_path: Iterable[str]) -> list[Group]:
    """Return the groups, that with the most files first. Files that were not opened are with others of their shape."""
    keys = {table.path: _key(table) for table in tables}
    by_shape: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for path, key in keys.items():
        by_shape[shape(path)][key] += 1
    members: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for path in sorted(every_path):
        if path in keys:
            members[keys[path]].append(path)
        elif likely := by_shape.get(shape(path)):
            members[likely.most_common(1)[0][0]].append(path)
    made = [
        group
        for key, found in members.items()
        for group in _by_device(found, [table for table in tables if keys[table.path] == key])
    ]
    return sorted(made, key=lambda group: (-len(group.paths), group.paths))


def sensor_of(path: str) -> QuantityWords | None:
    """Return what a file measures, by the last part of its path that names it."""
    for part in reversed(PurePosixPath(path).parts):
        if found := words.measured(words.split(part), letters=False):
            return found[0]
    return None


def _key(table: Table) -> tuple[str, ...]:
    """Return what files of one group share."""
    form = table.form.model_copy(update={"skip": min(table.form.skip, 1)})
    names = ["".join("#" if c.isdigit() else c for c in name) for name in table.names]
    sensor = sensor_of(table.path)
    said = f"{sensor.quantity} {sensor.gravity}" if sensor else ""
    return (form.model_dump_json(), said, str(len(names)), *(names if table.form.header else []))


def _by_device(found: Sequence[str], tables: Sequence[Table]) -> list[Group]:
    """Return one group for each device that the paths name."""
    named = devices(found)
    by_device: dict[str, list[str]] = defaultdict(list)
    for path in found:
        by_device[named.get(path, "")].append(path)
    groups = []
    for device, own in by_device.items():
        opened = tuple(table for table in tables if table.path in set(own))
        if opened:
            groups.append(Group(tuple(own), opened, sensor_of(opened[0].path), device))
    return groups


def devices(found: Sequence[str]) -> dict[str, str]:
    """Return the device of each path: a part that varies, names devices, and is there for every recording."""
    names: dict[str, str] = {}
    for part in path_shapes.shapes(found):
        slots = [slot for slot in part.slots if _are_devices(slot.distinct)]
        if slots and _is_crossed(part, slots[0]):
            names |= {path: slots[0].values[row] for row, path in enumerate(part.paths)}
        elif word := _constant_device(part):
            names |= dict.fromkeys(part.paths, word)
    return names


def _are_devices(values: Iterable[str]) -> bool:
    return all((parts := words.split(value)) and set(parts) <= words.vocabulary().devices for value in values)


def _is_crossed(part: path_shapes.Shape, device: path_shapes.Slot) -> bool:
    """Return whether most recordings have each device, as the other slots name recordings."""
    others = [slot.values for slot in part.slots if not _are_devices(slot.distinct) and slot.kind != "date"]
    found: Mapping[tuple[str, ...], set[str]] = defaultdict(set)
    for row, value in enumerate(device.values):
        found[tuple(values[row] for values in others)].add(value)
    whole = sum(len(values) == len(device.distinct) for values in found.values())
    return whole > len(found) / 2


def _constant_device(part: path_shapes.Shape) -> str:
    """Return a word that all paths share and that names a device; empty: there is none, or several."""
    texts = [piece for piece in part.pieces if isinstance(piece, str)]
    named = {word for text in texts for word in words.split(text) if word in words.vocabulary().devices}
    return named.pop() if len(named) == 1 else ""
