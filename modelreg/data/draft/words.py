"""The vocabulary of headers and paths (words.yaml), and how a name is divided into words."""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from modelreg import strict_yaml
from modelreg.records.base import Record
from modelreg.records.csv_device import Pattern
from modelreg.records.model import Gravity

LONG = 4  # letters from which a word of an activity also begins longer words

Quantity = Literal["acc", "gyro", "mag", "gravity", "other"]

_WORD = re.compile(r"\d+|[^\W\d_]+")
_PLAIN = str.maketrans("µμ", "uu", " ")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class QuantityWords(Record):
    """The names of what is measured."""

    quantity: Quantity
    name: Pattern
    letters: Pattern | None = None
    gravity: Gravity | None = None
    unit: str | None = None


class Vocabulary(Record):
    """The contents of words.yaml, which has the comments."""

    quantities: tuple[QuantityWords, ...]
    noise: frozenset[str]
    time_units: dict[str, tuple[str, ...]]
    columns: dict[str, frozenset[str]]
    starts: frozenset[str]
    stops: frozenset[str]
    missing: tuple[str, ...]
    folders: frozenset[str]
    unlabelled: frozenset[str]
    activities: frozenset[str]
    subjects: frozenset[str]
    sessions: frozenset[str]
    codes: frozenset[str]
    devices: frozenset[str]
    dates: tuple[str, ...]
    zones: tuple[str, ...]
    rates: tuple[float, ...]
    rate_before_header: Pattern
    texts: frozenset[str]
    tables: frozenset[str]
    android: dict[str, str]


@cache
def vocabulary() -> Vocabulary:
    """Return the vocabulary."""
    path = Path(__file__).with_name("words.yaml")
    return Vocabulary.model_validate_json(json.dumps(strict_yaml.parse(path.read_text("utf-8"), path.name)))


def split(name: str) -> list[str]:
    """Return the words of a name, in lower case without accents: `userAcceleration.x` has three."""
    unaccented = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return [word.lower() for word in _WORD.findall(_CAMEL.sub(" ", unaccented))]


def measured(words: Sequence[str], *, letters: bool) -> tuple[QuantityWords, tuple[str, ...]] | None:
    """Return what words say about a measurement, and the words that say something else; None if they say nothing.

    `letters`: a single letter may be the name of a quantity, as in the names of columns.
    """
    text = " ".join(words)
    for entry in vocabulary().quantities:
        for pattern in (entry.name, entry.letters if letters else None):
            if pattern and (found := re.search(pattern, text)):
                return entry, tuple((text[: found.start()] + " " + text[found.end() :]).split())
    return None


def time_unit_of(text: str) -> str | None:
    """Return a unit of time by one of its spellings; None for another text."""
    plain = text.translate(_PLAIN).lower()
    return next((unit for unit, spellings in vocabulary().time_units.items() if plain in spellings), None)


def is_activity(name: str) -> bool:
    """Return whether a word of a name is that of an activity."""
    known = vocabulary().activities
    long = tuple(word for word in known if len(word) >= LONG)
    return any(word in known or word.startswith(long) for word in split(name))


def means_unlabelled(label: str) -> bool:
    """Return whether a label means that there is none."""
    return label.strip().lower() in vocabulary().unlabelled


def role_of(name: str, roles: Iterable[str]) -> str | None:
    """Return the first of these roles that a word in the name of a column has."""
    words = set(split(name)) | {"".join(split(name))}
    return next((role for role in roles if words & vocabulary().columns[role]), None)
