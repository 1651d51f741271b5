"""Divide the paths of files into what all of them share and what varies, and write the pattern that matches them.

`anna/walk-2024-05-07/Gyroscope.csv` and its like have three slots: a name, an activity and a date.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from modelreg.data.draft import words

Kind = Literal["date", "digits", "letters", "text"]
Role = Literal["subject", "session", "label", "id"]

_DATE = r"(?<!\d)\d{4}[-_.]?\d{2}[-_.]?\d{2}(?:[-_T .]\d{2}[-_.:]?\d{2}(?:[-_.:]?\d{2})?)?(?!\d)"
_LEVELS = tuple(  # ways to divide a part of a path, the finest first
    re.compile(rf"{_DATE}|{tokens}|[\W_]+")
    for tokens in (r"\d+|[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_]+", r"\d+|[^\W\d_]+", r"[^\W_]+")
)
_IS_DATE = re.compile(_DATE)
_MARK = re.compile(r"[\W_]+")


class Slot(NamedTuple):
    """A piece of the paths that varies."""

    values: tuple[str, ...]  # of each path
    kind: Kind
    before: str  # the word of the same part of the path before it: `sub` in sub_1
    segment: int  # the part of the path, from 0
    prefix: str = ""  # one letter that begins every value: `s` of s01

    @property
    def distinct(self) -> tuple[str, ...]:
        """The values, each once, sorted."""
        return tuple(sorted(set(self.values)))


class Shape(NamedTuple):
    """Paths with the same number of parts: literal texts and slots."""

    paths: tuple[str, ...]
    pieces: tuple[str | Slot, ...]

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The pieces that vary."""
        return tuple(piece for piece in self.pieces if isinstance(piece, Slot))

    def pattern(self, roles: Mapping[int, Role]) -> str:
        """Return the regular expression of the paths.

        `roles` has the group of some slots, by their number. Slots of the same role, and the text between them, are one
        group.
        """
        text, number = "", 0
        for piece in self.pieces:
            if isinstance(piece, str):
                text += plain(re.escape(piece))
                continue
            role = roles.get(number)
            same = [other for other in roles if roles[other] == role]
            begin = f"(?P<{role}>" if role and number == min(same) else ""
            text += f"{begin}{_expression(piece)}{')' if role and number == max(same) else ''}"
            number += 1
        return text


def plain(escaped: str) -> str:
    """Return an escaped text without the escapes of characters that mean nothing outside of a set."""
    return re.sub(r"\\([-_ #/&~<>@!%:;,='\"])", r"\1", escaped)


def _expression(slot: Slot) -> str:
    """Return the regular expression of a slot's values."""
    text = "".join(slot.distinct)
    if slot.kind == "digits":
        return rf"{slot.prefix}\d+"
    if slot.kind == "date":
        return "[^/]+"
    if slot.kind == "letters":
        if not text.isascii():
            return r"[^\W\d_]+"
        return "[a-z]+" if text.islower() else "[A-Z]+" if text.isupper() else "[A-Za-z]+"
    return r"[^\W_]+" if re.fullmatch(r"[^\W_]+", text) else "[^/]+"


def shapes(paths: Iterable[str], *, even: bool = False) -> list[Shape]:
    """Return the paths by number of parts and by suffix, and with `even` by their marks; the most common first."""
    grouped: dict[tuple[int, str, str], list[str]] = defaultdict(list)
    for path in sorted(paths):
        marks = "".join(_MARK.findall(path)) if even else ""
        grouped[path.count("/"), PurePosixPath(path).suffix, marks].append(path)
    ordered = sorted(grouped.values(), key=lambda same: (-len(same), same))
    return [_shape(same) for same in ordered]


def _shape(paths: Sequence[str]) -> Shape:
    pieces: list[str | Slot] = []
    for number, values in enumerate(zip(*(path.split("/") for path in paths), strict=True)):
        pieces += ["/"] if number else []
        pieces += _pieces(values, number)
    joined: list[str | Slot] = []
    for piece in pieces:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        else:
            joined.append(piece)
    return Shape(tuple(paths), tuple(joined))


