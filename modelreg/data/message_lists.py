"""Lists in messages: the first names and the number of the others; the name that was probably meant."""

from collections.abc import Sequence
from difflib import get_close_matches

SHOWN = 12  # names


def quoted(names: Sequence[str]) -> str:
    """Return the first names, quoted, and how many others there are."""
    more = f" and {len(names) - SHOWN} others" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """Return a next step with the name that is spelled nearly like this one; nothing if there is none."""
    near = get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def and_others(count: int, noun: str = "row") -> str:
    """Return ` (and 11,999 other rows)` after the first of `count` rows; nothing if there is only one."""
    others = count - 1
    return f" (and {others:,} other {noun}{'' if others == 1 else 's'})" if others else ""
