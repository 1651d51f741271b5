"""Replace subject ids, and the recording names made of them, by pseudonyms before anything is written.

The map from ids to pseudonyms only grows, so that a subject keeps its pseudonym. It stays on the user's machine.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from modelreg.config import Split, SubjectSplit, TrainConfig
from modelreg.data.recording import Dataset, Recording, natural
from modelreg.errors import InputError, Problem

FORM = re.compile("subject-([0-9]{3,})")
SHORT = 3  # characters; a shorter id is replaced only where it is a whole word of a recording's name


def extend(known: Mapping[str, str], subjects: Iterable[str]) -> dict[str, str]:
    """Return the map with a pseudonym for every subject: known ids keep theirs, new ids are numbered in natural order.

    Raises InputError where an id has the form of a pseudonym.
    """
    new = sorted(set(subjects) - known.keys(), key=natural)
    if alike := [name for name in new if FORM.fullmatch(name)]:
        what = "this subject id has the form of a pseudonym, subject-NNN"
        raise InputError("cannot replace subject ids", [Problem(n, "pseudonyms.ambiguous-id", what) for n in alike])
    highest = max((int(found[1]) for name in known.values() if (found := FORM.fullmatch(name))), default=0)
    return {**known, **{name: f"subject-{number:03d}" for number, name in enumerate(new, highest + 1)}}


def rename_subjects(dataset: Dataset, names: Mapping[str, str]) -> Dataset:
    """Return a data set whose recordings are named by pseudonyms. Raises InputError where two become one name."""
    words = _words(names)
    recordings = tuple(_renamed(recording, names, words) for recording in dataset.recordings)
    counts = Counter(recording.name for recording in recordings)
    if twice := [name for name, count in counts.items() if count > 1]:
        what = "two recordings have this name once subject ids are replaced"
        problems = [Problem(name, "pseudonyms.same-recording-name", what) for name in twice]
        raise InputError("cannot replace subject ids", problems)
    return replace(dataset, recordings=recordings)


def rename_split(split: Split, names: Mapping[str, str]) -> Split:
    """Return a split that lists subjects by their pseudonyms; pseudonyms in it stay."""
    if not isinstance(split, SubjectSplit):
        return split
    return split.model_copy(update={key: _listed(getattr(split, key), names) for key in ("test", "validation")})


def find_ids(config: TrainConfig, subjects: Sequence[str]) -> Iterator[Problem]:
    """Yield each text of a configuration, the split apart, that holds a subject id: it would be published."""
    document = config.to_document()
    document.pop("split")
    words = _words({name: name for name in subjects if len(name) >= SHORT and not name.isdecimal()})
    for place, text in _texts(document, ""):
        if words and (found := words.search(text)):
            what = f"{text!r} holds the subject id {found[0]!r}, which would stay in the run's config.json"
            yield Problem(place, "pseudonyms.id-in-configuration", what)


def _listed(chosen: int | tuple[str, ...], names: Mapping[str, str]) -> int | tuple[str, ...]:
    return chosen if isinstance(chosen, int) else tuple(names.get(name, name) for name in chosen)


def _renamed(recording: Recording, names: Mapping[str, str], words: "re.Pattern[str] | None") -> Recording:
    def pseudonymous(text: str) -> str:
        text = words.sub(lambda found: names[found[0]], text) if words else text
        own = recording.subject
        return re.sub(re.escape(own), names[own], text, flags=re.IGNORECASE) if len(own) >= SHORT else text

    return replace(
        recording,
        name=pseudonymous(recording.name),
        session=pseudonymous(recording.session),
        subject=names[recording.subject],
    )


def _words(names: Mapping[str, str]) -> "re.Pattern[str] | None":
    """Return a pattern of every id as a whole word; the longest is tried first."""
    if not names:
        return None
    ids = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return re.compile(f"(?<![A-Za-z0-9])(?:{ids})(?![A-Za-z0-9])")


def _texts(document: Any, place: str) -> Iterator[tuple[str, str]]:
    """Yield every text of a document with its dotted place."""
    if isinstance(document, str):
        yield place, document
    elif isinstance(document, Mapping | list):
        parts = document.items() if isinstance(document, Mapping) else enumerate(document)
        for key, inner in parts:
            yield from _texts(inner, f"{place}.{key}".removeprefix("."))
