"""Read the catalogue of rules. A rule's id is `<file>.<table>`: `[column-missing]` of csv.toml is `csv.column-missing`.

Loaded when an error is shown or the documentation is built, never at start-up.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent


class Rule(NamedTuple):
    """One rule: a clause that summarizes a breach, why it happens (Markdown), and the default next step."""

    id: str
    summary: str
    cause: str
    next: str


@cache
def load() -> dict[str, Rule]:
    """Return every rule by its id, sorted by area and then as written."""
    import tomllib  # 2 ms

    found = (
        Rule(f"{path.stem}.{name}", **{key: " ".join(text.split()) for key, text in texts.items()})
        for path in sorted(FOLDER.glob("*.toml"))
        for name, texts in tomllib.loads(path.read_text("utf-8")).items()
    )
    return {rule.id: rule for rule in found}


def find(rule: str) -> Rule:
    """Return a rule by its id."""
    return load()[rule]
