"""Lists in messages: the first names and the number of the others; the name that was probably meant."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

SHOWN = 12  # names
DROPPED = 3  # recordings in a next step
_OF_PATTERNS = re.compile(r"[.^$*+?{}\[\]\\|()]")


def quoted(names: Sequence[str]) -> str:
    """Return the first names, quoted, and how many others there are."""
    more = f" and {len(names) - SHOWN} others" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """Return a next step with the name that is spelled nearly like this one; nothing if there is none."""
    near = get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def counted(count: int, noun: str) -> str:
    """Return `1 file` or `1,200 files`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def and_others(count: int, noun: str = "row") -> str:
    """Return ` (and 11,999 other rows)` after the first of `count` rows; nothing if there is only one."""
    others = count - 1
    return f" (and {counted(others, f'other {noun}')})" if others else ""


def leave_out(names: Sequence[str]) -> str:
    """Return the step that leaves recordings out, whose patterns match their names only; of many, the first names."""
    literal = [_OF_PATTERNS.sub(r"\\\g<0>", name).replace("'", "''") for name in names[:DROPPED]]
    listed = ", ".join(f"'{name}'" for name in literal)
    what = "its recording" if len(names) == 1 else "their recordings"
    return f"leave {what} out with `drop: [{listed}{', …' if len(names) > DROPPED else ''}]`"
