"""The first lines of `data check`: what the recordings are, what is wrong, what to do next; ten lines of 80 columns."""

from typing import Any

import pytest
from example_records import example_quality_report
from hypothesis import given
from hypothesis import strategies as st
from test_physics import made, scaled

from modelreg.data import quality
from modelreg.documents.report import overview
from modelreg.records.data import ClassQuality, Limits, QualityFinding, QualityReport, SourceRecord

COMMAND = "modelreg train mine.yaml"


def lines_of(report: QualityReport, command: str = COMMAND) -> list[str]:
    """Return the lines."""
    return overview.lines(overview.rows(report, command))


def finding(where: str = "watch ax", **changes: Any) -> QualityFinding:
    """Return a problem."""
    named = {"rule": "quality.unit", "level": "problem", "cause": "c", "message": "m", "where": where}
    return QualityFinding(**{**named, **changes})


def of_class(name: str, seconds: float = 60.0, subjects: int = 3) -> ClassQuality:
    """Return a class."""
    numbers = {"recordings": 3, "stretches": 3, "shortest_s": 1.0, "median_s": 1.0, "longest_s": 1.0}
    return ClassQuality(name=name, seconds=seconds, subjects=subjects, **numbers)


def report(**changes: Any) -> QualityReport:
    """Return a report of thirty recordings."""
    return example_quality_report().model_copy(update=changes)


def test_the_lines_of_sound_recordings() -> None:
    """Each fact has its row."""
    assert lines_of(quality.check_quality(made(0), Limits())) == [
        "recordings  4 of 4 subjects, 2.4 min; score 100.0 of 100; drawn",
        "classes     2, each of 4 subjects: rest 72 s, walk 72 s",
        "rate        50 Hz",
        "gravity     wrist included, 9.69 m/s2 at rest",
        "wrong       nothing was found",
        "next        modelreg train mine.yaml",
    ]


def test_the_lines_of_a_wrong_unit() -> None:
    """What is wrong, where, and the setting that helps."""
    found = lines_of(quality.check_quality(made(0, scaled(0.102, 1, 1)), Limits()))

    assert found[-3:] == [
        "wrong       wrist acc_x, acc_y, acc_z: resting norm 0.964 m/s2: looks like g,",
        "            configured m/s2 (all 4 recordings)",
        "next        set `unit: g`, or multiply `scale` by 9.80665",
    ]


TEXT = st.text(min_size=1, max_size=100)


@given(
    names=st.lists(TEXT, max_size=25),
    wrong=st.lists(st.tuples(TEXT, TEXT), max_size=12),
    command=TEXT,
    equal=st.booleans(),
)
def test_there_are_ten_short_lines_at_most(names, wrong, command, equal) -> None:
    """Whatever the recordings are called."""
    classes = tuple(
        of_class("x").model_copy(update={"name": name, "subjects": 3 if equal else n}) for n, name in enumerate(names)
    )
    found = tuple(finding().model_copy(update={"where": where, "message": what}) for where, what in wrong)
    known = finding(level="information").model_copy(update={"device": "d" * 90})
    source = SourceRecord(kind="csv", name="n" * 100, digest="0" * 64, license="", citation="")
    lines = lines_of(report(classes=classes, findings=(*found, known), rate_hz=50.0, sources=(source,)), command)

    assert len(lines) <= 10
    assert max(map(len, lines)) <= 80


def test_classes_name_their_subjects_where_they_differ() -> None:
    """The first one says what is counted."""
    classes = (of_class("rest"), of_class("walk", 7200.0, 1))

    assert lines_of(report(classes=classes))[1] == "classes     rest 60 s of 3 subjects, walk 2 h of 1"


def test_of_many_classes_the_scarcest_are_named() -> None:
    """The others are in the table."""
    classes = tuple(of_class(f"activity {n}", 1000.0 - n) for n in range(20))
    first, second = lines_of(report(classes=classes))[1:3]

    assert (first.startswith("classes     20, each of 3 subjects: activity 19"), "more, listed below" in second) == (
        True,
        True,
    )


def test_findings_that_do_not_fit_are_counted() -> None:
    """The details follow."""
    lines = lines_of(report(findings=tuple(finding(f"d{n}") for n in range(20))))

    assert (len(lines), lines[-2].strip()) == (10, "and 14 more, listed below")


def test_findings_are_shown_whole_or_on_a_line_each() -> None:
    """Their full text is in the details."""
    long = finding("d", message="word " * 40)
    alone, beside = (lines_of(report(findings=(long, *[finding()] * n))) for n in (0, 4))

    assert [sum("word" in line for line in lines) for lines in (alone, beside)] == [4, 1]
    assert [any(line.endswith(" …") for line in lines) for lines in (alone, beside)] == [False, True]


def test_one_finding_that_does_not_fit_is_cut() -> None:
    """At the last free line."""
    lines = lines_of(report(findings=(finding("d", message="word " * 400),)))

    assert (len(lines), lines[-2].endswith(" …")) == (10, True)


def test_the_clocks_have_their_rates() -> None:
    """As measured."""
    assert "rate        50 Hz; clocks: collar 49.8 to 50.09 Hz, phone 49.8 to 50.09 Hz" in lines_of(
        report(rate_hz=50.0)
    )


def test_old_reports_have_fewer_rows() -> None:
    """They say what they know."""
    found = lines_of(example_quality_report())

    assert [line.split()[0] for line in found] == ["recordings", "rate", "wrong", "next"]


def test_without_recordings_the_source_is_named() -> None:
    """There is nothing to score."""
    assert lines_of(example_quality_report(0))[0] == "recordings  none in field|trip"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.5, "0.5 s"), (99.4, "99.4 s"), (120, "2 min"), (6000, "1.67 h"), (4e6, "1.11e+03 h")]
)
def test_durations_have_three_digits(seconds, shown) -> None:
    """In the unit that fits."""
    assert overview.duration(seconds) == shown


def test_a_finding_without_a_step_has_that_of_its_rule() -> None:
    """From the catalogue."""
    assert overview.next_step(finding()) == "correct `unit` or `scale` of the channels"


def test_a_command_is_continued_over_lines() -> None:
    """So that it can be pasted."""
    lines = lines_of(report(findings=()), f"modelreg train {'a' * 40}.yaml --set {'b' * 40}=1")

    assert lines[-2:] == [
        f"next        modelreg train {'a' * 40}.yaml --set \\",
        f"            {'b' * 40}=1",
    ]


def test_a_command_that_does_not_fit_is_described() -> None:
    """A part of it would be wrong."""
    assert lines_of(report(findings=()), "modelreg train " + "x" * 99)[-1] == (
        "next        modelreg train, with the same configuration and settings"
    )


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ((), "d: m"),
        (("r1",), "d: m (r1)"),
        (("r1", "r2"), "d: m (r1 and 1 other)"),
        (("r1", "r2", "r3"), "d: m (all 3 recordings)"),
    ],
)
def test_a_finding_names_its_recordings(names, shown) -> None:
    """The first one, and how many others."""
    assert overview.in_words(finding("d", recordings=names), 3) == shown


def test_a_long_step_is_broken_between_words() -> None:
    """And so is no word."""
    lines = lines_of(report(findings=(finding(next="word " * 20),)))

    assert [line[12:].split() for line in lines[-2:]] == [["word"] * 13, ["word"] * 7]
