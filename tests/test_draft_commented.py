"""YAML with comments: whatever the texts are, it reads back as the same document."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg import strict_yaml
from modelreg.data.draft.commented import WIDTH, Decision, Noted, decisions, plain, render, scalar
from modelreg.escaping import one_line

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(
        ["a\n# b: c", "{{ x }}", "\x1b[31m", "yes", "1e3", "- a", "a: b", "#", "'", '"', "\u202e", "\ufeff", "~", ""]
    ),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS)


def noted(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values of which some have a reason."""
    return st.one_of(inner, st.builds(Noted, inner, TEXTS))


NODES = st.recursive(
    noted(SCALARS),
    lambda inner: noted(st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4))),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(TEXTS, NODES, min_size=1, max_size=4)


@given(DOCUMENTS, TEXTS)
def test_a_document_reads_back(document, head) -> None:
    """Whatever its keys, values and reasons are."""
    assert strict_yaml.parse(render(document, head), "draft") == plain(document)


@given(TEXTS)
def test_a_text_is_one_line(text) -> None:
    """A newline, a control character or a mark of writing direction is escaped."""
    assert one_line(scalar(text)) == scalar(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("phone", "phone"),
        ("m/s2", "m/s2"),
        ("yes", "yes"),
        ("true", "'true'"),
        ("\uffff", '"\\U0000ffff"'),
        ("\x85", '"\\U00000085"'),
        ("4", "'4'"),
        (4, "4"),
        (0.5, "0.5"),
        (50.0, "50"),
        (None, "null"),
        (r"(?P<subject>\w+)\.csv", r"'(?P<subject>\w+)\.csv'"),
        ("it's", "'it''s'"),
        ("a\nb", r'"a\U0000000ab"'),
    ],
)
def test_a_value_is_written_as_plainly_as_it_can_be(value, text) -> None:
    """Quotes only where YAML needs them."""
    assert scalar(value) == text


def test_a_reason_is_a_comment_at_its_value() -> None:
    """Behind it, or above it if it has several lines; mappings without reasons inside are written on one line."""
    document = {
        "a": Noted({"b": Noted(1.0, "because"), "c": [{"d": 1}, Noted({"e": {"f": 2}}, "also")]}, "first"),
        "empty": {},
    }

    assert render(document, "head\nsecond") == (
        "# head\n# second\n# first\na:\n  b: 1 # because\n  c:\n    - {d: 1}\n    - {e: {f: 2}} # also\nempty: {}\n"
    )


def test_an_entry_whose_first_key_has_a_long_reason() -> None:
    """The dash is in front of the key, below the comment."""
    document = {"a": [{"b": Noted(1, "why\nand why"), "c": 2}]}

    assert render(document) == "a:\n  # why\n  # and why\n  - b: 1\n    c: 2\n"


def test_long_lines_are_broken() -> None:
    """Between the words of a comment, and between the entries of a mapping."""
    document = {"a": Noted({f"key{n}": "value" * 3 for n in range(9)}, "word " * 40)}

    assert max(map(len, render(document).splitlines())) <= WIDTH


def test_decisions_are_the_values_with_a_reason() -> None:
    """By their dotted paths, those inside after those around."""
    document = {"a": Noted([{"b": Noted(1, "inner")}], "outer"), "c": 2}

    assert list(decisions(document)) == [Decision("a", [{"b": 1}], "outer"), Decision("a.0.b", 1, "inner")]
