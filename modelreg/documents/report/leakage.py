"""Render the section of a report on leakage between train, validation and test, from audit.json."""

from modelreg.documents.report.formatting import counted, escape
from modelreg.records.audit import AuditRecord, Finding, RandomSplit
from modelreg.records.data import PARTS

NAMES = {"leak": "Leakage", "suspicious": "Suspicious", "by_design": "By design of the split"}


def section(audit: AuditRecord, chance: RandomSplit | None, accuracy: float) -> str:
    """Return the findings of the leakage audit, most severe first, and the accuracy of a random split if known."""
    windows = f"{counted(sum(audit.windows.values()), 'window')} compared"
    how = (
        "The audit compares subjects, sessions, times and window contents. A near copy has a correlation of at least "
        f"{audit.near:g}."
    )
    if audit.copies:
        how += " Whole recordings were searched for copies at any offset. The search cannot find "
        how += f"{'; '.join(audit.copies.cannot_find)}."
    more = f"{how}\n\n{leaky(chance, accuracy)} This accuracy is a reference only." if chance else how
    if not audit.findings:
        return f"## Leakage\n\n**No leakage found between {_compared(audit)}** ({windows}).\n\n{more}"
    found = sorted(audit.findings, key=lambda finding: list(NAMES).index(finding.severity))
    doubt = "**The metrics below are not valid: the splits share data.**\n\n" if audit.leaks else ""
    return f"## Leakage\n\n{doubt}{chr(10).join(map(_item, found))}\n\n{windows.capitalize()}. {more}"


def _compared(audit: AuditRecord) -> str:
    """Return what was compared: the splits, or the folds of a cross-fitted run."""
    return "train, validation and test" if set(audit.windows) <= set(PARTS) else "the test subjects of different folds"


def leaky(chance: RandomSplit, accuracy: float) -> str:
    """Return how the accuracy of a random split differs from that on unseen subjects, in a sentence."""
    points = 100 * (chance.accuracy - accuracy)
    side = "higher" if points >= 0 else "lower"
    return (
        f"With a random split of the same windows, the accuracy is {chance.accuracy:.4f}: {abs(points):.1f} points "
        f"{side} than the {accuracy:.4f} on unseen subjects, because windows of one subject are in every split."
    )


def _item(finding: Finding) -> str:
    examples = f" Examples: {'; '.join(map(escape, finding.examples))}." if finding.examples else ""
    return f"- **{NAMES[finding.severity]}** ({escape(said(finding))}).{examples}"


def said(finding: Finding) -> str:
    """Return a finding in one line: the splits, the count, and the description."""
    many = f"{finding.count:,} " if finding.count else ""
    return f"{' and '.join(finding.parts)}: {many}{finding.what}"
