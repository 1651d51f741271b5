"""The tolerances, and the comparison of documents."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.evaluation import tolerance

PAGE = (Path(__file__).parents[1] / "docs" / "numbers.md").read_text()
CONSTANTS = {name: value for name, value in vars(tolerance).items() if name.isupper()}
STATED = {
    "the page": re.findall(r"^\| `([A-Z0-9_]+)` \| (\S+)", PAGE, re.MULTILINE),
    "the docstring": re.findall(r"^([A-Z0-9_]+) +(\d\S*) ", tolerance.__doc__ or "", re.MULTILINE),
}


@pytest.mark.parametrize("place", STATED)
def test_every_tolerance_is_in_the_table(place) -> None:
    """With its value; the table has no other."""
    assert {name: float(value) for name, value in STATED[place]} == CONSTANTS


@given(st.floats(-1e6, 1e6), st.sampled_from(sorted(set(CONSTANTS.values()))))
def test_a_number_may_differ_by_its_tolerance(value, allowed) -> None:
    """Relative or absolute, the larger counts; twice as much is a difference."""
    room = allowed * max(1.0, abs(value))
    near, far = (list(tolerance.differences(("a",), value, value + share * room, allowed)) for share in (0.9, 2.1))

    assert (near, len(far)) == ([], 1)


@pytest.mark.parametrize(
    ("theirs", "ours", "places"),
    [
        ({"n": 1, "x": 0.5}, {"n": 2, "x": 0.5}, ["n"]),
        ({"n": 1}, {"n": 1.0}, ["n"]),
        ({"a": [0.1, {"b": "x"}]}, {"a": [0.1, {"b": "y"}]}, ["a.1.b"]),
        ({"a": 0.1}, {"a": 0.1, "b": 0.2}, ["b"]),
        ({"a": 0.1}, {"a": None}, ["a"]),
        ({"a": [0.1, 0.2]}, {"a": [0.1]}, ["a.1"]),
        ({"a": True}, {"a": 1}, ["a"]),
    ],
)
def test_counts_and_words_must_be_equal(theirs, ours, places) -> None:
    """For any tolerance; each difference has its path."""
    assert [problem.where for problem in tolerance.differences((), theirs, ours, 1.0)] == places
