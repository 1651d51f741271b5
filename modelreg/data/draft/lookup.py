"""Find a file that has the subject, the session or the label of each recording, by a piece of its path."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from modelreg.data.draft import words
from modelreg.data.draft.groups import Group
from modelreg.data.draft.paths import Role, Shape
from modelreg.data.draft.proposal import form

MOST = 0.8  # share of the pieces of paths that the file must have


class Lookup(NamedTuple):
    """A file with the names of recordings."""

    group: Group
    slot: int  # of the paths: the id
    key: int  # the column of the id, from 0
    places: dict[Role, int]

    def settings(self) -> dict[str, Any]:
        """Return the settings of the file."""
        named: dict[str, Any] = {role: self.group.reference(place) for role, place in self.places.items()}
        return {
            "file": self.group.paths[0],
            **form(self.group.first.form),
            "key": self.group.reference(self.key),
            **named,
        }

    def texts(self, role: Role) -> dict[str, str]:
        """Return the text of each id."""
        columns = self.group.first.columns
        keys, texts = columns[self.key].texts.tolist(), columns[self.places[role]].texts.tolist()
        return dict(zip(keys, texts, strict=True))


def find(shape: Shape, groups: Sequence[Group], unknown: Collection[Role]) -> Lookup | None:
    """Return the file that has what paths do not say."""
    for group in groups:
        if len(group.paths) == 1 and group.first.form.header and group.first.whole:
            places = _roles(group, unknown)
            for key, slot in _keys(group, shape):
                others = {role: place for role, place in places.items() if place != key}
                if others:
                    return Lookup(group, slot, key, others)
    return None


def _roles(group: Group, unknown: Collection[Role]) -> dict[Role, int]:
    found: dict[Role, int] = {}
    for place, name in enumerate(group.first.names):
        for role in unknown:
            if words.role_of(name, [role]):
                found.setdefault(role, place)
    return found


def _keys(group: Group, shape: Shape) -> Iterator[tuple[int, int]]:
    """Yield each column of single texts that has the values of a slot, and the slot."""
    for key, column in enumerate(group.first.columns):
        texts = set(column.texts.tolist())
        for number, slot in enumerate(shape.slots):
            shared = texts & set(slot.distinct)
            if len(texts) == group.first.rows and len(shared) >= MOST * len(slot.distinct):
                yield key, number
