"""The templates that render model_card.md, gates.json and bom.cdx.json, by the number that a manifest names.

`verify` renders these texts again and compares them. Every text belongs to a numbered template that never changes once
a version was released with it, so that better wording does not invalidate released versions. The manifest of a version
names the number of its templates.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from modelreg.documents.templates import card_v1, card_v2, gates_v1, gates_v2, sbom_v1, sbom_v2
from modelreg.documents.templates.facts import Facts
from modelreg.errors import InputError, Problem
from modelreg.records.gates import Finding, Gate, RuleFinding


class Templates(NamedTuple):
    """The functions that render the texts of a version."""

    card: Callable[[Facts], str]
    sbom: Callable[[Facts, str, str, Mapping[str, str]], bytes]  # facts, time, modelreg's version, digests by path
    gate: Callable[[str, Gate, Finding | RuleFinding], str]  # path, gate, finding


def _describe_v1(path: str, gate: Gate, finding: Finding | RuleFinding) -> str:
    """Return the sentence of template 1, which has no rules; no version that was released with it has one."""
    if isinstance(finding, RuleFinding):
        return gates_v2.describe(path, gate, finding)
    return gates_v1.describe(gate, finding)


UNSTATED = 1  # of manifests that name no templates
CURRENT = 2  # of new versions; until modelreg 0.3 is released with them, card_v2, gates_v2 and sbom_v2 may still change
TEMPLATES = {
    1: Templates(card_v1.render, sbom_v1.render, _describe_v1),
    2: Templates(card_v2.render, sbom_v2.render, gates_v2.describe),
}


def current() -> Templates:
    """Return the templates of new versions."""
    return TEMPLATES[CURRENT]


def named(number: int | None) -> Templates:
    """Return the templates of a number in a manifest; None means no number. Raises InputError for an unknown number."""
    found = TEMPLATES.get(UNSTATED if number is None else number)
    if found is None:
        what = f"template version is {number}, this modelreg has 1 to {CURRENT}"
        problem = Problem("manifest.json: templates", "manifest.template-unknown", what)
        raise InputError("cannot render the documents of the version", [problem])
    return found
