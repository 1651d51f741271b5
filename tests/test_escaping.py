"""escaping: characters that control a terminal or reorder a line are escaped, and all other text is unchanged."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.escaping import json_text, one_line

UNSAFE = "\0\a\b\t\n\r\x1b\x7f\x85\x9b\u061c\u200b\u200d\u200e\u2028\u2029\u202a\u202e\u2066\u2069\ufeff\ufffb"
STEERING = ("Cc", "Zl", "Zp", "Cs")  # Unicode's controls, separators and surrogates
INVISIBLE = {
    *UNSAFE,
    *map(chr, range(0x200B, 0x2010)),
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2060, 0x2070)),
}

texts = st.text() | st.text(st.sampled_from([*UNSAFE, *'aé漢 \\"u{}[]']))
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
)


def is_unsafe(character: str) -> bool:
    """Return whether a character must never be printed raw."""
    return unicodedata.category(character) in STEERING or character in INVISIBLE


def rendered(document: object) -> str:
    """Return a document as `--json` prints it."""
    return json_text(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


@given(texts)
def test_a_line_has_no_unsafe_character(text) -> None:
    """Neither a newline nor a control character."""
    assert not any(map(is_unsafe, one_line(text)))


@pytest.mark.parametrize("character", UNSAFE)
def test_each_unsafe_character_is_visible(character) -> None:
    """As an escape with its code."""
    escape = one_line(f"a{character}b").removeprefix("a").removesuffix("b")

    assert escape.encode().decode("unicode_escape") == character


@given(texts)
def test_escaping_a_line_twice_changes_nothing(text) -> None:
    """An escaped line has nothing left to escape."""
    assert one_line(one_line(text)) == one_line(text)


@pytest.mark.parametrize(
    "text", ["", "plain text", "é à ü ß", "漢字", "עברית", "🦊🐕", "m/s², 90 %, …", "a\\nb", "{}[]\"'"]
)
def test_printable_text_is_unchanged(text) -> None:
    """Letters of any script, emoji, signs and backslashes."""
    assert (one_line(text), json_text(text)) == (text, text)


@given(st.text().filter(lambda text: not any(map(is_unsafe, text))))
def test_any_safe_text_is_unchanged(text) -> None:
    """Only unsafe characters are escaped."""
    assert (one_line(text), json_text(text)) == (text, text)


@given(documents)
def test_json_parses_to_the_same_document(document) -> None:
    """Strings, keys and numbers are equal."""
    assert json.loads(rendered(document)) == document


@given(documents)
def test_json_has_no_unsafe_character(document) -> None:
    """Except the newlines of its indentation."""
    assert not any(is_unsafe(character) for character in rendered(document) if character != "\n")


def test_an_unpaired_surrogate_can_be_printed() -> None:
    """Python cannot encode it as UTF-8."""
    assert (one_line("a\ud800"), rendered(["a\ud800"]).encode()) == ("a\\ud800", b'[\n  "a\\ud800"\n]')
