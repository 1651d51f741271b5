"""An error as lines for a terminal and as a document for `--json`: one entry for each cause, with the next step."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from modelreg.errors import ModelregError, Notice, Problem
from modelreg.escaping import one_line
from modelreg.rules import catalogue

LINES = 50  # of an error on a terminal
PLACES = 3  # named in full; the others are counted
INDENT = "  "


def lines_of(error: ModelregError, width: int | None = None) -> list[str]:
    """Return an error in at most `LINES` lines, wrapped between words at `width` columns (None: not wrapped).

    Problems of one rule are one entry: the message, how often, the first places, and the next step.
    """
    causes = _by_rule(error.problems)
    entries = [_wrapped(_entry(problems), width) for problems in causes]
    conclusion = _wrapped([_conclusion(error)], width)
    found: list[str] = []
    for shown, entry in enumerate(entries):
        room = LINES - len(found) - len(conclusion) - (1 if shown < len(entries) - 1 else 0)
        if len(entry) > room:
            left = sum(map(len, causes[shown:]))
            found.append(f"and {_counted(left, 'more problem')}, of {_counted(len(causes) - shown, 'rule')}")
            break
        found += entry
    return [*found, *conclusion]


def document_of(error: ModelregError) -> dict[str, Any]:
    """Return an error with every problem, for `--json`."""
    problems = [{**problem._asdict(), "next": _next(problem)} for problem in error.problems]
    return {"schema_version": 1, "error": error.summary, "exit_code": error.exit_code, "problems": problems}


def notice_lines(notices: Iterable[Notice]) -> Iterator[str]:
    """Yield a line for each message, however many places it is about."""
    places: dict[str, list[str]] = {}
    for where, message in notices:
        places.setdefault(message, []).append(where)
    for message, those in places.items():
        yield f"notice: {_placed(those)}: {message}"


def _by_rule(problems: Iterable[Problem]) -> list[list[Problem]]:
    """Return the problems of each rule, in order of appearance."""
    found: dict[str, list[Problem]] = {}
    for problem in problems:
        found.setdefault(problem.rule, []).append(problem)
    return list(found.values())


def _entry(problems: Sequence[Problem]) -> list[str]:
    """Return the lines of one rule's problems, not wrapped."""
    first = problems[0]
    if len(problems) == 1:
        return [f"error: {one_line(str(first))}  [{first.rule}]", *_next_line(first)]
    places: dict[str, list[str]] = {}
    for problem in problems:
        places.setdefault(problem.message, []).append(problem.where)
    count = f"{len(problems)} places"
    if len(places) == 1:
        where = one_line(_placed(list(places[first.message])))
        return [f"error: {one_line(first.message)}  [{first.rule}]", f"{INDENT}in {count}: {where}", *_next_line(first)]
    steps = {problem.message: problem.next for problem in problems}
    same = len(set(steps.values())) == 1
    shown = []
    for message, those in list(places.items())[:PLACES]:
        shown.append(f"{INDENT}{one_line(f'{_placed(those)}: {message}')}")
        shown += [f"{INDENT}  next: {one_line(steps[message])}"] if steps[message] and not same else []
    left = len(problems) - sum(map(len, list(places.values())[:PLACES]))
    more = [f"{INDENT}and {_counted(left, 'more problem')} of this rule"] if left else []
    summary = catalogue.find(first.rule).summary
    last = [] if all(steps.values()) and not same else _next_line(first if same else first._replace(next=""))
    return [f"error: {summary}, in {count}  [{first.rule}]", *shown, *more, *last]


def _next_line(problem: Problem) -> list[str]:
    return [f"{INDENT}next: {one_line(_next(problem))}"]


def _next(problem: Problem) -> str:
    return problem.next or catalogue.find(problem.rule).next


def _placed(places: Sequence[str]) -> str:
    """Return the first places and how many others there are."""
    named = ", ".join(places[:PLACES])
    left = len(places) - PLACES
    return f"{named} and {_counted(left, 'other')}" if left > 0 else named


def _conclusion(error: ModelregError) -> str:
    """Return what follows from the problems; an error without problems is its summary."""
    summary = one_line(error.summary)
    if not error.problems:
        return f"error: {summary}"
    return summary if len(error.problems) == 1 else f"{summary} ({len(error.problems)} problems)"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _wrapped(lines: Iterable[str], width: int | None) -> list[str]:
    """Wrap lines between words; a word longer than the width, such as a path, stays whole."""
    if width is None:
        return list(lines)
    found = []
    for line in lines:
        deeper = " " * (len(line) - len(line.lstrip()) + len(INDENT))
        found += textwrap.wrap(
            line, width, subsequent_indent=deeper, break_long_words=False, break_on_hyphens=False
        ) or [""]
    return found
