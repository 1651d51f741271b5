"""Find the texts and numbers that a logger writes in place of a missing value."""

from collections.abc import Iterator, Sequence

import numpy as np

from modelreg.data.draft import words
from modelreg.data.draft.parts import Part
from modelreg.data.draft.tables import Column
from modelreg.records.source import CsvSource

USUAL: tuple[str, ...] = CsvSource.model_fields["missing"].default
MANY = 3  # different texts; more are not those of missing values
BEYOND = 10  # times the size of nearly all other values, from which a number is not a value


def texts(parts: Sequence[Part]) -> tuple[str, ...]:
    """Return the other texts in columns of sensors; nothing if there are too many to be missing values."""
    found = {text for part in parts for column in _columns(part) for text in (*_texts(column), *_numbers(column))}
    return tuple(sorted(found)) if len(found) <= MANY else ()


def _columns(part: Part) -> Iterator[Column]:
    places = {place for sensor in part.sensors for place in (*sensor.places, *(sensor.added or ()))}
    return (table.columns[place] for table in part.group.tables for place in places)


def _texts(column: Column) -> set[str]:
    return set(column.texts[np.isnan(column.numbers)].tolist()) - {*USUAL}


def _numbers(column: Column) -> set[str]:
    present = set(words.vocabulary().missing) & set(column.texts.tolist())
    if not present:
        return set()
    others = np.abs(column.numbers[~np.isin(column.texts.astype(str), list(present))])
    largest = float(np.nanquantile(others, 0.99)) if np.isfinite(others).any() else 0.0
    return {text for text in present if abs(float(text)) > BEYOND * largest}
