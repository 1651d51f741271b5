"""How far a number can be believed, or why that is not known."""

from modelreg.records.base import Count, Record, Share


class Interval(Record):
    """A percentile bootstrap interval over subjects."""

    low: float
    high: float
    level: Share
    subjects: Count
    replicates: Count


class NoInterval(Record):
    """Why there is no interval."""

    reason: str


class Reason(Record):
    """Why something was not fitted, measured or compared."""

    reason: str
