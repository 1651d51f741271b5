"""Find the recordings of a source that have no file of some device, from paths alone."""

import re
from collections.abc import Mapping, Sequence

from modelreg.data.sources.csv_plan import FIRST
from modelreg.records.source import CsvSource


def incomplete(source: CsvSource, paths: Sequence[str]) -> dict[str, list[str]]:
    """Return the recordings that have no file of some part, and those parts."""
    keys: dict[str, set[str]] = {}
    for name, part in source.by_name.items():
        matches = filter(None, (re.fullmatch(part.files, path) for path in paths))
        keys[name] = {_name(match.groupdict()) for match in matches}
    every = set[str]().union(*keys.values())
    found = {key: [name for name, own in keys.items() if key not in own] for key in sorted(every)}
    return {key: absent for key, absent in found.items() if absent}


def _name(groups: Mapping[str, str | None]) -> str:
    """Return the name of a recording, as the reader makes it."""
    named = (groups.get("subject"), groups.get("session") or FIRST, groups.get("label"))
    return "-".join(name for name in named if name)
