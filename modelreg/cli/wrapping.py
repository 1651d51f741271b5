"""Wrap text between words. A word longer than a line, such as a path, stays whole so that it can be copied."""

import textwrap


def wrap(text: str, width: int, *, first: str = "", rest: str = "") -> list[str]:
    """Return the lines of a paragraph; `first` starts the first line, and `rest` the others."""
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
