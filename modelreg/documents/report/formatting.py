"""Format numbers, names and tables in Markdown, the same way in every section."""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from modelreg.escaping import one_line
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
MARKUP = re.compile(r"[\\`*_{}\[\]<>#|~&$]|:(?=//)|(?<=www)\.")  # the last three: math and bare links on GitHub


class Checks(NamedTuple):
    """Optional checks of a run; None for a check that was not made."""

    quality: QualityReport | None = None
    audit: AuditRecord | None = None
    crossval: CrossValidation | None = None
    random_split: RandomSplit | None = None


NO_CHECKS = Checks()


def escape(text: str) -> str:
    """Return `text` as Markdown that shows it literally on one line, also in a table cell.

    Control and bidirectional characters become visible escapes such as `\\x1b`.
    """
    return MARKUP.sub(r"\\\g<0>", one_line(text))


def number(value: float) -> str:
    """Return a number with four significant digits; numbers from 1,000 are rounded to integers."""
    return f"{value:,.0f}" if abs(value) >= 999.95 else f"{value:#.4g}"


def percent(share: float) -> str:
    """Return a share as a percentage with three significant digits."""
    return f"{100 * share:.3g} %"


def listed(names: Iterable[str]) -> str:
    """Return names as Markdown that shows them literally, separated by commas."""
    return ", ".join(map(escape, names))


def counted(count: int, what: str) -> str:
    """Return a count and its noun: `1 window`, `2,000 windows`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, words: Collection[str] = ()) -> str:
    """Return a Markdown table. Columns are right-aligned, except the first and those in `words`."""
    rule = ["---" if name in (header[0], *words) else "---:" for name in header]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in (header, rule, *rows))
