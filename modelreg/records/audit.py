"""The leak audit: what the parts share, and results that are too good."""

from typing import Annotated, Literal

from pydantic import Field

from modelreg.records.base import Count, Name, Record, Sha256, Share
from modelreg.records.data import PartName

FindingKind = Literal[
    "subject", "session", "time", "exact_copy", "near_copy", "normalization", "too_good", "random_split"
]
Severity = Literal["leak", "suspicious", "by_design"]


class Finding(Record):
    """One thing that was found."""

    kind: FindingKind
    severity: Severity  # by_design: the split is by time, so the parts share people
    parts: tuple[PartName, ...]
    count: Count  # subjects, sessions or windows (of the later part)
    what: str
    examples: tuple[str, ...] = ()  # the first few


class AuditRecord(Record):
    """What was looked at, how closely, and what was found."""

    schema_version: Literal[1] = 1
    near: Annotated[float, Field(gt=0, le=1)]  # correlation from which a window is a near copy
    windows: dict[PartName, Count]
    compared: dict[PartName, Count]  # in the search for near copies: not still ones, and at most a bound
    findings: tuple[Finding, ...]

    @property
    def leaks(self) -> tuple[Finding, ...]:
        """The findings that make the numbers worthless."""
        return tuple(finding for finding in self.findings if finding.severity == "leak")


class RandomSplit(Record):
    """random_split.json of a run: what a leaky evaluation of its configuration would have claimed.

    A reference for the audit, and no quality of any model: windows of one person are in every part.
    """

    schema_version: Literal[1] = 1
    leaky: Literal[True] = True
    model: Name
    seed: Count  # of the division; the training's own
    windows: dict[PartName, Count]  # as many in each part as the run has
    accuracy: Share  # on its test part
    run_sha256: Sha256  # of the run's checkpoint
    checkpoint_sha256: Sha256  # of the weights that were trained for it
