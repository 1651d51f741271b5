"""error_text: an error is one entry for each rule, in a limited number of clean lines."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.cli import error_text
from modelreg.errors import Notice, Problem, VerificationFailed
from modelreg.rules import catalogue

RULES = sorted(catalogue.load())
HOSTILE = "evil\x1b[31m\nerror: forged\u202etxt"
WORDS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=30)

problems_ = st.lists(
    st.builds(Problem, WORDS, st.sampled_from(RULES), st.sampled_from(["missing", "unexpected", "size mismatch"])),
    min_size=1,
    max_size=300,
)


def lines(problems, width=None) -> list[str]:
    """Return the lines of an error."""
    return error_text.lines_of(VerificationFailed("verification failed", problems), width)


def many(count: int) -> list[Problem]:
    """Return problems with one rule and different messages."""
    return [Problem(f"file-{n}", "verify.size-mismatch", f"expected {n} bytes, found 0") for n in range(count)]


def counted(shown: list[str]) -> tuple[int, int]:
    """Return the number of problems and of rules that the lines of an error account for."""
    text = "\n".join(shown)
    entries = [line for line in shown if line.startswith("error: ")]
    several = [int(n.replace(",", "")) for n in re.findall(r"\bin ([\d,]+) places", text)]
    left = re.search(r"^and ([\d,]+) more problems?, of (\d+) rules?$", text, re.MULTILINE)
    rest = (int(left[1].replace(",", "")), int(left[2])) if left else (0, 0)
    return len(entries) - len(several) + sum(several) + rest[0], len(entries) + rest[1]


def test_many_problems_of_one_rule_are_one_entry() -> None:
    """A count, the first places and the next step."""
    shown = lines(many(12_000))

    assert len(shown) < 10
    assert ("12000 places" in shown[0].replace(",", ""), "file-0" in shown[1]) == (True, True)
    assert shown[-1] == "verification failed (12000 problems)"


def test_equal_messages_are_listed_by_place() -> None:
    """The message is printed once."""
    shown = lines([Problem(f"file-{n}", "verify.file-missing", "missing") for n in range(12_000)])

    assert shown[0] == "error: missing  [verify.file-missing]"
    assert shown[1].strip().startswith("in 12000 places: file-0, file-1, file-2 and 11,997 others")


@pytest.mark.parametrize("width", [None, 60, 80])
def test_many_rules_are_at_most_50_lines(width) -> None:
    """The problems that are not shown are counted."""
    found = [Problem(f"file-{n}", f"area.fault-{n}", "a message of several words", next="fix it") for n in range(1000)]
    shown = lines(found, width)

    assert len(shown) <= error_text.LINES
    assert counted(shown) == (1000, 1000)


@given(problems_)
def test_the_counts_add_up(problems) -> None:
    """Every problem is shown or counted."""
    shown = lines(problems)

    assert counted(shown) == (len(problems), len({problem.rule for problem in problems}))
    assert len(shown) <= error_text.LINES


@given(problems_)
def test_every_shown_entry_has_its_rule_and_the_next_step(problems) -> None:
    """The rule in brackets, and a line with the next step."""
    shown = lines(problems)
    entries = [line for line in shown if line.startswith("error: ")]

    assert all(re.search(r"  \[[a-z-]+\.[a-z0-9-]+\]$", line) for line in entries)
    assert len([line for line in shown if line.startswith("  next: ")]) == len(entries)


@pytest.mark.parametrize("width", [60, 80, 120])
@given(problems=problems_)
def test_a_line_is_wrapped_between_words(width, problems) -> None:
    """A line is longer than the width only if a word does not fit."""
    few = problems[:3]
    wrapped = lines(few, width)

    assert " ".join(wrapped).split() == " ".join(lines(few)).split()
    assert all(len(line) <= width or len(line.split()) == 1 for line in wrapped)


@pytest.mark.parametrize("width", [None, 80])
@pytest.mark.parametrize(
    "problem",
    [
        Problem(HOSTILE, "verify.file-missing", "missing"),
        Problem("a.txt", "verify.file-missing", HOSTILE),
        Problem("a.txt", "verify.file-missing", "missing", next=HOSTILE),
    ],
    ids=["place", "message", "next"],
)
@pytest.mark.parametrize("count", [1, 2])
def test_a_hostile_text_cannot_forge_a_line(width, problem, count) -> None:
    """Control characters and newlines are escaped."""
    found = [problem, problem._replace(where=f"{problem.where}2")][:count]
    shown = error_text.lines_of(VerificationFailed(HOSTILE, found), width)

    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e]", "".join(shown))
    assert len([line for line in shown if line.startswith("error: ")]) == 1


def test_a_document_has_every_problem() -> None:
    """With the next step of each."""
    found = error_text.document_of(VerificationFailed("verification failed", many(12_000)))

    assert (found["error"], found["exit_code"]) == ("verification failed", 4)
    assert [each["where"] for each in found["problems"]] == [f"file-{n}" for n in range(12_000)]
    assert {each["next"] for each in found["problems"]} == {catalogue.find("verify.size-mismatch").next}


def test_an_own_next_step_replaces_that_of_the_rule() -> None:
    """It is more precise."""
    own = Problem("key.pem", "key.mode-unsafe", "mode 644", next="run `chmod 600 key.pem`")

    assert "  next: run `chmod 600 key.pem`" in lines([own])


@pytest.mark.parametrize("rule", RULES)
def test_the_texts_of_a_rule_are_printable(rule) -> None:
    """One line each for the summary and the next step, without a full stop."""
    found = catalogue.find(rule)

    assert [text == " ".join(text.split()) for text in (found.summary, found.next)] == [True, True]
    assert (found.summary.endswith("."), found.next.endswith("."), bool(found.cause.strip())) == (False, False, True)


def test_equal_notices_are_one_line() -> None:
    """The first places, and a count."""
    found = list(error_text.notice_lines([Notice(f"file-{n}", "not checked") for n in range(12_000)]))

    assert found == ["notice: file-0, file-1, file-2 and 11,997 others: not checked"]
