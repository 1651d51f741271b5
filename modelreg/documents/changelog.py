"""CHANGELOG.md, in the form of Keep a Changelog 1.1.0: read a section, roll [Unreleased] into a new one.

A release's heading carries its tag: `## [v0.2.0] - 2026-11-21`. Text is never reformatted.
"""

import re
from collections.abc import Iterator

from modelreg.errors import InputError, Problem

NAME = "CHANGELOG.md"
UNRELEASED = "Unreleased"

_HEADING = re.compile(r"## +\[?(?P<tag>[^\]\s]+)\]?(?: +- +(?P<date>\S+))?.*")
_REFERENCE = re.compile(r"\[[^\]]+\]: +\S+")


def section(text: str, tag: str) -> str | None:
    """Return the body of a tag's section without blank edges, or None where there is no such heading."""
    lines = text.splitlines(keepends=True)
    for name, first, last in _sections(lines):
        if name == tag:
            return "".join(lines[first + 1 : last]).strip("\n")
    return None


def roll(text: str, tag: str, date: str) -> str:
    """Return the text with what stands under [Unreleased] moved under a new heading of `tag`.

    Raises InputError where there is no [Unreleased] section, or nothing in it.
    """
    body = section(text, UNRELEASED)
    if not body:
        what = "has no [Unreleased] section" if body is None else "[Unreleased] is empty: say what is new first"
        raise InputError("cannot roll the changelog", [Problem(NAME, "todo.changelog", what)])
    lines = text.splitlines(keepends=True)
    first = next(first for name, first, _ in _sections(lines) if name == UNRELEASED)
    return "".join([*lines[: first + 1], f"\n## [{tag}] - {date}\n", *lines[first + 1 :]])


def _sections(lines: list[str]) -> Iterator[tuple[str, int, int]]:
    """Yield tag, heading's line and end of each section; headings inside code fences are text."""
    headings = list(_headings(lines))
    ends = [*(first for _, first in headings[1:]), _references(lines)]
    for (tag, first), last in zip(headings, ends, strict=False):  # no heading, one end
        yield tag, first, last


def _headings(lines: list[str]) -> Iterator[tuple[str, int]]:
    fenced = False
    for number, line in enumerate(lines):
        fenced ^= line.lstrip().startswith(("```", "~~~"))
        match = _HEADING.match(line)
        if match and not fenced:
            yield match["tag"], number


def _references(lines: list[str]) -> int:
    """Return where the link references at the end of the file begin."""
    end = len(lines)
    while end and (not lines[end - 1].strip() or _REFERENCE.match(lines[end - 1])):
        end -= 1
    return end
