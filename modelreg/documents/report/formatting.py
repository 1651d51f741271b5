"""How numbers, names and tables are written in Markdown: the same way in every section."""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from modelreg.records.audit import AuditRecord, RandomSplit
from modelreg.records.crossval import CrossValidation
from modelreg.records.data import QualityReport

HEADLINE = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "log_loss": "log loss",
    "brier": "Brier score",
}


class Checks(NamedTuple):
    """What was looked at besides the evaluation; None where nobody looked."""

    quality: QualityReport | None = None
    audit: AuditRecord | None = None
    crossval: CrossValidation | None = None
    random_split: RandomSplit | None = None


NO_CHECKS = Checks()


def escape(text: str) -> str:
    """Return `text` as Markdown that shows it literally, on one line, also in a table's cell."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", " ".join(text.split()))


def number(value: float) -> str:
    """Return a number with four significant digits; from a thousand on, whole."""
    return f"{value:,.0f}" if abs(value) >= 999.95 else f"{value:#.4g}"


def percent(share: float) -> str:
    """Return a share as a percentage with three significant digits."""
    return f"{100 * share:.3g} %"


def listed(names: Iterable[str]) -> str:
    """Return names as Markdown that shows them literally, with commas between."""
    return ", ".join(map(escape, names))


def counted(count: int, what: str) -> str:
    """Return a count and its noun: `1 window`, `2,000 windows`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, words: Collection[str] = ()) -> str:
    """Return a Markdown table. Columns are aligned to the right, but for the first and those that hold `words`."""
    rule = ["---" if name in (header[0], *words) else "---:" for name in header]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in (header, rule, *rows))
