"""Render the page of `modelreg data check`: what the recordings are, what is wrong, and pictures of the evidence."""

import re
from collections.abc import Collection, Iterator, Sequence
from functools import partial

from modelreg.documents.report import overview, quality_pictures
from modelreg.documents.report.formatting import counted, escape, percent, table
from modelreg.documents.report.html import Picture, html
from modelreg.documents.report.quality import section
from modelreg.documents.report.quality_pictures import COLUMNS, ROWS, both, by_subject, decades, heat_map, linear, strip
from modelreg.records.data import Excerpt, QualityReport, RecordingQuality, SensorRest

NAMED = 5  # recordings of a finding
FOUND = 50  # findings in the table
DEVICES = 20  # rows of a chart of devices
GRAVITY_BAND = (0.85, 1.15)  # g: what an accelerometer with gravity shows at rest

CODE = re.compile("(`[A-Za-z0-9_.:/ -]+`)")  # a setting, which needs no escape

Part = tuple[str, dict[str, Picture]]  # Markdown, and the pictures that it shows by their path


def quality_documents(
    report: QualityReport, title: str, excerpts: Sequence[Excerpt] = (), command: str = "modelreg train"
) -> dict[str, bytes]:
    """Return the files that `data check` writes, by name: the record and its page."""
    sources = ", ".join(f"{escape(source.name)} (`{source.digest[:12]}`)" for source in report.sources)
    notes = "".join(f" {escape(s.name)}: {note}." for s in report.sources if s.rows for note in s.rows.notes())
    head = f"# {escape(title)}\n\nData: {sources}.{notes}\n\n{_overview(report, command)}"
    parts = [
        _findings(report),
        _classes(report),
        _signals(excerpts),
        _gravity(report),
        _durations(report),
        _clocks(report),
        _missing(report),
        _scores(report),
    ]
    text = "\n\n".join([head, *(text for text, _ in parts if text)])
    pictures = {path: picture for _, found in parts for path, picture in found.items()}
    return {"quality.json": report.to_bytes(), "quality.html": html(f"{text}\n", title, pictures).encode()}


def _overview(report: QualityReport, command: str) -> str:
    """Return the rows that the terminal shows, in full."""
    lines = []
    for row in overview.rows(report, command):
        items = row.items[:1] if row.label == overview.WRONG else row.items
        more = f", and {len(row.items) - 1:,} more, listed below" if len(items) < len(row.items) else ""
        text = row.between.join(items) + more
        shown = escape(f"{row.head}{text}")
        if row.label == "next":
            shown = _step(" ".join(item.removesuffix(overview.CONTINUED) for item in row.items))
        lines.append(f"- **{row.label}**: {shown}")
    return "\n".join(lines)


def _step(text: str) -> str:
    """Return a text as Markdown that shows it literally, with settings between backticks as code."""
    return "".join(part if CODE.fullmatch(part) else escape(part) for part in CODE.split(text))


def _findings(report: QualityReport) -> Part:
    found = [finding for finding in report.findings or () if finding.level != "information"]
    if not found:
        return "", {}
    rows = [
        (
            escape(finding.where),
            escape(finding.message),
            escape(overview.found_in(finding, len(report.recordings), NAMED)) or "-",
            _step(overview.next_step(finding)),
        )
        for finding in found[:FOUND]
    ]
    header = ("where", "what", "recordings", "next")
    more = f"\n\n{len(found) - FOUND:,} more are in quality.json." if len(found) > FOUND else ""
    return f"## What is wrong\n\n{table(header, rows, words=header)}{more}", {}


def _classes(report: QualityReport) -> Part:
    """Return the table of classes, and their durations by subject."""
    if not report.classes:
        return "", {}
    rows = [
        (
            escape(each.name),
            overview.duration(each.seconds),
            each.subjects,
            each.recordings,
            each.stretches,
            *("-" if x is None else overview.duration(x) for x in (each.shortest_s, each.median_s, each.longest_s)),
        )
        for each in report.classes
    ]
    header = ("class", "duration", "subjects", "recordings", "stretches", "shortest", "median", "longest")
    names = [each.name for each in report.classes]
    seconds: dict[str, list[float]] = {}
    for recording in report.recordings:
        found = seconds.setdefault(recording.subject, [0.0] * len(names))
        for place, name in enumerate(names):
            found[place] += (recording.class_seconds or {}).get(name, 0.0)
    unit, factor = ("minutes", 60.0) if max(map(max, seconds.values()), default=0.0) >= 120 else ("seconds", 1.0)
    rows_of = {subject: [x / factor for x in found] for subject, found in seconds.items()}
    picture = both(lambda use: heat_map(rows_of, names, lambda x: f"{x:.3g}" if x else "", use))
    limits = _limits(len(rows_of), len(names), "classes")
    return (
        f"## Classes by subject\n\n![{unit.capitalize()} of each class by subject](classes.svg)\n\n"
        f"Each cell has the {unit} of a class of a subject; an empty one has none.{limits} A stretch is a run of "
        f"samples with one label.\n\n{table(header, rows)}"
    ), {"classes.svg": picture}


