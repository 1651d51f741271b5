"""Decide which slots of the paths name the subject, the session and the label of a recording, and say why."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from modelreg.data.draft import words
from modelreg.data.draft.paths import Role, Shape, Slot

MOST = 0.5  # share of the values of a slot that must be activities, for a label


class Names(NamedTuple):
    """How paths name recordings.

    Attributes:
        roles: of slots, by their number.
        why: the reason for each role.
        unknown: what the paths do not say, by its role: a sentence for the user.
    """

    roles: dict[int, Role]
    why: dict[Role, str]
    unknown: dict[Role, str]


def assign(shape: Shape, needed: Iterable[Role], known: Mapping[Role, frozenset[str]]) -> Names:
    """Return the roles of slots. `known` has the subjects and labels that columns or other files have."""
    names = Names({}, {}, {})
    wanted = set(needed)
    if "label" in wanted:
        _take(names, "label", _label(shape, known.get("label", frozenset())))
    if "subject" in wanted:
        _take(names, "subject", _subject(shape, names, known.get("subject", frozenset())))
    if "label" in wanted and "label" not in names.roles.values():
        _take(names, "label", _other_label(shape, names))
    _sessions(shape, names)
    return names


class _Choice(NamedTuple):
    slot: int | None
    text: str  # the reason, or what is unknown


def _take(names: Names, role: Role, choice: _Choice) -> None:
    if choice.slot is None:
        names.unknown[role] = choice.text
    else:
        names.unknown.pop(role, None)
        names.roles[choice.slot] = role
        names.why[role] = choice.text


def _label(shape: Shape, known: frozenset[str]) -> _Choice:
    """Return the slot with the labels: they are known, words of activities, or codes after such a word."""
    shares = {number: _share(slot, known) for number, slot in _candidates(shape)}
    best = max(shares, key=lambda number: (shares[number], len(shape.slots[number].distinct)), default=None)
    if best is not None and shares[best] >= MOST:
        count = len(shape.slots[best].distinct)
        return _Choice(best, f"{count} different texts in the paths, most of them words of activities")
    coded = [n for n, slot in _candidates(shape) if slot.kind == "digits" and _word(slot) in words.vocabulary().codes]
    if len(coded) == 1:
        return _Choice(coded[0], f"numbers after {_word(shape.slots[coded[0]])!r} in the paths")
    return _Choice(None, "no part of the paths is known as an activity")


def _share(slot: Slot, known: frozenset[str]) -> float:
    values = slot.distinct
    return sum(value in known or words.is_activity(value) for value in values) / len(values)


def _word(slot: Slot) -> str:
    return (slot.prefix or slot.before).lower()


def _candidates(shape: Shape, names: Names | None = None) -> Iterator[tuple[int, Slot]]:
    """Yield the slots that may name something, by their number: not dates, and without a role."""
    for number, slot in enumerate(shape.slots):
        if slot.kind != "date" and (names is None or number not in names.roles):
            yield number, slot


def _subject(shape: Shape, names: Names, known: frozenset[str]) -> _Choice:
    """Return the slot with the subjects: known ones, numbers after such a word, or the only texts that are left."""
    free = dict(_candidates(shape, names))
    same = [number for number, slot in free.items() if known and set(slot.distinct) <= known]
    if same:
        return _Choice(same[0], "these texts in the paths are subjects elsewhere")
    named = [number for number, slot in free.items() if _word(slot) in words.vocabulary().subjects]
    named = sorted(named, key=lambda number: -len(_word(free[number])))
    if named:
        return _Choice(named[0], f"numbers after {_word(free[named[0]])!r} in the paths")
    if texts := _determining(shape, [n for n, slot in free.items() if slot.kind != "digits"]):
        return _only(shape, texts, "the only text in the paths that is neither a label nor a date")
    numbers = [n for n, slot in free.items() if _word(slot) not in words.vocabulary().sessions]
    shared = [n for n in numbers if len(free[n].distinct) < len(shape.paths)]
    if shared:
        return _only(shape, shared, "the only number in the paths that several files share")
    if numbers:
        return _Choice(None, f"the paths have numbers, each in one file only: {_examples(shape, numbers)}")
    return _Choice(None, "no part of the paths differs between subjects")


def _only(shape: Shape, numbers: Sequence[int], why: str) -> _Choice:
    if len(numbers) == 1:
        return _Choice(numbers[0], why)
    return _Choice(None, f"several parts of the paths may be the subject: {_examples(shape, numbers)}")


def _examples(shape: Shape, numbers: Sequence[int]) -> str:
    return ", ".join(repr(shape.slots[number].values[0]) for number in numbers)


def _determining(shape: Shape, numbers: Sequence[int]) -> list[int]:
    """Return the slots without those whose value follows from another one, as a group follows from its member."""
    return [
        number
        for number in numbers
        if not any(
            other != number
            and _follows(shape.slots[number], shape.slots[other])
            and (not _follows(shape.slots[other], shape.slots[number]) or other < number)
            for other in numbers
        )
    ]


def _follows(slot: Slot, other: Slot) -> bool:
    """Return whether each value of `other` occurs with one value of the slot."""
    return len(set(zip(slot.values, other.values, strict=True))) == len(other.distinct)


def _other_label(shape: Shape, names: Names) -> _Choice:
    """Return the slot of the label where the subject is certain, and one text is left that files share."""
    texts = [n for n, slot in _candidates(shape, names) if slot.kind != "digits"]
    shared = [n for n in texts if len(shape.slots[n].distinct) < len(shape.paths)]
    if "subject" in names.roles.values() and len(shared) == 1:
        count = len(shape.slots[shared[0]].distinct)
        return _Choice(shared[0], f"the only other text in the paths that several files share; {count} different ones")
    return _Choice(None, "nothing in the paths or columns is known as an activity")


def _sessions(shape: Shape, names: Names) -> None:
    """Give the role of a session to a number, and to what else tells recordings of equal names apart."""
    for number, slot in _candidates(shape, names):
        if slot.kind == "digits" and "session" not in names.roles.values():
            names.roles[number] = "session"
            names.why["session"] = "a number in the paths that is not the subject"
    if _are_unique(shape, names):
        return
    free = [number for number in range(len(shape.slots)) if names.roles.get(number) in (None, "session")]
    for number in free:
        trial: dict[int, Role] = {**{n: r for n, r in names.roles.items() if r != "session"}, number: "session"}
        if _are_unique(shape, names._replace(roles=trial)):
            names.roles.clear()
            names.roles.update(trial)
            names.why["session"] = "it tells recordings of the same subject and label apart"
            return
    if free and free == list(range(free[0], free[-1] + 1)):
        names.roles.update(dict.fromkeys(free, "session"))
        names.why["session"] = "together, these parts of the paths tell recordings apart"


def _are_unique(shape: Shape, names: Names) -> bool:
    used = [shape.slots[number].values for number in sorted(names.roles)]
    rows = list(zip(*used, strict=True)) if used else [()] * len(shape.paths)
    return len(set(rows)) == len(rows)
