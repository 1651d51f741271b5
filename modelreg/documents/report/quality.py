"""Render the data quality section of a report. Needs no matplotlib."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from modelreg.documents.report.formatting import counted, escape, number, percent, table
from modelreg.records.data import QualityReport, RecordingQuality

WORST = 20  # recordings in the table
PROBLEMS = 5  # of a recording in the table


def section(quality: QualityReport, picture: str = "") -> str:
    """Return the section in Markdown: scores, channels, clocks if there are any, and the worst recordings.

    `picture` is inserted below the scores.
    """
    if not quality.recordings:
        return "## Data quality\n\nNo recordings found."
    parts = (_scores(quality) + picture, _channels(quality), _clocks(quality), _worst(quality.recordings))
    return "\n\n".join(("## Data quality", *(part for part in parts if part)))


def _scores(quality: QualityReport) -> str:
    recordings = quality.recordings
    lowest = min(recordings, key=lambda recording: recording.score)
    samples = sum(recording.samples for recording in recordings)
    labelled = sum(recording.labelled for recording in recordings)
    subjects = len({recording.subject for recording in recordings})
    kinds = Counter(recording.recommendation for recording in recordings if recording.recommendation != "none")
    what = ", ".join(f"{kind} in {counted(count, 'recording')}" for kind, count in sorted(kinds.items()))
    missing = f" Recommended handling of missing values: {what}." if what else ""
    return (
        f"{counted(len(recordings), 'recording')} of {counted(subjects, 'subject')} with {counted(samples, 'sample')}, "
        f"{labelled:,} labelled. The quality score is {number(quality.score)} of 100, the lowest of a "
        f"recording {number(lowest.score)} ({escape(lowest.recording)}).{missing}"
    )


def _channels(quality: QualityReport) -> str:
    """Return the table of each channel of each device, over all recordings with this channel."""
    rows = [
        (
            escape(device),
            escape(name),
            *_span(channel.min for channel in channels)[:1],
            *_span(channel.max for channel in channels)[1:],
            *_span(channel.std for channel in channels),
            percent(max(channel.nan_rate + channel.inf_rate for channel in channels)),
            percent(max(channel.saturated_rate for channel in channels)),
            sum(channel.constant for channel in channels),
        )
        for (device, name), channels in quality.by_channel().items()
    ]
    header = ("device", "channel", "min", "max", "min std", "max std", "max missing", "max saturated", "constant")
    return f"""{table(header, rows, words=("channel",))}

Columns: minimum and maximum over all recordings; smallest and largest standard deviation, and largest share of missing
and saturated samples of a recording; number of recordings in which the channel is constant."""


def _span(values: Iterable[float | None]) -> tuple[str, str]:
    """Return the minimum and the maximum of the values that are not None, formatted."""
    known = [value for value in values if value is not None]
    return (number(min(known)), number(max(known))) if known else ("none", "none")


def _clocks(quality: QualityReport) -> str:
    """Return the table of each device's clock; empty if the recordings have no clocks."""
    rows = [
        (
            escape(device),
            " to ".join(dict.fromkeys(_span(clock.nominal_hz for clock in clocks))),
            " to ".join(dict.fromkeys(_span(clock.rate_hz for clock in clocks))),
            number(max(clock.offset_s for clock in clocks)),
            number(max(clock.jitter for clock in clocks)),
            f"{sum(clock.gaps for clock in clocks):,}",
            number(max(clock.longest_gap_s for clock in clocks)),
            percent(max(clock.missing_rate for clock in clocks)),
        )
        for device, clocks in quality.by_clock().items()
    ]
    header = (
        "clock",
        "nominal rate (Hz)",
        "measured rate (Hz)",
        "max offset (s)",
        "max jitter",
        "gaps",
        "longest interval (s)",
        "max time in gaps",
    )
    if not rows:
        return ""
    return f"""{table(header, rows)}

Jitter is the standard deviation of the intervals between samples, divided by the median interval. Gaps are counted over
all recordings. Offset, jitter, longest interval and share of time in gaps are those of the worst recording."""


def _worst(recordings: Sequence[RecordingQuality]) -> str:
    """Return the table of the recordings that violate a threshold, lowest score first."""
    broken = sorted((r for r in recordings if r.problems), key=lambda r: (r.score, r.recording))
    if not broken:
        return "No recording violates a threshold."
    rows = [
        (
            escape(recording.recording),
            escape(recording.subject),
            number(recording.score),
            percent(recording.missing_rate),
            recording.recommendation,
            "; ".join(_violations(recording)),
        )
        for recording in broken[:WORST]
    ]
    header = ("recording", "subject", "score", "missing", "missing values", "violated thresholds")
    more = f"\n\n{len(broken) - WORST:,} more recordings violate a threshold." if len(broken) > WORST else ""
    count = f"Recordings that violate a threshold: {len(broken):,} of {len(recordings):,}"
    which = f"the {WORST} with the lowest scores" if more else "lowest score first"
    listed = table(header, rows, words=("subject", "missing values", "violated thresholds"))
    return f"{count} ({which}):\n\n{listed}{more}"


def _violations(recording: RecordingQuality) -> Iterator[str]:
    yield from map(escape, recording.problems[:PROBLEMS])
    if (more := len(recording.problems) - PROBLEMS) > 0:
        yield f"and {more:,} more"