def _limits(rows: int, columns: int, noun: str) -> str:
    """Return a sentence on the rows and columns that a heat map leaves out."""
    left_out = [
        *([f"the first {ROWS} of {rows:,} subjects"] if rows > ROWS else []),
        *([f"the first {COLUMNS} of {columns:,} {noun}"] if columns > COLUMNS else []),
    ]
    return f" The picture shows {' and '.join(left_out)}." if left_out else ""


def _signals(excerpts: Sequence[Excerpt]) -> Part:
    """Return a picture for each group of channels with a panel for each class."""
    if not excerpts:
        return "", {}
    grouped: dict[tuple[str, tuple[str, ...], str], list[Excerpt]] = {}
    for excerpt in excerpts:
        grouped.setdefault((excerpt.device, excerpt.channels, excerpt.unit), []).append(excerpt)
    texts, pictures = ["## Signals of each class"], {}
    texts.append("The middle of the longest stretch of each class, five seconds at most.")
    for number, ((device, channels, unit), found) in enumerate(grouped.items()):
        path, names = f"signals-{number}.svg", ", ".join(channels)
        texts.append(f"**{escape(f'{device}: {names} in {unit}')}**")
        texts.append(f"![{escape(f'{names} of {device} during each class')}]({path})")
        pictures[path] = both(partial(quality_pictures.signals, found))
    most = max(map(len, grouped.values()))
    if most > COLUMNS:
        texts.append(f"Shown are the first {COLUMNS} of {most:,} classes.")
    return "\n\n".join(texts), pictures


def _gravity(report: QualityReport) -> Part:
    """Return the norms of accelerometers at rest, and what each sensor shows at rest."""
    rests: dict[tuple[str, tuple[str, ...]], list[SensorRest]] = {}
    for rest in (rest for recording in report.recordings for rest in recording.rests or ()):
        rests.setdefault((rest.device, rest.channels), []).append(rest)
    moving = [(place, found) for place, found in rests.items() if found[0].quantity == "acceleration"]
    alone = len({device for (device, _), _ in moving}) == len(moving)
    norms = {
        device if alone else f"{device} {channels[0]}": [
            rest.norm / rest.one for rest in found if rest.norm is not None
        ]
        for (device, channels), found in moving
    }
    if not norms:
        return "## Gravity\n\nNo accelerometer with three axes in a known unit was found.", {}
    known = "\n".join(
        f"- {escape(finding.where)}: {escape(finding.message)}"
        for finding in report.findings or ()
        if finding.level == "information"
    )
    text = f"## Gravity\n\n{known}\n\n{table(('sensor', 'recordings with rest', 'rest', 'at rest'), _rests(rests))}"
    values = [norm for found in norms.values() for norm in found]
    if not values:
        return text, {}
    scale = linear("norm at rest (g)", 0.0, max(1.2, *values), GRAVITY_BAND)
    picture = both(lambda use: strip(norms, scale, use))
    return (
        f"{text}\n\n![Norm of each accelerometer at rest](gravity.svg)\n\nEach dot shows recordings with the same norm "
        "at rest, in g by the configured unit. It is near 1 with gravity (between the dashed lines), near 0 without."
    ), {"gravity.svg": picture}


def _rests(rests: dict[tuple[str, tuple[str, ...]], list[SensorRest]]) -> Iterator[tuple[object, ...]]:
    """Yield a row for each sensor: the norm of an accelerometer, the largest bias of a gyroscope."""
    for (device, channels), found in rests.items():
        resting = [rest for rest in found if rest.mean is not None]
        shown = "-"
        if resting and found[0].quantity == "acceleration":
            norms = [rest.norm or 0.0 for rest in resting]
            shown = f"norm {min(norms):.3g} to {max(norms):.3g} {found[0].unit}"
        elif resting:
            bias = max(abs(x) for rest in resting for x in rest.mean or ())
            shown = f"bias up to {bias:.2g} {found[0].unit}"
        seconds = sum(rest.seconds for rest in found)
        yield escape(f"{device} {', '.join(channels)}"), len(resting), overview.duration(seconds), escape(shown)


