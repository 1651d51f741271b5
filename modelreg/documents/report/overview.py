"""Say in ten lines what recordings are, whether they are fit to train on, and what to do next."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from modelreg.documents.report.formatting import counted
from modelreg.escaping import one_line
from modelreg.records.data import ClassQuality, QualityFinding, QualityReport
from modelreg.rules import catalogue

LINES = 10
WRONG = "wrong"  # the label of the row on what is wrong
INDENT = 12  # columns of a label
COMMAND_LINES = 4  # with one line in place of three for what is wrong
CONTINUED = " \\"  # at the end of a line of a command
UNBREAKABLE = "\xa0"  # a blank at which no line is broken


class Row(NamedTuple):
    """One row: a label and its items."""

    label: str
    items: tuple[str, ...]
    most: int  # lines that it may take
    head: str = ""  # before the items
    between: str = ", "  # the items; a newline: each has a line


def rows(report: QualityReport, command: str) -> list[Row]:
    """Return the rows of a report; `command` trains on the recordings."""
    wrong = [finding for finding in report.findings or () if finding.level != "information"]
    clauses = tuple(in_words(finding, len(report.recordings)) for finding in wrong)
    known = [f"{finding.device} {finding.cause}" for finding in report.findings or () if finding.level == "information"]
    found = [
        Row("recordings", (_recordings(report),), 1),
        _classes(report.classes or ()),
        _rates(report),
        Row("gravity", tuple(known), 1, between="; "),
        Row(WRONG, clauses or ("nothing was found",), 3),
        Row("next", (next_step(wrong[0]),), 2) if wrong else _command(command),
    ]
    return [row for row in found if row.items]


def lines(found: Sequence[Row], width: int = 80) -> list[str]:
    """Return the rows as at most LINES lines of `width` columns, without the items that do not fit.

    What is wrong takes the lines that the others leave.
    """
    texts = {row.label: _joined(row, width - INDENT) for row in found if row.label != WRONG}
    free = LINES - sum(map(len, texts.values()))
    texts |= {row.label: _listed(row.items, free, width - INDENT) for row in found if row.label == WRONG}
    return [
        f"{'' if number else row.label:<{INDENT}}{text}"
        for row in found
        for number, text in enumerate(texts[row.label])
    ]


def in_words(finding: QualityFinding, recordings: int) -> str:
    """Return a finding as a clause, with its recordings out of so many."""
    where = found_in(finding, recordings, 1)
    return f"{finding.where}: {finding.message}{f' ({where})' if where else ''}"


def found_in(finding: QualityFinding, recordings: int, most: int) -> str:
    """Return in which of so many recordings a finding is, with the names of `most`; empty for a finding on the set."""
    names = finding.recordings
    if len(names) == recordings > 1:
        return f"all {recordings:,} recordings"
    others = len(names) - most
    return ", ".join(names[:most]) + (f" and {counted(others, 'other')}" if others > 0 else "")


def next_step(finding: QualityFinding) -> str:
    """Return what to do about a finding."""
    return finding.next or catalogue.find(finding.rule).next


def duration(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours, with up to three digits."""
    if seconds < 99.5:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 100 * 60 else f"{seconds / 3600:,.3g} h"


def _recordings(report: QualityReport) -> str:
    names = ", ".join(source.name for source in report.sources)
    if not report.recordings:
        return f"none in {names}"
    subjects = len({recording.subject for recording in report.recordings})
    seconds = sum(recording.seconds or 0.0 for recording in report.recordings)
    count = f"{len(report.recordings):,} of {counted(subjects, 'subject')}"
    return f"{count}, {duration(seconds)}; score {report.score:.1f} of 100; {names}"


def _classes(found: Sequence[ClassQuality]) -> Row:
    """Return the classes with their duration and subjects; if they do not fit, the scarcest come first."""
    row = _class_row(found)
    if len(_wrapped(_text(row, len(row.items)), 80 - INDENT)) <= row.most:
        return row
    return _class_row(sorted(found, key=lambda each: each.seconds))


