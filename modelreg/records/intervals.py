"""Intervals of metrics, or the reason why there is none."""

from modelreg.records.base import Count, Record, Share


class Interval(Record):
    """A percentile bootstrap interval over subjects."""

    low: float
    high: float
    level: Share
    subjects: Count
    replicates: Count


class NoInterval(Record):
    """The reason for a missing interval."""

    reason: str


class Reason(Record):
    """The reason why something was not fitted, measured or compared."""

    reason: str
