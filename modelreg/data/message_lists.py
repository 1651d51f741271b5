"""Shorten lists in messages: the first names, and the number of the others."""

from collections.abc import Sequence

SHOWN = 12  # names


def quoted(names: Sequence[str]) -> str:
    """Return the first names, quoted, and how many others there are."""
    more = f" and {len(names) - SHOWN} others" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more


def and_others(count: int, noun: str = "row") -> str:
    """Return ` (and 11,999 other rows)` after the first of `count` rows; nothing if there is only one."""
    others = count - 1
    return f" (and {others:,} other {noun}{'' if others == 1 else 's'})" if others else ""
