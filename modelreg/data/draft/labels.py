"""Map the labels of recordings to classes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelreg.data.draft import words
from modelreg.data.draft.commented import Noted
from modelreg.data.draft.tables import Table
from modelreg.records.base import is_name

ZERO = "FILL IN: the class of label 0, or null if 0 means that nothing is labelled"
KEYS = 200  # rows of a file that names codes


def mapping(labels: Mapping[str, int], tables: Sequence[Table], unit: str) -> dict[str, Any]:
    """Return the class of each label, with the reason; `unit` is what the labels count: rows, recordings."""
    named = names_of(list(labels), tables)
    coded = all(label.isdecimal() for label in labels)
    found: dict[str, Any] = {}
    for label, count in labels.items():
        why = f"{count:,} {unit}" if count != 1 else f"1 {unit.removesuffix('s')}"
        if words.means_unlabelled(label):
            found[label] = Noted(None, f"{why}; the text means that there is no label")
        elif label in named:
            found[label] = Noted(named[label], f"{why}; named in a file of codes")
        elif coded and int(label) == 0:
            found[label] = Noted(ZERO, why)
        else:
            found[label] = Noted(label, f"{why}; a code: write a name here" if coded else why)
    return found


def names_of(codes: Sequence[str], tables: Sequence[Table]) -> dict[str, str]:
    """Return the names of codes, from a small file with a row for each; nothing if there is none."""
    for table in tables:
        if table.rows <= KEYS:
            for found in _keys(codes, table):
                return found
    return {}


def _keys(codes: Sequence[str], table: Table) -> Iterator[dict[str, str]]:
    columns = [column.texts.tolist() for column in table.columns]
    for keys in columns:
        if len(set(keys)) < len(keys) or not set(codes) - {"0"} <= set(keys):
            continue
        for names in columns:
            texts = dict(zip(keys, names, strict=True))
            if len(set(names)) == len(names) and all(_is_text(name) for name in names):
                yield {code: texts[code] for code in codes if code in texts}


def _is_text(name: str) -> bool:
    return is_name(name) and not name.isdecimal() and any(character.isalpha() for character in name) and len(name) > 1
