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
from modelreg.records.data import QualityFinding

FORM = re.compile("subject-([0-9]{3,})")
SHORT = 3  # characters; a shorter id, and a number, is replaced only where it is a whole word of a recording's name


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
    ids = _pattern(names)
    recordings = tuple(_renamed(recording, names, ids) for recording in dataset.recordings)
    counts = Counter(recording.name for recording in recordings)
    if twice := [name for name, count in counts.items() if count > 1]:
        what = "two recordings have this name once subject ids are replaced"
        problems = [Problem(name, "pseudonyms.same-recording-name", what) for name in twice]
        raise InputError("cannot replace subject ids", problems)
    return replace(dataset, recordings=recordings, findings=tuple(map(_unnamed, dataset.findings)))


def _unnamed(finding: QualityFinding) -> QualityFinding:
    """Return a finding without its message, whose paths and names may hold any subject id."""
    return finding.model_copy(update={"message": finding.cause})


def rename_split(split: Split, names: Mapping[str, str]) -> Split:
    """Return a split that lists subjects by their pseudonyms; pseudonyms in it stay."""
    if not isinstance(split, SubjectSplit):
        return split
    return split.model_copy(update={key: _listed(getattr(split, key), names) for key in ("test", "validation")})


def find_ids(config: TrainConfig, classes: Sequence[str], subjects: Iterable[str]) -> Iterator[Problem]:
    """Yield each text of a configuration, the split apart, and each class that holds a subject id.

    They would be published. Numbers are not searched for: they are everywhere.
    """
    document = config.to_document()
    document.pop("split")
    ids = _pattern([name for name in subjects if not name.isdecimal()])
    for place, text in (*_texts(document, ""), *(("labels of the recordings", name) for name in classes)):
        if found := ids.search(text):
            what = f"{text!r} holds the subject id {found[0]!r}, which would stay in the run"
            yield Problem(place, "pseudonyms.id-in-configuration", what)


def _listed(chosen: int | tuple[str, ...], names: Mapping[str, str]) -> int | tuple[str, ...]:
    return chosen if isinstance(chosen, int) else tuple(names.get(name, name) for name in chosen)


def _renamed(recording: Recording, names: Mapping[str, str], ids: re.Pattern[str]) -> Recording:
    def pseudonym(found: re.Match[str]) -> str:
        alike = (names[name] for name in names if re.fullmatch(re.escape(name), found[0], re.IGNORECASE))
        return names.get(found[0]) or next(alike)

    return replace(
        recording,
        name=ids.sub(pseudonym, recording.name),
        session=ids.sub(pseudonym, recording.session),
        subject=names[recording.subject],
    )


def _pattern(names: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern of every id in any case, the longest first; short ids and numbers are whole words."""
    anywhere = sorted((name for name in names if len(name) >= SHORT and not name.isdecimal()), key=len, reverse=True)
    words = sorted((name for name in names if len(name) < SHORT or name.isdecimal()), key=len, reverse=True)
    parts = [*map(re.escape, anywhere), *(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])" for name in words)]
    return re.compile("|".join(parts) or r"(?!)", re.IGNORECASE)


def _texts(document: Any, place: str) -> Iterator[tuple[str, str]]:
    """Yield every text of a document with its dotted place."""
    if isinstance(document, str):
        yield place, document
    elif isinstance(document, Mapping | list):
        parts = document.items() if isinstance(document, Mapping) else enumerate(document)
        for key, inner in parts:
            yield from _texts(inner, f"{place}.{key}".removeprefix("."))
