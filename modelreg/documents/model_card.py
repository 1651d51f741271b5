"""Render the model card, and find where a card differs from the records of its version."""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from modelreg import files, strict_yaml
from modelreg.documents import template_versions
from modelreg.documents.report.formatting import HEADLINE
from modelreg.documents.template_versions import Templates
from modelreg.errors import InputError, Problem
from modelreg.records.metrics import Metrics
from modelreg.registry import filenames
from modelreg.registry.version_documents import VersionDocuments

LIMIT = 2**20  # bytes
LINES = 5000  # that are compared one by one; a card has some hundred


def render(documents: VersionDocuments) -> str:
    """Return the card of a new version as Markdown."""
    return template_versions.current().card(documents)


def headline(metrics: Metrics) -> dict[str, float]:
    """Return the headline metrics by their JSON names."""
    return {**{name: float(getattr(metrics, name)) for name in HEADLINE}, "ece": metrics.calibration.ece}


def find_differences(text: str, documents: VersionDocuments, templates: Templates) -> Iterator[Problem]:
    """Yield every group of lines of a card that differs from the card rendered from the records."""
    stated, rendered = text.split("\n"), templates.card(documents).split("\n")
    if len(stated) > LINES:
        what = f"the card has {len(stated):,} lines, rendered from the records {len(rendered):,}"
        yield Problem("line 1", "card.line-mismatch", what)
        return
    for tag, first, last, start, end in SequenceMatcher(None, stated, rendered, autojunk=False).get_opcodes():
        if tag != "equal":
            found, expected = " / ".join(stated[first:last])[:200], " / ".join(rendered[start:end])[:200]
            what = f"the card has {found!r}, rendered from the records {expected!r}"
            yield Problem(f"line {first + 1}", "card.line-mismatch", what)


def read_card(folder: Path) -> str:
    """Read the card of a version. Raises InputError if it is too large or not UTF-8."""
    try:
        return files.read_bytes(folder / filenames.CARD, LIMIT).decode("utf-8")
    except UnicodeDecodeError as error:
        problem = Problem(filenames.CARD, "card.not-utf8", f"invalid UTF-8 at byte {error.start}")
        raise InputError("cannot read the card", [problem]) from error


def stated_license(text: str) -> str | None:
    """Return the license in the front matter, which no other document of a version states; None if there is none."""
    match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    front: Any = strict_yaml.parse(match[1], "front matter") if match else None
    stated = front.get("license") if isinstance(front, dict) else None
    return stated if isinstance(stated, str) else None
