"""Markdown of the texts of template version 2. Once a modelreg is released with it, this module never changes."""

import re
from collections.abc import Iterable, Sequence

UNSAFE = re.compile(  # C0 and C1 controls, separators, bidirectional marks, invisible characters, surrogates
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
MARKUP = re.compile(r"[\\`*_{}\[\]<>#|~&$]|:(?=//)|(?<=www)\.")


def escape(text: str) -> str:
    """Return `text` as Markdown that shows it literally on one line, unsafe characters as escapes."""
    return MARKUP.sub(r"\\\g<0>", UNSAFE.sub(_escaped, text))


def table(header: Sequence[str], align: str, rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; `align` has l or r for each column."""
    rule = ["---:" if side == "r" else "---" for side in align]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in (header, rule, *rows))


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    code = f"\\x{ord(character):02x}" if ord(character) < 0x100 else f"\\u{ord(character):04x}"
    code = code if ord(character) < 0x10000 else f"\\U{ord(character):08x}"
    return ESCAPES.get(character, code)
