"""The model card: what it is made of, its text, and where a card differs from its records."""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from modelreg import config
from modelreg.documents import template_versions
from modelreg.documents.template_versions import Templates
from modelreg.errors import Problem
from modelreg.records.base import Name
from modelreg.records.data import DataRecord
from modelreg.records.gates import GateReport
from modelreg.records.int8 import Int8Estimate
from modelreg.records.metrics import EvalMetrics, Metrics
from modelreg.records.model import ModelSpec
from modelreg.records.run import RunRecord

HEADLINE = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "log_loss", "brier")


class Facts(NamedTuple):
    """All that a card is made of."""

    model: str
    version: str
    license: Name | None
    metrics: EvalMetrics
    spec: ModelSpec
    data: DataRecord
    run: RunRecord
    gates: GateReport | None = None  # None: the release had none
    estimate: Int8Estimate | None = None  # of the loss in 8 bits; None: no bundle, or none that has one


def render(facts: Facts) -> str:
    """Return the card of a new version as Markdown."""
    return template_versions.current().card(facts)


def headline(metrics: Metrics) -> dict[str, float]:
    """Return the metrics that people look at first, by our names."""
    return {**{name: float(getattr(metrics, name)) for name in HEADLINE}, "ece": metrics.calibration.ece}


def find_differences(text: str, facts: Facts, templates: Templates) -> Iterator[Problem]:
    """Yield every line of a card that its facts do not render to, and every line of those that it lacks."""
    stated, rendered = text.split("\n"), templates.card(facts).split("\n")
    for tag, first, last, start, end in SequenceMatcher(None, stated, rendered, autojunk=False).get_opcodes():
        if tag != "equal":
            says, must = " / ".join(stated[first:last])[:200], " / ".join(rendered[start:end])[:200]
            yield Problem(f"line {first + 1}", f"says {says!r}, but the records say {must!r}")


def stated_license(text: str) -> str | None:
    """Return the licence of the front matter: the one thing in a card that no other record holds."""
    match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    front: Any = config.parse_yaml(match[1], "front matter") if match else None
    stated = front.get("license") if isinstance(front, dict) else None
    return stated if isinstance(stated, str) else None
