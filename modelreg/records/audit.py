"""The leakage audit: data that splits share, and implausibly good metrics."""

from typing import Annotated, Literal

from pydantic import Field

from modelreg.records.base import LEFT_OUT, Count, Name, Record, Sha256, Share
from modelreg.records.data import PartName

FindingKind = Literal[
    "subject", "session", "time", "exact_copy", "near_copy", "normalization", "too_good", "random_split"
]
Severity = Literal["leak", "suspicious", "by_design"]


class Finding(Record):
    """One finding of the audit."""

    kind: FindingKind
    severity: Severity  # by_design: a split by time shares subjects between its splits
    parts: tuple[Name, ...]  # splits; or folds of a cross-fitted run
    count: Count  # subjects, sessions or windows (of the later split)
    what: str
    examples: tuple[str, ...] = ()  # the first few


class NearSearch(Record):
    """The search for nearly equal samples: at 12.5 Hz, and confirmed at 50 Hz by a fitted shift, scale and gain."""

    devices: tuple[Name, ...]  # each is compared with itself; those below 8 Hz are not
    channels: tuple[Name, ...]  # accelerations and angular velocities; all of unknown units if there are none
    residual: Annotated[float, Field(gt=0)]  # largest share of the movement that differs in a copy
    residual_same_subject: Annotated[float, Field(gt=0)]  # the same, between two recordings of one subject
    residual_turned: Annotated[float, Field(gt=0)]  # the same, if the axes of a sensor are turned or mirrored
    every_s: Annotated[float, Field(gt=0)]  # seconds between two moments that were searched: 0.48 up to 800 hours


class CopySearch(Record):
    """The search for copies between whole recordings of different splits, at any offset."""

    hours: dict[Name, Annotated[float, Field(ge=0)]]  # of recordings searched, over all devices
    exact_bits: Annotated[float, Field(gt=0)]  # information of equal samples from which they are a copy
    near: NearSearch | None  # null: no channel can be compared
    cannot_find: tuple[str, ...]  # copies that the search misses


class AuditRecord(Record):
    """audit.json: the compared windows, the threshold of a near copy, and the findings."""

    schema_version: Literal[1] = 1
    near: Annotated[float, Field(gt=0, le=1)]  # smallest correlation of a near copy
    windows: dict[Name, Count]  # by split; of a cross-fitted run, those of the subjects of each fold
    compared: dict[
        Name, Count
    ]  # windows searched for near copies: constant windows are skipped, and the number is limited
    findings: tuple[Finding, ...]
    copies: Annotated[CopySearch | None, LEFT_OUT] = None  # null: an audit of modelreg 0.2 or earlier, of windows only

    @property
    def leaks(self) -> tuple[Finding, ...]:
        """Return the findings that invalidate the metrics."""
        return tuple(finding for finding in self.findings if finding.severity == "leak")


class RandomSplit(Record):
    """random_split.json of a run: the accuracy of its configuration with a random split.

    A reference for the audit only, not the quality of a model: windows of one subject are in every split.
    """

    schema_version: Literal[1] = 1
    leaky: Literal[True] = True
    model: Name
    seed: Count  # of the split; the same as that of the training
    windows: dict[PartName, Count]  # the same number in each split as in the run
    accuracy: Share  # on its test split
    run_sha256: Sha256  # of the run's checkpoint
    checkpoint_sha256: Sha256  # of the weights trained with the random split
