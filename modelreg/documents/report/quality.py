"""Render the data quality section of a report, and the page of `modelreg data check`. Needs no matplotlib."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from html import escape as html_escape
from math import sqrt
from statistics import fmean

from modelreg.documents.report.formatting import counted, escape, number, percent, table
from modelreg.documents.report.html import html
from modelreg.escaping import one_line
from modelreg.records.data import QualityReport, RecordingQuality

WORST = 20  # recordings in the table
PROBLEMS = 5  # of a recording in the table
ROWS = 40  # subjects in the picture
LABEL_LENGTH = 14  # characters of a subject in the picture
COLOURS = {  # paper, ink, line, dot; the colors of html.STYLE and plots
    False: ("#ffffff", "#1b1f24", "#d0d7de", "#0072B2"),
    True: ("#15181d", "#e8eaed", "#3a424b", "#56B4E9"),
}
SCORES = "scores.svg"


def quality_documents(quality: QualityReport, title: str) -> dict[str, bytes]:
    """Return the files that `data check` writes, by name: the record and its page."""
    picture = f"\n\n![Score of each recording, one row per subject]({SCORES})\n\n{_rows_note(quality)}"
    sources = ", ".join(f"{escape(source.name)} (`{source.digest[:12]}`)" for source in quality.sources)
    notes = "".join(f" {escape(s.name)}: {note}." for s in quality.sources if s.rows for note in s.rows.notes())
    text = (
        f"# {escape(title)}\n\nData: {sources}.{notes}\n\n{section(quality, picture if quality.recordings else '')}\n"
    )
    pictures = {SCORES: (draw_scores(quality), draw_scores(quality, dark=True))} if quality.recordings else {}
    return {"quality.json": quality.to_bytes(), "quality.html": html(text, title, pictures).encode()}


def section(quality: QualityReport, picture: str = "") -> str:
    """Return the section in Markdown: scores, channels, clocks if there are any, and the worst recordings.

    `picture` is inserted below the scores.
    """
    if not quality.recordings:
        return "## Data quality\n\nNo recordings found."
    parts = (_scores(quality.recordings) + picture, _channels(quality), _clocks(quality), _worst(quality.recordings))
    return "\n\n".join(("## Data quality", *(part for part in parts if part)))


def _scores(recordings: Sequence[RecordingQuality]) -> str:
    lowest = min(recordings, key=lambda recording: recording.score)
    mean = fmean(recording.score for recording in recordings)
    samples = sum(recording.samples for recording in recordings)
    labelled = sum(recording.labelled for recording in recordings)
    subjects = len({recording.subject for recording in recordings})
    kinds = Counter(recording.recommendation for recording in recordings if recording.recommendation != "none")
    what = ", ".join(f"{kind} in {counted(count, 'recording')}" for kind, count in sorted(kinds.items()))
    missing = f" Recommended handling of missing values: {what}." if what else ""
    return (
        f"{counted(len(recordings), 'recording')} of {counted(subjects, 'subject')} with {counted(samples, 'sample')}, "
        f"{labelled:,} labelled. The mean quality score is {number(mean)} of 100, the lowest {number(lowest.score)} "
        f"({escape(lowest.recording)}).{missing}"
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


# The picture


def draw_scores(quality: QualityReport, *, dark: bool = False) -> bytes:
    """Return an SVG of the score of each recording: one row per subject, lowest mean score first.

    A dot shows all recordings of a subject whose scores round to the same integer; its area grows with their number.
    """
    subjects, height = _by_subject(quality), 24
    left = 30 + 8 * max(len(_label(name)) for name, _ in subjects)
    right = left + 320
    floor = min(90, int(min(scores[0] for _, scores in subjects) // 10 * 10))
    paper, ink, line, dot = COLOURS[dark]
    bottom = 20 + height * len(subjects)

    def at(score: float) -> str:
        return f"{left + (right - left) * (score - floor) / (100 - floor):.1f}"

    marks = []
    for tick in range(floor, 101, max(2, (100 - floor) // 5)):
        marks.append(f'<line x1="{at(tick)}" y1="20" x2="{at(tick)}" y2="{bottom}" stroke="{line}"/>')
        marks.append(f'<text x="{at(tick)}" y="{bottom + 18}" text-anchor="middle">{tick}</text>')
    most = max(max(Counter(map(round, scores)).values()) for _, scores in subjects)
    for row, (name, scores) in enumerate(subjects):
        y = 20 + height * row + height / 2
        marks.append(f'<text x="{left - 14}" y="{y + 4:g}" text-anchor="end">{html_escape(_label(name))}</text>')
        for score, count in sorted(Counter(map(round, scores)).items()):
            radius = 3 + 6 * sqrt(count / most) if most > 1 else 5
            marks.append(
                f'<circle cx="{at(score)}" cy="{y:g}" r="{radius:.1f}" fill="{dot}" fill-opacity="0.75" '
                f'stroke="{paper}"/>'
            )
    marks.append(f'<text x="{(left + right) / 2:g}" y="{bottom + 38}" text-anchor="middle">quality score</text>')
    size = f'width="{right + 20}" height="{bottom + 46}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif" font-size="13" '
        f'fill="{ink}">{"".join(marks)}</svg>'
    ).encode()


def _by_subject(quality: QualityReport) -> list[tuple[str, list[float]]]:
    """Return the first `ROWS` subjects with their sorted scores, lowest mean score first."""
    found: dict[str, list[float]] = {}
    for recording in quality.recordings:
        found.setdefault(recording.subject, []).append(recording.score)
    ordered = sorted(found.items(), key=lambda item: (fmean(item[1]), item[0]))
    return [(name, sorted(scores)) for name, scores in ordered[:ROWS]]


def _rows_note(quality: QualityReport) -> str:
    """Return the caption of the picture, with the number of subjects that it does not show."""
    subjects = len({recording.subject for recording in quality.recordings})
    shown = (
        f" The picture shows the {ROWS} of {subjects:,} subjects with the lowest mean score." if subjects > ROWS else ""
    )
    return f"Each dot shows the recordings of a subject with the same score. A larger dot means more recordings.{shown}"


def _label(name: str) -> str:
    """Return a name shortened for the picture, without characters that XML does not allow."""
    name = one_line(name)
    short = name if len(name) <= LABEL_LENGTH else f"{name[: LABEL_LENGTH - 1]}…"
    return short.translate({0xFFFE: "\ufffd", 0xFFFF: "\ufffd"})
