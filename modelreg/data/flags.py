"""What is wrong with one recording, and the findings that group it by cause over all recordings."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from modelreg.records.data import QualityFinding

THRESHOLD, UNIT, RANGE = "quality.threshold", "quality.unit", "quality.range"
REPEATED = "quality.repeated"

CLOCK_COST, COST = 0.9, 0.5  # what a problem of a clock, or of a channel, leaves of the share of its channels
LEVELS = ("problem", "advice", "information")
MOST_NAMED = 4  # channels in a message


class Flag(NamedTuple):
    """One thing that is wrong in one recording, or is worth to know.

    `channels` is empty for the clock of a device. `other` is the second device of an exchange, which concerns all
    channels of both.
    """

    recording: str
    rule: str
    device: str
    channels: tuple[str, ...]
    cause: str  # without numbers of this recording: flags with the same rule, device and cause are one finding
    message: str
    size: float = 0.0  # of its numbers: the finding shows the message of the largest one
    next: str = ""
    other: str = ""
    level: Literal["problem", "advice", "information"] = "problem"

    def __str__(self) -> str:
        return f"{_place(self, self.channels)}: {self.message}"

    @property
    def cost(self) -> float:
        """Return the factor by which it lowers the share of the channels that it concerns."""
        return COST if self.channels or self.other else CLOCK_COST

    def concerns(self, device: str, channel: str) -> bool:
        """Return whether a channel of a device is less fit for use."""
        return device == self.other or (device == self.device and (channel in self.channels or not self.channels))


def group(flags: Iterable[Flag], order: Sequence[str]) -> tuple[QualityFinding, ...]:
    """Return one finding for each cause: problems first, units first of all, thresholds last, then by their number.

    `order` has the name of every channel.
    """
    grouped: dict[tuple[object, ...], list[Flag]] = {}
    for flag in flags:
        grouped.setdefault((flag.level, flag.rule, flag.device, flag.other, flag.cause), []).append(flag)
    found = sorted(grouped.values(), key=_rank)
    return tuple(_finding(same, order) for same in found)


def without_consequences(flags: Sequence[Flag]) -> Iterator[Flag]:
    """Yield the flags, except those that another flag of the same channels explains: one cause is one flag."""
    causes = {(f.recording, f.device, channel, f.rule) for f in flags for channel in f.channels}
    for flag in flags:
        rule = _explanation(flag)
        if not rule or any((flag.recording, flag.device, channel, rule) not in causes for channel in flag.channels):
            yield flag


def _explanation(flag: Flag) -> str:
    """Return the rule of what would explain a flag; empty if nothing does."""
    if flag.rule == RANGE or (flag.rule == THRESHOLD and flag.cause.startswith("standard deviation")):
        return UNIT
    return REPEATED if flag.rule == THRESHOLD and flag.cause.endswith("saturated") else ""


def _rank(same: Sequence[Flag]) -> tuple[int, bool, bool, int]:
    level, rule = LEVELS.index(same[0].level), same[0].rule
    return level, rule == THRESHOLD, rule != UNIT, -len({flag.recording for flag in same})


def _finding(same: Sequence[Flag], order: Sequence[str]) -> QualityFinding:
    first = max(same, key=lambda flag: flag.size)
    channels = {channel for flag in same for channel in flag.channels}
    recordings = dict.fromkeys([first.recording, *(flag.recording for flag in same)])
    return QualityFinding(
        rule=first.rule,
        level=first.level,
        where=_place(first, listed := tuple(sorted(channels, key=order.index))),
        device=first.device,
        channels=listed,
        cause=first.cause,
        message=first.message,
        next=first.next,
        recordings=tuple(name for name in recordings if name),
    )


def _place(flag: Flag, channels: Sequence[str]) -> str:
    if flag.other:
        return f"{flag.device} and {flag.other}"
    several = f"{channels[0]} and {len(channels) - 1} other channels" if len(channels) > MOST_NAMED else ""
    return f"{flag.device} {several or ', '.join(channels) or 'clock'}"