def _class_row(found: Sequence[ClassQuality]) -> Row:
    if len(found) > 1 and len({each.subjects for each in found}) == 1:
        head = f"{len(found)}, each of {counted(found[0].subjects, 'subject')}: "
        return Row("classes", tuple(f"{each.name} {duration(each.seconds)}" for each in found), 2, head)
    items = [f"{each.name} {duration(each.seconds)} of {each.subjects}" for each in found]
    if items:
        items[0] = f"{found[0].name} {duration(found[0].seconds)} of {counted(found[0].subjects, 'subject')}"
    return Row("classes", tuple(items), 2)


def _rates(report: QualityReport) -> Row:
    """Return the rate of the windows, and the measured rate of each device with a clock."""
    measured = []
    for device, found in report.by_clock().items():
        rates = sorted(clock.rate_hz for clock in found)
        ends = dict.fromkeys(f"{rate:.4g}" for rate in (rates[0], rates[-1]))
        measured.append(f"{device} {' to '.join(ends)} Hz")
    rate = "" if report.rate_hz is None else f"{report.rate_hz:g} Hz"
    if not measured:
        return Row("rate", (rate,) if rate else (), 1)
    return Row("rate", tuple(measured), 1, f"{rate}; clocks: ")


def _command(command: str) -> Row:
    """Return a command on lines that can be pasted, or a description of a longer one."""
    width = 80 - INDENT - len(CONTINUED)
    wrapped = textwrap.wrap(command, width, break_long_words=False, break_on_hyphens=False)
    if len(wrapped) > COMMAND_LINES or any(len(line) > width for line in wrapped):
        wrapped = ["modelreg train, with the same configuration and settings"]
    lines = (*(f"{line}{CONTINUED}" for line in wrapped[:-1]), *wrapped[-1:])
    return Row("next", lines, COMMAND_LINES, between="\n")


# Fit rows into lines


def _joined(row: Row, width: int) -> list[str]:
    """Return as many items of a row as fit into its lines."""
    if row.between == "\n":
        return list(row.items)
    fitting = (_wrapped(_text(row, count), width) for count in range(len(row.items), 0, -1))
    found = next((wrapped for wrapped in fitting if len(wrapped) <= row.most), None)
    return found or _cut(_wrapped(_text(row, 1), width), row.most, width)


def _listed(items: Sequence[str], most: int, width: int) -> list[str]:
    """Return the items one below the other; if they do not fit whole, one line each, and the number of the others."""
    wrapped = [_wrapped(item, width) for item in items]
    whole = [line for item in wrapped for line in item]
    if len(whole) <= most:
        return whole
    if len(items) == 1:
        return _cut(whole, most, width)
    count = len(items) if len(items) <= most else most - 1
    left = [f"and {len(items) - count:,} more, listed below"] if len(items) > count else []
    return [*(line for item in wrapped[:count] for line in _cut(item, 1, width)), *left]


def _text(row: Row, count: int) -> str:
    """Return the first items of a row, each unbreakable if there are several, and the number of the others."""
    left = len(row.items) - count
    blank = UNBREAKABLE if len(row.items) > 1 else " "
    items = row.between.join(item.replace(" ", blank) for item in row.items[:count])
    return f"{row.head}{items}{f' and {left:,} more, listed below' if left else ''}"


def _wrapped(text: str, width: int) -> list[str]:
    wrapped = textwrap.wrap(one_line(text), width, break_on_hyphens=False)
    return [line.replace(UNBREAKABLE, " ") for line in wrapped]


def _cut(wrapped: list[str], most: int, width: int) -> list[str]:
    """Return the first lines, with an ellipsis at the end if there are more."""
    if len(wrapped) <= most:
        return wrapped
    return [*wrapped[: most - 1], f"{wrapped[most - 1][: width - 2].rstrip()} …"]
