"""The model card: its text, and where a card differs from the records of its version."""

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


def render(documents: VersionDocuments) -> str:
    """Return the card of a new version as Markdown."""
    return template_versions.current().card(documents)


def headline(metrics: Metrics) -> dict[str, float]:
    """Return the metrics that people look at first, by our names."""
    return {**{name: float(getattr(metrics, name)) for name in HEADLINE}, "ece": metrics.calibration.ece}


def find_differences(text: str, documents: VersionDocuments, templates: Templates) -> Iterator[Problem]:
    """Yield every line of a card that the records do not render to, and every line of those that it lacks."""
    stated, rendered = text.split("\n"), templates.card(documents).split("\n")
    for tag, first, last, start, end in SequenceMatcher(None, stated, rendered, autojunk=False).get_opcodes():
        if tag != "equal":
            says, must = " / ".join(stated[first:last])[:200], " / ".join(rendered[start:end])[:200]
            yield Problem(f"line {first + 1}", "todo.model-card", f"says {says!r}, but the records say {must!r}")


def read_card(folder: Path) -> str:
    """Read the card of a version. Raises InputError where it is too large or is not UTF-8."""
    try:
        return files.read_bytes(folder / filenames.CARD, LIMIT).decode("utf-8")
    except UnicodeDecodeError as error:
        problem = Problem(filenames.CARD, "todo.model-card", f"not UTF-8 at byte {error.start}")
        raise InputError("cannot read the card", [problem]) from error


def stated_license(text: str) -> str | None:
    """Return the licence of the front matter: the one thing in a card that no other record holds."""
    match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    front: Any = strict_yaml.parse(match[1], "front matter") if match else None
    stated = front.get("license") if isinstance(front, dict) else None
    return stated if isinstance(stated, str) else None