def _durations(report: QualityReport) -> Part:
    pairs = [(recording.subject, recording.seconds) for recording in report.recordings if recording.seconds is not None]
    if not pairs:
        return "", {}
    longest = max(seconds for _, seconds in pairs)
    unit, factor = ("minutes", 60.0) if longest >= 120 else ("seconds", 1.0)
    rows = by_subject([(subject, seconds / factor) for subject, seconds in pairs])
    scale = linear(f"duration of a recording ({unit})", 0.0, longest / factor)
    picture = both(lambda use: strip(rows, scale, use))
    return (
        "## Durations\n\n![Duration of each recording, one row per subject](durations.svg)\n\nEach dot shows the "
        f"recordings of a subject with the same duration. A larger dot means more recordings.{_first(rows)}"
    ), {"durations.svg": picture}


def _first(rows: Collection[str]) -> str:
    """Return a sentence on the subjects that a chart leaves out."""
    return f" The picture shows the {ROWS} of {len(rows):,} subjects with the lowest means." if len(rows) > ROWS else ""


def _clocks(report: QualityReport) -> Part:
    found = report.by_clock()
    if not found:
        return "## Clocks\n\nThe recordings have no time stamps: gaps and jitter are not known.", {}
    longest = {device: [clock.longest_gap_s for clock in clocks] for device, clocks in found.items()}
    jitter = {device: [clock.jitter for clock in clocks] for device, clocks in found.items()}
    values = [x for each in longest.values() for x in each]
    gaps = decades("longest time between two samples (s)", min(values), max(values))
    spread = linear("jitter (median intervals)", 0.0, max(0.1, *(x for each in jitter.values() for x in each)))
    return (
        "## Clocks\n\n![Longest interval of each recording, one row per device](gaps.svg)\n\n"
        "![Jitter of each recording, one row per device](jitter.svg)\n\nEach dot shows the recordings with the same "
        "value. Jitter is the standard deviation of the intervals between samples, divided by their median."
    ), {
        "gaps.svg": both(lambda use: strip(longest, gaps, use)),
        "jitter.svg": both(lambda use: strip(jitter, spread, use)),
    }


def _missing(report: QualityReport) -> Part:
    """Return the share of missing values of each subject and channel, for the channels that miss most."""
    shares: dict[str, dict[str, list[float]]] = {}  # by channel and subject
    for recording in report.recordings:
        for channel in recording.channels:
            named = shares.setdefault(f"{channel.device} {channel.channel}", {})
            named.setdefault(recording.subject, []).append(100 * (channel.nan_rate + channel.inf_rate))
    worst = {name: max(map(max, found.values())) for name, found in shares.items()}
    names = sorted((name for name in worst if worst[name]), key=lambda name: -worst[name])
    if not names:
        return "## Missing values\n\nNo value is missing.", {}
    subjects = dict.fromkeys(recording.subject for recording in report.recordings)
    rows = {
        subject: [max(shares[name].get(subject, [0.0])) for name in names]
        for subject in subjects
        if any(max(shares[name].get(subject, [0.0])) for name in names)
    }
    picture = both(lambda use: heat_map(rows, names, lambda x: f"{x:.2g}" if x else "", use))
    return (
        "## Missing values\n\n![Largest percentage of missing values by subject and channel](missing.svg)\n\nEach cell "
        "has the percentage of missing values in the worst recording of a subject, for channels and subjects with any."
        f"{_limits(len(rows), len(names), 'channels')} {_advice(report.recordings)}"
    ), {"missing.svg": picture}


def _advice(recordings: Sequence[RecordingQuality]) -> str:
    longest = max((recording.longest_missing_s or 0.0 for recording in recordings), default=0.0)
    filled = sum(recording.recommendation == "interpolate" for recording in recordings)
    dropped = sum(recording.recommendation == "drop" for recording in recordings)
    worst = max((recording.missing_rate for recording in recordings), default=0.0)
    return (
        f"The longest stretch is {overview.duration(longest)}, the largest share of a recording {percent(worst)}. "
        f"`interpolate` is recommended for {counted(filled, 'recording')}, `drop` for {counted(dropped, 'recording')}."
    )


def _scores(report: QualityReport) -> Part:
    if not report.recordings:
        return section(report), {}
    rows = by_subject([(recording.subject, recording.score) for recording in report.recordings])
    lowest = min(recording.score for recording in report.recordings)
    scale = linear("quality score", min(90.0, lowest), 100.0)
    note = "Each dot shows the recordings of a subject with the same score. A larger dot means more recordings."
    text = section(report, f"\n\n![Score of each recording, one row per subject](scores.svg)\n\n{note}{_first(rows)}")
    return text, {"scores.svg": both(lambda use: strip(rows, scale, use))}
