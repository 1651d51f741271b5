"""Format an error for a terminal and for `--json`: one entry for each rule, with the next step."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from modelreg.cli.phrases import counted
from modelreg.cli.wrapping import wrap
from modelreg.errors import ModelregError, Notice, Problem
from modelreg.escaping import one_line
from modelreg.rules import catalogue

LINES = 50  # printed of an error at most
PLACES = 3  # named for each cause; the others are counted
INDENT = "  "


def lines_of(error: ModelregError, width: int | None = None) -> list[str]:
    """Return the lines of an error, at most `LINES`, wrapped between words at `width` columns (None: not wrapped).

    The problems of one rule form one entry: the message, the number of places, the first places, and the next step. The
    last line is the error's summary: the consequence.
    """
    causes = _by_rule(error.problems)
    entries = [_wrapped(_entry(problems), width) for problems in causes]
    conclusion = _wrapped([_conclusion(error)], width)
    found: list[str] = []
    for shown, entry in enumerate(entries):
        space = LINES - len(found) - len(conclusion) - (1 if shown < len(entries) - 1 else 0)
        if len(entry) > space:
            left = sum(map(len, causes[shown:]))
            found.append(f"and {counted(left, 'more problem')}, of {counted(len(causes) - shown, 'rule')}")
            break
        found += entry
    return [*found, *conclusion]


def document_of(error: ModelregError) -> dict[str, Any]:
    """Return an error with every problem, as the document that `--json` prints."""
    problems = [{**problem._asdict(), "next": _next(problem)} for problem in error.problems]
    return {"schema_version": 1, "error": error.summary, "exit_code": error.exit_code, "problems": problems}


def notice_lines(notices: Iterable[Notice]) -> Iterator[str]:
    """Yield one line for each message, with the first places that it is about."""
    for message, those in _by_message(notices).items():
        yield f"notice: {_placed(those)}: {message}"


def _by_rule(problems: Iterable[Problem]) -> list[list[Problem]]:
    """Return the problems grouped by rule, in order of appearance."""
    found: dict[str, list[Problem]] = {}
    for problem in problems:
        found.setdefault(problem.rule, []).append(problem)
    return list(found.values())


def _by_message(found: Iterable[Problem | Notice]) -> dict[str, list[str]]:
    """Return the places of each message, in order of appearance."""
    places: dict[str, list[str]] = {}
    for each in found:
        places.setdefault(each.message, []).append(each.where)
    return places


def _entry(problems: Sequence[Problem]) -> list[str]:
    """Return the lines for the problems of one rule, not wrapped."""
    first = problems[0]
    if len(problems) == 1:
        return [f"error: {one_line(str(first))}  [{first.rule}]", *_next_line(first)]
    places = _by_message(problems)
    count = f"{len(problems)} places"
    if len(places) == 1:
        where = one_line(_placed(places[first.message]))
        return [f"error: {one_line(first.message)}  [{first.rule}]", f"{INDENT}in {count}: {where}", *_next_line(first)]
    summary = catalogue.find(first.rule).summary
    return [f"error: {summary}, in {count}  [{first.rule}]", *_several(problems, places)]


def _several(problems: Sequence[Problem], places: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the lines for problems of one rule with different messages, each with its own next step if it has one."""
    steps = {problem.message: problem.next for problem in problems}
    same = len(set(steps.values())) == 1
    shown = list(places.items())[:PLACES]
    for message, those in shown:
        yield f"{INDENT}{one_line(f'{_placed(those)}: {message}')}"
        if steps[message] and not same:
            yield f"{INDENT}{INDENT}next: {one_line(steps[message])}"
    if left := len(problems) - sum(len(those) for _, those in shown):
        yield f"{INDENT}and {counted(left, 'more problem')} of this rule"
    yield from _next_line(problems[0] if same else problems[0]._replace(next=""))


def _next_line(problem: Problem) -> list[str]:
    return [f"{INDENT}next: {one_line(_next(problem))}"]


def _next(problem: Problem) -> str:
    return problem.next or catalogue.find(problem.rule).next


def _placed(places: Sequence[str]) -> str:
    """Return the first places and the number of others."""
    separator = "; " if any("," in place for place in places[:PLACES]) else ", "
    named = separator.join(places[:PLACES])
    left = len(places) - PLACES
    return f"{named} and {counted(left, 'other')}" if left > 0 else named


def _conclusion(error: ModelregError) -> str:
    """Return the last line: the summary, with the number of problems if there are several."""
    summary = one_line(error.summary)
    if not error.problems:
        return f"error: {summary}"
    return summary if len(error.problems) == 1 else f"{summary} ({len(error.problems)} problems)"


def _wrapped(lines: Iterable[str], width: int | None) -> list[str]:
    """Return lines wrapped between words, continued with a deeper indent."""
    if width is None:
        return list(lines)
    found = []
    for line in lines:
        deeper = " " * (len(line) - len(line.lstrip()) + len(INDENT))
        found += wrap(line, width, rest=deeper)
    return found
