"""Find the columns of tables that name rows: label, subject, session, and the sensor of an event."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.draft import words
from modelreg.data.draft.tables import Table

LABELS = 64  # different labels
LONG_RUN = 10  # rows of a label, on average
EVENTS = 32  # different sensors in one file
FEWEST = 50  # rows of events
MIXED = 0.25  # changes of the sensor from row to row
WHOLE = 1e-9  # what an integer is off, as 3.0


class Texts(NamedTuple):
    """The texts of one column in all tables."""

    place: int
    name: str
    distinct: tuple[str, ...]
    rows: int
    run: float  # rows until the text changes, on average
    changes: float  # share of the rows whose text differs from that before
    is_number: bool  # every text is an integer

    @property
    def is_steady(self) -> bool:
        """Whether few texts occur in long runs."""
        return 1 <= len(self.distinct) <= LABELS and self.run >= LONG_RUN


class Columns(NamedTuple):
    """The columns that name rows, by their positions, and the reason for each."""

    label: int | None = None
    subject: int | None = None
    session: int | None = None
    event: int | None = None
    why: tuple[tuple[str, str], ...] = ()

    @property
    def named(self) -> set[int]:
        """The positions of all of them."""
        return {place for place in self[:4] if place is not None}

    def because(self, role: str) -> str:
        """Return the reason for a column."""
        return dict(self.why).get(role, "")


def find(tables: Sequence[Table]) -> Columns:
    """Return the columns of tables with the same columns that name rows."""
    found = list(_texts(tables))
    named = any(words.split(text.name) and not text.name.isdecimal() for text in found)
    chosen = dict(_named(found)) if named else dict(_unnamed(found))
    event = next((text for text in found if _is_event(text)), None)
    if event is not None:
        chosen["event"] = (event.place, f"{len(event.distinct)} different texts, which alternate from row to row")
    places = {role: place for role, (place, _) in chosen.items()}
    return Columns(**places, why=tuple((role, why) for role, (_, why) in chosen.items()))


def _texts(tables: Sequence[Table]) -> Iterator[Texts]:
    """Yield the columns of texts and integers."""
    for place, first in enumerate(tables[0].columns):
        columns = [table.columns[place] for table in tables]
        if any(column.is_empty for column in columns) and not all(column.is_empty for column in columns):
            columns = [column for column in columns if not column.is_empty]
        number = all(_is_whole(column.numbers) for column in columns)
        if not number and any(column.is_numeric for column in columns):
            continue
        distinct = tuple(sorted({text for column in columns for text in column.texts.tolist() if text}))
        runs = sum(1 + int(np.count_nonzero(column.texts[1:] != column.texts[:-1])) for column in columns)
        rows = sum(len(column.texts) for column in columns)
        if distinct:
            changes = (runs - len(columns)) / max(rows - len(columns), 1)
            yield Texts(place, first.name, distinct, rows, rows / runs, changes, number)


def _is_whole(numbers: NDArray[np.float64]) -> bool:
    finite = numbers[np.isfinite(numbers)]
    return len(finite) == len(numbers) and bool(np.all(np.abs(finite - np.round(finite)) < WHOLE))


def _named(found: Sequence[Texts]) -> Iterator[tuple[str, tuple[int, str]]]:
    """Yield the columns whose names say their meaning."""
    taken: set[int] = set()
    for role in ("subject", "label", "session"):
        for text in found:
            says = words.role_of(text.name, ["time", "subject", "label", "session"]) == role
            if says and text.place not in taken and (text.is_steady or role == "subject"):
                taken.add(text.place)
                yield role, (text.place, f"the name of the column, and {_few(text)}")
                break


def _few(text: Texts) -> str:
    """Return how many texts a column has, and how long they last."""
    count = "1 text" if len(text.distinct) == 1 else f"{len(text.distinct)} different texts"
    return f"{count} in runs of {text.run:,.0f} rows on average"


def _unnamed(found: Sequence[Texts]) -> Iterator[tuple[str, tuple[int, str]]]:
    """Yield the columns of a table without names that can be recognized by their texts."""
    steady = [text for text in found if text.is_steady]
    label = _first(steady, lambda text: not text.is_number and any(map(words.is_activity, text.distinct)))
    why = "words of activities"
    if label is None:
        label = _first(steady, lambda text: not text.is_number and len(text.distinct) > 1)
        why = "few texts"
    if label is None and len(several := [text for text in steady if len(text.distinct) > 1]) == 1:
        label, why = several[0], "the only column with few whole numbers"
    if label is None:
        return
    yield "label", (label.place, f"{why}: {_few(label)}")
    others = [text for text in steady if text is not label and text.run > label.run]
    if len(others) == 1:
        yield "subject", (others[0].place, f"the only other column with few texts: {_few(others[0])}")


def _first(found: Sequence[Texts], says: Callable[[Texts], bool]) -> Texts | None:
    return next((text for text in found if says(text)), None)


def _is_event(text: Texts) -> bool:
    """Return whether a column says which sensor each row is from."""
    return text.rows >= FEWEST and 2 <= len(text.distinct) <= EVENTS and text.changes >= MIXED and _is_id(text)


def _is_id(text: Texts) -> bool:
    """Return whether the texts of a column are numbers of sensors or names of quantities."""
    known = any(words.measured(words.split(name), letters=False) for name in text.distinct)
    return known or (text.is_number and all(len(name) <= 3 for name in text.distinct))