def with_folder(shape: Shape) -> Shape | None:
    """Return a shape whose first part, a folder that all paths share, is a slot; None if there is none."""
    first = shape.pieces[0] if isinstance(shape.pieces[0], str) else ""
    folder, slash, rest = first.partition("/")
    if not slash or not folder or set(words.split(folder)) & words.vocabulary().folders:
        return None
    slot = Slot((folder,) * len(shape.paths), _kind([folder]), "", 0)
    return Shape(shape.paths, (slot, slash + rest, *shape.pieces[1:]))


def _pieces(values: Sequence[str], segment: int) -> list[str | Slot]:
    """Return one part of all paths as texts and slots."""
    columns = _columns(values)
    pieces: list[str | Slot] = []
    before = ""
    for column in columns:
        varies = len(set(column)) > 1 or _IS_DATE.fullmatch(column[0]) is not None
        follows = bool(pieces) and isinstance(pieces[-1], Slot)
        if not varies and not (column[0].isdigit() and (follows or _names_subject(before))):
            pieces.append(column[0])
            before = before if _MARK.fullmatch(column[0]) else column[0]
            continue
        kind = _kind(column)
        previous = pieces[-1] if pieces else None
        if isinstance(previous, Slot) and {previous.kind, kind} == {"letters"}:
            both = tuple(map("".join, zip(previous.values, column, strict=True)))
            pieces[-1] = previous._replace(values=both)  # `Walk` and `Fast` of WalkFast
        else:
            prefix = _prefix(pieces, kind)
            pieces.append(Slot(tuple(prefix + value for value in column), kind, before, segment, prefix))
        before = ""
    return pieces


def _prefix(pieces: list[str | Slot], kind: Kind) -> str:
    """Remove the letter before a number from the pieces, and return it; nothing if a longer word is before it."""
    last = pieces[-1] if pieces else ""
    if kind != "digits" or not isinstance(last, str) or not (len(last) == 1 and last.isalpha()):
        return ""
    pieces.pop()
    return last


def _names_subject(word: str) -> bool:
    return len(word) > 1 and word.lower() in words.vocabulary().subjects


def _columns(values: Sequence[str]) -> list[Sequence[str]]:
    """Return texts as columns of tokens, each text one row."""
    for level in _LEVELS:
        rows = [level.findall(value) for value in values]
        if len(set(map(len, rows))) == 1:
            columns: list[Sequence[str]] = list(zip(*rows, strict=True))
            if all(len(set(column)) == 1 for column in columns if any(map(_MARK.fullmatch, column))):
                return columns
    return _uneven(values)


def _uneven(values: Sequence[str]) -> list[Sequence[str]]:
    """Return texts with different numbers of tokens as columns: one of them takes what some have more of.

    `anna_walking_upstairs` and `ben_sitting` have two columns, and a mark between them.
    """
    end = PurePosixPath(values[0]).suffix
    end = end if all(value.endswith(end) for value in values) else ""
    stems = [value.removesuffix(end) for value in values]
    rows = [_LEVELS[-1].findall(stem) for stem in stems]
    fixed = (min(map(len, rows)) - 1) // 2 * 2  # words and the marks between them
    ways = [_around(rows, before, fixed - before) for before in (fixed, 0)] if fixed else []
    tail: list[Sequence[str]] = [[end] * len(values)] if end else []
    known = [way for way in ways if all(len(set(column)) == 1 for column in way if any(map(_MARK.fullmatch, column)))]
    return [*max(known, key=_likeness), *tail] if known else [stems, *tail]


def _around(rows: Sequence[Sequence[str]], before: int, after: int) -> list[Sequence[str]]:
    """Return the first and the last tokens of rows as columns, and all between them as one."""
    cut = [[*row[:before], "".join(row[before : len(row) - after]), *row[len(row) - after :]] for row in rows]
    return list(zip(*cut, strict=True))


def _likeness(columns: Sequence[Sequence[str]]) -> tuple[float, int]:
    """Return how likely a division is: one column has activities only, and columns have few values."""
    shares = [sum(map(words.is_activity, set(column))) / len(set(column)) for column in columns]
    return max(shares), -sum(len(set(column)) for column in columns)


def _kind(column: Sequence[str]) -> Kind:
    if all(map(_IS_DATE.fullmatch, column)):
        return "date"
    if all(value.isdigit() and value.isascii() for value in column):
        return "digits"
    return "letters" if all(re.fullmatch(r"[^\W\d_]+", value) for value in column) else "text"
