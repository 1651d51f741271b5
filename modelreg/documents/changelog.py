"""Read CHANGELOG.md in the format of Keep a Changelog 1.1.0, and move [Unreleased] under the heading of a release.

The heading of a release has its tag: `## [v0.2.0] - 2026-11-21`. Text is never reformatted.
"""

import re
from collections.abc import Iterator

from modelreg.errors import InputError, Problem

NAME = "CHANGELOG.md"
UNRELEASED = "Unreleased"

_HEADING = re.compile(r"## +\[?(?P<tag>[^\]\s]+)\]?(?: +- +(?P<date>\S+))?.*")
_REFERENCE = re.compile(r"\[[^\]]+\]: +\S+")


def section(text: str, tag: str) -> str | None:
    """Return the body of a tag's section without blank lines around it, or None if the heading does not exist."""
    lines = text.splitlines(keepends=True)
    for name, first, last in _sections(lines):
        if name == tag:
            return "".join(lines[first + 1 : last]).strip("\n")
    return None


def roll(text: str, tag: str, date: str, entry: str | None = None) -> str:
    """Return the text with the entries of [Unreleased] moved under a new heading of `tag`.

    If there are none, `entry` is the text under the new heading. Raises InputError if there is no entry either.
    """
    text = text.replace("\r\n", "\n")
    body = section(text, UNRELEASED)
    if entry and not has_entries(body):
        return _with_section(text, f"## [{tag}] - {date}\n\n{entry}\n")
    if body is None:
        problem = Problem(NAME, "changelog.no-unreleased", "section [Unreleased] not found")
        raise InputError("cannot roll the changelog", [problem])
    if not body:
        problem = Problem(NAME, "changelog.nothing-new", "section [Unreleased] has no entries")
        raise InputError("cannot roll the changelog", [problem])
    lines = text.splitlines(keepends=True)
    first = next(first for name, first, _ in _sections(lines) if name == UNRELEASED)
    return "".join([*lines[: first + 1], f"\n## [{tag}] - {date}\n", *lines[first + 1 :]])


def has_entries(body: str | None) -> bool:
    """Say whether a section has more than headings."""
    return any(line.strip() and not line.startswith("#") for line in (body or "").splitlines())


def _with_section(text: str, new: str) -> str:
    """Return the text with a section before that of the newest release, or at the end."""
    lines = text.splitlines(keepends=True)
    ours = [first for name, first, _ in _sections(lines) if name != UNRELEASED]
    place = ours[0] if ours else _references(lines)
    before, after = "".join(lines[:place]).rstrip("\n"), "".join(lines[place:]).lstrip("\n")
    return f"{before}\n\n{new}" + (f"\n{after}" if after else "")


def _sections(lines: list[str]) -> Iterator[tuple[str, int, int]]:
    """Yield the tag, first line and end of each section; headings inside code fences are text."""
    headings = list(_headings(lines))
    ends = [*(first for _, first in headings[1:]), _references(lines)]
    for (tag, first), last in zip(headings, ends, strict=False):  # without headings there is one end
        yield tag, first, last


def _headings(lines: list[str]) -> Iterator[tuple[str, int]]:
    fenced = False
    for number, line in enumerate(lines):
        fenced ^= line.lstrip().startswith(("```", "~~~"))
        match = _HEADING.match(line)
        if match and not fenced:
            yield match["tag"], number


def _references(lines: list[str]) -> int:
    """Return the line where the link references at the end of the file begin."""
    end = len(lines)
    while end and (not lines[end - 1].strip() or _REFERENCE.match(lines[end - 1])):
        end -= 1
    return end
