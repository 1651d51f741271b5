"""Which templates render the recomputed texts of a version: those that its manifest names.

`verify` renders model_card.md, gates.json and bom.cdx.json again and compares. So that better wording does not make
released versions invalid, every text belongs to a numbered template that never changes once a version was released
with it, and the manifest says which number the version was made with.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from modelreg.documents.templates import card_v1, card_v2, gates_v1, sbom_v1
from modelreg.documents.templates.facts import Facts
from modelreg.errors import InputError, Problem
from modelreg.records.gates import Finding, Gate


class Templates(NamedTuple):
    """The functions that render the texts of one version."""

    card: Callable[[Facts], str]
    sbom: Callable[[Facts, str, str, Mapping[str, str]], bytes]  # facts, time, modelreg's version, digests by path
    gate: Callable[[Gate, Finding], str]


UNSTATED = 1  # of manifests that name none
CURRENT = 2  # of new versions; until modelreg 0.3 is released with it, card_v2 may still change
TEMPLATES = {
    1: Templates(card_v1.render, sbom_v1.render, gates_v1.describe),
    2: Templates(card_v2.render, sbom_v1.render, gates_v1.describe),
}


def current() -> Templates:
    """Return the templates of new versions."""
    return TEMPLATES[CURRENT]


def named(number: int | None) -> Templates:
    """Return the templates that a manifest names; None: it names none. Raises InputError on an unknown number."""
    found = TEMPLATES.get(UNSTATED if number is None else number)
    if found is None:
        what = f"is {number}, but this modelreg has the templates 1 to {CURRENT}; upgrade modelreg"
        raise InputError("unknown template", [Problem("manifest.json: templates", "todo.template-versions", what)])
    return found
