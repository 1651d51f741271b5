"""The section of a report that says whether the parts share something, from audit.json."""

from modelreg.documents.report.formatting import counted, escape
from modelreg.records.audit import AuditRecord, Finding, RandomSplit

NAMES = {"leak": "A leak", "suspicious": "Suspicious", "by_design": "By design of the split"}


def section(audit: AuditRecord, chance: RandomSplit | None, accuracy: float) -> str:
    """Return what the leak audit found, the gravest first, and how a leaky evaluation compares with an accuracy."""
    looked = (
        f"Held against each other: {counted(sum(audit.windows.values()), 'window')} of {len(audit.windows)} parts, by "
        f"subject, session, time and content (near copies: a correlation of {audit.near:g} or more)."
    )
    if chance:
        looked = f"{looked}\n\n{leaky(chance, accuracy)} It is a number of no model, and stands nowhere else."
    if not audit.findings:
        return f"## Leak audit\n\n**The parts share nothing.** {looked}"
    found = sorted(audit.findings, key=lambda finding: list(NAMES).index(finding.severity))
    doubt = "**The numbers below are worth nothing: the parts leak.**\n\n" if audit.leaks else ""
    return f"## Leak audit\n\n{doubt}{chr(10).join(map(_item, found))}\n\n{looked}"


def leaky(chance: RandomSplit, accuracy: float) -> str:
    """Return what a random split claims beside the accuracy on people who were never seen, in a sentence."""
    points = 100 * (chance.accuracy - accuracy)
    gap = f"{abs(points):.1f} points {'above' if points >= 0 else 'below'} the {accuracy:.4f} on unseen people"
    return (
        f"A random split of the same windows scores {chance.accuracy:.4f}, {gap}: what a leaky evaluation would have "
        "claimed."
    )


def _item(finding: Finding) -> str:
    examples = f" For example: {'; '.join(map(escape, finding.examples))}." if finding.examples else ""
    return f"- **{NAMES[finding.severity]}** ({said(finding)}).{examples}"


def said(finding: Finding) -> str:
    """Return a finding in a line: between which parts, how many, what."""
    many = f"{finding.count:,} " if finding.count else ""
    return f"{' and '.join(finding.parts)}: {many}{finding.what}"
