"""Every public text is free of the words of tests/house_words.py."""

from pathlib import Path

import pytest
from house_words import HOUSE_WORDS, ROOT, find_in, public_texts


@pytest.mark.parametrize("path", public_texts(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_public_text_has_no_house_word(path: Path) -> None:
    """Messages, help, comments, docstrings, documentation."""
    assert list(find_in(path)) == []


@pytest.mark.parametrize("text", ["beside it", "the held-out part", "is no version", "persons", "the run goes on"])
def test_house_words_are_found(text) -> None:
    """A pattern that finds nothing would pass everything."""
    assert HOUSE_WORDS.search(text)


@pytest.mark.parametrize("text", ["is no longer there", "for people", "the test split", "category", "unwanted"])
def test_other_words_are_not(text) -> None:
    """Standard English."""
    assert not HOUSE_WORDS.search(text)
